//! The verbs against a flat-memory oracle: random operations of both sides at once, through driver, device and link.

use ironwarp_sim::engine::Engine;
use ironwarp_sim::exercise::{Exercise, Kind, Prepared, Round, memory_for};
use ironwarp_sim::lab::{Connection, Lab, LabConfig};
use ironwarp_sim::link::LinkConfig;
use ironwarp_sim::size::Size;
use proptest::prelude::*;

/// Run `rounds` on a fresh pair of hosts; returns the exercise after all its comparisons.
fn exercise(link: LinkConfig, mtu: u16, how: Connection, seed: u64, rounds: &[Round]) -> Exercise {
    let lab = Lab::new(
        &LabConfig {
            link,
            mtu,
            seed,
            engine: Engine::from_env().unwrap(),
            device: Size::from_env().unwrap().device(),
            waves: None,
        },
        None,
    )
    .expect("hosts");
    let memory = memory_for(rounds.iter().map(|round| round.max_message).max().unwrap_or(0));
    let sides = [0, 1].map(|node| Prepared::new(&lab, node, memory).expect("queues and memory"));
    lab.connect([sides[0].qp(), sides[1].qp()], &how).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    let [left, right] = sides;
    let mut exercise = Exercise::new(left, right, seed);
    for round in rounds {
        exercise.round(&lab, *round).unwrap_or_else(|error| panic!("seed {seed}, {link:?}: {error}"));
    }
    exercise.compare_all().expect("memory is readable");
    assert!(exercise.errors.is_empty(), "seed {seed}, {link:?}: {:?}", exercise.errors);
    exercise
}

const PLAIN: Connection = Connection { crc: true, markers: false };

#[test]
fn every_kind_of_operation_is_verified() {
    let rounds = [Round { operations: 12, max_message: 20_000 }; 40];
    let exercise = exercise(LinkConfig::default(), 1500, PLAIN, 42, &rounds);
    for kind in Kind::ALL {
        let tally = exercise.score.get(&kind).copied().unwrap_or_default();
        assert!(tally.operations >= 3, "{kind:?}: {tally:?}");
    }
}

#[test]
fn the_largest_messages_are_verified() {
    let rounds = [Round { operations: 3, max_message: 4 << 20 }; 80];
    let exercise = exercise(LinkConfig::default(), 9000, PLAIN, 7, &rounds);
    for kind in [Kind::Send, Kind::Write, Kind::Read] {
        assert_eq!(exercise.score.get(&kind).map(|tally| tally.largest), Some(4 << 20), "{kind:?}");
    }
}

/// Nothing is lost, doubled or misplaced on links that lose, reorder, duplicate and corrupt: 8 x 4 settings, 3 seeds each.
#[test]
fn impaired_links_change_nothing_but_time() {
    let losses = [0.0, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2];
    let reorders = [0.0, 0.01, 0.05, 0.2];
    let rounds = [Round { operations: 6, max_message: 12_000 }; 2];
    let mut runs = 0;
    for (row, loss) in losses.into_iter().enumerate() {
        for (column, reorder) in reorders.into_iter().enumerate() {
            for seed in 0..3 {
                let (duplicate, corrupt) = (reorder / 2.0, loss / 4.0);
                let rate_bps = Some(1_000_000_000);
                let link =
                    LinkConfig { rate_bps, loss, reorder, duplicate, corrupt, ..LinkConfig::default() };
                let how = Connection { crc: true, markers: (row + column + seed) % 3 == 0 };
                let seed = (row * 100 + column * 10 + seed) as u64;
                exercise(link, 1500, how, seed, &rounds);
                runs += 1;
            }
        }
    }
    assert_eq!(runs, 96);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn random_operations_on_random_connections(
        seed: u64, mtu in 576u16..=9000, crc: bool, markers: bool,
        sizes in prop::collection::vec((1usize..=16, 0usize..=60_000), 1..4),
        loss in prop_oneof![3 => Just(0.0), 1 => 0.0..0.03], reorder in prop_oneof![3 => Just(0.0), 1 => 0.0..0.1],
    ) {
        let rounds: Vec<Round> =
            sizes.into_iter().map(|(operations, max_message)| Round { operations, max_message }).collect();
        let link = LinkConfig { loss, reorder, ..LinkConfig::default() };
        exercise(link, mtu, Connection { crc, markers }, seed, &rounds);
    }
}
