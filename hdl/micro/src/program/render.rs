//! Frames of FPDUs: building any part of the stream, again and again.

use super::message::{LKEY, SGE, STAG};
use super::source::remote_source;
use super::transmit::{
    COUNTS, FIRST, LAST, MSG_COMPLETES, MSG_INLINE, MSG_PLACED, if_run, journal, place, run_step,
};
use super::work::{CACHED, TERMINATE, request};
use crate::asm::{Asm, before, bit, eq, geu, ltu, nbit, ne};
use crate::isa::Word;
use crate::layout::c::*;
use crate::layout::g::*;
use crate::layout::{Sizes, fa, port};
use ironwarp_proto::abi::event::ErrorCause;
use ironwarp_proto::abi::regs::features;
use ironwarp_proto::ddp::{TAGGED_LEN, UNTAGGED_LEN};
use ironwarp_proto::rdmap::{AtomicRequest, AtomicResponse, ImmediateData, Opcode, ReadRequest};

/// Journal index of the FPDU being built.
const AT: Word = TX6;
/// Which of a run it is.
const OF_RUN: Word = FIRST;
/// FPDUs to build.
const LEFT: Word = TX5;

// Commands of the transmit engine.
const BEGIN: u8 = 1;
const TAGGED: u32 = 3 | 4 << 8;
const UNTAGGED: u32 = 3 | 5 << 8;
const INLINE: u8 = 4;
const READ: u8 = 5;
const CLOSE: u8 = 6;
const END: u8 = 7;
const DROP: u8 = 0x17;

/// READ of `len` bytes at R1, R2. Changes T8.
pub(super) fn read(p: &mut Asm, len: Word) {
    p.shl(T8, len, 16);
    p.or(port::TX, T8, READ);
    p.mov(port::TX, R1);
    p.mov(port::TX, R2);
}

/// INLINE of that many bytes.
fn inline(p: &mut Asm, bytes: usize) {
    p.ldi(port::TX, (bytes as u32) << 8 | u32::from(INLINE));
}

/// Words of T at `base`, byte-swapped: numbers become what is sent.
fn numbers(p: &mut Asm, base: Word, words: &[u8]) {
    for word in words {
        p.ldt(T8, base, *word);
        p.bswap(port::TX, T8);
    }
}

/// `rdma_build`: a frame of the A1 bytes from A0 on, as `rdma_plan` has just found them, A2 = TCP flags. R0 = 0 if they are lost: there is
/// no frame, and the QP has stopped.
pub fn define(p: &mut Asm, sizes: &Sizes) {
    p.routine("rdma_build", |p| {
        journal(p, sizes, T0, FIRST);
        p.ldt(T1, T0, 0);
        p.shr(T2, FIRST, 8);
        p.rare(ne(T2, 0), |p| {
            run_step(p, T3, T0);
            p.while_(ne(T2, 0), |p| {
                p.add(T1, T1, T3);
                p.sub(T2, T2, 1);
            });
        });
        p.and(T2, FA, 1 << fa::MARKERS_TX);
        p.shl(T2, T2, 6 - fa::MARKERS_TX);
        p.and(T3, FA, 1 << fa::CRC);
        p.shl(T3, T3, 7 - fa::CRC);
        p.or(T2, T2, T3);
        p.or(T2, T2, BEGIN);
        p.pack(port::TX, QPN, T2);
        p.sub(T2, MARK_TX, T1);
        p.shl(T2, T2, 32 - 9);
        p.shr(port::TX, T2, 32 - 9);
        p.sub(T2, A0, T1);
        p.pack(port::TX, A1, T2);
        p.call("frame_headers");
        p.and(AT, FIRST, 0xff);
        p.shr(OF_RUN, FIRST, 8);
        p.loh(LEFT, COUNTS);
        p.shr(LEFT, LEFT, 1);
        p.shr(T0, COUNTS, 16);
        p.add(LEFT, LEFT, T0);
        fpdus(p, sizes);
    });
}

