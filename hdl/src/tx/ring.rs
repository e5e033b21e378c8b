use super::item::ItemIn;
use crate::fb::{FB, bit_cast, bits};
use crate::mem::Ram;
use crate::stream::StreamOut;
use rust_hdl::prelude::*;

#[derive(Copy, Clone, PartialEq, Debug, LogicState)]
enum Write {
    Idle,
    Body,
    Pseudo,
    Fold,
    IpSum,
    TcpSum,
    Commit,
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
    ram: Ram<N, 32>,
    one: Constant<FB<N>>,
    limit: Constant<FB<16>>,
    limit_two: Constant<FB<16>>,
    can_two: Constant<Bit>,
    state: DFF<Write>,
    reading: DFF<Read>,
    committed: DFF<FB<N>>,
    write: DFF<FB<N>>,
    read: DFF<FB<N>>,
    used: DFF<FB<16>>,
    is_raw: DFF<Bit>,
    is_inject: DFF<Bit>,
    frame_tag: DFF<FB<16>>,
    index: DFF<FB<4>>,
    bytes: DFF<FB<16>>,
    ip: DFF<FB<32>>,
    ip_carry: DFF<Bit>,
    tcp: DFF<FB<32>>,
    tcp_carry: DFF<Bit>,
    ip_fold: DFF<FB<17>>,
    tcp_fold: DFF<FB<17>>,
    time_to_live: DFF<FB<16>>,
    urgent: DFF<FB<16>>,
    left: DFF<FB<16>>,
    gap: DFF<FB<2>>,
    to_inject: DFF<Bit>,
    opening: DFF<Bit>,
    count: DFF<FB<8>>,
    failed: DFF<Bit>,
    // Wires.
    size: Signal<Local, FB<16>>,
    is_data: Signal<Local, Bit>,
    stalls: Signal<Local, Bit>,
    next_write: Signal<Local, FB<N>>,
    adds_ip: Signal<Local, Bit>,
    adds_tcp: Signal<Local, Bit>,
    addend: Signal<Local, FB<32>>,
    wide_addend: Signal<Local, FB<33>>,
    wide_ip: Signal<Local, FB<33>>,
    wide_tcp: Signal<Local, FB<33>>,
    wide_ip_carry: Signal<Local, FB<33>>,
    wide_tcp_carry: Signal<Local, FB<33>>,
    ip_sum: Signal<Local, FB<33>>,
    tcp_sum: Signal<Local, FB<33>>,
    segment: Signal<Local, FB<16>>,
    segment_low: Signal<Local, FB<8>>,
    segment_high: Signal<Local, FB<8>>,
    wide_low: Signal<Local, FB<32>>,
    wide_high: Signal<Local, FB<32>>,
    ip_low: Signal<Local, FB<16>>,
    ip_high: Signal<Local, FB<16>>,
    tcp_low: Signal<Local, FB<16>>,
    tcp_high: Signal<Local, FB<16>>,
    fold_a: Signal<Local, FB<17>>,
    fold_b: Signal<Local, FB<17>>,
    fold_c: Signal<Local, FB<17>>,
    fold_d: Signal<Local, FB<17>>,
    fold_ip_carry: Signal<Local, FB<17>>,
    fold_tcp_carry: Signal<Local, FB<17>>,
    ip_end: Signal<Local, FB<16>>,
    ip_over: Signal<Local, FB<16>>,
    ip_total: Signal<Local, FB<16>>,
    ip_check: Signal<Local, FB<16>>,
    tcp_end: Signal<Local, FB<16>>,
    tcp_over: Signal<Local, FB<16>>,
    tcp_total: Signal<Local, FB<16>>,
    tcp_check: Signal<Local, FB<16>>,
    wide_check_ip: Signal<Local, FB<32>>,
    wide_check_tcp: Signal<Local, FB<32>>,
    wide_ttl: Signal<Local, FB<32>>,
    wide_urgent: Signal<Local, FB<32>>,
    wide_bytes: Signal<Local, FB<32>>,
    wide_inject: Signal<Local, FB<32>>,
    address: Signal<Local, FB<N>>,
    stored: Signal<Local, FB<32>>,
    stores: Signal<Local, Bit>,
    base: Signal<Local, FB<N>>,
    next_read: Signal<Local, FB<N>>,
    read_address: Signal<Local, FB<N>>,
    head: Signal<Local, FB<32>>,
    length: Signal<Local, FB<16>>,
    rounded: Signal<Local, FB<16>>,
    taken: Signal<Local, Bit>,
    ready: Signal<Local, Bit>,
    last: Signal<Local, Bit>,
    unused: Signal<Local, FB<2>>,
    commits: Signal<Local, Bit>,
    ends: Signal<Local, Bit>,
    grows: Signal<Local, FB<16>>,
    shrinks: Signal<Local, FB<16>>,
    spans: DFF<FB<16>>,
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
            ram: Ram::default(),
            one: Constant::new(FB::new(1)),
            limit: Constant::new(FB::new((size - largest) as u64)),
            limit_two: Constant::new(FB::new(limit_two as u64)),
            can_two: Constant::new(can_two),
            state: DFF::default(),
            reading: DFF::default(),
            committed: DFF::default(),
            write: DFF::default(),
            read: DFF::default(),
            used: DFF::default(),
            is_raw: DFF::default(),
            is_inject: DFF::default(),
            frame_tag: DFF::default(),
            index: DFF::default(),
            bytes: DFF::default(),
            ip: DFF::default(),
            ip_carry: DFF::default(),
            tcp: DFF::default(),
            tcp_carry: DFF::default(),
            ip_fold: DFF::default(),
            tcp_fold: DFF::default(),
            time_to_live: DFF::default(),
            urgent: DFF::default(),
            left: DFF::default(),
            gap: DFF::default(),
            to_inject: DFF::default(),
            opening: DFF::default(),
            count: DFF::default(),
            failed: DFF::default(),
            size: Signal::default(),
            is_data: Signal::default(),
            stalls: Signal::default(),
            next_write: Signal::default(),
            adds_ip: Signal::default(),
            adds_tcp: Signal::default(),
            addend: Signal::default(),
            wide_addend: Signal::default(),
            wide_ip: Signal::default(),
            wide_tcp: Signal::default(),
            wide_ip_carry: Signal::default(),
            wide_tcp_carry: Signal::default(),
            ip_sum: Signal::default(),
            tcp_sum: Signal::default(),
            segment: Signal::default(),
            segment_low: Signal::default(),
            segment_high: Signal::default(),
            wide_low: Signal::default(),
            wide_high: Signal::default(),
            ip_low: Signal::default(),
            ip_high: Signal::default(),
            tcp_low: Signal::default(),
            tcp_high: Signal::default(),
            fold_a: Signal::default(),
            fold_b: Signal::default(),
            fold_c: Signal::default(),
            fold_d: Signal::default(),
            fold_ip_carry: Signal::default(),
            fold_tcp_carry: Signal::default(),
            ip_end: Signal::default(),
            ip_over: Signal::default(),
            ip_total: Signal::default(),
            ip_check: Signal::default(),
            tcp_end: Signal::default(),
            tcp_over: Signal::default(),
            tcp_total: Signal::default(),
            tcp_check: Signal::default(),
            wide_check_ip: Signal::default(),
            wide_check_tcp: Signal::default(),
            wide_ttl: Signal::default(),
            wide_urgent: Signal::default(),
            wide_bytes: Signal::default(),
            wide_inject: Signal::default(),
            address: Signal::default(),
            stored: Signal::default(),
            stores: Signal::default(),
            base: Signal::default(),
            next_read: Signal::default(),
            read_address: Signal::default(),
            head: Signal::default(),
            length: Signal::default(),
            rounded: Signal::default(),
            taken: Signal::default(),
            ready: Signal::default(),
            last: Signal::default(),
            unused: Signal::default(),
            commits: Signal::default(),
            ends: Signal::default(),
            grows: Signal::default(),
            shrinks: Signal::default(),
            spans: DFF::default(),
        }
    }
}

