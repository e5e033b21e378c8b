use super::item::ItemIn;
use crate::fb::{FB, bit_cast, bits};
use crate::mem::Ram;
use crate::rx::Sum;
use crate::stream::StreamOut;
use rust_hdl::prelude::*;

#[derive(Copy, Clone, PartialEq, Debug, LogicState)]
enum Write {
    Idle,
    Body,
    Pseudo,
    Fold,
    Settle,
    Length,
    IpSum,
    TcpSum,
}

#[derive(Copy, Clone, PartialEq, Debug, LogicState)]
enum Read {
    Idle,
    Length,
    Word,
}

/// The transmit ring of 2^`N` words: whole frames in, checksums added, frames out.
///
/// ```text
///  items --> write FSM --> RAM --> read FSM --> mac
///              |  ^                        \--> inject
///              v  | checksums
///             sums
///
///  RAM:  | length | words of a frame | length | words | free ...
///        ^ read                               ^ committed   ^ write
/// ```
///
/// **Interface.** `source`: the items of `Cut`. `mac`, `inject`: frames with their two pad bytes. `building`: a frame has begun. `frames`: committed and not
/// completely read. `fits`: the largest frame fits behind what is there; `fits_two`: another one too. `error`, `tag`: for one cycle, the
/// payload of a frame with this tag could not be read.
///
/// **Theory of operation.** A word in front of each frame is kept for its length. Two sums, of the IPv4 header (words 4 to 8) and of addresses and
/// TCP segment (words 7 and on), are taken as the words pass, 32 bits at a time with the carry added one word later: in one's complement that, the byte order and
/// the place of a half do not matter (RFC 1071). At the end length and protocol are added, the sums folded and put over two words
/// that were remembered. The length word goes last, then the frame is committed.
///
/// **Latency** by counting states: 5 cycles from END to commit, 2 from commit to the first word. **Throughput** a word a cycle in and out.
#[derive(LogicBlock)]
pub struct TxRing<const N: usize> {
    /// Rising edge.
    pub clock: Signal<In, Clock>,
    /// Forget everything.
    pub reset: Signal<In, Bit>,
    /// From `Cut`.
    pub source: ItemIn,
    /// Frames for the wire.
    pub mac: StreamOut,
    /// Frames for the own receive path.
    pub inject: StreamOut,
    /// A frame is under way.
    pub building: Signal<Out, Bit>,
    /// Frames committed and not read.
    pub frames: Signal<Out, FB<8>>,
    /// Room for the largest frame.
    pub fits: Signal<Out, Bit>,
    /// Room for two.
    pub fits_two: Signal<Out, Bit>,
    /// A frame was given up.
    pub error: Signal<Out, Bit>,
    /// Its tag.
    pub tag: Signal<Out, FB<16>>,
    low: Ram<N, 16>,
    high: Ram<N, 16>,
    ip: Sum,
    tcp: Sum,
    one: Constant<FB<N>>,
    six: Constant<FB<N>>,
    thirteen: Constant<FB<N>>,
    limit: Constant<FB<N>>,
    limit_two: Constant<FB<N>>,
    can_two: Constant<Bit>,
    tag_mask: Constant<FB<16>>,
    state: DFF<Write>,
    reading: DFF<Read>,
    committed: DFF<FB<N>>,
    write: DFF<FB<N>>,
    read: DFF<FB<N>>,
    is_raw: DFF<Bit>,
    is_inject: DFF<Bit>,
    frame_tag: DFF<FB<16>>,
    index: DFF<FB<4>>,
    // Bytes of the last word.
    tail: DFF<FB<3>>,
    left: DFF<FB<N>>,
    gap: DFF<FB<2>>,
    to_inject: DFF<Bit>,
    opening: DFF<Bit>,
    count: DFF<FB<8>>,
    failed: DFF<Bit>,
    // Wires.
    in_words: Signal<Local, FB<14>>,
    minus: Signal<Local, FB<14>>,
    segment: Signal<Local, FB<14>>,
    pseudo: Signal<Local, FB<32>>,
    data: Signal<Local, FB<32>>,
    adds: Signal<Local, Bit>,
    stored_low: Signal<Local, FB<16>>,
    stored_high: Signal<Local, FB<16>>,
    stores_low: Signal<Local, Bit>,
    stores_high: Signal<Local, Bit>,
    // Words of frames that are committed and not read.
    used: Signal<Local, FB<N>>,
    is_data: Signal<Local, Bit>,
    stalls: Signal<Local, Bit>,
    next_write: Signal<Local, FB<N>>,
    adds_ip: Signal<Local, Bit>,
    adds_tcp: Signal<Local, Bit>,
    address: Signal<Local, FB<N>>,
    base: Signal<Local, FB<N>>,
    next_read: Signal<Local, FB<N>>,
    read_address: Signal<Local, FB<N>>,
    head: Signal<Local, FB<32>>,
    taken: Signal<Local, Bit>,
    ready: Signal<Local, Bit>,
    last: Signal<Local, Bit>,
    unused: Signal<Local, FB<2>>,
    commits: Signal<Local, Bit>,
    ends: Signal<Local, Bit>,
    // Words so far, with that of the length.
    spans: DFF<FB<N>>,
}

