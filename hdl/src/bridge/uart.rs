use crate::fb::{FB, bit_cast};
use rust_hdl::prelude::*;

/// A bit rate, as the share of a cycle's phase that a bit is: `step` / 2^N bits a cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Baud<const N: usize> {
    step: u64,
}

impl<const N: usize> Baud<N> {
    /// `baud` bits a second from a clock of `clock_hz`.
    ///
    /// # Panics
    /// If a bit is shorter than 2.5 cycles, or the rate comes out wrong by more than 1 % (take a larger `N`): the design is
    /// wrong then.
    pub fn new(clock_hz: u64, baud: u64) -> Self {
        let step = ((baud << N) + clock_hz / 2) / clock_hz;
        assert!(baud * 5 <= clock_hz * 2, "{baud} baud from {clock_hz} Hz: a bit has less than 2.5 cycles");
        let real = step * clock_hz;
        let wanted = baud << N;
        assert!(
            real.abs_diff(wanted) * 100 <= wanted,
            "{baud} baud from {clock_hz} Hz needs more than {N} bits"
        );
        Baud { step }
    }

    /// Phase a cycle.
    pub fn step(self) -> FB<N> {
        FB::new(self.step)
    }
}

/// Bytes from a UART line: 8 bits, no parity, 1 stop bit.
///
/// ```text
///  pin --> two registers --> falling edge --> phase accumulator --> tick
///                |                                                   |
///                +---------------> shift register <------------------+--> byte, valid, bad
/// ```
///
/// **Interface.** `valid`: `value` has come, for one cycle. `bad`: one without stop bit has, or a break. `sample`: `level` is the next
/// data bit (of either), least significant first, for those who compute on the way.
///
/// **Theory of operation.** Half a bit behind the falling edge, and every bit from there on, the line is looked at; the phase accumulator puts
/// these points within one cycle of the middles. At 2.6 cycles a bit (12 Mbaud at 31.25 MHz) that leaves an eighth of a bit on either side. After a bad
/// byte the line must be high before the next can begin.
///
/// **Latency** two cycles and 9.5 bits.
#[derive(LogicBlock)]
pub struct UartReceiver<const N: usize> {
    /// Rising edge.
    pub clock: Signal<In, Clock>,
    /// The line; idle is high. Asynchronous.
    pub pin: Signal<In, Bit>,
    /// What has come.
    pub value: Signal<Out, FB<8>>,
    /// It is good.
    pub valid: Signal<Out, Bit>,
    /// It is not.
    pub bad: Signal<Out, Bit>,
    /// A data bit.
    pub level: Signal<Out, Bit>,
    /// It is this cycle's.
    pub sample: Signal<Out, Bit>,
    step: Constant<FB<N>>,
    start: Constant<FB<N>>,
    first: DFF<Bit>,
    line: DFF<Bit>,
    before: DFF<Bit>,
    phase: DFF<FB<N>>,
    sum: Signal<Local, FB<N>>,
    tick: Signal<Local, Bit>,
    // 0 idle, 1 start bit, 2 to 9 data, 10 stop bit.
    count: DFF<FB<4>>,
    shift: DFF<FB<8>>,
}

impl<const N: usize> UartReceiver<N> {
    /// At this rate.
    pub fn new(baud: Baud<N>) -> Self {
        let step = baud.step();
        Self {
            clock: Signal::default(),
            pin: Signal::default(),
            value: Signal::default(),
            valid: Signal::default(),
            bad: Signal::default(),
            level: Signal::default(),
            sample: Signal::default(),
            step: Constant::new(step),
            start: Constant::new(step + (1 << (N - 1))),
            first: DFF::default(),
            line: DFF::default(),
            before: DFF::default(),
            phase: DFF::default(),
            sum: Signal::default(),
            tick: Signal::default(),
            count: DFF::default(),
            shift: DFF::default(),
        }
    }
}

