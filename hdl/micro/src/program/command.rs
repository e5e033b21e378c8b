//! Commands.

use super::host::{dev, reg};
use super::main::{area, limit, tx};
use crate::asm::{Asm, Label, bit, eq, geu, ltu, ne};
use crate::isa::Word;
use crate::layout::c::*;
use crate::layout::g::*;
use crate::layout::{Sizes, fb, q};
use ironwarp_proto::abi::context::{MSS_RANGE, MULPDU_RANGE, QpState};
use ironwarp_proto::abi::event::EventKind;
use ironwarp_proto::abi::queue::LOG2_MAX;
use ironwarp_proto::abi::regs::{self, Command, CommandStatus, features};

const OK: u8 = CommandStatus::Ok as u8;
const BAD_OBJECT: u8 = CommandStatus::BadObject as u8;
const BAD_STATE: u8 = CommandStatus::BadState as u8;
const BAD_CONTENT: u8 = CommandStatus::BadContent as u8;

/// Define the routines.
pub fn define(p: &mut Asm, sizes: &Sizes) {
    // H1 = the command. No frame is being delivered.
    p.routine("command", |p| {
        p.stt(ZERO, reg(regs::CMD), H1);
        p.shl(H0, H1, 8);
        p.shr(H0, H0, 16);
        p.and(H1, H1, 0xff);
        p.mov(R0, BAD_OBJECT);
        p.call("command_run");
        p.stt(ZERO, reg(regs::CMD_STAT), R0);
    });
    run(p, sizes);
    activate(p, sizes);
    lookup(p, sizes);
    p.routine("command_go", |p| {
        p.mov(R0, BAD_STATE);
        p.ret_if(ne(STATE, QpState::Activated as u8));
        p.mov(R0, CommandStatus::Again as u8);
        // Frames that were injected before come first.
        p.ret_if(bit(H3, tx::INJECT));
        p.ldt(T0, ZERO, dev::INJECTED);
        p.ret_if(ne(T0, 0));
        p.ldt(T0, TQ, q::DIVERTED);
        p.xor(T0, T0, H1);
        p.loh(T0, T0);
        p.ret_if(ne(T0, 0));
        p.mov(STATE, QpState::Running as u8);
        p.mov(R0, OK);
        p.call("wake");
    });
    p.routine("command_quiesce", |p| {
        p.mov(R0, BAD_STATE);
        p.ret_if(eq(STATE, 0));
        p.mov(STATE, QpState::Quiesced as u8);
        p.call("state_words");
        p.call("save_state");
        p.call("drain");
        p.call("forget");
        p.mov(STATE, 0);
        p.shl(A0, QPN, 16);
        p.shl(R0, R0, 8);
        p.or(A0, A0, R0);
        p.or(A0, A0, EventKind::Quiesced as u8);
        p.mov(A1, 0);
        p.mov(A2, 0);
        p.call("event");
        p.mov(R0, OK);
    });
    p.routine("command_modify", |p| {
        let bad = p.label();
        p.mov(R0, BAD_STATE);
        p.ret_if(eq(STATE, 0));
        p.mov(R0, BAD_CONTENT);
        p.loh(A0, H1);
        p.shr(T0, H1, 16);
        within(p, A0, u32::from(*MSS_RANGE.start()), u32::from(*MSS_RANGE.end()), bad);
        within(p, T0, u32::from(*MULPDU_RANGE.start()), u32::from(*MULPDU_RANGE.end()), bad);
        p.if_(bit(FA, crate::layout::fa::STREAM).not(), |p| p.mov(MULPDU, T0));
        p.call("tcp_set_mss");
        p.call("wake");
        p.mov(R0, OK);
        p.bind(bad);
    });
}

/// Go to `bad` if `value` is not in `low..=high`; changes T14, T15.
fn within(p: &mut Asm, value: Word, low: u32, high: u32, bad: Label) {
    p.sub(T14, value, low as u8);
    p.ldi(T15, high - low);
    p.goto_if(ltu(T15, T14), bad);
}

