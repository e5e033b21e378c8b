//! The assembler: routines in, a program out.
//!
//! A program is written as Rust that calls one method an instruction; structure (`if_`, `while_`) becomes branches.
//! Routines do not recurse: each has a link word by its height in the call graph, so there is no stack.

use crate::isa::{Instruction, Op, Operand, Test, Word};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use thiserror::Error;

/// Why a program cannot be assembled.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AsmError {
    /// A routine is called that does not exist.
    #[error("routine '{caller}' calls '{callee}', which does not exist")]
    Undefined {
        /// Who calls.
        caller: String,
        /// What it calls.
        callee: String,
    },
    /// Two routines have the same name.
    #[error("routine '{0}' is defined twice")]
    Twice(String),
    /// Routines call each other in a circle.
    #[error("routine '{0}' calls itself, directly or through others")]
    Recursive(String),
    /// More nesting than link words.
    #[error("calls nest {0} deep; there are {LINKS} link words")]
    TooDeep(usize),
    /// A label was never bound.
    #[error("routine '{0}' jumps to a label that is nowhere")]
    Unbound(String),
    /// An instruction that the machine does not have.
    #[error("routine '{routine}': {what}")]
    Illegal {
        /// Where.
        routine: String,
        /// What is wrong.
        what: String,
    },
    /// The program does not fit.
    #[error("the program has {0} words; the ROM has {1}")]
    TooLong(usize, usize),
    /// The constants do not fit.
    #[error("{0} constants; there is room for {1}")]
    Constants(usize, usize),
}

/// Link words, from global word 0 up.
pub const LINKS: usize = 10;

/// A place to jump to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Label(usize);

/// A condition of a branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cond {
    negated: bool,
    test: Test,
    a: Word,
    b: Operand,
}

impl Cond {
    fn new(test: Test, negated: bool, a: Word, b: impl Into<Operand>) -> Self {
        Self { negated, test, a, b: b.into() }
    }
    /// The opposite.
    #[must_use]
    #[expect(clippy::should_implement_trait, reason = "reads well behind a condition, without an import")]
    pub fn not(self) -> Self {
        Self { negated: !self.negated, ..self }
    }
}

/// a = b
pub fn eq(a: Word, b: impl Into<Operand>) -> Cond {
    Cond::new(Test::Eq, false, a, b)
}
/// a != b
pub fn ne(a: Word, b: impl Into<Operand>) -> Cond {
    Cond::new(Test::Eq, true, a, b)
}
/// a < b, unsigned
pub fn ltu(a: Word, b: impl Into<Operand>) -> Cond {
    Cond::new(Test::Ltu, false, a, b)
}
/// a >= b, unsigned
pub fn geu(a: Word, b: impl Into<Operand>) -> Cond {
    Cond::new(Test::Ltu, true, a, b)
}
/// a > b, unsigned
pub fn gtu(a: Word, b: Word) -> Cond {
    ltu(b, a)
}
/// a <= b, unsigned
pub fn leu(a: Word, b: Word) -> Cond {
    geu(b, a)
}
/// a before b in sequence order (RFC 9293 3.4)
pub fn before(a: Word, b: impl Into<Operand>) -> Cond {
    Cond::new(Test::Lts, false, a, b)
}
/// a at or behind b in sequence order
pub fn not_before(a: Word, b: impl Into<Operand>) -> Cond {
    Cond::new(Test::Lts, true, a, b)
}
/// a behind b in sequence order
pub fn after(a: Word, b: Word) -> Cond {
    before(b, a)
}
/// a at or before b in sequence order
pub fn not_after(a: Word, b: Word) -> Cond {
    not_before(b, a)
}
/// Bit `n` of a is set.
pub fn bit(a: Word, n: u8) -> Cond {
    Cond::new(Test::Bit, false, a, n)
}
/// Bit `n` of a is clear.
pub fn nbit(a: Word, n: u8) -> Cond {
    Cond::new(Test::Bit, true, a, n)
}
/// The bit of a whose number is in b is set.
pub fn bit_of(a: Word, b: Word) -> Cond {
    Cond::new(Test::Bit, false, a, b)
}

