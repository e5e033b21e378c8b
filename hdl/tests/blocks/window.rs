use crate::common::coverage::{Situation, now, then};
use crate::common::{Bench, Random, check_synthesis, random};
use ironwarp_hdl::fb::FB;
use ironwarp_hdl::seq::SeqWindow;
use ironwarp_proto::seq::Seq;
use proptest::prelude::*;

#[derive(Debug, Clone, Copy, PartialEq)]
struct Answer {
    distance: u32,
    before: bool,
    equal: bool,
    inside: bool,
}

fn golden(seq: u32, base: u32, size: u32) -> Answer {
    let distance = Seq(seq).diff(Seq(base)) as u32;
    // In numbers that do not wrap: the window, and the number where it falls at or behind the window's start.
    let (start, mut at) = (u64::from(base), u64::from(seq));
    if at < start {
        at += 1 << 32;
    }
    Answer {
        distance,
        before: Seq(seq).before(Seq(base)),
        equal: seq == base,
        inside: at < start + u64::from(size),
    }
}

/// Puts a question every cycle and returns the answers in order.
fn ask(bench: &mut Bench<SeqWindow>, questions: &[(u32, u32, u32)]) -> Vec<Answer> {
    let mut seen = Vec::new();
    for (seq, base, size) in questions.iter().copied().chain([(1, 2, 3); 2]) {
        let drive = |u: &mut SeqWindow| {
            u.seq.next = FB::new(seq.into());
            u.base.next = FB::new(base.into());
            u.size.next = FB::new(size.into());
        };
        seen.push(bench.cycle(drive, |u| {
            (u.distance.val().get() as u32, u.before.val(), u.equal.val(), u.inside.val())
        }));
    }
    // The distance after one cycle, the verdicts after two.
    let answer = |w: &[(u32, bool, bool, bool)]| Answer {
        distance: w[1].0,
        before: w[2].1,
        equal: w[2].2,
        inside: w[2].3,
    };
    seen.windows(3).map(answer).collect()
}

fn check(bench: &mut Bench<SeqWindow>, questions: &[(u32, u32, u32)]) {
    let answers = ask(bench, questions);
    assert_eq!(answers.len(), questions.len());
    for (answer, (seq, base, size)) in answers.into_iter().zip(questions) {
        assert_eq!(answer, golden(*seq, *base, *size), "seq {seq:#x}, base {base:#x}, size {size:#x}");
    }
}

/// Near 0, 2^31 or 2^32.
fn near(random: &mut Random) -> u32 {
    [0, 1 << 31, 1 << 16, random.word()][random.below(4)].wrapping_add(random.below(9) as u32).wrapping_sub(4)
}

fn bench() -> Bench<SeqWindow> {
    Bench::new(SeqWindow::default(), |u| &mut u.clock)
}

#[test]
fn edges_of_the_number_circle() {
    let points: Vec<u32> = [0u32, 1 << 31, 5]
        .iter()
        .flat_map(|p| (0..5).map(move |i| p.wrapping_add(i).wrapping_sub(2)))
        .collect();
    let sizes = [0, 1, 2, 5, 0x7fff_ffff, 0x8000_0000, 0x8000_0001, u32::MAX];
    let mut questions = Vec::new();
    for seq in &points {
        for base in &points {
            questions.extend(sizes.map(|size| (*seq, *base, size)));
        }
    }
    check(&mut bench(), &questions);
}

#[test]
fn a_known_window_across_the_wrap() {
    let answers =
        ask(&mut bench(), &[(3, 0xffff_fffe, 6), (4, 0xffff_fffe, 6), (0xffff_fffd, 0xffff_fffe, 6)]);
    assert_eq!(answers[0], Answer { distance: 5, before: false, equal: false, inside: true });
    assert_eq!(answers[1], Answer { distance: 6, before: false, equal: false, inside: false });
    assert_eq!(answers[2], Answer { distance: u32::MAX, before: true, equal: false, inside: false });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn like_the_golden_function(
        any in prop::collection::vec(any::<(u32, u32, u32)>(), 1..50),
        seed: u64,
    ) {
        let mut random = random(seed);
        let mut questions = any;
        for _ in 0..50 {
            questions.push((near(&mut random), near(&mut random), near(&mut random)));
        }
        check(&mut bench(), &questions);
    }
}

/// Shown in docs/coverage.md.
pub const SITUATIONS: &[Situation<SeqWindow>] = &[
    then("before the window", |_| true, |u| u.before.val()),
    now("at its start", |u| u.equal.val() && u.inside.val()),
    now("at the start of a window of nothing", |u| u.equal.val() && !u.inside.val()),
    now("inside", |u| u.inside.val() && !u.equal.val()),
    now("behind it", |u| !u.inside.val() && !u.before.val() && !u.equal.val()),
    now("inside, and before its start by sequence order", |u| u.inside.val() && u.before.val()),
    now("half the circle away", |u| u.distance.val().get() == 1 << 31),
    now("across zero", |u| u.seq.val().get() < 1 << 16 && u.base.val().get() > 0xffff_0000),
    now("across the middle", |u| u.seq.val().get() >> 31 == 1 && u.base.val().get() >> 31 == 0),
];

#[test]
fn every_situation_occurs() {
    let mut bench = bench().covering(SITUATIONS);
    let mut r = random(2);
    let questions: Vec<_> = (0..5000).map(|_| (near(&mut r), near(&mut r), near(&mut r))).collect();
    check(&mut bench, &questions);
    bench.check_coverage();
}

#[test]
fn like_its_verilog() {
    let Some(mut bench) = Bench::with_verilog("window", SeqWindow::default(), |u| &mut u.clock) else {
        return;
    };
    let mut random = random(2);
    let questions: Vec<_> =
        (0..30_000).map(|_| (near(&mut random), near(&mut random), near(&mut random))).collect();
    check(&mut bench, &questions);
    println!("window: {} cycles, 0 mismatches", bench.cycles());
}

#[test]
fn synthesises() {
    check_synthesis("window", SeqWindow::default());
}
