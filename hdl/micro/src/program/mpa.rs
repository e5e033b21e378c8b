//! FPDUs in: the walk over a segment, and staging of FPDUs that come in parts (RFC 5044 sections 4 to 6).
//!
//! The walker looks at the bytes that TCP delivers and gives one packet an FPDU; [`deliver`](super::deliver) judges it. What is left of a segment
//! behind its last whole FPDU goes to the QP's staging buffer in host memory as it came, markers included. When the FPDU is whole there, it is
//! walked there, and then the walk goes on in the ring.

use super::deliver::{self, Errors, inc};
use crate::asm::*;
use crate::isa::Word;
use crate::layout::Sizes;
use crate::layout::c::{self, fa, fd};
use crate::layout::g::*;
use crate::layout::port::*;
use crate::layout::q;
use ironwarp_proto::abi::regs::Counter;

/// How the present stretch is walked: PLACE's bits for markers and host memory, and [`UNALIGNED`].
pub(super) const MODE: Word = RX4;
/// Ring byte address of the stretch; 0 in host memory.
pub(super) const BASE: Word = RX5;
/// R1: offset of the FPDU in the stretch.
pub(super) const AT: Word = RX6;
/// R3: bytes from the FPDU's first byte to the next marker.
pub(super) const MARK: Word = RX7;
/// R0: code and ULPDU length.
pub(super) const HEAD: Word = RX8;

/// Bit of MODE: this segment began inside an FPDU, without markers to find it.
const UNALIGNED: u8 = 0;
/// Bit of MODE: there are markers.
pub(super) const MARKERS: u8 = 4;
/// Bit of MODE: the source is the staging buffer.
pub(super) const HOST: u8 = 6;

/// Codes of walker packets.
mod code {
    pub const BAD_MARKER: u8 = 2;
    pub const PARTIAL: u8 = 3;
    pub const END: u8 = 4;
}
/// Bit of R0: the ULPDU length is known.
const LENGTH_KNOWN: u8 = 4;

/// T, QP area: bytes on the wire of the FPDU in the staging buffer; 0 while its length field is not there.
const NEED: u8 = q::RDMA_RX + 13;
/// T, QP area: what follows the staged FPDU in the segment: ring byte address 15:0, bytes 31:16.
const REST: u8 = q::RDMA_RX + 14;
/// T, QP area: sequence number of that.
const REST_SEQ: u8 = q::RDMA_RX + 15;
/// T, QP area: address of the staging buffer.
pub(super) const STAGING: u8 = q::CONTEXT + 10;

/// Define the routines.
pub fn define(p: &mut Asm, sizes: &Sizes) {
    p.routine("rdma_deliver", rdma_deliver);
    p.routine("stage", stage);
    p.routine("stash", stash);
    p.routine("wire_len", wire_len);
    p.routine("walk_packet", |p| walk_packet(p, sizes));
    p.routine("rdma_rx_activate", rdma_rx_activate);
    p.routine("cut_at_fin", cut_at_fin);
}

/// d = bytes from sequence number `seq` to the next marker (RFC 5044 section 4.3).
fn to_marker(p: &mut Asm, d: Word, seq: Word) {
    p.sub(T8, c::MARK_RX, seq);
    p.shl(T8, T8, 32 - 9);
    p.shr(d, T8, 32 - 9);
}

/// Walk A1 bytes at ring byte address A0, sequence number A2; an FPDU begins there.
fn start_walk(p: &mut Asm) {
    p.mov(BASE, A0);
    // Bits 2 and 3 of FA are the walker's bits 0 and 1.
    p.shr(T8, c::FA, fa::MARKERS_RX);
    p.and(T8, T8, 3);
    p.pack(WALKC, A1, T8);
    p.mov(WALKC, A0);
    to_marker(p, WALKC, A2);
    p.mov(WALKC, 0);
}

/// A0 ring byte address, A1 bytes, A2 sequence number of the first; the QP is not stopped.
fn rdma_deliver(p: &mut Asm) {
    let staged = p.label();
    p.and(T8, c::FA, 1 << fa::MARKERS_RX);
    p.shl(MODE, T8, MARKERS - fa::MARKERS_RX);
    p.goto_if(ne(c::STAGED, 0), staged);
    start_walk(p);
    p.ret();
    p.bind(staged);
    p.call("stage");
    p.ret_if(eq(R0, 1));
    p.call("rx_finish");
}

