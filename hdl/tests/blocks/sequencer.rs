use crate::common::coverage::{Situation, now, then};
use crate::common::{Bench, Random, check_synthesis, random};
use ironwarp_hdl::fb::FB;
use ironwarp_hdl::seq::Sequencer;
use ironwarp_micro::asm::Program;
use ironwarp_micro::interp::{Machine, Ports, Step};
use ironwarp_micro::isa::{Instruction, Op, Operand, Test, Word};
use proptest::prelude::*;

/// 4 QPs: operands 2 x 512 words, tables 65,536 words; the whole program is there.
type Whole = Sequencer<12, 9, 16, 12, 8>;
/// The same with one copy of the operands and a cache of 8 lines of 8 words.
type Cached = Sequencer<12, 9, 16, 6, 3>;
const PROGRAM: usize = 512;

/// What an instruction did at its ports: address, and the word.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Act {
    Ran(u16),
    Take(u8, u32),
    Put(u8, u32),
}

/// The word that port `port` gives as its `n`th.
fn input(port: u8, n: u32) -> u32 {
    let x = (u32::from(port) << 24 | n).wrapping_mul(0x9e37_79b9);
    // Small numbers and their like make comparisons interesting.
    if x & 0x30 == 0 { x >> 28 } else { x ^ x >> 15 }
}

/// Ports that are always ready, for the interpreter.
#[derive(Default)]
struct Always {
    taken: [u32; 16],
    acts: Vec<Act>,
}

impl Ports for Always {
    fn read(&mut self, address: u8) -> Option<u32> {
        let port = address & 15;
        let n = &mut self.taken[usize::from(port)];
        *n += 1;
        let word = input(port, *n);
        self.acts.push(Act::Take(port, word));
        Some(word)
    }
    fn can_read(&mut self, _: u8) -> bool {
        true
    }
    fn write(&mut self, address: u8, value: u32) -> bool {
        self.acts.push(Act::Put(address & 15, value));
        true
    }
    fn can_write(&mut self, _: u8) -> bool {
        true
    }
    fn cond(&mut self) -> u32 {
        u32::MAX
    }
}

fn word(random: &mut Random, port: bool) -> Word {
    match random.below(if port { 8 } else { 7 }) {
        0..=3 => Word(random.below(6) as u8 * 20),
        4..=6 => Word(128 + random.below(4) as u8 * 21),
        _ => Word(113 + random.below(15) as u8),
    }
}

fn operands(random: &mut Random) -> (Word, Operand) {
    let a = word(random, true);
    let b = match random.below(3) {
        0 => Operand::Imm([0, 1, 2, 31, 255, random.word() as u8][random.below(6)]),
        _ => Operand::Word(word(random, !a.is_port())),
    };
    (a, b)
}

fn instruction(random: &mut Random, at: usize) -> Instruction {
    match random.below(20) {
        0 => Instruction::Ldi(word(random, true), random.word() as u16),
        1 => Instruction::Ldih(word(random, true), random.word() as u16),
        2 => Instruction::Jmp(random.below(PROGRAM) as u16),
        // Only to and from word 3, so that JR finds an address there.
        3 => Instruction::Jal(Word(3), random.below(PROGRAM) as u16),
        4 => Instruction::Jr(Word(3)),
        5 => Instruction::SetQp(Word(5 + random.below(4) as u8)),
        6 => Instruction::Wait(1 + random.below(255) as u8),
        7..=11 => {
            let (a, b) = operands(random);
            let target = (at as i64 + random.below(60) as i64 - 20).clamp(0, PROGRAM as i64 - 1);
            Instruction::Branch {
                negated: random.below(2) == 0,
                test: [Test::Eq, Test::Ltu, Test::Lts, Test::Bit][random.below(4)],
                a,
                b,
                offset: (target - at as i64) as i16,
            }
        }
        _ => {
            let op = Op::ALL[random.below(16)];
            let (a, b) = operands(random);
            let a = if op.uses_a() { a } else { Word(0) };
            let d = if op == Op::Stt { random.below(4) as u8 * 7 } else { word(random, true).0 };
            Instruction::Alu { op, d, a, b }
        }
    }
}

/// A random program that never leaves its ROM: QP numbers and links are set up first, table addresses are cut by T's size.
fn program(seed: u64) -> Program {
    let random = &mut random(seed);
    let mut words: Vec<u32> = (0..4).map(|qp| Instruction::Ldi(Word(5 + qp), qp.into()).encode()).collect();
    words.push(Instruction::Ldi(Word(3), 9).encode());
    while words.len() < PROGRAM - 1 {
        let at = words.len();
        words.push(instruction(random, at).encode());
    }
    words.push(Instruction::Jmp(20).encode());
    Program { words, symbols: vec![(0, "random")] }
}

