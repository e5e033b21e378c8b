use super::sum::Sum;
use crate::fb::{FB, bit_cast};
use crate::stream::StreamIn;
use rust_hdl::prelude::*;

/// What the parser is doing.
#[derive(Copy, Clone, PartialEq, Debug, LogicState)]
enum State {
    /// Taking the words of a frame.
    Body,
    /// Folding the sums of a whole frame.
    Fold,
    /// Deciding on it.
    Judge,
    /// Writing D0.
    Class,
    /// Writing D1.
    Place,
    /// Writing D2.
    Payload,
}

/// Takes frames from the wire, puts them into the receive ring and says what each is.
///
/// ```text
///                +---------------------------------> ring_address, ring_data, ring_write
///  upstream --+--+--> fields --> checks --+
///             |        +-------> D3..D8 --|--------> slot, slot_data, slot_write, commit
///             +--> IP sum, TCP sum -------+--> D0..D2
///             +--> options, 1 byte a cycle
/// ```
///
/// **Interface.** A packet is a frame with 2 pad bytes in front and no FCS; `injected` stands with its words. Its words go
/// to the ring at `ring_address` and on, as long as that does not reach `free`, and its descriptor, as in section 2 of
/// docs/microarchitecture.md, to a queue with `room` (see [`Packets`](crate::mem::Packets)). A frame with `err` leaves
/// nothing. Own address: `mac_low` has its bytes 0..3, `mac_high` 4 and 5, first byte lowest.
///
/// **Theory of operation.** Word n of a frame always holds the same fields up to the TCP header, so a counter of words
/// and a register per check are the parser. Sums are those of RFC 1071 over stream words: its result does not depend on the
/// order of bytes, and a right one is a non-zero multiple of 65,535, so it is never folded completely. The
/// pseudo header is added while the IPv4 header goes by. TCP options are walked byte by byte with the stream held,
/// which only segments that have any pay for. Verdicts come in the order of the golden `classify`: a segment with a
/// broken option is malformed whatever its checksum. A frame that is dropped gives its words back: the write
/// pointer returns to where it began.
///
/// **Limits.** When the ring has no room the stream is held until `free` moves. A frame that even an empty ring could
/// not hold (2^`A` - 1 words) is taken off the stream and called malformed. Lengths above 65,535 read 65,530.
///
/// **Latency** 6 cycles from the last word to a complete descriptor. **Throughput** one word a cycle, 5 cycles between
/// frames, 4 cycles a word of TCP options.
///
/// **Area and fmax** on the HX8K: docs/area.md.
#[derive(LogicBlock)]
pub struct Parse<const A: usize> {
    /// Rising edge.
    pub clock: Signal<In, Clock>,
    /// Synchronous: forget the frame under way, begin with ring address 0.
    pub reset: Signal<In, Bit>,
    /// Frames, 2 pad bytes in front of each.
    pub upstream: StreamIn,
    /// The frame is one of software.
    pub injected: Signal<In, Bit>,
    /// Own MAC address, bytes 0 to 3.
    pub mac_low: Signal<In, FB<32>>,
    /// Own MAC address, bytes 4 and 5.
    pub mac_high: Signal<In, FB<16>>,
    /// Keep frames for other addresses, as raw frames.
    pub promiscuous: Signal<In, Bit>,
    /// The oldest word of the ring that is in use.
    pub free: Signal<In, FB<A>>,
    /// Word address in the ring.
    pub ring_address: Signal<Out, FB<A>>,
    /// A word of the frame.
    pub ring_data: Signal<Out, FB<32>>,
    /// Write it.
    pub ring_write: Signal<Out, Bit>,
    /// A whole descriptor fits the queue.
    pub room: Signal<In, Bit>,
    /// Word of the descriptor under way.
    pub slot: Signal<Out, FB<7>>,
    /// What it is.
    pub slot_data: Signal<Out, FB<32>>,
    /// Write it.
    pub slot_write: Signal<Out, Bit>,
    /// The descriptor is complete with so many words.
    pub commit: Signal<Out, FB<7>>,
    state: DFF<State>,
    // Ring addresses: the next word, and the first of this frame.
    write: DFF<FB<A>>,
    start: DFF<FB<A>>,
    // Words so far, and the same up to 31.
    words: DFF<FB<14>>,
    n: DFF<FB<5>>,
    // Bytes without the pad, once the last word is there.
    length: DFF<FB<16>>,
    bad: DFF<Bit>,
    is_injected: DFF<Bit>,
    oversize: DFF<Bit>,
    // What the fields say.
    multicast: DFF<Bit>,
    beginning: DFF<Bit>,
    foreign: DFF<Bit>,
    dropped: DFF<Bit>,
    ipv4: DFF<Bit>,
    version4: DFF<Bit>,
    ihl: DFF<FB<4>>,
    total: DFF<FB<16>>,
    fragment: DFF<Bit>,
    is_tcp: DFF<Bit>,
    segment: DFF<FB<16>>,
    offset: DFF<FB<4>>,
    payload: DFF<FB<17>>,
    hash: DFF<FB<8>>,
    // Sums: header words left, segment bytes left.
    ip_sum: Sum,
    tcp_sum: Sum,
    header_left: DFF<FB<4>>,
    left: DFF<FB<16>>,
    // Options: words left, byte of the word, what is expected.
    options_left: DFF<FB<4>>,
    lane: DFF<FB<2>>,
    length_next: DFF<Bit>,
    kind: DFF<FB<8>>,
    skip: DFF<FB<8>>,
    ended: DFF<Bit>,
    bad_option: DFF<Bit>,
    // The verdict.
    class: DFF<FB<4>>,
    raw_foreign: DFF<Bit>,
    in_options: Signal<Local, Bit>,
    stores: Signal<Local, Bit>,
    ready: Signal<Local, Bit>,
    passes: Signal<Local, Bit>,
    filled: Signal<Local, Bit>,
    next_write: Signal<Local, FB<A>>,
    write_after: Signal<Local, FB<A>>,
    next_words: Signal<Local, FB<14>>,
    // Halves of the word, first byte on the wire high: big-endian numbers.
    upper: Signal<Local, FB<16>>,
    lower: Signal<Local, FB<16>>,
    swapped: Signal<Local, FB<32>>,
    // Not ours, this word being the second.
    elsewhere: Signal<Local, Bit>,
    masked: Signal<Local, FB<32>>,
    folded: Signal<Local, FB<8>>,
    option: Signal<Local, FB<8>>,
    rest: Signal<Local, FB<8>>,
    ip_header: Signal<Local, FB<17>>,
    tcp_header: Signal<Local, FB<17>>,
    there: Signal<Local, FB<17>>,
    claimed: Signal<Local, FB<17>>,
    broken: Signal<Local, Bit>,
    clear: Signal<Local, Bit>,
    is_last: Signal<Local, Bit>,
    bytes: Signal<Local, FB<16>>,
    missing: Signal<Local, FB<16>>,
    octet: Signal<Local, Bit>,
    needed: Signal<Local, FB<17>>,
    verdict: Signal<Local, FB<4>>,
    capacity: Constant<FB<14>>,
}

