use super::item::{ItemIn, ItemOut};
use crate::crc::Crc32cBytes;
use crate::fb::{FB, bit_cast};
use rust_hdl::prelude::*;

/// [`Framer`](super::Framer) and [`Cut`](super::Cut) in one, a byte a cycle: for a wire of 100 Mbit/s.
///
/// ```text
///  DATA --> byte ---+--> drop SKIP, keep STOP --> word --> DATA
///     marker, pad --+--> Crc32cBytes --+
///            ^------+------------------+
/// ```
///
/// **Interface.** Takes the items of `Fetch`, gives those of `Cut`: DATA items of four bytes without lead, the last of the frame of 1 to 4 with zeros above; BEGIN (kind 1 only)
/// and END.
///
/// **Theory of operation.** Bytes have no places to be turned to: the next one goes in at the top of `word`, which is full after four. Within an FPDU `lane` counts the bytes of a word of the
/// MPA stream; where one begins, a marker goes first if the counter of words has come to 0, and stands there until its last byte. CLOSE gives zeros
/// up to a word, then the CRC, which its register moves out. BEGIN goes through as four bytes.
///
/// **Latency** 4 cycles. **Throughput** a byte a cycle; BEGIN takes 4 cycles, END up to 5, each other item without bytes 1.
///
/// **Area** on the HX8K: docs/area.md.
#[derive(LogicBlock, Default)]
pub struct Serial {
    /// Rising edge.
    pub clock: Signal<In, Clock>,
    /// Forget everything.
    pub reset: Signal<In, Bit>,
    /// From `Fetch`.
    pub source: ItemIn,
    /// To `TxRing`.
    pub sink: ItemOut,
    crc: Crc32cBytes,
    markers: DFF<Bit>,
    checks: DFF<Bit>,
    to_next: DFF<FB<7>>,
    open: DFF<Bit>,
    begun: DFF<Bit>,
    fresh: DFF<Bit>,
    // Words since the FPDU began; the byte of the present one; it is the CRC field.
    behind: DFF<FB<14>>,
    lane: DFF<FB<2>>,
    in_field: DFF<Bit>,
    skip: DFF<FB<16>>,
    stop: DFF<FB<16>>,
    // Byte of the item that is there.
    at: DFF<FB<2>>,
    // The item out, and how many bytes of it there are.
    word: DFF<FB<32>>,
    waiting: DFF<FB<2>>,
    ending: DFF<Bit>,
    kind: DFF<FB<3>>,
    count: DFF<FB<3>>,
    full: DFF<Bit>,
    moves: Signal<Local, Bit>,
    is_begin: Signal<Local, Bit>,
    is_marker: Signal<Local, Bit>,
    is_field: Signal<Local, Bit>,
    in_mpa: Signal<Local, Bit>,
    closing: Signal<Local, Bit>,
    lead: Signal<Local, FB<2>>,
    place: Signal<Local, FB<2>>,
    size: Signal<Local, FB<3>>,
    beyond: Signal<Local, FB<3>>,
    is_last: Signal<Local, Bit>,
    octet: Signal<Local, FB<8>>,
    mark: Signal<Local, FB<8>>,
    octet_out: Signal<Local, FB<8>>,
    takes: Signal<Local, Bit>,
    gives: Signal<Local, Bit>,
    emits: Signal<Local, Bit>,
    fills: Signal<Local, Bit>,
    skips: Signal<Local, Bit>,
    stops: Signal<Local, Bit>,
}

impl Logic for Serial {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(
            self, clock, markers, checks, to_next, open, begun, fresh, behind, lane, in_field, skip, stop,
            at, word, waiting, ending, kind, count, full
        );
        clock!(self, clock, crc);
        self.moves.next = self.source.valid.val() && (!self.full.q.val() || self.sink.ready.val());
        self.is_begin.next = self.source.kind.val() == 1;
        self.closing.next = self.open.q.val() && (self.source.kind.val() == 5);
        self.in_mpa.next = self.closing.val() || (self.open.q.val() && (self.source.kind.val() == 0));
        // Between its words the counter stands, so it is 0 as long as the marker lasts.
        self.is_marker.next = self.in_mpa.val() && self.markers.q.val() && (self.to_next.q.val() == 0);
        self.is_field.next = self.closing.val()
            && !self.is_marker.val()
            && (self.in_field.q.val() || (self.lane.q.val() == 0));

        // The byte of the item.
        self.lead.next = self.source.lead.val();
        self.size.next = self.source.count.val();
        if self.is_begin.val() {
            self.lead.next = 0.into();
            self.size.next = 4.into();
        }
        self.place.next = self.lead.val() + self.at.q.val();
        self.beyond.next = bit_cast::<3, 2>(self.at.q.val()) + 1;
        self.is_last.next = self.beyond.val() == self.size.val();
        self.octet.next = self.source.data.val().get_bits::<8>(0);
        if self.place.val() == 1 {
            self.octet.next = self.source.data.val().get_bits::<8>(8);
        }
        if self.place.val() == 2 {
            self.octet.next = self.source.data.val().get_bits::<8>(16);
        }
        if self.place.val() == 3 {
            self.octet.next = self.source.data.val().get_bits::<8>(24);
        }
        // Or of the marker: two bytes 0, then words since the FPDU began as bytes, the high byte first.
        self.mark.next = 0.into();
        if self.lane.q.val() == 2 {
            self.mark.next = self.behind.q.val().get_bits::<8>(6);
        }
        if self.lane.q.val() == 3 {
            self.mark.next = bit_cast::<8, 6>(self.behind.q.val().get_bits::<6>(0)) << 2;
        }
        // Or of the field, or of the pad.
        self.octet_out.next = self.octet.val();
        if self.is_marker.val() {
            self.octet_out.next = self.mark.val();
        } else if self.closing.val() || (self.source.kind.val() == 6) {
            self.octet_out.next = 0.into();
            if self.is_field.val() && self.checks.q.val() {
                self.octet_out.next = self.crc.crc.val().get_bits::<8>(0);
            }
        }

