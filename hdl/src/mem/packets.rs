// The derived `join` has no documentation.
#![expect(missing_docs)]

use super::Ram;
use crate::fb::{FB, bit_cast};
use rust_hdl::prelude::*;

/// A place in a memory that several queues share: the queue's end.
///
/// In a cycle with `turn` the memory reads `read_address`, and writes if `write_enable` is set; what was read is `read_data` in the next cycle.
#[derive(Clone, Debug, Default, LogicInterface)]
#[join = "StoreSlave"]
pub struct StoreMaster {
    /// The memory is this queue's in this cycle.
    pub turn: Signal<In, Bit>,
    /// Which word to read.
    pub read_address: Signal<Out, FB<8>>,
    /// That of the cycle before.
    pub read_data: Signal<In, FB<32>>,
    /// Where to write.
    pub write_address: Signal<Out, FB<8>>,
    /// What.
    pub write_data: Signal<Out, FB<32>>,
    /// Write it.
    pub write_enable: Signal<Out, Bit>,
}

/// The memory's end of a [`StoreMaster`].
#[derive(Clone, Debug, Default, LogicInterface)]
#[join = "StoreMaster"]
pub struct StoreSlave {
    /// The memory is this queue's in this cycle.
    pub turn: Signal<Out, Bit>,
    /// Which word to read.
    pub read_address: Signal<In, FB<8>>,
    /// That of the cycle before.
    pub read_data: Signal<Out, FB<32>>,
    /// Where to write.
    pub write_address: Signal<In, FB<8>>,
    /// What.
    pub write_data: Signal<In, FB<32>>,
    /// Write it.
    pub write_enable: Signal<In, Bit>,
}

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
/// a committed length is forgotten. `room`: a packet of `L` words, the most there may be, fits; look before its first `write`. There are 2^`A` words of `D` bits, one of which is never used.
/// The other end is a queue of words: `word` while `valid`, taken with `ready`. `level`: words that are complete and not taken.
///
/// **Two forms.** The memory is its own ([`Default`]), or a part of one that several queues use in turns, behind `store` ([`Packets::shared`]). Then `write` and
/// `commit` may only come with `may_write`, and `valid` goes away between turns; `waiting` says all the time whether there is a word.
///
/// **Theory of operation.** Parser and walker see the words of a packet as the bytes come by, and the first of them
/// last: with a slot number they need no registers to keep the others in. The reading side is that of a [`Fifo`](super::Fifo). With a packet of
/// one word, it is one.
///
/// **Latency** 2 cycles from `commit` to `valid`, and to the next turn. **Throughput** one word in and one out a cycle or turn.
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
    /// A word can be written in this cycle.
    pub may_write: Signal<Out, Bit>,
    /// The oldest word.
    pub word: Signal<Out, FB<D>>,
    /// There is one.
    pub valid: Signal<Out, Bit>,
    /// It is taken.
    pub ready: Signal<In, Bit>,
    /// There is one, or will be when its turn comes.
    pub waiting: Signal<Out, Bit>,
    /// Words in the queue.
    pub level: Signal<Out, FB<A>>,
    /// The memory of several queues.
    pub store: StoreMaster,
    ram: Ram<A, D>,
    head: DFF<FB<A>>,
    tail: DFF<FB<A>>,
    there: DFF<Bit>,
    seen: DFF<Bit>,
    free: DFF<Bit>,
    next_head: Signal<Local, FB<A>>,
    next_tail: Signal<Local, FB<A>>,
    at: Signal<Local, FB<A>>,
    after: Signal<Local, FB<A>>,
    used: Signal<Local, FB<A>>,
    shows: Signal<Local, Bit>,
    turn: Signal<Local, Bit>,
    // From here on there is no room.
    limit: Constant<FB<A>>,
    own: Constant<Bit>,
    // Head and tail count modulo the words.
    rounds: Constant<FB<A>>,
    // Where in the shared memory.
    base: Constant<FB<8>>,
    mask: Constant<FB<8>>,
}

impl<const A: usize, const D: usize, const L: usize> Default for Packets<A, D, L> {
    fn default() -> Self {
        Self::form(true, 0, 1 << A, L)
    }
}