impl<const A: usize> Default for Parse<A> {
    fn default() -> Self {
        assert!((4..=14).contains(&A), "a receive ring has 16 to 16384 words, not 2^{A}");
        Parse {
            clock: Signal::default(),
            reset: Signal::default(),
            upstream: StreamIn::default(),
            injected: Signal::default(),
            mac_low: Signal::default(),
            mac_high: Signal::default(),
            promiscuous: Signal::default(),
            free: Signal::default(),
            ring_address: Signal::default(),
            ring_data: Signal::default(),
            ring_write: Signal::default(),
            room: Signal::default(),
            slot: Signal::default(),
            slot_data: Signal::default(),
            slot_write: Signal::default(),
            commit: Signal::default(),
            state: DFF::default(),
            write: DFF::default(),
            start: DFF::default(),
            words: DFF::default(),
            n: DFF::default(),
            length: DFF::default(),
            bad: DFF::default(),
            is_injected: DFF::default(),
            oversize: DFF::default(),
            multicast: DFF::default(),
            beginning: DFF::default(),
            foreign: DFF::default(),
            dropped: DFF::default(),
            ipv4: DFF::default(),
            version4: DFF::default(),
            ihl: DFF::default(),
            total: DFF::default(),
            fragment: DFF::default(),
            is_tcp: DFF::default(),
            segment: DFF::default(),
            offset: DFF::default(),
            payload: DFF::default(),
            hash: DFF::default(),
            ip_sum: Sum::default(),
            tcp_sum: Sum::default(),
            header_left: DFF::default(),
            left: DFF::default(),
            options_left: DFF::default(),
            lane: DFF::default(),
            length_next: DFF::default(),
            kind: DFF::default(),
            skip: DFF::default(),
            ended: DFF::default(),
            bad_option: DFF::default(),
            class: DFF::default(),
            raw_foreign: DFF::default(),
            in_options: Signal::default(),
            stores: Signal::default(),
            ready: Signal::default(),
            passes: Signal::default(),
            filled: Signal::default(),
            next_write: Signal::default(),
            write_after: Signal::default(),
            next_words: Signal::default(),
            upper: Signal::default(),
            lower: Signal::default(),
            swapped: Signal::default(),
            elsewhere: Signal::default(),
            masked: Signal::default(),
            folded: Signal::default(),
            option: Signal::default(),
            rest: Signal::default(),
            ip_header: Signal::default(),
            tcp_header: Signal::default(),
            there: Signal::default(),
            claimed: Signal::default(),
            broken: Signal::default(),
            clear: Signal::default(),
            is_last: Signal::default(),
            bytes: Signal::default(),
            missing: Signal::default(),
            octet: Signal::default(),
            needed: Signal::default(),
            verdict: Signal::default(),
            capacity: Constant::new(FB::new((1 << A) - 1)),
        }
    }
}

