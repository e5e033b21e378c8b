use crate::fb::{FB, bit_cast};
use crate::mem::Ram;
use rust_hdl::prelude::*;

/// The receive ring: 2^`A` words, one port to write and two to read, and how far it is free.
///
/// ```text
///  parse   --> write_* --+--> RAM ---> walk_data   <-- walk_address    (walker)
///                        +--> RAM ---> place_data  <-- place_address   (writer)
///  FREE    --> free_to -----> reg ---> free        --> parse
/// ```
///
/// **Interface.** With the rising edge a word is written if `write_enable` is set, and each read port gives the word
/// at its address, unless `walk_wait` or `place_wait` is set: then what stands there is the other one's. `free_enable` takes the low `A` bits of `free_to`: all words before it may be overwritten.
/// One word always stays unused, so that an empty ring differs from a full one.
///
/// **Theory of operation.** A block RAM has one read port, so there are two with the same contents; or one ([`Ring::single`]), which the two
/// readers use in turns. Reset empties the ring; the words stay.
///
/// **Latency** 1 cycle to read (single: 1 or 2), and from `free_enable` to `free`. **Throughput** one word a cycle and port; single: every other cycle.
///
/// **Area** on the HX8K: `A` LC for the pointer and twice the memory (docs/area.md); single: once.
#[derive(LogicBlock)]
pub struct Ring<const A: usize> {
    /// Rising edge.
    pub clock: Signal<In, Clock>,
    /// Synchronous: the ring is empty.
    pub reset: Signal<In, Bit>,
    /// Where to write.
    pub write_address: Signal<In, FB<A>>,
    /// What to write.
    pub write_data: Signal<In, FB<32>>,
    /// Write it.
    pub write_enable: Signal<In, Bit>,
    /// Where the walker reads.
    pub walk_address: Signal<In, FB<A>>,
    /// What is there.
    pub walk_data: Signal<Out, FB<32>>,
    /// No, it is not.
    pub walk_wait: Signal<Out, Bit>,
    /// Where the writer reads.
    pub place_address: Signal<In, FB<A>>,
    /// What is there.
    pub place_data: Signal<Out, FB<32>>,
    /// No, it is not.
    pub place_wait: Signal<Out, Bit>,
    /// Word address; everything before it is free.
    pub free_to: Signal<In, FB<16>>,
    /// Take it.
    pub free_enable: Signal<In, Bit>,
    /// The oldest word in use.
    pub free: Signal<Out, FB<A>>,
    walk: Ram<A, 32>,
    place: Ram<A, 32>,
    oldest: DFF<FB<A>>,
    // The writer's turn.
    turn: DFF<Bit>,
    one: Constant<Bit>,
}

impl<const A: usize> Default for Ring<A> {
    fn default() -> Self {
        Self::form(false)
    }
}

impl<const A: usize> Ring<A> {
    /// With one memory.
    pub fn single() -> Self {
        Self::form(true)
    }

    fn form(one: bool) -> Self {
        Self {
            clock: Signal::default(),
            reset: Signal::default(),
            write_address: Signal::default(),
            write_data: Signal::default(),
            write_enable: Signal::default(),
            walk_address: Signal::default(),
            walk_data: Signal::default(),
            walk_wait: Signal::default(),
            place_address: Signal::default(),
            place_data: Signal::default(),
            place_wait: Signal::default(),
            free_to: Signal::default(),
            free_enable: Signal::default(),
            free: Signal::default(),
            walk: Ram::default(),
            place: Ram::default(),
            oldest: DFF::default(),
            turn: DFF::default(),
            one: Constant::new(one),
        }
    }
}

impl<const A: usize> Logic for Ring<A> {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, oldest, turn);
        clock!(self, clock, walk, place);
        self.walk.write_address.next = self.write_address.val();
        self.walk.data_in.next = self.write_data.val();
        self.walk.write_enable.next = self.write_enable.val();
        self.walk.read_address.next = self.walk_address.val();
        self.walk_data.next = self.walk.data_out.val();
        // What was read in the cycle before.
        self.turn.d.next = !self.turn.q.val();
        self.walk_wait.next = self.one.val() && !self.turn.q.val();
        self.place_wait.next = self.one.val() && self.turn.q.val();
        if self.one.val() && self.turn.q.val() {
            self.walk.read_address.next = self.place_address.val();
        }
        self.place.write_address.next = self.write_address.val();
        self.place.data_in.next = self.write_data.val();
        self.place.write_enable.next = self.write_enable.val();
        self.place.read_address.next = self.place_address.val();
        self.place_data.next = self.place.data_out.val();
        if self.one.val() {
            self.place_data.next = self.walk.data_out.val();
        }
        if self.free_enable.val() {
            self.oldest.d.next = bit_cast::<A, 16>(self.free_to.val());
        }
        if self.reset.val() {
            self.oldest.d.next = 0.into();
        }
        self.free.next = self.oldest.q.val();
    }
}
