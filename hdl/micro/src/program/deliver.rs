//! DDP and RDMAP rules for an FPDU that came: what each segment may do, and doing it.
//!
//! Checks come in the order of the protocols' layers, and the first failure wins: DDP version, RDMAP version, queue,
//! opcode, sequence, place, rights (RFC 5041 section 7, RFC 5040 section 7, RFC 7306 section 8). This is one routine with the walk in
//! [`mpa`](super::mpa): an error is a jump.

use super::fault::{self, TAGGED, number};
use super::mpa::{AT, BASE, HEAD, MODE};
use super::{buffer, untagged};
use crate::asm::*;
use crate::isa::Word;
use crate::layout::Sizes;
use crate::layout::c::{self, fa};
use crate::layout::g::*;
use crate::layout::port::*;
use crate::layout::t;
use ironwarp_proto::abi::completion::Status;
use ironwarp_proto::abi::region::access;
use ironwarp_proto::abi::regs::Counter;
use ironwarp_proto::ddp::{self, TAGGED_LEN, UNTAGGED_LEN};
use ironwarp_proto::mpa::fpdu::LENGTH_LEN;
use ironwarp_proto::rdmap::{self, Opcode};
use ironwarp_proto::terminate::TerminateError as E;

/// Bytes of payload of the segment. It and OPCODE survive region checks and `place`.
pub(super) const PAYLOAD: Word = T1;
/// RDMAP opcode of the segment.
pub(super) const OPCODE: Word = T2;
/// Bit of W0: L, the last segment of its message.
pub(super) const LAST: u8 = 22;

/// Where checks that fail go to.
pub(super) struct Errors {
    /// The segment is done.
    pub tail: Label,
    /// A packet with its first word in HEAD; one of a whole FPDU whose first word is in W0 too.
    pub judge: Label,
    pub judge_fpdu: Label,
    /// The segment at fault and the reason in A0.
    fail: Label,
    pub own: Label,
    pub crc: Label,
    pub mismatch: Label,
    tagged_version: Label,
    pub untagged_version: Label,
    pub queue: Label,
    pub rdmap_version: Label,
    pub unexpected: Label,
    pub msn: Label,
    pub offset: Label,
    pub too_long: Label,
    pub unspecified: Label,
    pub no_buffer: Label,
    pub catastrophic: Label,
    pub no_invalidate: Label,
    stag: Label,
    bounds: Label,
    /// A refusal in R0, in the name of DDP, or of RDMAP.
    ddp_refused: Label,
    pub rdmap_refused: Label,
    /// A completion was dropped.
    pub cq_broken: Label,
}

impl Errors {
    pub fn new(p: &mut Asm) -> Self {
        Self {
            tail: p.label(),
            judge: p.label(),
            judge_fpdu: p.label(),
            fail: p.label(),
            own: p.label(),
            crc: p.label(),
            mismatch: p.label(),
            tagged_version: p.label(),
            untagged_version: p.label(),
            queue: p.label(),
            rdmap_version: p.label(),
            unexpected: p.label(),
            msn: p.label(),
            offset: p.label(),
            too_long: p.label(),
            unspecified: p.label(),
            no_buffer: p.label(),
            catastrophic: p.label(),
            no_invalidate: p.label(),
            stag: p.label(),
            bounds: p.label(),
            ddp_refused: p.label(),
            rdmap_refused: p.label(),
            cq_broken: p.label(),
        }
    }
}

