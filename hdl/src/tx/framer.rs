use super::item::{ItemIn, ItemOut};
use crate::crc::Crc32c;
use crate::fb::{FB, bit_cast};
use rust_hdl::prelude::*;

/// Makes FPDUs: packs bytes into words, puts in markers, pad and CRC (RFC 5044 section 4).
///
/// ```text
///  DATA --> append --> word ---+--> MPA
///           held --^     marker | CRC
///                          ^    v
///                  to_next |   Crc32c
/// ```
///
/// **Interface.** Takes the items of `Fetch`. Between FPDU and CLOSE it gives MPA items, four bytes each; outside, DATA goes through as it
/// is. BEGIN and END go through; FPDU and CLOSE do not.
///
/// **Theory of operation.** An FPDU begins on a word of the MPA stream and markers stand only between words, so bytes are packed
/// to words first: up to three wait in `held`, and one rotation puts others behind them. Before each word, the CRC field's too, a marker goes if the 7-bit counter of words
/// has come to 0. It enters the CRC; its pointer is the number of bytes since the FPDU began, 0 in front of it, where it is
/// not counted itself (RFC 5044 section 4.3).
///
/// **Latency** 1 cycle. **Throughput** a word a cycle; CLOSE takes 2 or 3 with pad, and each marker one.
#[derive(LogicBlock, Default)]
pub struct Framer {
    /// Rising edge.
    pub clock: Signal<In, Clock>,
    /// Forget everything.
    pub reset: Signal<In, Bit>,
    /// From `Fetch`.
    pub source: ItemIn,
    /// To `Cut`.
    pub sink: ItemOut,
    crc: Crc32c,
    markers: DFF<Bit>,
    checks: DFF<Bit>,
    to_next: DFF<FB<7>>,
    open: DFF<Bit>,
    begun: DFF<Bit>,
    fresh: DFF<Bit>,
    behind: DFF<FB<14>>,
    held: DFF<FB<32>>,
    waiting: DFF<FB<3>>,
    // The item out.
    word: DFF<FB<32>>,
    kind: DFF<FB<3>>,
    count: DFF<FB<3>>,
    lead: DFF<FB<2>>,
    full: DFF<Bit>,
    room: Signal<Local, Bit>,
    moves: Signal<Local, Bit>,
    due: Signal<Local, Bit>,
    total: Signal<Local, FB<3>>,
    amount: Signal<Local, FB<2>>,
    once: Signal<Local, FB<32>>,
    turned: Signal<Local, FB<32>>,
    keeps: Signal<Local, FB<32>>,
    blank: Signal<Local, Bit>,
    marker: Signal<Local, FB<32>>,
    gives: Signal<Local, Bit>,
    emitted: Signal<Local, FB<32>>,
    is_marker: Signal<Local, Bit>,
    is_field: Signal<Local, Bit>,
    in_fpdu: Signal<Local, Bit>,
    closing: Signal<Local, Bit>,
}

impl Logic for Framer {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(
            self, clock, markers, checks, to_next, open, begun, fresh, behind, held, waiting, word, kind,
            count, lead, full
        );
        clock!(self, clock, crc);
        self.room.next = !self.full.q.val() || self.sink.ready.val();
        self.moves.next = self.source.valid.val() && self.room.val();
        self.due.next = self.markers.q.val() && (self.to_next.q.val() == 0);

        // Bytes held and bytes there, together up to seven: those there turned to where those held end.
        self.total.next = self.waiting.q.val() + self.source.count.val();
        self.amount.next = self.waiting.q.val().get_bits::<2>(0);
        if self.open.q.val() {
            self.amount.next = self.waiting.q.val().get_bits::<2>(0) - self.source.lead.val();
        }
        self.once.next = self.source.data.val();
        if self.amount.val().get_bit(0) {
            self.once.next = (self.source.data.val() << 8) | (self.source.data.val() >> 24);
        }
        self.turned.next = self.once.val();
        if self.amount.val().get_bit(1) {
            self.turned.next = (self.once.val() << 16) | (self.once.val() >> 16);
        }

        // The marker: two bytes 0, then words since the FPDU began as bytes, the high byte first.
        self.marker.next = (bit_cast::<32, 8>(self.behind.q.val().get_bits::<8>(6)) << 16)
            | (bit_cast::<32, 6>(self.behind.q.val().get_bits::<6>(0)) << 26);