impl<const N: usize> Logic for TxRing<N> {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(
            self,
            clock,
            state,
            reading,
            committed,
            write,
            read,
            used,
            is_raw,
            is_inject,
            frame_tag,
            index,
            bytes,
            ip,
            ip_carry,
            tcp,
            tcp_carry,
            ip_fold,
            tcp_fold,
            time_to_live,
            urgent,
            left,
            gap,
            to_inject,
            opening,
            count,
            failed,
            spans
        );
        clock!(self, clock, ram);

        // Sums.
        self.is_data.next = self.source.valid.val() && (self.source.kind.val() == 0);
        self.adds_ip.next = (self.index.q.val() > 3) && (self.index.q.val() < 9);
        self.adds_tcp.next = self.index.q.val() > 6;
        self.segment.next = self.bytes.q.val() - 36;
        self.segment_low.next = self.segment.val().get_bits::<8>(0);
        self.segment_high.next = self.segment.val().get_bits::<8>(8);
        self.wide_low.next = bit_cast::<32, 8>(self.segment_low.val());
        self.wide_high.next = bit_cast::<32, 8>(self.segment_high.val());
        self.addend.next = self.source.data.val();
        if self.state.q.val() == Write::Pseudo {
            // Protocol 6 and the length, both with their high byte first.
            self.addend.next = (self.wide_low.val() << 8) + self.wide_high.val() + 0x600;
        }
        self.wide_addend.next = bit_cast::<33, 32>(self.addend.val());
        self.wide_ip.next = bit_cast::<33, 32>(self.ip.q.val());
        self.wide_tcp.next = bit_cast::<33, 32>(self.tcp.q.val());
        self.wide_ip_carry.next = bit_cast::<33, 1>(self.ip_carry.q.val().into());
        self.wide_tcp_carry.next = bit_cast::<33, 1>(self.tcp_carry.q.val().into());
        self.ip_sum.next = self.wide_ip.val() + self.wide_addend.val() + self.wide_ip_carry.val();
        self.tcp_sum.next = self.wide_tcp.val() + self.wide_addend.val() + self.wide_tcp_carry.val();
        self.ip_low.next = self.ip.q.val().get_bits::<16>(0);
        self.ip_high.next = self.ip.q.val().get_bits::<16>(16);
        self.tcp_low.next = self.tcp.q.val().get_bits::<16>(0);
        self.tcp_high.next = self.tcp.q.val().get_bits::<16>(16);
        self.fold_a.next = bit_cast::<17, 16>(self.ip_low.val());
        self.fold_b.next = bit_cast::<17, 16>(self.ip_high.val());
        self.fold_c.next = bit_cast::<17, 16>(self.tcp_low.val());
        self.fold_d.next = bit_cast::<17, 16>(self.tcp_high.val());
        self.fold_ip_carry.next = bit_cast::<17, 1>(self.ip_carry.q.val().into());
        self.fold_tcp_carry.next = bit_cast::<17, 1>(self.tcp_carry.q.val().into());
        self.ip_end.next = self.ip_fold.q.val().get_bits::<16>(0);
        self.ip_over.next = bit_cast::<16, 1>(self.ip_fold.q.val().get_bit(16).into());
        self.ip_total.next = self.ip_end.val() + self.ip_over.val();
        self.ip_check.next = !self.ip_total.val();
        self.tcp_end.next = self.tcp_fold.q.val().get_bits::<16>(0);
        self.tcp_over.next = bit_cast::<16, 1>(self.tcp_fold.q.val().get_bit(16).into());
        self.tcp_total.next = self.tcp_end.val() + self.tcp_over.val();
        self.tcp_check.next = !self.tcp_total.val();
        self.wide_check_ip.next = bit_cast::<32, 16>(self.ip_check.val());
        self.wide_check_tcp.next = bit_cast::<32, 16>(self.tcp_check.val());
        self.wide_ttl.next = bit_cast::<32, 16>(self.time_to_live.q.val());
        self.wide_urgent.next = bit_cast::<32, 16>(self.urgent.q.val());
        self.wide_bytes.next = bit_cast::<32, 16>(self.bytes.q.val());
        self.wide_inject.next = bit_cast::<32, 1>(self.is_inject.q.val().into());

