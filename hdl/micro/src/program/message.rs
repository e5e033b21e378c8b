//! Send entries and the peer's requests become messages, in order.

use super::transmit::{MSG_COMPLETES, MSG_IMMEDIATE_FOLLOWS, MSG_INLINE, MSG_RESPONSE};
use super::work::{CACHED, advance_second, filled, request, ring, second, work};
use crate::asm::{Asm, Label, bit, bit_of, eq, geu, gtu, ltu, ne};
use crate::isa::Word;
use crate::layout::c::*;
use crate::layout::g::*;
use crate::layout::{Sizes, fd, port, t};
use ironwarp_proto::abi::completion::Status;
use ironwarp_proto::abi::region::access;
use ironwarp_proto::abi::regs::features;
use ironwarp_proto::abi::send_entry::{Opcode as Verb, SGES_FIRST, SGES_MAX};
use ironwarp_proto::rdmap::{AtomicRequest, AtomicResponse, ImmediateData, Opcode, ReadRequest};

// Words of an entry.
pub(super) const STAG: u8 = 2;
pub(super) const SGE: u8 = 8;
pub(super) const LKEY: u8 = SGE + 3;

/// An entry being looked at: its first word, length, verb, and where it is.
const HEAD: Word = T0;
const LENGTH: Word = T1;
const VERB: Word = T2;
const ENTRY: Word = T7;

/// Define the routines.
pub fn define(p: &mut Asm, sizes: &Sizes) {
    p.routine("fetch_entry", |p| fetch_entry(p, sizes));
    p.routine("fetch_slots", |p| fetch_slots(p, sizes));
    p.routine("open_response", |p| open_response(p, sizes));
    p.routine("open_message", |p| open_message(p, sizes));
    p.routine("bad_entry", |p| bad_entry(p, sizes));
    p.routine("start_local", |p| start_local(p, sizes));
    p.routine("start_read", |p| start_read(p, sizes));
}

/// The send entry with index A0: R1 is its T address; R0 = 1 if it cannot be read or is another. Keeps T0..T7 and A0.
fn fetch_entry(p: &mut Asm, sizes: &Sizes) {
    let entries = p.k(sizes.entries().into());
    let (there, wrong) = (p.label(), p.label());
    p.sub(T8, A0, CACHED);
    p.loh(T8, T8);
    p.shr(T9, CACHED, 16);
    p.rare(geu(T8, T9), |p| {
        // The next one goes behind the others, if it fits there with a second slot.
        let append = p.label();
        p.if_(eq(T8, T9), |p| p.goto_if(ltu(T9, (1 << sizes.log2_journal) - 2 * sizes.batch() + 1), append));
        p.mov(CACHED, A0);
        p.mov(T8, 0);
        p.bind(append);
        p.call("fetch_slots");
        p.goto_if(eq(R0, 0), there);
        p.ret();
    });
    p.bind(there);
    p.shl(R1, T8, 4);
    p.add(R1, R1, entries);
    p.ldt(T9, R1, 0);
    p.rare(bit(T9, 5), |p| {
        // Both slots must be behind the doorbell.
        p.shr(T10, SQ, 16);
        p.sub(T10, T10, A0);
        p.loh(T10, T10);
        p.goto_if(ltu(T10, 2), wrong);
        p.add(T10, T8, 1);
        p.shr(T11, CACHED, 16);
        p.if_(eq(T10, T11), |p| {
            p.if_(geu(T11, (1 << sizes.log2_journal) - sizes.batch() + 1), |p| {
                p.mov(CACHED, A0);
                p.mov(T8, 0);
            });
            p.call("fetch_slots");
            p.goto_if(eq(R0, 0), there);
            p.ret();
        });
    });
    p.shr(T9, T9, 16);
    p.mov(R0, 0);
    p.rare(ne(T9, A0), |p| {
        p.bind(wrong);
        p.mov(R0, 1);
    });
}