        self.in_fpdu.next = self.open.q.val() && (self.source.kind.val() == 0);
        self.closing.next = self.source.kind.val() == 5;
        self.source.ready.next = false;
        self.gives.next = false;
        self.is_marker.next = false;
        self.is_field.next = false;
        self.blank.next = false;
        // Which bytes are those held; the others are those there, or none.
        self.keeps.next = 0.into();
        if self.due.val() && (self.closing.val() || (self.in_fpdu.val() && self.total.val().get_bit(2))) {
            self.blank.next = true;
        } else {
            self.blank.next = self.closing.val();
            if self.waiting.q.val() != 0 {
                self.keeps.next = self.keeps.val() | 0xff;
            }
            if self.waiting.q.val().get_bit(1) {
                self.keeps.next = self.keeps.val() | 0xff00;
            }
            if self.waiting.q.val() == 3 {
                self.keeps.next = self.keeps.val() | 0xff_0000;
            }
        }
        self.emitted.next = self.held.q.val() & self.keeps.val();
        if !self.blank.val() {
            self.emitted.next = self.emitted.val() | (self.turned.val() & !self.keeps.val());
        }
        if self.room.val() {
            self.full.d.next = false;
        }
        if self.moves.val() {
            if self.in_fpdu.val() {
                if !self.total.val().get_bit(2) {
                    // Not a word yet.
                    self.source.ready.next = true;
                    self.held.d.next = self.emitted.val();
                    self.waiting.d.next = self.total.val();
                } else if self.due.val() {
                    self.gives.next = true;
                    self.is_marker.next = true;
                } else {
                    self.gives.next = true;
                    self.source.ready.next = true;
                    self.held.d.next = self.turned.val();
                    self.waiting.d.next = self.total.val() & 3;
                }
            } else if self.closing.val() && self.open.q.val() {
                if self.due.val() {
                    self.gives.next = true;
                    self.is_marker.next = true;
                } else if self.waiting.q.val() != 0 {
                    // The pad.
                    self.gives.next = true;
                    self.waiting.d.next = 0.into();
                } else {
                    self.gives.next = true;
                    self.is_field.next = true;
                    self.source.ready.next = true;
                    self.open.d.next = false;
                }
            } else {
                self.source.ready.next = true;
                self.word.d.next = self.emitted.val();
                self.kind.d.next = self.source.kind.val();
                self.count.d.next = self.source.count.val();
                self.lead.d.next = self.source.lead.val();
                self.full.d.next = (self.source.kind.val() != 4) && !self.closing.val();
                if self.source.kind.val() == 1 {
                    self.markers.d.next = self.source.data.val().get_bit(6);
                    self.checks.d.next = self.source.data.val().get_bit(7);
                    self.open.d.next = false;
                    self.waiting.d.next = 0.into();
                }
                if self.source.kind.val() == 2 {
                    self.to_next.d.next = self.source.data.val().get_bits::<7>(2);
                }
                if self.source.kind.val() == 4 {
                    self.open.d.next = true;
                    self.begun.d.next = false;
                    self.fresh.d.next = true;
                    self.behind.d.next = 0.into();
                    self.waiting.d.next = 0.into();
                }
            }
        }
        self.crc.enable.next = false;
        self.crc.init.next = self.fresh.q.val();
        self.crc.data.next = self.emitted.val();
        if self.is_marker.val() {
            self.crc.data.next = self.emitted.val() | self.marker.val();
        }
        if self.gives.val() {
            self.full.d.next = true;
            self.kind.d.next = 7.into();
            self.count.d.next = 4.into();
            self.lead.d.next = 0.into();
            self.word.d.next = self.emitted.val();
            self.to_next.d.next = self.to_next.q.val() - 1;
            if self.is_marker.val() {
                self.word.d.next = self.emitted.val() | self.marker.val();
            } else {
                self.begun.d.next = true;
            }
            if !self.is_marker.val() || self.begun.q.val() {
                self.behind.d.next = self.behind.q.val() + 1;
            }
            if self.is_field.val() {
                self.word.d.next = 0.into();
                if self.checks.q.val() {
                    self.word.d.next = self.crc.crc.val();
                }
            } else {
                self.crc.enable.next = true;
                self.fresh.d.next = false;
            }
        }
        self.sink.data.next = self.word.q.val();
        self.sink.kind.next = self.kind.q.val();
        self.sink.count.next = self.count.q.val();
        self.sink.lead.next = self.lead.q.val();
        self.sink.valid.next = self.full.q.val();
        if self.reset.val() {
            self.full.d.next = false;
            self.open.d.next = false;
            self.waiting.d.next = 0.into();
        }
    }
}
