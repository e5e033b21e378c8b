//! Raw frames, both ways.

use super::event::{phase, untagged, words};
use super::host::{dev, reg};
use super::main::{count, tag, todo, tx};
use crate::asm::{Asm, bit, eq, geu, ltu, nbit, ne};
use crate::isa::Word;
use crate::layout::Sizes;
use crate::layout::g::*;
use crate::layout::port;
use ironwarp_proto::abi::raw::{FRAME_MAX, FRAME_OFFSET, SLOT_LOG2};
use ironwarp_proto::abi::regs::{self, Counter};

/// T9, T10 = address of the slot at index `at`; T15 changes.
fn slot(p: &mut Asm, at: Word, size: u8, base: u32) {
    p.ldt(T10, ZERO, size);
    p.sub(T10, T10, 1);
    p.and(T10, T10, at);
    p.shl(T10, T10, SLOT_LOG2);
    p.ldt(T9, ZERO, reg(base));
    p.add(T9, T9, T10);
    p.ldt(T10, ZERO, reg(base + 4));
    p.adc(T10, T10, 0);
}

/// Define the routines.
pub fn define(p: &mut Asm, sizes: &Sizes) {
    p.routine("raw_frame", |p| {
        p.ldt(T8, ZERO, dev::RX_PRODUCER);
        p.ldt(T9, ZERO, reg(regs::RAWRX_CONSUMER));
        p.ldt(T11, ZERO, dev::RX_SIZE);
        p.sub(T9, T8, T9);
        p.loh(T9, T9);
        p.rare(geu(T9, T11), |p| {
            count(p, Counter::RawRxFull);
            p.ret();
        });
        p.or(H2, H2, todo::INTERRUPT);
        slot(p, T8, dev::RX_SIZE, regs::RAWRX_BASE_LO);
        // Header word 0: length, then checksum good, truncated, diverted from bit 16.
        p.and(T13, A2, 1);
        p.and(T12, A2, 2);
        p.shl(T12, T12, 1);
        p.or(T13, T13, T12);
        p.shr(T12, A0, 16);
        p.ldi(T14, FRAME_MAX as u32);
        p.rare(ltu(T14, T12), |p| {
            p.mov(T12, T14);
            p.or(T13, T13, 2);
        });
        p.pack(T13, T13, T12);
        untagged(p);
        // The frame follows its two pad bytes.
        p.shl(T12, T12, 16);
        p.or(port::WRITER, T12, 1);
        p.shl(T14, A1, 2);
        p.add(T14, T14, 2);
        p.loh(port::WRITER, T14);
        p.add(port::WRITER, T9, FRAME_OFFSET as u8);
        p.adc(port::WRITER, T10, 0);
        p.ldi(port::WRITER, words(3));
        p.add(port::WRITER, T9, 4);
        p.adc(port::WRITER, T10, 0);
        let (diverted, rest) = (p.label(), p.label());
        p.goto_if(bit(A2, 1), diverted);
        p.mov(port::WRITER, 0);
        p.goto(rest);
        p.bind(diverted);
        p.mov(port::WRITER, A3);
        p.bind(rest);
        p.mov(port::WRITER, 0);
        p.mov(port::WRITER, 0);
        // The word that makes the slot valid goes last.
        p.ldi(port::WRITER, words(1));
        p.mov(port::WRITER, T9);
        p.mov(port::WRITER, T10);
        phase(p, T13, T8, T11);
        p.mov(port::WRITER, T13);
        p.add(T8, T8, 1);
        p.loh(T8, T8);
        p.stt(ZERO, dev::RX_PRODUCER, T8);
    });
    // H1 = producer of the transmit ring.
    p.routine("raw_doorbell", |p| {
        p.ldt(A0, ZERO, dev::TX_PRODUCER);
        p.ldt(A3, ZERO, dev::TX_SIZE);
        p.ret_if(eq(A3, 0));
        p.ldt(T8, ZERO, reg(regs::RAWTX_PRODUCER));
        p.sub(T8, A0, T8);
        p.loh(T8, T8);
        p.sub(A2, A3, T8);
        p.mov(A1, H1);
        p.call("judge");
        p.ret_if(ne(R0, 0));
        p.stt(ZERO, dev::TX_PRODUCER, R1);
        p.call("raw_next");
    });
    // What waits at the head of the transmit ring: sets H3. The register RAWTX_PRODUCER reads as the consumer.
    let longest = (FRAME_MAX as u32).min((4 << sizes.log2_tx_ring.min(sizes.log2_rx_ring)) - 64);
    p.routine("raw_next", |p| {
        let (top, skip) = (p.label(), p.label());
        p.bind(top);
        p.and(T8, H3, 1 << tx::RAW | 1 << tx::INJECT);
        p.ret_if(ne(T8, 0));
        p.ldt(T8, ZERO, reg(regs::RAWTX_PRODUCER));
        p.ldt(T9, ZERO, dev::TX_PRODUCER);
        p.if_(eq(T8, T9), |p| {
            p.and(H3, H3, 1 << tx::ENABLED);
            p.ret();
        });
        slot(p, T8, dev::TX_SIZE, regs::RAWTX_BASE_LO);
        p.mov(port::DMAC, 1);
        p.mov(port::DMAC, T9);
        p.mov(port::DMAC, T10);
        p.mov(T9, port::DMA);
        p.rare(ne(T9, 0), |p| {
            p.call("dma_fault");
            p.goto(skip);
        });
        p.mov(T9, port::DMA);
        p.stt(ZERO, dev::TX_HEADER, T9);
        // A frame that is too long for the device cannot be sent.
        p.loh(T10, T9);
        p.ldi(T11, longest);
        p.goto_if(ltu(T11, T10), skip);
        p.or(H3, H3, 1 << tx::RAW);
        p.if_(bit(T9, 19), |p| p.xor(H3, H3, 1 << tx::RAW | 1 << tx::INJECT));
        p.ret();
        p.bind(skip);
        p.add(T8, T8, 1);
        p.loh(T8, T8);
        p.stt(ZERO, reg(regs::RAWTX_PRODUCER), T8);
        p.goto(top);
    });
    // Send what waits; there is room.
    p.routine("raw_send", |p| {
        p.ldt(T8, ZERO, reg(regs::RAWTX_PRODUCER));
        slot(p, T8, dev::TX_SIZE, regs::RAWTX_BASE_LO);
        let (wire, begin) = (p.label(), 1 << 4 | 1);
        p.ldi(T11, tag::NONE);
        p.shl(T11, T11, 16);
        p.or(T11, T11, begin);
        p.goto_if(nbit(H3, tx::INJECT), wire);
        p.ldi(T11, tag::INJECT);
        p.shl(T11, T11, 16);
        p.or(T11, T11, begin | 1 << 5);
        p.ldt(T12, ZERO, dev::INJECTED);
        p.add(T12, T12, 1);
        p.stt(ZERO, dev::INJECTED, T12);
        p.bind(wire);
        p.mov(port::TX, T11);
        p.mov(port::TX, 0);
        p.mov(port::TX, 0);
        // The two pad bytes come from the header's end.
        p.ldt(T12, ZERO, dev::TX_HEADER);
        p.loh(T12, T12);
        p.add(T12, T12, 2);
        p.shl(T12, T12, 16);
        p.or(port::TX, T12, 5);
        p.add(port::TX, T9, FRAME_OFFSET as u8 - 2);
        p.adc(port::TX, T10, 0);
        p.mov(port::TX, 7);
        // Software may use the slot again when the consumer moves.
        p.mov(T9, port::TXDRAIN);
        p.if_(nbit(H3, tx::INJECT), |p| count(p, Counter::TxFrames));
        p.andn(H3, H3, 1 << tx::RAW | 1 << tx::INJECT);
        p.add(T8, T8, 1);
        p.loh(T8, T8);
        p.stt(ZERO, reg(regs::RAWTX_PRODUCER), T8);
        p.call("raw_next");
    });
}
