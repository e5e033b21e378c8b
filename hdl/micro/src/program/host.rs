//! Registers, timing and doorbells.

use super::main::{limit, stop, todo, tx};
use crate::asm::{Asm, bit, bit_of, eq, geu, ltu, nbit, ne};
use crate::isa::Word;
use crate::layout::c::*;
use crate::layout::g::*;
use crate::layout::port::{self, cond};
use crate::layout::{Sizes, fa, fb, t};
use ironwarp_proto::abi::event::ErrorCause;
use ironwarp_proto::abi::regs::{self, ctrl, features, status};
use ironwarp_proto::abi::send_entry::{INLINE_MAX, SGES_MAX};
use ironwarp_proto::abi::{ABI_VERSION, DEVICE_ID};

/// T address of a register: what software wrote, or a constant.
pub(super) const fn reg(offset: u32) -> u8 {
    t::HOST + (offset / 4) as u8
}

/// T addresses of the host part behind the registers.
pub(super) mod dev {
    use crate::layout::t::HOST;
    /// Event queue: producer, entries (0: not running), time of the oldest event not consumed, longest wait.
    pub const EQ_PRODUCER: u8 = HOST + 40;
    pub const EQ_SIZE: u8 = HOST + 41;
    pub const EQ_OLDEST: u8 = HOST + 42;
    pub const EQ_LONGEST: u8 = HOST + 43;
    /// Raw receive ring.
    pub const RX_PRODUCER: u8 = HOST + 44;
    pub const RX_SIZE: u8 = HOST + 45;
    /// Raw transmit ring, and word 0 of the slot at its head.
    pub const TX_PRODUCER: u8 = HOST + 46;
    pub const TX_SIZE: u8 = HOST + 47;
    pub const TX_HEADER: u8 = HOST + 48;
    /// Frames injected whose descriptor has not come.
    pub const INJECTED: u8 = HOST + 49;
    /// Sticky bits of STATUS.
    pub const STICKY: u8 = HOST + 50;
    /// Level of the interrupt line, in bit 8.
    pub const LEVEL: u8 = HOST + 51;
    /// State words of a QP.
    pub const STATE: u8 = HOST + 52;
}

/// Reset value of `TCPCFG`: 200 ms minimum RTO, 40 ms delayed ACK, 10 segments, 12 retries, at most 2^8 times the minimum.
const TCPCFG_RESET: u32 = 200 | 40 << 12 | 10 << 20 | 12 << 24 | 8 << 28;

/// Any number, without a constant word.
fn number(p: &mut Asm, d: Word, scratch: Word, value: u32) {
    p.ldi(d, value & 0xffff);
    if value >> 16 != 0 {
        p.ldi(scratch, value & 0xffff_0000);
        p.or(d, d, scratch);
    }
}

/// Define the routines.
pub fn define(p: &mut Asm, sizes: &Sizes) {
    registers(p, sizes);
    read(p);
    write(p);
    timing(p, sizes);
    doorbell(p, sizes);
    p.routine("judge", |p| {
        let end = p.label();
        p.loh(R1, A1);
        p.sub(T15, R1, A0);
        p.loh(T15, T15);
        p.mov(R0, 0);
        p.goto_if(geu(A2, T15), end);
        p.sub(T15, A0, R1);
        p.loh(T15, T15);
        p.mov(R0, 1);
        p.goto_if(geu(A3, T15), end);
        p.mov(R0, 2);
        p.bind(end);
    });
}

/// Reset values.
fn registers(p: &mut Asm, sizes: &Sizes) {
    p.routine("registers", |p| {
        let limits0 = [sizes.log2_qps, sizes.log2_regions, sizes.log2_cqs, sizes.log2_srqs];
        let limits1 = [sizes.ird, sizes.ord, SGES_MAX as u8, INLINE_MAX as u8];
        let limits2 = u32::from(sizes.mss) | u32::from(sizes.window) << 16;
        for (offset, value) in [
            (regs::ID, DEVICE_ID),
            (regs::VERSION, ABI_VERSION),
            (regs::FEATURES, sizes.features),
            (regs::LIMITS0, u32::from_le_bytes(limits0)),
            (regs::LIMITS1, u32::from_le_bytes(limits1)),
            (regs::LIMITS2, limits2),
            (regs::CLOCK, sizes.clock_khz),
            (regs::TICK, sizes.clock_khz),
            (regs::TCPCFG, TCPCFG_RESET),
            (regs::DOORBELLS, sizes.pages().register()),
        ] {
            number(p, T0, T1, value);
            p.stt(ZERO, reg(offset), T0);
        }
        p.call("timing");
    });
}

