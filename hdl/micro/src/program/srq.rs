//! Shared receive queues: 16 words each in T, 8 as written through the window, then the ring of table indices.

use crate::asm::{Asm, eq, geu, ltu, ne};
use crate::layout::g::*;
use crate::layout::{Sizes, port};
use ironwarp_proto::abi::event::EventKind;
use ironwarp_proto::abi::regs::features;

/// Words of an SRQ: next index to produce and to consume, entries (0: not running), limit armed.
const PRODUCER: u8 = 8;
const CONSUMER: u8 = 9;
pub(super) const SIZE: u8 = 10;
const LIMIT: u8 = 11;

/// T8 = the words of SRQ A0.
fn find(p: &mut Asm, sizes: &Sizes) {
    p.shl(T8, A0, 4);
    p.ldi(T9, sizes.srqs().into());
    p.add(T8, T8, T9);
}

/// T9 = entries in the ring, T10 = its consumer.
fn filled(p: &mut Asm) {
    p.ldt(T9, T8, PRODUCER);
    p.ldt(T10, T8, CONSUMER);
    p.sub(T9, T9, T10);
    p.loh(T9, T9);
}

/// Define the routines.
pub fn define(p: &mut Asm, sizes: &Sizes) {
    if !sizes.has(features::SRQ) {
        return;
    }
    p.routine("srq_take", |p| {
        find(p, sizes);
        filled(p);
        p.ldt(T11, T8, SIZE);
        p.mov(R0, 1);
        // A stopped ring is empty.
        p.ret_if(eq(T9, 0));
        // The next word of the ring: the index of an entry of the table.
        p.sub(T12, T11, 1);
        p.and(T12, T12, T10);
        p.shl(T12, T12, 2);
        p.ldt(T9, T8, 0);
        p.ldt(T13, T8, 1);
        p.mov(port::DMAC, 1);
        p.add(port::DMAC, T9, T12);
        p.adc(port::DMAC, T13, 0);
        let (bad, refused) = (p.label(), p.label());
        p.mov(T9, port::DMA);
        p.rare(ne(T9, 0), |p| {
            p.bind(bad);
            p.call("dma_fault");
            p.bind(refused);
            p.mov(R0, 2);
            p.ret();
        });
        p.mov(R1, port::DMA);
        p.goto_if(geu(R1, T11), refused);
        p.shl(T12, R1, 6);
        p.ldt(T9, T8, 2);
        p.ldt(T13, T8, 3);
        p.mov(port::DMAC, 16);
        p.add(port::DMAC, T9, T12);
        p.adc(port::DMAC, T13, 0);
        p.mov(T9, port::DMA);
        p.goto_if(ne(T9, 0), bad);
        p.add(T10, T10, 1);
        p.loh(T10, T10);
        p.stt(T8, CONSUMER, T10);
        // The caller reads the entry: nothing below may use port DMA.
        p.call("srq_limit");
        p.mov(R0, 0);
    });
    // One event when fewer entries are left than the limit: T8 = the words of SRQ A0. Keeps R1.
    p.routine("srq_limit", |p| {
        filled(p);
        p.ldt(T10, T8, LIMIT);
        p.if_(ltu(T9, T10), |p| {
            p.stt(T8, LIMIT, 0);
            p.shl(A0, A0, 16);
            p.or(A0, A0, EventKind::SrqLimit as u8);
            p.mov(A1, 0);
            p.mov(A2, 0);
            p.call("event");
        });
    });
    // A doorbell of SRQ A0: T0 = word offset, H1 = value.
    p.routine("srq_doorbell", |p| {
        find(p, sizes);
        p.rare(eq(T0, 1), |p| {
            p.loh(T9, H1);
            p.stt(T8, LIMIT, T9);
            p.call("srq_limit");
            p.ret();
        });
        p.ret_if(ne(T0, 0));
        p.ldt(A3, T8, SIZE);
        p.ret_if(eq(A3, 0));
        filled(p);
        p.ldt(A0, T8, PRODUCER);
        p.sub(A2, A3, T9);
        p.mov(A1, H1);
        p.call("judge");
        // No QP can be blamed for an impossible one.
        p.ret_if(ne(R0, 0));
        p.stt(T8, PRODUCER, R1);
    });
    // START_SRQ, STOP_SRQ of SRQ A0: A1 = 1 start; R0 = result.
    p.routine("srq_start", |p| {
        find(p, sizes);
        p.mov(R0, 0);
        let (stop, set) = (p.label(), p.label());
        p.goto_if(eq(A1, 0), stop);
        p.ldt(T2, T8, SIZE);
        p.mov(R0, 3);
        p.ret_if(ne(T2, 0));
        p.ldt(T1, T8, 4);
        p.and(T1, T1, 0xff);
        p.call("ring_size");
        p.mov(R0, 0);
        p.rare(eq(T2, 0), |p| p.mov(R0, 5));
        p.goto(set);
        p.bind(stop);
        p.mov(T2, 0);
        p.bind(set);
        p.stt(T8, SIZE, T2);
        p.stt(T8, PRODUCER, 0);
        p.stt(T8, CONSUMER, 0);
        p.stt(T8, LIMIT, 0);
    });
}