/// Give the staged FPDU what it lacks, and walk it when it is whole: R0 = 1. Arguments as `rdma_deliver`.
fn stage(p: &mut Asm) {
    let (top, known, whole, none, lost) = (p.label(), p.label(), p.label(), p.label(), p.label());
    // T0 bytes from the FPDU's start to its first marker, T1 bytes of a marker in front, T2 bytes needed (0: not known).
    p.sub(T0, A2, c::STAGED);
    to_marker(p, T0, T0);
    p.mov(T1, 0);
    p.if_else(
        bit(MODE, MARKERS),
        |p| p.if_(eq(T0, 0), |p| p.mov(T1, 4)),
        |p| p.or(MODE, MODE, 1 << UNALIGNED),
    );
    p.bind(top);
    p.goto_if(eq(A1, 0), none);
    p.ldt(T2, TQ, NEED);
    p.mov(T3, T2);
    p.goto_if(ne(T2, 0), known);
    p.add(T3, T1, 2);
    p.bind(known);
    p.mov(T4, A1);
    p.sub(A1, T3, c::STAGED);
    p.if_(ltu(T4, A1), |p| p.mov(A1, T4));
    p.call("stash");
    p.add(A0, A0, A1);
    p.add(A2, A2, A1);
    p.sub(A1, T4, A1);
    p.goto_if(ltu(c::STAGED, T3), none);
    p.pack(T5, A1, A0);
    p.call("drain");
    p.goto_if(ne(R0, 0), lost);
    p.goto_if(ne(T2, 0), whole);
    p.loh(A0, T5);
    // Now the length field is there. (No marker splits it: FPDUs and markers both begin at multiples of four.)
    p.ldt(T5, TQ, STAGING);
    p.ldt(T6, TQ, STAGING + 1);
    p.add(T5, T5, T1);
    p.mov(DMAC, 1);
    p.mov(DMAC, T5);
    p.adc(DMAC, T6, 0);
    p.mov(T5, DMA);
    p.rare(ne(T5, 0), |p| {
        p.call("dma_fault");
        p.goto(lost);
    });
    p.bswap(T5, DMA);
    p.shr(T5, T5, 16);
    p.call("wire_len");
    p.stt(TQ, NEED, T2);
    p.goto(top);

    p.bind(whole);
    p.stt(TQ, REST, T5);
    p.stt(TQ, REST_SEQ, A2);
    p.or(MODE, MODE, 1 << HOST);
    p.mov(BASE, 0);
    p.shr(T5, c::FA, fa::MARKERS_RX);
    p.and(T5, T5, 3);
    p.or(T5, T5, 4);
    p.shr(T6, c::STAGED, 2);
    p.pack(WALKC, T6, T5);
    p.ldt(WALKC, TQ, STAGING);
    p.mov(WALKC, T0);
    p.ldt(WALKC, TQ, STAGING + 1);
    p.mov(R0, 1);
    p.ret();

    p.bind(lost);
    p.call("own_error");
    p.bind(none);
    p.mov(R0, 0);
}

/// A1 bytes at ring byte address A0 go behind what is staged. Changes T8, T9.
fn stash(p: &mut Asm) {
    p.pack(WRITER, RX_QP, 5);
    p.pack(WRITER, A1, 1);
    p.loh(WRITER, A0);
    p.ldt(T8, TQ, STAGING);
    p.ldt(T9, TQ, STAGING + 1);
    p.add(WRITER, T8, c::STAGED);
    p.adc(WRITER, T9, 0);
    p.add(c::STAGED, c::STAGED, A1);
}

/// T2 = bytes on the wire of an FPDU with a ULPDU of T5 bytes that begins T0 bytes before a marker (RFC 5044 sections 4.1 and 4.3).
/// Changes T8, T9.
fn wire_len(p: &mut Asm) {
    // Length field, ULPDU and pad make whole words; then the CRC.
    p.add(T8, T5, 2 + 3 + 4);
    p.shr(T8, T8, 2);
    p.shl(T2, T8, 2);
    p.ret_if(nbit(MODE, MARKERS));
    p.ret_if(leu(T2, T0));
    // One marker, and one more for each 508 bytes behind it: 1 + (m - 1) / 127 with m words behind the first, and m * 129 / 2^14
    // is (m - 1) / 127, rounded down, for all m up to 16,510.
    p.shr(T9, T0, 2);
    p.sub(T8, T8, T9);
    p.shl(T9, T8, 7);
    p.add(T9, T9, T8);
    p.shr(T9, T9, 14);
    p.add(T9, T9, 1);
    p.shl(T9, T9, 2);
    p.add(T2, T2, T9);
}

