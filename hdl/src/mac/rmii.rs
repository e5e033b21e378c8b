use super::Crc32;
use crate::fb::{FB, bit_cast};
use rust_hdl::prelude::*;

/// Where in a frame the receiver is.
#[derive(Copy, Clone, PartialEq, Debug, LogicState)]
enum Receiving {
    /// Nothing is received.
    Idle,
    /// Behind the first 01.
    Preamble,
    /// Behind the SFD.
    Data,
    /// The rest of something that is no frame, or is not wanted.
    Skip,
}

/// Frames from the receive pins of an RMII PHY (LAN8720 type, 100 Mbit/s).
///
/// ```text
///  rxd, crs_dv --> two registers --> FSM --> byte --> value, write, publish, close, discard
///                        |            |
///                        +--> Crc32 --+
/// ```
///
/// **Interface.** `clock` is the 50 MHz reference. The output is the write side of a [`Crossing`](super::Crossing): bytes of the frame without FCS, then a word with bit 8 set, which ends it, and bit 9
/// if it is to be dropped. `taken` counts good frames, `lost` those for which there was no room; both wrap.
///
/// **Theory of operation.** CRS_DV may toggle at the end of a frame: it is low in the first di-bits of nibbles that still come, so only two cycles low are the end. Any number of
/// 01 di-bits, then 11, begins a frame. The last four bytes are the FCS, but which they are is known only at the end: they wait in the queue, not yet public, and the end takes their place. So a
/// frame never lacks room for its end. A byte for which there is no room ends the frame there and then, as one to be dropped: it is never cut, and the receiver never waits.
/// Di-bits behind the last whole byte are not looked at.
///
/// **Errors.** To be dropped: a wrong FCS, less than 64 bytes, more than 1518. Less than five bytes leave no trace.
///
/// **Latency** of a byte 3 cycles, and 16 for the four behind it. **Area** docs/area.md.
#[derive(LogicBlock, Default)]
pub struct RmiiReceiver {
    /// 50 MHz, rising edge.
    pub clock: Signal<In, Clock>,
    /// Di-bit, the first bit lowest.
    pub rxd: Signal<In, FB<2>>,
    /// Carrier or data.
    pub crs_dv: Signal<In, Bit>,
    /// Byte, or end.
    pub value: Signal<Out, FB<10>>,
    /// There is no room.
    pub full: Signal<In, Bit>,
    /// Put `value` at the end.
    pub write: Signal<Out, Bit>,
    /// Make one more public.
    pub publish: Signal<Out, Bit>,
    /// Put `value` behind what is public.
    pub close: Signal<Out, Bit>,
    /// Forget what is not public.
    pub discard: Signal<Out, Bit>,
    /// Good frames.
    pub taken: Signal<Out, FB<8>>,
    /// Frames without room.
    pub lost: Signal<Out, FB<8>>,
    crc: Crc32,
    state: DFF<Receiving>,
    pair: DFF<FB<2>>,
    valid: DFF<Bit>,
    pair_before: DFF<FB<2>>,
    valid_before: DFF<Bit>,
    shift: DFF<FB<6>>,
    phase: DFF<FB<2>>,
    count: DFF<FB<11>>,
    // A byte has just been completed; the FCS was right behind the last one.
    completed: DFF<Bit>,
    was_right: DFF<Bit>,
    taken_count: DFF<FB<8>>,
    lost_count: DFF<FB<8>>,
    is_right: Signal<Local, Bit>,
    whole: Signal<Local, FB<8>>,
    shifted: Signal<Local, FB<8>>,
    over: Signal<Local, Bit>,
    behind_fcs: Signal<Local, Bit>,
    bad: Signal<Local, Bit>,
    ends: Signal<Local, Bit>,
}