#[derive(Debug, Clone)]
enum Item {
    Plain(Instruction),
    Bind(Label),
    Goto(Label),
    GotoIf(Cond, Label),
    Call(&'static str),
    Address(Word, Label),
    Return,
}

#[derive(Debug, Clone)]
struct Routine {
    name: &'static str,
    items: Vec<Item>,
    /// Bodies of [`Asm::rare`], put behind the rest.
    rare: Vec<Item>,
}

/// A program in the making.
#[derive(Debug, Default)]
pub struct Asm {
    routines: Vec<Routine>,
    labels: usize,
    /// Words of constants, in the order in which they were asked for.
    constants: RefCell<Vec<u32>>,
    first_constant: u8,
    constant_room: usize,
    errors: Vec<AsmError>,
}

/// An assembled program.
#[derive(Debug, Clone)]
pub struct Program {
    /// The ROM.
    pub words: Vec<u32>,
    /// Routines and where they begin, ascending.
    pub symbols: Vec<(usize, &'static str)>,
}

impl Asm {
    /// A program whose constants live in `room` global words from `first` on.
    pub fn new(first: u8, room: usize) -> Self {
        Self { first_constant: first, constant_room: room, ..Self::default() }
    }

    /// A word that holds a constant; [`constants`](Self::load_constants) loads them at the start.
    pub fn k(&self, value: u32) -> Word {
        let mut constants = self.constants.borrow_mut();
        let at = constants.iter().position(|known| *known == value).unwrap_or_else(|| {
            constants.push(value);
            constants.len() - 1
        });
        Word(self.first_constant.saturating_add(at as u8))
    }

    /// Define a routine. It returns at its end.
    pub fn routine(&mut self, name: &'static str, body: impl FnOnce(&mut Self)) {
        if self.routines.iter().any(|routine| routine.name == name) {
            self.errors.push(AsmError::Twice(name.into()));
        }
        self.routines.push(Routine { name, items: Vec::new(), rare: Vec::new() });
        body(self);
        self.push(Item::Return);
        if let Some(routine) = self.routines.last_mut() {
            let rare = std::mem::take(&mut routine.rare);
            routine.items.extend(rare);
        }
    }

    fn push(&mut self, item: Item) {
        if let Some(routine) = self.routines.last_mut() {
            routine.items.push(item);
        }
    }

    fn illegal(&mut self, what: String) {
        let routine = self.routines.last().map_or("", |routine| routine.name).into();
        self.errors.push(AsmError::Illegal { routine, what });
    }

    fn check_operands(&mut self, a: Option<Word>, b: Operand) {
        let word = |operand| if let Operand::Word(word) = operand { Some(word) } else { None };
        let used: Vec<Word> = a.into_iter().chain(word(b)).collect();
        if let Some(bad) = used.iter().find(|word| !word.is_valid()) {
            self.illegal(format!("there is no word {}", bad.0));
        }
        if used.iter().filter(|word| word.is_port()).count() > 1 {
            self.illegal("both operands are ports".into());
        }
    }

    fn alu(&mut self, op: Op, d: Word, a: Word, b: impl Into<Operand>) {
        let b = b.into();
        self.check_operands(op.uses_a().then_some(a), b);
        if !d.is_valid() {
            self.illegal(format!("there is no word {}", d.0));
        }
        let a = if op.uses_a() { a } else { Word(0) };
        self.push(Item::Plain(Instruction::Alu { op, d: d.0, a, b }));
    }

