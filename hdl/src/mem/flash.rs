use crate::fb::{FB, bit_cast};
use rust_hdl::prelude::*;

#[derive(Copy, Clone, PartialEq, Debug, LogicState)]
enum State {
    Wake,
    Rest,
    Idle,
    Command,
    Data,
    Done,
    Paused,
}

/// Reads lines of words from a serial flash, two bits a cycle: for the program of a core that keeps only a part of it.
///
/// ```text
///  request, address --> shift register --> out, drive
///                        ^     |---------> data, valid
///  in_0, in_1 -----------+          FSM -> select, run
/// ```
///
/// **Interface.** With `request` the words of a line come out of `data`, each for one cycle with `valid`; `address` is that of its first word.
/// `request` goes away when the last has come, for a cycle at least; if it goes away before, the rest does not come. The pins of the flash: `select`, active low; its clock is `run` and not
/// `clock` (one gate, or an output cell with two edges); IO0 is `out` while `drive` is set and else `in_0`; IO1 is `in_1`. Word `address` stands at byte
/// `base` + 4 * `address` of the flash, its highest byte first ([`flash_image`]).
///
/// **Theory of operation.** SPI mode 0, a clock of the flash in a cycle: what is driven changes with the rising edge of `clock`, the flash takes it half a cycle
/// later, and what the flash drives behind a cycle's end is taken at the end of the next. The flash sleeps after an FPGA has been configured from it, so command 0xAB (release
/// from power-down) goes first, and then some rest. Command 0x3B (read, dual output) has 24 bits of address and 8 clocks of nothing; behind it the flash gives byte after byte for as long
/// as it is selected. Between lines it stays selected, and the line behind the last one needs no command.
///
/// **Latency** from `request` to the first word: [`FLASH_FIRST`] cycles, [`FLASH_NEXT`] for the line behind the last one. **Throughput** a word in
/// [`FLASH_EACH`] cycles.
#[derive(LogicBlock)]
pub struct Flash<const P: usize> {
    /// Rising edge.
    pub clock: Signal<In, Clock>,
    /// Synchronous: leave the flash alone, then wake it.
    pub reset: Signal<In, Bit>,
    /// A line is wanted.
    pub request: Signal<In, Bit>,
    /// Its first word.
    pub address: Signal<In, FB<P>>,
    /// Its next word.
    pub data: Signal<Out, FB<32>>,
    /// Here it is.
    pub valid: Signal<Out, Bit>,
    /// Pin: select, active low.
    pub select: Signal<Out, Bit>,
    /// Pin: a clock of the flash is in this cycle.
    pub run: Signal<Out, Bit>,
    /// Pin IO0: what is driven.
    pub out: Signal<Out, Bit>,
    /// Pin IO0: it is.
    pub drive: Signal<Out, Bit>,
    /// Pin IO0: what is there.
    pub in_0: Signal<In, Bit>,
    /// Pin IO1: what is there.
    pub in_1: Signal<In, Bit>,
    state: DFF<State>,
    shift: DFF<FB<32>>,
    // Clocks of a command or word, or cycles of rest.
    count: DFF<FB<8>>,
    words: DFF<FB<6>>,
    next: DFF<FB<P>>,
    chosen: DFF<Bit>,
    running: DFF<Bit>,
    driving: DFF<Bit>,
    complete: DFF<Bit>,
    wake: Constant<FB<32>>,
    base: Constant<FB<32>>,
    line: Constant<FB<P>>,
    last: Constant<FB<6>>,
    place: Signal<Local, FB<32>>,
    once: Signal<Local, FB<32>>,
    twice: Signal<Local, FB<32>>,
    pair: Signal<Local, FB<32>>,
}

/// Where the program stands in the flash of a board, bytes: behind any bitstream of an HX8K.
pub const FLASH_BASE: u32 = 0x10_0000;
/// Cycles from a request to the first word of its line.
pub const FLASH_FIRST: u32 = 58;
/// The same for the line behind the last one.
pub const FLASH_NEXT: u32 = 17;
/// Cycles from a word to the next.
pub const FLASH_EACH: u32 = 16;

/// A program as it stands in the flash.
pub fn flash_image(program: &[u32]) -> Vec<u8> {
    program.iter().flat_map(|word| word.to_be_bytes()).collect()
}

