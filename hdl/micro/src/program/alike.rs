//! Writes in that are like the one before: the same length and control fields, and in the region that is known.
//!
//! Such a run is what a peer sends that packs small Writes into a segment. Whatever is not like that goes back to where it is judged word by
//! word, with the words that were read.

use super::deliver::{Errors, PAYLOAD};
use super::mpa::{AT, BASE, HEAD, MARK};
use crate::asm::*;
use crate::isa::Word;
use crate::layout::g::*;
use crate::layout::port::*;
use crate::layout::t;
use ironwarp_proto::abi::regs::Counter;
use ironwarp_proto::ddp::TAGGED_LEN;
use ironwarp_proto::mpa::fpdu::LENGTH_LEN;

/// FPDUs and bytes that are not counted yet.
const FPDUS: Word = T10;
const BYTES: Word = T11;
/// Largest offset in the region.
const LIMIT: Word = T12;
/// PLACE, and ring address of an FPDU at the start of the stretch, behind its header.
const PLACE: Word = T13;
const SOURCE: Word = T15;

/// A Write was placed by what is known: HEAD, W0, PAYLOAD and the region are its own. Goes on at `check` with a header read whose place must be looked up.
pub(super) fn writes(p: &mut Asm, e: &Errors, check: Label) {
    let [next, head, control, place, leave] = [(); 5].map(|()| p.label());
    p.sub(LIMIT, KNOWN_LENGTH, PAYLOAD);
    p.pack(PLACE, PAYLOAD, 1);
    p.add(SOURCE, BASE, (LENGTH_LEN + TAGGED_LEN) as u8);
    p.mov(FPDUS, 0);
    p.mov(BYTES, 0);
    p.bind(next);
    // The host does not wait for the end of a run.
    p.and(T9, COND, 1 << cond::WALK | 1 << cond::HOST);
    p.goto_if(ne(T9, 1 << cond::WALK), leave);
    p.mov(T8, WALK_FIRST);
    p.goto_if(ne(T8, HEAD), head);
    p.mov(AT, WALK);
    p.mov(MARK, WALK);
    p.mov(MARK, WALK);
    p.mov(T9, WALK);
    p.goto_if(ne(T9, W0), control);
    for word in [W1, W2, W3] {
        p.bswap(word, WALK);
    }
    p.add(FPDUS, FPDUS, 1);
    p.goto_if(ne(W1, KNOWN_STAG), place);
    p.sub(T4, W3, KNOWN_BASE);
    p.sbb(T5, W2, KNOWN_BASE_HIGH);
    p.goto_if(ne(T5, 0), place);
    p.goto_if(gtu(T4, LIMIT), place);
    p.mov(WRITER, PLACE);
    p.add(WRITER, SOURCE, AT);
    p.add(WRITER, T4, KNOWN_HOST);
    p.adc(WRITER, KNOWN_HOST_HIGH, 0);
    p.add(BYTES, BYTES, PAYLOAD);
    p.goto(next);

    p.bind(head);
    p.mov(HEAD, T8);
    tell(p);
    p.goto(e.judge);
    p.bind(control);
    p.mov(W0, T9);
    tell(p);
    p.goto(e.judge_fpdu);
    p.bind(place);
    tell(p);
    p.goto(check);
    p.bind(leave);
    tell(p);
    p.goto(e.tail);
}

/// Count them. Changes T14.
fn tell(p: &mut Asm) {
    for (counter, number) in [(Counter::RxFpdus, FPDUS), (Counter::BytesPlaced, BYTES)] {
        p.ldt(T14, ZERO, t::COUNTERS + counter as u8);
        p.add(T14, T14, number);
        p.stt(ZERO, t::COUNTERS + counter as u8, T14);
    }
}
