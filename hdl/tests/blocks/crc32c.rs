use crate::common::coverage::{Situation, now, then};
use crate::common::{Bench, check_synthesis};
use ironwarp_hdl::crc::{Crc32c, Crc32cBytes};
use ironwarp_hdl::fb::FB;
use ironwarp_proto::crc::{append, fpdu_crc};
use proptest::prelude::*;

fn step(bench: &mut Bench<Crc32c>, init: bool, enable: bool, word: u32) -> u32 {
    let drive = |u: &mut Crc32c| {
        u.init.next = init;
        u.enable.next = enable;
        u.data.next = FB::new(word.into());
    };
    bench.cycle(drive, |u| u.crc.val().get() as u32)
}

/// The CRC of whole words, each with idle cycles before it whose inputs mean nothing.
fn run(bench: &mut Bench<Crc32c>, words: &[u32], idle: &[u8]) -> u32 {
    for (i, word) in words.iter().enumerate() {
        for n in 0..idle.get(i).copied().unwrap_or(0) {
            step(bench, n % 2 == 0, false, !word);
        }
        step(bench, i == 0, true, *word);
    }
    step(bench, true, false, 0)
}

fn words(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks_exact(4).map(|c| u32::from_le_bytes(c.try_into().unwrap())).collect()
}

fn bench() -> Bench<Crc32c> {
    Bench::new(Crc32c::default(), |u| &mut u.clock)
}

#[test]
fn vectors_of_rfc_3720_b4() {
    let up: Vec<u8> = (0..32).collect();
    let down: Vec<u8> = (0..32).rev().collect();
    // The SCSI Read (10) command.
    let mut read = [0; 48];
    for (at, byte) in [(0, 1), (1, 0xc0), (16, 0x14), (22, 4), (27, 0x14), (31, 0x18), (32, 0x28), (40, 2)] {
        read[at] = byte;
    }
    let mut bench = bench();
    for (bytes, crc) in [
        (&[0; 32][..], 0x8a91_36aa),
        (&[0xff; 32], 0x62a8_ab43),
        (&up, 0x46dd_794e),
        (&down, 0x113f_db5c),
        (&read, 0xd996_3a56),
    ] {
        assert_eq!(run(&mut bench, &words(bytes), &[]), crc);
    }
}

#[test]
fn starts_as_the_crc_of_nothing() {
    let mut bench = bench();
    assert_eq!(step(&mut bench, false, false, 7), 0);
    step(&mut bench, false, true, 0x3433_3231);
    assert_eq!(step(&mut bench, false, false, 0), fpdu_crc(b"1234"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn like_the_golden_function(
        messages in prop::collection::vec(prop::collection::vec(any::<u32>(), 1..40), 1..5),
        idle in prop::collection::vec(0u8..3, 0..40),
    ) {
        let mut bench = bench();
        for message in messages {
            let bytes: Vec<u8> = message.iter().flat_map(|word| word.to_le_bytes()).collect();
            let crc = run(&mut bench, &message, &idle);
            prop_assert_eq!(crc, fpdu_crc(&bytes));
            // Its own CRC behind it: the residue.
            step(&mut bench, false, true, crc);
            prop_assert_eq!(step(&mut bench, false, false, 0), Crc32c::RESIDUE);
        }
    }
}

/// Words, first words and idle cycles at random.
fn any_words(bench: &mut Bench<Crc32c>, seed: u64, count: usize) {
    let mut random = crate::common::random(seed);
    let mut golden = step(bench, false, false, 0);
    for _ in 0..count {
        let (init, enable, word) = (random.below(10) == 0, random.below(4) != 0, random.word());
        assert_eq!(step(bench, init, enable, word), golden);
        if enable {
            golden = append(if init { 0 } else { golden }, &word.to_le_bytes());
        }
    }
}

/// Shown in docs/coverage.md.
pub const SITUATIONS: &[Situation<Crc32c>] = &[
    now("a first word", |u| u.init.val() && u.enable.val()),
    then(
        "a first word directly behind the last of another",
        |u| u.enable.val() && !u.init.val(),
        |u| u.enable.val() && u.init.val(),
    ),
    then("two first words", |u| u.enable.val() && u.init.val(), |u| u.enable.val() && u.init.val()),
    then("an idle cycle within a message", |u| u.enable.val(), |u| !u.enable.val() && !u.init.val()),
    now("an idle cycle that says first", |u| u.init.val() && !u.enable.val()),
    now("the residue", |u| u.crc.val().get() as u32 == Crc32c::RESIDUE),
];

#[test]
fn every_situation_occurs() {
    let mut bench = bench().covering(SITUATIONS);
    any_words(&mut bench, 3, 3000);
    for length in 1..20 {
        let mut message: Vec<u32> = (0..length).map(|word| word * 0x0102_0305).collect();
        let bytes: Vec<u8> = message.iter().flat_map(|word| word.to_le_bytes()).collect();
        message.push(fpdu_crc(&bytes));
        assert_eq!(run(&mut bench, &message, &[]), Crc32c::RESIDUE);
    }
    bench.check_coverage();
}

#[test]
fn like_its_verilog() {
    let Some(mut bench) = Bench::with_verilog("crc32c", Crc32c::default(), |u| &mut u.clock) else { return };
    any_words(&mut bench, 1, 30_000);
    println!("crc32c: {} cycles, 0 mismatches", bench.cycles());
}

#[test]
fn synthesises() {
    check_synthesis("crc32c", Crc32c::default());
    check_synthesis("crc32c-bytes", Crc32cBytes::default());
}

fn step_bytes(bench: &mut Bench<Crc32cBytes>, [init, enable, shift]: [bool; 3], byte: u8) -> u32 {
    let drive = |u: &mut Crc32cBytes| {
        u.init.next = init;
        u.enable.next = enable;
        u.shift.next = shift;
        u.data.next = FB::new(byte.into());
    };
    bench.cycle(drive, |u| u.crc.val().get() as u32)
}

#[test]
fn byte_by_byte_it_is_the_same_and_moves_out() {
    let Some(mut bench) = Bench::with_verilog("crc32c-bytes", Crc32cBytes::default(), |u| &mut u.clock)
    else {
        return;
    };
    let mut random = crate::common::random(2);
    let mut golden = 0;
    for _ in 0..400 {
        for i in 0..1 + random.below(40) {
            let (init, enable, byte) = (i == 0, i == 0 || random.below(4) != 0, random.word() as u8);
            assert!(step_bytes(&mut bench, [init, enable, false], byte) == golden || i == 0);
            if enable {
                golden = append(if init { 0 } else { golden }, &[byte]);
            }
        }
        if random.below(2) == 0 {
            // Its own CRC behind it: the residue.
            for byte in golden.to_le_bytes() {
                step_bytes(&mut bench, [false, true, false], byte);
            }
            assert_eq!(step_bytes(&mut bench, [false; 3], 0), Crc32c::RESIDUE);
        } else {
            for byte in golden.to_le_bytes() {
                assert_eq!(step_bytes(&mut bench, [false, true, true], random.word() as u8) as u8, byte);
            }
        }
    }
    println!("crc32c-bytes: {} cycles, 0 mismatches", bench.cycles());
}