/// What the interpreter does in `steps` instructions.
fn golden(program: &Program, steps: usize) -> (Vec<Act>, u64) {
    let mut machine = Machine::new(program, 4, 1 << 16);
    let mut ports = Always::default();
    let mut cycles = 0;
    for _ in 0..steps {
        let pc = machine.pc as u16;
        let before = ports.acts.len();
        match machine.step(&mut ports).unwrap() {
            Step::Ran(n) => cycles += u64::from(n),
            other => panic!("{other:?} with ports that are always ready"),
        }
        ports.acts.insert(before, Act::Ran(pc));
    }
    (ports.acts, cycles)
}

/// What the block does until it has executed `steps` instructions; a port, or a word of the program, is not ready with probability `stall` / 8.
fn run<const I: usize, const N: usize>(
    bench: &mut Bench<Sequencer<12, 9, 16, I, N>>,
    program: &Program,
    steps: usize,
    stall: usize,
    seed: u64,
) -> (Vec<Act>, u64) {
    let random = &mut random(seed);
    // The line being filled, and its next word.
    let mut filling: Option<(usize, usize)> = None;
    let mut last = None;
    let (mut acts, mut taken, mut done) = (Vec::new(), [0u32; 16], 0);
    // As that of the walker's next packet: a port that has a word only when it has been asked for it.
    let mut asked = false;
    bench.cycle(|u| u.reset.next = true, |_| ());
    let start = bench.cycles();
    while done < steps {
        assert!(bench.cycles() - start < 1000 * steps as u64, "stuck after {done} instructions");
        let (valid, ready) = (random.below(8) >= stall, random.below(8) >= stall);
        let event = random.below(8) >= stall;
        let (here, next) = (random.below(8) >= stall, filling);
        let fill = next.filter(|_| here).map(|(line, at)| program.words.get(line + at).copied().unwrap_or(0));
        bench.fall(|u| {
            u.reset.next = false;
            u.fill_valid.next = fill.is_some();
            u.fill_data.next = FB::new(fill.unwrap_or(0xdead_beef).into());
            u.out_ready.next = ready;
            u.cond.next = FB::new(if event { 0x3ff } else { 0 });
        });
        // COND is always there; the others show their next word when they have one.
        let port = bench.block.port.val().get() as u8;
        let data = if port == 0 { u32::MAX } else { input(port, taken[usize::from(port)] + 1) };
        let valid = valid && (port != 5 || asked || stall == 0);
        bench.fall(|u| {
            u.port_valid.next = valid || port == 0;
            u.port_data.next = FB::new(data.into());
        });
        let u = &bench.block;
        let address = u.fill_address.val().index();
        match filling {
            Some((line, at)) => {
                assert!(u.fill_request.val() && address == line, "a fill is seen to its end");
                let at = at + usize::from(fill.is_some());
                filling = (at < 1 << (I - N)).then_some((line, at));
            }
            None if u.fill_request.val() => {
                assert!(last != Some(address), "the line that was just filled is there");
                assert_eq!(address % (1 << (I - N)), 0);
                filling = Some((address, 0));
                last = Some(address);
            }
            None => {}
        }
        if u.retired.val() {
            acts.push(Act::Ran(u.retired_pc.val().get() as u16));
            done += 1;
        }
        asked = port == 5 && (asked || u.port_take.val()) && !u.retired.val();
        if u.port_take.val() && u.port_valid.val() {
            // Taken means executed.
            assert!(u.retired.val());
            if port != 0 {
                taken[usize::from(port)] += 1;
                acts.push(Act::Take(port, data));
            }
        }
        if u.out_valid.val() && ready {
            assert!(u.retired.val());
            acts.push(Act::Put(u.out_port.val().get() as u8, u.out_data.val().get() as u32));
        }
        bench.rise();
    }
    (acts, bench.cycles() - start)
}

/// Compare with the interpreter; the cycles that the block took, and those that the interpreter counts.
fn compare<const I: usize, const N: usize>(
    fresh: fn(&Program) -> Sequencer<12, 9, 16, I, N>,
    seed: u64,
    stall: usize,
) -> (u64, u64) {
    let program = program(seed);
    let (expected, cycles) = golden(&program, 1500);
    let mut bench = Bench::new(fresh(&program), |u| &mut u.clock);
    let (seen, took) = run(&mut bench, &program, 1500, stall, seed);
    let differs = expected.iter().zip(&seen).position(|(a, b)| a != b);
    if let Some(at) = differs {
        let near = |acts: &[Act]| format!("{:x?}", &acts[at.saturating_sub(8)..(at + 3).min(acts.len())]);
        let pc =
            expected[..=at].iter().rev().find_map(|a| if let Act::Ran(pc) = a { Some(*pc) } else { None });
        let pc = usize::from(pc.unwrap());
        panic!(
            "seed {seed}, act {at}: interpreter {}, RTL {}\n{:?}\n{:?}",
            near(&expected),
            near(&seen),
            Instruction::decode(program.words[pc]),
            Instruction::decode(program.words[pc.saturating_sub(1)])
        );
    }
    (took, cycles)
}