impl<const A: usize> Logic for Parse<A> {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(
            self,
            clock,
            state,
            write,
            start,
            words,
            n,
            length,
            bad,
            is_injected,
            oversize,
            multicast,
            beginning,
            foreign,
            dropped,
            ipv4,
            version4,
            ihl,
            total,
            fragment,
            is_tcp,
            segment,
            offset,
            payload,
            hash,
            header_left,
            left,
            options_left,
            lane,
            length_next,
            kind,
            skip,
            ended,
            bad_option,
            class,
            raw_foreign
        );
        clock!(self, clock, ip_sum, tcp_sum);

        // Whether the word at the port passes, and where to.
        self.next_write.next = self.write.q.val() + 1;
        self.next_words.next = self.words.q.val() + 1;
        if self.words.q.val() == 0x3fff {
            self.next_words.next = self.words.q.val();
        }
        self.filled.next = self.words.q.val() == self.capacity.val();
        self.stores.next = !self.dropped.q.val() && !self.oversize.q.val() && !self.filled.val();
        self.in_options.next = self.options_left.q.val() != 0;
        self.ready.next = (self.state.q.val() == State::Body)
            && (self.room.val() || (self.n.q.val() != 0))
            && (!self.in_options.val() || (self.lane.q.val() == 3))
            && (!self.stores.val() || (self.next_write.val() != self.free.val()));
        self.passes.next = self.upstream.valid.val() && self.ready.val();
        self.is_last.next = self.passes.val() && self.upstream.last.val();
        self.upstream.ready.next = self.ready.val();
        self.ring_address.next = self.write.q.val();
        self.ring_data.next = self.upstream.data.val();
        self.ring_write.next = self.passes.val() && self.stores.val();
        self.write_after.next = self.write.q.val();
        if self.ring_write.val() {
            self.write_after.next = self.next_write.val();
        }

        // The word as a number.
        self.upper.next = (bit_cast::<16, 8>(self.upstream.data.val().get_bits::<8>(0)) << 8)
            | bit_cast::<16, 8>(self.upstream.data.val().get_bits::<8>(8));
        self.lower.next = (bit_cast::<16, 8>(self.upstream.data.val().get_bits::<8>(16)) << 8)
            | bit_cast::<16, 8>(self.upstream.data.val().get_bits::<8>(24));
        self.swapped.next =
            (bit_cast::<32, 16>(self.upper.val()) << 16) | bit_cast::<32, 16>(self.lower.val());