    /// d = b
    pub fn mov(&mut self, d: Word, b: impl Into<Operand>) {
        self.alu(Op::Mov, d, d, b);
    }
    /// d = a + b
    pub fn add(&mut self, d: Word, a: Word, b: impl Into<Operand>) {
        self.alu(Op::Add, d, a, b);
    }
    /// d = a - b
    pub fn sub(&mut self, d: Word, a: Word, b: impl Into<Operand>) {
        self.alu(Op::Sub, d, a, b);
    }
    /// d = a + b + C
    pub fn adc(&mut self, d: Word, a: Word, b: impl Into<Operand>) {
        self.alu(Op::Adc, d, a, b);
    }
    /// d = a - b - C
    pub fn sbb(&mut self, d: Word, a: Word, b: impl Into<Operand>) {
        self.alu(Op::Sbb, d, a, b);
    }
    /// d = a & b
    pub fn and(&mut self, d: Word, a: Word, b: impl Into<Operand>) {
        self.alu(Op::And, d, a, b);
    }
    /// d = a | b
    pub fn or(&mut self, d: Word, a: Word, b: impl Into<Operand>) {
        self.alu(Op::Or, d, a, b);
    }
    /// d = a ^ b
    pub fn xor(&mut self, d: Word, a: Word, b: impl Into<Operand>) {
        self.alu(Op::Xor, d, a, b);
    }
    /// d = a & !b
    pub fn andn(&mut self, d: Word, a: Word, b: impl Into<Operand>) {
        self.alu(Op::Andn, d, a, b);
    }
    /// d = a << b(4:0)
    pub fn shl(&mut self, d: Word, a: Word, b: impl Into<Operand>) {
        self.alu(Op::Shl, d, a, b);
    }
    /// d = a >> b(4:0)
    pub fn shr(&mut self, d: Word, a: Word, b: impl Into<Operand>) {
        self.alu(Op::Shr, d, a, b);
    }
    /// d = b with its bytes reversed
    pub fn bswap(&mut self, d: Word, b: Word) {
        self.alu(Op::Bswap, d, d, b);
    }
    /// d = low half of b
    pub fn loh(&mut self, d: Word, b: Word) {
        self.alu(Op::Loh, d, d, b);
    }
    /// d = low half of a in the high half, low half of b
    pub fn pack(&mut self, d: Word, high: Word, low: impl Into<Operand>) {
        self.alu(Op::Pack, d, high, low);
    }
    /// d = T[a + b]
    pub fn ldt(&mut self, d: Word, a: Word, b: impl Into<Operand>) {
        self.alu(Op::Ldt, d, a, b);
    }
    /// T[a + offset] = b
    pub fn stt(&mut self, a: Word, offset: u8, b: impl Into<Operand>) {
        let b = b.into();
        self.check_operands(Some(a), b);
        self.push(Item::Plain(Instruction::Alu { op: Op::Stt, d: offset, a, b }));
    }
    /// d = a number of 16 bits; larger ones are constants: [`k`](Self::k).
    pub fn ldi(&mut self, d: Word, value: u32) {
        match (u8::try_from(value), u16::try_from(value)) {
            (Ok(small), _) => self.mov(d, small),
            (_, Ok(half)) => self.push(Item::Plain(Instruction::Ldi(d, half))),
            _ if value & 0xffff == 0 => {
                self.push(Item::Plain(Instruction::Ldih(d, (value >> 16) as u16)));
            }
            _ => {
                let k = self.k(value);
                self.mov(d, k);
            }
        }
    }
    /// The QP register.
    pub fn set_qp(&mut self, b: Word) {
        self.push(Item::Plain(Instruction::SetQp(b)));
    }
    /// Stall until COND & mask is not 0.
    pub fn wait(&mut self, mask: u8) {
        self.push(Item::Plain(Instruction::Wait(mask)));
    }
    /// Load all constants: at the start of the program. Clobbers `scratch`.
    pub fn load_constants(&mut self, scratch: Word) {
        // The list is not complete before the last routine: a marker, expanded by `assemble`.
        self.push(Item::Plain(Instruction::Jal(scratch, u16::MAX)));
    }

    /// A new label.
    pub fn label(&mut self) -> Label {
        self.labels += 1;
        Label(self.labels - 1)
    }
    /// The label is here.
    pub fn bind(&mut self, label: Label) {
        self.push(Item::Bind(label));
    }
    /// Jump.
    pub fn goto(&mut self, label: Label) {
        self.push(Item::Goto(label));
    }
    /// Jump if.
    pub fn goto_if(&mut self, cond: Cond, label: Label) {
        self.check_operands(Some(cond.a), cond.b);
        self.push(Item::GotoIf(cond, label));
    }
    /// d = the address of a label, for [`jump`](Self::jump).
    pub fn address(&mut self, d: Word, label: Label) {
        self.push(Item::Address(d, label));
    }
    /// Jump to the address in a word.
    pub fn jump(&mut self, to: Word) {
        self.push(Item::Plain(Instruction::Jr(to)));
    }
    /// Call a routine.
    pub fn call(&mut self, name: &'static str) {
        self.push(Item::Call(name));
    }
    /// Return from the routine.
    pub fn ret(&mut self) {
        self.push(Item::Return);
    }
    /// Return from the routine if.
    pub fn ret_if(&mut self, cond: Cond) {
        self.if_(cond, |p| p.ret());
    }
    /// If, then. The likely case should be "then": it costs no taken branch.
    pub fn if_(&mut self, cond: Cond, then: impl FnOnce(&mut Self)) {
        let end = self.label();
        self.goto_if(cond.not(), end);
        then(self);
        self.bind(end);
    }
    /// If, then, else.
    pub fn if_else(&mut self, cond: Cond, then: impl FnOnce(&mut Self), otherwise: impl FnOnce(&mut Self)) {
        let (other, end) = (self.label(), self.label());
        self.goto_if(cond.not(), other);
        then(self);
        self.goto(end);
        self.bind(other);
        otherwise(self);
        self.bind(end);
    }
    /// If, then, for the unlikely: the body stands behind the routine's end, so not taking it costs one cycle.
    pub fn rare(&mut self, cond: Cond, then: impl FnOnce(&mut Self)) {
        let (away, back) = (self.label(), self.label());
        self.goto_if(cond, away);
        let start = self.routines.last().map_or(0, |routine| routine.items.len());
        then(self);
        if let Some(routine) = self.routines.last_mut() {
            let body = routine.items.split_off(start);
            routine.rare.push(Item::Bind(away));
            routine.rare.extend(body);
            if !matches!(routine.rare.last(), Some(Item::Goto(_) | Item::Return)) {
                routine.rare.push(Item::Goto(back));
            }
        }
        self.bind(back);
    }
    /// While.
    pub fn while_(&mut self, cond: Cond, body: impl FnOnce(&mut Self)) {
        let (top, end) = (self.label(), self.label());
        self.bind(top);
        self.goto_if(cond.not(), end);
        body(self);
        self.goto(top);
        self.bind(end);
    }