impl<const N: usize> TxRing<N> {
    /// With room for frames of `frame_max` bytes (without pad).
    ///
    /// # Panics
    /// If such a frame does not fit the ring: the design is wrong then.
    pub fn new(frame_max: usize) -> Self {
        let size = 1usize << N;
        // The length word, the pad, and one word that stays free.
        let largest = (frame_max + 2).div_ceil(4) + 2;
        assert!(largest <= size, "a frame of {frame_max} bytes does not fit a ring of {size} words");
        let can_two = 2 * largest <= size;
        let limit_two = if can_two { size - 2 * largest } else { 0 };
        Self {
            clock: Signal::default(),
            reset: Signal::default(),
            source: Default::default(),
            mac: Default::default(),
            inject: Default::default(),
            building: Signal::default(),
            frames: Signal::default(),
            fits: Signal::default(),
            fits_two: Signal::default(),
            error: Signal::default(),
            tag: Signal::default(),
            low: Ram::default(),
            high: Ram::default(),
            ip: Sum::default(),
            tcp: Sum::default(),
            one: Constant::new(FB::new(1)),
            six: Constant::new(FB::new(6)),
            thirteen: Constant::new(FB::new(13)),
            limit: Constant::new(FB::new((size - largest) as u64)),
            limit_two: Constant::new(FB::new(limit_two as u64)),
            can_two: Constant::new(can_two),
            tag_mask: Constant::new(FB::new(0xffff)),
            state: DFF::default(),
            reading: DFF::default(),
            committed: DFF::default(),
            write: DFF::default(),
            read: DFF::default(),
            used: Signal::default(),
            is_raw: DFF::default(),
            is_inject: DFF::default(),
            frame_tag: DFF::default(),
            index: DFF::default(),
            tail: DFF::default(),
            left: DFF::default(),
            gap: DFF::default(),
            to_inject: DFF::default(),
            opening: DFF::default(),
            count: DFF::default(),
            failed: DFF::default(),
            in_words: Signal::default(),
            minus: Signal::default(),
            segment: Signal::default(),
            pseudo: Signal::default(),
            data: Signal::default(),
            adds: Signal::default(),
            stored_low: Signal::default(),
            stored_high: Signal::default(),
            stores_low: Signal::default(),
            stores_high: Signal::default(),
            is_data: Signal::default(),
            stalls: Signal::default(),
            next_write: Signal::default(),
            adds_ip: Signal::default(),
            adds_tcp: Signal::default(),
            address: Signal::default(),
            base: Signal::default(),
            next_read: Signal::default(),
            read_address: Signal::default(),
            head: Signal::default(),
            taken: Signal::default(),
            ready: Signal::default(),
            last: Signal::default(),
            unused: Signal::default(),
            commits: Signal::default(),
            ends: Signal::default(),
            spans: DFF::default(),
        }
    }

    /// With only these bits of the tags.
    pub fn tagged(mut self, bits: u16) -> Self {
        self.tag_mask = Constant::new(FB::new(bits.into()));
        self
    }
}

impl<const N: usize> Logic for TxRing<N> {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(
            self, clock, state, reading, committed, write, read, is_raw, is_inject, frame_tag, index, tail,
            left, gap, to_inject, opening, count, failed, spans
        );
        clock!(self, clock, low, high, ip, tcp);

