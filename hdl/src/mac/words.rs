use crate::fb::{FB, bit_cast};
use crate::stream::{StreamIn, StreamOut};
use rust_hdl::prelude::*;

/// Bytes of received frames to the stream of the core.
///
/// ```text
///  value --> shift register --> downstream
/// ```
///
/// **Interface.** The input is the read side of a [`Crossing`](super::Crossing) as [`RmiiReceiver`](super::RmiiReceiver) fills it: bytes, then a word with bit 8 set and bit 9 if the frame is to be dropped. `downstream`:
/// the frame with two bytes of zeros in front.
///
/// **Theory of operation.** A full word waits for what comes behind it, since it may be the last. The last one is moved down with zeros.
///
/// **Latency** 2 cycles. **Throughput** four bytes in 5 cycles: at 31.25 MHz twice what 100 Mbit/s bring.
#[derive(LogicBlock, Default)]
pub struct ToWords {
    /// Rising edge.
    pub clock: Signal<In, Clock>,
    /// The core is in reset: frames that are under way vanish.
    pub reset: Signal<In, Bit>,
    /// Byte, or end.
    pub value: Signal<In, FB<10>>,
    /// There is none.
    pub empty: Signal<In, Bit>,
    /// It is taken.
    pub read: Signal<Out, Bit>,
    /// Frames.
    pub downstream: StreamOut,
    word: DFF<FB<32>>,
    // Bytes in the word, less two before the first: registers start as zero.
    fill: DFF<FB<3>>,
    inside: DFF<Bit>,
    ending: DFF<Bit>,
    unused: DFF<FB<2>>,
    bad: DFF<Bit>,
    // The frame vanishes.
    skip: DFF<Bit>,
    is_end: Signal<Local, Bit>,
    is_full: Signal<Local, Bit>,
    offers: Signal<Local, Bit>,
    is_last: Signal<Local, Bit>,
}

impl Logic for ToWords {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, word, fill, inside, ending, unused, bad, skip);
        self.is_end.next = !self.empty.val() && self.value.val().get_bit(8);
        // The first word has room for two bytes.
        self.is_full.next = self.fill.q.val() == 4;
        if !self.inside.q.val() {
            self.is_full.next = self.fill.q.val() == 2;
        }
        self.is_last.next = self.is_full.val() && (self.ending.q.val() || self.is_end.val());
        self.offers.next = self.is_full.val() && (self.ending.q.val() || !self.empty.val());
        self.downstream.valid.next = self.offers.val() && !self.skip.q.val();
        self.downstream.data.next = self.word.q.val();
        self.downstream.first.next = !self.inside.q.val();
        self.downstream.last.next = self.is_last.val();
        self.downstream.empty.next = 0.into();
        self.downstream.err.next = false;
        if self.is_last.val() {
            self.downstream.empty.next = self.unused.q.val();
            self.downstream.err.next = (self.ending.q.val() && self.bad.q.val())
                || (!self.ending.q.val() && self.value.val().get_bit(9));
        }
        self.read.next = false;
        if self.offers.val() {
            if self.downstream.ready.val() || self.skip.q.val() {
                self.fill.d.next = 0.into();
                self.inside.d.next = true;
                if self.is_last.val() {
                    self.read.next = !self.ending.q.val();
                    self.inside.d.next = false;
                    self.word.d.next = 0.into();
                    self.ending.d.next = false;
                    self.unused.d.next = 0.into();
                    self.skip.d.next = false;
                }
            }
        } else if self.ending.q.val() {
            self.word.d.next = self.word.q.val() >> 8;
            self.fill.d.next = self.fill.q.val() + 1;
            self.unused.d.next = self.unused.q.val() + 1;
        } else if !self.empty.val() && !self.is_full.val() {
            self.read.next = true;
            if self.value.val().get_bit(8) {
                self.ending.d.next = true;
                self.bad.d.next = self.value.val().get_bit(9);
                self.word.d.next = self.word.q.val() >> 8;
                self.fill.d.next = self.fill.q.val() + 1;
                self.unused.d.next = self.unused.q.val() + 1;
            } else {
                self.word.d.next =
                    (self.word.q.val() >> 8) | (bit_cast::<32, 8>(self.value.val().get_bits::<8>(0)) << 24);
                self.fill.d.next = self.fill.q.val() + 1;
            }
        }
        if !self.inside.q.val() && (self.fill.q.val() == 0) {
            self.skip.d.next = false;
        }
        if self.reset.val() {
            self.skip.d.next = true;
        }
    }
}