    /// Height of each routine in the call graph.
    fn heights(&self) -> Result<HashMap<&'static str, usize>, AsmError> {
        fn height(
            name: &'static str,
            callees: &HashMap<&'static str, Vec<&'static str>>,
            known: &mut HashMap<&'static str, usize>,
            path: &mut Vec<&'static str>,
        ) -> Result<usize, AsmError> {
            if let Some(known) = known.get(name) {
                return Ok(*known);
            }
            if path.contains(&name) {
                return Err(AsmError::Recursive(name.into()));
            }
            path.push(name);
            let mut result = 0;
            for callee in &callees[name] {
                if !callees.contains_key(callee) {
                    return Err(AsmError::Undefined { caller: name.into(), callee: (*callee).into() });
                }
                result = result.max(height(callee, callees, known, path)? + 1);
            }
            path.pop();
            known.insert(name, result);
            Ok(result)
        }
        let callees: HashMap<_, Vec<_>> = self
            .routines
            .iter()
            .map(|routine| {
                let called = |item: &Item| if let Item::Call(name) = item { Some(*name) } else { None };
                (routine.name, routine.items.iter().filter_map(called).collect())
            })
            .collect();
        let mut known = HashMap::new();
        for routine in &self.routines {
            height(routine.name, &callees, &mut known, &mut Vec::new())?;
        }
        Ok(known)
    }

    /// Assemble for a ROM of `room` words. The first routine defined is entered at reset and must not return.
    pub fn assemble(mut self, room: usize) -> Result<Program, AsmError> {
        self.check_operands(None, Operand::Imm(0));
        if let Some(error) = self.errors.first() {
            return Err(error.clone());
        }
        let constants = self.constants.take();
        if constants.len() > self.constant_room {
            return Err(AsmError::Constants(constants.len(), self.constant_room));
        }
        let heights = self.heights()?;
        if let Some(deep) = heights.values().max().filter(|height| **height >= LINKS) {
            return Err(AsmError::TooDeep(*deep + 1));
        }
        let first_constant = self.first_constant;
        for routine in &mut self.routines {
            expand_constants(routine, &constants, first_constant);
        }
        // Branches that do not reach are made long, until none is left.
        let mut long: HashMap<(usize, usize), bool> = HashMap::new();
        loop {
            let (words, symbols, too_short) = self.layout(&heights, &long)?;
            if too_short.is_empty() {
                if words.len() > room {
                    return Err(AsmError::TooLong(words.len(), room));
                }
                return Ok(Program { words, symbols });
            }
            long.extend(too_short.into_iter().map(|at| (at, true)));
        }
    }