/// Read the slots behind those that are there, as many as were posted and a batch at most. R0. Keeps T0..T8.
fn fetch_slots(p: &mut Asm, sizes: &Sizes) {
    let entries = p.k(sizes.entries().into());
    let slot = p.label();
    p.shr(T9, CACHED, 16);
    p.add(T10, CACHED, T9);
    p.shl(T9, T9, 4);
    p.add(T9, T9, entries);
    // T11 = index in the ring, T12 = how many up to its end.
    p.ldt(T11, TQ, 4);
    p.mov(T12, 1);
    p.shl(T12, T12, T11);
    p.sub(T11, T12, 1);
    p.and(T11, T11, T10);
    p.sub(T12, T12, T11);
    p.shr(T13, SQ, 16);
    p.sub(T13, T13, T10);
    p.loh(T13, T13);
    p.if_(gtu(T13, T12), |p| p.mov(T13, T12));
    p.if_(geu(T13, sizes.batch() + 1), |p| p.mov(T13, sizes.batch()));
    p.shl(T11, T11, 6);
    p.ldt(T10, TQ, 6);
    p.add(T11, T11, T10);
    p.ldt(T12, TQ, 7);
    p.adc(T12, T12, 0);
    p.shl(port::DMAC, T13, 4);
    p.mov(port::DMAC, T11);
    p.mov(port::DMAC, T12);
    // A slot behind it that was posted and cannot be read fails this one too.
    p.rare(ne(port::DMA, 0), |p| {
        p.call("dma_fault");
        p.mov(R0, 1);
        p.ret();
    });
    p.pack(T10, T13, 0);
    p.add(CACHED, CACHED, T10);
    p.bind(slot);
    for word in 0..16 {
        p.stt(T9, word, port::DMA);
    }
    p.add(T9, T9, 16);
    p.sub(T13, T13, 1);
    p.goto_if(ne(T13, 0), slot);
    p.mov(R0, 0);
}

/// R0 = 1: the next response is the open message. Its entry leaves the queue when its last byte is sent: only then can the peer know that it may
/// send another.
fn open_response(p: &mut Asm, sizes: &Sizes) {
    p.mov(R0, 0);
    second(p, T0, IRRQ);
    p.shr(T1, IRRQ, 16);
    p.ret_if(eq(T0, T1));
    // Entries stay until acknowledged; those not yet answered need the other half.
    filled(p, T1, IRRQ);
    p.ret_if(geu(T1, 1 << (sizes.log2_irrq - 1)));
    request(p, sizes, T2, T0);
    p.ldt(T1, T2, 0);
    p.if_else(
        eq(T1, 0),
        |p| {
            // RFC 5040 section 5.5: what was written before is there to be read.
            p.call("drain");
            p.rare(ne(R0, 0), |p| {
                p.mov(R0, 0);
                p.ret();
            });
            p.ldt(MSG_LENGTH, T2, 4);
            p.mov(MSG, Opcode::ReadResponse as u8 | MSG_RESPONSE);
        },
        |p| {
            p.mov(MSG_LENGTH, AtomicResponse::LEN as u8);
            p.and(MSG, TXMSN3, 0xff);
            p.shl(MSG, MSG, 8);
            p.or(MSG, MSG, Opcode::AtomicResponse as u8 | MSG_RESPONSE);
            p.add(TXMSN3, TXMSN3, 1);
        },
    );
    p.mov(MSG_OFFSET, 0);
    p.mov(MSG_REF, T0);
    p.mov(R0, 1);
}