/// A register is read: T0 = word offset.
fn read(p: &mut Asm) {
    p.routine("host_read", |p| {
        let (answer, none, state, window) = (p.label(), p.label(), p.label(), p.label());
        let last = (regs::WIN_DATA / 4) as u8;
        let counters = p.label();
        p.goto_if(bit(T0, 6), counters);
        p.goto_if(geu(T0, last), window);
        p.goto_if(eq(T0, (regs::STATUS / 4) as u8), state);
        p.add(T0, T0, t::HOST);
        p.bind(answer);
        p.ldt(port::HOSTR, ZERO, T0);
        p.ret();
        p.bind(counters);
        p.sub(T0, T0, (regs::COUNTERS / 4) as u8);
        p.goto_if(ltu(T0, 32), answer);
        p.bind(none);
        p.mov(port::HOSTR, 0);
        p.ret();
        p.bind(window);
        p.goto_if(ne(T0, last), none);
        p.call("window_read");
        p.mov(port::HOSTR, R0);
        p.ret();
        p.bind(state);
        p.ldt(T1, ZERO, dev::STICKY);
        p.or(T1, T1, status::LINK as u8);
        // Nothing to send: no QP, no raw frame, and the engine is done.
        let busy = p.label();
        p.goto_if(ne(READY_COUNT, 0), busy);
        p.goto_if(bit(H3, tx::RAW), busy);
        p.goto_if(bit(H3, tx::INJECT), busy);
        p.goto_if(nbit(port::COND, cond::TX_IDLE), busy);
        p.or(T1, T1, status::TX_IDLE as u8);
        p.bind(busy);
        p.mov(port::HOSTR, T1);
    });
}

/// Registers that hold what is written.
const PLAIN: [u32; 14] = [
    regs::MAC_LO,
    regs::MAC_HI,
    regs::TICK,
    regs::TCPCFG,
    regs::EQ_BASE_LO,
    regs::EQ_BASE_HI,
    regs::EQ_CTRL,
    regs::EQ_COALESCE,
    regs::RAWRX_BASE_LO,
    regs::RAWRX_BASE_HI,
    regs::RAWTX_BASE_LO,
    regs::RAWTX_BASE_HI,
    regs::EQ_LOG2,
    regs::RAWRX_LOG2,
];