impl<const A: usize, const D: usize, const L: usize> Packets<A, D, L> {
    /// In `words` words of a memory of 256, from `base` on, for packets of up to `most` words.
    ///
    /// # Panics
    /// If there is no such part of it, or it does not hold a packet: the design is wrong then.
    pub fn shared(base: usize, words: usize, most: usize) -> Self {
        assert!(
            words.is_power_of_two() && base.is_multiple_of(words) && base + words <= 256 && words <= 1 << A,
            "{words} words from {base} on are no part of a shared memory"
        );
        Self::form(false, base, words, most)
    }

    fn form(own: bool, base: usize, words: usize, most: usize) -> Self {
        assert!(
            most < 128 && most < words && D <= 32,
            "{words} words of {D} bits for packets of {most}: one must fit, and 127 words of 32 bits are the most"
        );
        Packets {
            clock: Signal::default(),
            reset: Signal::default(),
            slot: Signal::default(),
            data_in: Signal::default(),
            write: Signal::default(),
            commit: Signal::default(),
            room: Signal::default(),
            may_write: Signal::default(),
            word: Signal::default(),
            valid: Signal::default(),
            ready: Signal::default(),
            waiting: Signal::default(),
            level: Signal::default(),
            store: Default::default(),
            ram: Ram::default(),
            head: DFF::default(),
            tail: DFF::default(),
            there: DFF::default(),
            seen: DFF::default(),
            free: DFF::default(),
            next_head: Signal::default(),
            next_tail: Signal::default(),
            at: Signal::default(),
            after: Signal::default(),
            used: Signal::default(),
            shows: Signal::default(),
            turn: Signal::default(),
            // With one packet more, a word stays free: a full queue is no empty one.
            limit: Constant::new(FB::new((words - most) as u64)),
            own: Constant::new(own),
            rounds: Constant::new(FB::new(words as u64 - 1)),
            base: Constant::new(FB::cut(base as u64)),
            mask: Constant::new(FB::cut(words as u64 - 1)),
        }
    }
}

impl<const A: usize, const D: usize, const L: usize> Logic for Packets<A, D, L> {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, head, tail, there, seen, free);
        clock!(self, clock, ram);
        self.turn.next = self.own.val() || self.store.turn.val();
        self.may_write.next = self.turn.val();
        self.at.next = self.tail.q.val() + bit_cast::<A, 7>(self.slot.val());
        self.ram.write_address.next = self.at.val();
        self.ram.data_in.next = self.data_in.val();
        self.ram.write_enable.next = self.write.val() && self.own.val();
        self.store.write_address.next = (bit_cast::<8, A>(self.at.val()) & self.mask.val()) | self.base.val();
        self.store.write_data.next = bit_cast::<32, D>(self.data_in.val());
        self.store.write_enable.next = self.write.val();
        self.next_tail.next = self.tail.q.val() + bit_cast::<A, 7>(self.commit.val());
        self.tail.d.next = self.next_tail.val() & self.rounds.val();

        self.shows.next = self.there.q.val() && (self.own.val() || self.seen.q.val());
        self.next_head.next = self.head.q.val();
        if self.shows.val() && self.ready.val() {
            self.next_head.next = self.head.q.val() + 1;
        }
        self.next_head.next = self.next_head.val() & self.rounds.val();
        self.ram.read_address.next = self.next_head.val();
        self.store.read_address.next =
            (bit_cast::<8, A>(self.next_head.val()) & self.mask.val()) | self.base.val();
        self.head.d.next = self.next_head.val();
        self.there.d.next = self.next_head.val() != self.tail.q.val();
        self.seen.d.next = self.turn.val();

        self.used.next = self.tail.q.val() - self.head.q.val();
        self.used.next = self.used.val() & self.rounds.val();
        self.after.next = self.next_tail.val() - self.head.q.val();
        self.after.next = self.after.val() & self.rounds.val();
        self.free.d.next = self.after.val() < self.limit.val();
        if self.reset.val() {
            self.head.d.next = 0.into();
            self.tail.d.next = 0.into();
            self.there.d.next = false;
            self.free.d.next = false;
        }
        self.room.next = self.free.q.val();
        self.word.next = self.ram.data_out.val();
        if !self.own.val() {
            self.word.next = bit_cast::<D, 32>(self.store.read_data.val());
        }
        self.valid.next = self.shows.val();
        self.waiting.next = self.there.q.val();
        self.level.next = self.used.val();
    }
}
