//! The instruction set: what an instruction word means (docs/microarchitecture.md section 1).

/// Cycles that a branch takes longer if it is taken.
pub const BRANCH_TAKEN: u32 = 1;

/// First port address.
pub const PORTS: u8 = 112;
/// First address of the current QP's context.
pub const CONTEXT: u8 = 128;
/// Words of a QP's context.
pub const CONTEXT_WORDS: u8 = 64;

/// The address of an operand: a global word, a port, or a word of the current QP's context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Word(pub u8);

impl Word {
    /// Global word `n`, below 112.
    pub const fn global(n: u8) -> Self {
        assert!(n < PORTS, "there are 112 global words");
        Word(n)
    }
    /// Word `n` of the current QP's context, below 64.
    pub const fn context(n: u8) -> Self {
        assert!(n < CONTEXT_WORDS, "there are 64 context words");
        Word(CONTEXT + n)
    }
    /// Whether it is a port.
    pub const fn is_port(self) -> bool {
        self.0 >= PORTS && self.0 < CONTEXT
    }
    /// Whether it exists.
    pub const fn is_valid(self) -> bool {
        self.0 < CONTEXT + CONTEXT_WORDS
    }
}

/// Second operand: a word or an 8-bit number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operand {
    /// Content of a word.
    Word(Word),
    /// A number.
    Imm(u8),
}

impl From<Word> for Operand {
    fn from(word: Word) -> Self {
        Operand::Word(word)
    }
}

impl From<u8> for Operand {
    fn from(number: u8) -> Self {
        Operand::Imm(number)
    }
}

/// What an ALU instruction computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Op {
    /// b
    Mov = 0,
    /// a + b; C = carry
    Add = 1,
    /// a - b; C = borrow
    Sub = 2,
    /// a + b + C; C = carry
    Adc = 3,
    /// a - b - C; C = borrow
    Sbb = 4,
    /// a & b
    And = 5,
    /// a | b
    Or = 6,
    /// a ^ b
    Xor = 7,
    /// a & !b
    Andn = 8,
    /// a << b(4:0)
    Shl = 9,
    /// a >> b(4:0), zeros come in
    Shr = 10,
    /// the bytes of b in reverse order
    Bswap = 11,
    /// b & 0xffff
    Loh = 12,
    /// a << 16 | b & 0xffff
    Pack = 13,
    /// `T[a + b]`
    Ldt = 16,
    /// `T[a + d]` = b; d is a number
    Stt = 17,
}

impl Op {
    /// All of them.
    pub const ALL: [Op; 16] = [
        Op::Mov,
        Op::Add,
        Op::Sub,
        Op::Adc,
        Op::Sbb,
        Op::And,
        Op::Or,
        Op::Xor,
        Op::Andn,
        Op::Shl,
        Op::Shr,
        Op::Bswap,
        Op::Loh,
        Op::Pack,
        Op::Ldt,
        Op::Stt,
    ];
    fn from_code(code: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|op| *op as u32 == code)
    }
    /// Whether operand a is looked at.
    pub fn uses_a(self) -> bool {
        !matches!(self, Op::Mov | Op::Bswap | Op::Loh)
    }
}

/// What a branch compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Test {
    /// a = b
    Eq = 0,
    /// a < b, unsigned
    Ltu = 1,
    /// a before b in sequence order: bit 31 of a - b
    Lts = 2,
    /// bit b(4:0) of a
    Bit = 3,
}