/// Open the next message; R0 = 0: nothing to send. Responses and own work take turns.
fn open_message(p: &mut Asm, sizes: &Sizes) {
    let [next, respond, bad, rare, opened, untagged] = [(); 6].map(|()| p.label());
    p.if_(bit(FD, fd::PREFER_RESPONSE), |p| {
        p.call("open_response");
        p.rare(ne(R0, 0), |p| {
            p.andn(FD, FD, 1 << fd::PREFER_RESPONSE);
            p.ret();
        });
    });
    // Start send entries until one opens a message.
    p.bind(next);
    p.loh(A0, SQ);
    p.shr(T0, SQ, 16);
    p.goto_if(eq(A0, T0), respond);
    p.and(T0, FD, 1 << fd::POISONED | 1 << fd::STOPPED);
    p.goto_if(ne(T0, 0), respond);
    filled(p, T0, WORKS);
    p.goto_if(geu(T0, 1 << sizes.log2_works), respond);
    p.call("fetch_entry");
    p.goto_if(ne(R0, 0), bad);
    p.mov(ENTRY, R1);
    p.ldt(HEAD, ENTRY, 0);
    p.ldt(LENGTH, ENTRY, 1);
    p.and(VERB, HEAD, 0x1f);
    check_shape(p, sizes, bad);
    may_start(p, respond);
    // T3 is the number of the work.
    second(p, T3, WORKS);
    work(p, sizes, T4, T3);
    p.shr(T5, HEAD, 3);
    p.and(T5, T5, 0x40);
    p.and(T6, HEAD, 0x3f);
    p.or(T5, T5, T6);
    p.pack(T5, T5, A0);
    p.stt(T4, 0, T5);
    p.stt(T4, 1, LENGTH);
    advance_second(p, WORKS, T5);
    p.add(T5, A0, 1);
    p.rare(bit(HEAD, 5), |p| p.add(T5, T5, 1));
    p.shr(T6, SQ, 16);
    p.pack(SQ, T6, T5);
    p.shl(MSG, T3, 16);
    p.mov(MSG_LENGTH, LENGTH);
    p.sub(T4, VERB, Verb::Write as u8);
    p.goto_if(ne(T4, 0), untagged);
    p.or(MSG, MSG, MSG_COMPLETES);
    p.bind(opened);
    p.if_(bit(HEAD, 11), |p| {
        let inline = p.k(1 << MSG_INLINE);
        p.or(MSG, MSG, inline);
    });
    p.mov(MSG_OFFSET, 0);
    p.loh(MSG_REF, A0);
    p.or(FD, FD, 1 << fd::PREFER_RESPONSE);
    p.mov(R0, 1);
    p.ret();

    p.bind(untagged);
    p.if_(eq(T4, 1), |p| {
        p.or(MSG, MSG, MSG_IMMEDIATE_FOLLOWS);
        p.goto(opened);
    });
    p.ldi(T5, 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 11 | 1 << 12);
    p.goto_if(bit_of(T5, VERB).not(), rare);
    // The Sends are RDMAP opcodes 3 to 6, Immediate Data 8 and 9.
    p.add(T4, VERB, Opcode::Send as u8 - Verb::Send as u8);
    if sizes.has(features::IMMEDIATE) {
        p.if_(geu(VERB, Verb::Immediate as u8), |p| {
            p.sub(T4, VERB, Verb::Immediate as u8 - Opcode::ImmediateData as u8);
            p.mov(MSG_LENGTH, ImmediateData::LEN as u8);
        });
    }
    p.or(MSG, MSG, T4);
    p.or(MSG, MSG, MSG_COMPLETES);
    p.and(T4, TXMSN0, 0xff);
    p.shl(T4, T4, 8);
    p.or(MSG, MSG, T4);
    p.add(TXMSN0, TXMSN0, 1);
    p.goto(opened);

    p.bind(rare);
    p.sub(T4, VERB, Verb::Read as u8);
    p.if_(ltu(T4, 4), |p| {
        p.call("start_read");
        p.goto_if(ne(R0, 0), opened);
        p.goto(respond);
    });
    p.mov(MSG, 0);
    p.call("start_local");
    p.goto(next);

    p.bind(bad);
    p.call("bad_entry");
    p.bind(respond);
    p.call("open_response");
}

/// The next entry cannot be read or makes no sense: it completes when its turn comes, and then the connection stops.
fn bad_entry(p: &mut Asm, sizes: &Sizes) {
    second(p, A0, WORKS);
    work(p, sizes, T4, A0);
    p.loh(T5, SQ);
    p.stt(T4, 0, T5);
    p.stt(T4, 1, 0);
    advance_second(p, WORKS, T5);
    p.mov(A1, Status::Fatal as u8);
    p.call("finish_work");
}

