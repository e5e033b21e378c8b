//! Untagged messages: Sends, Immediate Data, Read Requests, atomics, Terminates.

use super::buffer::{IMMEDIATE, INVALIDATED, RECEIVE, SOLICITED};
use super::deliver::*;
use super::receive::{DID, did};
use crate::asm::*;
use crate::layout::Sizes;
use crate::layout::c::{self, fa, fd};
use crate::layout::g::*;
use crate::layout::port::*;
use crate::layout::{q, t};
use ironwarp_proto::abi::completion::Status;
use ironwarp_proto::abi::context::TERMINATE_MAX;
use ironwarp_proto::abi::event::ErrorCause;
use ironwarp_proto::abi::region::access;
use ironwarp_proto::abi::regs::features;
use ironwarp_proto::ddp::{self, QN_ATOMIC, QN_READ, QN_SEND, QN_TERMINATE, UNTAGGED_LEN};
use ironwarp_proto::mpa::fpdu::LENGTH_LEN;
use ironwarp_proto::rdmap::{AtomicOp, AtomicRequest, AtomicResponse, ImmediateData, Opcode, ReadRequest};

/// Bits of the opcodes that are untagged messages, and the queue of each, 2 bits by opcode.
fn opcodes() -> (u32, u32) {
    let untagged = Opcode::ALL.into_iter().filter_map(|opcode| Some((opcode as u32, opcode.queue_number()?)));
    untagged.fold((0, 0), |(known, queues), (opcode, queue)| {
        (known | 1 << opcode, queues | queue << (2 * opcode))
    })
}

/// Control fields of a Send's last segment: RDMAP 15:8, DDP 7:0, version 1 of both.
const SEND_LAST: u32 = 0x4341;

/// The segment's header is read, its payload is in the port. W1 STag to invalidate, W2 QN, W3 MSN, W4 MO.
pub(super) fn deliver(p: &mut Asm, sizes: &Sizes, e: &Errors) {
    let atomics = sizes.has(features::ATOMICS);
    let (other, immediate, requests, terminate, atomic) =
        (p.label(), p.label(), p.label(), p.label(), p.label());
    for word in [W1, W2, W3, W4] {
        p.bswap(word, WALK);
    }
    p.shr(T3, W0, 16);
    // Most often it is the last of a Send, as it should be.
    let queue_0 = p.label();
    p.ldi(T4, SEND_LAST);
    p.mov(OPCODE, Opcode::Send as u8);
    p.if_(eq(T3, T4), |p| p.goto_if(eq(W2, QN_SEND as u8), queue_0));
    p.and(T3, T3, 3);
    p.goto_if(ne(T3, ddp::VERSION), e.untagged_version);
    p.rare(geu(W2, QN_ATOMIC as u8), |p| {
        p.goto_if(ne(W2, QN_ATOMIC as u8), e.queue);
        if atomics {
            p.goto_if(nbit(c::FA, fa::ATOMICS), e.queue);
        } else {
            p.goto(e.queue);
        }
    });
    opcode(p, e);
    let (known, queues) = opcodes();
    p.ldi(T3, known);
    p.goto_if(bit_of(T3, OPCODE).not(), e.unexpected);
    p.add(T3, OPCODE, OPCODE);
    let queues = p.k(queues);
    p.shr(T3, queues, T3);
    p.and(T3, T3, 3);
    p.goto_if(ne(T3, W2), e.unexpected);
    p.goto_if(ne(W2, QN_SEND as u8), other);
    p.bind(queue_0);
    p.goto_if(ne(W3, c::MSN0), e.msn);
    p.goto_if(geu(OPCODE, Opcode::ImmediateData as u8), immediate);
    send(p, sizes, e);
    p.goto(e.tail);

    p.bind(immediate);
    p.goto_if(bit(c::FD, fd::OPEN), e.unexpected);
    fixed_size(p, e, ImmediateData::LEN);
    deliver_immediate(p, sizes, e);
    p.goto(e.tail);

    p.bind(other);
    p.goto_if(eq(W2, QN_TERMINATE as u8), terminate);
    if atomics {
        p.goto_if(eq(W2, QN_READ as u8), requests);
        // QN 3: an Atomic Response.
        p.goto_if(ne(W3, c::MSN3), e.msn);
        fixed_size(p, e, AtomicResponse::LEN);
        finish_atomic(p, sizes, e);
        p.goto(e.tail);
        p.bind(requests);
        p.goto_if(eq(OPCODE, Opcode::AtomicRequest as u8), atomic);
    } else {
        p.goto_if(eq(OPCODE, Opcode::AtomicRequest as u8), e.unexpected);
    }
    p.goto_if(ne(W3, c::MSN1), e.msn);
    fixed_size(p, e, ReadRequest::LEN);
    accept_read(p, sizes, e);
    p.goto(e.tail);
    if atomics {
        p.bind(atomic);
        p.goto_if(nbit(c::FA, fa::ATOMICS), e.unexpected);
        p.goto_if(ne(W3, c::MSN1), e.msn);
        fixed_size(p, e, AtomicRequest::LEN);
        accept_atomic(p, sizes, e);
        p.goto(e.tail);
    }

    p.bind(terminate);
    terminated(p);
    p.goto(e.tail);
}