/// An instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instruction {
    /// `M[d]` = a op b.
    Alu {
        /// Operation.
        op: Op,
        /// Destination; for STT the offset.
        d: u8,
        /// First operand.
        a: Word,
        /// Second operand.
        b: Operand,
    },
    /// `M[d]` = imm.
    Ldi(Word, u16),
    /// `M[d]` = imm << 16.
    Ldih(Word, u16),
    /// PC = target.
    Jmp(u16),
    /// `M[d]` = PC + 1, PC = target.
    Jal(Word, u16),
    /// PC = `M[b]`.
    Jr(Word),
    /// QP = `M[b]`.
    SetQp(Word),
    /// Stall until COND & mask is not 0.
    Wait(u8),
    /// If a test b, or not, PC += offset.
    Branch {
        /// Taken when the test fails.
        negated: bool,
        /// The test.
        test: Test,
        /// First operand.
        a: Word,
        /// Second operand.
        b: Operand,
        /// Distance from this instruction, -512..=511.
        offset: i16,
    },
}

impl Instruction {
    /// Cycles it takes, a branch if it is not taken.
    pub fn cycles(self) -> u32 {
        match self {
            Self::Alu { op: Op::Ldt, .. } | Self::Jr(_) | Self::SetQp(_) => 2,
            _ => 1,
        }
    }

    /// Its word.
    pub fn encode(self) -> u32 {
        let operand = |b: Operand| match b {
            Operand::Word(word) => (0, u32::from(word.0)),
            Operand::Imm(number) => (1, u32::from(number)),
        };
        let control = |sub: u32, d: u8, imm: u16| 2 << 30 | sub << 24 | u32::from(d) << 16 | u32::from(imm);
        match self {
            Self::Alu { op, d, a, b } => {
                let (immediate, b) = operand(b);
                immediate << 30 | (op as u32) << 24 | u32::from(d) << 16 | u32::from(a.0) << 8 | b
            }
            Self::Ldi(d, imm) => control(0, d.0, imm),
            Self::Ldih(d, imm) => control(1, d.0, imm),
            Self::Jmp(target) => control(2, 0, target),
            Self::Jal(d, target) => control(3, d.0, target),
            Self::Jr(b) => control(4, 0, b.0.into()),
            Self::SetQp(b) => control(5, 0, b.0.into()),
            Self::Wait(mask) => control(6, 0, mask.into()),
            Self::Branch { negated, test, a, b, offset } => {
                let (immediate, b) = operand(b);
                let flags = u32::from(negated) << 29 | (test as u32) << 27 | immediate << 26;
                3 << 30 | flags | (offset as u32 & 0x3ff) << 16 | u32::from(a.0) << 8 | b
            }
        }
    }

    /// Read a word; `None` if it is none.
    pub fn decode(word: u32) -> Option<Self> {
        let (d, a, b) = ((word >> 16) as u8, Word((word >> 8) as u8), word as u8);
        let operand = |immediate: bool| if immediate { Operand::Imm(b) } else { Operand::Word(Word(b)) };
        let imm = word as u16;
        Some(match word >> 30 {
            format @ (0 | 1) => {
                Self::Alu { op: Op::from_code(word >> 24 & 0x3f)?, d, a, b: operand(format == 1) }
            }
            2 => match word >> 24 & 0x3f {
                0 => Self::Ldi(Word(d), imm),
                1 => Self::Ldih(Word(d), imm),
                2 => Self::Jmp(imm),
                3 => Self::Jal(Word(d), imm),
                4 => Self::Jr(Word(b)),
                5 => Self::SetQp(Word(b)),
                6 => Self::Wait(b),
                _ => return None,
            },
            _ => Self::Branch {
                negated: word >> 29 & 1 != 0,
                test: match word >> 27 & 3 {
                    0 => Test::Eq,
                    1 => Test::Ltu,
                    2 => Test::Lts,
                    _ => Test::Bit,
                },
                a,
                b: operand(word >> 26 & 1 != 0),
                offset: ((word >> 16 & 0x3ff) as i16) << 6 >> 6,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn words_that_decode_encode_to_an_equal_instruction(word: u32) {
            if let Some(instruction) = Instruction::decode(word) {
                prop_assert_eq!(Instruction::decode(instruction.encode()), Some(instruction));
            }
        }
    }
}
