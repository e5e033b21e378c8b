use crate::fb::{FB, bit_cast};
use crate::stream::{StreamIn, StreamOut};
use rust_hdl::prelude::*;

/// Does what [`Rotator`](super::Rotator) does, a byte a cycle.
///
/// ```text
///  offset --> at --+
///                  v
///  upstream --> 1 of 4 --> word (shift register) --> downstream
/// ```
///
/// **Interface.** That of [`Rotator`](super::Rotator).
///
/// **Theory of operation.** The word at the port gives its bytes one after the other, from `offset` on if it is a packet's first, to the top of `word`, which is full after four. The bytes
/// that a packet's last word lacks are moved in as anything. The word at the port is taken with its last byte; it need not be there all the time.
///
/// **Latency** 4 cycles. **Throughput** a byte a cycle, across packets too but for what their last words lack.
///
/// **Area** on the HX8K: docs/area.md.
#[derive(LogicBlock, Default)]
pub struct SerialRotator {
    /// Rising edge.
    pub clock: Signal<In, Clock>,
    /// Synchronous: forget the bytes inside.
    pub reset: Signal<In, Bit>,
    /// With `upstream.first`: bytes to leave out.
    pub offset: Signal<In, FB<2>>,
    /// Packets that begin anywhere in a word.
    pub upstream: StreamIn,
    /// Packets that begin with a word.
    pub downstream: StreamOut,
    // The byte that is next, once the word has given one.
    at: DFF<FB<2>>,
    within: DFF<Bit>,
    // The word out and its bytes so far; it is whole.
    word: DFF<FB<32>>,
    fill: DFF<FB<2>>,
    full: DFF<Bit>,
    is_first: DFF<Bit>,
    // The packet has given its last byte; how many are missing, and its error.
    ending: DFF<Bit>,
    unused: DFF<FB<2>>,
    bad: DFF<Bit>,
    room: Signal<Local, Bit>,
    moves: Signal<Local, Bit>,
    takes: Signal<Local, Bit>,
    lane: Signal<Local, FB<2>>,
    last_lane: Signal<Local, FB<2>>,
    octet: Signal<Local, FB<8>>,
    is_last: Signal<Local, Bit>,
    opens: Signal<Local, Bit>,
}

impl Logic for SerialRotator {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, at, within, word, fill, full, is_first, ending, unused, bad);
        self.room.next = !self.full.q.val() || self.downstream.ready.val();
        self.opens.next = self.upstream.first.val() && !self.within.q.val();
        self.lane.next = self.at.q.val();
        if self.opens.val() {
            self.lane.next = self.offset.val();
        }
        self.octet.next = self.upstream.data.val().get_bits::<8>(0);
        if self.lane.val() == 1 {
            self.octet.next = self.upstream.data.val().get_bits::<8>(8);
        }
        if self.lane.val() == 2 {
            self.octet.next = self.upstream.data.val().get_bits::<8>(16);
        }
        if self.lane.val() == 3 {
            self.octet.next = self.upstream.data.val().get_bits::<8>(24);
        }
        // The end: `ending` is set with the last byte, and stands until the word is taken.
        self.last_lane.next = !self.upstream.empty.val();
        self.is_last.next = self.upstream.last.val() && (self.lane.val() == self.last_lane.val());
        self.takes.next =
            self.upstream.valid.val() && self.room.val() && (!self.ending.q.val() || self.full.q.val());
        self.moves.next = self.takes.val() || (self.ending.q.val() && !self.full.q.val());
        if self.downstream.ready.val() && self.full.q.val() {
            self.full.d.next = false;
            self.ending.d.next = false;
        }
        if self.moves.val() {
            self.word.d.next = (self.word.q.val() >> 8) | (bit_cast::<32, 8>(self.octet.val()) << 24);
            self.fill.d.next = self.fill.q.val() + 1;
            if self.fill.q.val() == 3 {
                self.full.d.next = true;
            }
        }
        if self.takes.val() {
            self.at.d.next = self.lane.val() + 1;
            self.within.d.next = (self.lane.val() != 3) && !self.is_last.val();
            if self.fill.q.val() == 0 {
                self.is_first.d.next = self.opens.val();
            }
            if self.is_last.val() {
                self.ending.d.next = true;
                self.bad.d.next = self.upstream.err.val();
                self.unused.d.next = !self.fill.q.val();
            }
        }
        self.upstream.ready.next = (self.room.val() && (!self.ending.q.val() || self.full.q.val()))
            && ((self.lane.val() == 3) || self.is_last.val());
        self.downstream.data.next = self.word.q.val();
        self.downstream.valid.next = self.full.q.val();
        self.downstream.first.next = self.is_first.q.val();
        self.downstream.last.next = self.ending.q.val();
        self.downstream.empty.next = 0.into();
        self.downstream.err.next = false;
        if self.ending.q.val() {
            self.downstream.empty.next = self.unused.q.val();
            self.downstream.err.next = self.bad.q.val();
        }
        if self.reset.val() {
            self.full.d.next = false;
            self.ending.d.next = false;
            self.within.d.next = false;
            self.fill.d.next = 0.into();
            self.at.d.next = 0.into();
        }
    }
}
