use crate::fb::{FB, bit_cast};
use crate::stream::{StreamIn, StreamOut};
use rust_hdl::prelude::*;

/// Aligns packets that begin 0 to 3 bytes into their first word.
///
/// ```text
///  offset ----> start -----------+
///                                v
///  upstream --+---------------> 4 of --> word --> downstream
///             |                7 bytes   (register)
///             +--> held ---------^
/// ```
///
/// **Interface.** `offset` counts the bytes at the low end of a packet's `first` word that do not belong to it,
/// and is looked at with that word only. Downstream has the same packet beginning with bits 7:0; `empty` is what it
/// then has to be, `err` stays with `last`. At least one byte of the packet must remain.
///
/// **Theory of operation.** With offset o, output word k is the high 4 - o bytes of input word k, which is in
/// `held`, and the low o bytes of word k + 1: four neighbouring bytes of seven, one 4:1 multiplexer a bit. (Rotating
/// in front of `held` and merging behind it costs 21 logic cells more.) The first word of a packet only fills
/// `held`; every other moves a word on. If the last word has at most o bytes (o + empty > 3) the packet ends with
/// it, otherwise the rest stays in `held` and `flush` sends it in the next cycle, in which the first word of the
/// following packet already takes its place.
///
/// **Back-pressure.** The output is a register that is refilled when empty or just being taken: `upstream.ready`
/// depends on `downstream.ready` in the same cycle, `valid` on nothing.
///
/// **Latency** 2 cycles from the word that holds the packet's first byte, if others follow at once.
/// **Throughput** one word a cycle, across packets too.
///
/// **Area and fmax** on the HX8K: 81 LUT4, 2 carry, 77 FF, 122 LC, no BRAM; 169 MHz (docs/area.md).
#[derive(LogicBlock, Default)]
pub struct Rotator {
    /// Rising edge.
    pub clock: Signal<In, Clock>,
    /// Synchronous: forget the words inside.
    pub reset: Signal<In, Bit>,
    /// With `upstream.first`: bytes to leave out.
    pub offset: Signal<In, FB<2>>,
    /// Packets that begin anywhere in a word.
    pub upstream: StreamIn,
    /// Packets that begin with a word.
    pub downstream: StreamOut,
    // The word before.
    held: DFF<FB<32>>,
    start: DFF<FB<2>>,
    // The next word out is the first of its packet.
    opening: DFF<Bit>,
    // `held` is all that remains of a packet: `rest` bytes less than four, and its error.
    flush: DFF<Bit>,
    rest: DFF<FB<2>>,
    bad: DFF<Bit>,
    // The output.
    word: DFF<FB<32>>,
    full: DFF<Bit>,
    is_first: DFF<Bit>,
    is_last: DFF<Bit>,
    unused: DFF<FB<2>>,
    is_bad: DFF<Bit>,
    // The offset of the packet whose word is there.
    shift: Signal<Local, FB<2>>,
    low: Signal<Local, FB<32>>,
    high: Signal<Local, FB<32>>,
    merged: Signal<Local, FB<32>>,
    room: Signal<Local, Bit>,
    taken: Signal<Local, Bit>,
    // offset + empty, three bits.
    gap: Signal<Local, FB<3>>,
    wide_shift: Signal<Local, FB<3>>,
    wide_empty: Signal<Local, FB<3>>,
}

impl Logic for Rotator {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(
            self, clock, held, start, opening, flush, rest, bad, word, full, is_first, is_last, unused,
            is_bad
        );
        self.room.next = !self.full.q.val() || self.downstream.ready.val();
        self.taken.next = self.upstream.valid.val() && self.room.val();

        self.shift.next = self.start.q.val();
        if self.upstream.first.val() {
            self.shift.next = self.offset.val();
        }
        // The register, not `shift`: a word that is merged is not the first.
        self.low.next = self.held.q.val();
        self.high.next = 0.into();
        if self.start.q.val() == 1 {
            self.low.next = self.held.q.val() >> 8;
            self.high.next = self.upstream.data.val() << 24;
        } else if self.start.q.val() == 2 {
            self.low.next = self.held.q.val() >> 16;
            self.high.next = self.upstream.data.val() << 16;
        } else if self.start.q.val() == 3 {
            self.low.next = self.held.q.val() >> 24;
            self.high.next = self.upstream.data.val() << 8;
        }
        self.merged.next = self.low.val() | self.high.val();

        self.wide_shift.next = bit_cast::<3, 2>(self.shift.val());
        self.wide_empty.next = bit_cast::<3, 2>(self.upstream.empty.val());
        self.gap.next = self.wide_shift.val() + self.wide_empty.val();

        if self.room.val() {
            self.word.d.next = self.merged.val();
            self.full.d.next = false;
            self.is_first.d.next = self.opening.q.val();
            self.is_last.d.next = false;
            self.unused.d.next = 0.into();
            self.is_bad.d.next = false;
            if self.flush.q.val() {
                self.flush.d.next = false;
                self.full.d.next = true;
                self.is_last.d.next = true;
                self.unused.d.next = self.rest.q.val();
                self.is_bad.d.next = self.bad.q.val();
            }
            if self.taken.val() {
                self.held.d.next = self.upstream.data.val();
                self.start.d.next = self.shift.val();
                self.opening.d.next = self.upstream.first.val();
                self.rest.d.next = self.gap.val().get_bits::<2>(0);
                self.bad.d.next = self.upstream.err.val();
                self.flush.d.next = self.upstream.last.val();
                if !self.upstream.first.val() {
                    self.full.d.next = true;
                    if self.upstream.last.val() && self.gap.val().get_bit(2) {
                        self.flush.d.next = false;
                        self.is_last.d.next = true;
                        self.unused.d.next = self.gap.val().get_bits::<2>(0);
                        self.is_bad.d.next = self.upstream.err.val();
                    }
                }
            }
        }

        if self.reset.val() {
            self.full.d.next = false;
            self.flush.d.next = false;
        }
        self.upstream.ready.next = self.room.val();
        self.downstream.data.next = self.word.q.val();
        self.downstream.valid.next = self.full.q.val();
        self.downstream.first.next = self.is_first.q.val();
        self.downstream.last.next = self.is_last.q.val();
        self.downstream.empty.next = self.unused.q.val();
        self.downstream.err.next = self.is_bad.q.val();
    }
}