fn whole(program: &Program) -> Whole {
    Whole::new(&program.words)
}

fn cached(_: &Program) -> Cached {
    Cached::small()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_program_runs_as_in_the_interpreter(seed: u64, stall in 0usize..7) {
        compare(whole, seed, stall);
    }

    #[test]
    fn any_program_runs_so_through_a_cache(seed: u64, stall in 0usize..7) {
        compare(cached, seed, stall);
    }
}

#[test]
fn without_stalls_it_takes_the_cycles_that_the_interpreter_counts() {
    for seed in 0..12 {
        let (took, cycles) = compare(whole, seed, 0);
        // Two cycles fill the pipeline.
        assert!(took.abs_diff(cycles + 2) <= 2, "{took} cycles, the interpreter says {cycles}");
    }
}

fn verilog<const I: usize, const N: usize>(name: &str, block: Sequencer<12, 9, 16, I, N>) {
    let program = program(7);
    let Some(mut bench) = Bench::with_verilog(name, block, |u| &mut u.clock) else { return };
    let (expected, _) = golden(&program, 12_000);
    let (seen, _) = run(&mut bench, &program, 12_000, 3, 7);
    assert_eq!(expected.len(), seen.len());
    assert!(expected == seen);
    println!("{name}: {} cycles, 0 mismatches", bench.cycles());
}

/// Shown in docs/coverage.md.
pub const SITUATIONS: &[Situation<Whole>] = &[
    then("an instruction in each cycle", |u| u.retired.val(), |u| u.retired.val()),
    then("a cycle between two", |u| u.retired.val(), |u| !u.retired.val()),
    now("an input port has no word", |u| u.port_take.val() && !u.port_valid.val()),
    now("an input port has one", |u| u.port_take.val() && u.port_valid.val()),
    now("an output port takes no word", |u| u.out_valid.val() && !u.out_ready.val()),
    now("an output port takes one", |u| u.out_valid.val() && u.out_ready.val()),
    now("a word goes from port to port", |u| {
        u.port_take.val() && u.port_valid.val() && u.out_valid.val() && u.out_ready.val()
    }),
    now("WAIT waits", |u| u.waiting.val()),
    then("WAIT ends", |u| u.waiting.val(), |u| !u.waiting.val()),
];

/// Shown in docs/coverage.md.
pub const CACHED: &[Situation<Cached>] = &[
    now("a word fills a line", |u| u.fill_request.val() && u.fill_valid.val()),
    now("a line waits for its word", |u| u.fill_request.val() && !u.fill_valid.val()),
    then("a line is complete", |u| u.fill_request.val(), |u| !u.fill_request.val()),
    then("a cycle between two instructions", |u| u.retired.val(), |u| !u.retired.val()),
    now("an input port has no word", |u| u.port_take.val() && !u.port_valid.val()),
    now("an output port takes no word", |u| u.out_valid.val() && !u.out_ready.val()),
    now("WAIT waits", |u| u.waiting.val()),
];

#[test]
fn every_situation_occurs() {
    let mut bench = Bench::new(whole(&program(0)), |u| &mut u.clock).covering(SITUATIONS);
    for seed in 0..30 {
        let program = program(seed);
        bench = Bench::new(whole(&program), |u| &mut u.clock).counting_on(bench);
        run(&mut bench, &program, 800, seed as usize % 7, seed);
    }
    bench.check_coverage();
}

#[test]
fn every_situation_occurs_with_a_cache() {
    let mut bench = Bench::new(cached(&program(0)), |u| &mut u.clock).covering(CACHED);
    for seed in 0..30 {
        let program = program(seed);
        bench = Bench::new(cached(&program), |u| &mut u.clock).counting_on(bench);
        run(&mut bench, &program, 800, seed as usize % 7, seed);
    }
    bench.check_coverage();
}

#[test]
fn like_its_verilog() {
    verilog("sequencer", whole(&program(7)));
}

#[test]
fn through_a_cache_like_its_verilog() {
    verilog("sequencer-cached", cached(&program(7)));
}

#[test]
fn synthesises() {
    check_synthesis("sequencer", Sequencer::<12, 9, 8, 12, 8>::new(&program(1).words));
    check_synthesis("sequencer-cached", Sequencer::<12, 9, 8, 6, 3>::small());
}
