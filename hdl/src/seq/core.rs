use super::cache::Cache;
use super::store::{Operands, Table};
use crate::fb::{FB, bit_cast, bits};
use rust_hdl::prelude::*;

/// The sequencer (docs/microarchitecture.md section 1): `P` address bits of program, `M` of operand memory, `T` of table memory; `I` of the program
/// words that are here, in 2^`N` lines.
///
/// ```text
///        fetch            read               execute
///  pc -> Cache --> ir --> M (a, b) ----> a, b --> ALU --> result --+--> M[d]
///   ^               |      forward ------^  ^      |                +--> out port
///   |<-- JMP, JAL --+                       |      +--> T
///   |                                   in port    |
///   |<---------------------------------------- branch, JR, SETQP
/// ```
///
/// **Interface.** `port`, `port_take` / `port_data`, `port_valid`: the port that the executing instruction reads; it is taken when both
/// are set. `out_*`: likewise for the port it writes. `cond`: the COND bits, for WAIT. `waiting`: it is in WAIT and nothing has come. `retired`,
/// `retired_pc`: an instruction has been executed, for traces and coverage. `fill_*`: lines of the program, as [`Cache`] wants them.
///
/// **Two forms.** [`Sequencer::new`] holds the whole program and two copies of M. [`Sequencer::small`] fetches its program through a cache, which takes far longer than
/// any instruction: so it has one copy of M, looks for an instruction only when the one in front is done, and shifts a place a cycle.
///
/// **Theory of operation.** Three stages. A jump that the instruction word alone decides is taken while the word is read, so
/// it costs nothing more (in the small form no jump does); one that needs operands is taken at the end of execute, and the instruction being read is
/// dropped. The result of the instruction in front is forwarded, since M does not give a word that is being written. The adder's sum addresses T:
/// STT writes in its cycle, LDT reads and stays for a second one. When a port is not ready, everything stands still. An instruction that is not there, or
/// has read one of its two words, stays in its stage, and nothing goes to execute. A line is only asked for when nothing is in execute that could
/// jump elsewhere.
///
/// **Latency** 3 cycles. **Throughput** an instruction a cycle; branch taken, JR, SETQP, LDT: 2. Small form: 2 cycles, 1 more if it reads two words of M, 1 more if it writes a word;
/// LDT 1 more; a shift or a test of a bit 1 more, and 1 for each place.
#[derive(LogicBlock)]
pub struct Sequencer<const P: usize, const M: usize, const T: usize, const I: usize, const N: usize> {
    /// Rising edge.
    pub clock: Signal<In, Clock>,
    /// Start at address 0.
    pub reset: Signal<In, Bit>,
    /// Port to read, low 4 bits of its address.
    pub port: Signal<Out, FB<4>>,
    /// Its word is wanted.
    pub port_take: Signal<Out, Bit>,
    /// The word.
    pub port_data: Signal<In, FB<32>>,
    /// There is a word.
    pub port_valid: Signal<In, Bit>,
    /// Port to write, low 4 bits of its address.
    pub out_port: Signal<Out, FB<4>>,
    /// There is a word for it.
    pub out_valid: Signal<Out, Bit>,
    /// The word.
    pub out_data: Signal<Out, FB<32>>,
    /// It can be taken.
    pub out_ready: Signal<In, Bit>,
    /// COND.
    pub cond: Signal<In, FB<10>>,
    /// In WAIT.
    pub waiting: Signal<Out, Bit>,
    /// An instruction is complete.
    pub retired: Signal<Out, Bit>,
    /// Its address.
    pub retired_pc: Signal<Out, FB<P>>,
    /// A line of the program is wanted.
    pub fill_request: Signal<Out, Bit>,
    /// Address of its first word.
    pub fill_address: Signal<Out, FB<P>>,
    /// Its next word.
    pub fill_data: Signal<In, FB<32>>,
    /// Here it is.
    pub fill_valid: Signal<In, Bit>,
    context_base: Constant<FB<M>>,
    ones: Constant<FB<32>>,
    sign: Constant<FB<P>>,
    single: Constant<Bit>,
    program: Cache<P, I, N>,
    operands: Operands<M>,
    tables: Table<T>,
    // Fetch and read.
    pc: DFF<FB<P>>,
    ir_pc: DFF<FB<P>>,
    ir_valid: DFF<Bit>,
    // The first of its two words is read.
    half: DFF<Bit>,
    // Execute.
    x_two: DFF<Bit>,
    first: DFF<FB<32>>,
    x_ir: DFF<FB<32>>,
    x_pc: DFF<FB<P>>,
    x_valid: DFF<Bit>,
    x_phase: DFF<Bit>,
    // The result is in `last`.
    settled: DFF<Bit>,
    // Places by which a word is still to be shifted.
    turns: DFF<FB<5>>,
    forward_a: DFF<Bit>,
    forward_b: DFF<Bit>,
    last: DFF<FB<32>>,
    carry: DFF<Bit>,
    qp: DFF<FB<M>>,
    // Wires of read.
    ir: Signal<Local, FB<32>>,
    ir_a: Signal<Local, FB<8>>,
    ir_b: Signal<Local, FB<8>>,
    ir_sub: Signal<Local, FB<8>>,
    fetch: Signal<Local, FB<P>>,
    address_a: Signal<Local, FB<M>>,
    address_b: Signal<Local, FB<M>>,
    offset_a: Signal<Local, FB<6>>,
    offset_b: Signal<Local, FB<6>>,
    global_a: Signal<Local, FB<7>>,
    global_b: Signal<Local, FB<7>>,
    only_b: Signal<Local, Bit>,
    two: Signal<Local, Bit>,
    missing: Signal<Local, Bit>,
    incomplete: Signal<Local, Bit>,
    advances: Signal<Local, Bit>,
    enters: Signal<Local, Bit>,
    // Wires of execute.
    word_a: Signal<Local, FB<32>>,
    word: Signal<Local, FB<32>>,
    format: Signal<Local, FB<2>>,
    op: Signal<Local, FB<6>>,
    field_d: Signal<Local, FB<8>>,
    field_a: Signal<Local, FB<8>>,
    field_b: Signal<Local, FB<8>>,
    imm16: Signal<Local, FB<16>>,
    is_alu: Signal<Local, Bit>,
    is_control: Signal<Local, Bit>,
    is_branch: Signal<Local, Bit>,
    is_ldt: Signal<Local, Bit>,
    is_stt: Signal<Local, Bit>,
    is_jr: Signal<Local, Bit>,
    is_setqp: Signal<Local, Bit>,
    is_wait: Signal<Local, Bit>,
    immediate: Signal<Local, Bit>,
    port_a: Signal<Local, Bit>,
    port_b: Signal<Local, Bit>,
    writes: Signal<Local, Bit>,
    port_d: Signal<Local, Bit>,
    a: Signal<Local, FB<32>>,
    b: Signal<Local, FB<32>>,
    subtract: Signal<Local, Bit>,
    addend: Signal<Local, FB<32>>,
    carry_in: Signal<Local, Bit>,
    wide_a: Signal<Local, FB<33>>,
    wide_b: Signal<Local, FB<33>>,
    wide_c: Signal<Local, FB<33>>,
    wide: Signal<Local, FB<33>>,
    sum: Signal<Local, FB<32>>,
    carry_out: Signal<Local, Bit>,
    both: Signal<Local, Bit>,
    x_at: Signal<Local, FB<P>>,
    is_slow: Signal<Local, Bit>,
    computed: Signal<Local, Bit>,
    kept: Signal<Local, FB<32>>,
    turning: Signal<Local, Bit>,
    given: Signal<Local, FB<32>>,
    amount: Signal<Local, FB<5>>,
    is_left: Signal<Local, Bit>,
    turn: Signal<Local, FB<5>>,
    turn_1: Signal<Local, FB<32>>,
    turn_2: Signal<Local, FB<32>>,
    turn_4: Signal<Local, FB<32>>,
    turn_8: Signal<Local, FB<32>>,
    turn_16: Signal<Local, FB<32>>,
    within: Signal<Local, FB<32>>,
    shifted: Signal<Local, FB<32>>,
    logic: Signal<Local, FB<32>>,
    moved: Signal<Local, FB<32>>,
    stated: Signal<Local, FB<32>>,
    group: Signal<Local, FB<3>>,
    low_groups: Signal<Local, FB<32>>,
    high_groups: Signal<Local, FB<32>>,
    half_a: Signal<Local, FB<32>>,
    half_b: Signal<Local, FB<32>>,
    inverse_b: Signal<Local, FB<32>>,
    byte_0: Signal<Local, FB<32>>,
    byte_1: Signal<Local, FB<32>>,
    byte_2: Signal<Local, FB<32>>,
    byte_3: Signal<Local, FB<32>>,
    low_byte: Signal<Local, FB<8>>,
    next_byte: Signal<Local, FB<8>>,
    third_byte: Signal<Local, FB<8>>,
    high_byte: Signal<Local, FB<8>>,
    result: Signal<Local, FB<32>>,
    wide_imm: Signal<Local, FB<32>>,
    next_pc: Signal<Local, FB<P>>,
    wide_pc: Signal<Local, FB<32>>,
    holds: Signal<Local, Bit>,
    taken: Signal<Local, Bit>,
    jump: Signal<Local, Bit>,
    short: Signal<Local, FB<10>>,
    distance: Signal<Local, FB<P>>,
    target: Signal<Local, FB<P>>,
    mask: Signal<Local, FB<8>>,
    conditions: Signal<Local, FB<8>>,
    came: Signal<Local, Bit>,
    executes: Signal<Local, Bit>,
    input_ok: Signal<Local, Bit>,
    output_ok: Signal<Local, Bit>,
    wait_ok: Signal<Local, Bit>,
    phase_ok: Signal<Local, Bit>,
    done: Signal<Local, Bit>,
    moves: Signal<Local, Bit>,
    stores: Signal<Local, Bit>,
    store_address: Signal<Local, FB<M>>,
    offset_d: Signal<Local, FB<6>>,
    global_d: Signal<Local, FB<7>>,
    qp_number: Signal<Local, FB<M>>,
}

