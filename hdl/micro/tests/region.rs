//! The region routines of the program against the golden model's table.

use ironwarp_micro::asm::{LINKS, Program};
use ironwarp_micro::interp::{Machine, Ports};
use ironwarp_micro::isa::Word;
use ironwarp_micro::layout::{Sizes, g, t};
use ironwarp_micro::program::assemble;
use ironwarp_proto::abi::region::{Region, access};
use ironwarp_sim::model::region::{Asker, Bind, FastRegister, Refusal, RegionTable};
use proptest::prelude::*;

/// Engines that are never busy.
struct Idle;

impl Ports for Idle {
    fn read(&mut self, _: u8) -> Option<u32> {
        Some(0)
    }
    fn can_read(&mut self, _: u8) -> bool {
        true
    }
    fn write(&mut self, _: u8, _: u32) -> bool {
        true
    }
    fn can_write(&mut self, _: u8) -> bool {
        true
    }
    fn cond(&mut self) -> u32 {
        0
    }
}

const LOG2: u8 = Sizes::FULL.log2_regions;
const ENTRIES: usize = 1 << LOG2;

struct Bench {
    program: Program,
    machine: Machine,
    golden: RegionTable,
}

impl Bench {
    fn new() -> Self {
        let sizes = Sizes::FULL;
        let program = assemble(&sizes).unwrap();
        let machine = Machine::new(&program, 1 << sizes.log2_qps, sizes.table());
        Self { program, machine, golden: RegionTable::new(LOG2) }
    }

    fn set(&mut self, word: Word, value: u32) {
        self.machine.globals[usize::from(word.0)] = value;
    }

    /// Run a routine with arguments in A0..A5; what it gives in R0..R2, and its cycles.
    fn call(&mut self, routine: &str, arguments: [u32; 6]) -> ([u32; 3], u32) {
        let outside = self.program.words.len();
        self.machine.globals[..LINKS].fill(outside as u32);
        self.set(g::ZERO, 0);
        for (word, value) in (g::A0.0..).zip(arguments) {
            self.set(Word(word), value);
        }
        self.machine.pc = self.program.symbols.iter().find(|(_, name)| *name == routine).unwrap().0;
        let mut cycles = 0;
        while self.machine.pc != outside {
            match self.machine.step(&mut Idle).unwrap() {
                ironwarp_micro::interp::Step::Ran(n) => cycles += n,
                other => panic!("{routine}: {other:?}"),
            }
        }
        ([g::R0, g::R1, g::R2].map(|word| self.machine.word(word)), cycles)
    }

    fn table(&mut self) -> &mut [u32] {
        &mut self.machine.table[usize::from(Sizes::FULL.regions())..][..8 * ENTRIES]
    }

    fn put(&mut self, index: u16, words: [u32; 8]) {
        *self.golden.words(index).unwrap() = words;
        self.table()[8 * usize::from(index)..][..8].copy_from_slice(&words);
    }

    fn agrees(&mut self) -> Result<(), TestCaseError> {
        for index in 0..ENTRIES as u16 {
            let golden = Region::decode(self.golden.words(index).unwrap());
            let words: [u32; 8] = self.table()[8 * usize::from(index)..][..8].try_into().unwrap();
            prop_assert_eq!(Region::decode(&words), golden, "entry {}", index);
        }
        Ok(())
    }
}

fn halves(value: u64) -> [u32; 2] {
    [value as u32, (value >> 32) as u32]
}

fn code(refusal: Refusal) -> u32 {
    1 + match refusal {
        Refusal::InvalidStag => 0,
        Refusal::NotAssociated => 1,
        Refusal::Rights => 2,
        Refusal::Wrap => 3,
        Refusal::Bounds => 4,
    }
}

/// Numbers around the places where ranges break.
fn edge() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0u64),
        0u64..80,
        (0u64..80).prop_map(|n| u64::MAX - n),
        (0u64..80).prop_map(|n| (1 << 32) - 40 + n),
        any::<u64>(),
    ]
}

