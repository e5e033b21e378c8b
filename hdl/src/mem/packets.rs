use super::Ram;
use crate::fb::{FB, bit_cast};
use rust_hdl::prelude::*;

/// A queue of packets whose words are written in any order and appear when the packet is complete.
///
/// ```text
///   slot --> + ---> write       +-----+         word, valid
///            ^      data_in --->| RAM |-------------------->
///   tail ----+                  +-----+
///    ^---- + commit                ^---- head + taken <-- ready
/// ```
///
/// **Interface.** `write` puts `data_in` into word `slot` of the packet under way. `commit` says that this is all
/// of it and how many words it has; it may come with its last `write`. 0 in a cycle without. What was written behind
/// a committed length is forgotten. `room`: a packet of `L` words, the most there may be, fits; look before its first `write`. There are 2^`A` words of `D` bits.
/// The other end is a queue of words: `word` while `valid`, taken with `ready`.
///
/// **Theory of operation.** Parser and walker see the words of a packet as the bytes come by, and the first of them
/// last: with a slot number they need no registers to keep the others in. The reading side is that of a [`Fifo`](super::Fifo).
///
/// **Latency** 2 cycles from `commit` to `valid`. **Throughput** one word in and one out a cycle.
///
/// **Area and fmax** on the HX8K: docs/area.md.
#[derive(LogicBlock)]
pub struct Packets<const A: usize, const D: usize, const L: usize> {
    /// Rising edge.
    pub clock: Signal<In, Clock>,
    /// Synchronous: forget all.
    pub reset: Signal<In, Bit>,
    /// Which word of the packet.
    pub slot: Signal<In, FB<7>>,
    /// The word.
    pub data_in: Signal<In, FB<D>>,
    /// Write it.
    pub write: Signal<In, Bit>,
    /// The packet is complete with so many words; 0: not yet.
    pub commit: Signal<In, FB<7>>,
    /// Another packet fits.
    pub room: Signal<Out, Bit>,
    /// The oldest word.
    pub word: Signal<Out, FB<D>>,
    /// There is one.
    pub valid: Signal<Out, Bit>,
    /// It is taken.
    pub ready: Signal<In, Bit>,
    ram: Ram<A, D>,
    head: DFF<FB<A>>,
    tail: DFF<FB<A>>,
    there: DFF<Bit>,
    free: DFF<Bit>,
    next_head: Signal<Local, FB<A>>,
    used: Signal<Local, FB<A>>,
    // From here on there is no room.
    limit: Constant<FB<A>>,
}

impl<const A: usize, const D: usize, const L: usize> Default for Packets<A, D, L> {
    fn default() -> Self {
        assert!(
            L < 128 && 2 * L < 1 << A,
            "2^{A} words for packets of {L}: two must fit, and 127 is the most"
        );
        Packets {
            clock: Signal::default(),
            reset: Signal::default(),
            slot: Signal::default(),
            data_in: Signal::default(),
            write: Signal::default(),
            commit: Signal::default(),
            room: Signal::default(),
            word: Signal::default(),
            valid: Signal::default(),
            ready: Signal::default(),
            ram: Ram::default(),
            head: DFF::default(),
            tail: DFF::default(),
            there: DFF::default(),
            free: DFF::default(),
            next_head: Signal::default(),
            used: Signal::default(),
            // For the next packet, and for one that is committed in this very cycle.
            limit: Constant::new(FB::new(((1 << A) - 2 * L) as u64)),
        }
    }
}

impl<const A: usize, const D: usize, const L: usize> Logic for Packets<A, D, L> {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, head, tail, there, free);
        clock!(self, clock, ram);
        self.ram.write_address.next = self.tail.q.val() + bit_cast::<A, 7>(self.slot.val());
        self.ram.data_in.next = self.data_in.val();
        self.ram.write_enable.next = self.write.val();
        self.tail.d.next = self.tail.q.val() + bit_cast::<A, 7>(self.commit.val());

        self.next_head.next = self.head.q.val();
        if self.there.q.val() && self.ready.val() {
            self.next_head.next = self.head.q.val() + 1;
        }
        self.ram.read_address.next = self.next_head.val();
        self.head.d.next = self.next_head.val();
        self.there.d.next = self.next_head.val() != self.tail.q.val();

        self.used.next = self.tail.q.val() - self.head.q.val();
        self.free.d.next = self.used.val() < self.limit.val();
        if self.reset.val() {
            self.head.d.next = 0.into();
            self.tail.d.next = 0.into();
            self.there.d.next = false;
            self.free.d.next = false;
        }
        self.room.next = self.free.q.val();
        self.word.next = self.ram.data_out.val();
        self.valid.next = self.there.q.val();
    }
}