    #[expect(clippy::type_complexity, reason = "used once, above")]
    fn layout(
        &self,
        heights: &HashMap<&'static str, usize>,
        long: &HashMap<(usize, usize), bool>,
    ) -> Result<(Vec<u32>, Vec<(usize, &'static str)>, Vec<(usize, usize)>), AsmError> {
        let mut entries = BTreeMap::new();
        let mut labels = HashMap::new();
        let mut at = 0;
        for (r, routine) in self.routines.iter().enumerate() {
            entries.insert(routine.name, at);
            for (i, item) in routine.items.iter().enumerate() {
                match item {
                    Item::Bind(label) => {
                        labels.insert(*label, at);
                    }
                    Item::GotoIf(..) if long.contains_key(&(r, i)) => at += 2,
                    _ => at += 1,
                }
            }
        }
        let mut words = Vec::new();
        let mut too_short = Vec::new();
        for (r, routine) in self.routines.iter().enumerate() {
            let find = |label: &Label| {
                labels.get(label).copied().ok_or_else(|| AsmError::Unbound(routine.name.into()))
            };
            let link = |name: &str| Word(heights[name] as u8);
            for (i, item) in routine.items.iter().enumerate() {
                let here = words.len();
                match item {
                    Item::Bind(_) => {}
                    Item::Plain(instruction) => words.push(instruction.encode()),
                    Item::Goto(label) => words.push(Instruction::Jmp(find(label)? as u16).encode()),
                    Item::Call(name) => {
                        words.push(Instruction::Jal(link(name), entries[name] as u16).encode());
                    }
                    Item::Address(d, label) => {
                        words.push(Instruction::Ldi(*d, find(label)? as u16).encode());
                    }
                    Item::Return => words.push(Instruction::Jr(link(routine.name)).encode()),
                    Item::GotoIf(cond, label) => {
                        let target = find(label)?;
                        let Cond { negated, test, a, b } = *cond;
                        if long.contains_key(&(r, i)) {
                            words.push(
                                Instruction::Branch { negated: !negated, test, a, b, offset: 2 }.encode(),
                            );
                            words.push(Instruction::Jmp(target as u16).encode());
                        } else {
                            let offset = target as i64 - here as i64;
                            if !(-512..=511).contains(&offset) {
                                too_short.push((r, i));
                            }
                            let offset = offset as i16;
                            words.push(Instruction::Branch { negated, test, a, b, offset }.encode());
                        }
                    }
                }
            }
        }
        let mut symbols: Vec<_> = entries.into_iter().map(|(name, at)| (at, name)).collect();
        symbols.sort_unstable();
        Ok((words, symbols, too_short))
    }
}

/// Put the loading of the constants where the routine asks for it.
fn expand_constants(routine: &mut Routine, constants: &[u32], first: u8) {
    let is_marker =
        |item: &Item| matches!(item, Item::Plain(Instruction::Jal(_, target)) if *target == u16::MAX);
    let Some(at) = routine.items.iter().position(is_marker) else { return };
    let Item::Plain(Instruction::Jal(scratch, _)) = routine.items[at] else { return };
    let loads = constants.iter().enumerate().flat_map(|(index, value)| {
        let d = Word(first + index as u8);
        let (high, low) = ((value >> 16) as u16, *value as u16);
        match (high, low) {
            (0, low) => vec![Instruction::Ldi(d, low)],
            (high, 0) => vec![Instruction::Ldih(d, high)],
            (high, low) => vec![
                Instruction::Ldi(d, low),
                Instruction::Ldih(scratch, high),
                Instruction::Alu { op: Op::Or, d: d.0, a: scratch, b: Operand::Word(d) },
            ],
        }
    });
    let loads: Vec<_> = loads.map(Item::Plain).collect();
    routine.items.splice(at..=at, loads);
}

impl Program {
    /// The routine that contains address `pc`, and how far into it.
    pub fn place(&self, pc: usize) -> (&'static str, usize) {
        let after = self.symbols.partition_point(|(at, _)| *at <= pc);
        after.checked_sub(1).map_or(("", pc), |index| (self.symbols[index].1, pc - self.symbols[index].0))
    }

    /// The program as text, one instruction a line.
    pub fn listing(&self) -> String {
        use std::fmt::Write;
        let mut text = String::new();
        for (pc, word) in self.words.iter().enumerate() {
            let (name, offset) = self.place(pc);
            if offset == 0 {
                let _ = writeln!(text, "{name}:");
            }
            let _ = match Instruction::decode(*word) {
                Some(instruction) => writeln!(text, "  {pc:4x}  {word:08x}  {instruction:?}"),
                None => writeln!(text, "  {pc:4x}  {word:08x}  ?"),
            };
        }
        text
    }
}