impl<const P: usize, const M: usize, const T: usize, const I: usize, const N: usize>
    Sequencer<P, M, T, I, N>
{
    /// With this program. Contexts begin in the upper half of the operand memory.
    pub fn new(program: &[u32]) -> Self {
        Self::form(false, Cache::whole(program), Operands::default())
    }

    /// With a cache in front of a program elsewhere, and one copy of the operand memory.
    pub fn small() -> Self {
        Self::form(true, Cache::empty(), Operands::single())
    }

    fn form(single: bool, program: Cache<P, I, N>, operands: Operands<M>) -> Self {
        Self {
            clock: Signal::default(),
            reset: Signal::default(),
            port: Signal::default(),
            port_take: Signal::default(),
            port_data: Signal::default(),
            port_valid: Signal::default(),
            out_port: Signal::default(),
            out_valid: Signal::default(),
            out_data: Signal::default(),
            out_ready: Signal::default(),
            cond: Signal::default(),
            waiting: Signal::default(),
            retired: Signal::default(),
            retired_pc: Signal::default(),
            context_base: Constant::new(FB::new(1 << (M - 1))),
            ones: Constant::new(FB::new(0xffff_ffff)),
            sign: Constant::new(FB::cut(!0x3ff)),
            fill_request: Signal::default(),
            fill_address: Signal::default(),
            fill_data: Signal::default(),
            fill_valid: Signal::default(),
            single: Constant::new(single),
            program,
            operands,
            tables: Table::default(),
            pc: DFF::default(),
            ir_pc: DFF::default(),
            ir_valid: DFF::default(),
            half: DFF::default(),
            x_two: DFF::default(),
            first: DFF::default(),
            x_ir: DFF::default(),
            x_pc: DFF::default(),
            x_valid: DFF::default(),
            x_phase: DFF::default(),
            settled: DFF::default(),
            turns: DFF::default(),
            forward_a: DFF::default(),
            forward_b: DFF::default(),
            last: DFF::default(),
            carry: DFF::default(),
            qp: DFF::default(),
            ir: Signal::default(),
            ir_a: Signal::default(),
            ir_b: Signal::default(),
            ir_sub: Signal::default(),
            fetch: Signal::default(),
            address_a: Signal::default(),
            address_b: Signal::default(),
            offset_a: Signal::default(),
            offset_b: Signal::default(),
            global_a: Signal::default(),
            global_b: Signal::default(),
            only_b: Signal::default(),
            two: Signal::default(),
            missing: Signal::default(),
            incomplete: Signal::default(),
            advances: Signal::default(),
            enters: Signal::default(),
            word_a: Signal::default(),
            word: Signal::default(),
            format: Signal::default(),
            op: Signal::default(),
            field_d: Signal::default(),
            field_a: Signal::default(),
            field_b: Signal::default(),
            imm16: Signal::default(),
            is_alu: Signal::default(),
            is_control: Signal::default(),
            is_branch: Signal::default(),
            is_ldt: Signal::default(),
            is_stt: Signal::default(),
            is_jr: Signal::default(),
            is_setqp: Signal::default(),
            is_wait: Signal::default(),
            immediate: Signal::default(),
            port_a: Signal::default(),
            port_b: Signal::default(),
            writes: Signal::default(),
            port_d: Signal::default(),
            a: Signal::default(),
            b: Signal::default(),
            subtract: Signal::default(),
            addend: Signal::default(),
            carry_in: Signal::default(),
            wide_a: Signal::default(),
            wide_b: Signal::default(),
            wide_c: Signal::default(),
            wide: Signal::default(),
            sum: Signal::default(),
            carry_out: Signal::default(),
            both: Signal::default(),
            x_at: Signal::default(),
            is_slow: Signal::default(),
            computed: Signal::default(),
            kept: Signal::default(),
            turning: Signal::default(),
            given: Signal::default(),
            amount: Signal::default(),
            is_left: Signal::default(),
            turn: Signal::default(),
            turn_1: Signal::default(),
            turn_2: Signal::default(),
            turn_4: Signal::default(),
            turn_8: Signal::default(),
            turn_16: Signal::default(),
            within: Signal::default(),
            shifted: Signal::default(),
            logic: Signal::default(),
            moved: Signal::default(),
            stated: Signal::default(),
            group: Signal::default(),
            low_groups: Signal::default(),
            high_groups: Signal::default(),
            half_a: Signal::default(),
            half_b: Signal::default(),
            inverse_b: Signal::default(),
            byte_0: Signal::default(),
            byte_1: Signal::default(),
            byte_2: Signal::default(),
            byte_3: Signal::default(),
            low_byte: Signal::default(),
            next_byte: Signal::default(),
            third_byte: Signal::default(),
            high_byte: Signal::default(),
            result: Signal::default(),
            wide_imm: Signal::default(),
            next_pc: Signal::default(),
            wide_pc: Signal::default(),
            holds: Signal::default(),
            taken: Signal::default(),
            jump: Signal::default(),
            short: Signal::default(),
            distance: Signal::default(),
            target: Signal::default(),
            mask: Signal::default(),
            conditions: Signal::default(),
            came: Signal::default(),
            executes: Signal::default(),
            input_ok: Signal::default(),
            output_ok: Signal::default(),
            wait_ok: Signal::default(),
            phase_ok: Signal::default(),
            done: Signal::default(),
            moves: Signal::default(),
            stores: Signal::default(),
            store_address: Signal::default(),
            offset_d: Signal::default(),
            global_d: Signal::default(),
            qp_number: Signal::default(),
        }
    }
}

