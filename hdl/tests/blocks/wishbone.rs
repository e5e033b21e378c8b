//! Accesses over Wishbone against a table of registers.

use crate::common::coverage::{Situation, now, then};
use crate::common::{Bench, check_synthesis, random};
use ironwarp_hdl::fb::FB;
use ironwarp_hdl::host::Wishbone;
use std::collections::VecDeque;

/// Reads and writes at random, some of part of a word, some reads given up, against registers that take their time.
fn run(bench: &mut Bench<Wishbone>, seed: u64, accesses: usize) {
    let mut r = random(seed);
    // What a master has written, and what the device has.
    let (mut expected, mut registers) = ([0u32; 16], [0u32; 16]);
    let mut answers: VecDeque<u32> = VecDeque::new();
    let mut reads_taken = 0;
    bench.cycle(|u| u.reset.next = true, |_| ());
    bench.cycle(|u| u.reset.next = false, |_| ());
    for _ in 0..accesses {
        let (write, at, word) = (r.below(2) == 0, r.below(16), r.word());
        let sel = if r.below(8) == 0 { r.below(15) as u64 } else { 15 };
        let patience = if !write && r.below(4) == 0 { r.below(6) } else { usize::MAX };
        let mut cycles = 0;
        let mut taken = false;
        loop {
            let gives_up = cycles > patience && taken;
            let (ready, answers_now) = (r.below(3) == 0, r.below(4) == 0 && !answers.is_empty());
            bench.fall(|u| {
                (u.cyc.next, u.stb.next) = (!gives_up, !gives_up);
                u.we.next = write;
                u.adr.next = FB::new(at as u64);
                u.sel.next = FB::new(sel);
                u.dat_w.next = FB::new(word.into());
                u.host_ready.next = ready;
                u.answer_valid.next = answers_now;
                u.answer.next = FB::new(answers.front().copied().unwrap_or(0xdead).into());
            });
            let u = &bench.block;
            if u.host_valid.val() && ready {
                assert!(!taken && sel == 15, "a request that nobody made");
                taken = true;
                let index = (u.host_offset.val().get() / 4) as usize;
                assert_eq!((index, u.host_write.val()), (at, write));
                if write {
                    registers[index] = u.host_data.val().get() as u32;
                } else {
                    answers.push_back(registers[index]);
                    reads_taken += 1;
                }
            }
            if answers_now && u.answer_ready.val() {
                answers.pop_front();
            }
            let (ack, err, dat_r) = (u.ack.val(), u.err.val(), u.dat_r.val().get() as u32);
            bench.rise();
            cycles += 1;
            assert!(cycles < 1000, "no answer");
            assert!(!(gives_up && (ack || err)));
            if gives_up {
                break;
            }
            if ack || err {
                assert_eq!(err, sel != 15);
                if ack && write {
                    expected[at] = word;
                } else if ack {
                    assert_eq!(dat_r, expected[at], "register {at}");
                }
                break;
            }
        }
        // Between accesses the bus is free for a while, or not.
        for _ in 0..r.below(3) {
            let answers_now = r.below(2) == 0 && !answers.is_empty();
            bench.fall(|u| {
                (u.cyc.next, u.stb.next, u.host_ready.next) = (false, false, true);
                u.answer_valid.next = answers_now;
                u.answer.next = FB::new(answers.front().copied().unwrap_or(0xdead).into());
            });
            assert!(!bench.block.host_valid.val());
            if answers_now && bench.block.answer_ready.val() {
                answers.pop_front();
            }
            bench.rise();
        }
    }
    assert_eq!(registers, expected);
    assert!(reads_taken > accesses / 4);
}

#[test]
fn accesses_are_those_of_the_registers() {
    for seed in 0..8 {
        run(&mut Bench::new(Wishbone::default(), |u| &mut u.clock), seed, 500);
    }
}

/// Shown in docs/coverage.md.
pub const SITUATIONS: &[Situation<Wishbone>] = &[
    now("a write is done", |u| u.ack.val() && u.we.val()),
    now("a read is done", |u| u.ack.val() && !u.we.val()),
    now("a part of a word is refused", |u| u.err.val()),
    now("the device does not take a write", |u| {
        u.host_valid.val() && u.host_write.val() && !u.host_ready.val()
    }),
    now("the device does not take a read", |u| {
        u.host_valid.val() && !u.host_write.val() && !u.host_ready.val()
    }),
    then(
        "a read is given up",
        |u| u.cyc.val() && u.stb.val() && !u.we.val() && !u.ack.val() && !u.err.val(),
        |u| !u.cyc.val(),
    ),
    now("the answer to a read that was given up is dropped", |u| {
        u.answer_valid.val() && u.answer_ready.val() && !u.cyc.val()
    }),
    now("an access waits for that answer", |u| {
        u.cyc.val() && u.stb.val() && u.we.val() && !u.host_valid.val() && !u.ack.val() && !u.err.val()
    }),
    then("an access directly behind another", |u| u.ack.val(), |u| u.cyc.val() && u.stb.val()),
];

#[test]
fn every_situation_occurs() {
    let mut bench = Bench::new(Wishbone::default(), |u| &mut u.clock).covering(SITUATIONS);
    for seed in 0..6 {
        let fresh = Bench::new(Wishbone::default(), |u| &mut u.clock);
        bench = fresh.counting_on(bench);
        run(&mut bench, seed, 500);
    }
    bench.check_coverage();
}

#[test]
fn like_its_verilog() {
    let Some(mut bench) = Bench::with_verilog("wishbone", Wishbone::default(), |u| &mut u.clock) else {
        return;
    };
    run(&mut bench, 99, 3000);
    println!("wishbone: {} cycles, 0 mismatches", bench.cycles());
}

#[test]
fn synthesises() {
    check_synthesis("wishbone", Wishbone::default());
}