        // Sums.
        self.is_data.next = self.source.valid.val() && (self.source.kind.val() == 0);
        self.adds_ip.next = (self.index.q.val() > 3) && (self.index.q.val() < 9);
        self.adds_tcp.next = self.index.q.val() > 6;
        // The TCP segment is the frame without pad, Ethernet and IPv4 header: 36 bytes less. Its whole words, and the rest.
        self.in_words.next = bit_cast::<14, N>(self.spans.q.val());
        self.minus.next = 0x3ff5.into();
        if self.tail.q.val().get_bit(2) {
            self.minus.next = 0x3ff6.into();
        }
        self.segment.next = self.in_words.val() + self.minus.val();
        // Protocol 6 and the length, both with their high byte first.
        self.pseudo.next = (bit_cast::<32, 2>(self.tail.q.val().get_bits::<2>(0)) << 8)
            | (bit_cast::<32, 6>(self.segment.val().get_bits::<6>(0)) << 10)
            | bit_cast::<32, 8>(self.segment.val().get_bits::<8>(6))
            | 0x600_0000;
        self.data.next = self.source.data.val();
        if self.state.q.val() == Write::Pseudo {
            self.data.next = self.pseudo.val();
        }
        if (self.state.q.val() == Write::Fold) || (self.state.q.val() == Write::Settle) {
            self.data.next = 0.into();
        }
        self.adds.next = (self.state.q.val() == Write::Fold) || (self.state.q.val() == Write::Settle);
        self.ip.init.next = self.index.q.val() == 4;
        self.tcp.init.next = self.index.q.val() == 7;
        self.ip.data.next = self.data.val();
        self.tcp.data.next = self.data.val();
        self.ip.enable.next = self.adds.val();
        self.tcp.enable.next = self.adds.val() || (self.state.q.val() == Write::Pseudo);

        // Writing.
        self.base.next = self.committed.q.val() + self.one.val();
        self.address.next = self.write.q.val();
        self.stored_low.next = self.source.data.val().get_bits::<16>(0);
        self.stored_high.next = self.source.data.val().get_bits::<16>(16);
        self.stores_low.next = false;
        self.stores_high.next = false;
        self.source.ready.next = false;
        self.commits.next = false;
        self.failed.d.next = false;
        // The word in front of `read` stays free.
        self.next_write.next = self.write.q.val() + self.one.val();
        self.stalls.next = self.next_write.val() == self.read.q.val();
        match self.state.q.val() {
            Write::Idle => {
                self.source.ready.next = true;
                if self.source.valid.val() && (self.source.kind.val() == 1) {
                    self.is_raw.d.next = self.source.data.val().get_bit(4);
                    self.is_inject.d.next = self.source.data.val().get_bit(5);
                    self.frame_tag.d.next = self.source.data.val().get_bits::<16>(16) & self.tag_mask.val();
                    self.write.d.next = self.base.val();
                    self.index.d.next = 0.into();
                    self.spans.d.next = 1.into();
                    self.state.d.next = Write::Body;
                }
            }
            Write::Body => {
                self.source.ready.next = !self.stalls.val();
                if self.is_data.val() && !self.stalls.val() {
                    self.stores_low.next = true;
                    self.stores_high.next = true;
                    self.write.d.next = self.next_write.val();
                    self.tail.d.next = self.source.count.val();
                    self.spans.d.next = self.spans.q.val() + self.one.val();
                    if self.index.q.val() != 15 {
                        self.index.d.next = self.index.q.val() + 1;
                    }
                    self.ip.enable.next = self.adds_ip.val();
                    self.tcp.enable.next = self.adds_tcp.val();
                }
                if self.source.valid.val() && (self.source.kind.val() == 6) {
                    self.source.ready.next = true;
                    self.state.d.next = Write::Pseudo;
                    if self.is_raw.q.val() {
                        self.state.d.next = Write::Length;
                    }
                    if self.source.count.val().get_bit(0) || self.source.count.val().get_bit(1) {
                        self.failed.d.next = self.source.count.val().get_bit(1);
                        self.state.d.next = Write::Idle;
                    }
                }
            }
            Write::Pseudo => {
                self.state.d.next = Write::Fold;
            }
            Write::Fold => {
                self.state.d.next = Write::Settle;
            }
            Write::Settle => {
                self.state.d.next = Write::Length;
            }
            Write::Length => {
                self.address.next = self.committed.q.val();
                self.stored_low.next = bit_cast::<16, N>(self.spans.q.val());
                self.stored_high.next = bit_cast::<16, 2>(self.tail.q.val().get_bits::<2>(0))
                    | (bit_cast::<16, 1>(self.is_inject.q.val().into()) << 15);
                self.stores_low.next = true;
                self.stores_high.next = true;
                self.state.d.next = Write::IpSum;
                if self.is_raw.q.val() {
                    self.commits.next = true;
                }
            }
            Write::IpSum => {
                self.address.next = self.base.val() + self.six.val();
                self.stored_high.next = !self.ip.sum.val();
                self.stores_high.next = true;
                self.state.d.next = Write::TcpSum;
            }
            Write::TcpSum => {
                self.address.next = self.base.val() + self.thirteen.val();
                self.stored_low.next = !self.tcp.sum.val();
                self.stores_low.next = true;
                self.commits.next = true;
            }
        }
        if self.commits.val() {
            self.committed.d.next = self.write.q.val();
            self.state.d.next = Write::Idle;
        }
        self.low.write_address.next = self.address.val();
        self.high.write_address.next = self.address.val();
        self.low.data_in.next = self.stored_low.val();
        self.high.data_in.next = self.stored_high.val();
        self.low.write_enable.next = self.stores_low.val();
        self.high.write_enable.next = self.stores_high.val();

