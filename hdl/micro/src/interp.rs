//! The interpreter: the sequencer in software, instruction by instruction.

use crate::asm::Program;
use crate::isa::{BRANCH_TAKEN, CONTEXT, CONTEXT_WORDS, Instruction, Op, Operand, PORTS, Test, Word};
use thiserror::Error;

/// What is around the sequencer: its ports, 112..128 (docs/microarchitecture.md section 1).
pub trait Ports {
    /// Read port `address`; `None` stalls.
    fn read(&mut self, address: u8) -> Option<u32>;
    /// Whether [`read`](Self::read) would give a word.
    fn can_read(&mut self, address: u8) -> bool;
    /// Write port `address`; `false` stalls.
    fn write(&mut self, address: u8, value: u32) -> bool;
    /// Whether [`write`](Self::write) would be taken.
    fn can_write(&mut self, address: u8) -> bool;
    /// The COND port.
    fn cond(&mut self) -> u32;
}

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// An instruction was executed in this many cycles.
    Ran(u32),
    /// A port was not ready.
    Stalled,
    /// It is in WAIT and nothing has come.
    Waiting,
}

/// The program did something that the hardware does not define.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Trap {
    /// PC is outside of the program.
    #[error("PC {0:#x} is outside of the program")]
    Pc(usize),
    /// The word at PC is no instruction.
    #[error("the word at PC {0:#x} is no instruction")]
    Instruction(usize),
    /// A table address is outside of T.
    #[error("PC {pc:#x}: T has no word {address:#x}")]
    Table {
        /// Where.
        pc: usize,
        /// The address.
        address: usize,
    },
    /// The QP register names a context that does not exist.
    #[error("PC {pc:#x}: there is no QP {qp}")]
    Qp {
        /// Where.
        pc: usize,
        /// The number.
        qp: u32,
    },
}

/// Memories and registers of a sequencer.
#[derive(Debug, Clone)]
pub struct Machine {
    rom: Vec<Option<Instruction>>,
    /// Global words.
    pub globals: [u32; PORTS as usize],
    /// Contexts of the QPs.
    pub contexts: Vec<[u32; CONTEXT_WORDS as usize]>,
    /// Table memory.
    pub table: Vec<u32>,
    /// Program counter.
    pub pc: usize,
    /// Carry.
    pub carry: bool,
    /// QP register.
    pub qp: u32,
    /// Executions of each instruction, and of those the taken branches.
    pub executed: Vec<[u64; 2]>,
}

impl Machine {
    /// At reset: PC 0, memories 0. Sizes as in the device: `qps` contexts, `table` words of T.
    pub fn new(program: &Program, qps: usize, table: usize) -> Self {
        Self {
            rom: program.words.iter().map(|word| Instruction::decode(*word)).collect(),
            globals: [0; PORTS as usize],
            contexts: vec![[0; CONTEXT_WORDS as usize]; qps],
            table: vec![0; table],
            pc: 0,
            carry: false,
            qp: 0,
            executed: vec![[0; 2]; program.words.len()],
        }
    }

    /// Content of a word that is not a port.
    pub fn word(&self, word: Word) -> u32 {
        if word.0 < PORTS {
            self.globals[usize::from(word.0)]
        } else {
            let context = self.contexts.get(self.qp as usize);
            context.and_then(|c| c.get(usize::from(word.0.wrapping_sub(CONTEXT)))).copied().unwrap_or(0)
        }
    }

    fn store(&mut self, word: Word, value: u32) {
        if word.0 < PORTS {
            self.globals[usize::from(word.0)] = value;
        } else if let Some(context) = self.contexts.get_mut(self.qp as usize)
            && let Some(at) = context.get_mut(usize::from(word.0.wrapping_sub(CONTEXT)))
        {
            *at = value;
        }
    }

    fn fetch<P: Ports + ?Sized>(&self, ports: &mut P, operand: Operand) -> Option<u32> {
        match operand {
            Operand::Imm(number) => Some(number.into()),
            Operand::Word(Word(PORTS)) => Some(ports.cond()),
            Operand::Word(word) if word.is_port() => ports.read(word.0),
            Operand::Word(word) => Some(self.word(word)),
        }
    }

