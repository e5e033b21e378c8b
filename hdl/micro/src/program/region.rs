//! The region (STag) table: who may touch which bytes of host memory. 8 words an entry, as in the window.

use crate::asm::{Asm, bit, eq, nbit, ne};
use crate::isa::Word;
use crate::layout::g::*;
use crate::layout::{Sizes, port, t};
use ironwarp_proto::abi::region::access;
use ironwarp_proto::abi::regs::features;

/// Bits of word 0; the rights begin at bit 2, the protection domain at bit 16.
const VALID: u8 = 0;
const WINDOW: u8 = 1;
const ACCESS: u8 = 2;
const ALLOCATED: u8 = 10;
const SCOPED: u8 = 11;

/// R0 of a refusal, in the order of the checks.
const INVALID_STAG: u8 = 1;
const NOT_ASSOCIATED: u8 = 2;
const RIGHTS: u8 = 3;
const WRAP: u8 = 4;
const BOUNDS: u8 = 5;

/// T8 = the entry that STag A0 names; changes T9.
fn find(p: &mut Asm, sizes: &Sizes) {
    p.shr(T8, A0, 5);
    p.ldi(T9, ((1 << sizes.log2_regions) - 1) << 3);
    p.and(T8, T8, T9);
    p.ldi(T9, sizes.regions().into());
    p.add(T8, T8, T9);
}

/// Return R0 = `result` if the upper halves (protection domains) of `a` and `b` differ.
fn same_domain(p: &mut Asm, a: Word, b: Word, result: u8) {
    p.xor(T10, a, b);
    p.shr(T10, T10, 16);
    p.rare(ne(T10, 0), |p| refuse(p, result));
}

/// A region is another one now: what is remembered of regions is looked at again.
pub(super) fn changed(p: &mut Asm) {
    p.mov(KNOWN_LENGTH, 0);
    p.stt(ZERO, t::SOURCE, 0);
    p.stt(ZERO, t::SINK, 0);
}

fn refuse(p: &mut Asm, result: u8) {
    p.mov(R0, result);
    p.ret();
}

/// T9 = word 0 of the valid entry with STag A0, or return `result`.
fn valid(p: &mut Asm, sizes: &Sizes, result: u8) {
    let refused = p.label();
    find(p, sizes);
    p.ldt(T9, T8, 7);
    p.rare(ne(T9, A0), |p| {
        p.bind(refused);
        refuse(p, result);
    });
    p.goto_if(eq(A0, 0), refused);
    p.ldt(T9, T8, 0);
    p.goto_if(nbit(T9, VALID), refused);
}

/// A peer may name a window or scoped entry only on its connection; T11 = word 2.
fn in_scope(p: &mut Asm, result: u8) {
    let (check, fine) = (p.label(), p.label());
    p.rare(bit(T9, WINDOW), |p| {
        p.bind(check);
        p.shr(T10, T11, 16);
        p.loh(T12, A5);
        p.goto_if(eq(T10, T12), fine);
        refuse(p, result);
    });
    p.goto_if(bit(T9, SCOPED), check);
    p.bind(fine);
}

/// Define the routines.
pub fn define(p: &mut Asm, sizes: &Sizes) {
    // The receive part relies on T8 = the entry and T13, T14 = host address of its first byte behind a check that succeeds.
    // Both are leaves and have the same link word, so the second may end in the first.
    let range = p.label();
    p.routine("region_remote", |p| {
        valid(p, sizes, INVALID_STAG);
        same_domain(p, T9, A5, NOT_ASSOCIATED);
        p.ldt(T11, T8, 2);
        in_scope(p, NOT_ASSOCIATED);
        p.bind(range);
        p.shr(T10, T9, ACCESS);
        p.andn(T10, A4, T10);
        p.rare(ne(T10, 0), |p| refuse(p, RIGHTS));
        p.ldt(T13, T8, 3);
        p.ldt(T14, T8, 4);
        // Nothing lies everywhere.
        let inside = p.label();
        p.rare(eq(A3, 0), |p| {
            p.mov(R1, 0);
            p.mov(R2, 0);
            p.goto(inside);
        });
        // The last byte must not pass 2^64.
        p.sub(T12, A3, 1);
        p.add(T10, A1, T12);
        p.adc(T10, A2, 0);
        p.adc(T10, ZERO, 0);
        p.rare(ne(T10, 0), |p| refuse(p, WRAP));
        // Offset from the base; a region may itself end at the wrap.
        p.sub(R1, A1, T13);
        p.sbb(R2, A2, T14);
        p.adc(T10, ZERO, 0);
        let outside = p.label();
        p.rare(ne(T10, 0), |p| {
            p.bind(outside);
            refuse(p, BOUNDS);
        });
        // Bytes from there to the end of the entry: more than the last one's distance.
        p.ldt(T13, T8, 1);
        p.loh(T11, T11);
        p.sub(T13, T13, R1);
        p.sbb(T11, T11, R2);
        p.adc(T10, ZERO, 0);
        p.goto_if(ne(T10, 0), outside);
        p.sub(T10, T12, T13);
        p.sbb(T10, ZERO, T11);
        p.adc(T10, ZERO, 0);
        p.goto_if(eq(T10, 0), outside);
        p.bind(inside);
        p.ldt(T13, T8, 5);
        p.ldt(T14, T8, 6);
        p.add(R1, R1, T13);
        p.adc(R2, R2, T14);
        p.adc(R0, ZERO, 0);
        p.rare(ne(R0, 0), |p| refuse(p, WRAP));
    });
    p.routine("region_local", |p| {
        valid(p, sizes, INVALID_STAG);
        p.rare(bit(T9, WINDOW), |p| refuse(p, INVALID_STAG));
        same_domain(p, T9, A5, NOT_ASSOCIATED);
        p.ldt(T11, T8, 2);
        p.goto(range);
    });
    // On behalf of a peer or of a work request; only entries that allow it (RFC 5040 section 5.3).
    p.routine("region_invalidate", |p| {
        valid(p, sizes, 0);
        p.rare(nbit(T9, ACCESS + access::INVALIDATE.ilog2() as u8), |p| refuse(p, 0));
        same_domain(p, T9, A5, 0);
        p.ldt(T11, T8, 2);
        in_scope(p, 0);
        p.andn(T9, T9, 1 << VALID);
        p.stt(T8, 0, T9);
        changed(p);
        p.call("settle");
        p.mov(R0, 1);
    });
    // On behalf of the driver, without conditions: A0 STag; R0 = 1 if there is such an entry.
    p.routine("region_revoke", |p| {
        find(p, sizes);
        p.mov(R0, 0);
        p.ret_if(eq(A0, 0));
        p.ldt(T9, T8, 7);
        p.ret_if(ne(T9, A0));
        p.ldt(T9, T8, 0);
        p.ldi(T10, 1 << VALID | 1 << ALLOCATED);
        p.andn(T9, T9, T10);
        p.stt(T8, 0, T9);
        changed(p);
        p.call("settle");
        p.mov(R0, 1);
    });
    // Nothing that was started before is under way any more (RFC 5042 section 6.2.2).
    p.routine("settle", |p| {
        p.call("drain");
        p.mov(T8, port::TXDRAIN);
    });
    if sizes.has(features::WINDOWS) {
        windows(p, sizes);
    } else {
        p.routine("region_bind", |p| p.mov(R0, 0));
        p.routine("region_fast_register", |p| p.mov(R0, 0));
    }
}

