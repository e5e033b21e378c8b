use super::{Options, Sum};
use crate::fb::{FB, bit_cast, bits};
use rust_hdl::prelude::*;

/// Says what a frame is, as the golden `classify` does, while its words go by.
///
/// ```text
///  data --+--> fields, by word number --+
///         +--> IP sum, TCP sum ---------+--> class, foreign, dropped
///         +--> Options -----------------+
///         +--> words 7..12 -----------------> slot, slot_data, slot_write
/// ```
///
/// **Interface.** Words of a frame with 2 pad bytes in front: `data` while `valid`, gone with `take`; it must not go while
/// `hold` is set. From the third cycle behind the last on, with the frame's `length` in bytes
/// given, `class` is as in D0 of section 2 of docs/microarchitecture.md, and `hash`, `offset` (TCP header in words) and
/// `payload` (bytes) are those of a segment. `foreign`: for another address; `dropped`: and nobody wants it. Words D3..D8 of its
/// descriptor come out on the way. `clear` begins a frame.
///
/// **Theory of operation.** Word n of a frame holds the same fields in every frame up to the TCP header, so a counter of words and
/// a register per check do. Checks are joined in the order of the golden model: a segment with a broken option
/// is malformed whatever its checksum. Fields of a frame too short to have them are those of the one before, but its length
/// or that of its headers is then found wrong first. The pseudo header enters the TCP sum while the IPv4 header goes
/// by; behind the datagram's own length the sum takes no more bytes, and one that claims more than has come is found out there.
///
/// **Latency** 3 cycles. **Throughput** one word a cycle, 4 cycles a word of TCP options.
///
/// **Area** on the HX8K: part of the parser.
#[derive(LogicBlock, Default)]
pub struct Classify {
    /// Rising edge.
    pub clock: Signal<In, Clock>,
    /// Synchronous: a frame begins.
    pub clear: Signal<In, Bit>,
    /// A word.
    pub data: Signal<In, FB<32>>,
    /// It is there.
    pub valid: Signal<In, Bit>,
    /// It goes.
    pub take: Signal<In, Bit>,
    /// It must stay.
    pub hold: Signal<Out, Bit>,
    /// Bytes of it that are none.
    pub empty: Signal<In, FB<2>>,
    /// Bytes without the pad.
    pub length: Signal<In, FB<16>>,
    /// The frame is too long for the ring.
    pub oversize: Signal<In, Bit>,
    /// Own MAC address, bytes 0 to 3.
    pub mac_low: Signal<In, FB<32>>,
    /// Own MAC address, bytes 4 and 5.
    pub mac_high: Signal<In, FB<16>>,
    /// Keep frames for other addresses, as raw frames.
    pub promiscuous: Signal<In, Bit>,
    /// What the frame is.
    pub class: Signal<Out, FB<4>>,
    /// It is for another address.
    pub foreign: Signal<Out, Bit>,
    /// It is, and is not wanted.
    pub dropped: Signal<Out, Bit>,
    /// Of remote address and ports.
    pub hash: Signal<Out, FB<8>>,
    /// Words of the TCP header.
    pub offset: Signal<Out, FB<4>>,
    /// Bytes of payload.
    pub payload: Signal<Out, FB<16>>,
    /// Word of the descriptor.
    pub slot: Signal<Out, FB<7>>,
    /// What it is.
    pub slot_data: Signal<Out, FB<32>>,
    /// Write it.
    pub slot_write: Signal<Out, Bit>,
    options: Options,
    ip_sum: Sum,
    tcp_sum: Sum,
    n: DFF<FB<5>>,
    multicast: DFF<Bit>,
    beginning: DFF<Bit>,
    is_foreign: DFF<Bit>,
    is_dropped: DFF<Bit>,
    ipv4: DFF<Bit>,
    version4: DFF<Bit>,
    ihl: DFF<FB<4>>,
    total: DFF<FB<16>>,
    // The datagram claims more than has come.
    short: DFF<Bit>,
    fragment: DFF<Bit>,
    tcp: DFF<Bit>,
    segment: DFF<FB<16>>,
    header: DFF<FB<4>>,
    rest: DFF<FB<17>>,
    mixed: DFF<FB<8>>,
    // Words of the IPv4 header, bytes of the datagram still to come.
    header_left: DFF<FB<4>>,
    left: DFF<FB<16>>,
    // Halves of the word and all of it as big-endian numbers.
    upper: Signal<Local, FB<16>>,
    lower: Signal<Local, FB<16>>,
    swapped: Signal<Local, FB<32>>,
    masked: Signal<Local, FB<32>>,
    folded: Signal<Local, FB<8>>,
    elsewhere: Signal<Local, Bit>,
    tcp_header: Signal<Local, FB<17>>,
    due: Signal<Local, FB<16>>,
    few: Signal<Local, FB<3>>,
    there: Signal<Local, FB<3>>,
    no_header: Signal<Local, Bit>,
}