impl Logic for RmiiReceiver {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, state, pair, valid, pair_before, valid_before, shift, phase, count);
        dff_setup!(self, clock, completed, was_right, taken_count, lost_count);
        clock!(self, clock, crc);
        self.pair.d.next = self.rxd.val();
        self.valid.d.next = self.crs_dv.val();
        self.pair_before.d.next = self.pair.q.val();
        self.valid_before.d.next = self.valid.q.val();
        self.crc.init.next = self.state.q.val() != Receiving::Data;
        self.crc.enable.next = false;
        self.crc.pair.next = self.pair_before.q.val();
        self.crc.shift.next = false;
        self.completed.d.next = false;
        self.is_right.next = self.was_right.q.val();
        if self.completed.q.val() {
            self.is_right.next = self.crc.right.val();
        }
        self.was_right.d.next = self.is_right.val();
        self.shifted.next =
            bit_cast::<8, 6>(self.shift.q.val()) | (bit_cast::<8, 2>(self.pair_before.q.val()) << 6);
        self.whole.next = self.shifted.val();
        self.over.next = !self.valid_before.q.val() && !self.valid.q.val();
        // More than the four bytes that may be the FCS have come.
        self.behind_fcs.next = self.count.q.val() > 4;
        self.write.next = false;
        self.publish.next = false;
        self.close.next = false;
        self.discard.next = false;
        self.ends.next = false;
        self.bad.next = true;
        match self.state.q.val() {
            Receiving::Idle => {
                if self.valid_before.q.val() && (self.pair_before.q.val() == 1) {
                    self.state.d.next = Receiving::Preamble;
                }
                if self.valid_before.q.val() && (self.pair_before.q.val() > 1) {
                    self.state.d.next = Receiving::Skip;
                }
            }
            Receiving::Preamble => {
                self.phase.d.next = 0.into();
                self.count.d.next = 0.into();
                self.was_right.d.next = false;
                if self.pair_before.q.val() == 3 {
                    self.state.d.next = Receiving::Data;
                } else if self.pair_before.q.val() != 1 {
                    self.state.d.next = Receiving::Skip;
                }
                if !self.valid_before.q.val() {
                    self.state.d.next = Receiving::Skip;
                }
            }
            Receiving::Data => {
                if self.over.val() {
                    self.ends.next = true;
                    self.bad.next = !self.is_right.val() || (self.count.q.val() < 64);
                    self.state.d.next = Receiving::Idle;
                    if !self.bad.val() {
                        self.taken_count.d.next = self.taken_count.q.val() + 1;
                    }
                } else {
                    self.crc.enable.next = true;
                    self.shift.d.next = self.shifted.val().get_bits::<6>(2);
                    self.phase.d.next = self.phase.q.val() + 1;
                    if self.phase.q.val() == 3 {
                        if self.full.val() || (self.count.q.val() == 1518) {
                            self.ends.next = true;
                            self.state.d.next = Receiving::Skip;
                            if self.full.val() {
                                self.lost_count.d.next = self.lost_count.q.val() + 1;
                            }
                        } else {
                            self.completed.d.next = true;
                            self.write.next = true;
                            self.publish.next = self.count.q.val() > 3;
                            self.count.d.next = self.count.q.val() + 1;
                        }
                    }
                }
            }
            Receiving::Skip => {
                if self.over.val() {
                    self.state.d.next = Receiving::Idle;
                }
            }
        }
        self.value.next = bit_cast::<10, 8>(self.whole.val());
        if self.ends.val() {
            self.value.next = 0x100.into();
            if self.bad.val() {
                self.value.next = 0x300.into();
            }
            self.close.next = self.behind_fcs.val();
            self.discard.next = !self.behind_fcs.val();
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
    /// 31 times 01, and 11.
    Preamble,
    /// Bytes of the frame.
    Data,
    /// Zeros up to 60 bytes.
    Pad,
    /// The FCS.
    Fcs,
    /// 96 bits of silence.
    Gap,
    /// The rest of a frame that was spoiled.
    Skip,
}

/// Frames to the transmit pins of an RMII PHY.
///
/// ```text
///  value --> shift --> di-bit --> registers --> txd, tx_en
///              |          ^
///            Crc32 -------+
/// ```
///
/// **Interface.** `clock` is the 50 MHz reference. The input is the read side of a [`Crossing`](super::Crossing): bytes of the frame, the last with bit 8 set, and bit 9 if the frame is to be spoiled. `sent` counts frames, `spoiled` those
/// whose bytes did not come in time; both wrap.
///
/// **Theory of operation.** Preamble and SFD, the bytes, zeros up to 60, FCS, at least 96 bits of silence. When the queue is empty in the middle of a frame, what has been sent is followed by an FCS that is wrong in
/// every bit, so that no receiver takes it, and the rest is dropped. The core gives a byte each cycle of its clock, and a byte takes four here, so with a core of more than
/// 20 MHz that does not happen.
///
/// **Latency** of the first byte 34 cycles. **Throughput** 100 Mbit/s. **Area** docs/area.md.
#[derive(LogicBlock, Default)]
pub struct RmiiSender {
    /// 50 MHz, rising edge.
    pub clock: Signal<In, Clock>,
    /// Byte; bit 8: the last of its frame; bit 9: spoil it.
    pub value: Signal<In, FB<10>>,
    /// There is none.
    pub empty: Signal<In, Bit>,
    /// It is taken.
    pub read: Signal<Out, Bit>,
    /// Di-bit, the first bit lowest.
    pub txd: Signal<Out, FB<2>>,
    /// It is one.
    pub tx_en: Signal<Out, Bit>,
    /// Frames sent.
    pub sent: Signal<Out, FB<8>>,
    /// Frames spoiled.
    pub spoiled: Signal<Out, FB<8>>,
    crc: Crc32,
    state: DFF<Sending>,
    pair_out: DFF<FB<2>>,
    enable_out: DFF<Bit>,
    shift: DFF<FB<8>>,
    is_last: DFF<Bit>,
    is_wrong: DFF<Bit>,
    phase: DFF<FB<2>>,
    // Bytes sent with this one, up to 60.
    bytes: DFF<FB<6>>,
    count: DFF<FB<6>>,
    is_spoiled: DFF<Bit>,
    sent_count: DFF<FB<8>>,
    spoiled_count: DFF<FB<8>>,
    pair: Signal<Local, FB<2>>,
    enable: Signal<Local, Bit>,
    loads: Signal<Local, Bit>,
    more: Signal<Local, FB<6>>,
}

