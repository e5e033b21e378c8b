use super::Crc32x8;
use crate::fb::{FB, bit_cast};
use rust_hdl::prelude::*;

/// Where in a frame the receiver is.
#[derive(Copy, Clone, PartialEq, Debug, LogicState)]
enum Receiving {
    /// Nothing is received, or preamble.
    Idle,
    /// Behind the SFD.
    Data,
    /// The last word is moved down and written.
    Tail,
    /// And made public.
    Publish,
    /// The rest of something that is no frame, or is not wanted.
    Skip,
}

/// Frames from the receive pins of a GMII PHY (1 Gbit/s, IEEE 802.3 clause 35).
///
/// ```text
///  rxd, rx_dv, rx_er --> registers --> delay of 4 bytes --> word --> value, write, publish, close
///                            |
///                            +--> Crc32x8
/// ```
///
/// **Interface.** `clock` is RX_CLK, 125 MHz. The output is the write side of a [`Crossing`](super::Crossing): words of the frame with two pad bytes in front and without FCS; bits 33:32 bytes of the word that
/// are none, bit 34 the last, bit 35 the frame is to be dropped. `taken` counts good frames, `lost` those for which there was no room; both wrap.
///
/// **Theory of operation.** 55s, of which any number may be missing, and D5 begin a frame. A byte goes into the word when four more have come, so the FCS never does. A word is written when there is something to follow it, and
/// made public when the next is written; so when there is no room, the one that is not public gives its place to an end that drops the frame: it is never cut, and the receiver never waits. Behind the
/// frame, at most 5 cycles, the last word is moved down, written and made public. RX_ER within a frame spoils it; outside of one it says something (false carrier, extension) that is passed over.
///
/// **Errors.** To be dropped: a wrong FCS, RX_ER, less than 64 bytes, more than `longest`. Less than five bytes leave no trace.
///
/// **Latency** of a word 9 cycles from its first byte, or until the frame ends. **Throughput** 8 bits a cycle. **Area** docs/area.md.
#[derive(LogicBlock)]
pub struct GmiiReceiver {
    /// 125 MHz, rising edge.
    pub clock: Signal<In, Clock>,
    /// Byte, the first bit lowest.
    pub rxd: Signal<In, FB<8>>,
    /// It is one.
    pub rx_dv: Signal<In, Bit>,
    /// It is wrong.
    pub rx_er: Signal<In, Bit>,
    /// Word.
    pub value: Signal<Out, FB<36>>,
    /// There is no room.
    pub full: Signal<In, Bit>,
    /// Put `value` at the end.
    pub write: Signal<Out, Bit>,
    /// Make one more public.
    pub publish: Signal<Out, Bit>,
    /// Put `value` behind what is public.
    pub close: Signal<Out, Bit>,
    /// Good frames.
    pub taken: Signal<Out, FB<8>>,
    /// Frames without room.
    pub lost: Signal<Out, FB<8>>,
    crc: Crc32x8,
    // Bytes with FCS, less one.
    longest: Constant<FB<14>>,
    // An end that drops its frame.
    dropped: Constant<FB<36>>,
    state: DFF<Receiving>,
    byte: DFF<FB<8>>,
    valid: DFF<Bit>,
    error: DFF<Bit>,
    // The last four bytes, the oldest lowest, and how many they are.
    delay: DFF<FB<32>>,
    held: DFF<FB<3>>,
    word: DFF<FB<32>>,
    fill: DFF<FB<3>>,
    unused: DFF<FB<2>>,
    count: DFF<FB<14>>,
    // There are 64; there are as many as there may be.
    enough: DFF<Bit>,
    complete: DFF<Bit>,
    broken: DFF<Bit>,
    bad: DFF<Bit>,
    // A word of this frame is written and not public.
    hidden: DFF<Bit>,
    taken_count: DFF<FB<8>>,
    lost_count: DFF<FB<8>>,
    puts: Signal<Local, Bit>,
    oldest: Signal<Local, FB<32>>,
    loses: Signal<Local, Bit>,
    is_end: Signal<Local, Bit>,
}

