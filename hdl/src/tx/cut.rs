use super::item::{ItemIn, ItemOut};
use crate::fb::{FB, bit_cast};
use rust_hdl::prelude::*;

/// Lets through the wanted part of the MPA stream and packs the bytes of the frame into words.
///
/// ```text
///  MPA --> drop SKIP --> keep STOP --+--> append --> DATA
///  DATA -----------------------------+    held --^
/// ```
///
/// **Interface.** Takes the items of `Framer`. Gives DATA items of four bytes, the last of the frame of 1 to 4; BEGIN (kind 1 only) and END.
///
/// **Theory of operation.** SKIP and STOP are counted down by the bytes of each MPA item; a word that SKIP ends in is
/// shifted, one that STOP ends in is masked. What remains, 0 to 4 bytes, is appended to the up to three that wait. END sends those first.
///
/// **Latency** 1 cycle. **Throughput** an item a cycle.
#[derive(LogicBlock, Default)]
pub struct Cut {
    /// Rising edge.
    pub clock: Signal<In, Clock>,
    /// Forget everything.
    pub reset: Signal<In, Bit>,
    /// From `Framer`.
    pub source: ItemIn,
    /// To `TxRing`.
    pub sink: ItemOut,
    skip: DFF<FB<16>>,
    stop: DFF<FB<16>>,
    held: DFF<FB<32>>,
    waiting: DFF<FB<3>>,
    word: DFF<FB<32>>,
    kind: DFF<FB<3>>,
    count: DFF<FB<3>>,
    full: DFF<Bit>,
    room: Signal<Local, Bit>,
    moves: Signal<Local, Bit>,
    is_mpa: Signal<Local, Bit>,
    is_data: Signal<Local, Bit>,
    lead: Signal<Local, FB<3>>,
    rest: Signal<Local, FB<3>>,
    size: Signal<Local, FB<3>>,
    wide_rest: Signal<Local, FB<16>>,
    wide_size: Signal<Local, FB<16>>,
    wide_lead: Signal<Local, FB<16>>,
    shifted: Signal<Local, FB<32>>,
    kept: Signal<Local, FB<32>>,
    total: Signal<Local, FB<3>>,
    low: Signal<Local, FB<32>>,
    high: Signal<Local, FB<32>>,
}

impl Logic for Cut {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, skip, stop, held, waiting, word, kind, count, full);
        self.room.next = !self.full.q.val() || self.sink.ready.val();
        self.moves.next = self.source.valid.val() && self.room.val();
        self.is_mpa.next = self.source.kind.val() == 7;
        self.is_data.next = self.is_mpa.val() || (self.source.kind.val() == 0);

        // Bytes to leave out at the low end: 0 to 4.
        self.lead.next = 0.into();
        if self.is_mpa.val() {
            self.lead.next = self.skip.q.val().get_bits::<3>(0);
            if self.skip.q.val() > 3 {
                self.lead.next = 4.into();
            }
        }
        self.shifted.next = self.source.data.val();
        if self.lead.val() == 1 {
            self.shifted.next = self.source.data.val() >> 8;
        }
        if self.lead.val() == 2 {
            self.shifted.next = self.source.data.val() >> 16;
        }
        if self.lead.val() == 3 {
            self.shifted.next = self.source.data.val() >> 24;
        }
        self.rest.next = self.source.count.val() - self.lead.val();
        self.wide_rest.next = bit_cast::<16, 3>(self.rest.val());
        self.size.next = self.rest.val();
        if self.is_mpa.val() && (self.stop.q.val() < self.wide_rest.val()) {
            self.size.next = self.stop.q.val().get_bits::<3>(0);
        }
        self.wide_size.next = bit_cast::<16, 3>(self.size.val());
        self.wide_lead.next = bit_cast::<16, 3>(self.lead.val());
        self.kept.next = self.shifted.val();
        if self.size.val() == 0 {
            self.kept.next = 0.into();
        }
        if self.size.val() == 1 {
            self.kept.next = self.shifted.val() & 0xff;
        }
        if self.size.val() == 2 {
            self.kept.next = self.shifted.val() & 0xffff;
        }
        if self.size.val() == 3 {
            self.kept.next = self.shifted.val() & 0xff_ffff;
        }

        // Append.
        self.total.next = self.waiting.q.val() + self.size.val();
        self.low.next = self.kept.val();
        self.high.next = 0.into();
        if self.waiting.q.val() == 1 {
            self.low.next = self.kept.val() << 8;
            self.high.next = self.kept.val() >> 24;
        }
        if self.waiting.q.val() == 2 {
            self.low.next = self.kept.val() << 16;
            self.high.next = self.kept.val() >> 16;
        }
        if self.waiting.q.val() == 3 {
            self.low.next = self.kept.val() << 24;
            self.high.next = self.kept.val() >> 8;
        }

        self.source.ready.next = false;
        if self.room.val() {
            self.full.d.next = false;
        }
        if self.moves.val() {
            self.source.ready.next = true;
            if self.is_data.val() {
                if self.is_mpa.val() {
                    self.skip.d.next = self.skip.q.val() - self.wide_lead.val();
                    self.stop.d.next = self.stop.q.val() - self.wide_size.val();
                }
                self.kind.d.next = 0.into();
                self.count.d.next = 4.into();
                self.word.d.next = self.held.q.val() | self.low.val();
                if self.total.val().get_bit(2) {
                    self.full.d.next = true;
                    self.held.d.next = self.high.val();
                    self.waiting.d.next = self.total.val() & 3;
                } else {
                    self.held.d.next = self.held.q.val() | self.low.val();
                    self.waiting.d.next = self.total.val();
                }
            } else if (self.source.kind.val() == 6) && (self.waiting.q.val() != 0) {
                self.source.ready.next = false;
                self.kind.d.next = 0.into();
                self.count.d.next = self.waiting.q.val();
                self.word.d.next = self.held.q.val();
                self.full.d.next = true;
                self.held.d.next = 0.into();
                self.waiting.d.next = 0.into();
            } else {
                self.word.d.next = self.source.data.val();
                self.kind.d.next = self.source.kind.val();
                self.count.d.next = 0.into();
                if (self.source.kind.val() == 1) || (self.source.kind.val() == 6) {
                    self.full.d.next = true;
                    self.held.d.next = 0.into();
                    self.waiting.d.next = 0.into();
                }
                if self.source.kind.val() == 3 {
                    self.skip.d.next = self.source.data.val().get_bits::<16>(0);
                    self.stop.d.next = self.source.data.val().get_bits::<16>(16);
                }
            }
        }
        self.sink.data.next = self.word.q.val();
        self.sink.kind.next = self.kind.q.val();
        self.sink.count.next = self.count.q.val();
        self.sink.valid.next = self.full.q.val();
        if self.reset.val() {
            self.full.d.next = false;
            self.waiting.d.next = 0.into();
            self.held.d.next = 0.into();
        }
    }
}