/// The places behind [`Errors`]: the QP stops, and the code behind this goes on.
pub(super) fn failures(p: &mut Asm, e: &Errors) {
    let done = p.label();
    for (label, error) in [
        (e.own, E::RdmapLocalCatastrophic),
        (e.crc, E::MpaCrc),
        (e.mismatch, E::MpaMarkerMismatch),
        (e.tagged_version, E::DdpTaggedInvalidVersion),
        (e.untagged_version, E::DdpUntaggedInvalidVersion),
        (e.queue, E::DdpInvalidQn),
        (e.rdmap_version, E::RdmapInvalidVersion),
        (e.msn, E::DdpMsnRange),
        (e.offset, E::DdpInvalidMo),
        (e.too_long, E::DdpTooLong),
        (e.unspecified, E::RdmapOperationUnspecified),
        (e.no_buffer, E::DdpNoBuffer),
        (e.catastrophic, E::RdmapStreamCatastrophic),
        (e.no_invalidate, E::RdmapCannotInvalidate),
        (e.stag, E::DdpInvalidStag),
        (e.bounds, E::DdpBounds),
    ] {
        p.bind(label);
        p.ldi(A0, number(error));
        p.goto(e.fail);
    }
    p.bind(e.cq_broken);
    p.mov(A0, ironwarp_proto::abi::event::ErrorCause::CqBroken as u8);
    p.mov(A1, 0);
    p.call("stop");
    p.goto(done);
    p.bind(e.ddp_refused);
    // RFC 5041 section 7.2. DDP has no code for missing rights: the STag is not valid for this.
    let errors = [E::DdpInvalidStag, E::DdpStagNotAssociated, E::DdpInvalidStag, E::DdpToWrap, E::DdpBounds];
    fault::refusal(p, errors);
    p.goto(e.fail);
    p.bind(e.rdmap_refused);
    p.call("rdmap_refusal");
    p.goto(e.fail);
    p.bind(e.unexpected);
    p.ldi(A0, number(E::RdmapUnexpectedOpcode));
    p.bind(e.fail);
    p.shr(A1, HEAD, 16);
    p.call("detected");
    p.bind(done);
}

/// Count one. Changes T14.
pub(super) fn inc(p: &mut Asm, counter: Counter) {
    p.ldt(T14, ZERO, t::COUNTERS + counter as u8);
    p.add(T14, T14, 1);
    p.stt(ZERO, t::COUNTERS + counter as u8, T14);
}

/// Count `bytes` placed. Changes T14.
pub(super) fn add_placed(p: &mut Asm, bytes: Word) {
    p.ldt(T14, ZERO, t::COUNTERS + Counter::BytesPlaced as u8);
    p.add(T14, T14, bytes);
    p.stt(ZERO, t::COUNTERS + Counter::BytesPlaced as u8, T14);
}

/// RDMAP's version and opcode of the segment.
pub(super) fn opcode(p: &mut Asm, e: &Errors) {
    p.shr(OPCODE, W0, 24);
    p.shr(T3, OPCODE, 6);
    p.goto_if(ne(T3, rdmap::VERSION), e.rdmap_version);
    p.and(OPCODE, OPCODE, 15);
}

/// A Write as it usually comes: RDMAP control 15:8, DDP control without L.
const WRITE: u32 = 0x4081;
/// L in it.
const WRITE_LAST: u8 = 0x40;
/// The FPDU with R0 in HEAD and its first word in W0; the rest of its packet is in the port.
pub(super) fn fpdu(p: &mut Asm, sizes: &Sizes, e: &Errors) {
    let (general, untagged, check) = (p.label(), p.label(), p.label());
    inc(p, Counter::RxFpdus);
    // RFC 5044 section 7.1.2: now a responder may send; the frame's end wakes the QP.
    p.andn(c::FA, c::FA, 1 << fa::HOLD);
    p.shr(PAYLOAD, HEAD, 16);
    p.shr(T3, W0, 16);
    p.andn(T3, T3, WRITE_LAST);
    p.ldi(T4, WRITE);
    p.goto_if(ne(T3, T4), general);
    // A length below the header's own is a length field that cannot be trusted.
    p.goto_if(ltu(PAYLOAD, TAGGED_LEN as u8), e.mismatch);
    tagged_header(p);
    p.goto_if(ne(W1, KNOWN_STAG), check);
    p.sub(T4, W3, KNOWN_BASE);
    p.sbb(T5, W2, KNOWN_BASE_HIGH);
    p.goto_if(ne(T5, 0), check);
    p.goto_if(geu(T4, KNOWN_LENGTH), check);
    p.sub(T5, KNOWN_LENGTH, T4);
    p.goto_if(ltu(T5, PAYLOAD), check);
    p.goto_if(ne(MODE, 0), check);
    p.pack(WRITER, PAYLOAD, 1);
    p.add(T9, BASE, AT);
    p.add(WRITER, T9, (LENGTH_LEN + TAGGED_LEN) as u8);
    p.add(WRITER, T4, KNOWN_HOST);
    p.adc(WRITER, KNOWN_HOST_HIGH, 0);
    add_placed(p, PAYLOAD);
    super::alike::writes(p, e, check);

    p.bind(check);
    write(p, e);

    p.bind(general);
    p.goto_if(nbit(W0, TAGGED), untagged);
    p.goto_if(ltu(PAYLOAD, TAGGED_LEN as u8), e.mismatch);
    tagged_header(p);
    p.shr(T3, W0, 16);
    p.and(T3, T3, 3);
    p.goto_if(ne(T3, ddp::VERSION), e.tagged_version);
    opcode(p, e);
    p.goto_if(eq(OPCODE, Opcode::Write as u8), check);
    p.goto_if(ne(OPCODE, Opcode::ReadResponse as u8), e.unexpected);
    place_read_response(p, sizes, e);
    p.goto(e.tail);

    p.bind(untagged);
    p.goto_if(ltu(PAYLOAD, UNTAGGED_LEN as u8), e.mismatch);
    p.sub(PAYLOAD, PAYLOAD, UNTAGGED_LEN as u8);
    untagged::deliver(p, sizes, e);
}