        // Reading.
        self.head.next = (bit_cast::<32, 16>(self.high.data_out.val()) << 16)
            | bit_cast::<32, 16>(self.low.data_out.val());
        self.next_read.next = self.read.q.val() + self.one.val();
        self.read_address.next = self.read.q.val();
        self.ready.next = self.mac.ready.val();
        if self.to_inject.q.val() {
            self.ready.next = self.inject.ready.val();
        }
        self.last.next = self.left.q.val() == self.one.val();
        self.taken.next = false;
        self.ends.next = false;
        match self.reading.q.val() {
            Read::Idle => {
                if self.count.q.val() != 0 {
                    self.reading.d.next = Read::Length;
                }
            }
            Read::Length => {
                self.left.d.next = self.head.val().get_bits::<N>(0) - self.one.val();
                self.gap.d.next = self.head.val().get_bits::<2>(16);
                self.to_inject.d.next = self.head.val().get_bit(31);
                self.opening.d.next = true;
                self.read.d.next = self.next_read.val();
                self.read_address.next = self.next_read.val();
                self.reading.d.next = Read::Word;
            }
            Read::Word => {
                self.taken.next = self.ready.val();
                if self.ready.val() {
                    self.read.d.next = self.next_read.val();
                    self.read_address.next = self.next_read.val();
                    self.left.d.next = self.left.q.val() - self.one.val();
                    self.opening.d.next = false;
                    if self.last.val() {
                        self.ends.next = true;
                        self.reading.d.next = Read::Idle;
                    }
                }
            }
        }
        self.low.read_address.next = self.read_address.val();
        self.high.read_address.next = self.read_address.val();
        self.used.next = self.committed.q.val() - self.read.q.val();
        if self.commits.val() && !self.ends.val() {
            self.count.d.next = self.count.q.val() + 1;
        }
        if self.ends.val() && !self.commits.val() {
            self.count.d.next = self.count.q.val() - 1;
        }
        self.unused.next = 0.into();
        if self.last.val() {
            self.unused.next = bits::<2>(0) - self.gap.q.val();
        }
        self.mac.data.next = self.head.val();
        self.mac.valid.next = (self.reading.q.val() == Read::Word) && !self.to_inject.q.val();
        self.mac.first.next = self.opening.q.val();
        self.mac.last.next = self.last.val();
        self.mac.empty.next = self.unused.val();
        self.mac.err.next = false;
        self.inject.data.next = self.head.val();
        self.inject.valid.next = (self.reading.q.val() == Read::Word) && self.to_inject.q.val();
        self.inject.first.next = self.opening.q.val();
        self.inject.last.next = self.last.val();
        self.inject.empty.next = self.unused.val();
        self.inject.err.next = false;

        self.building.next = self.state.q.val() != Write::Idle;
        self.frames.next = self.count.q.val();
        self.fits.next = self.used.val() <= self.limit.val();
        self.fits_two.next = self.can_two.val() && (self.used.val() <= self.limit_two.val());
        self.error.next = self.failed.q.val();
        self.tag.next = self.frame_tag.q.val();
        if self.reset.val() {
            self.state.d.next = Write::Idle;
            self.reading.d.next = Read::Idle;
            self.committed.d.next = 0.into();
            self.read.d.next = 0.into();
            self.count.d.next = 0.into();
            self.failed.d.next = false;
        }
    }
}