impl GmiiReceiver {
    /// For frames of up to so many bytes, FCS included: 64 to 16,383.
    ///
    /// # Panics
    /// If `longest` is not in that range.
    pub fn new(longest: u16) -> Self {
        assert!((64..1 << 14).contains(&longest), "frames have 64 to 16383 bytes, not {longest}");
        GmiiReceiver {
            clock: Signal::default(),
            rxd: Signal::default(),
            rx_dv: Signal::default(),
            rx_er: Signal::default(),
            value: Signal::default(),
            full: Signal::default(),
            write: Signal::default(),
            publish: Signal::default(),
            close: Signal::default(),
            taken: Signal::default(),
            lost: Signal::default(),
            crc: Crc32x8::default(),
            longest: Constant::new(FB::new(u64::from(longest) - 1)),
            dropped: Constant::new(FB::new(3 << 34)),
            state: DFF::default(),
            byte: DFF::default(),
            valid: DFF::default(),
            error: DFF::default(),
            delay: DFF::default(),
            held: DFF::default(),
            word: DFF::default(),
            fill: DFF::default(),
            unused: DFF::default(),
            count: DFF::default(),
            enough: DFF::default(),
            complete: DFF::default(),
            broken: DFF::default(),
            bad: DFF::default(),
            hidden: DFF::default(),
            taken_count: DFF::default(),
            lost_count: DFF::default(),
            puts: Signal::default(),
            oldest: Signal::default(),
            loses: Signal::default(),
            is_end: Signal::default(),
        }
    }
}

impl Logic for GmiiReceiver {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, state, byte, valid, error, delay, held, word, fill, unused, count);
        dff_setup!(self, clock, enough, complete, broken, bad, hidden, taken_count, lost_count);
        clock!(self, clock, crc);
        self.byte.d.next = self.rxd.val();
        self.valid.d.next = self.rx_dv.val();
        self.error.d.next = self.rx_er.val();
        self.crc.init.next = self.state.q.val() == Receiving::Idle;
        self.crc.enable.next = (self.state.q.val() == Receiving::Data) && self.valid.q.val();
        self.crc.byte.next = self.byte.q.val();
        self.crc.shift.next = false;
        self.oldest.next = self.delay.q.val() << 24;
        self.is_end.next = self.state.q.val() == Receiving::Tail;
        self.value.next = bit_cast::<36, 32>(self.word.q.val())
            | (bit_cast::<36, 2>(self.unused.q.val()) << 32)
            | (bit_cast::<36, 1>(self.is_end.val().into()) << 34)
            | (bit_cast::<36, 1>(self.bad.q.val().into()) << 35);
        self.write.next = false;
        self.publish.next = false;
        self.close.next = false;
        self.puts.next = false;
        self.loses.next = false;
        match self.state.q.val() {
            Receiving::Idle => {
                self.held.d.next = 0.into();
                self.word.d.next = 0.into();
                self.fill.d.next = 2.into();
                self.unused.d.next = 0.into();
                self.count.d.next = 0.into();
                self.enough.d.next = false;
                self.complete.d.next = false;
                self.broken.d.next = false;
                self.bad.d.next = false;
                self.hidden.d.next = false;
                if self.valid.q.val() && (self.byte.q.val() == 0xd5) {
                    self.state.d.next = Receiving::Data;
                } else if self.valid.q.val() && (self.byte.q.val() != 0x55) {
                    self.state.d.next = Receiving::Skip;
                }
            }
            Receiving::Data => {
                if !self.valid.q.val() {
                    self.bad.d.next = !self.crc.right.val() || self.broken.q.val() || !self.enough.q.val();
                    self.state.d.next = Receiving::Tail;
                    if !self.hidden.q.val() && (self.fill.q.val() == 2) {
                        self.state.d.next = Receiving::Idle;
                    }
                } else if self.complete.q.val() {
                    self.bad.d.next = true;
                    self.state.d.next = Receiving::Tail;
                } else {
                    self.broken.d.next = self.broken.q.val() || self.error.q.val();
                    self.count.d.next = self.count.q.val() + 1;
                    if self.count.q.val() == 63 {
                        self.enough.d.next = true;
                    }
                    if self.count.q.val() == self.longest.val() {
                        self.complete.d.next = true;
                    }
                    self.delay.d.next =
                        (self.delay.q.val() >> 8) | (bit_cast::<32, 8>(self.byte.q.val()) << 24);
                    if self.held.q.val() != 4 {
                        self.held.d.next = self.held.q.val() + 1;
                    } else {
                        self.word.d.next = (self.word.q.val() >> 8) | self.oldest.val();
                        self.fill.d.next = self.fill.q.val() + 1;
                        if self.fill.q.val() == 4 {
                            self.fill.d.next = 1.into();
                            self.puts.next = true;
                        }
                    }
                }
            }
            Receiving::Tail => {
                if self.fill.q.val() != 4 {
                    self.word.d.next = self.word.q.val() >> 8;
                    self.fill.d.next = self.fill.q.val() + 1;
                    self.unused.d.next = self.unused.q.val() + 1;
                } else {
                    self.puts.next = true;
                    self.state.d.next = Receiving::Publish;
                    if !self.bad.q.val() && !self.full.val() {
                        self.taken_count.d.next = self.taken_count.q.val() + 1;
                    }
                }
            }
            Receiving::Publish => {
                self.publish.next = true;
                self.state.d.next = Receiving::Skip;
            }
            Receiving::Skip => {
                if !self.valid.q.val() {
                    self.state.d.next = Receiving::Idle;
                }
            }
        }
        if self.puts.val() {
            if self.full.val() {
                self.loses.next = true;
            } else {
                self.write.next = true;
                self.publish.next = self.hidden.q.val();
                self.hidden.d.next = true;
            }
        }
        if self.loses.val() {
            self.close.next = self.hidden.q.val();
            self.value.next = self.dropped.val();
            self.lost_count.d.next = self.lost_count.q.val() + 1;
            self.state.d.next = Receiving::Skip;
        }
        self.taken.next = self.taken_count.q.val();
        self.lost.next = self.lost_count.q.val();
    }
}