/// W1 = STag, W2/W3 = TO, PAYLOAD = bytes behind the header.
fn tagged_header(p: &mut Asm) {
    p.sub(PAYLOAD, PAYLOAD, TAGGED_LEN as u8);
    for word in [W1, W2, W3] {
        p.bswap(word, WALK);
    }
}

/// A segment of a Write. Others like it may follow: its region is remembered.
fn write(p: &mut Asm, e: &Errors) {
    // RFC 5041 section 5.2: STag and TO of a zero-length segment are not examined.
    p.goto_if(eq(PAYLOAD, 0), e.tail);
    place_tagged(p, e, access::REMOTE_WRITE, "region_remote", |p| {
        p.mov(KNOWN_STAG, W1);
        p.ldt(KNOWN_BASE, T8, 3);
        p.ldt(KNOWN_BASE_HIGH, T8, 4);
        p.mov(KNOWN_HOST, T13);
        p.mov(KNOWN_HOST_HIGH, T14);
        // Only if its length fits a word.
        p.mov(KNOWN_LENGTH, 0);
        p.ldt(T9, T8, 2);
        p.loh(T9, T9);
        p.if_(eq(T9, 0), |p| p.ldt(KNOWN_LENGTH, T8, 1));
    });
    p.goto(e.tail);
}

/// PAYLOAD bytes go to W2/W3 of region W1; `then` comes behind the check. Keeps T0..T5.
fn place_tagged(p: &mut Asm, e: &Errors, rights: u8, check: &'static str, then: impl FnOnce(&mut Asm)) {
    p.mov(A0, W1);
    p.mov(A1, W3);
    p.mov(A2, W2);
    p.mov(A3, PAYLOAD);
    p.mov(A4, rights);
    p.mov(A5, c::ASKER);
    p.call(check);
    p.goto_if(ne(R0, 0), e.ddp_refused);
    then(p);
    p.pack(WRITER, QPN, 5);
    p.mov(T6, (LENGTH_LEN + TAGGED_LEN) as u8);
    p.call("place");
    add_placed(p, PAYLOAD);
}

/// d = T address of the oldest expected response. Changes T8.
pub(super) fn oldest_expected(p: &mut Asm, sizes: &Sizes, d: Word) {
    p.and(d, c::EXPECTED, (1 << sizes.log2_expected) - 1);
    p.shl(d, d, 3);
    p.ldi(T8, sizes.expected().into());
    p.add(d, d, T8);
    p.add(d, d, TQ);
}

/// Jump to `none` unless a response is expected. Changes T3.
pub(super) fn need_expected(p: &mut Asm, none: Label) {
    p.shr(T3, c::EXPECTED, 8);
    p.xor(T3, T3, c::EXPECTED);
    p.and(T3, T3, 255);
    p.goto_if(eq(T3, 0), none);
}

/// The oldest expected response has come. Changes T8, T9.
pub(super) fn pop_expected(p: &mut Asm) {
    p.add(T8, c::EXPECTED, 1);
    p.and(T8, T8, 255);
    p.shr(T9, c::EXPECTED, 8);
    p.shl(T9, T9, 8);
    p.or(c::EXPECTED, T8, T9);
}