        // The sums: the IPv4 header; the pseudo header and what is of the segment.
        self.ip_sum.init.next = self.n.q.val() == 4;
        self.ip_sum.enable.next =
            self.passes.val() && ((self.n.q.val() == 4) || (self.header_left.q.val() != 0));
        self.ip_sum.data.next = self.upstream.data.val();
        self.masked.next = self.upstream.data.val();
        if self.n.q.val() == 6 {
            // Segment length and protocol, two big-endian numbers.
            self.masked.next = (bit_cast::<32, 8>(self.segment.q.val().get_bits::<8>(0)) << 24)
                | (bit_cast::<32, 8>(self.segment.q.val().get_bits::<8>(8)) << 16)
                | 0x600;
        } else if self.n.q.val() > 8 {
            if self.left.q.val() == 0 {
                self.masked.next = 0.into();
            } else if self.left.q.val() == 1 {
                self.masked.next = self.upstream.data.val() & 0xff;
            } else if self.left.q.val() == 2 {
                self.masked.next = self.upstream.data.val() & 0xffff;
            } else if self.left.q.val() == 3 {
                self.masked.next = self.upstream.data.val() & 0xff_ffff;
            }
        }
        self.tcp_sum.init.next = self.n.q.val() == 6;
        self.tcp_sum.enable.next = self.passes.val();
        self.tcp_sum.data.next = self.masked.val();

        // The fields. Words 7..12 are in the descriptor as well.
        self.slot.next = bit_cast::<7, 5>(self.n.q.val()) - 4;
        self.slot_data.next = self.upstream.data.val();
        self.slot_write.next = false;
        self.commit.next = 0.into();
        self.folded.next = self.upstream.data.val().get_bits::<8>(0)
            ^ self.upstream.data.val().get_bits::<8>(8)
            ^ self.upstream.data.val().get_bits::<8>(16)
            ^ self.upstream.data.val().get_bits::<8>(24);
        self.elsewhere.next = !self.multicast.q.val()
            && (!self.beginning.q.val()
                || (self.upstream.data.val().get_bits::<16>(0) != self.mac_low.val().get_bits::<16>(16))
                || (self.upstream.data.val().get_bits::<16>(16) != self.mac_high.val()));
        if self.passes.val() {
            self.words.d.next = self.next_words.val();
            if self.n.q.val() != 31 {
                self.n.d.next = self.n.q.val() + 1;
            }
            if self.filled.val() {
                self.oversize.d.next = true;
            }
            if self.header_left.q.val() != 0 {
                self.header_left.d.next = self.header_left.q.val() - 1;
            }
            if self.n.q.val() == 0 {
                self.multicast.d.next = self.upstream.data.val().get_bit(16);
                self.beginning.d.next =
                    self.upstream.data.val().get_bits::<16>(16) == self.mac_low.val().get_bits::<16>(0);
            }
            if self.n.q.val() == 1 {
                self.foreign.d.next = self.elsewhere.val();
                self.dropped.d.next = self.elsewhere.val() && !self.promiscuous.val();
            }
            if self.n.q.val() == 3 {
                self.ipv4.d.next = self.lower.val() == 0x0800;
            }
            if self.n.q.val() == 4 {
                self.version4.d.next = self.upstream.data.val().get_bits::<4>(4) == 4;
                self.ihl.d.next = self.upstream.data.val().get_bits::<4>(0);
                self.header_left.d.next = self.upstream.data.val().get_bits::<4>(0) - 1;
                self.total.d.next = self.lower.val();
            }
            if self.n.q.val() == 5 {
                // More fragments, or an offset.
                self.fragment.d.next = (self.lower.val() & 0x3fff) != 0;
                self.segment.d.next = self.total.q.val() - 20;
            }
            if self.n.q.val() == 6 {
                self.is_tcp.d.next = self.upstream.data.val().get_bits::<8>(8) == 6;
            }
            if self.n.q.val() == 7 {
                self.slot_write.next = true;
                self.hash.d.next = self.folded.val();
            }
            if self.n.q.val() == 8 {
                self.slot_write.next = true;
                self.left.d.next = self.segment.q.val();
            }
            if self.n.q.val() > 8 {
                self.left.d.next = self.left.q.val() - 4;
                if self.left.q.val() < 4 {
                    self.left.d.next = 0.into();
                }
            }
            if self.n.q.val() == 9 {
                self.slot_write.next = true;
                self.hash.d.next = self.hash.q.val() ^ self.folded.val();
            }
            if (self.n.q.val() == 10) || (self.n.q.val() == 11) {
                self.slot_write.next = true;
                self.slot_data.next = self.swapped.val();
            }
            if self.n.q.val() == 12 {
                self.slot_write.next = true;
                self.slot_data.next = (bit_cast::<32, 16>(self.lower.val()) << 16)
                    | bit_cast::<32, 8>(self.upstream.data.val().get_bits::<8>(8));
                self.offset.d.next = self.upstream.data.val().get_bits::<4>(4);
            }
            if (self.n.q.val() == 13)
                && self.ipv4.q.val()
                && self.is_tcp.q.val()
                && (self.ihl.q.val() == 5)
                && (self.offset.q.val() > 5)
            {
                self.options_left.d.next = self.offset.q.val() - 5;
            }
            if self.in_options.val() {
                self.options_left.d.next = self.options_left.q.val() - 1;
            }
        }