/// Where in a frame the sender is.
#[derive(Copy, Clone, PartialEq, Debug, LogicState)]
enum Sending {
    /// Nothing to send.
    Idle,
    /// Seven times 55, and D5.
    Preamble,
    /// Bytes of the frame.
    Data,
    /// Zeros up to 60 bytes.
    Pad,
    /// The FCS.
    Fcs,
    /// 12 bytes of silence.
    Gap,
    /// The rest of a frame that was spoiled.
    Skip,
}

/// Frames to the transmit pins of a GMII PHY.
///
/// ```text
///  value --> shift --> byte --> registers --> txd, tx_en, tx_er
///              |         ^
///            Crc32x8 ----+
/// ```
///
/// **Interface.** `clock` is GTX_CLK, 125 MHz. The input is the read side of a [`Crossing`](super::Crossing): words as [`GmiiReceiver`] writes them; bit 35 with the last: the frame is to be spoiled. `sent` counts frames,
/// `spoiled` those whose words did not come in time; both wrap.
///
/// **Theory of operation.** Preamble and SFD, the bytes behind the two of the pad, zeros up to 60, FCS, 12 bytes of silence. When the queue is empty in the middle of a frame, what has been sent is followed by an FCS that is
/// wrong in every bit, with TX_ER, and the rest is dropped. A core of more than 31.25 MHz gives a word before four bytes have gone.
///
/// **Latency** of the first byte 10 cycles. **Throughput** 1 Gbit/s. **Area** docs/area.md.
#[derive(LogicBlock, Default)]
pub struct GmiiSender {
    /// 125 MHz, rising edge.
    pub clock: Signal<In, Clock>,
    /// Word; 33:32: bytes that are none; bit 34: the last of its frame; bit 35: spoil it.
    pub value: Signal<In, FB<36>>,
    /// There is none.
    pub empty: Signal<In, Bit>,
    /// It is taken.
    pub read: Signal<Out, Bit>,
    /// Byte, the first bit lowest.
    pub txd: Signal<Out, FB<8>>,
    /// It is one.
    pub tx_en: Signal<Out, Bit>,
    /// It is wrong.
    pub tx_er: Signal<Out, Bit>,
    /// Frames sent.
    pub sent: Signal<Out, FB<8>>,
    /// Frames spoiled.
    pub spoiled: Signal<Out, FB<8>>,
    crc: Crc32x8,
    state: DFF<Sending>,
    byte_out: DFF<FB<8>>,
    enable_out: DFF<Bit>,
    error_out: DFF<Bit>,
    word: DFF<FB<32>>,
    // Bytes of the word still to be sent, with this one.
    left: DFF<FB<3>>,
    is_last: DFF<Bit>,
    is_wrong: DFF<Bit>,
    is_spoiled: DFF<Bit>,
    // Bytes sent with this one, up to 60.
    bytes: DFF<FB<6>>,
    count: DFF<FB<4>>,
    sent_count: DFF<FB<8>>,
    spoiled_count: DFF<FB<8>>,
    byte: Signal<Local, FB<8>>,
    enable: Signal<Local, Bit>,
    wrong: Signal<Local, Bit>,
    loads: Signal<Local, Bit>,
    opens: Signal<Local, Bit>,
    size: Signal<Local, FB<3>>,
    none: Signal<Local, FB<3>>,
    more: Signal<Local, FB<6>>,
}

