//! The event queue and the interrupt.

use super::host::{dev, reg};
use super::main::{count, tag, todo};
use crate::asm::{Asm, eq, geu, ne, not_before};
use crate::layout::Sizes;
use crate::layout::g::*;
use crate::layout::port;
use ironwarp_proto::abi::regs::{self, Counter, status};

/// The writer's command for `words` words.
pub(super) const fn words(words: u32) -> u32 {
    2 | words << 8
}

/// The next writes are nobody's.
pub(super) fn untagged(p: &mut Asm) {
    let none = p.k(tag::NONE << 16 | 5);
    p.mov(port::WRITER, none);
}

/// Word `to` = word `from` with the phase of a ring at index `at` of `size` entries in bit 31: 1 in the first pass.
/// Changes `from`, T14, T15.
pub(super) fn phase(p: &mut Asm, from: crate::isa::Word, at: crate::isa::Word, size: crate::isa::Word) {
    p.and(T15, at, size);
    p.if_(eq(T15, 0), |p| {
        p.ldi(T15, 1 << 31);
        p.or(from, from, T15);
    });
}

/// Define the routines.
pub fn define(p: &mut Asm, _sizes: &Sizes) {
    p.routine("event", |p| {
        p.ldt(T8, ZERO, dev::EQ_PRODUCER);
        p.ldt(T9, ZERO, reg(regs::EQ_CONSUMER));
        p.ldt(T10, ZERO, dev::EQ_SIZE);
        p.sub(T11, T8, T9);
        p.loh(T11, T11);
        p.rare(geu(T11, T10), |p| {
            p.ldt(T15, ZERO, dev::STICKY);
            p.or(T15, T15, status::EQ_OVERFLOW as u8);
            p.stt(ZERO, dev::STICKY, T15);
            count(p, Counter::EqOverflows);
            p.ret();
        });
        p.or(H2, H2, todo::INTERRUPT);
        p.if_(eq(T11, 0), |p| {
            p.mov(T15, port::NOW);
            p.stt(ZERO, dev::EQ_OLDEST, T15);
        });
        p.sub(T11, T10, 1);
        p.and(T11, T11, T8);
        p.shl(T11, T11, 4);
        p.ldt(T9, ZERO, reg(regs::EQ_BASE_LO));
        p.ldt(T15, ZERO, reg(regs::EQ_BASE_HI));
        untagged(p);
        p.ldi(port::WRITER, words(4));
        p.add(port::WRITER, T9, T11);
        p.adc(port::WRITER, T15, 0);
        p.mov(port::WRITER, A0);
        p.mov(port::WRITER, A1);
        p.mov(port::WRITER, A2);
        p.mov(T9, T8);
        phase(p, T9, T8, T10);
        p.mov(port::WRITER, T9);
        p.add(T8, T8, 1);
        p.loh(T8, T8);
        p.stt(ZERO, dev::EQ_PRODUCER, T8);
    });
    p.routine("interrupt", |p| {
        p.mov(T9, 0);
        p.ldt(T8, ZERO, dev::EQ_PRODUCER);
        p.ldt(T10, ZERO, reg(regs::EQ_CONSUMER));
        p.sub(T8, T8, T10);
        p.loh(T8, T8);
        p.if_(ne(T8, 0), |p| {
            let (now, done) = (p.label(), p.label());
            p.ldt(T10, ZERO, reg(regs::EQ_COALESCE));
            p.loh(T10, T10);
            p.goto_if(geu(T8, T10), now);
            // They wait for company, but not for ever.
            p.ldt(A0, ZERO, dev::EQ_OLDEST);
            p.ldt(T11, ZERO, dev::EQ_LONGEST);
            p.add(A0, A0, T11);
            p.mov(T11, port::NOW);
            p.goto_if(not_before(T11, A0), now);
            p.call("arm");
            p.goto(done);
            p.bind(now);
            p.mov(T9, 1);
            p.bind(done);
        });
        p.ldt(T10, ZERO, dev::RX_PRODUCER);
        p.ldt(T11, ZERO, reg(regs::RAWRX_CONSUMER));
        p.if_(ne(T10, T11), |p| p.mov(T9, 1));
        p.ldt(T10, ZERO, reg(regs::EQ_CTRL));
        p.and(T9, T9, T10);
        p.shl(T9, T9, 8);
        p.ldt(T10, ZERO, dev::LEVEL);
        p.if_(ne(T9, T10), |p| {
            p.stt(ZERO, dev::LEVEL, T9);
            p.or(port::WRITER, T9, 4);
        });
        p.andn(H2, H2, todo::INTERRUPT);
    });
}
