use crate::common::coverage::{Situation, now, then};
use crate::common::{Bench, Packet, Random, Sink, Source, check_synthesis, random};
use ironwarp_hdl::fb::FB;
use ironwarp_hdl::mpa::Markers;
use ironwarp_hdl::stream::StreamOut;
use ironwarp_proto::mpa::fpdu;
use ironwarp_proto::mpa::marker::{self, Marker, MarkerPhase};
use proptest::prelude::*;

/// The side value of the source: the words to the next marker, for the first word of a packet.
fn words_to_next(phase: MarkerPhase) -> u32 {
    phase.to_next() / 4
}

/// Sends packets, each with the phase it begins at; for each the words and whether they were called markers.
fn run(
    bench: &mut Bench<Markers>,
    active: bool,
    packets: &[(Packet, MarkerPhase)],
    mut willing: impl FnMut() -> bool,
    mut ready: impl FnMut() -> bool,
) -> Vec<Vec<(u32, bool)>> {
    let (mut source, mut sink) = (Source::default(), Sink::default());
    for (packet, phase) in packets {
        source.push(packet, 0, 0xee, words_to_next(*phase));
    }
    let (mut all, mut current) = (Vec::new(), Vec::new());
    while !source.is_empty() {
        let (word, taken) = (willing(), ready());
        bench.fall(|u| {
            u.active.next = active;
            u.to_next.next = FB::cut(source.drive(&mut u.upstream, word).into());
            u.downstream.ready.next = taken;
        });
        let u = &bench.block;
        assert_eq!(source.look(&u.upstream), sink.look(&u.downstream), "a word in is a word out");
        if u.downstream.valid.val() && u.downstream.ready.val() {
            current.push((u.downstream.data.val().get() as u32, u.marker.val()));
            if u.downstream.last.val() {
                all.push(std::mem::take(&mut current));
            }
        }
        bench.rise();
    }
    assert!(sink.packets.iter().eq(packets.iter().map(|(packet, _)| packet)), "the words are changed");
    all
}

/// What the golden model calls markers: every word at whose place one is due.
fn golden(phase: MarkerPhase, words: usize) -> Vec<bool> {
    (0..words).map(|i| phase.advance(4 * i as u32).to_next() == 0).collect()
}

fn check(bench: &mut Bench<Markers>, packets: &[(Packet, MarkerPhase)], pace: (usize, usize), seed: u64) {
    let (mut a, mut b) = (random(seed), random(!seed));
    let seen = run(bench, true, packets, || a.below(pace.0) == 0, || b.below(pace.1) == 0);
    assert_eq!(seen.len(), packets.len());
    for (words, (_, phase)) in seen.iter().zip(packets) {
        let marked: Vec<bool> = words.iter().map(|(_, marker)| *marker).collect();
        assert_eq!(marked, golden(*phase, words.len()), "{phase:?}");
    }
}

fn bench() -> Bench<Markers> {
    Bench::new(Markers::default(), |u| &mut u.clock)
}

fn some_packet(random: &mut Random, most: usize) -> (Packet, MarkerPhase) {
    let bytes = (0..1 + random.below(most)).map(|_| random.word() as u8).collect();
    (Packet { bytes, err: random.below(4) == 0 }, MarkerPhase::at(4 * u64::from(random.word() % 128)))
}

#[test]
fn every_phase() {
    let packets: Vec<_> = (0..128)
        .map(|words| (Packet { bytes: vec![words as u8; 130 * 4], err: false }, MarkerPhase::at(words * 4)))
        .collect();
    check(&mut bench(), &packets, (1, 1), 0);
}

#[test]
fn none_where_there_are_none() {
    let packets = vec![(Packet { bytes: vec![7; 1460], err: false }, MarkerPhase::START); 3];
    let seen = run(&mut bench(), false, &packets, || true, || true);
    assert!(seen.iter().flatten().all(|(_, marker)| !marker));
}