impl Logic for GmiiSender {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, state, byte_out, enable_out, error_out, word, left, is_last, is_wrong);
        dff_setup!(self, clock, is_spoiled, bytes, count, sent_count, spoiled_count);
        clock!(self, clock, crc);
        self.crc.init.next = self.state.q.val() == Sending::Preamble;
        self.crc.enable.next = (self.state.q.val() == Sending::Data) || (self.state.q.val() == Sending::Pad);
        self.crc.shift.next = self.state.q.val() == Sending::Fcs;
        self.byte.next = 0.into();
        self.enable.next = true;
        self.wrong.next = false;
        self.read.next = false;
        self.loads.next = false;
        self.opens.next = false;
        self.more.next = self.bytes.q.val();
        if self.bytes.q.val() != 60 {
            self.more.next = self.bytes.q.val() + 1;
        }
        match self.state.q.val() {
            Sending::Idle => {
                self.enable.next = false;
                self.count.d.next = 0.into();
                self.bytes.d.next = 1.into();
                self.is_spoiled.d.next = false;
                if !self.empty.val() {
                    self.state.d.next = Sending::Preamble;
                }
            }
            Sending::Preamble => {
                self.byte.next = 0x55.into();
                self.count.d.next = self.count.q.val() + 1;
                if self.count.q.val() == 7 {
                    self.byte.next = 0xd5.into();
                    self.loads.next = true;
                    self.opens.next = true;
                    self.state.d.next = Sending::Data;
                }
            }
            Sending::Data => {
                self.byte.next = self.word.q.val().get_bits::<8>(0);
                self.word.d.next = self.word.q.val() >> 8;
                self.left.d.next = self.left.q.val() - 1;
                self.bytes.d.next = self.more.val();
                self.count.d.next = 0.into();
                if self.left.q.val() == 1 {
                    if self.is_last.q.val() {
                        self.state.d.next = Sending::Pad;
                        if self.bytes.q.val() == 60 {
                            self.state.d.next = Sending::Fcs;
                        }
                    } else if self.empty.val() {
                        self.is_spoiled.d.next = true;
                        self.spoiled_count.d.next = self.spoiled_count.q.val() + 1;
                        self.state.d.next = Sending::Fcs;
                    } else {
                        self.loads.next = true;
                    }
                }
            }
            Sending::Pad => {
                self.bytes.d.next = self.more.val();
                if self.bytes.q.val() == 60 {
                    self.state.d.next = Sending::Fcs;
                }
            }
            Sending::Fcs => {
                self.byte.next = self.crc.fcs_byte.val();
                if self.is_spoiled.q.val() || self.is_wrong.q.val() {
                    self.byte.next = !self.crc.fcs_byte.val();
                    self.wrong.next = true;
                }
                self.count.d.next = self.count.q.val() + 1;
                if self.count.q.val() == 3 {
                    self.count.d.next = 0.into();
                    self.state.d.next = Sending::Gap;
                    self.sent_count.d.next = self.sent_count.q.val() + 1;
                }
            }
            Sending::Gap => {
                self.enable.next = false;
                self.count.d.next = self.count.q.val() + 1;
                if self.count.q.val() == 11 {
                    self.state.d.next = Sending::Idle;
                    if self.is_spoiled.q.val() {
                        self.state.d.next = Sending::Skip;
                    }
                }
            }
            Sending::Skip => {
                self.enable.next = false;
                if !self.empty.val() {
                    self.read.next = true;
                    if self.value.val().get_bit(34) {
                        self.state.d.next = Sending::Idle;
                    }
                }
            }
        }
        self.none.next = bit_cast::<3, 2>(self.value.val().get_bits::<2>(32));
        self.size.next = 4.into();
        self.size.next = self.size.val() - self.none.val();
        if self.loads.val() {
            self.read.next = true;
            self.word.d.next = self.value.val().get_bits::<32>(0);
            self.left.d.next = self.size.val();
            self.is_last.d.next = self.value.val().get_bit(34);
            self.is_wrong.d.next = self.value.val().get_bit(35);
        }
        // The two pad bytes of the first word.
        if self.opens.val() {
            self.word.d.next = bit_cast::<32, 16>(self.value.val().get_bits::<16>(16));
            self.left.d.next = self.size.val() - 2;
        }
        self.crc.byte.next = self.byte.val();
        self.byte_out.d.next = self.byte.val();
        self.enable_out.d.next = self.enable.val();
        self.error_out.d.next = self.wrong.val();
        if !self.enable.val() {
            self.byte_out.d.next = 0.into();
        }
        self.txd.next = self.byte_out.q.val();
        self.tx_en.next = self.enable_out.q.val();
        self.tx_er.next = self.error_out.q.val();
        self.sent.next = self.sent_count.q.val();
        self.spoiled.next = self.spoiled_count.q.val();
    }
}