fn run(p: &mut Asm, sizes: &Sizes) {
    // H0 = object, H1 = code; R0 = result.
    p.routine("command_run", |p| {
        let is = |command: Command| eq(H1, command as u8);
        let qp = p.label();
        for command in [Command::Quiesce, Command::Reset, Command::StopCq, Command::StopSrq] {
            p.rare(is(command), |p| p.call("settle"));
        }
        p.mov(R0, BAD_OBJECT);
        p.mov(A0, H0);
        p.and(A1, H1, 1);
        p.goto_if(ltu(H1, Command::Invalidate as u8), qp);
        p.rare(is(Command::Invalidate), |p| {
            p.ldt(A0, ZERO, reg(regs::CMD_ARG));
            p.call("region_revoke");
            p.xor(R0, R0, 1);
            p.shl(R0, R0, 1);
            p.ret();
        });
        const { assert!(OK == 0 && BAD_OBJECT == 2) };
        let cq = p.label();
        p.goto_if(ltu(H1, Command::StartSrq as u8), cq);
        if sizes.has(features::SRQ) {
            p.ret_if(geu(H1, Command::StopSrq as u8 + 1));
            p.ret_if(geu(H0, limit(p, sizes.log2_srqs)));
            p.call("srq_start");
        }
        p.ret();
        p.bind(cq);
        p.ret_if(geu(H0, limit(p, sizes.log2_cqs)));
        p.call("cq_start");
        p.ret();

        p.bind(qp);
        p.ret_if(eq(H1, 0));
        p.ret_if(geu(H0, limit(p, sizes.log2_qps)));
        p.call("select");
        p.rare(is(Command::Activate), |p| {
            p.call("activate");
            p.ret();
        });
        p.rare(is(Command::Quiesce), |p| {
            p.call("command_quiesce");
            p.ret();
        });
        p.rare(is(Command::Reset), |p| {
            p.if_(ne(STATE, 0), |p| p.call("forget"));
            p.mov(STATE, 0);
            p.mov(R0, OK);
            p.ret();
        });
        p.mov(T0, H1);
        p.ldt(H1, ZERO, reg(regs::CMD_ARG));
        p.rare(eq(T0, Command::Go as u8), |p| {
            p.call("command_go");
            p.ret();
        });
        p.call("command_modify");
    });
}

/// Take over a connection as software hands it over: QP H0, the current one.
fn activate(p: &mut Asm, sizes: &Sizes) {
    let context = |word: u8| q::CONTEXT + word;
    p.routine("activate", |p| {
        let (bad, shared) = (p.label(), p.label());
        p.mov(R0, BAD_STATE);
        p.ret_if(ne(STATE, 0));
        // The content: T0 = word 0.
        p.mov(R0, BAD_CONTENT);
        p.ldt(T0, TQ, context(0));
        p.ldt(T4, TQ, context(3));
        p.loh(T1, T4);
        within(p, T1, u32::from(*MSS_RANGE.start()), u32::from(*MSS_RANGE.end()), bad);
        for shift in [8, 12] {
            p.shr(T1, T0, shift);
            p.and(T1, T1, 15);
            p.goto_if(eq(T1, 15), bad);
        }
        p.ldt(T3, TQ, context(4));
        p.and(T2, T3, 0xff);
        p.shr(T3, T3, 8);
        p.and(T3, T3, 0xff);
        p.and(T1, T0, 3);
        let rdma = p.label();
        p.goto_if(eq(T1, 1), rdma);
        if sizes.has(features::STREAM) {
            p.goto_if(ne(T1, 2), bad);
            p.goto_if(geu(T2, 31), bad);
            p.goto_if(geu(T3, 31), bad);
            // What was offered before the hand-over must fit the ring, which is all there is to put it in.
            p.ldt(T1, TQ, context(18));
            p.ldt(T2, TQ, context(14));
            p.sub(T1, T1, T2);
            p.goto_if(bit(T1, 31), shared);
            p.mov(T2, 1);
            p.shl(T2, T2, T3);
            p.goto_if(ltu(T2, T1), bad);
            p.goto(shared);
        } else {
            p.goto(bad);
        }
        p.bind(rdma);
        p.goto_if(geu(T2, LOG2_MAX + 1), bad);
        p.goto_if(geu(T3, LOG2_MAX + 1), bad);
        p.shr(T1, T4, 16);
        within(p, T1, u32::from(*MULPDU_RANGE.start()), u32::from(*MULPDU_RANGE.end()), bad);
        p.ldt(T1, TQ, context(1));
        for high in [false, true] {
            if high {
                p.shr(T2, T1, 16)
            } else {
                p.loh(T2, T1)
            }
            p.goto_if(geu(T2, limit(p, sizes.log2_cqs)), bad);
            p.shl(T2, T2, 3);
            p.ldi(T3, sizes.cqs().into());
            p.add(T2, T2, T3);
            p.ldt(T3, T2, super::cq::SIZE);
            p.goto_if(eq(T3, 0), bad);
            p.ldt(T3, T2, super::cq::FLAGS);
            p.goto_if(bit(T3, super::cq::BROKEN), bad);
        }
        p.ldt(T1, TQ, context(2));
        p.shr(T2, T1, 24);
        p.goto_if(geu(T2, sizes.ord + 1), bad);
        p.shr(T2, T1, 16);
        p.and(T2, T2, 0xff);
        p.goto_if(geu(T2, sizes.ird + 1), bad);
        p.rare(bit(T0, 7), |p| {
            if sizes.has(features::SRQ) {
                p.loh(T2, T1);
                p.goto_if(geu(T2, limit(p, sizes.log2_srqs)), bad);
                p.shl(T2, T2, 4);
                p.ldi(T3, sizes.srqs().into());
                p.add(T2, T2, T3);
                p.ldt(T3, T2, super::srq::SIZE);
                p.goto_if(eq(T3, 0), bad);
            } else {
                p.goto(bad);
            }
        });
        p.bind(shared);
        // The connection's addresses as descriptors have them.
        p.ldt(A1, TQ, q::TEMPLATE + 8);
        p.ldt(A2, TQ, q::TEMPLATE + 7);
        p.ldt(A3, TQ, q::TEMPLATE + 9);
        p.shr(T1, A3, 16);
        p.pack(A3, A3, T1);
        p.xor(A0, A1, A3);
        for shift in [16, 8] {
            p.shr(T1, A0, shift);
            p.xor(A0, A0, T1);
        }
        p.and(A0, A0, ((1u16 << sizes.log2_buckets()) - 1) as u8);
        p.call("lookup");
        p.rare(ne(R0, 0), |p| {
            p.bind(bad);
            p.mov(R0, BAD_CONTENT);
            p.ret();
        });
        p.ldi(T1, sizes.hash().into());
        p.add(T1, T1, A0);
        p.ldt(T2, T1, 0);
        p.stt(TQ, q::HASH_NEXT, T2);
        p.add(T2, QPN, 1);
        p.stt(T1, 0, T2);
        p.stt(TQ, q::HASH, A0);
        for (word, from) in (0..).zip([A1, A2, A3]) {
            p.stt(TQ, q::TUPLE + word, from);
        }
        for word in [q::DIVERTED, q::CAUSE, q::RETRANSMITS, q::IDENT, q::HOST] {
            p.stt(TQ, word, 0);
        }
        p.shr(T1, T0, 16);
        p.pack(ASKER, T1, QPN);
        // What its predecessor was granted is not its own.
        super::region::changed(p);
        p.shr(FA, T0, 1);
        p.and(FA, FA, 0x7f);
        p.and(FB, FB, 1 << fb::READY);
        p.mov(FC, 0);
        p.mov(FD, 0);
        p.mov(STATE, QpState::Activated as u8);
        p.call("tcp_activate");
        let (stream, done) = (p.label(), p.label());
        p.goto_if(bit(FA, crate::layout::fa::STREAM), stream);
        p.call("rdma_rx_activate");
        p.call("rdma_tx_activate");
        p.goto(done);
        p.bind(stream);
        if sizes.has(features::STREAM) {
            p.call("stream_activate");
            p.call("update_window");
        }
        p.bind(done);
        p.mov(R0, OK);
    });
}