impl Logic for Classify {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(
            self,
            clock,
            n,
            multicast,
            beginning,
            is_foreign,
            is_dropped,
            ipv4,
            version4,
            ihl,
            total,
            short,
            fragment,
            tcp,
            segment,
            header,
            rest,
            mixed,
            header_left,
            left
        );
        clock!(self, clock, options, ip_sum, tcp_sum);
        self.upper.next = (bit_cast::<16, 8>(self.data.val().get_bits::<8>(0)) << 8)
            | bit_cast::<16, 8>(self.data.val().get_bits::<8>(8));
        self.lower.next = (bit_cast::<16, 8>(self.data.val().get_bits::<8>(16)) << 8)
            | bit_cast::<16, 8>(self.data.val().get_bits::<8>(24));
        self.swapped.next =
            (bit_cast::<32, 16>(self.upper.val()) << 16) | bit_cast::<32, 16>(self.lower.val());

        // The IPv4 header; segment length and protocol, both addresses, what is of the segment.
        self.ip_sum.init.next = self.n.q.val() == 4;
        self.ip_sum.enable.next =
            self.take.val() && ((self.n.q.val() == 4) || (self.header_left.q.val() != 0));
        self.ip_sum.data.next = self.data.val();
        self.masked.next = self.data.val();
        if self.n.q.val() == 6 {
            self.masked.next = (bit_cast::<32, 8>(self.segment.q.val().get_bits::<8>(0)) << 24)
                | (bit_cast::<32, 8>(self.segment.q.val().get_bits::<8>(8)) << 16)
                | 0x600;
        } else if self.n.q.val() > 8 {
            if self.left.q.val() == 0 {
                self.masked.next = 0.into();
            } else if self.left.q.val() == 1 {
                self.masked.next = self.data.val() & 0xff;
            } else if self.left.q.val() == 2 {
                self.masked.next = self.data.val() & 0xffff;
            } else if self.left.q.val() == 3 {
                self.masked.next = self.data.val() & 0xff_ffff;
            }
        }
        self.tcp_sum.init.next = self.n.q.val() == 6;
        self.tcp_sum.enable.next = self.take.val();
        self.tcp_sum.data.next = self.masked.val();

        self.options.clear.next = self.clear.val();
        self.options.data.next = self.data.val();
        self.options.valid.next = self.valid.val();
        self.options.take.next = self.take.val();
        self.options.count.next = self.header.q.val() - 5;
        self.options.start.next = self.take.val()
            && (self.n.q.val() == 13)
            && self.ipv4.q.val()
            && self.tcp.q.val()
            && (self.ihl.q.val() == 5)
            && (self.header.q.val() > 5);
        self.hold.next = self.options.hold.val();