impl<const N: usize> Logic for UartReceiver<N> {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, first, line, before, phase, count, shift);
        self.first.d.next = self.pin.val();
        self.line.d.next = self.first.q.val();
        self.before.d.next = self.line.q.val();
        self.sum.next = self.phase.q.val() + self.step.val();
        // The phase has wrapped.
        self.tick.next = (self.sum.val() < self.step.val()) && (self.count.q.val() != 0);
        self.phase.d.next = self.sum.val();
        self.valid.next = false;
        self.bad.next = false;
        self.sample.next = false;
        self.level.next = self.line.q.val();
        if self.count.q.val() == 0 {
            self.phase.d.next = self.start.val();
            if self.before.q.val() && !self.line.q.val() {
                self.count.d.next = 1.into();
            }
        }
        if self.tick.val() {
            self.count.d.next = self.count.q.val() + 1;
            if self.count.q.val() == 1 {
                // A glitch is no start bit.
                if self.line.q.val() {
                    self.count.d.next = 0.into();
                }
            } else if self.count.q.val() == 10 {
                self.count.d.next = 0.into();
                self.valid.next = self.line.q.val();
                self.bad.next = !self.line.q.val();
            } else {
                self.sample.next = true;
                self.shift.d.next =
                    (self.shift.q.val() >> 1) | (bit_cast::<8, 1>(self.line.q.val().into()) << 7);
            }
        }
        self.value.next = self.shift.q.val();
    }
}

/// Bytes to a UART line: 8 bits, no parity, 1 stop bit.
///
/// ```text
///  byte --> shift register --> register --> pin
///                ^
///           phase accumulator
/// ```
///
/// **Interface.** A byte passes with `valid` and `ready`. `sample`: `level` is the next data bit, least significant first; all of a byte's have
/// been told before `ready` is there again.
///
/// **Latency** 1 cycle to the start bit. **Throughput** a byte every 10 bits and a cycle.
#[derive(LogicBlock)]
pub struct UartSender<const N: usize> {
    /// Rising edge.
    pub clock: Signal<In, Clock>,
    /// The line; idle is high.
    pub pin: Signal<Out, Bit>,
    /// What to send.
    pub value: Signal<In, FB<8>>,
    /// There is a byte.
    pub valid: Signal<In, Bit>,
    /// It is taken.
    pub ready: Signal<Out, Bit>,
    /// A data bit.
    pub level: Signal<Out, Bit>,
    /// It is this cycle's.
    pub sample: Signal<Out, Bit>,
    step: Constant<FB<N>>,
    // Inverted: registers start as zero.
    low: DFF<Bit>,
    phase: DFF<FB<N>>,
    sum: Signal<Local, FB<N>>,
    tick: Signal<Local, Bit>,
    // 0 idle, 1 start bit, 2 to 9 data, 10 stop bit.
    count: DFF<FB<4>>,
    shift: DFF<FB<8>>,
}

impl<const N: usize> UartSender<N> {
    /// At this rate.
    pub fn new(baud: Baud<N>) -> Self {
        Self {
            clock: Signal::default(),
            pin: Signal::default(),
            value: Signal::default(),
            valid: Signal::default(),
            ready: Signal::default(),
            level: Signal::default(),
            sample: Signal::default(),
            step: Constant::new(baud.step()),
            low: DFF::default(),
            phase: DFF::default(),
            sum: Signal::default(),
            tick: Signal::default(),
            count: DFF::default(),
            shift: DFF::default(),
        }
    }
}

impl<const N: usize> Logic for UartSender<N> {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, low, phase, count, shift);
        self.sum.next = self.phase.q.val() + self.step.val();
        self.tick.next = self.sum.val() < self.step.val();
        self.phase.d.next = self.sum.val();
        self.ready.next = self.count.q.val() == 0;
        self.sample.next = false;
        self.level.next = self.shift.q.val().get_bit(0);
        if self.count.q.val() == 0 {
            self.phase.d.next = 0.into();
            if self.valid.val() {
                self.count.d.next = 1.into();
                self.shift.d.next = self.value.val();
                self.low.d.next = true;
            }
        } else if self.tick.val() {
            self.count.d.next = self.count.q.val() + 1;
            if self.count.q.val() == 10 {
                self.count.d.next = 0.into();
            } else if self.count.q.val() == 9 {
                self.low.d.next = false;
            } else {
                self.sample.next = true;
                self.low.d.next = !self.shift.q.val().get_bit(0);
                self.shift.d.next = self.shift.q.val() >> 1;
            }
        }
        self.pin.next = !self.low.q.val();
    }
}
