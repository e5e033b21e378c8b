use crate::common::coverage::{Situation, now};
use crate::common::{Bench, Packet, Sink, Source, check_synthesis, random};
use ironwarp_hdl::rx::Arbiter;
use ironwarp_hdl::stream::{StreamIn, StreamOut};
use proptest::prelude::*;

/// Packets of both sides; the first byte tells which side and number.
fn packets(seed: u64, side: u8, count: usize) -> Vec<Packet> {
    let mut r = random(seed);
    (0..count)
        .map(|i| {
            let mut bytes = vec![side, i as u8];
            bytes.extend((0..r.below(30)).map(|_| r.word() as u8));
            Packet { bytes, err: r.below(5) == 0 }
        })
        .collect()
}

/// Sends both; returns what came out.
fn run(
    bench: &mut Bench<Arbiter>,
    enable: bool,
    counts: (usize, usize),
    pace: usize,
    seed: u64,
) -> Vec<Packet> {
    let sent = [packets(seed, 0, counts.0), packets(!seed, 1, counts.1)];
    let (mut wire, mut inject, mut sink) = (Source::default(), Source::default(), Sink::default());
    sent[0].iter().for_each(|packet| wire.push(packet, 0, 0xee, 0));
    sent[1].iter().for_each(|packet| inject.push(packet, 0, 0xee, 0));
    let mut r = random(seed ^ 5);
    bench.cycle(|u| u.reset.next = true, |_| ());
    let begin = bench.cycles();
    while !wire.is_empty() || !inject.is_empty() {
        assert!(bench.cycles() - begin < 100_000, "stuck");
        let (a, b, ready) = (r.below(pace) == 0, r.below(pace) == 0, r.below(pace) == 0);
        bench.fall(|u| {
            u.reset.next = false;
            u.enable.next = enable;
            wire.drive(&mut u.wire_in, a);
            inject.drive(&mut u.inject, b);
            u.downstream.ready.next = ready;
        });
        let u = &bench.block;
        let passed = [wire.look(&u.wire_in), inject.look(&u.inject)];
        assert!(!(passed[0] && passed[1]), "one at a time");
        let begins = u.downstream.first.val();
        if sink.look(&u.downstream) {
            assert!(passed[usize::from(u.injected.val())]);
            if begins {
                assert_eq!(u.downstream.data.val().get() as u8, u8::from(u.injected.val()));
            }
        } else {
            assert_eq!(passed, [passed[0] && !enable, false], "a word is lost");
        }
        bench.rise();
    }
    for side in [0u8, 1] {
        let got: Vec<_> = sink.packets.iter().filter(|packet| packet.bytes[0] == side).collect();
        if side == 1 || enable {
            assert!(got.into_iter().eq(&sent[usize::from(side)]), "side {side}");
        } else {
            assert!(got.is_empty());
        }
    }
    sink.packets
}

fn bench() -> Bench<Arbiter> {
    Bench::new(Arbiter::default(), |u| &mut u.clock)
}

#[test]
fn the_sides_take_turns() {
    let out = run(&mut bench(), true, (20, 20), 1, 3);
    let sides: Vec<u8> = out.iter().map(|packet| packet.bytes[0]).collect();
    assert!(sides.windows(2).all(|pair| pair[0] != pair[1]), "{sides:?}");
}

#[test]
fn frames_from_the_wire_vanish_while_it_is_off() {
    assert_eq!(run(&mut bench(), false, (20, 10), 2, 4).len(), 10);
}

#[test]
fn the_rest_of_a_frame_that_a_reset_cuts_is_forgotten() {
    let mut bench = bench();
    let mut wire = Source::default();
    let packet = |byte| Packet { bytes: vec![byte; 40], err: false };
    [1, 2].iter().for_each(|byte| wire.push(&packet(*byte), 0, 0, 0));
    let mut words = Vec::new();
    for cycle in 0..60 {
        bench.fall(|u| {
            u.reset.next = cycle == 5;
            u.enable.next = true;
            wire.drive(&mut u.wire_in, true);
            u.downstream.ready.next = true;
        });
        let u = &bench.block;
        wire.look(&u.wire_in);
        if u.downstream.valid.val() {
            words.push(u.downstream.data.val().get() as u32);
        }
        bench.rise();
    }
    // The word of the cycle with the reset passes as well.
    assert_eq!(words, [vec![0x0101_0101; 5], vec![0x0202_0202; 10]].concat());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn all_frames_pass_whole_and_in_order(
        seed: u64, counts in (0usize..20, 0usize..20), pace in 1usize..5, enable: bool,
    ) {
        run(&mut bench(), enable, counts, pace, seed);
    }
}

fn passes(port: &StreamOut) -> bool {
    port.valid.val() && port.ready.val()
}

/// Shown in docs/coverage.md.
pub const SITUATIONS: &[Situation<Arbiter>] = &[
    now("a frame of the wire waits for an injected one", |u| {
        u.wire_in.valid.val() && !u.wire_in.ready.val() && u.inject.valid.val() && u.inject.ready.val()
    }),
    now("an injected frame waits for one of the wire", |u| {
        u.inject.valid.val() && !u.inject.ready.val() && u.wire_in.valid.val() && u.wire_in.ready.val()
    }),
    now("both begin in one cycle", |u| {
        let begins = |port: &StreamIn| port.valid.val() && port.first.val();
        begins(&u.wire_in) && begins(&u.inject)
    }),
    now("an injected frame waits as one of the wire ends", |u| {
        passes(&u.downstream) && u.downstream.last.val() && !u.injected.val() && u.inject.valid.val()
    }),
    now("a frame of the wire waits as an injected one ends", |u| {
        passes(&u.downstream) && u.downstream.last.val() && u.injected.val() && u.wire_in.valid.val()
    }),
    now("a frame of one word", |u| {
        passes(&u.downstream) && u.downstream.first.val() && u.downstream.last.val()
    }),
    now("a bad frame", |u| passes(&u.downstream) && u.downstream.err.val()),
    now("the receiver stalls within a frame", |u| {
        u.downstream.valid.val() && !u.downstream.ready.val() && !u.downstream.first.val()
    }),
    now("a frame vanishes: the wire is off", |u| {
        u.wire_in.valid.val() && u.wire_in.ready.val() && !u.downstream.valid.val() && !u.enable.val()
    }),
];

#[test]
fn every_situation_occurs() {
    let mut bench = bench().covering(SITUATIONS);
    for seed in 0..12 {
        run(&mut bench, seed % 3 != 0, (20, 20), 1 + seed as usize % 3, seed);
    }
    bench.check_coverage();
}

#[test]
fn like_its_verilog() {
    let Some(mut bench) = Bench::with_verilog("arbiter", Arbiter::default(), |u| &mut u.clock) else {
        return;
    };
    let mut seed = 0;
    while bench.cycles() < 30_000 {
        seed += 1;
        run(&mut bench, seed % 3 != 0, (20, 20), 1 + seed as usize % 3, seed);
    }
    println!("arbiter: {} cycles, 0 mismatches", bench.cycles());
}

#[test]
fn synthesises() {
    check_synthesis("arbiter", Arbiter::default());
}