        // Writing.
        self.size.next = bit_cast::<16, 3>(self.source.count.val());
        self.base.next = self.committed.q.val() + self.one.val();
        self.address.next = self.write.q.val();
        self.stored.next = self.source.data.val();
        self.stores.next = false;
        self.source.ready.next = false;
        self.commits.next = false;
        self.failed.d.next = false;
        self.grows.next = 0.into();
        // The word in front of `read` stays free.
        self.next_write.next = self.write.q.val() + self.one.val();
        self.stalls.next = self.next_write.val() == self.read.q.val();
        match self.state.q.val() {
            Write::Idle => {
                self.source.ready.next = true;
                if self.source.valid.val() && (self.source.kind.val() == 1) {
                    self.is_raw.d.next = self.source.data.val().get_bit(4);
                    self.is_inject.d.next = self.source.data.val().get_bit(5);
                    self.frame_tag.d.next = self.source.data.val().get_bits::<16>(16);
                    self.write.d.next = self.base.val();
                    self.index.d.next = 0.into();
                    self.bytes.d.next = 0.into();
                    self.spans.d.next = 1.into();
                    self.ip.d.next = 0.into();
                    self.ip_carry.d.next = false;
                    self.tcp.d.next = 0.into();
                    self.tcp_carry.d.next = false;
                    self.state.d.next = Write::Body;
                }
            }
            Write::Body => {
                self.source.ready.next = !self.stalls.val();
                if self.is_data.val() && !self.stalls.val() {
                    self.stores.next = true;
                    self.write.d.next = self.next_write.val();
                    self.bytes.d.next = self.bytes.q.val() + self.size.val();
                    self.spans.d.next = self.spans.q.val() + 1;
                    if self.index.q.val() != 15 {
                        self.index.d.next = self.index.q.val() + 1;
                    }
                    if self.adds_ip.val() {
                        self.ip.d.next = self.ip_sum.val().get_bits::<32>(0);
                        self.ip_carry.d.next = self.ip_sum.val().get_bit(32);
                    }
                    if self.adds_tcp.val() {
                        self.tcp.d.next = self.tcp_sum.val().get_bits::<32>(0);
                        self.tcp_carry.d.next = self.tcp_sum.val().get_bit(32);
                    }
                    if self.index.q.val() == 6 {
                        self.time_to_live.d.next = self.source.data.val().get_bits::<16>(0);
                    }
                    if self.index.q.val() == 13 {
                        self.urgent.d.next = self.source.data.val().get_bits::<16>(16);
                    }
                }
                if self.source.valid.val() && (self.source.kind.val() == 6) {
                    self.source.ready.next = true;
                    self.state.d.next = Write::Pseudo;
                    if self.is_raw.q.val() {
                        self.state.d.next = Write::Commit;
                    }
                    if self.source.data.val().get_bit(0) || self.source.data.val().get_bit(1) {
                        self.failed.d.next = self.source.data.val().get_bit(1);
                        self.state.d.next = Write::Idle;
                    }
                }
            }
            Write::Pseudo => {
                self.tcp.d.next = self.tcp_sum.val().get_bits::<32>(0);
                self.tcp_carry.d.next = self.tcp_sum.val().get_bit(32);
                self.state.d.next = Write::Fold;
            }
            Write::Fold => {
                self.ip_fold.d.next = self.fold_a.val() + self.fold_b.val() + self.fold_ip_carry.val();
                self.tcp_fold.d.next = self.fold_c.val() + self.fold_d.val() + self.fold_tcp_carry.val();
                self.state.d.next = Write::IpSum;
            }
            Write::IpSum => {
                self.address.next = self.base.val() + 6;
                self.stored.next = self.wide_ttl.val() | (self.wide_check_ip.val() << 16);
                self.stores.next = true;
                self.state.d.next = Write::TcpSum;
            }
            Write::TcpSum => {
                self.address.next = self.base.val() + 13;
                self.stored.next = self.wide_check_tcp.val() | (self.wide_urgent.val() << 16);
                self.stores.next = true;
                self.state.d.next = Write::Commit;
            }
            Write::Commit => {
                self.address.next = self.committed.q.val();
                self.stored.next = self.wide_bytes.val() | (self.wide_inject.val() << 31);
                self.stores.next = true;
                self.committed.d.next = self.write.q.val();
                self.commits.next = true;
                self.grows.next = self.spans.q.val();
                self.state.d.next = Write::Idle;
            }
        }
        self.ram.write_address.next = self.address.val();
        self.ram.data_in.next = self.stored.val();
        self.ram.write_enable.next = self.stores.val();

