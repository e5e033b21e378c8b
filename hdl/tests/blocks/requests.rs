use crate::common::coverage::{Situation, now, then, told};
use crate::common::{Bench, check_synthesis, random};
use ironwarp_hdl::fb::FB;
use ironwarp_hdl::host::Requests;

/// A request: write, offset, data.
type Request = (bool, u32, u32);

fn is_index((write, offset, _): Request) -> bool {
    write && offset >= 0x1000 && offset & 0xfff == 0
}

/// Put requests with gaps, take words with stalls, and see that nothing is lost but what a newer doorbell replaces.
fn run(bench: &mut Bench<Requests>, seed: u64, count: usize, stall: usize) -> usize {
    let random = &mut random(seed);
    let offsets = [0u32, 0x90, 0x1000, 0x1000, 0x1000, 0x1004, 0x2000];
    let sent: Vec<Request> =
        (0..count).map(|n| (random.below(4) != 0, offsets[random.below(7)], n as u32)).collect();
    for pair in sent.windows(2) {
        let both = is_index(pair[0]) && is_index(pair[1]) && pair[0].1 != pair[1].1;
        bench.tell("index doorbells of two pages, one behind the other", both);
    }
    let (mut next, mut words, mut offered, mut quiet) = (0, Vec::new(), false, 0);
    bench.cycle(|u| u.reset.next = true, |_| ());
    while quiet < 20 {
        offered = (offered || random.below(4) != 0) && next < sent.len();
        let (write, offset, data) = sent.get(next).copied().unwrap_or_default();
        let take = random.below(8) >= stall;
        bench.fall(|u| {
            u.reset.next = false;
            u.valid.next = offered;
            u.write.next = write;
            u.offset.next = FB::new(offset.into());
            u.data.next = FB::new(data.into());
            u.take.next = take;
        });
        let u = &bench.block;
        if take && u.word_valid.val() {
            words.push(u.word.val().get() as u32);
        }
        if offered && u.ready.val() {
            next += 1;
            offered = false;
        }
        quiet = if u.empty.val() && next == sent.len() { quiet + 1 } else { 0 };
        bench.rise();
    }
    let seen: Vec<Request> = words.chunks(2).map(|w| (w[0] >> 31 != 0, w[0] & 0xff_ffff, w[1])).collect();
    let mut at = 0;
    for request in &seen {
        // What was left out in front of it is an index doorbell, and it is the newer one of the same page.
        while sent[at] != *request {
            assert!(is_index(sent[at]) && sent[at + 1].1 == sent[at].1 && is_index(sent[at + 1]), "{at}");
            at += 1;
        }
        at += 1;
    }
    assert_eq!(at, sent.len());
    sent.len() - seen.len()
}

fn bench() -> Bench<Requests> {
    Bench::new(Requests::new(12), |u| &mut u.clock)
}

#[test]
fn only_index_doorbells_that_a_newer_one_replaces_are_left_out() {
    let merged: usize = (0..40).map(|seed| run(&mut bench(), seed, 300, seed as usize % 8)).sum();
    assert!(merged > 100, "{merged} merged");
}

fn comes(u: &Requests) -> bool {
    u.valid.val() && u.ready.val()
}

/// Shown in docs/coverage.md.
pub const SITUATIONS: &[Situation<Requests>] = &[
    now("a read", |u| comes(u) && !u.write.val()),
    now("a write of a register", |u| comes(u) && u.write.val() && u.offset.val().get() < 0x1000),
    now("a doorbell that is no index", |u| comes(u) && u.write.val() && u.offset.val().get() == 0x1004),
    then(
        "two index doorbells of one page",
        |u| comes(u) && u.write.val() && u.offset.val().get() == 0x1000,
        |u| comes(u) && u.write.val() && u.offset.val().get() == 0x1000,
    ),
    told("index doorbells of two pages, one behind the other"),
    then(
        "a read between two doorbells of one page",
        |u| comes(u) && u.write.val() && u.offset.val().get() == 0x1000,
        |u| comes(u) && !u.write.val(),
    ),
    now("no room", |u| u.valid.val() && !u.ready.val()),
    now("a word is taken while a request comes", |u| comes(u) && u.word_valid.val() && u.take.val()),
    now("a request comes to an empty queue", |u| comes(u) && u.empty.val()),
    now("a word waits", |u| u.word_valid.val() && !u.take.val()),
];

#[test]
fn every_situation_occurs() {
    let mut bench = bench().covering(SITUATIONS);
    for seed in 0..16 {
        run(&mut bench, seed, 400, seed as usize % 8);
    }
    bench.check_coverage();
}

#[test]
fn like_its_verilog() {
    let Some(mut bench) = Bench::with_verilog("requests", Requests::new(12), |u| &mut u.clock) else {
        return;
    };
    run(&mut bench, 1, 8000, 6);
    assert!(bench.cycles() > 30_000);
    println!("requests: {} cycles, 0 mismatches", bench.cycles());
}

#[test]
fn synthesises() {
    check_synthesis("requests", Requests::new(12));
}
