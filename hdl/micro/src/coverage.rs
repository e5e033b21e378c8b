//! Instruction coverage: which instructions of a program runs have executed, and which branches went only one way.

use crate::asm::Program;
use crate::interp::Machine;
use crate::isa::{BRANCH_TAKEN, Instruction};
use std::collections::HashSet;
use std::fmt::Write;

/// Executions of each instruction and of those the taken branches, over any number of runs of one program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coverage {
    /// A checksum of the program.
    program: u32,
    counts: Vec<[u64; 2]>,
}

impl Coverage {
    /// Nothing was run.
    pub fn new(program: &Program) -> Self {
        let bytes: Vec<u8> = program.words.iter().flat_map(|word| word.to_le_bytes()).collect();
        Self { program: ironwarp_proto::crc::fpdu_crc(&bytes), counts: vec![[0; 2]; program.words.len()] }
    }

    /// Add what a machine has run.
    pub fn add(&mut self, machine: &Machine) {
        self.counts.iter_mut().zip(&machine.executed).for_each(|(sum, count)| {
            sum[0] += count[0];
            sum[1] += count[1];
        });
    }

    /// One line: the program's checksum, then `pc:executed:taken` of each instruction that was executed.
    pub fn line(&self) -> String {
        let mut line = format!("{:08x}", self.program);
        for (pc, [executed, taken]) in self.counts.iter().enumerate().filter(|(_, count)| count[0] > 0) {
            let _ = write!(line, " {pc}:{executed}:{taken}");
        }
        line
    }

    /// Add such a line; `false` if it is of another program or is none.
    pub fn add_line(&mut self, line: &str) -> bool {
        let mut fields = line.split(' ');
        if fields.next() != Some(&format!("{:08x}", self.program)) {
            return false;
        }
        let mut sum = self.clone();
        for field in fields {
            let numbers: Option<Vec<u64>> = field.split(':').map(|number| number.parse().ok()).collect();
            let Some(&[pc, executed, taken]) = numbers.as_deref() else { return false };
            let Some(count) = sum.counts.get_mut(pc as usize) else { return false };
            *count = [count[0].saturating_add(executed), count[1].saturating_add(taken)];
        }
        *self = sum;
        true
    }

    /// Where the cycles went: routines, the most expensive first, with their entries and cycles without those of what they call.
    pub fn profile(&self, program: &Program) -> String {
        let mut routines: Vec<_> =
            program.symbols.iter().map(|(at, name)| (0, self.counts[*at][0], *name)).collect();
        let mut all = 0;
        for (pc, ([executed, taken], word)) in self.counts.iter().zip(&program.words).enumerate() {
            let once = Instruction::decode(*word).map_or(0, Instruction::cycles);
            let cycles = executed * u64::from(once) + taken * u64::from(BRANCH_TAKEN);
            let index = program.symbols.partition_point(|(at, _)| *at <= pc) - 1;
            routines[index].0 += cycles;
            all += cycles;
        }
        routines.sort_unstable_by_key(|(cycles, ..)| std::cmp::Reverse(*cycles));
        let mut text = String::new();
        for (cycles, entries, name) in routines.iter().filter(|(cycles, ..)| *cycles > 0) {
            let (share, each) = (100.0 * *cycles as f64 / all as f64, *cycles as f64 / *entries as f64);
            let _ =
                writeln!(text, "{share:5.1} % {cycles:10} cycles {entries:9} times {each:9.1} each  {name}");
        }
        text
    }

    /// What has not happened: the instructions never executed and the branches that went one way only, routine by routine;
    /// totals last.
    pub fn report(&self, program: &Program) -> String {
        let mut text = String::new();
        let mut told = HashSet::new();
        let (mut dead, mut branches, mut one_way) = (0, 0, 0);
        for (pc, ([executed, taken], word)) in self.counts.iter().zip(&program.words).enumerate() {
            let instruction = Instruction::decode(*word);
            let branch = matches!(instruction, Some(Instruction::Branch { .. }));
            branches += usize::from(branch);
            let what = match (executed, branch) {
                (0, _) => "never executed",
                (_, true) if *taken == 0 => "never taken",
                (_, true) if taken == executed => "always taken",
                _ => continue,
            };
            dead += usize::from(*executed == 0);
            one_way += usize::from(*executed > 0);
            let (routine, offset) = program.place(pc);
            if told.insert(routine) {
                let _ = writeln!(text, "{routine}:");
            }
            let shown = instruction.map_or_else(|| "?".into(), |instruction| format!("{instruction:?}"));
            let _ = writeln!(text, "  +{offset:<4} {what:<15} {shown}");
        }
        let all = program.words.len();
        let _ = writeln!(text, "{} of {all} instructions executed", all - dead);
        let _ = writeln!(text, "{one_way} of {branches} branches executed, but only one way");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asm::{Asm, eq};
    use crate::interp::{Ports, Step};
    use crate::isa::Word;

    struct NoPorts;
    impl Ports for NoPorts {
        fn read(&mut self, _: u8) -> Option<u32> {
            None
        }
        fn can_read(&mut self, _: u8) -> bool {
            false
        }
        fn write(&mut self, _: u8, _: u32) -> bool {
            false
        }
        fn can_write(&mut self, _: u8) -> bool {
            false
        }
        fn cond(&mut self) -> u32 {
            0
        }
    }

    #[test]
    fn a_branch_is_covered_when_it_has_gone_both_ways() {
        let mut asm = Asm::new(79, 33);
        asm.routine("main", |p| {
            p.if_(eq(Word(20), 0), |p| p.mov(Word(21), 1));
            p.wait(1);
        });
        let program = asm.assemble(64).unwrap();
        let run = |word: u32| {
            let mut machine = Machine::new(&program, 1, 1);
            machine.globals[20] = word;
            while machine.step(&mut NoPorts).unwrap() != Step::Waiting {}
            let mut coverage = Coverage::new(&program);
            coverage.add(&machine);
            coverage
        };
        let (fell, took) = (run(0), run(1));
        assert!(fell.report(&program).contains("never taken"));
        assert!(took.report(&program).contains("always taken"));
        assert!(took.report(&program).contains("+1    never executed"));
        let mut both = fell.clone();
        assert!(both.add_line(&took.line()));
        // WAIT stalls and the return behind it is never reached.
        assert!(both.report(&program).contains("2 of 4 instructions executed\n0 of 1 branches"));
        for bad in ["", "0", &took.line().replace(' ', "  "), &format!("{} 99:1:1", &took.line()[..8])] {
            assert!(!both.add_line(bad), "{bad:?}");
        }
    }
}
