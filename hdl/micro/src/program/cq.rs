//! Completion queues: 8 words each in T, 4 as written through the window, then the ring.

use super::event::{phase, words};
use super::main::{count, tag, todo};
use crate::asm::{Asm, bit, eq, geu, ne};
use crate::isa::Word;
use crate::layout::g::*;
use crate::layout::{Sizes, port};
use ironwarp_proto::abi::event::EventKind;
use ironwarp_proto::abi::regs::Counter;

/// Words of a CQ: next index to produce and to consume, entries (0: not running), flags.
pub(super) const PRODUCER: u8 = 4;
pub(super) const CONSUMER: u8 = 5;
pub(super) const SIZE: u8 = 6;
pub(super) const FLAGS: u8 = 7;
/// Bits of the flags: broken; armed for any completion, for solicited ones (as in the doorbell).
pub(super) const BROKEN: u8 = 0;
const ANY: u8 = 16;
const SOLICITED: u8 = 17;

/// T8 = the words of CQ A0.
pub(super) fn find(p: &mut Asm, sizes: &Sizes) {
    p.shl(T8, A0, 3);
    p.ldi(T9, sizes.cqs().into());
    p.add(T8, T8, T9);
}

/// TAG, WORDS and address of the next entry of CQ A0 to port `to`: T8 its words, T9 its producer, T11 its size. Changes T10, T13, T14.
pub(super) fn begin_entry(p: &mut Asm, to: Word) {
    p.ldi(T14, 1 << tag::CQ);
    p.or(T14, T14, A0);
    p.pack(to, T14, 5);
    p.sub(T13, T11, 1);
    p.and(T13, T13, T9);
    p.shl(T13, T13, 5);
    p.ldt(T10, T8, 0);
    p.ldt(T14, T8, 1);
    p.ldi(to, words(8));
    p.add(to, T10, T13);
    p.adc(to, T14, 0);
}

/// Whatever prediction has written, what comes now it has not.
pub(super) fn written(p: &mut Asm, sizes: &Sizes) {
    if sizes.predicts {
        p.mov(port::ALREADY, port::already::NOTHING);
    }
}

/// The event `kind` with `code` of CQ `cq`.
fn tell(p: &mut Asm, kind: EventKind, code: u8, cq: Word) {
    p.shl(A0, cq, 16);
    p.or(A0, A0, kind as u8);
    if code != 0 {
        p.ldi(T9, u32::from(code) << 8);
        p.or(A0, A0, T9);
    }
    p.mov(A1, 0);
    p.mov(A2, 0);
    p.call("event");
}

/// Define the routines.
pub fn define(p: &mut Asm, sizes: &Sizes) {
    p.routine("cq_complete", |p| {
        let drop = p.label();
        find(p, sizes);
        p.ldt(T11, T8, SIZE);
        p.ldt(T12, T8, FLAGS);
        p.ldt(T9, T8, PRODUCER);
        p.ldt(T10, T8, CONSUMER);
        p.rare(bit(T12, BROKEN), |p| {
            p.bind(drop);
            written(p, sizes);
            count(p, Counter::CqOverflows);
            p.mov(R0, 0);
            p.ret();
        });
        p.goto_if(eq(T11, 0), drop);
        p.sub(T13, T9, T10);
        p.loh(T13, T13);
        p.rare(geu(T13, T11), |p| {
            p.or(T12, T12, 1 << BROKEN);
            p.stt(T8, FLAGS, T12);
            p.or(H2, H2, todo::STOPS);
            tell(p, EventKind::CqOverflow, 0, A0);
            p.goto(drop);
        });
        begin_entry(p, port::WRITER);
        for word in [E0, E1, E2, E3, E4, E5, E6] {
            p.mov(port::WRITER, word);
        }
        p.mov(T13, E7);
        phase(p, T13, T9, T11);
        p.mov(port::WRITER, T13);
        written(p, sizes);
        p.add(T9, T9, 1);
        p.loh(T9, T9);
        p.stt(T8, PRODUCER, T9);
        count(p, Counter::Completions);
        p.mov(R0, 1);
        p.rare(ne(T12, 0), |p| {
            let fire = p.label();
            p.goto_if(bit(T12, ANY), fire);
            p.goto_if(bit(E0, 24), fire);
            p.and(T13, E7, 0xff);
            p.ret_if(eq(T13, 0));
            p.bind(fire);
            p.stt(T8, FLAGS, 0);
            tell(p, EventKind::CqReady, 0, A0);
            p.mov(R0, 1);
            p.ret();
        });
    });
    // A doorbell of CQ A0: T0 = word offset, H1 = value.
    p.routine("cq_doorbell", |p| {
        let arm = p.label();
        find(p, sizes);
        p.goto_if(ne(T0, 0), arm);
        p.mov(T1, A0);
        p.ldt(A0, T8, CONSUMER);
        p.ldt(A2, T8, PRODUCER);
        p.sub(A2, A2, A0);
        p.loh(A2, A2);
        // Up to what there is; a queue that does not run has nothing.
        p.sub(A1, H1, A0);
        p.loh(A1, A1);
        p.if_(geu(A2, A1), |p| {
            p.loh(A1, H1);
            p.stt(T8, CONSUMER, A1);
            p.ret();
        });
        p.ldt(A3, T8, SIZE);
        p.ret_if(eq(A3, 0));
        p.mov(A1, H1);
        p.call("judge");
        p.ret_if(eq(R0, 1));
        p.ldt(T12, T8, FLAGS);
        p.ret_if(bit(T12, BROKEN));
        p.or(T12, T12, 1 << BROKEN);
        p.stt(T8, FLAGS, T12);
        p.or(H2, H2, todo::STOPS);
        tell(p, EventKind::CqOverflow, 1, T1);
        p.ret();

        p.bind(arm);
        p.ldt(A3, T8, SIZE);
        p.ret_if(eq(A3, 0));
        p.ldt(T12, T8, FLAGS);
        p.ret_if(ne(T0, 1));
        p.shr(T1, H1, ANY);
        p.and(T1, T1, 3);
        p.shl(T1, T1, ANY);
        p.or(T12, T12, T1);
        p.stt(T8, FLAGS, T12);
        p.shr(T1, T12, ANY);
        p.ret_if(eq(T1, 0));
        p.ldt(T9, T8, PRODUCER);
        p.loh(T1, H1);
        p.ret_if(eq(T1, T9));
        p.and(T12, T12, 1 << BROKEN);
        p.stt(T8, FLAGS, T12);
        tell(p, EventKind::CqReady, 0, A0);
    });
    // START_CQ, STOP_CQ of CQ A0: A1 = 1 start; R0 = result.
    p.routine("cq_start", |p| {
        find(p, sizes);
        p.mov(R0, 0);
        let stop = p.label();
        p.goto_if(eq(A1, 0), stop);
        p.ldt(T2, T8, SIZE);
        p.mov(R0, 3);
        p.ret_if(ne(T2, 0));
        p.ldt(T1, T8, 2);
        p.and(T1, T1, 0xff);
        p.call("ring_size");
        p.mov(R0, 0);
        p.rare(eq(T2, 0), |p| p.mov(R0, 5));
        let set = p.label();
        p.goto(set);
        p.bind(stop);
        p.mov(T2, 0);
        p.bind(set);
        p.stt(T8, SIZE, T2);
        p.stt(T8, PRODUCER, 0);
        p.stt(T8, CONSUMER, 0);
        p.stt(T8, FLAGS, 0);
    });
    const { assert!(SOLICITED == ANY + 1) };
}