fn length() -> impl Strategy<Value = u64> {
    prop_oneof![0u64..100, (0u64..80).prop_map(|n| (1 << 32) - 40 + n), 0u64..1 << 48]
}

/// Few names, so that operations meet: STags of four entries, some alike but for the key byte or the upper index bits.
fn stag() -> impl Strategy<Value = u32> {
    (prop_oneof![Just(0u32), Just(0xab00_0000)], 0u32..4, prop_oneof![9 => 0u32..2, 1 => any::<u32>()])
        .prop_map(|(high, index, key)| high | index << 8 | (key & 0xff))
}

fn asker() -> impl Strategy<Value = Asker> {
    (0u16..2, 6u16..8).prop_map(|(qp, pd)| Asker { qp, pd })
}

fn region() -> impl Strategy<Value = Region> {
    let flags = (any::<bool>(), prop::bool::weighted(0.3), any::<bool>(), prop::bool::weighted(0.3));
    (flags, any::<u8>(), asker(), length(), edge(), edge(), stag()).prop_map(
        |((valid, window, allocated, scoped), rights, who, length, base, host, stag)| Region {
            valid,
            window,
            allocated,
            scoped,
            access: rights,
            pd: who.pd,
            qp: who.qp,
            length,
            base,
            host,
            stag,
        },
    )
}

#[derive(Debug, Clone)]
enum Op {
    Put(Region),
    Remote { stag: u32, who: Asker, to: u64, near: Option<i64>, len: u32, need: u8 },
    Local { stag: u32, who: Asker, to: u64, near: Option<i64>, len: u32, need: u8 },
    Invalidate(u32, Asker),
    Revoke(u32),
    Bind(u32, Asker, u32, u64, Option<i64>, u32, u64, u8),
    FastRegister(u32, Asker, u64, u32, u64, u8),
}

fn op() -> impl Strategy<Value = Op> {
    let near = || prop::option::weighted(0.7, -70i64..130);
    let need = || prop_oneof![3 => (0u8..4).prop_map(|bit| 1 << bit), 1 => Just(0u8), 1 => any::<u8>()];
    let len = || prop_oneof![3 => 1u32..100, 1 => 1u32..];
    let any_len = || prop_oneof![1 => Just(0u32), 3 => 1u32..100, 1 => 1u32..];
    prop_oneof![
        3 => region().prop_map(Op::Put),
        4 => (stag(), asker(), edge(), near(), len(), need())
            .prop_map(|(stag, who, to, near, len, need)| Op::Remote { stag, who, to, near, len, need }),
        4 => (stag(), asker(), edge(), near(), len(), need())
            .prop_map(|(stag, who, to, near, len, need)| Op::Local { stag, who, to, near, len, need }),
        1 => (stag(), asker()).prop_map(|(stag, who)| Op::Invalidate(stag, who)),
        1 => stag().prop_map(Op::Revoke),
        3 => (stag(), asker(), stag(), edge(), near(), any_len(), edge(), any::<u8>())
            .prop_map(|(a, b, c, d, e, f, g, h)| Op::Bind(a, b, c, d, e, f, g, h)),
        2 => (stag(), asker(), edge(), any_len(), edge(), any::<u8>())
            .prop_map(|(a, b, c, d, e, f)| Op::FastRegister(a, b, c, d, e, f)),
    ]
}

/// A TO at a distance from the base of the entry that `stag` names, so that ranges often fit.
fn place(bench: &mut Bench, stag: u32, to: u64, near: Option<i64>) -> u64 {
    let entry = Region::decode(bench.golden.words((stag >> 8) as u16 & (ENTRIES as u16 - 1)).unwrap());
    near.map_or(to, |distance| entry.base.wrapping_add_signed(distance))
}

fn who(asker: Asker) -> u32 {
    u32::from(asker.pd) << 16 | u32::from(asker.qp)
}