impl Logic for RmiiSender {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, state, pair_out, enable_out, shift, is_last, phase, bytes, count);
        dff_setup!(self, clock, is_spoiled, is_wrong, sent_count, spoiled_count);
        clock!(self, clock, crc);
        self.crc.init.next = self.state.q.val() == Sending::Preamble;
        self.crc.enable.next = (self.state.q.val() == Sending::Data) || (self.state.q.val() == Sending::Pad);
        self.crc.shift.next = self.state.q.val() == Sending::Fcs;
        self.pair.next = 0.into();
        self.enable.next = true;
        self.read.next = false;
        self.loads.next = false;
        self.more.next = self.bytes.q.val();
        if self.bytes.q.val() != 60 {
            self.more.next = self.bytes.q.val() + 1;
        }
        match self.state.q.val() {
            Sending::Idle => {
                self.enable.next = false;
                self.count.d.next = 0.into();
                self.bytes.d.next = 0.into();
                self.is_spoiled.d.next = false;
                if !self.empty.val() {
                    self.state.d.next = Sending::Preamble;
                }
            }
            Sending::Preamble => {
                self.pair.next = 1.into();
                self.phase.d.next = 0.into();
                self.count.d.next = self.count.q.val() + 1;
                if self.count.q.val() == 31 {
                    self.pair.next = 3.into();
                    self.loads.next = true;
                    self.state.d.next = Sending::Data;
                }
            }
            Sending::Data => {
                self.pair.next = self.shift.q.val().get_bits::<2>(0);
                self.shift.d.next = self.shift.q.val() >> 2;
                self.phase.d.next = self.phase.q.val() + 1;
                self.count.d.next = 0.into();
                if self.phase.q.val() == 3 {
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
                self.phase.d.next = self.phase.q.val() + 1;
                if self.phase.q.val() == 3 {
                    self.bytes.d.next = self.more.val();
                    if self.bytes.q.val() == 59 {
                        self.state.d.next = Sending::Fcs;
                    }
                }
            }
            Sending::Fcs => {
                self.pair.next = self.crc.pair_out.val();
                if self.is_spoiled.q.val() || self.is_wrong.q.val() {
                    self.pair.next = !self.crc.pair_out.val();
                }
                self.count.d.next = self.count.q.val() + 1;
                if self.count.q.val() == 15 {
                    self.count.d.next = 0.into();
                    self.state.d.next = Sending::Gap;
                    self.sent_count.d.next = self.sent_count.q.val() + 1;
                }
            }
            Sending::Gap => {
                self.enable.next = false;
                self.count.d.next = self.count.q.val() + 1;
                if self.count.q.val() == 47 {
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
                    if self.value.val().get_bit(8) {
                        self.state.d.next = Sending::Idle;
                    }
                }
            }
        }
        if self.loads.val() {
            self.read.next = true;
            self.shift.d.next = self.value.val().get_bits::<8>(0);
            self.is_last.d.next = self.value.val().get_bit(8);
            self.is_wrong.d.next = self.value.val().get_bit(9);
            self.bytes.d.next = self.more.val();
        }
        self.crc.pair.next = self.pair.val();
        self.pair_out.d.next = self.pair.val();
        self.enable_out.d.next = self.enable.val();
        if !self.enable.val() {
            self.pair_out.d.next = 0.into();
        }
        self.txd.next = self.pair_out.q.val();
        self.tx_en.next = self.enable_out.q.val();
        self.sent.next = self.sent_count.q.val();
        self.spoiled.next = self.spoiled_count.q.val();
    }
}