/// The connections of the device, in hash chains.
fn lookup(p: &mut Asm, sizes: &Sizes) {
    p.routine("lookup", |p| {
        let (top, next) = (p.label(), p.label());
        p.ldi(T14, sizes.hash().into());
        p.ldt(R0, T14, A0);
        p.bind(top);
        p.ret_if(eq(R0, 0));
        p.sub(R1, R0, 1);
        area(p, sizes, T14, R1, T15);
        for (word, wanted) in (0..).zip([A1, A3, A2]) {
            p.ldt(T15, T14, q::TUPLE + [0, 2, 1][word]);
            p.goto_if(ne(T15, wanted), next);
        }
        p.set_qp(R1);
        p.mov(QPN, R1);
        p.mov(TQ, T14);
        p.ret();
        p.bind(next);
        p.ldt(R0, T14, q::HASH_NEXT);
        p.goto(top);
    });
    // The current QP leaves its chain.
    p.routine("forget", |p| {
        let (top, found) = (p.label(), p.label());
        p.ldt(T0, TQ, q::HASH);
        p.ldi(T1, sizes.hash().into());
        p.add(T0, T0, T1);
        p.add(T2, QPN, 1);
        p.bind(top);
        p.ldt(T1, T0, 0);
        p.goto_if(eq(T1, T2), found);
        p.ret_if(eq(T1, 0));
        p.sub(T1, T1, 1);
        area(p, sizes, T0, T1, T3);
        p.add(T0, T0, q::HASH_NEXT);
        p.goto(top);
        p.bind(found);
        p.ldt(T1, TQ, q::HASH_NEXT);
        p.stt(T0, 0, T1);
    });
}