/// Frames of the core to bytes for the wire.
///
/// ```text
///  upstream --> shift register --> value
/// ```
///
/// **Interface.** `upstream`: frames with two pad bytes in front, which go away. The output is the write side of a [`Crossing`](super::Crossing) as [`RmiiSender`](super::RmiiSender) reads it: bytes, the last of
/// a frame with bit 8 set, and bit 9 if the frame is to be spoiled (`err`, or a reset in the middle of it); each is public at once.
///
/// **Latency** 1 cycle. **Throughput** four bytes in 5 cycles.
#[derive(LogicBlock, Default)]
pub struct FromWords {
    /// Rising edge.
    pub clock: Signal<In, Clock>,
    /// The core is in reset: its frame ends here.
    pub reset: Signal<In, Bit>,
    /// Frames.
    pub upstream: StreamIn,
    /// Byte; bit 8: the last; bit 9: of a frame that must not be taken for good.
    pub value: Signal<Out, FB<10>>,
    /// There is no room.
    pub full: Signal<In, Bit>,
    /// Put it there.
    pub write: Signal<Out, Bit>,
    word: DFF<FB<32>>,
    left: DFF<FB<3>>,
    is_last: DFF<Bit>,
    bad: DFF<Bit>,
    // Its last byte has not come.
    open: DFF<Bit>,
    unused: Signal<Local, FB<3>>,
    bytes: Signal<Local, FB<3>>,
    flag: Signal<Local, Bit>,
}

impl Logic for FromWords {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, word, left, is_last, bad, open);
        self.upstream.ready.next = self.left.q.val() == 0;
        self.unused.next = bit_cast::<3, 2>(self.upstream.empty.val());
        self.bytes.next = 4.into();
        if self.upstream.last.val() {
            self.bytes.next = self.bytes.val() - self.unused.val();
        }
        if self.upstream.first.val() {
            self.bytes.next = self.bytes.val() - 2;
        }
        self.write.next = false;
        self.flag.next = self.is_last.q.val() && (self.left.q.val() == 1);
        self.value.next = bit_cast::<10, 8>(self.word.q.val().get_bits::<8>(0))
            | (bit_cast::<10, 1>(self.flag.val().into()) << 8)
            | (bit_cast::<10, 1>((self.flag.val() & self.bad.q.val()).into()) << 9);
        if self.left.q.val() == 0 {
            if self.upstream.valid.val() {
                self.word.d.next = self.upstream.data.val();
                if self.upstream.first.val() {
                    self.word.d.next = self.upstream.data.val() >> 16;
                }
                self.left.d.next = self.bytes.val();
                self.is_last.d.next = self.upstream.last.val();
                self.bad.d.next = self.upstream.err.val();
                self.open.d.next = !self.upstream.last.val();
            }
        } else if !self.full.val() {
            self.write.next = true;
            self.word.d.next = self.word.q.val() >> 8;
            self.left.d.next = self.left.q.val() - 1;
        }
        if self.reset.val() {
            self.upstream.ready.next = false;
            if self.left.q.val() == 0 {
                self.left.d.next = 0.into();
                self.open.d.next = false;
                // One byte more, and that is the end.
                if self.open.q.val() {
                    self.left.d.next = 1.into();
                    self.is_last.d.next = true;
                    self.bad.d.next = true;
                }
            }
        }
    }
}