        // The fields, word by word.
        self.slot.next = bit_cast::<7, 5>(self.n.q.val()) - 4;
        self.slot_data.next = self.data.val();
        self.slot_write.next = false;
        self.folded.next = self.data.val().get_bits::<8>(0)
            ^ self.data.val().get_bits::<8>(8)
            ^ self.data.val().get_bits::<8>(16)
            ^ self.data.val().get_bits::<8>(24);
        self.elsewhere.next = !self.multicast.q.val()
            && (!self.beginning.q.val()
                || (self.data.val().get_bits::<16>(0) != self.mac_low.val().get_bits::<16>(16))
                || (self.data.val().get_bits::<16>(16) != self.mac_high.val()));
        // What the datagram says is still to come, this word included.
        self.due.next = self.left.q.val();
        if self.n.q.val() == 4 {
            self.due.next = self.lower.val();
        }
        self.few.next = self.due.val().get_bits::<3>(0);
        self.there.next = bits::<3>(4) - bit_cast::<3, 2>(self.empty.val());
        if self.take.val() {
            if self.n.q.val() > 3 {
                self.short.d.next =
                    self.due.val().get_bits::<13>(3).any() || (self.few.val() > self.there.val());
                self.left.d.next = self.due.val() - 4;
                if !self.due.val().get_bits::<14>(2).any() {
                    self.left.d.next = 0.into();
                }
            }
            if self.n.q.val() != 31 {
                self.n.d.next = self.n.q.val() + 1;
            }
            if self.header_left.q.val() != 0 {
                self.header_left.d.next = self.header_left.q.val() - 1;
            }
            if self.n.q.val() == 0 {
                self.multicast.d.next = self.data.val().get_bit(16);
                self.beginning.d.next =
                    self.data.val().get_bits::<16>(16) == self.mac_low.val().get_bits::<16>(0);
            }
            if self.n.q.val() == 1 {
                self.is_foreign.d.next = self.elsewhere.val();
                self.is_dropped.d.next = self.elsewhere.val() && !self.promiscuous.val();
            }
            if self.n.q.val() == 3 {
                self.ipv4.d.next = self.lower.val() == 0x0800;
            }
            if self.n.q.val() == 4 {
                self.version4.d.next = self.data.val().get_bits::<4>(4) == 4;
                self.ihl.d.next = self.data.val().get_bits::<4>(0);
                self.header_left.d.next = self.data.val().get_bits::<4>(0) - 1;
                self.total.d.next = self.lower.val();
            }
            if self.n.q.val() == 5 {
                // More fragments, or an offset.
                self.fragment.d.next = (self.lower.val() & 0x3fff) != 0;
                self.segment.d.next = self.total.q.val() - 20;
            }
            if self.n.q.val() == 6 {
                self.tcp.d.next = self.data.val().get_bits::<8>(8) == 6;
            }
            if self.n.q.val() == 7 {
                self.slot_write.next = true;
                self.mixed.d.next = self.folded.val();
            }
            if self.n.q.val() == 8 {
                self.slot_write.next = true;
            }
            if self.n.q.val() == 9 {
                self.slot_write.next = true;
                self.mixed.d.next = self.mixed.q.val() ^ self.folded.val();
            }
            if (self.n.q.val() == 10) || (self.n.q.val() == 11) {
                self.slot_write.next = true;
                self.slot_data.next = self.swapped.val();
            }
            if self.n.q.val() == 12 {
                self.slot_write.next = true;
                self.slot_data.next = (bit_cast::<32, 16>(self.lower.val()) << 16)
                    | bit_cast::<32, 8>(self.data.val().get_bits::<8>(8));
                self.header.d.next = self.data.val().get_bits::<4>(4);
            }
        }

        // What is there, what the headers claim, and the verdict.
        self.no_header.next = !self.total.q.val().get_bits::<10>(6).any()
            && (self.total.q.val().get_bits::<4>(2) < self.ihl.q.val());
        self.tcp_header.next = bit_cast::<17, 4>(self.header.q.val()) << 2;
        self.rest.d.next = bit_cast::<17, 16>(self.segment.q.val()) - self.tcp_header.val();
        self.class.next = 0.into();
        if self.length.val() < 14 {
            self.class.next = 3.into();
        } else if self.is_dropped.q.val() {
            self.class.next = 2.into();
        } else if self.oversize.val() {
            self.class.next = 3.into();
        } else if self.is_foreign.q.val() || !self.ipv4.q.val() {
            self.class.next = 1.into();
        } else if !self.version4.q.val()
            || (self.ihl.q.val() < 5)
            || self.no_header.val()
            || self.short.q.val()
        {
            self.class.next = 3.into();
        } else if !self.ip_sum.good.val() {
            self.class.next = 4.into();
        } else if !self.tcp.q.val() || self.fragment.q.val() || (self.ihl.q.val() != 5) {
            self.class.next = 1.into();
        } else if (self.segment.q.val() < 20)
            || (self.header.q.val() < 5)
            || self.rest.q.val().get_bit(16)
            || self.options.broken.val()
        {
            self.class.next = 3.into();
        } else if !self.tcp_sum.good.val() {
            self.class.next = 5.into();
        }
        self.foreign.next = self.is_foreign.q.val();
        self.dropped.next = self.is_dropped.q.val();
        self.hash.next = self.mixed.q.val();
        self.offset.next = self.header.q.val();
        self.payload.next = self.rest.q.val().get_bits::<16>(0);
        if self.clear.val() {
            self.n.d.next = 0.into();
            self.is_dropped.d.next = false;
            self.header_left.d.next = 0.into();
            self.short.d.next = true;
        }
    }
}