/// A message of fixed size in one segment.
fn fixed_size(p: &mut Asm, e: &Errors, size: usize) {
    p.goto_if(ne(W4, 0), e.offset);
    p.mov(T3, size as u8);
    p.goto_if(ltu(T3, PAYLOAD), e.too_long);
    p.goto_if(ne(PAYLOAD, T3), e.unspecified);
    p.goto_if(nbit(W0, LAST), e.unspecified);
}

/// Where there is no receive entry (R0 of `take_receive`).
fn no_entry(p: &mut Asm, e: &Errors) {
    p.goto_if(eq(R0, 1), e.no_buffer);
    p.goto_if(ne(R0, 0), e.own);
}

/// The open receive failed with `status`; then `error`.
fn fail_receive(p: &mut Asm, status: Status, error: Label) {
    p.mov(A0, status as u8);
    p.call("fail_receive");
    p.goto(error);
}

/// The message in the open receive is whole: what came before it is in memory, then its completion.
fn complete(p: &mut Asm, sizes: &Sizes, e: &Errors) {
    p.call("drain");
    p.rare(ne(R0, 0), |p| {
        super::cq::written(p, sizes);
        fail_receive(p, Status::LocalProtection, e.own);
    });
    if sizes.predicts {
        p.mov(ALREADY, already::IF_COMPLETED);
    }
    p.mov(E7, Status::Ok as u8);
    p.call("complete_receive");
    p.goto_if(eq(R0, 0), e.cq_broken);
    p.or(DID, DID, 1 << did::RECEIVED);
}

/// A segment of a Send.
fn send(p: &mut Asm, sizes: &Sizes, e: &Errors) {
    p.goto_if(ne(W4, c::OPEN_RECEIVED), e.offset);
    p.rare(nbit(c::FD, fd::OPEN), |p| {
        p.call("take_receive");
        no_entry(p, e);
    });
    p.sub(T3, c::OPEN_ROOM, c::OPEN_RECEIVED);
    p.rare(ltu(T3, PAYLOAD), |p| fail_receive(p, Status::Length, e.too_long));
    p.if_(ne(PAYLOAD, 0), |p| {
        p.call("scatter");
        p.rare(ne(R0, 0), |p| fail_receive(p, Status::LocalProtection, e.own));
    });
    p.add(c::OPEN_RECEIVED, c::OPEN_RECEIVED, PAYLOAD);
    p.goto_if(nbit(W0, LAST), e.tail);
    p.mov(E1, c::OPEN_RECEIVED);
    p.mov(E3, 0);
    p.mov(E4, 0);
    p.mov(E5, 0);
    p.ldi(T5, RECEIVE);
    // Solicited are 5 and 6, invalidating 4 and 6.
    p.rare(ne(OPCODE, Opcode::Send as u8), |p| {
        p.if_(geu(OPCODE, Opcode::SendSolicited as u8), |p| p.ldi(T5, RECEIVE | SOLICITED));
        p.if_(nbit(OPCODE, 0), |p| {
            p.mov(E7, T5);
            p.mov(E3, W1);
            p.mov(A0, W1);
            p.mov(A5, c::ASKER);
            p.call("region_invalidate");
            p.goto_if(eq(R0, 0), e.no_invalidate);
            p.ldi(T5, INVALIDATED);
            p.or(T5, T5, E7);
        });
    });
    p.add(c::MSN0, W3, 1);
    complete(p, sizes, e);
}

fn deliver_immediate(p: &mut Asm, sizes: &Sizes, e: &Errors) {
    p.mov(E4, WALK);
    p.mov(E5, WALK);
    p.call("take_receive");
    no_entry(p, e);
    p.mov(E1, ImmediateData::LEN as u8);
    p.mov(E3, 0);
    p.ldi(T5, RECEIVE | IMMEDIATE);
    p.rare(bit(OPCODE, 0), |p| p.ldi(T5, RECEIVE | IMMEDIATE | SOLICITED));
    p.add(c::MSN0, W3, 1);
    complete(p, sizes, e);
}