/// FPDUs of many lengths from several phases on, with markers from the golden model: what is left are their own bytes,
/// and the markers point to their beginnings.
#[test]
fn fpdus_without_their_markers() {
    let mut bench = bench();
    for first in [0, 4, 100, 252, 504, 508] {
        let (mut phase, mut bytes, mut plain, mut starts) = (MarkerPhase::at(first), vec![], vec![], vec![]);
        let begin = phase;
        for length in [0, 1, 2, 3, 14, 18, 490, 500, 504, 505, 506, 507, 508, 512, 1500] {
            let ulpdu: Vec<u8> = (0..length).map(|i| (i * 7) as u8).collect();
            // A marker due here comes before the FPDU's own first byte.
            starts.push(bytes.len() + if phase.to_next() == 0 { 4 } else { 0 });
            // Without CRC, which would differ: it covers markers.
            phase = marker::emit(&[&ulpdu], false, phase, &mut bytes).unwrap();
            fpdu::emit(&[&ulpdu], false, &mut plain).unwrap();
        }
        let packet = Packet { bytes, err: false };
        let seen = run(&mut bench, true, &[(packet, begin)], || true, || true).remove(0);
        let kept: Vec<u8> =
            seen.iter().filter(|(_, m)| !m).flat_map(|(word, _)| word.to_le_bytes()).collect();
        assert!(kept == plain, "beginning at {first}");
        let markers = seen.iter().enumerate().filter(|(_, (_, is_marker))| *is_marker);
        for (at, (word, _)) in markers.map(|(i, word)| (4 * i, word)) {
            let back = usize::from(Marker::from_bytes(word.to_le_bytes()).fpdu_ptr);
            let start = if back == 0 { at + 4 } else { at - back };
            assert!(starts.contains(&start), "marker at {at}, {back} back");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_packets_at_any_pace(seed: u64, count in 1usize..6, pace in (1usize..4, 1usize..4)) {
        let mut r = random(seed);
        let packets: Vec<_> = (0..count).map(|_| some_packet(&mut r, 1500)).collect();
        check(&mut bench(), &packets, pace, seed);
    }
}

fn passes(port: &StreamOut) -> bool {
    port.valid.val() && port.ready.val()
}

/// Shown in docs/coverage.md.
pub const SITUATIONS: &[Situation<Markers>] = &[
    now("a marker", |u| passes(&u.downstream) && u.marker.val()),
    now("a marker is the first word", |u| {
        passes(&u.downstream) && u.marker.val() && u.downstream.first.val()
    }),
    now("a marker is the last word", |u| passes(&u.downstream) && u.marker.val() && u.downstream.last.val()),
    now("a marker waits", |u| u.downstream.valid.val() && u.marker.val() && !u.downstream.ready.val()),
    now("the first one is 508 bytes away", |u| {
        passes(&u.downstream) && u.downstream.first.val() && u.to_next.val().get() == 127
    }),
    then(
        "a packet directly behind one that ended with a marker",
        |u| passes(&u.downstream) && u.downstream.last.val() && u.marker.val(),
        |u| passes(&u.downstream) && u.downstream.first.val(),
    ),
    now("a packet that was cut short is bad", |u| passes(&u.downstream) && u.downstream.err.val()),
];

#[test]
fn every_situation_occurs() {
    let mut bench = bench().covering(SITUATIONS);
    let mut r = random(4);
    for seed in 0..200 {
        let packets: Vec<_> = (0..10).map(|_| some_packet(&mut r, 700)).collect();
        check(&mut bench, &packets, (1 + r.below(3), 1 + r.below(3)), seed);
    }
    bench.check_coverage();
}

#[test]
fn like_its_verilog() {
    let Some(mut bench) = Bench::with_verilog("markers", Markers::default(), |u| &mut u.clock) else {
        return;
    };
    let mut r = random(4);
    while bench.cycles() < 30_000 {
        let packets: Vec<_> = (0..10).map(|_| some_packet(&mut r, 700)).collect();
        let pace = (1 + r.below(3), 1 + r.below(3));
        check(&mut bench, &packets, pace, u64::from(r.word()));
    }
    println!("markers: {} cycles, 0 mismatches", bench.cycles());
}

#[test]
fn synthesises() {
    check_synthesis("markers", Markers::default());
}
