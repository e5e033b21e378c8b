use super::{Parse, Ring};
use crate::fb::FB;
use crate::mem::{Packets, StoreMaster};
use crate::stream::StreamIn;
use rust_hdl::prelude::*;

/// The receive path in front of the sequencer: parser, ring of 2^`A` words, queue of 2^`D` words of descriptors.
///
/// ```text
///  upstream --> parse --> ring --> walk_data, place_data
///                 |         ^--- free_to
///                 +--> descriptors --> word
/// ```
///
/// **Interface.** That of [`Parse`], [`Ring`] and [`Packets`], joined.
///
/// **Two forms.** [`Default`] has memories of its own; [`Receive::small`] has one copy of the ring and a part of a shared memory for descriptors.
///
/// **Latency** 7 cycles from the last word of a segment to its descriptor, 6 if that has two words only. **Throughput** that of the parser.
///
/// **Area and fmax** on the HX8K: docs/area.md.
#[derive(LogicBlock)]
pub struct Receive<const A: usize, const D: usize> {
    /// Rising edge.
    pub clock: Signal<In, Clock>,
    /// Synchronous: ring and queue are empty.
    pub reset: Signal<In, Bit>,
    /// Frames, 2 pad bytes in front of each.
    pub upstream: StreamIn,
    /// The frame is one of software.
    pub injected: Signal<In, Bit>,
    /// Own MAC address, bytes 0 to 3.
    pub mac_low: Signal<In, FB<32>>,
    /// Own MAC address, bytes 4 and 5.
    pub mac_high: Signal<In, FB<16>>,
    /// Keep frames for other addresses.
    pub promiscuous: Signal<In, Bit>,
    /// Next word of the descriptors.
    pub word: Signal<Out, FB<32>>,
    /// There is one.
    pub valid: Signal<Out, Bit>,
    /// It is taken.
    pub ready: Signal<In, Bit>,
    /// There is one, or will be when its turn comes.
    pub waiting: Signal<Out, Bit>,
    /// Memory of the descriptors, if it is shared.
    pub store: StoreMaster,
    /// A descriptor as it is written: which word.
    pub told_slot: Signal<Out, FB<7>>,
    /// The word.
    pub told_data: Signal<Out, FB<32>>,
    /// It is written.
    pub told_write: Signal<Out, Bit>,
    /// The descriptor is complete with so many words.
    pub told_commit: Signal<Out, FB<7>>,
    /// Where the walker reads.
    pub walk_address: Signal<In, FB<A>>,
    /// What is there, a cycle later.
    pub walk_data: Signal<Out, FB<32>>,
    /// No, it is not.
    pub walk_wait: Signal<Out, Bit>,
    /// Where the writer reads.
    pub place_address: Signal<In, FB<A>>,
    /// What is there, a cycle later.
    pub place_data: Signal<Out, FB<32>>,
    /// No, it is not.
    pub place_wait: Signal<Out, Bit>,
    /// Word address; everything before it is free.
    pub free_to: Signal<In, FB<16>>,
    /// Take it.
    pub free_enable: Signal<In, Bit>,
    parse: Parse<A>,
    ring: Ring<A>,
    descriptors: Packets<D, 32, 9>,
}

impl<const A: usize, const D: usize> Default for Receive<A, D> {
    fn default() -> Self {
        Self::form(Ring::default(), Packets::default())
    }
}

impl<const A: usize, const D: usize> Receive<A, D> {
    /// With one copy of the ring, and descriptors in `words` words of a shared memory from `base` on.
    pub fn small(base: usize, words: usize) -> Self {
        Self::form(Ring::single(), Packets::shared(base, words, 9))
    }

    fn form(ring: Ring<A>, descriptors: Packets<D, 32, 9>) -> Self {
        Self {
            clock: Signal::default(),
            reset: Signal::default(),
            upstream: Default::default(),
            injected: Signal::default(),
            mac_low: Signal::default(),
            mac_high: Signal::default(),
            promiscuous: Signal::default(),
            word: Signal::default(),
            valid: Signal::default(),
            ready: Signal::default(),
            waiting: Signal::default(),
            store: Default::default(),
            told_slot: Signal::default(),
            told_data: Signal::default(),
            told_write: Signal::default(),
            told_commit: Signal::default(),
            walk_address: Signal::default(),
            walk_data: Signal::default(),
            walk_wait: Signal::default(),
            place_address: Signal::default(),
            place_data: Signal::default(),
            place_wait: Signal::default(),
            free_to: Signal::default(),
            free_enable: Signal::default(),
            parse: Parse::default(),
            ring,
            descriptors,
        }
    }
}

impl<const A: usize, const D: usize> Logic for Receive<A, D> {
    #[hdl_gen]
    fn update(&mut self) {
        clock!(self, clock, parse, ring, descriptors);
        self.parse.reset.next = self.reset.val();
        self.ring.reset.next = self.reset.val();
        self.descriptors.reset.next = self.reset.val();
        StreamIn::link(&mut self.upstream, &mut self.parse.upstream);
        self.parse.injected.next = self.injected.val();
        self.parse.mac_low.next = self.mac_low.val();
        self.parse.mac_high.next = self.mac_high.val();
        self.parse.promiscuous.next = self.promiscuous.val();
        self.parse.free.next = self.ring.free.val();
        self.parse.room.next = self.descriptors.room.val();
        self.parse.turn.next = self.descriptors.may_write.val();
        StoreMaster::link(&mut self.store, &mut self.descriptors.store);
        self.walk_wait.next = self.ring.walk_wait.val();
        self.place_wait.next = self.ring.place_wait.val();
        self.waiting.next = self.descriptors.waiting.val();
        self.ring.write_address.next = self.parse.ring_address.val();
        self.ring.write_data.next = self.parse.ring_data.val();
        self.ring.write_enable.next = self.parse.ring_write.val();
        self.ring.walk_address.next = self.walk_address.val();
        self.walk_data.next = self.ring.walk_data.val();
        self.ring.place_address.next = self.place_address.val();
        self.place_data.next = self.ring.place_data.val();
        self.ring.free_to.next = self.free_to.val();
        self.ring.free_enable.next = self.free_enable.val();
        self.descriptors.slot.next = self.parse.slot.val();
        self.descriptors.data_in.next = self.parse.slot_data.val();
        self.descriptors.write.next = self.parse.slot_write.val();
        self.descriptors.commit.next = self.parse.commit.val();
        self.told_slot.next = self.parse.slot.val();
        self.told_data.next = self.parse.slot_data.val();
        self.told_write.next = self.parse.slot_write.val();
        self.told_commit.next = self.parse.commit.val();
        self.descriptors.ready.next = self.ready.val();
        self.word.next = self.descriptors.word.val();
        self.valid.next = self.descriptors.valid.val();
    }
}