/// What `SendEntry::decode` checks, but the index. Changes T3..T6.
fn check_shape(p: &mut Asm, sizes: &Sizes, bad: Label) {
    let [other, sum, good] = [(); 3].map(|()| p.label());
    // SGEs and second slot as they must be, by verb: twice the SGEs, plus 1 if there is a second slot; 1 where payload is gathered.
    let shape = |verb: &Verb| match verb {
        verb if verb.has_payload() => 1,
        verb if verb.is_atomic() => 3,
        verb if verb.is_read() => 2,
        Verb::BindWindow | Verb::FastRegister => 2,
        _ => 0,
    };
    let shapes = Verb::ALL.iter().fold(0u32, |all, (verb, _)| all | shape(verb) << (2 * *verb as u32));
    let allowed = |nsge: usize| 1u32 << (2 * nsge + usize::from(nsge > SGES_FIRST));
    let gathered = (0..=SGES_MAX).fold(0, |all, nsge| all | allowed(nsge));
    p.goto_if(bit(HEAD, 4), bad);
    let missing = missing_verbs(sizes);
    if missing != 0 {
        p.ldi(T4, missing);
        p.goto_if(bit_of(T4, VERB), bad);
    }
    p.ldi(T4, 0x9e0);
    p.and(T4, T4, HEAD);
    p.shr(T4, T4, 5);
    p.add(T5, VERB, VERB);
    let shapes = p.k(shapes);
    p.shr(T5, shapes, T5);
    p.and(T5, T5, 3);
    p.goto_if(ne(T5, 1), other);
    p.if_(bit(HEAD, 11), |p| {
        p.goto_if(ne(T4, 0x40), bad);
        p.goto_if(geu(LENGTH, 33), bad);
        p.goto(good);
    });
    p.ldi(T5, gathered);
    p.goto_if(bit_of(T5, T4).not(), bad);
    p.bind(sum);
    // The length is the sum of the SGEs.
    p.shr(T4, T4, 1);
    p.mov(T5, 0);
    p.mov(T3, ENTRY);
    p.while_(ne(T4, 0), |p| {
        p.ldt(T6, T3, SGE + 2);
        p.add(T5, T5, T6);
        p.adc(T6, ZERO, 0);
        p.goto_if(ne(T6, 0), bad);
        p.add(T3, T3, 4);
        p.sub(T4, T4, 1);
    });
    p.goto_if(eq(T5, LENGTH), good);
    p.goto(bad);
    p.bind(other);
    p.goto_if(eq(T4, T5), sum);
    p.goto(bad);
    p.bind(good);
}

/// Verbs that this device does not have, a bit each.
fn missing_verbs(sizes: &Sizes) -> u32 {
    let of = |feature: u32, verbs: &[Verb]| {
        if sizes.has(feature) { 0 } else { verbs.iter().fold(0, |all, verb| all | 1 << *verb as u32) }
    };
    of(features::ATOMICS, &[Verb::FetchAdd, Verb::CompareSwap])
        | of(features::IMMEDIATE, &[Verb::WriteImmediate, Verb::Immediate, Verb::ImmediateSolicited])
        | of(features::WINDOWS, &[Verb::BindWindow, Verb::FastRegister])
}

/// Order rules of the queue: fences, ORD, and local operations that wait for all before them. Model: `may_start`.
fn may_start(p: &mut Asm, not_now: Label) {
    let (check, may) = (p.label(), p.label());
    p.goto_if(bit(HEAD, 10), check);
    p.rare(geu(VERB, Verb::Read as u8), |p| {
        p.bind(check);
        p.if_(geu(VERB, Verb::BindWindow as u8), |p| {
            filled(p, T4, WORKS);
            p.goto_if(ne(T4, 0), not_now);
            p.goto(may);
        });
        filled(p, T3, EXPECTED);
        p.if_(bit(HEAD, 10), |p| p.goto_if(ne(T3, 0), not_now));
        p.sub(T4, VERB, Verb::Read as u8);
        p.goto_if(geu(T4, 4), may);
        p.ldt(T4, TQ, 2);
        p.shr(T4, T4, 24);
        p.goto_if(geu(T3, T4), not_now);
    });
    p.bind(may);
}