impl<const P: usize> Flash<P> {
    /// Lines of `line` words; the first begins at byte `base` of the flash.
    ///
    /// # Panics
    /// If `base` has more than 24 bits or is not a multiple of the size of all words, or a line does not have 1 to 64: the design is wrong then.
    pub fn new(base: u32, line: usize) -> Self {
        assert!(
            base >> 24 == 0 && base.trailing_zeros() as usize >= P + 2 && (1..=64).contains(&line),
            "lines of {line} words of 2^{P} do not begin at byte {base:#x} of a flash"
        );
        Self {
            clock: Signal::default(),
            reset: Signal::default(),
            request: Signal::default(),
            address: Signal::default(),
            data: Signal::default(),
            valid: Signal::default(),
            select: Signal::default(),
            run: Signal::default(),
            out: Signal::default(),
            drive: Signal::default(),
            in_0: Signal::default(),
            in_1: Signal::default(),
            state: DFF::default(),
            shift: DFF::default(),
            count: DFF::default(),
            words: DFF::default(),
            next: DFF::default(),
            chosen: DFF::default(),
            running: DFF::default(),
            driving: DFF::default(),
            complete: DFF::default(),
            wake: Constant::new(FB::new(0xab << 24)),
            base: Constant::new(FB::new(u64::from(base | 0x3b << 24))),
            line: Constant::new(FB::cut(line as u64)),
            last: Constant::new(FB::new(line as u64 - 1)),
            place: Signal::default(),
            once: Signal::default(),
            twice: Signal::default(),
            pair: Signal::default(),
        }
    }
}

impl<const P: usize> Logic for Flash<P> {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, state, shift, count, words, next, chosen, running, driving, complete);
        self.select.next = !self.chosen.q.val();
        self.run.next = self.running.q.val();
        self.out.next = self.shift.q.val().get_bit(31);
        self.drive.next = self.driving.q.val();
        self.data.next = self.shift.q.val();
        self.valid.next = self.complete.q.val();
        self.place.next = bit_cast::<32, P>(self.address.val()) << 2;
        self.once.next = self.shift.q.val() << 1;
        self.twice.next = self.shift.q.val() << 2;
        self.pair.next =
            (bit_cast::<32, 1>(self.in_1.val().into()) << 1) | bit_cast::<32, 1>(self.in_0.val().into());
        self.complete.d.next = false;
        self.count.d.next = self.count.q.val() + 1;
        match self.state.q.val() {
            State::Wake => {
                self.chosen.d.next = true;
                self.running.d.next = true;
                self.driving.d.next = true;
                self.shift.d.next = self.once.val();
                if !self.chosen.q.val() {
                    self.shift.d.next = self.wake.val();
                    self.count.d.next = 0.into();
                } else if self.count.q.val() == 7 {
                    self.chosen.d.next = false;
                    self.running.d.next = false;
                    self.count.d.next = 0.into();
                    self.state.d.next = State::Rest;
                }
            }
            State::Rest => {
                if self.count.q.val() == 255 {
                    self.state.d.next = State::Idle;
                }
            }
            State::Idle => {
                self.count.d.next = 0.into();
                self.words.d.next = 0.into();
                self.shift.d.next = self.base.val() | self.place.val();
                if self.request.val() {
                    self.chosen.d.next = true;
                    self.running.d.next = true;
                    self.driving.d.next = true;
                    self.state.d.next = State::Command;
                }
            }
            State::Command => {
                self.shift.d.next = self.once.val();
                if self.count.q.val() == 31 {
                    self.driving.d.next = false;
                }
                if self.count.q.val() == 39 {
                    self.count.d.next = 0.into();
                    self.state.d.next = State::Data;
                }
            }
            State::Data => {
                self.shift.d.next = self.twice.val() | self.pair.val();
                if self.count.q.val() == 15 {
                    self.count.d.next = 0.into();
                    self.complete.d.next = true;
                    self.words.d.next = self.words.q.val() + 1;
                    if self.words.q.val() == self.last.val() {
                        self.running.d.next = false;
                        self.next.d.next = self.address.val() + self.line.val();
                        self.state.d.next = State::Done;
                    }
                }
            }
            State::Done => {
                if !self.request.val() {
                    self.state.d.next = State::Paused;
                }
            }
            State::Paused => {
                self.count.d.next = 0.into();
                self.words.d.next = 0.into();
                if self.request.val() {
                    if self.address.val() == self.next.q.val() {
                        self.running.d.next = true;
                        self.state.d.next = State::Data;
                    } else {
                        self.chosen.d.next = false;
                        self.state.d.next = State::Idle;
                    }
                }
            }
        }
        // Nobody wants it any more.
        if ((self.state.q.val() == State::Command) || (self.state.q.val() == State::Data))
            && !self.request.val()
        {
            self.chosen.d.next = false;
            self.running.d.next = false;
            self.driving.d.next = false;
            self.complete.d.next = false;
            self.state.d.next = State::Idle;
        }
        if self.reset.val() {
            self.chosen.d.next = false;
            self.running.d.next = false;
            self.driving.d.next = false;
            self.complete.d.next = false;
            self.state.d.next = State::Wake;
        }
    }
}