/// A segment of a Read Response. Each is compared with what our own request asked for, never with what the packet says.
fn place_read_response(p: &mut Asm, sizes: &Sizes, e: &Errors) {
    let [whole, checked, done, good, last, look, put, placed] = [(); 8].map(|()| p.label());
    // What `t::SINK` calls this Read; never 0. Changes T9.
    let key = |p: &mut Asm| {
        p.add(T8, QPN, 1);
        p.and(T9, c::EXPECTED, 255);
        p.pack(T8, T8, T9);
    };
    need_expected(p, e.unexpected);
    oldest_expected(p, sizes, T4);
    p.ldt(T5, T4, 0);
    p.goto_if(bit(T5, 0), e.unexpected);
    p.ldt(T0, T4, 4);
    p.or(T7, PAYLOAD, T0);
    p.goto_if(eq(T7, 0), whole);
    p.ldt(T7, T4, 1);
    p.goto_if(ne(T7, W1), e.stag);
    p.ldt(T7, T4, 2);
    p.goto_if(ne(T7, W3), e.bounds);
    p.ldt(T7, T4, 3);
    p.goto_if(ne(T7, W2), e.bounds);
    p.goto_if(ltu(T0, PAYLOAD), e.bounds);
    p.goto_if(eq(PAYLOAD, T0), whole);
    p.goto_if(bit(W0, LAST), e.unspecified);
    p.bind(checked);
    p.goto_if(eq(PAYLOAD, 0), done);
    // The sink of a Read is looked at as a whole. If all of it may be written, the rest needs no look, unless a region changes.
    key(p);
    p.ldt(T9, ZERO, t::SINK);
    p.goto_if(ne(T8, T9), look);
    p.ldt(T9, ZERO, t::SINK + 1);
    p.add(R1, T9, W3);
    p.ldt(T9, ZERO, t::SINK + 2);
    p.adc(R2, T9, W2);
    p.bind(put);
    p.mov(A3, PAYLOAD);
    p.pack(WRITER, QPN, 5);
    p.mov(T6, (LENGTH_LEN + TAGGED_LEN) as u8);
    p.call("place");
    add_placed(p, PAYLOAD);
    p.bind(placed);
    p.sub(T0, T0, PAYLOAD);
    p.stt(T4, 4, T0);
    p.add(T8, W3, PAYLOAD);
    p.adc(T9, W2, 0);
    p.stt(T4, 2, T8);
    p.stt(T4, 3, T9);
    p.bind(done);
    p.goto_if(bit(W0, LAST), last);
    p.goto(e.tail);

    p.bind(whole);
    p.goto_if(bit(W0, LAST), checked);
    p.goto(e.unspecified);

    p.bind(look);
    for (argument, word) in [(A0, W1), (A1, W3), (A2, W2), (A3, T0), (A5, c::ASKER)] {
        p.mov(argument, word);
    }
    p.mov(A4, access::LOCAL_WRITE);
    p.call("region_local");
    p.rare(ne(R0, 0), |p| {
        place_tagged(p, e, access::LOCAL_WRITE, "region_local", |_| {});
        p.goto(placed);
    });
    key(p);
    p.stt(ZERO, t::SINK, T8);
    p.sub(T9, R1, W3);
    p.stt(ZERO, t::SINK + 1, T9);
    p.sbb(T9, R2, W2);
    p.stt(ZERO, t::SINK + 2, T9);
    p.goto(put);

    // The work is complete when its bytes are in memory.
    p.bind(last);
    p.call("drain");
    p.goto_if(ne(R0, 0), e.own);
    p.shr(W4, T5, 8);
    p.and(W4, W4, 255);
    p.ldt(W1, T4, 1);
    p.stt(ZERO, t::SINK, 0);
    pop_expected(p);
    p.mov(R0, 1);
    p.rare(bit(T5, 1), |p| {
        p.mov(A0, W1);
        p.mov(A5, c::ASKER);
        p.call("region_invalidate");
    });
    p.mov(A1, Status::Ok as u8);
    p.mov(W3, R0);
    p.goto_if(ne(R0, 0), good);
    p.mov(A1, Status::Bind as u8);
    p.bind(good);
    p.mov(A0, W4);
    p.call("finish_work");
    p.goto_if(eq(W3, 0), e.own);
}

/// Define the routines.
pub fn define(p: &mut Asm, sizes: &Sizes) {
    fault::define(p);
    buffer::define(p, sizes);
}