        // An octet of an option: a kind, a length or one of those that the length skips.
        self.option.next = self.upstream.data.val().get_bits::<8>(0);
        if self.lane.q.val() == 1 {
            self.option.next = self.upstream.data.val().get_bits::<8>(8);
        } else if self.lane.q.val() == 2 {
            self.option.next = self.upstream.data.val().get_bits::<8>(16);
        } else if self.lane.q.val() == 3 {
            self.option.next = self.upstream.data.val().get_bits::<8>(24);
        }
        self.rest.next = self.option.val() - 2;
        self.octet.next = self.in_options.val()
            && self.upstream.valid.val()
            && ((self.lane.q.val() != 3) || self.ready.val());
        if self.octet.val() {
            self.lane.d.next = self.lane.q.val() + 1;
        }
        if self.octet.val() && !self.ended.q.val() {
            if self.skip.q.val() != 0 {
                self.skip.d.next = self.skip.q.val() - 1;
            } else if self.length_next.q.val() {
                self.length_next.d.next = false;
                self.skip.d.next = self.rest.val();
                // Maximum segment size, window scale, SACK permitted and timestamps have one length each.
                if (self.option.val() < 2)
                    || ((self.kind.q.val() == 2) && (self.option.val() != 4))
                    || ((self.kind.q.val() == 3) && (self.option.val() != 3))
                    || ((self.kind.q.val() == 4) && (self.option.val() != 2))
                    || ((self.kind.q.val() == 8) && (self.option.val() != 10))
                {
                    self.bad_option.d.next = true;
                }
            } else if self.option.val() == 0 {
                self.ended.d.next = true;
            } else if self.option.val() != 1 {
                self.kind.d.next = self.option.val();
                self.length_next.d.next = true;
            }
        }