/// A walker packet is there.
fn walk_packet(p: &mut Asm, sizes: &Sizes) {
    let e = Errors::new(p);
    let (next, other) = (p.label(), p.label());
    p.rare(ne(QPN, RX_QP), |p| {
        p.mov(A0, RX_QP);
        p.call("select");
    });
    p.rare(ne(QPN, KNOWN_QP), |p| {
        p.mov(KNOWN_QP, QPN);
        p.mov(KNOWN_LENGTH, 0);
    });
    p.pack(WRITER, QPN, 5);
    p.bind(next);
    p.mov(HEAD, WALK_FIRST);
    p.bind(e.judge);
    p.and(T0, HEAD, 15);
    p.goto_if(ne(T0, 0), other);
    p.mov(AT, WALK);
    p.mov(MARK, WALK);
    p.mov(MARK, WALK);
    p.goto_if(bit(c::FD, fd::STOPPED), e.tail);
    p.mov(W0, WALK);
    p.bind(e.judge_fpdu);
    p.rare(bit(MODE, UNALIGNED), |p| inc(p, Counter::UnalignedFpdus));
    deliver::fpdu(p, sizes, &e);

    // Go on with the next FPDU, unless the host waits for an answer.
    p.bind(e.tail);
    p.and(T0, COND, 1 << cond::WALK | 1 << cond::HOST);
    p.goto_if(eq(T0, 1 << cond::WALK), next);
    p.ret();

    let unusual = p.label();
    let (end, partial, bad_marker, finish, aligned) = (p.label(), p.label(), p.label(), p.label(), p.label());
    p.bind(other);
    p.goto_if(ne(T0, code::END), unusual);
    p.goto_if(bit(MODE, HOST), end);
    p.bind(finish);
    p.call("rx_finish");
    p.ret();

    p.bind(unusual);
    p.goto_if(bit(c::FD, fd::STOPPED), end);
    p.goto_if(eq(T0, code::PARTIAL), partial);
    p.goto_if(eq(T0, code::BAD_MARKER), bad_marker);
    p.goto_if(nbit(MODE, UNALIGNED), aligned);
    inc(p, Counter::UnalignedFpdus);
    p.bind(aligned);
    inc(p, Counter::CrcErrors);
    p.goto(e.crc);
    p.bind(bad_marker);
    inc(p, Counter::MarkerErrors);
    p.goto(e.mismatch);

    p.bind(partial);
    // What was whole in the staging buffer and no longer is, somebody else has changed.
    p.goto_if(bit(MODE, HOST), e.own);
    p.mov(AT, WALK);
    p.mov(A1, WALK);
    p.mov(T0, WALK);
    p.add(A0, BASE, AT);
    p.call("stash");
    p.mov(T2, 0);
    p.if_(bit(HEAD, LENGTH_KNOWN), |p| {
        p.shr(T5, HEAD, 16);
        p.call("wire_len");
    });
    p.stt(TQ, NEED, T2);
    p.goto(finish);

    // The stretch is done. Behind a staged FPDU the segment goes on in the ring.
    p.bind(end);
    p.goto_if(nbit(MODE, HOST), finish);
    p.andn(MODE, MODE, 1 << HOST);
    p.mov(c::STAGED, 0);
    p.goto_if(bit(c::FD, fd::STOPPED), finish);
    p.ldt(A0, TQ, REST);
    p.shr(A1, A0, 16);
    p.goto_if(eq(A1, 0), finish);
    p.loh(A0, A0);
    p.ldt(A2, TQ, REST_SEQ);
    start_walk(p);
    p.goto(e.tail);

    // After a stop the rest of the stretch comes all the same, unless the walker has ended it.
    deliver::failures(p, &e);
    p.and(T0, HEAD, 15);
    p.goto_if(eq(T0, 0), e.tail);
    p.goto(end);
}

/// Receive state of the current QP from its context (model: `Rdma::new`).
fn rdma_rx_activate(p: &mut Asm) {
    for word in [c::STAGED, c::RQ, c::OPEN_RECEIVED, c::IRRQ, c::EXPECTED, KNOWN_LENGTH] {
        p.mov(word, 0);
    }
    for msn in [c::MSN0, c::MSN1, c::MSN3] {
        p.mov(msn, 1);
    }
    p.ldt(c::MARK_RX, TQ, q::CONTEXT + 14);
}

/// The peer's stream ended: R0 = bit 0 inside an FPDU, bit 1 inside a message, bit 2 own Reads are open.
fn cut_at_fin(p: &mut Asm) {
    p.mov(R0, 0);
    p.if_(ne(c::STAGED, 0), |p| p.mov(R0, 1));
    p.if_(bit(c::FD, fd::OPEN), |p| p.or(R0, R0, 2));
    p.shr(T8, c::EXPECTED, 8);
    p.sub(T8, T8, c::EXPECTED);
    p.and(T8, T8, 255);
    p.if_(ne(T8, 0), |p| p.or(R0, R0, 4));
}
