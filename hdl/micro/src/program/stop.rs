//! Errors of a QP, and what software can read of it.

use super::event::{untagged, words};
use super::host::dev;
use crate::asm::{Asm, bit, eq, geu, nbit, ne};
use crate::layout::c::*;
use crate::layout::g::*;
use crate::layout::{Sizes, fa, fb, fd, port, q, t};
use ironwarp_proto::abi::context::SAVE_RECORD;
use ironwarp_proto::abi::event::{ErrorCause, EventKind};

/// T address of the save area's address in a QP area.
pub(super) const SAVE: u8 = q::CONTEXT + 12;

/// Define the routines.
pub fn define(p: &mut Asm, _sizes: &Sizes) {
    // Stop the connection: tell software, deliver and start nothing more. A stopped connection that is then lost before it is closed
    // tells so once more.
    p.routine("stop", |p| {
        let (lost, may, tell) = (p.label(), p.label(), p.label());
        for cause in [ErrorCause::Reset, ErrorCause::RetryExceeded, ErrorCause::Fatal] {
            p.goto_if(eq(A0, cause as u8), lost);
        }
        // Activated or running.
        p.ret_if(geu(STATE, 3));
        p.goto(may);
        p.bind(lost);
        p.if_(geu(STATE, 3), |p| p.ret_if(bit(FB, fb::DEAD)));
        p.or(FB, FB, 1 << fb::DEAD);
        p.bind(may);
        p.stt(TQ, q::CAUSE, A0);
        p.goto_if(geu(STATE, 3), tell);
        p.mov(STATE, 3);
        p.if_(ne(A1, 0), |p| {
            const { assert!(SAVE_RECORD == 0) };
            // If the save area is gone too, the event alone must do.
            untagged(p);
            p.shl(T8, A1, 8);
            p.or(port::WRITER, T8, 2);
            p.ldt(port::WRITER, TQ, SAVE);
            p.ldt(port::WRITER, TQ, SAVE + 1);
            p.ldi(T8, t::RECORD.into());
            p.add(T9, T8, A1);
            let top = p.label();
            p.bind(top);
            p.ldt(port::WRITER, T8, 0);
            p.add(T8, T8, 1);
            p.goto_if(ne(T8, T9), top);
        });
        p.goto_if(bit(FA, fa::STREAM), tell);
        p.call("rdma_stop");
        p.bind(tell);
        p.call("flush_cursors");
        p.mov(A1, R0);
        p.mov(A2, R1);
        p.ldt(A0, TQ, q::CAUSE);
        p.shl(A0, A0, 8);
        p.or(A0, A0, EventKind::QpError as u8);
        p.shl(T8, QPN, 16);
        p.or(A0, A0, T8);
        p.call("event");
        // FIN need not wait for what is not sent any more.
        p.call("wake");
    });
    p.routine("flush_cursors", |p| {
        p.mov(R0, 0);
        p.mov(R1, 0);
        p.ret_if(bit(FA, fa::STREAM));
        p.loh(R0, SQ_DONE);
        p.loh(R1, RQ);
        p.ret_if(nbit(FA, fa::USE_SRQ));
        p.if_(bit(FD, fd::OPEN), |p| {
            p.shl(R2, OPEN_INDEX, 16);
            p.or(R0, R0, R2);
            p.ldi(R2, 1 << 16);
            p.or(R1, R1, R2);
        });
    });
    // The state words of the current QP, which is active, to T.
    p.routine("state_words", |p| {
        p.ldt(T8, TQ, q::CAUSE);
        p.shl(T8, T8, 8);
        p.or(T8, T8, STATE);
        for (bit_of_fb, to) in [(fb::PEER_CLOSED, 16), (fb::FIN_ACKED, 17)] {
            p.if_(bit(FB, bit_of_fb), |p| {
                p.ldi(T9, 1 << to);
                p.or(T8, T8, T9);
            });
        }
        p.stt(ZERO, dev::STATE, T8);
        for (word, from) in [(1, q::DIVERTED), (11, q::RETRANSMITS)] {
            p.ldt(T8, TQ, from);
            p.stt(ZERO, dev::STATE + word, T8);
        }
        p.call("flush_cursors");
        let words = [R0, R1, SND_UNA, SND_MAX, RCV_NXT, RCV_ADV, SND_WND, CWND];
        for (word, from) in (2..).zip(words) {
            p.stt(ZERO, dev::STATE + word, from);
        }
        p.stt(ZERO, dev::STATE + 10, SRTT);
    });
    // The state words to the save area, at byte 256.
    p.routine("save_state", |p| {
        p.pack(port::WRITER, QPN, 5);
        p.ldi(port::WRITER, words(12));
        p.ldt(T8, TQ, SAVE);
        p.ldt(T9, TQ, SAVE + 1);
        p.ldi(T10, ironwarp_proto::abi::context::SAVE_STATE as u32);
        p.add(port::WRITER, T8, T10);
        p.adc(port::WRITER, T9, 0);
        for word in 0..12 {
            p.ldt(port::WRITER, ZERO, dev::STATE + word);
        }
    });
}
