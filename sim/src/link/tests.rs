use super::*;
use proptest::prelude::*;
// The prelude has a `Rng` of another version.
use rand::Rng as _;

fn link(config: LinkConfig, seed: u64) -> Link {
    Link::new(config, seed).unwrap()
}

/// Send frames numbered from 0, one every `gap` ns, releasing held ones in time; returns the numbers in arrival order.
fn run(config: LinkConfig, seed: u64, frames: u32, gap: Nanos) -> (Vec<Delivery>, LinkStats) {
    let mut link = link(config, seed);
    let mut out = Vec::new();
    let mut now = 0;
    for n in 0..frames {
        while let Some(at) = link.next_release().filter(|at| *at <= now) {
            link.release(at, &mut out);
        }
        let mut frame = vec![0; 64];
        frame[..4].copy_from_slice(&n.to_be_bytes());
        link.send(now, frame, &mut out);
        now = (now + gap).max(link.free_at());
    }
    while let Some(at) = link.next_release() {
        link.release(at, &mut out);
    }
    out.sort_by_key(|delivery| delivery.at);
    (out, link.stats())
}

fn number(delivery: &Delivery) -> u32 {
    u32::from_be_bytes(delivery.frame[..4].try_into().unwrap())
}

/// Five standard deviations of a binomial distribution.
fn close(count: u64, of: u64, probability: f64) -> bool {
    let mean = of as f64 * probability;
    (count as f64 - mean).abs() < 5.0 * (mean * (1.0 - probability)).sqrt()
}

#[test]
fn slot_on_the_wire_counts_padding_fcs_preamble_and_gap() {
    assert_eq!(wire_time_bits(0), 84 * 8);
    assert_eq!(wire_time_bits(60), 84 * 8);
    assert_eq!(wire_time_bits(1514), 1538 * 8);
    assert_eq!(wire_time_bits(usize::MAX), u64::MAX);
}

#[test]
fn rate_is_exact_in_the_long_run() {
    for rate in [1_000_000_000, 10_000_000_000, 25_781_250_000, 999_999_937, 7_000_003] {
        let mut link = link(LinkConfig { rate_bps: Some(rate), ..LinkConfig::default() }, 1);
        let mut rng = SmallRng::seed_from_u64(2);
        let mut bits = 0u128;
        for _ in 0..1_000_000 {
            let len = rng.random_range(14..9022);
            bits += u128::from(wire_time_bits(len));
            // A sender that is always ready asks just when the wire is free.
            let now = link.free_at();
            assert_eq!(link.occupy(now, len), link.free_at() + 1_000);
        }
        assert_eq!(u128::from(link.free_at()), bits * SECOND / u128::from(rate), "rate {rate}");
        assert_eq!(link.stats().busy_ns, link.free_at());
    }
}

#[test]
fn an_idle_wire_sends_at_once() {
    let config = LinkConfig { rate_bps: Some(1_000_000_000), delay: 5, ..LinkConfig::default() };
    let mut link = link(config, 1);
    assert_eq!(link.occupy(0, 60), 672 + 5);
    assert_eq!(link.occupy(100, 60), 2 * 672 + 5);
    assert_eq!(link.occupy(10_000, 60), 10_672 + 5);
    assert_eq!(link.stats().busy_ns, 3 * 672);
}

#[test]
fn a_link_without_a_rate_takes_no_time() {
    let mut link = Link::perfect(1);
    assert_eq!((link.occupy(7, 9000), link.free_at(), link.stats().busy_ns), (1_007, 7, 0));
}

#[test]
fn faults_come_as_often_as_asked() {
    const N: u32 = 100_000;
    let of = u64::from(N);
    for (seed, p) in [(1, 0.001), (2, 0.05), (3, 0.5)] {
        let perfect = LinkConfig::default();
        let (out, stats) = run(LinkConfig { loss: p, ..perfect }, seed, N, 10);
        assert!(close(stats.lost, of, p), "{stats:?}");
        assert_eq!(out.len() as u64, of - stats.lost);

        let (out, stats) = run(LinkConfig { duplicate: p, ..perfect }, seed, N, 10);
        assert!(close(stats.duplicated, of, p), "{stats:?}");
        assert_eq!(out.len() as u64, of + stats.duplicated);

        let (out, stats) = run(LinkConfig { corrupt: p, ..perfect }, seed, N, 10);
        assert!(close(stats.corrupted, of, p), "{stats:?}");
        let wrong = out.iter().zip(0u32..).map(|(delivery, n)| {
            let (head, rest) = delivery.frame.split_at(4);
            let head = u32::from_be_bytes(head.try_into().unwrap()) ^ n;
            head.count_ones() + rest.iter().map(|byte| byte.count_ones()).sum::<u32>()
        });
        let wrong: Vec<_> = wrong.collect();
        assert!(wrong.iter().all(|bits| *bits <= 1), "never more than one bit");
        assert_eq!(wrong.iter().sum::<u32>() as u64, stats.corrupted);

        let (out, stats) = run(LinkConfig { reorder: p, ..perfect }, seed, N, 10);
        assert!(close(stats.reordered, of, p), "{stats:?}");
        let late = out.windows(2).filter(|pair| number(&pair[1]) < number(&pair[0])).count() as u64;
        assert!(late > stats.reordered / 4 && late <= stats.reordered, "{late} of {stats:?}");
    }
}