        // Which way it goes.
        self.skips.next = self.skip.q.val() != 0;
        self.stops.next = self.stop.q.val() == 0;
        self.gives.next = self.moves.val() && self.in_mpa.val();
        self.takes.next = self.moves.val()
            && ((self.in_mpa.val() && !self.closing.val() && !self.is_marker.val())
                || self.is_begin.val()
                || (!self.open.q.val() && (self.source.kind.val() == 0)));
        self.emits.next = self.takes.val() && !self.in_mpa.val();
        self.source.ready.next = self.takes.val() && self.is_last.val();
        if self.takes.val() {
            self.at.d.next = self.at.q.val() + 1;
            if self.is_last.val() {
                self.at.d.next = 0.into();
            }
        }
        self.crc.init.next = self.fresh.q.val();
        self.crc.enable.next = self.gives.val();
        self.crc.shift.next = self.is_field.val();
        self.crc.data.next = self.octet_out.val();
        if self.gives.val() {
            self.fresh.d.next = false;
            if self.is_field.val() {
                self.in_field.d.next = true;
            }
            self.lane.d.next = self.lane.q.val() + 1;
            if self.lane.q.val() == 3 {
                self.to_next.d.next = self.to_next.q.val() - 1;
                if !self.is_marker.val() {
                    self.begun.d.next = true;
                }
                if !self.is_marker.val() || self.begun.q.val() {
                    self.behind.d.next = self.behind.q.val() + 1;
                }
                if self.is_field.val() {
                    self.in_field.d.next = false;
                    self.open.d.next = false;
                    self.source.ready.next = true;
                }
            }
            self.emits.next = !self.skips.val() && !self.stops.val();
            if self.skips.val() {
                self.skip.d.next = self.skip.q.val() - 1;
            } else if !self.stops.val() {
                self.stop.d.next = self.stop.q.val() - 1;
            }
        }

        // Into the word; what is left of a frame without END goes when another begins.
        self.fills.next = self.waiting.q.val() == 3;
        if self.is_begin.val() {
            self.fills.next = self.at.q.val() == 3;
        }
        if self.sink.ready.val() {
            self.full.d.next = false;
        }
        if self.moves.val() && (self.source.kind.val() == 6) {
            if self.waiting.q.val() != 0 {
                // Zeros above the last bytes, which are counted first.
                self.ending.d.next = true;
                self.emits.next = self.ending.q.val();
                if !self.ending.q.val() {
                    self.count.d.next = bit_cast::<3, 2>(self.waiting.q.val());
                }
            } else {
                self.source.ready.next = true;
                self.ending.d.next = false;
                self.full.d.next = true;
                self.kind.d.next = 6.into();
                self.count.d.next = self.source.count.val();
            }
        }
        if self.emits.val() {
            self.word.d.next = (self.word.q.val() >> 8) | (bit_cast::<32, 8>(self.octet_out.val()) << 24);
            self.waiting.d.next = self.waiting.q.val() + 1;
            if self.fills.val() {
                self.full.d.next = true;
                self.kind.d.next = bit_cast::<3, 1>(self.is_begin.val().into());
                if !self.ending.q.val() {
                    self.count.d.next = 4.into();
                }
            }
            if self.is_begin.val() {
                self.ending.d.next = false;
                self.waiting.d.next = self.at.q.val() + 1;
            }
        }

        // Items without bytes.
        if self.moves.val() && self.is_begin.val() {
            self.markers.d.next = self.source.data.val().get_bit(6);
            self.checks.d.next = self.source.data.val().get_bit(7);
            self.open.d.next = false;
        }
        if self.moves.val() && (self.source.kind.val() == 2) {
            self.source.ready.next = true;
            self.to_next.d.next = self.source.data.val().get_bits::<7>(2);
        }
        if self.moves.val() && (self.source.kind.val() == 3) {
            self.source.ready.next = true;
            self.skip.d.next = self.source.data.val().get_bits::<16>(0);
            self.stop.d.next = self.source.data.val().get_bits::<16>(16);
        }
        if self.moves.val() && (self.source.kind.val() == 4) {
            self.source.ready.next = true;
            self.open.d.next = true;
            self.begun.d.next = false;
            self.fresh.d.next = true;
            self.behind.d.next = 0.into();
            self.lane.d.next = 0.into();
            self.in_field.d.next = false;
        }
        if self.moves.val() && !self.open.q.val() && (self.source.kind.val() == 5) {
            self.source.ready.next = true;
        }
        self.sink.data.next = self.word.q.val();
        self.sink.kind.next = self.kind.q.val();
        self.sink.count.next = self.count.q.val();
        self.sink.lead.next = 0.into();
        self.sink.valid.next = self.full.q.val();
        if self.reset.val() {
            self.full.d.next = false;
            self.open.d.next = false;
            self.waiting.d.next = 0.into();
            self.ending.d.next = false;
            self.at.d.next = 0.into();
        }
    }
}