/// A word of the send entry in T.
const fn entry(word: u8) -> u8 {
    t::ENTRY + word
}

/// Binds and fast registrations; the asker is A5 as everywhere.
fn windows(p: &mut Asm, sizes: &Sizes) {
    // A0 = the entry's STag names an allocated, not valid entry of the asker's domain, a window if A1 is 1; the key byte is free to
    // choose, so that each use has another STag. R0 = 1 it does, T8 = the entry.
    p.routine("region_rebindable", |p| {
        p.ldt(A0, ZERO, entry(2));
        find(p, sizes);
        p.mov(R0, 0);
        p.ret_if(eq(A0, 0));
        p.ldt(T9, T8, 7);
        p.xor(T9, T9, A0);
        p.shr(T9, T9, 8);
        p.ret_if(ne(T9, 0));
        p.ldt(T9, T8, 0);
        same_domain(p, T9, A5, 0);
        p.ret_if(nbit(T9, ALLOCATED));
        p.ret_if(bit(T9, VALID));
        p.shr(T9, T9, WINDOW);
        p.xor(T9, T9, A1);
        p.ret_if(bit(T9, 0));
        p.mov(R0, 1);
    });
    // Word 0 from the flags in T9 and the rights in T10, and the rest: base, STag and length from the entry, host address R1/R2.
    p.routine("region_store", |p| {
        p.ldt(A0, ZERO, entry(2));
        find(p, sizes);
        p.or(T10, T10, access::INVALIDATE);
        p.shl(T10, T10, ACCESS);
        p.ldi(T9, 1 << VALID | 1 << ALLOCATED | 1 << SCOPED);
        p.or(T9, T9, T10);
        p.or(T9, T9, A1);
        p.shr(T10, A5, 16);
        p.pack(T9, T10, T9);
        p.shl(T10, A5, 16);
        p.stt(T8, 2, T10);
        for (word, from) in [(1, 10), (3, 3), (4, 4)] {
            p.ldt(T10, ZERO, entry(from));
            p.stt(T8, word, T10);
        }
        p.stt(T8, 5, R1);
        p.stt(T8, 6, R2);
        p.stt(T8, 7, A0);
        p.stt(T8, 0, T9);
        changed(p);
        p.mov(R0, 1);
    });
    p.routine("region_bind", |p| {
        p.mov(A1, 1);
        p.call("region_rebindable");
        p.ret_if(eq(R0, 0));
        // The range of the parent; to write through the window takes a parent that may be written (verbs, type 2 window).
        for (a, from) in [(A0, 11), (A1, 8), (A2, 9), (A3, 10)] {
            p.ldt(a, ZERO, entry(from));
        }
        p.mov(A4, access::BIND);
        p.ldt(T10, ZERO, entry(5));
        p.and(T10, T10, access::REMOTE_WRITE | access::REMOTE_ATOMIC);
        p.if_(ne(T10, 0), |p| p.or(A4, A4, access::LOCAL_WRITE));
        p.call("region_local");
        p.if_(ne(R0, 0), |p| refuse(p, 0));
        p.ldt(T10, ZERO, entry(5));
        p.and(T10, T10, access::REMOTE);
        p.mov(A1, 1 << WINDOW);
        p.call("region_store");
    });
    p.routine("region_fast_register", |p| {
        p.mov(A1, 0);
        p.call("region_rebindable");
        p.ret_if(eq(R0, 0));
        p.ldt(R1, ZERO, entry(8));
        p.ldt(R2, ZERO, entry(9));
        p.ldt(T10, ZERO, entry(5));
        p.and(T10, T10, !access::BIND);
        p.mov(A1, 0);
        p.call("region_store");
    });
}