    /// Execute one instruction, if its ports are ready.
    pub fn step<P: Ports + ?Sized>(&mut self, ports: &mut P) -> Result<Step, Trap> {
        let pc = self.pc;
        let instruction = *self.rom.get(pc).ok_or(Trap::Pc(pc))?;
        let instruction = instruction.ok_or(Trap::Instruction(pc))?;
        let mut next = pc + 1;
        let mut cycles = instruction.cycles();
        let mut taken = false;
        match instruction {
            Instruction::Alu { op, d, a, b } => {
                // Nothing may be read from a port before the destination can take the result.
                let to = Word(d);
                if op != Op::Stt && to.is_port() && !ports.can_write(d) {
                    return Ok(Step::Stalled);
                }
                let a = if op.uses_a() { self.fetch(ports, a.into()) } else { Some(0) };
                let Some(a) = a else { return Ok(Step::Stalled) };
                let Some(b) = self.fetch(ports, b) else { return Ok(Step::Stalled) };
                let result = match op {
                    Op::Ldt => {
                        let address = usize::from(a.wrapping_add(b) as u16);
                        *self.table.get(address).ok_or(Trap::Table { pc, address })?
                    }
                    Op::Stt => {
                        let address = usize::from(a.wrapping_add(d.into()) as u16);
                        *self.table.get_mut(address).ok_or(Trap::Table { pc, address })? = b;
                        0
                    }
                    _ => self.alu(op, a, b),
                };
                if op != Op::Stt {
                    if to.is_port() {
                        ports.write(d, result);
                    } else {
                        self.store(to, result);
                    }
                }
            }
            Instruction::Ldi(d, imm) | Instruction::Ldih(d, imm) => {
                let high = matches!(instruction, Instruction::Ldih(..));
                let value = if high { u32::from(imm) << 16 } else { imm.into() };
                if d.is_port() {
                    if !ports.can_write(d.0) {
                        return Ok(Step::Stalled);
                    }
                    ports.write(d.0, value);
                } else {
                    self.store(d, value);
                }
            }
            Instruction::Jmp(target) => {
                next = target.into();
            }
            Instruction::Jal(d, target) => {
                self.store(d, (pc + 1) as u32);
                next = target.into();
            }
            Instruction::Jr(b) => {
                next = self.word(b) as usize;
            }
            Instruction::SetQp(b) => {
                let Some(qp) = self.fetch(ports, b.into()) else { return Ok(Step::Stalled) };
                if qp as usize >= self.contexts.len() {
                    return Err(Trap::Qp { pc, qp });
                }
                self.qp = qp;
            }
            Instruction::Wait(mask) => {
                if ports.cond() & u32::from(mask) == 0 {
                    return Ok(Step::Waiting);
                }
            }
            Instruction::Branch { negated, test, a, b, offset } => {
                let Some(a) = self.fetch(ports, a.into()) else { return Ok(Step::Stalled) };
                let Some(b) = self.fetch(ports, b) else { return Ok(Step::Stalled) };
                let holds = match test {
                    Test::Eq => a == b,
                    Test::Ltu => a < b,
                    Test::Lts => (a.wrapping_sub(b) as i32) < 0,
                    Test::Bit => a >> (b & 31) & 1 != 0,
                };
                taken = holds != negated;
                if taken {
                    next = pc.wrapping_add_signed(offset.into());
                    cycles += BRANCH_TAKEN;
                }
            }
        }
        self.pc = next;
        let count = &mut self.executed[pc];
        count[0] += 1;
        count[1] += u64::from(taken);
        Ok(Step::Ran(cycles))
    }

    fn alu(&mut self, op: Op, a: u32, b: u32) -> u32 {
        let carry = u32::from(self.carry);
        let (wide, sets) = match op {
            Op::Add => (u64::from(a) + u64::from(b), true),
            Op::Adc => (u64::from(a) + u64::from(b) + u64::from(carry), true),
            Op::Sub => (u64::from(a).wrapping_sub(b.into()), true),
            Op::Sbb => (u64::from(a).wrapping_sub(b.into()).wrapping_sub(carry.into()), true),
            Op::And => ((a & b).into(), false),
            Op::Or => ((a | b).into(), false),
            Op::Xor => ((a ^ b).into(), false),
            Op::Andn => ((a & !b).into(), false),
            Op::Shl => ((a << (b & 31)).into(), false),
            Op::Shr => ((a >> (b & 31)).into(), false),
            Op::Bswap => (b.swap_bytes().into(), false),
            Op::Loh => ((b & 0xffff).into(), false),
            Op::Pack => ((a << 16 | (b & 0xffff)).into(), false),
            Op::Mov | Op::Ldt | Op::Stt => (b.into(), false),
        };
        if sets {
            self.carry = wide >> 32 & 1 != 0;
        }
        wide as u32
    }
}