/// FPDUs from AT on: length, header, payload; the engine adds pad, CRC and markers.
fn fpdus(p: &mut Asm, sizes: &Sizes) {
    // T1 = opcode, T2 = word 3, T3 = offset, T4 = payload bytes, T7 = entry.
    let [next, untagged, header, payload, copy, close, lost, placed, host] = [(); 9].map(|()| p.label());
    let control = p.k(0x4081);
    let whole_write = p.k(0x40c1);
    let entries = p.k(sizes.entries().into());
    let general = p.label();
    p.bind(next);
    journal(p, sizes, T0, AT);
    p.ldt(T2, T0, 3);
    p.ldt(T4, T0, 1);
    // The most frequent: a whole Write whose bytes are inline.
    p.and(T1, T2, 0xff);
    p.goto_if(ne(T1, MSG_COMPLETES | LAST), general);
    p.goto_if(nbit(T2, MSG_INLINE), general);
    p.shr(T7, T4, 16);
    p.add(T7, T7, OF_RUN);
    p.sub(T7, T7, CACHED);
    p.loh(T7, T7);
    p.shr(T8, CACHED, 16);
    p.goto_if(geu(T7, T8), general);
    p.shl(T7, T7, 4);
    p.add(T7, T7, entries);
    p.ldi(port::TX, TAGGED);
    p.and(T4, T4, 0x3f);
    p.add(T6, T4, TAGGED_LEN as u8);
    p.shl(T6, T6, 8);
    p.pack(port::TX, whole_write, T6);
    numbers(p, T7, &[STAG, 4, 3]);
    p.goto_if(eq(T4, 0), close);
    p.goto(copy);
    p.bind(general);
    p.ldt(T3, T0, 2);
    p.shr(A0, T4, 16);
    p.add(A0, A0, OF_RUN);
    p.loh(A0, A0);
    p.loh(T4, T4);
    p.and(T1, T2, 0xf);
    if_run(p, T2, |p| {
        p.mov(T1, 0);
        p.mov(T3, 0);
    });
    // Length field first on the wire, then DDP control, then RDMAP control: version 1 of both.
    p.shl(T5, T1, 8);
    p.and(T6, T2, LAST);
    p.shl(T6, T6, 2);
    p.or(T5, T5, T6);
    p.or(T5, T5, control);
    p.and(T6, T1, 0xd);
    p.goto_if(ne(T6, 0), untagged);
    p.add(T6, T4, TAGGED_LEN as u8);
    p.shl(T6, T6, 16);
    p.bswap(T6, T6);
    let base = p.label();
    p.rare(ne(T1, 0), |p| {
        // The sink that the Read Request named.
        request(p, sizes, T7, A0);
        p.goto(base);
    });
    p.shr(T8, T2, MSG_INLINE);
    p.rare(eq(T8, 0), |p| {
        p.call("fetch_entry");
        p.goto_if(ne(R0, 0), lost);
        p.add(T7, R1, STAG - 1);
        p.goto(base);
    });
    // Only the first slot is needed, and it was looked at when the entry was started.
    p.sub(T7, A0, CACHED);
    p.loh(T7, T7);
    p.shr(T8, CACHED, 16);
    p.rare(geu(T7, T8), |p| {
        p.call("fetch_entry");
        p.goto_if(ne(R0, 0), lost);
        p.sub(T7, A0, CACHED);
        p.loh(T7, T7);
    });
    p.shl(T7, T7, 4);
    p.add(T7, T7, entries);
    p.add(T7, T7, STAG - 1);
    p.bind(base);
    p.ldi(port::TX, TAGGED);
    p.pack(port::TX, T5, T6);
    numbers(p, T7, &[1]);
    p.ldt(T8, T7, 2);
    p.add(T9, T8, T3);
    p.ldt(T8, T7, 3);
    p.adc(T8, T8, 0);
    p.bswap(port::TX, T8);
    p.bswap(port::TX, T9);
    p.goto_if(eq(T4, 0), close);
    p.if_(bit(T2, MSG_PLACED), |p| {
        p.bind(placed);
        place(p, sizes, T7, AT);
        p.ldt(R1, T7, 0);
        p.ldt(R2, T7, 1);
        p.bind(host);
        read(p, T4);
        p.goto(close);
    });
    p.rare(ne(T1, 0), |p| {
        remote_source(p, T4);
        p.goto_if(eq(R0, 0), host);
        p.goto(lost);
    });
    p.sub(T7, T7, STAG - 1);
    p.bind(payload);
    p.rare(nbit(T2, MSG_INLINE), |p| {
        p.goto_if(bit(T2, MSG_PLACED), placed);
        p.mov(T5, T7);
        p.mov(T7, 1);
        p.call("sources");
        p.goto_if(ne(R0, 0), lost);
        p.goto(close);
    });
    p.bind(copy);
    p.shl(T8, T4, 8);
    p.or(port::TX, T8, INLINE);
    let word = p.label();
    p.bind(word);
    p.ldt(port::TX, T7, SGE);
    p.add(T7, T7, 1);
    p.sub(T4, T4, 4);
    p.goto_if(before(ZERO, T4), word);
    p.bind(close);
    p.mov(port::TX, CLOSE);
    let same = p.label();
    if_run(p, T2, |p| {
        journal(p, sizes, T0, AT);
        p.ldt(T0, T0, 2);
        p.and(T0, T0, 0xff);
        p.add(OF_RUN, OF_RUN, 1);
        p.goto_if(ltu(OF_RUN, T0), same);
        p.mov(OF_RUN, 0);
    });
    p.add(AT, AT, 1);
    p.bind(same);
    p.sub(LEFT, LEFT, 1);
    p.goto_if(ne(LEFT, 0), next);
    p.mov(port::TX, END);
    p.mov(R0, 1);
    p.ret();
    // Bytes that the peer may have seen can no longer be built: only RST is left.
    p.bind(lost);
    p.mov(port::TX, DROP);
    p.mov(A0, ErrorCause::Fatal as u8);
    p.mov(A1, 0);
    p.call("stop");
    p.mov(R0, 0);
    p.ret();

    // T8 = STag to invalidate, T9 = QN, T10 = an MSN behind.
    p.bind(untagged);
    p.xor(T5, T5, 0x80);
    p.add(T6, T4, UNTAGGED_LEN as u8);
    p.shl(T6, T6, 16);
    p.bswap(T6, T6);
    if sizes.has(features::ATOMICS) {
        p.if_(eq(T1, Opcode::AtomicResponse as u8), |p| {
            request(p, sizes, T7, A0);
            p.mov(T8, 0);
            p.mov(T9, 3);
            p.mov(T10, TXMSN3);
            p.goto(header);
        });
    }
    p.if_(eq(T1, Opcode::Terminate as u8), |p| {
        p.add(T7, TQ, TERMINATE - SGE);
        p.mov(T8, 0);
        p.mov(T9, 2);
        p.mov(T10, 2);
        p.goto(header);
    });
    p.call("fetch_entry");
    p.goto_if(ne(R0, 0), lost);
    p.mov(T7, R1);
    p.mov(T8, 0);
    p.mov(T9, 0);
    p.mov(T10, TXMSN0);
    p.goto_if(eq(T1, Opcode::Send as u8), header);
    let requests = p.label();
    p.goto_if(eq(T1, Opcode::ReadRequest as u8), requests);
    p.if_else(
        ltu(T1, Opcode::Terminate as u8),
        // Sends that invalidate have even opcodes.
        |p| p.if_(nbit(T1, 0), |p| p.ldt(T8, T7, STAG)),
        |p| {
            p.if_(eq(T1, Opcode::AtomicRequest as u8), |p| {
                p.bind(requests);
                p.mov(T9, 1);
                p.mov(T10, TXMSN1);
            });
        },
    );
    p.bind(header);
    p.ldi(port::TX, UNTAGGED);
    p.pack(port::TX, T5, T6);
    p.bswap(port::TX, T8);
    p.shl(port::TX, T9, 24);
    // The MSN is the latest that has these low bits.
    p.shr(T8, T2, 8);
    p.sub(T8, T10, T8);
    p.and(T8, T8, 0xff);
    p.sub(T8, T10, T8);
    p.bswap(port::TX, T8);
    p.bswap(port::TX, T3);
    p.goto_if(eq(T4, 0), close);
    p.goto_if(eq(T1, Opcode::Terminate as u8), copy);
    p.if_(ltu(T1, Opcode::Terminate as u8), |p| {
        p.goto_if(ne(T1, Opcode::ReadRequest as u8), payload);
        inline(p, ReadRequest::LEN);
        numbers(p, T7, &[LKEY, SGE + 1, SGE, 1, STAG, 4, 3]);
        p.goto(close);
    });
    if sizes.has(features::IMMEDIATE) {
        p.if_(ltu(T1, Opcode::AtomicRequest as u8), |p| {
            inline(p, ImmediateData::LEN);
            p.ldt(port::TX, T7, 6);
            p.ldt(port::TX, T7, 7);
            p.goto(close);
        });
    }
    if sizes.has(features::ATOMICS) {
        p.if_(bit(T1, 0), |p| {
            inline(p, AtomicResponse::LEN);
            numbers(p, T7, &[1, 3, 2]);
            p.goto(close);
        });
        atomic_request(p);
        p.goto(close);
    }
}

/// RFC 7306 section 5.2.1; what FetchAdd does not use has fixed values.
fn atomic_request(p: &mut Asm) {
    inline(p, AtomicRequest::LEN);
    p.ldt(T10, T7, 0);
    // FetchAdd is verb 9 and operation 0, CmpSwap verb 10 and operation 2.
    p.and(T10, T10, 2);
    p.shl(port::TX, T10, 24);
    p.shr(T8, T2, 24);
    p.sub(T8, REQUEST_ID, T8);
    p.and(T8, T8, 0xff);
    p.sub(T8, REQUEST_ID, T8);
    p.bswap(port::TX, T8);
    numbers(p, T7, &[STAG, 4, 3, 17, 16, 19, 18]);
    p.if_else(
        ne(T10, 0),
        |p| numbers(p, T7, &[21, 20, 23, 22]),
        |p| {
            p.mov(port::TX, 0);
            p.mov(port::TX, 0);
            p.sub(T8, ZERO, 1);
            p.mov(port::TX, T8);
            p.mov(port::TX, T8);
        },
    );
}
