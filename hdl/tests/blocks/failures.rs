//! The set of tags that failed.

use crate::common::coverage::{Situation, now, then};
use crate::common::{Bench, check_synthesis, random};
use ironwarp_hdl::dma::Failures;
use ironwarp_hdl::fb::FB;
use std::collections::BTreeSet;

const TAGS: usize = 1 << 4;
type Small = Failures<4>;

/// Put tags and take what is told, at random; returns the number told.
fn run(bench: &mut Bench<Small>, seed: u64, cycles: usize) -> usize {
    let random = &mut random(seed);
    bench.cycle(|u| u.reset.next = true, |_| ());
    let (mut set, mut clearing, mut told, mut wiped) = (BTreeSet::new(), None, 0, 0);
    // Bursts of failures, and pauses in which all are told.
    for cycle in 0..cycles + 8 * TAGS {
        let (fails, takes) =
            (cycle < cycles && cycle % 200 < 60 && random.below(3) == 0, random.below(4) == 0);
        let tag = random.below(TAGS);
        bench.fall(|u| {
            u.reset.next = false;
            u.tag.next = FB::new(tag as u64);
            u.take.next = takes || cycle >= cycles;
            u.put.next = fails && u.ready.val();
        });
        let u = &bench.block;
        let which = u.which.val().index();
        wiped += usize::from(!u.ready.val());
        if u.found.val() {
            assert!(set.contains(&which), "{which} in cycle {cycle}");
        } else if u.settled.val() {
            assert!(set.is_empty(), "{set:?} not told in cycle {cycle}");
        }
        let put = u.put.val();
        // Who is just being told has been told of this too.
        if put && clearing != Some(tag) {
            set.insert(tag);
        }
        clearing = clearing.filter(|_| put);
        if u.found.val() && u.take.val() {
            set.remove(&which);
            clearing = Some(which);
            told += 1;
        }
        bench.rise();
    }
    assert_eq!(wiped, TAGS + 1);
    assert!(set.is_empty(), "never told: {set:?}");
    assert!(bench.block.settled.val() && !bench.block.found.val());
    told
}

#[test]
fn every_tag_that_failed_is_told() {
    for form in [Small::default, Small::few] {
        let bench = || Bench::new(form(), |u: &mut Small| &mut u.clock);
        let told: usize = (0..20).map(|seed| run(&mut bench(), seed, 2000)).sum();
        assert!(told > 1000, "{told} told");
    }
}

/// Shown in docs/coverage.md.
pub const SITUATIONS: &[Situation<Small>] = &[
    now("a tag fails", |u| u.put.val()),
    now("a tag fails while another is told", |u| {
        u.put.val() && u.found.val() && u.tag.val() != u.which.val()
    }),
    now("the tag fails that is told", |u| u.put.val() && u.found.val() && u.tag.val() == u.which.val()),
    now("it fails again in the cycle in which it is taken", |u| {
        u.put.val() && u.found.val() && u.take.val() && u.tag.val() == u.which.val()
    }),
    then("it fails again in the cycle after", |u| u.found.val() && u.take.val(), |u| u.put.val()),
    now("one is told, and nobody takes it", |u| u.found.val() && !u.take.val()),
    now("all are told", |u| u.settled.val() && !u.found.val() && u.ready.val()),
    now("the set is wiped after a reset", |u| !u.ready.val() && !u.reset.val()),
];

#[test]
fn every_situation_occurs() {
    for bench in [Small::default(), Small::few()].map(|block| Bench::new(block, |u| &mut u.clock)) {
        let mut bench = bench.covering(SITUATIONS);
        for seed in 0..8 {
            run(&mut bench, seed, 2000);
        }
        bench.check_coverage();
    }
}

#[test]
fn like_its_verilog() {
    for (name, block) in [("failures", Small::default()), ("failures-few", Small::few())] {
        let Some(mut bench) = Bench::with_verilog(name, block, |u| &mut u.clock) else { return };
        run(&mut bench, 100, 30_000);
        println!("{name}: {} cycles, 0 mismatches", bench.cycles());
    }
}

#[test]
fn synthesises() {
    check_synthesis("failures", Failures::<8>::default());
    check_synthesis("failures-few", Failures::<8>::few());
}
