use super::Classify;
use crate::fb::{FB, bit_cast};
use crate::stream::StreamIn;
use rust_hdl::prelude::*;

/// What the parser is doing.
#[derive(Copy, Clone, PartialEq, Debug, LogicState)]
enum State {
    /// Taking the words of a frame.
    Body,
    /// Waiting for the sums of a whole frame.
    Fold,
    /// Deciding on it.
    Judge,
    /// Writing D0.
    Class,
    /// Writing D1.
    Place,
    /// Writing D2.
    Payload,
}

/// Takes frames from the wire, puts them into the receive ring and says what each is.
///
/// ```text
///  upstream --+-----------------------------------> ring_address, ring_data, ring_write
///             +--> Classify --> class --> D0..D2 --+
///                     +---------> D3..D8 ----------+--> slot, slot_data, slot_write, commit
/// ```
///
/// **Interface.** A packet is a frame with 2 pad bytes in front and no FCS; `injected` stands with its words. Its words go
/// to the ring at `ring_address` and on, as long as that does not reach `free`, and its descriptor, as in section 2 of
/// docs/microarchitecture.md, to a queue with `room`, in cycles with `turn` (see [`Packets`](crate::mem::Packets)). A frame with `err` leaves
/// nothing. Own address: `mac_low` has its bytes 0..3, `mac_high` 4 and 5, first byte lowest.
///
/// **Theory of operation.** Words are written as they come. A frame that is dropped gives its words back: the write
/// pointer returns to where it began. The words of a descriptor that are in the frame are written when they come by, the
/// others when the verdict is there.
///
/// **Limits.** The ring has 2^`A` words, 4 to 14 bits. When it has no room the stream is held until `free` moves. A frame that even an
/// empty ring could not hold (2^`A` - 1 words) is taken off the stream and called malformed. Lengths above 65,530 read so.
///
/// **Latency** 5 cycles from the last word to a complete descriptor. **Throughput** one word a cycle, 5 cycles between
/// frames, 4 cycles a word of TCP options.
///
/// **Area and fmax** on the HX8K: docs/area.md.
#[derive(LogicBlock, Default)]
pub struct Parse<const A: usize> {
    /// Rising edge.
    pub clock: Signal<In, Clock>,
    /// Synchronous: forget the frame under way, begin with ring address 0.
    pub reset: Signal<In, Bit>,
    /// Frames, 2 pad bytes in front of each.
    pub upstream: StreamIn,
    /// The frame is one of software.
    pub injected: Signal<In, Bit>,
    /// Own MAC address, bytes 0 to 3.
    pub mac_low: Signal<In, FB<32>>,
    /// Own MAC address, bytes 4 and 5.
    pub mac_high: Signal<In, FB<16>>,
    /// Keep frames for other addresses, as raw frames.
    pub promiscuous: Signal<In, Bit>,
    /// The oldest word of the ring that is in use.
    pub free: Signal<In, FB<A>>,
    /// Word address in the ring.
    pub ring_address: Signal<Out, FB<A>>,
    /// A word of the frame.
    pub ring_data: Signal<Out, FB<32>>,
    /// Write it.
    pub ring_write: Signal<Out, Bit>,
    /// A whole descriptor fits the queue.
    pub room: Signal<In, Bit>,
    /// The queue can be written in this cycle.
    pub turn: Signal<In, Bit>,
    /// Word of the descriptor under way.
    pub slot: Signal<Out, FB<7>>,
    /// What it is.
    pub slot_data: Signal<Out, FB<32>>,
    /// Write it.
    pub slot_write: Signal<Out, Bit>,
    /// The descriptor is complete with so many words.
    pub commit: Signal<Out, FB<7>>,
    classify: Classify,
    state: DFF<State>,
    // Ring addresses: the next word, and the first of this frame.
    write: DFF<FB<A>>,
    start: DFF<FB<A>>,
    // Words so far; bytes without the pad, once the last word is there.
    words: DFF<FB<14>>,
    length: DFF<FB<16>>,
    bad: DFF<Bit>,
    is_injected: DFF<Bit>,
    oversize: DFF<Bit>,
    // The verdict.
    class: DFF<FB<4>>,
    raw_foreign: DFF<Bit>,
    used: Signal<Local, FB<A>>,
    filled: Signal<Local, Bit>,
    stores: Signal<Local, Bit>,
    ready: Signal<Local, Bit>,
    passes: Signal<Local, Bit>,
    next_write: Signal<Local, FB<A>>,
    write_after: Signal<Local, FB<A>>,
    next_words: Signal<Local, FB<14>>,
    bytes: Signal<Local, FB<16>>,
    missing: Signal<Local, FB<16>>,
    clear: Signal<Local, Bit>,
}

impl<const A: usize> Logic for Parse<A> {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(
            self,
            clock,
            state,
            write,
            start,
            words,
            length,
            bad,
            is_injected,
            oversize,
            class,
            raw_foreign
        );
        clock!(self, clock, classify);