        // Reading.
        self.head.next = self.ram.data_out.val();
        self.length.next = self.head.val().get_bits::<16>(0);
        self.rounded.next = self.length.val() + 3;
        self.next_read.next = self.read.q.val() + self.one.val();
        self.read_address.next = self.read.q.val();
        self.ready.next = self.mac.ready.val();
        if self.to_inject.q.val() {
            self.ready.next = self.inject.ready.val();
        }
        self.last.next = self.left.q.val() == 1;
        self.taken.next = false;
        self.ends.next = false;
        self.shrinks.next = 0.into();
        match self.reading.q.val() {
            Read::Idle => {
                if self.count.q.val() != 0 {
                    self.reading.d.next = Read::Length;
                }
            }
            Read::Length => {
                self.left.d.next = self.rounded.val() >> 2;
                self.gap.d.next = self.length.val().get_bits::<2>(0);
                self.to_inject.d.next = self.head.val().get_bit(31);
                self.opening.d.next = true;
                self.read.d.next = self.next_read.val();
                self.read_address.next = self.next_read.val();
                self.shrinks.next = 1.into();
                self.reading.d.next = Read::Word;
            }
            Read::Word => {
                self.taken.next = self.ready.val();
                if self.ready.val() {
                    self.read.d.next = self.next_read.val();
                    self.read_address.next = self.next_read.val();
                    self.left.d.next = self.left.q.val() - 1;
                    self.opening.d.next = false;
                    self.shrinks.next = 1.into();
                    if self.last.val() {
                        self.ends.next = true;
                        self.reading.d.next = Read::Idle;
                    }
                }
            }
        }
        self.ram.read_address.next = self.read_address.val();
        self.used.d.next = self.used.q.val() + self.grows.val() - self.shrinks.val();
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
        self.mac.data.next = self.ram.data_out.val();
        self.mac.valid.next = (self.reading.q.val() == Read::Word) && !self.to_inject.q.val();
        self.mac.first.next = self.opening.q.val();
        self.mac.last.next = self.last.val();
        self.mac.empty.next = self.unused.val();
        self.mac.err.next = false;
        self.inject.data.next = self.ram.data_out.val();
        self.inject.valid.next = (self.reading.q.val() == Read::Word) && self.to_inject.q.val();
        self.inject.first.next = self.opening.q.val();
        self.inject.last.next = self.last.val();
        self.inject.empty.next = self.unused.val();
        self.inject.err.next = false;

        self.building.next = self.state.q.val() != Write::Idle;
        self.frames.next = self.count.q.val();
        self.fits.next = self.used.q.val() <= self.limit.val();
        self.fits_two.next = self.can_two.val() && (self.used.q.val() <= self.limit_two.val());
        self.error.next = self.failed.q.val();
        self.tag.next = self.frame_tag.q.val();
        if self.reset.val() {
            self.state.d.next = Write::Idle;
            self.reading.d.next = Read::Idle;
            self.committed.d.next = 0.into();
            self.read.d.next = 0.into();
            self.used.d.next = 0.into();
            self.count.d.next = 0.into();
            self.failed.d.next = false;
        }
    }
}
