//! The window into the tables (`WIN_ADDR`, `WIN_DATA`).

use super::host::{dev, reg};
use super::main::limit;
use crate::asm::{Asm, eq, geu, ne};
use crate::layout::c::STATE;
use crate::layout::g::*;
use crate::layout::{Sizes, q};
use ironwarp_proto::abi::context::{STATE_WORDS, TEMPLATE_WORDS, WORDS};
use ironwarp_proto::abi::regs::{self, CommandStatus, features};
use ironwarp_proto::abi::window::Table;

/// Define the routines.
pub fn define(p: &mut Asm, sizes: &Sizes) {
    // The word that WIN_ADDR shows; it moves on. R0 = its T address, 0 if there is none; R1 = not 0 if the object is active; R2 = 1 if there is
    // no such object; T3 = table.
    p.routine("window_locate", |p| {
        p.ldt(T0, ZERO, reg(regs::WIN_ADDR));
        p.and(T1, T0, 0xff);
        p.shl(T2, T0, 8);
        p.shr(T2, T2, 16);
        p.shr(T3, T0, 24);
        p.sub(T0, T0, T1);
        p.add(T4, T1, 1);
        p.and(T4, T4, 0xff);
        p.or(T0, T0, T4);
        p.stt(ZERO, reg(regs::WIN_ADDR), T0);
        p.mov(R0, 0);
        p.mov(R2, 1);
        let is = |table: Table| eq(T3, table as u8);
        let found = p.label();
        // T5 = base, T6 = words.
        p.rare(is(Table::Region), |p| {
            p.ret_if(geu(T2, limit(p, sizes.log2_regions)));
            p.shl(T2, T2, 3);
            p.ldi(T5, sizes.regions().into());
            p.add(T5, T5, T2);
            p.mov(T6, 8);
            p.mov(R1, 0);
            // Word 0 may always be written: it makes the entry invalid.
            p.if_(ne(T1, 0), |p| {
                p.ldt(R1, T5, 0);
                p.and(R1, R1, 1);
            });
            p.goto(found);
        });
        p.rare(is(Table::Cq), |p| {
            p.ret_if(geu(T2, limit(p, sizes.log2_cqs)));
            p.shl(T2, T2, 3);
            p.ldi(T5, sizes.cqs().into());
            p.add(T5, T5, T2);
            p.mov(T6, 4);
            p.ldt(R1, T5, super::cq::SIZE);
            p.goto(found);
        });
        if sizes.has(features::SRQ) {
            p.rare(is(Table::Srq), |p| {
                p.ret_if(geu(T2, limit(p, sizes.log2_srqs)));
                p.shl(T2, T2, 4);
                p.ldi(T5, sizes.srqs().into());
                p.add(T5, T5, T2);
                p.mov(T6, 8);
                p.ldt(R1, T5, super::srq::SIZE);
                p.goto(found);
            });
        }
        p.ret_if(geu(T2, limit(p, sizes.log2_qps)));
        p.mov(A0, T2);
        p.call("select");
        p.mov(R1, STATE);
        p.mov(T5, TQ);
        p.mov(T6, WORDS as u8);
        p.goto_if(is(Table::Context), found);
        p.add(T5, TQ, q::TEMPLATE);
        p.mov(T6, TEMPLATE_WORDS as u8);
        p.goto_if(is(Table::Template), found);
        p.ret_if(ne(T3, Table::State as u8));
        // An inactive QP reads 0.
        p.mov(R2, 0);
        p.ret_if(eq(STATE, 0));
        p.call("state_words");
        p.mov(R0, 0);
        p.mov(T5, dev::STATE);
        p.mov(T6, STATE_WORDS as u8);
        p.bind(found);
        p.mov(R2, 0);
        p.ret_if(geu(T1, T6));
        p.add(R0, T5, T1);
    });
    p.routine("window_read", |p| {
        p.call("window_locate");
        p.ret_if(eq(R0, 0));
        p.ldt(R0, R0, 0);
    });
    // H1 = value.
    p.routine("window_write", |p| {
        let done = p.label();
        p.call("window_locate");
        p.mov(T8, CommandStatus::BadObject as u8);
        p.goto_if(ne(R2, 0), done);
        p.goto_if(eq(T3, Table::State as u8), done);
        p.rare(ne(R1, 0), |p| {
            p.mov(T8, CommandStatus::Busy as u8);
            p.goto(done);
        });
        p.goto_if(eq(R0, 0), done);
        p.stt(R0, 0, H1);
        // It may be a region's word.
        super::region::changed(p);
        p.mov(T8, CommandStatus::Ok as u8);
        p.bind(done);
        p.stt(ZERO, reg(regs::CMD_STAT), T8);
    });
}