#[test]
fn held_frames_are_overtaken_by_no_more_than_asked() {
    let config = LinkConfig { reorder: 0.1, reorder_by: 3, ..LinkConfig::default() };
    let (out, stats) = run(config, 5, 10_000, 1);
    let mut seen = [0u64; 4];
    for (place, delivery) in out.iter().enumerate() {
        let later = out[..place].iter().rev().take(50).filter(|other| number(other) > number(delivery));
        // Frames that are held themselves overtake only when they go on, together with the one that frees them.
        let later = later.count();
        assert!(later <= 3 + 3, "{later}");
        if let Some(count) = seen.get_mut(later) {
            *count += 1;
        }
    }
    assert!(seen[1..].iter().all(|count| *count > stats.reordered / 5), "{seen:?}");
}

#[test]
fn a_held_frame_goes_on_without_others() {
    let config = LinkConfig { reorder: 1.0, delay: 100, reorder_delay: 50, ..LinkConfig::default() };
    let mut link = link(config, 1);
    let mut out = Vec::new();
    assert!(link.send(1_000, vec![1; 60], &mut out).reordered);
    assert!(out.is_empty());
    assert_eq!(link.next_release(), Some(1_150));
    link.release(1_149, &mut out);
    assert!(out.is_empty());
    link.release(1_150, &mut out);
    assert_eq!(out, [Delivery { at: 1_150, frame: vec![1; 60] }]);
    assert_eq!(link.next_release(), None);
}

#[test]
fn a_frame_both_duplicated_and_reordered_arrives_in_time_and_late() {
    let config = LinkConfig { reorder: 1.0, duplicate: 1.0, delay: 0, ..LinkConfig::default() };
    let (out, _) = run(config, 1, 1, 1);
    assert_eq!(out.iter().map(|delivery| delivery.at).collect::<Vec<_>>(), [0, 10_000]);
}

#[test]
fn settings_without_sense_are_refused() {
    let good = LinkConfig::default();
    assert_eq!(good.validate(), Ok(()));
    for value in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
        let bad = [
            LinkConfig { loss: value, ..good },
            LinkConfig { duplicate: value, ..good },
            LinkConfig { reorder: value, ..good },
            LinkConfig { corrupt: value, ..good },
        ];
        for (config, field) in bad.into_iter().zip(["loss", "duplicate", "reorder", "corrupt"]) {
            let error = config.validate().unwrap_err().to_string();
            assert!(error.starts_with(field) && error.contains("0.0 to 1.0"), "{error}");
            assert!(Link::new(config, 1).is_err() && Link::perfect(1).set_config(config).is_err());
        }
    }
    assert_eq!(LinkConfig { rate_bps: Some(0), ..good }.validate(), Err(LinkError::ZeroRate));
    let bad = LinkConfig { reorder: 0.5, reorder_by: 0, ..good };
    assert_eq!(bad.validate(), Err(LinkError::ReorderZero { name: "reorder_by" }));
    let bad = LinkConfig { reorder: 0.5, reorder_delay: 0, ..good };
    assert_eq!(bad.validate(), Err(LinkError::ReorderZero { name: "reorder_delay" }));
}

#[test]
fn fates_read_well() {
    assert_eq!(Fate::default().to_string(), "");
    assert_eq!(Fate { lost: true, ..Fate::default() }.to_string(), "lost");
    let all = Fate { lost: false, corrupted: true, duplicated: true, reordered: true };
    assert_eq!(all.to_string(), "corrupted, duplicated, reordered");
}

fn configs() -> impl Strategy<Value = LinkConfig> {
    let probability = || prop_oneof![Just(0.0), Just(1.0), 0.0..=1.0f64];
    let probabilities = (probability(), probability(), probability(), probability());
    let rate = proptest::option::of(1..=u64::MAX);
    (rate, 0..u64::MAX, probabilities, 1..20u32, 1..u64::MAX).prop_map(
        |(rate_bps, delay, (loss, duplicate, reorder, corrupt), reorder_by, reorder_delay)| LinkConfig {
            rate_bps,
            delay,
            loss,
            duplicate,
            reorder,
            corrupt,
            reorder_by,
            reorder_delay,
        },
    )
}

proptest! {
    #[test]
    fn same_seed_same_fate_and_books_balance(config in configs(), seed: u64, frames in 0..200u32) {
        let (out, stats) = run(config, seed, frames, 13);
        prop_assert_eq!((&out, stats), (&run(config, seed, frames, 13).0, stats));
        prop_assert_eq!(stats.frames, u64::from(frames));
        prop_assert_eq!(out.len() as u64, stats.frames - stats.lost + stats.duplicated);
    }

    #[test]
    fn without_faults_all_arrive_in_order(delay in 0..1_000_000u64, rate in 1_000_000..u64::MAX, seed: u64) {
        let config = LinkConfig { rate_bps: Some(rate), delay, ..LinkConfig::default() };
        let (out, _) = run(config, seed, 100, 0);
        prop_assert_eq!(out.iter().map(number).collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn reordering_loses_nothing(p in 0.0..=1.0f64, by in 1..50u32, hold in 1..5_000u64, gap in 0..100u64, seed: u64) {
        let config = LinkConfig { reorder: p, reorder_by: by, reorder_delay: hold, ..LinkConfig::default() };
        let (out, _) = run(config, seed, 300, gap);
        let mut numbers: Vec<_> = out.iter().map(number).collect();
        numbers.sort_unstable();
        prop_assert_eq!(numbers, (0..300).collect::<Vec<_>>());
    }

    #[test]
    fn another_seed_another_fate(seed: u64) {
        let config = LinkConfig { loss: 0.5, ..LinkConfig::default() };
        let (a, b) = (run(config, seed, 200, 1).0, run(config, seed.wrapping_add(1), 200, 1).0);
        prop_assert_ne!(a, b);
    }
}