        // The end: what is there (pad included, but for the end of the last word), what the headers claim.
        self.missing.next = bit_cast::<16, 2>(self.upstream.empty.val()) + 2;
        self.bytes.next = bit_cast::<16, 14>(self.next_words.val()) << 2;
        if self.is_last.val() {
            self.state.d.next = State::Fold;
            self.length.d.next = self.bytes.val() - self.missing.val();
            if (self.n.q.val() == 0) && (self.upstream.empty.val() == 3) {
                self.length.d.next = 0.into();
            }
            self.bad.d.next = self.upstream.err.val();
            self.is_injected.d.next = self.injected.val();
        }
        self.there.next = bit_cast::<17, 16>(self.length.q.val());
        self.claimed.next = bit_cast::<17, 16>(self.total.q.val());
        self.needed.next = self.claimed.val() + 14;
        self.tcp_header.next = bit_cast::<17, 4>(self.offset.q.val()) << 2;
        if self.state.q.val() == State::Fold {
            self.state.d.next = State::Judge;
            self.payload.d.next = bit_cast::<17, 16>(self.segment.q.val()) - self.tcp_header.val();
        }
        self.broken.next = self.bad_option.q.val()
            || (!self.ended.q.val() && (self.length_next.q.val() || (self.skip.q.val() != 0)));
        self.ip_header.next = bit_cast::<17, 4>(self.ihl.q.val()) << 2;
        self.verdict.next = 0.into();
        if self.length.q.val() < 14 {
            self.verdict.next = 3.into();
        } else if self.dropped.q.val() {
            self.verdict.next = 2.into();
        } else if self.oversize.q.val() {
            self.verdict.next = 3.into();
        } else if self.foreign.q.val() || !self.ipv4.q.val() {
            self.verdict.next = 1.into();
        } else if !self.version4.q.val()
            || (self.ihl.q.val() < 5)
            || (self.claimed.val() < self.ip_header.val())
            || (self.there.val() < self.needed.val())
        {
            self.verdict.next = 3.into();
        } else if !self.ip_sum.good.val() {
            self.verdict.next = 4.into();
        } else if !self.is_tcp.q.val() || self.fragment.q.val() || (self.ihl.q.val() != 5) {
            self.verdict.next = 1.into();
        } else if (self.segment.q.val() < 20)
            || (self.offset.q.val() < 5)
            || self.payload.q.val().get_bit(16)
            || self.broken.val()
        {
            self.verdict.next = 3.into();
        } else if !self.tcp_sum.good.val() {
            self.verdict.next = 5.into();
        }

        // The rest of the descriptor, and the frame is done.
        self.clear.next = self.reset.val();
        if self.state.q.val() == State::Judge {
            self.state.d.next = State::Class;
            self.class.d.next = self.verdict.val();
            self.raw_foreign.d.next = self.foreign.q.val() && (self.verdict.val() == 1);
            if self.bad.q.val() {
                self.write_after.next = self.start.q.val();
                self.clear.next = true;
            }
        }
        if self.state.q.val() == State::Class {
            self.state.d.next = State::Place;
            self.slot_write.next = true;
            self.slot.next = 0.into();
            self.slot_data.next = bit_cast::<32, 4>(self.class.q.val())
                | (bit_cast::<32, 1>(self.is_injected.q.val().into()) << 4)
                | (bit_cast::<32, 1>(self.raw_foreign.q.val().into()) << 5)
                | (bit_cast::<32, 16>(self.length.q.val()) << 16);
            if self.class.q.val() == 0 {
                self.slot_data.next = self.slot_data.val() | (bit_cast::<32, 8>(self.hash.q.val()) << 8);
            }
            if self.class.q.val() > 1 {
                self.write_after.next = self.start.q.val();
            }
        }
        if self.state.q.val() == State::Place {
            self.state.d.next = State::Payload;
            self.slot_write.next = true;
            self.slot.next = 1.into();
            self.slot_data.next =
                bit_cast::<32, A>(self.start.q.val()) | (bit_cast::<32, A>(self.write.q.val()) << 16);
            if self.class.q.val() != 0 {
                self.commit.next = 2.into();
                self.clear.next = true;
            }
        }
        if self.state.q.val() == State::Payload {
            self.slot_write.next = true;
            self.slot.next = 2.into();
            // The payload begins behind 9 words and the TCP header.
            self.slot_data.next = (bit_cast::<32, 16>(self.payload.q.val().get_bits::<16>(0)) << 16)
                | ((bit_cast::<32, 4>(self.offset.q.val()) << 2) + 36);
            self.commit.next = 9.into();
            self.clear.next = true;
        }
        if self.clear.val() {
            self.state.d.next = State::Body;
            self.start.d.next = self.write_after.val();
            self.words.d.next = 0.into();
            self.n.d.next = 0.into();
            self.dropped.d.next = false;
            self.oversize.d.next = false;
            self.header_left.d.next = 0.into();
            self.options_left.d.next = 0.into();
            self.lane.d.next = 0.into();
            self.length_next.d.next = false;
            self.skip.d.next = 0.into();
            self.ended.d.next = false;
            self.bad_option.d.next = false;
        }
        self.write.d.next = self.write_after.val();
        if self.reset.val() {
            self.write.d.next = 0.into();
            self.start.d.next = 0.into();
        }
    }
}