/// A register is written, not CTRL or CMD: T0 = word offset, H1 = value.
fn write(p: &mut Asm) {
    p.routine("host_write", |p| {
        let plain = PLAIN.iter().fold(0u32, |mask, offset| mask | 1 << (offset / 4));
        let plain = plain | 1 << (regs::RAWTX_LOG2 / 4);
        let is = |offset: u32| eq(T0, (offset / 4) as u8);
        let store = p.label();
        p.rare(geu(T0, 32), |p| {
            p.rare(is(regs::WIN_DATA), |p| {
                p.call("window_write");
                p.ret();
            });
            p.goto_if(is(regs::CMD_ARG), store);
            p.goto_if(is(regs::WIN_ADDR), store);
            p.ret();
            p.bind(store);
            p.add(T1, T0, t::HOST);
            p.stt(T1, 0, H1);
            p.ret();
        });
        let special = p.label();
        p.mov(T1, p.k(plain));
        p.goto_if(bit_of(T1, T0).not(), special);
        p.add(T1, T0, t::HOST);
        p.stt(T1, 0, H1);
        p.or(H2, H2, todo::INTERRUPT);
        for mac in [regs::MAC_LO, regs::MAC_HI] {
            p.rare(is(mac), |p| {
                p.call("write_mac");
                p.ret();
            });
        }
        for timing in [regs::TICK, regs::TCPCFG, regs::EQ_COALESCE] {
            p.rare(is(timing), |p| {
                p.call("timing");
                p.ret();
            });
        }
        p.rare(is(regs::EQ_CTRL), |p| {
            p.and(T1, H1, 1);
            p.stt(ZERO, reg(regs::EQ_CTRL), T1);
            p.ret();
        });
        for (log2, producer, consumer) in [
            (regs::EQ_LOG2, dev::EQ_PRODUCER, reg(regs::EQ_CONSUMER)),
            (regs::RAWRX_LOG2, dev::RX_PRODUCER, reg(regs::RAWRX_CONSUMER)),
            (regs::RAWTX_LOG2, dev::TX_PRODUCER, reg(regs::RAWTX_PRODUCER)),
        ] {
            p.rare(is(log2), |p| {
                if log2 == regs::RAWTX_LOG2 {
                    p.andn(H3, H3, 1 << tx::RAW | 1 << tx::INJECT);
                }
                p.and(T1, H1, 0xff);
                p.stt(ZERO, reg(log2), T1);
                p.call("ring_size");
                p.stt(ZERO, producer + 1, T2);
                p.stt(ZERO, producer, 0);
                p.stt(ZERO, consumer, 0);
                p.ret();
            });
        }
        p.ret();

        p.bind(special);
        // The consumer registers of rings that the device fills.
        for (consumer, producer) in
            [(regs::EQ_CONSUMER, dev::EQ_PRODUCER), (regs::RAWRX_CONSUMER, dev::RX_PRODUCER)]
        {
            p.rare(is(consumer), |p| {
                p.ldt(A0, ZERO, reg(consumer));
                p.ldt(A2, ZERO, producer);
                p.sub(A2, A2, A0);
                p.loh(A2, A2);
                p.ldt(A3, ZERO, producer + 1);
                p.mov(A1, H1);
                if consumer == regs::EQ_CONSUMER {
                    // What is left waits anew.
                    p.mov(T1, port::NOW);
                    p.stt(ZERO, dev::EQ_OLDEST, T1);
                }
                p.or(H2, H2, todo::INTERRUPT);
                p.ret_if(eq(A3, 0));
                p.call("judge");
                p.ret_if(ne(R0, 0));
                p.stt(ZERO, reg(consumer), R1);
                p.ret();
            });
        }
        p.rare(is(regs::RAWTX_PRODUCER), |p| {
            p.call("raw_doorbell");
            p.ret();
        });
    });
    // T2 = entries of a ring of log2 T1, or 0 if it is too large.
    p.routine("ring_size", |p| {
        p.mov(T2, 0);
        p.ret_if(geu(T1, ironwarp_proto::abi::queue::LOG2_MAX + 1));
        p.mov(T2, 1);
        p.shl(T2, T2, T1);
    });
    p.routine("write_ctrl", |p| {
        const { assert!(ctrl::CLEAR_STICKY == 1 << 30) };
        p.if_(bit(H1, 30), |p| p.stt(ZERO, dev::STICKY, 0));
        let mask = ctrl::RX_ENABLE | ctrl::TX_ENABLE | ctrl::PROMISCUOUS | ctrl::NO_PREDICTION;
        p.and(T0, H1, mask as u8);
        p.stt(ZERO, reg(regs::CTRL), T0);
        const { assert!(ctrl::TX_ENABLE == 1 << 1) };
        p.andn(H3, H3, 1 << tx::ENABLED);
        p.if_(bit(T0, 1), |p| p.or(H3, H3, 1 << tx::ENABLED));
        p.call("write_mac");
    });
    // The MAC's address and filter.
    p.routine("write_mac", |p| {
        p.ldt(T0, ZERO, reg(regs::MAC_HI));
        p.loh(T0, T0);
        p.stt(ZERO, reg(regs::MAC_HI), T0);
        // CTRL: 0 receive, 2 promiscuous; port: 17 receive, 16 promiscuous.
        p.ldt(T1, ZERO, reg(regs::CTRL));
        p.and(T2, T1, 1);
        p.shl(T2, T2, 17);
        p.or(T0, T0, T2);
        p.shr(T1, T1, 2);
        p.shl(T1, T1, 16);
        p.or(T0, T0, T1);
        p.ldt(port::MAC0, ZERO, reg(regs::MAC_LO));
        p.mov(port::MAC1, T0);
    });
}

/// Timers in units of 1024 ns.
fn timing(p: &mut Asm, sizes: &Sizes) {
    p.routine("timing", |p| {
        let scaled = |p: &mut Asm, to: u8| {
            p.call("scale");
            p.stt(ZERO, to, R0);
        };
        p.ldt(T0, ZERO, reg(regs::TCPCFG));
        p.mov(A0, 1);
        scaled(p, t::TIMING + 5);
        p.mov(A0, 64);
        scaled(p, t::TIMING + 6);
        // Minimum RTO 11:0, at least a tick; maximum = minimum << 31:28.
        p.shl(T1, T0, 20);
        p.shr(T1, T1, 20);
        p.rare(eq(T1, 0), |p| p.mov(T1, 1));
        p.mov(A0, T1);
        scaled(p, t::TIMING);
        p.shr(T2, T0, 28);
        p.shl(A0, T1, T2);
        scaled(p, t::TIMING + 1);
        p.shl(A0, T0, 12);
        p.shr(A0, A0, 24);
        scaled(p, t::TIMING + 2);
        p.shr(T1, T0, 20);
        p.and(T1, T1, 15);
        p.rare(eq(T1, 0), |p| p.mov(T1, 1));
        p.stt(ZERO, t::TIMING + 3, T1);
        p.shr(T1, T0, 24);
        p.and(T1, T1, 15);
        p.stt(ZERO, t::TIMING + 4, T1);
        p.ldt(A0, ZERO, reg(regs::EQ_COALESCE));
        p.shr(A0, A0, 16);
        scaled(p, dev::EQ_LONGEST);
        p.or(H2, H2, todo::INTERRUPT);
    });
    // Cycles in 1024 ns: clocks of a device are chosen so that this is a power of two.
    let shift = (sizes.clock_khz * 1024 / 1_000_000).ilog2() as u8;
    p.routine("scale", |p| {
        p.ldt(T8, ZERO, reg(regs::TICK));
        p.rare(eq(T8, 0), |p| p.mov(T8, 1));
        p.mov(T9, 0);
        // 1024 ns that have begun count.
        p.mov(R0, ((1u32 << shift) - 1) as u8);
        p.mov(R1, 0);
        p.while_(ne(A0, 0), |p| {
            p.if_(bit(A0, 0), |p| {
                p.add(R0, R0, T8);
                p.adc(R1, R1, T9);
            });
            p.add(T8, T8, T8);
            p.adc(T9, T9, T9);
            p.shr(A0, A0, 1);
        });
        p.shr(R0, R0, shift);
        p.shl(T8, R1, 32 - shift);
        p.or(R0, R0, T8);
        p.shr(R1, R1, shift);
        p.shr(T8, R0, 30);
        p.or(R1, R1, T8);
        p.rare(ne(R1, 0), |p| p.ldi(R0, 1 << 30));
    });
}