        // Whether the word at the port passes, and where to. A frame of 2^A - 1 words fills the ring.
        self.next_write.next = self.write.q.val() + 1;
        self.next_words.next = self.words.q.val() + 1;
        if self.words.q.val() == 0x3fff {
            self.next_words.next = self.words.q.val();
        }
        self.used.next = bit_cast::<A, 14>(self.words.q.val());
        self.filled.next = self.used.val().all();
        self.stores.next = !self.classify.dropped.val() && !self.oversize.q.val() && !self.filled.val();
        self.ready.next = (self.state.q.val() == State::Body)
            && self.turn.val()
            && (self.room.val() || (self.words.q.val() != 0))
            && !self.classify.hold.val()
            && (!self.stores.val() || (self.next_write.val() != self.free.val()));
        self.passes.next = self.upstream.valid.val() && self.ready.val();
        self.upstream.ready.next = self.ready.val();
        self.ring_address.next = self.write.q.val();
        self.ring_data.next = self.upstream.data.val();
        self.ring_write.next = self.passes.val() && self.stores.val();
        self.write_after.next = self.write.q.val();
        if self.ring_write.val() {
            self.write_after.next = self.next_write.val();
        }
        // All words but for the pad and the end of the last.
        self.missing.next = bit_cast::<16, 2>(self.upstream.empty.val()) + 2;
        self.bytes.next = bit_cast::<16, 14>(self.next_words.val()) << 2;
        if self.passes.val() {
            self.words.d.next = self.next_words.val();
            if self.filled.val() {
                self.oversize.d.next = true;
            }
            if self.upstream.last.val() {
                self.state.d.next = State::Fold;
                self.length.d.next = self.bytes.val() - self.missing.val();
                if (self.words.q.val() == 0) && (self.upstream.empty.val() == 3) {
                    self.length.d.next = 0.into();
                }
                self.bad.d.next = self.upstream.err.val();
                self.is_injected.d.next = self.injected.val();
            }
        }
        self.classify.data.next = self.upstream.data.val();
        self.classify.valid.next = self.upstream.valid.val();
        self.classify.take.next = self.passes.val();
        self.classify.empty.next = self.upstream.empty.val();
        self.classify.length.next = self.length.q.val();
        self.classify.oversize.next = self.oversize.q.val();
        self.classify.mac_low.next = self.mac_low.val();
        self.classify.mac_high.next = self.mac_high.val();
        self.classify.promiscuous.next = self.promiscuous.val();

        // The descriptor.
        self.slot.next = self.classify.slot.val();
        self.slot_data.next = self.classify.slot_data.val();
        self.slot_write.next = self.classify.slot_write.val();
        self.commit.next = 0.into();
        self.clear.next = self.reset.val();
        if self.state.q.val() == State::Fold {
            self.state.d.next = State::Judge;
        }
        if self.state.q.val() == State::Judge {
            self.state.d.next = State::Class;
            self.class.d.next = self.classify.class.val();
            self.raw_foreign.d.next = self.classify.foreign.val() && (self.classify.class.val() == 1);
            if self.bad.q.val() {
                self.write_after.next = self.start.q.val();
                self.clear.next = true;
            }
        }
        if (self.state.q.val() == State::Class) && self.turn.val() {
            self.state.d.next = State::Place;
            self.slot_write.next = true;
            self.slot.next = 0.into();
            self.slot_data.next = bit_cast::<32, 4>(self.class.q.val())
                | (bit_cast::<32, 1>(self.is_injected.q.val().into()) << 4)
                | (bit_cast::<32, 1>(self.raw_foreign.q.val().into()) << 5)
                | (bit_cast::<32, 16>(self.length.q.val()) << 16);
            if self.class.q.val() == 0 {
                self.slot_data.next =
                    self.slot_data.val() | (bit_cast::<32, 8>(self.classify.hash.val()) << 8);
            }
            if self.class.q.val() > 1 {
                self.write_after.next = self.start.q.val();
            }
        }
        if (self.state.q.val() == State::Place) && self.turn.val() {
            self.state.d.next = State::Payload;
            self.slot_write.next = true;
            self.slot.next = 1.into();
            self.slot_data.next =
                bit_cast::<32, A>(self.start.q.val()) | (bit_cast::<32, A>(self.write.q.val()) << 16);
            if self.class.q.val() != 0 {
                self.commit.next = 2.into();
                self.clear.next = true;
            }
        }
        if (self.state.q.val() == State::Payload) && self.turn.val() {
            self.slot_write.next = true;
            self.slot.next = 2.into();
            // The payload begins behind 9 words and the TCP header.
            self.slot_data.next = (bit_cast::<32, 16>(self.classify.payload.val()) << 16)
                | ((bit_cast::<32, 4>(self.classify.offset.val()) << 2) + 36);
            self.commit.next = 9.into();
            self.clear.next = true;
        }
        self.classify.clear.next = self.clear.val();
        if self.clear.val() {
            self.state.d.next = State::Body;
            self.start.d.next = self.write_after.val();
            self.words.d.next = 0.into();
            self.oversize.d.next = false;
        }
        self.write.d.next = self.write_after.val();
        if self.reset.val() {
            self.write.d.next = 0.into();
            self.start.d.next = 0.into();
        }
    }
}