/// T4 = T address of the next free entry of the Read Request queue, if IRD allows one more. Changes T3, T8.
fn request_slot(p: &mut Asm, sizes: &Sizes, e: &Errors) {
    p.shr(T4, c::IRRQ, 16);
    p.shr(T3, c::IRRQ, 8);
    p.sub(T3, T4, T3);
    p.and(T3, T3, 255);
    p.ldt(T8, TQ, q::CONTEXT + 2);
    p.shr(T8, T8, 16);
    p.and(T8, T8, 255);
    p.goto_if(geu(T3, T8), e.no_buffer);
    p.and(T4, T4, (1 << sizes.log2_irrq) - 1);
    p.shl(T4, T4, 3);
    p.ldi(T8, sizes.irrq().into());
    p.add(T4, T4, T8);
    p.add(T4, T4, TQ);
}

/// The entry is whole: the transmit part sees it. Changes T8.
fn request_taken(p: &mut Asm) {
    p.shr(T8, c::IRRQ, 16);
    p.add(T8, T8, 1);
    p.and(T8, T8, 255);
    p.pack(c::IRRQ, T8, c::IRRQ);
    p.add(c::MSN1, c::MSN1, 1);
}

fn accept_read(p: &mut Asm, sizes: &Sizes, e: &Errors) {
    request_slot(p, sizes, e);
    // Sink STag, TO high, low, size, source STag, TO high, low.
    let words = [E0, E1, E2, E3, E4, E5, E6];
    for word in words {
        p.bswap(word, WALK);
    }
    p.if_(ne(E3, 0), |p| {
        p.mov(A0, E4);
        p.mov(A1, E6);
        p.mov(A2, E5);
        p.mov(A3, E3);
        p.mov(A4, access::REMOTE_READ);
        p.mov(A5, c::ASKER);
        p.call("region_remote");
        p.rare(ne(R0, 0), |p| {
            for (n, word) in (0..).zip(words) {
                p.bswap(T8, word);
                p.stt(ZERO, t::FPDU + n, T8);
            }
            p.goto(e.rdmap_refused);
        });
    });
    p.stt(T4, 0, 0);
    for (n, word) in (1..).zip([E0, E2, E1, E3, E4, E6, E5]) {
        p.stt(T4, n, word);
    }
    request_taken(p);
}

/// Executed as it is delivered, in order: atomic among all connections of the device (RFC 7306 section 5.3).
fn accept_atomic(p: &mut Asm, sizes: &Sizes, e: &Errors) {
    let (swap, write, done) = (p.label(), p.label(), p.label());
    p.shr(T0, WALK, 24);
    p.and(T0, T0, 15);
    // Of the three bits only CmpSwap's may be set.
    p.andn(T3, T0, AtomicOp::CmpSwap as u8);
    p.goto_if(ne(T3, AtomicOp::FetchAdd as u8), e.unexpected);
    request_slot(p, sizes, e);
    // Request Identifier; STag, TO; value, its mask; compare value, its mask: high words first.
    let (id, value, mask, compare, compare_mask) = (E0, [E1, E2], [E3, E4], [E5, E6], [T1, T2]);
    for word in [id, A0, A2, A1].into_iter().chain(value).chain(mask).chain(compare).chain(compare_mask) {
        p.bswap(word, WALK);
    }
    p.mov(A3, 8);
    p.mov(A4, access::REMOTE_ATOMIC);
    p.mov(A5, c::ASKER);
    p.call("region_remote");
    p.goto_if(ne(R0, 0), e.rdmap_refused);
    p.and(T8, R1, 7);
    p.goto_if(ne(T8, 0), e.catastrophic);
    p.mov(T6, R1);
    p.mov(T7, R2);
    // What was written before must be seen.
    p.call("drain");
    p.goto_if(ne(R0, 0), e.own);
    p.mov(DMAC, 2);
    p.mov(DMAC, T6);
    p.mov(DMAC, T7);
    p.mov(T8, DMA);
    p.rare(ne(T8, 0), |p| {
        p.call("dma_fault");
        p.goto(e.own);
    });
    // Values are in the host's byte order, which the ABI defines as little-endian. T8, T9 original; T10, T11 new; low words first.
    p.mov(T8, DMA);
    p.mov(T9, DMA);
    let ([value_hi, value_lo], [mask_hi, mask_lo]) = (value, mask);
    p.goto_if(ne(T0, AtomicOp::FetchAdd as u8), swap);
    // RFC 7306 section 5.1.1: without the top bit of each field no carry leaves it; the top bits then add without carry.
    p.andn(T10, T8, mask_lo);
    p.andn(T11, value_lo, mask_lo);
    p.add(T10, T10, T11);
    p.andn(T11, T9, mask_hi);
    p.andn(T12, value_hi, mask_hi);
    p.adc(T11, T11, T12);
    for (new, original, value, mask) in [(T10, T8, value_lo, mask_lo), (T11, T9, value_hi, mask_hi)] {
        p.xor(T12, original, value);
        p.and(T12, T12, mask);
        p.xor(new, new, T12);
    }
    p.goto(write);
    // Section 5.1.2.
    p.bind(swap);
    for (original, compare, mask) in [(T8, E6, T2), (T9, E5, T1)] {
        p.xor(T12, original, compare);
        p.and(T12, T12, mask);
        p.goto_if(ne(T12, 0), done);
    }
    for (new, original, value, mask) in [(T10, T8, value_lo, mask_lo), (T11, T9, value_hi, mask_hi)] {
        p.andn(new, original, mask);
        p.and(T12, value, mask);
        p.or(new, new, T12);
    }
    p.bind(write);
    p.xor(T12, T8, T10);
    p.xor(T13, T9, T11);
    p.or(T12, T12, T13);
    p.goto_if(eq(T12, 0), done);
    p.pack(WRITER, QPN, 5);
    p.ldi(WRITER, 2 | 2 << 8);
    for word in [T6, T7, T10, T11] {
        p.mov(WRITER, word);
    }
    p.bind(done);
    p.stt(T4, 0, 1);
    p.stt(T4, 1, id);
    p.stt(T4, 2, T8);
    p.stt(T4, 3, T9);
    request_taken(p);
}

