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
/// **Interface.** Takes the items of `Framer`. Gives DATA items of four bytes without lead, the last of the frame of 1 to 4 with zeros above; BEGIN (kind 1 only) and END.
///
/// **Theory of operation.** SKIP and STOP are counted down by the bytes of each MPA item. What remains, 0 to 4 bytes, is appended to the up
/// to three that wait: one rotation leaves out the bytes in front and puts the others behind those. END sends what waits first, with zeros
/// above.
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
    few: Signal<Local, FB<3>>,
    total: Signal<Local, FB<3>>,
    behind: Signal<Local, FB<2>>,
    amount: Signal<Local, FB<2>>,
    once: Signal<Local, FB<32>>,
    turned: Signal<Local, FB<32>>,
    keeps: Signal<Local, FB<32>>,
    flushes: Signal<Local, Bit>,
    joined: Signal<Local, FB<32>>,
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
            if self.skip.q.val().get_bits::<14>(2).any() {
                self.lead.next = 4.into();
            }
        }
        self.rest.next = self.source.count.val() - self.lead.val();
        self.size.next = self.rest.val();
        self.few.next = self.stop.q.val().get_bits::<3>(0);
        if self.is_mpa.val()
            && !self.stop.q.val().get_bits::<13>(3).any()
            && (self.few.val() < self.rest.val())
        {
            self.size.next = self.few.val();
        }

        // Turned to where those that wait end.
        self.total.next = self.waiting.q.val() + self.size.val();
        self.flushes.next = (self.source.kind.val() == 6) && (self.waiting.q.val() != 0);
        self.behind.next = 0.into();
        if self.is_data.val() || self.flushes.val() {
            self.behind.next = self.waiting.q.val().get_bits::<2>(0);
        }
        self.amount.next = self.behind.val() - self.source.lead.val();
        if self.is_mpa.val() {
            self.amount.next = self.behind.val() - self.lead.val().get_bits::<2>(0);
        }
        self.once.next = self.source.data.val();
        if self.amount.val().get_bit(0) {
            self.once.next = (self.source.data.val() << 8) | (self.source.data.val() >> 24);
        }
        self.turned.next = self.once.val();
        if self.amount.val().get_bit(1) {
            self.turned.next = (self.once.val() << 16) | (self.once.val() >> 16);
        }
        // Which bytes are those that wait; the others are those there, or none.
        self.keeps.next = 0.into();
        if self.behind.val() != 0 {
            self.keeps.next = self.keeps.val() | 0xff;
        }
        if self.behind.val().get_bit(1) {
            self.keeps.next = self.keeps.val() | 0xff00;
        }
        if self.behind.val() == 3 {
            self.keeps.next = self.keeps.val() | 0xff_0000;
        }
        self.joined.next = self.held.q.val() & self.keeps.val();
        if !self.flushes.val() {
            self.joined.next = self.joined.val() | (self.turned.val() & !self.keeps.val());
        }

        self.source.ready.next = false;
        if self.room.val() {
            self.full.d.next = false;
        }
        if self.moves.val() {
            self.source.ready.next = !self.flushes.val();
            self.word.d.next = self.joined.val();
            self.kind.d.next = self.source.kind.val();
            self.count.d.next = self.source.count.val();
            if self.is_data.val() {
                if self.is_mpa.val() {
                    self.skip.d.next = self.skip.q.val() - bit_cast::<16, 3>(self.lead.val());
                    self.stop.d.next = self.stop.q.val() - bit_cast::<16, 3>(self.size.val());
                }
                self.kind.d.next = 0.into();
                self.count.d.next = 4.into();
                self.held.d.next = self.joined.val();
                self.full.d.next = self.total.val().get_bit(2);
                self.waiting.d.next = self.total.val() & 3;
                if self.total.val().get_bit(2) {
                    self.held.d.next = self.turned.val();
                }
            } else if self.flushes.val() {
                self.kind.d.next = 0.into();
                self.count.d.next = self.waiting.q.val();
                self.full.d.next = true;
                self.waiting.d.next = 0.into();
            } else {
                if (self.source.kind.val() == 1) || (self.source.kind.val() == 6) {
                    self.full.d.next = true;
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
        self.sink.lead.next = 0.into();
        self.sink.valid.next = self.full.q.val();
        if self.reset.val() {
            self.full.d.next = false;
            self.waiting.d.next = 0.into();
        }
    }
}