impl<const P: usize, const M: usize, const T: usize, const I: usize, const N: usize> Logic
    for Sequencer<P, M, T, I, N>
{
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(
            self, clock, pc, ir_pc, ir_valid, half, x_two, first, x_ir, x_pc, x_valid, x_phase, settled,
            turns, forward_a, forward_b, last, carry, qp
        );
        clock!(self, clock, program, operands, tables);
        self.program.reset.next = self.reset.val();
        self.fill_request.next = self.program.fill_request.val();
        self.fill_address.next = self.program.fill_address.val();
        self.program.fill_data.next = self.fill_data.val();
        self.program.fill_valid.next = self.fill_valid.val();

        // The instruction that is there.
        self.ir.next = self.program.data.val();
        self.ir_a.next = self.ir.val().get_bits::<8>(8);
        self.ir_b.next = self.ir.val().get_bits::<8>(0);
        self.ir_sub.next = self.ir.val().get_bits::<8>(24);
        // With one copy: MOV, BSWAP, LOH, JR and SETQP read b alone; the others of formats 0 and 3 without an immediate read both.
        self.only_b.next = (self.ir_sub.val() == 0)
            || (self.ir_sub.val() == 11)
            || (self.ir_sub.val() == 12)
            || (self.ir_sub.val() == 0x84)
            || (self.ir_sub.val() == 0x85);
        self.two.next = self.single.val()
            && !self.only_b.val()
            && ((!self.ir.val().get_bit(31) && !self.ir.val().get_bit(30))
                || (self.ir.val().get_bit(31) && self.ir.val().get_bit(30) && !self.ir.val().get_bit(26)));

        // The instruction in execute.
        self.word.next = self.x_ir.q.val();
        self.x_at.next = self.x_pc.q.val();
        if self.single.val() {
            self.word.next = self.ir.val();
            self.x_at.next = self.ir_pc.q.val();
        }
        self.format.next = self.word.val().get_bits::<2>(30);
        self.op.next = self.word.val().get_bits::<6>(24);
        self.field_d.next = self.word.val().get_bits::<8>(16);
        self.field_a.next = self.word.val().get_bits::<8>(8);
        self.field_b.next = self.word.val().get_bits::<8>(0);
        self.imm16.next = self.word.val().get_bits::<16>(0);
        self.is_alu.next = !self.word.val().get_bit(31);
        self.is_control.next = self.format.val() == 2;
        self.is_branch.next = self.format.val() == 3;
        self.is_ldt.next = self.is_alu.val() && (self.op.val() == 16);
        self.is_stt.next = self.is_alu.val() && (self.op.val() == 17);
        self.is_jr.next = self.is_control.val() && (self.op.val() == 4);
        self.is_setqp.next = self.is_control.val() && (self.op.val() == 5);
        self.is_wait.next = self.is_control.val() && (self.op.val() == 6);
        self.immediate.next =
            (self.format.val() == 1) || (self.is_branch.val() && self.word.val().get_bit(26));
        self.port_a.next = !self.is_control.val()
            && !self.field_a.val().get_bit(7)
            && self.field_a.val().get_bit(6)
            && self.field_a.val().get_bit(5)
            && self.field_a.val().get_bit(4);
        self.port_b.next = ((self.format.val() == 0)
            || (self.is_branch.val() && !self.word.val().get_bit(26))
            || self.is_setqp.val())
            && !self.field_b.val().get_bit(7)
            && self.field_b.val().get_bit(6)
            && self.field_b.val().get_bit(5)
            && self.field_b.val().get_bit(4);
        self.writes.next = (self.is_alu.val() && !self.is_stt.val())
            || (self.is_control.val() && ((self.op.val() < 2) || (self.op.val() == 3)));
        self.port_d.next = self.writes.val()
            && !self.field_d.val().get_bit(7)
            && self.field_d.val().get_bit(6)
            && self.field_d.val().get_bit(5)
            && self.field_d.val().get_bit(4);

        // Operands.
        self.word_a.next = self.operands.data_a.val();
        if self.forward_a.q.val() {
            self.word_a.next = self.last.q.val();
        }
        self.a.next = self.word_a.val();
        self.both.next = self.x_two.q.val();
        if self.single.val() {
            self.both.next = self.two.val();
        }
        // What the port or the memory gives.
        self.given.next = self.word_a.val();
        if self.port_a.val() {
            self.given.next = self.port_data.val();
        }
        self.a.next = self.given.val();
        if self.both.val() && !self.port_a.val() {
            self.a.next = self.first.q.val();
        }
        self.b.next = self.operands.data_b.val();
        if self.forward_b.q.val() {
            self.b.next = self.last.q.val();
        }
        if self.port_b.val() {
            self.b.next = self.port_data.val();
        }
        if self.immediate.val() {
            self.b.next = bit_cast::<32, 8>(self.field_b.val());
        }
        self.port.next = self.field_a.val().get_bits::<4>(0);
        if self.port_b.val() {
            self.port.next = self.field_b.val().get_bits::<4>(0);
        }

        // Adder: sums, differences, comparisons, table addresses.
        self.subtract.next = self.is_branch.val() || (self.op.val() == 2) || (self.op.val() == 4);
        self.addend.next = self.b.val();
        if self.is_stt.val() {
            self.addend.next = bit_cast::<32, 8>(self.field_d.val());
        }
        self.inverse_b.next = !self.b.val();
        if self.subtract.val() {
            self.addend.next = self.inverse_b.val();
        }
        self.carry_in.next = self.subtract.val();
        if self.is_alu.val() && (self.op.val() == 3) {
            self.carry_in.next = self.carry.q.val();
        }
        if self.is_alu.val() && (self.op.val() == 4) {
            self.carry_in.next = !self.carry.q.val();
        }
        self.wide_a.next = bit_cast::<33, 32>(self.a.val());
        self.wide_b.next = bit_cast::<33, 32>(self.addend.val());
        self.wide_c.next = bit_cast::<33, 1>(self.carry_in.val().into());
        self.wide.next = self.wide_a.val() + self.wide_b.val() + self.wide_c.val();
        self.sum.next = self.wide.val().get_bits::<32>(0);
        self.carry_out.next = self.wide.val().get_bit(32);

        // Shifter: a rotation to the right, then without what came round. To the left it is one by 32 less so many.
        self.amount.next = self.b.val().get_bits::<5>(0);
        self.is_left.next = self.is_alu.val() && (self.op.val() == 9);
        self.turn.next = self.amount.val();
        if self.is_left.val() {
            self.turn.next = bits::<5>(0) - self.amount.val();
        }
        self.turn_1.next = self.a.val();
        if self.turn.val().get_bit(0) {
            self.turn_1.next = (self.a.val() >> 1) | (self.a.val() << 31);
        }
        self.turn_2.next = self.turn_1.val();
        if self.turn.val().get_bit(1) {
            self.turn_2.next = (self.turn_1.val() >> 2) | (self.turn_1.val() << 30);
        }
        self.turn_4.next = self.turn_2.val();
        if self.turn.val().get_bit(2) {
            self.turn_4.next = (self.turn_2.val() >> 4) | (self.turn_2.val() << 28);
        }
        self.turn_8.next = self.turn_4.val();
        if self.turn.val().get_bit(3) {
            self.turn_8.next = (self.turn_4.val() >> 8) | (self.turn_4.val() << 24);
        }
        self.turn_16.next = self.turn_8.val();
        if self.turn.val().get_bit(4) {
            self.turn_16.next = (self.turn_8.val() >> 16) | (self.turn_8.val() << 16);
        }
        self.within.next = self.ones.val() >> self.amount.val();
        if self.is_left.val() {
            self.within.next = self.ones.val() << self.amount.val();
        }
        self.shifted.next = self.turn_16.val() & self.within.val();
        // With one copy: a place a cycle, in `first`.
        self.is_slow.next = self.single.val()
            && ((self.is_alu.val() && ((self.op.val() == 9) || (self.op.val() == 10)))
                || (self.is_branch.val() && self.word.val().get_bit(28) && self.word.val().get_bit(27)));
        self.turning.next = self.turns.q.val() != 0;
        if self.single.val() {
            self.shifted.next = self.first.q.val();
        }

        // Halves and bytes.
        self.half_a.next = self.a.val() << 16;
        self.half_b.next = self.b.val() & 0xffff;
        self.low_byte.next = self.b.val().get_bits::<8>(0);
        self.next_byte.next = self.b.val().get_bits::<8>(8);
        self.third_byte.next = self.b.val().get_bits::<8>(16);
        self.high_byte.next = self.b.val().get_bits::<8>(24);
        self.byte_0.next = bit_cast::<32, 8>(self.high_byte.val());
        self.byte_1.next = bit_cast::<32, 8>(self.third_byte.val());
        self.byte_2.next = bit_cast::<32, 8>(self.next_byte.val());
        self.byte_3.next = bit_cast::<32, 8>(self.low_byte.val());

        // Result.
        self.next_pc.next = self.x_at.val() + 1;
        self.wide_pc.next = bit_cast::<32, P>(self.next_pc.val());
        self.wide_imm.next = bit_cast::<32, 16>(self.imm16.val());
        self.logic.next = self.a.val() & self.b.val();
        if self.op.val() == 6 {
            self.logic.next = self.a.val() | self.b.val();
        }
        if self.op.val() == 7 {
            self.logic.next = self.a.val() ^ self.b.val();
        }
        if self.op.val() == 8 {
            self.logic.next = self.a.val() & self.inverse_b.val();
        }
        self.moved.next = self.b.val();
        if self.op.val() == 11 {
            self.moved.next = self.byte_0.val()
                | (self.byte_1.val() << 8)
                | (self.byte_2.val() << 16)
                | (self.byte_3.val() << 24);
        }
        if self.op.val() == 12 {
            self.moved.next = self.half_b.val();
        }
        if self.op.val() == 13 {
            self.moved.next = self.half_a.val() | self.half_b.val();
        }
        self.stated.next = self.wide_imm.val();
        if self.op.val() == 1 {
            self.stated.next = self.wide_imm.val() << 16;
        }
        if self.op.val() == 3 {
            self.stated.next = self.wide_pc.val();
        }
        // Six groups in two levels.
        self.group.next = 0.into();
        if self.is_control.val() {
            self.group.next = 1.into();
        } else if (self.op.val() == 1) || (self.op.val() == 2) || (self.op.val() == 3) || (self.op.val() == 4)
        {
            self.group.next = 2.into();
        } else if (self.op.val() == 5) || (self.op.val() == 6) || (self.op.val() == 7) || (self.op.val() == 8)
        {
            self.group.next = 3.into();
        } else if (self.op.val() == 9) || (self.op.val() == 10) {
            self.group.next = 4.into();
        } else if self.op.val() == 16 {
            self.group.next = 5.into();
        }
        self.low_groups.next = self.moved.val();
        if self.group.val().get_bits::<2>(0) == 1 {
            self.low_groups.next = self.stated.val();
        }
        if self.group.val().get_bits::<2>(0) == 2 {
            self.low_groups.next = self.sum.val();
        }
        if self.group.val().get_bits::<2>(0) == 3 {
            self.low_groups.next = self.logic.val();
        }
        self.high_groups.next = self.shifted.val();
        if self.group.val().get_bit(0) {
            self.high_groups.next = self.tables.data.val();
        }
        self.result.next = self.low_groups.val();
        if self.group.val().get_bit(2) {
            self.result.next = self.high_groups.val();
        }

        // What it waits for.
        self.executes.next = self.x_valid.q.val();
        self.input_ok.next = (!self.port_a.val() && !self.port_b.val()) || self.port_valid.val();
        self.output_ok.next = !self.port_d.val() || self.out_ready.val();
        self.mask.next = self.word.val().get_bits::<8>(0);
        self.conditions.next = self.cond.val().get_bits::<8>(0);
        self.came.next = (self.conditions.val() & self.mask.val()).any();
        self.wait_ok.next = !self.is_wait.val() || self.came.val();
        self.computed.next = (!self.is_ldt.val() && !self.is_slow.val())
            || (self.x_phase.q.val() && !(self.is_slow.val() && self.turning.val()));
        self.phase_ok.next = self.computed.val();
        // What goes out is first kept: from a word of the program through memory and adder is far enough for a cycle.
        self.kept.next = self.result.val();
        if self.single.val() {
            self.phase_ok.next = self.computed.val() && (!self.writes.val() || self.settled.q.val());
            self.kept.next = self.last.q.val();
            if self.executes.val() && self.computed.val() && self.writes.val() && self.input_ok.val() {
                self.settled.d.next = true;
            }
        }
        self.done.next = self.executes.val()
            && self.input_ok.val()
            && self.output_ok.val()
            && self.wait_ok.val()
            && self.phase_ok.val();
        self.moves.next = !self.executes.val() || self.done.val();
        // Also of a port that has no word: one of them goes on to its next when it is asked.
        self.port_take.next = self.executes.val()
            && (self.port_a.val() || self.port_b.val())
            && self.output_ok.val()
            && (self.phase_ok.val() || !self.port_valid.val());
        self.out_port.next = self.field_d.val().get_bits::<4>(0);
        self.out_data.next = self.kept.val();
        self.out_valid.next =
            self.executes.val() && self.port_d.val() && self.input_ok.val() && self.phase_ok.val();
        self.waiting.next = self.executes.val() && self.is_wait.val() && !self.came.val();
        self.retired.next = self.done.val();
        self.retired_pc.next = self.x_at.val();

        // Carry, QP, table.
        if self.done.val() && self.is_alu.val() {
            if (self.op.val() == 1) || (self.op.val() == 3) {
                self.carry.d.next = self.carry_out.val();
            }
            if (self.op.val() == 2) || (self.op.val() == 4) {
                self.carry.d.next = !self.carry_out.val();
            }
        }
        self.qp_number.next = self.b.val().get_bits::<M>(0);
        if self.done.val() && self.is_setqp.val() {
            self.qp.d.next = self.qp_number.val() << 6;
        }
        self.tables.enable.next = self.executes.val();
        self.tables.address.next = self.sum.val().get_bits::<T>(0);
        self.tables.write.next = self.done.val() && self.is_stt.val();
        self.tables.write_address.next = self.sum.val().get_bits::<T>(0);
        self.tables.write_data.next = self.b.val();
        if self.executes.val() && (self.is_ldt.val() || self.is_slow.val()) && self.input_ok.val() {
            self.x_phase.d.next = true;
        }
        if self.done.val() {
            self.x_phase.d.next = false;
            self.settled.d.next = false;
        }

        // Branches.
        self.holds.next = self.turn_16.val().get_bit(0);
        if self.single.val() {
            self.holds.next = self.first.q.val().get_bit(0);
        }
        if !self.word.val().get_bit(28) && !self.word.val().get_bit(27) {
            self.holds.next = self.a.val() == self.b.val();
        }
        if !self.word.val().get_bit(28) && self.word.val().get_bit(27) {
            self.holds.next = !self.carry_out.val();
        }
        if self.word.val().get_bit(28) && !self.word.val().get_bit(27) {
            self.holds.next = self.sum.val().get_bit(31);
        }
        self.taken.next = (self.is_branch.val() && (self.holds.val() != self.word.val().get_bit(29)))
            || self.is_jr.val()
            || self.is_setqp.val();
        self.short.next = self.word.val().get_bits::<10>(16);
        self.distance.next = bit_cast::<P, 10>(self.short.val());
        if self.word.val().get_bit(25) {
            self.distance.next = self.distance.val() | self.sign.val();
        }
        self.target.next = self.x_at.val() + self.distance.val();
        if self.is_jr.val() {
            self.target.next = self.b.val().get_bits::<P>(0);
        }
        if self.is_setqp.val() {
            self.target.next = self.next_pc.val();
        }
        self.jump.next = self.done.val() && self.taken.val();

        // Store.
        self.offset_d.next = self.field_d.val().get_bits::<6>(0);
        self.global_d.next = self.field_d.val().get_bits::<7>(0);
        self.store_address.next = bit_cast::<M, 7>(self.global_d.val());
        if self.field_d.val().get_bit(7) {
            self.store_address.next =
                self.context_base.val() | self.qp.q.val() | bit_cast::<M, 6>(self.offset_d.val());
        }
        self.stores.next = self.done.val() && self.writes.val() && !self.port_d.val();
        self.operands.write.next = self.stores.val();
        self.operands.write_address.next = self.store_address.val();
        self.operands.write_data.next = self.kept.val();

        // Read.
        self.offset_a.next = self.ir_a.val().get_bits::<6>(0);
        self.offset_b.next = self.ir_b.val().get_bits::<6>(0);
        self.global_a.next = self.ir_a.val().get_bits::<7>(0);
        self.global_b.next = self.ir_b.val().get_bits::<7>(0);
        self.address_a.next = bit_cast::<M, 7>(self.global_a.val());
        if self.ir_a.val().get_bit(7) {
            self.address_a.next =
                self.context_base.val() | self.qp.q.val() | bit_cast::<M, 6>(self.offset_a.val());
        }
        self.address_b.next = bit_cast::<M, 7>(self.global_b.val());
        if self.ir_b.val().get_bit(7) {
            self.address_b.next =
                self.context_base.val() | self.qp.q.val() | bit_cast::<M, 6>(self.offset_b.val());
        }
        self.operands.enable.next = self.moves.val();
        self.operands.address_a.next = self.address_a.val();
        if self.single.val() && (self.only_b.val() || (self.two.val() && self.half.q.val())) {
            self.operands.address_a.next = self.address_b.val();
        }
        self.operands.address_b.next = self.address_b.val();
        self.missing.next = self.ir_valid.q.val() && !self.program.present.val();
        self.incomplete.next = self.ir_valid.q.val() && self.two.val() && !self.half.q.val();
        self.program.fetch.next = self.missing.val() && !self.executes.val();

        // Fetch.
        self.fetch.next = self.pc.q.val();
        if self.single.val() {
            self.fetch.next = 0.into();
            if self.ir_valid.q.val() {
                self.fetch.next = self.next_pc.val();
            }
        }
        if self.ir_valid.q.val() && ((self.ir_sub.val() == 0x82) || (self.ir_sub.val() == 0x83)) {
            self.fetch.next = self.ir.val().get_bits::<P>(0);
        }
        if self.jump.val() {
            self.fetch.next = self.target.val();
        }
        self.advances.next =
            self.moves.val() && (self.jump.val() || (!self.missing.val() && !self.incomplete.val()));
        self.enters.next =
            self.ir_valid.q.val() && !self.jump.val() && !self.missing.val() && !self.incomplete.val();
        if self.single.val() {
            // The next is not looked for before this one is done.
            self.advances.next = self.done.val() || !self.ir_valid.q.val();
            self.enters.next = self.enters.val() && !self.executes.val();
        }
        self.program.address.next = self.fetch.val();
        self.program.enable.next = self.advances.val();
        if self.moves.val() {
            self.x_two.d.next = self.two.val();
            self.x_ir.d.next = self.ir.val();
            self.x_pc.d.next = self.ir_pc.q.val();
            self.x_valid.d.next = self.enters.val();
            self.forward_a.d.next =
                !self.single.val() && self.stores.val() && (self.field_d.val() == self.ir_a.val());
            self.forward_b.d.next =
                !self.single.val() && self.stores.val() && (self.field_d.val() == self.ir_b.val());
            if !self.missing.val() {
                self.half.d.next = self.incomplete.val();
            }
        }
        if self.advances.val() {
            self.pc.d.next = self.fetch.val() + 1;
            self.ir_pc.d.next = self.fetch.val();
            self.ir_valid.d.next = true;
            self.half.d.next = false;
        }

        if self.moves.val() || (self.single.val() && !self.settled.q.val()) {
            self.last.d.next = self.result.val();
        }

        // The first of two words, and what is shifted.
        if self.moves.val()
            || (self.is_slow.val() && !self.x_phase.q.val() && (!self.both.val() || self.port_a.val()))
        {
            self.first.d.next = self.given.val();
        }
        if self.is_slow.val() && self.executes.val() && !self.x_phase.q.val() && self.input_ok.val() {
            self.turns.d.next = self.amount.val();
        }
        if self.turning.val() {
            self.turns.d.next = self.turns.q.val() - 1;
            self.first.d.next = self.first.q.val() >> 1;
            if self.is_left.val() {
                self.first.d.next = self.first.q.val() << 1;
            }
        }
        if self.reset.val() {
            self.pc.d.next = 0.into();
            self.ir_valid.d.next = false;
            self.half.d.next = false;
            self.x_valid.d.next = false;
            self.x_phase.d.next = false;
            self.settled.d.next = false;
            self.turns.d.next = 0.into();
            self.qp.d.next = 0.into();
        }
    }
}