fn finish_atomic(p: &mut Asm, sizes: &Sizes, e: &Errors) {
    need_expected(p, e.unexpected);
    oldest_expected(p, sizes, T4);
    p.ldt(T5, T4, 0);
    p.goto_if(nbit(T5, 0), e.unexpected);
    // The Request Identifier says whether it is the oldest request's.
    p.bswap(T6, WALK);
    p.ldt(T7, T4, 5);
    p.goto_if(ne(T6, T7), e.unexpected);
    p.bswap(T7, WALK);
    p.bswap(T6, WALK);
    pop_expected(p);
    p.add(c::MSN3, W3, 1);
    p.shr(W4, T5, 8);
    p.and(W4, W4, 255);
    p.ldt(A0, T4, 1);
    p.ldt(A1, T4, 2);
    p.ldt(A2, T4, 3);
    p.mov(A3, AtomicResponse::LEN as u8 - 4);
    p.mov(A4, access::LOCAL_WRITE);
    p.mov(A5, c::ASKER);
    p.call("region_local");
    let (bad, done) = (p.label(), p.label());
    p.goto_if(ne(R0, 0), bad);
    p.pack(WRITER, QPN, 5);
    p.ldi(WRITER, 2 | 2 << 8);
    for word in [R1, R2, T6, T7] {
        p.mov(WRITER, word);
    }
    add_placed(p, A3);
    p.call("drain");
    p.goto_if(ne(R0, 0), bad);
    p.mov(A1, Status::Ok as u8);
    p.mov(A0, W4);
    p.call("finish_work");
    p.goto(done);
    p.bind(bad);
    p.mov(A1, Status::LocalProtection as u8);
    p.mov(A0, W4);
    p.call("finish_work");
    p.goto(e.own);
    p.bind(done);
}

/// The peer ends the connection: its Terminate goes into the error record, whatever it says.
fn terminated(p: &mut Asm) {
    p.mov(A3, PAYLOAD);
    p.mov(T3, TERMINATE_MAX as u8);
    p.if_(ltu(T3, A3), |p| p.mov(A3, T3));
    p.stt(ZERO, t::RECORD, 2);
    p.stt(ZERO, t::RECORD + 1, A3);
    p.ldt(T4, TQ, q::CONTEXT + 12);
    p.ldt(T5, TQ, q::CONTEXT + 13);
    p.add(R1, T4, 8);
    p.adc(R2, T5, 0);
    p.mov(T6, (LENGTH_LEN + UNTAGGED_LEN) as u8);
    // If the save area is gone too, the event alone must do: no QP's write.
    super::event::untagged(p);
    p.if_(ne(A3, 0), |p| p.call("place"));
    p.mov(A0, ErrorCause::TerminateReceived as u8);
    p.mov(A1, 2);
    p.call("stop");
}