/// A doorbell is rung: T0 = byte offset << 8, A0 = page + 1, H1 = value. Producers of queues are what comes most.
fn doorbell(p: &mut Asm, sizes: &Sizes) {
    p.routine("doorbell", |p| {
        let (other, rung, bad, terminate, stream) = (p.label(), p.label(), p.label(), p.label(), p.label());
        p.sub(A0, A0, 1);
        // Byte offset in the page << 20.
        p.shl(T0, T0, 12);
        p.goto_if(geu(A0, limit(p, sizes.log2_qps)), other);
        p.rare(ne(A0, QPN), |p| p.call("select"));
        p.ret_if(eq(STATE, 0));
        p.mov(A0, H1);
        p.goto_if(bit(FA, fa::STREAM), stream);
        let receive = p.label();
        p.goto_if(ne(T0, 0), receive);
        p.call("post_send");
        p.goto_if(eq(R0, 0), bad);
        p.bind(rung);
        p.if_(nbit(FB, fb::READY), |p| p.call("wake"));
        p.ret();
        p.bind(bad);
        stop(p, ErrorCause::Doorbell);
        p.ret();
        p.bind(receive);
        p.shr(T0, T0, 22);
        p.if_(eq(T0, 1), |p| {
            p.call("post_receive");
            p.goto_if(eq(R0, 0), bad);
            p.call("look_ahead");
            p.goto(rung);
        });
        p.goto_if(eq(T0, 4), terminate);
        p.goto_if(ne(T0, 6), rung);
        p.or(FB, FB, 1 << fb::FIN_WANTED);
        p.goto(rung);
        p.bind(terminate);
        p.goto_if(bit(FB, fb::DEAD), rung);
        p.call("send_terminate");
        p.goto_if(eq(R0, 0), bad);
        p.mov(STATE, 4);
        p.goto(rung);

        p.bind(stream);
        p.shr(T0, T0, 22);
        if sizes.has(features::STREAM) {
            let changed = p.label();
            p.rare(eq(T0, 2), |p| {
                p.call("stream_post");
                p.goto(changed);
            });
            p.rare(eq(T0, 3), |p| {
                p.call("stream_consume");
                p.goto(changed);
            });
            p.mov(R0, 1);
            p.rare(eq(T0, 5), |p| {
                p.call("stream_arm");
                p.mov(R0, 1);
            });
            p.if_(eq(T0, 6), |p| p.or(FB, FB, 1 << fb::FIN_WANTED));
            p.bind(changed);
            p.rare(eq(R0, 0), |p| stop(p, ErrorCause::Doorbell));
            p.call("update_window");
        }
        p.goto(rung);

        p.bind(other);
        p.shr(T0, T0, 22);
        let srq = p.label();
        p.ldi(T2, 1 << sizes.log2_qps);
        p.sub(A0, A0, T2);
        p.goto_if(geu(A0, limit(p, sizes.log2_cqs)), srq);
        p.call("cq_doorbell");
        p.ret();
        p.bind(srq);
        if sizes.has(features::SRQ) {
            p.ldi(T2, 1 << sizes.log2_cqs);
            p.sub(A0, A0, T2);
            p.ret_if(geu(A0, limit(p, sizes.log2_srqs)));
            p.call("srq_doorbell");
        }
    });
    // GO waits for these frames.
    p.routine("injected", |p| {
        p.ldt(T14, ZERO, dev::INJECTED);
        p.sub(T14, T14, 1);
        p.stt(ZERO, dev::INJECTED, T14);
    });
}
