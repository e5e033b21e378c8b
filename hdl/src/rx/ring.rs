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
/// at its address. `free_enable` takes the low `A` bits of `free_to`: all words before it may be overwritten.
/// One word always stays unused, so that an empty ring differs from a full one.
///
/// **Theory of operation.** A block RAM has one read port, so there are two with the same contents. Reset
/// empties the ring; the words stay.
///
/// **Latency** 1 cycle to read, and from `free_enable` to `free`. **Throughput** one word a cycle and port.
///
/// **Area** on the HX8K: `A` LC for the pointer and twice the memory (docs/area.md).
#[derive(LogicBlock, Default)]
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
    /// Where the writer reads.
    pub place_address: Signal<In, FB<A>>,
    /// What is there.
    pub place_data: Signal<Out, FB<32>>,
    /// Word address; everything before it is free.
    pub free_to: Signal<In, FB<16>>,
    /// Take it.
    pub free_enable: Signal<In, Bit>,
    /// The oldest word in use.
    pub free: Signal<Out, FB<A>>,
    walk: Ram<A, 32>,
    place: Ram<A, 32>,
    oldest: DFF<FB<A>>,
}

impl<const A: usize> Logic for Ring<A> {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, oldest);
        clock!(self, clock, walk, place);
        self.walk.write_address.next = self.write_address.val();
        self.walk.data_in.next = self.write_data.val();
        self.walk.write_enable.next = self.write_enable.val();
        self.walk.read_address.next = self.walk_address.val();
        self.walk_data.next = self.walk.data_out.val();
        self.place.write_address.next = self.write_address.val();
        self.place.data_in.next = self.write_data.val();
        self.place.write_enable.next = self.write_enable.val();
        self.place.read_address.next = self.place_address.val();
        self.place_data.next = self.place.data_out.val();
        if self.free_enable.val() {
            self.oldest.d.next = bit_cast::<A, 16>(self.free_to.val());
        }
        if self.reset.val() {
            self.oldest.d.next = 0.into();
        }
        self.free.next = self.oldest.q.val();
    }
}