/// A verb that sends nothing.
fn start_local(p: &mut Asm, sizes: &Sizes) {
    let done = p.label();
    p.mov(R0, 1);
    p.goto_if(eq(VERB, 0), done);
    p.mov(A5, ASKER);
    p.if_(eq(VERB, Verb::LocalInvalidate as u8), |p| {
        p.ldt(A0, ENTRY, STAG);
        p.call("region_invalidate");
        p.goto(done);
    });
    if sizes.has(features::WINDOWS) {
        for word in 2..12 {
            p.ldt(T4, ENTRY, word);
            p.stt(ZERO, t::ENTRY + word, T4);
        }
        p.if_else(
            eq(VERB, Verb::BindWindow as u8),
            |p| p.call("region_bind"),
            |p| p.call("region_fast_register"),
        );
    }
    p.bind(done);
    p.mov(A1, 0);
    p.if_(eq(R0, 0), |p| p.mov(A1, Status::Bind as u8));
    second(p, A0, WORKS);
    p.sub(A0, A0, 1);
    p.call("finish_work");
}

/// A Read or atomic, T3 = work, T4 = verb - Read. Its sink is checked, the expected response is noted, and MSG is the request; R0 = 0 if the
/// sink is wrong. Keeps A0.
fn start_read(p: &mut Asm, sizes: &Sizes) {
    let (wrong, expect) = (p.label(), p.label());
    p.mov(T6, A0);
    if sizes.has(features::ATOMICS) {
        p.if_(geu(T4, 2), |p| p.goto_if(ne(LENGTH, 8), wrong));
    }
    // Nobody looks at the sink of nothing.
    p.goto_if(eq(LENGTH, 0), expect);
    p.ldt(A0, ENTRY, LKEY);
    p.ldt(A1, ENTRY, SGE);
    p.ldt(A2, ENTRY, SGE + 1);
    p.mov(A3, LENGTH);
    p.mov(A4, access::LOCAL_WRITE);
    p.mov(A5, ASKER);
    p.call("region_local");
    p.goto_if(ne(R0, 0), wrong);
    p.bind(expect);
    second(p, T5, EXPECTED);
    ring(p, T8, T5, sizes.log2_expected, 3, sizes.expected());
    advance_second(p, EXPECTED, T5);
    p.shl(T5, T3, 8);
    for (from, to) in [(LKEY, 1), (SGE, 2), (SGE + 1, 3)] {
        p.ldt(T9, ENTRY, from);
        p.stt(T8, to, T9);
    }
    p.stt(T8, 4, LENGTH);
    p.mov(MSG, Opcode::ReadRequest as u8);
    p.mov(MSG_LENGTH, ReadRequest::LEN as u8);
    p.if_(eq(T4, 1), |p| p.or(T5, T5, 2));
    if sizes.has(features::ATOMICS) {
        p.if_(geu(T4, 2), |p| {
            p.or(T5, T5, 1);
            p.stt(T8, 5, REQUEST_ID);
            p.shl(MSG, REQUEST_ID, 24);
            p.add(REQUEST_ID, REQUEST_ID, 1);
            p.or(MSG, MSG, Opcode::AtomicRequest as u8);
            p.mov(MSG_LENGTH, AtomicRequest::LEN as u8);
        });
    }
    p.stt(T8, 0, T5);
    p.and(T9, TXMSN1, 0xff);
    p.shl(T9, T9, 8);
    p.or(MSG, MSG, T9);
    p.add(TXMSN1, TXMSN1, 1);
    p.mov(A0, T6);
    p.mov(R0, 1);
    p.ret();
    p.bind(wrong);
    p.mov(MSG, 0);
    p.mov(A0, T3);
    p.mov(A1, Status::LocalProtection as u8);
    p.call("finish_work");
    p.mov(R0, 0);
}
