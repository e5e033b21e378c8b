use crate::common::coverage::{Situation, now, then};
use crate::common::{Bench, check_synthesis, random};
use ironwarp_hdl::fb::FB;
use ironwarp_hdl::mem::{FLASH_BASE, FLASH_EACH, FLASH_FIRST, FLASH_NEXT, Flash};
use ironwarp_hdl::outside::FlashChip;

const LINE: usize = 8;
type Block = Flash<13>;

/// Lines at random places or one behind the other; what each took: whether it was the next, and cycles to each of its words.
fn run(bench: &mut Bench<Block>, lines: usize) -> Vec<(bool, Vec<u32>)> {
    let random = &mut random(5);
    let program: Vec<u32> = (0..8192u32).map(|at| at.wrapping_mul(0x9e37_79b9) ^ at << 3).collect();
    let mut chip = FlashChip::new(&program);
    let (mut times, mut line, mut after_whole) = (Vec::new(), 0, false);
    bench.cycle(|u| u.reset.next = true, |_| ());
    for _ in 0..lines {
        let follows = random.below(2) == 0;
        line = if follows { line + 1 } else { random.below(1024) } % 1024;
        let (mut waits, mut cycles, mut rest) = (Vec::new(), 0, 1 + random.below(4));
        // Some are given up.
        let mut patience = if random.below(4) == 0 { random.below(200) } else { usize::MAX };
        while rest > 0 {
            let wanted = waits.len() < LINE && patience > 0;
            patience = patience.saturating_sub(1);
            let (io1, io0) = chip.drives().unwrap_or((random.below(2) == 0, random.below(2) == 0));
            bench.fall(|u| {
                u.reset.next = false;
                u.request.next = wanted;
                u.address.next = FB::new((line * LINE) as u64);
                (u.in_1.next, u.in_0.next) = (io1, io0);
            });
            let u = &bench.block;
            assert!(wanted || !u.valid.val() || patience == 0);
            if u.valid.val() {
                assert_eq!(u.data.val().get() as u32, program[line * LINE + waits.len()]);
                waits.push(cycles);
                cycles = 0;
            }
            chip.cycle(!u.select.val(), u.run.val(), u.drive.val().then(|| u.out.val()));
            (cycles, rest) = (cycles + 1, rest - usize::from(!wanted));
            bench.rise();
        }
        let whole = waits.len() == LINE;
        if whole {
            times.push((follows && line != 0 && after_whole, waits));
        }
        after_whole = whole;
    }
    times
}

#[test]
fn words_come_as_they_stand_in_the_flash() {
    let times = run(&mut Bench::new(Block::new(FLASH_BASE, LINE), |u| &mut u.clock), 60);
    // The first waits for the flash to wake.
    for (follows, waits) in &times[1..] {
        // Behind one that was given up a cycle less: it is not selected any more.
        assert!(
            waits[0] == if *follows { FLASH_NEXT } else { FLASH_FIRST }
                || !follows && waits[0] == FLASH_FIRST - 1
        );
        assert!(waits[1..].iter().all(|wait| *wait == FLASH_EACH));
    }
}

/// Shown in docs/coverage.md.
pub const SITUATIONS: &[Situation<Block>] = &[
    then(
        "a line is asked for while the flash is not selected",
        |u| u.request.val() && u.select.val(),
        |u| !u.select.val(),
    ),
    now("the command goes out", |u| u.drive.val() && u.run.val()),
    now("a word comes", |u| u.valid.val()),
    then("the pads turn round", |u| u.drive.val() && !u.select.val(), |u| !u.drive.val() && !u.select.val()),
    then(
        "nobody wants the line any more",
        |u| u.request.val() && !u.valid.val() && u.run.val(),
        |u| !u.request.val(),
    ),
    then("a line is over, and nothing follows", |u| u.valid.val(), |u| !u.request.val()),
    then("the flash is let go", |u| !u.select.val(), |u| u.select.val()),
    now("a line goes on where the last one ended", |u| {
        u.request.val() && !u.select.val() && !u.run.val() && !u.drive.val()
    }),
];

#[test]
fn every_situation_occurs() {
    let mut bench = Bench::new(Block::new(FLASH_BASE, LINE), |u| &mut u.clock).covering(SITUATIONS);
    run(&mut bench, 60);
    bench.check_coverage();
}

#[test]
fn like_its_verilog() {
    let block = Block::new(FLASH_BASE, LINE);
    let Some(mut bench) = Bench::with_verilog("flash", block, |u| &mut u.clock) else { return };
    run(&mut bench, 60);
    println!("flash: {} cycles, 0 mismatches", bench.cycles());
}

#[test]
fn synthesises() {
    check_synthesis("flash", Block::new(FLASH_BASE, LINE));
}
