use crate::common::coverage::{Situation, now, then};
use crate::common::{Bench, Packet, Random, Sink, Source, check_synthesis, random};
use ironwarp_hdl::align::Rotator;
use ironwarp_hdl::fb::FB;
use proptest::prelude::*;

/// Sends the packets, each with its offset, until all have come out; returns the cycles it took.
fn run(
    bench: &mut Bench<Rotator>,
    packets: &[(Packet, usize)],
    mut willing: impl FnMut() -> bool,
    mut ready: impl FnMut() -> bool,
) -> u64 {
    let (mut source, mut sink) = (Source::default(), Sink::default());
    for (packet, offset) in packets {
        source.push(packet, *offset, 0xee, *offset as u32);
    }
    let start = bench.cycles();
    let limit = start + 10_000 + 100 * packets.iter().map(|(p, _)| p.bytes.len() as u64).sum::<u64>();
    while sink.packets.len() < packets.len() {
        assert!(bench.cycles() < limit, "stuck after {} packets", sink.packets.len());
        let (word, taken) = (willing(), ready());
        bench.fall(|u| {
            u.offset.next = FB::cut(source.drive(&mut u.upstream, word).into());
            u.downstream.ready.next = taken;
        });
        source.look(&bench.block.upstream);
        sink.look(&bench.block.downstream);
        bench.rise();
    }
    assert!(source.is_empty());
    for (i, (got, (sent, offset))) in sink.packets.iter().zip(packets).enumerate() {
        assert_eq!(got, sent, "packet {i}, offset {offset}");
    }
    bench.cycles() - start
}

fn bench() -> Bench<Rotator> {
    Bench::new(Rotator::default(), |u| &mut u.clock)
}

fn packet(length: usize) -> Packet {
    Packet { bytes: (1..=length).map(|i| i as u8).collect(), err: length.is_multiple_of(3) }
}

#[test]
fn every_offset_and_length() {
    let all: Vec<_> =
        (1..=14).flat_map(|length| (0..4).map(move |offset| (packet(length), offset))).collect();
    run(&mut bench(), &all, || true, || true);
    // Each packet type behind each other, and a stall at each word.
    for stalled in 2..6 {
        let (mut a, mut b) = (0, 0);
        let every = |n: &mut u32, k| {
            *n += 1;
            !n.is_multiple_of(k)
        };
        let mut twice = all.clone();
        twice.extend(all.iter().rev().cloned());
        run(&mut bench(), &twice, || every(&mut a, stalled), || every(&mut b, 7 - stalled));
    }
}

#[test]
fn one_word_a_cycle_across_packets() {
    // 20 packets of 16 bytes that take 5 words up and 4 down, then 20 of 13 that take 4 and 4.
    for (length, offset, words) in [(16, 1, 5), (16, 0, 4), (13, 3, 4), (13, 0, 4), (1, 3, 1)] {
        let packets = vec![(packet(length), offset); 20];
        let cycles = run(&mut bench(), &packets, || true, || true);
        assert!(cycles <= 20 * words + 2, "{length} bytes at {offset}: {cycles} cycles");
    }
}

#[test]
fn nothing_moves_while_nobody_takes() {
    let mut bench = bench();
    let mut source = Source::default();
    source.push(&packet(40), 2, 0, 2);
    let mut passed = 0;
    for _ in 0..20 {
        bench.fall(|u| {
            u.offset.next = FB::cut(source.drive(&mut u.upstream, true).into());
            u.downstream.ready.next = false;
        });
        passed += u32::from(source.look(&bench.block.upstream));
        bench.rise();
    }
    // One word held, one in the output register.
    assert_eq!(passed, 2);
}

fn random_packets(random: &mut Random, count: usize) -> Vec<(Packet, usize)> {
    (0..count)
        .map(|_| {
            let length = 1 + if random.below(3) == 0 { random.below(60) } else { random.below(9) };
            let bytes = (0..length).map(|_| random.word() as u8).collect();
            (Packet { bytes, err: random.below(4) == 0 }, random.below(4))
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_packets_at_any_pace(
        packets in prop::collection::vec(
            (prop::collection::vec(any::<u8>(), 1..40), any::<bool>(), 0usize..4), 1..12),
        pace in (1usize..5, 1usize..5),
        seed: u64,
    ) {
        let packets: Vec<_> =
            packets.into_iter().map(|(bytes, err, offset)| (Packet { bytes, err }, offset)).collect();
        let (mut a, mut b) = (random(seed), random(!seed));
        run(&mut bench(), &packets, || a.below(pace.0) == 0, || b.below(pace.1) == 0);
    }
}

fn begins(u: &Rotator) -> bool {
    u.upstream.valid.val() && u.upstream.ready.val() && u.upstream.first.val()
}

/// Shown in docs/coverage.md.
pub const SITUATIONS: &[Situation<Rotator>] = &[
    now("up by no byte", |u| begins(u) && u.offset.val().get() == 0),
    now("up by one byte", |u| begins(u) && u.offset.val().get() == 1),
    now("up by two bytes", |u| begins(u) && u.offset.val().get() == 2),
    now("up by three bytes", |u| begins(u) && u.offset.val().get() == 3),
    now("a packet of one word", |u| begins(u) && u.upstream.last.val()),
    then(
        "a packet directly behind another",
        |u| u.upstream.valid.val() && u.upstream.last.val() && u.upstream.ready.val(),
        begins,
    ),
    now("a bad packet", |u| u.downstream.valid.val() && u.downstream.err.val()),
    now("the receiver stalls", |u| u.downstream.valid.val() && !u.downstream.ready.val()),
    now("nothing comes within a packet", |u| !u.upstream.valid.val() && u.upstream.ready.val()),
];

#[test]
fn every_situation_occurs() {
    let mut bench = bench().covering(SITUATIONS);
    let mut r = random(8);
    for pace in 1..6 {
        let packets = random_packets(&mut r, 200);
        let (mut a, mut b) = (random(pace), random(!pace));
        let pace = pace as usize;
        run(&mut bench, &packets, || a.below(pace) == 0, || b.below(pace) == 0);
        run(&mut bench, &packets, || true, || b.below(pace) == 0);
    }
    bench.check_coverage();
}

#[test]
fn like_its_verilog() {
    let Some(mut bench) = Bench::with_verilog("rotator", Rotator::default(), |u| &mut u.clock) else {
        return;
    };
    let mut seed = 0;
    while bench.cycles() < 30_000 {
        seed += 1;
        let mut r = random(seed);
        let packets = random_packets(&mut r, 100);
        let (gap, stall) = (1 + r.below(3), 1 + r.below(3));
        let (mut a, mut b) = (random(seed + 1_000), random(seed + 2_000));
        run(&mut bench, &packets, || a.below(gap) == 0, || b.below(stall) == 0);
    }
    println!("rotator: {} cycles, 0 mismatches", bench.cycles());
}

#[test]
fn synthesises() {
    check_synthesis("rotator", Rotator::default());
}