fn apply(bench: &mut Bench, op: Op) -> Result<(), TestCaseError> {
    match op {
        Op::Put(region) => bench.put((region.stag >> 8) as u16 & (ENTRIES as u16 - 1), region.encode()),
        Op::Remote { stag, who: asker, to, near, len, need }
        | Op::Local { stag, who: asker, to, near, len, need } => {
            let remote = matches!(op, Op::Remote { .. });
            let to = place(bench, stag, to, near);
            let [lo, hi] = halves(to);
            let arguments = [stag, lo, hi, len, need.into(), who(asker)];
            let (routine, golden) = if remote {
                ("region_remote", bench.golden.remote(stag, asker, to, len, need))
            } else {
                ("region_local", bench.golden.local(stag, asker, to, len, need))
            };
            let ([result, lo, hi], _) = bench.call(routine, arguments);
            match golden {
                Ok(host) => prop_assert_eq!([result, lo, hi], [0, host as u32, (host >> 32) as u32]),
                Err(refusal) => prop_assert_eq!(result, code(refusal)),
            }
            let after: Vec<u32> = (g::A0.0..=g::A5.0).map(|word| bench.machine.word(Word(word))).collect();
            prop_assert_eq!(after, arguments.to_vec(), "arguments are kept");
        }
        Op::Invalidate(stag, asker) => {
            let golden = bench.golden.invalidate(stag, asker);
            let ([done, ..], _) = bench.call("region_invalidate", [stag, 0, 0, 0, 0, who(asker)]);
            prop_assert_eq!(done, u32::from(golden));
        }
        Op::Revoke(stag) => {
            let golden = bench.golden.revoke(stag);
            let ([done, ..], _) = bench.call("region_revoke", [stag, 0, 0, 0, 0, 0]);
            prop_assert_eq!(done, u32::from(golden));
        }
        Op::Bind(stag, asker, parent, to, near, len, base, rights) => {
            let to = place(bench, parent, to, near);
            entry(bench, stag, base, rights, [to as u32, (to >> 32) as u32, len, parent]);
            let golden = bench.golden.bind(stag, asker, &Bind { parent, to, len, base, access: rights });
            let ([done, ..], _) = bench.call("region_bind", [0, 0, 0, 0, 0, who(asker)]);
            prop_assert_eq!(done, u32::from(golden));
        }
        Op::FastRegister(stag, asker, host, len, base, rights) => {
            entry(bench, stag, base, rights, [host as u32, (host >> 32) as u32, len, 0]);
            let register = FastRegister { host, len, base, access: rights };
            let golden = bench.golden.fast_register(stag, asker, &register);
            let ([done, ..], _) = bench.call("region_fast_register", [0, 0, 0, 0, 0, who(asker)]);
            prop_assert_eq!(done, u32::from(golden));
        }
    }
    Ok(())
}

/// The send entry of a bind or registration in T.
fn entry(bench: &mut Bench, stag: u32, base: u64, rights: u8, sge: [u32; 4]) {
    let words = &mut bench.machine.table[usize::from(t::ENTRY)..][..16];
    // Reserved bits mean nothing.
    words.fill(0xdead_be00);
    words[2] = stag;
    [words[3], words[4]] = halves(base);
    words[5] |= u32::from(rights);
    words[8..12].copy_from_slice(&sge);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn the_program_grants_and_refuses_as_the_model(ops in prop::collection::vec(op(), 1..40)) {
        let mut bench = Bench::new();
        for op in ops {
            apply(&mut bench, op)?;
            bench.agrees()?;
        }
    }
}

#[test]
fn a_good_remote_access_is_checked_within_its_budget() {
    let mut bench = Bench::new();
    let region = Region {
        valid: true,
        access: access::REMOTE_WRITE,
        pd: 7,
        length: 100,
        base: 0x1000,
        host: 0x9000,
        stag: 0xabcd_0511,
        ..Region::default()
    };
    bench.put(5, region.encode());
    let arguments = [region.stag, 0x1000, 0, 100, access::REMOTE_WRITE.into(), 7 << 16 | 3];
    let (result, cycles) = bench.call("region_remote", arguments);
    assert_eq!(result, [0, 0x9000, 0]);
    assert!(cycles <= 75, "{cycles} cycles");
}
