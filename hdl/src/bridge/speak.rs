use super::{Baud, Crc16, UartSender};
use crate::fb::{FB, bit_cast};
use rust_hdl::prelude::*;

/// The byte that comes next.
#[derive(Copy, Clone, PartialEq, Debug, LogicState)]
enum State {
    /// None: A5 when a frame begins.
    Idle,
    /// The kind and number.
    Head,
    /// The number of words.
    Length,
    /// Payload.
    Payload,
    /// The first byte of the CRC.
    Low,
    /// The second.
    High,
    /// None, but the last one is still on the line.
    End,
}

/// Frames to the line.
///
/// ```text
///  head, count --> FSM --> byte --> UartSender --> pin
///  place <----------+                   |
///  data ------------^-------------------+--bits--> Crc16
/// ```
///
/// **Interface.** `start` with `turn`, while not `busy`, begins a frame with this `head` (kind, interrupt, number) and `count` words. Byte `place` of the payload is wanted on `data` in cycles with `turn` from two
/// cycles after `place` has changed. `done`: the last bit has left.
///
/// **Latency** 1 cycle to the start bit. **Throughput** that of the UART.
#[derive(LogicBlock)]
pub struct Speak<const N: usize> {
    /// Rising edge.
    pub clock: Signal<In, Clock>,
    /// The line.
    pub pin: Signal<Out, Bit>,
    /// A byte can be given in this cycle: `data` is right, once it has had its time.
    pub turn: Signal<In, Bit>,
    /// Begin a frame.
    pub start: Signal<In, Bit>,
    /// Its first byte.
    pub head: Signal<In, FB<8>>,
    /// Its words.
    pub count: Signal<In, FB<7>>,
    /// A frame is under way.
    pub busy: Signal<Out, Bit>,
    /// It has ended.
    pub done: Signal<Out, Bit>,
    /// The byte wanted.
    pub place: Signal<Out, FB<8>>,
    /// That byte.
    pub data: Signal<In, FB<8>>,
    uart: UartSender<N>,
    crc: Crc16,
    state: DFF<State>,
    kept: DFF<FB<8>>,
    words: DFF<FB<7>>,
    at: DFF<FB<9>>,
    // The byte on the line belongs to the CRC.
    counts: DFF<Bit>,
    gives: Signal<Local, Bit>,
    next: Signal<Local, FB<9>>,
    whole: Signal<Local, FB<9>>,
    field: Signal<Local, FB<16>>,
}

impl<const N: usize> Speak<N> {
    /// At this rate.
    pub fn new(baud: Baud<N>) -> Self {
        Self {
            clock: Signal::default(),
            pin: Signal::default(),
            turn: Signal::default(),
            start: Signal::default(),
            head: Signal::default(),
            count: Signal::default(),
            busy: Signal::default(),
            done: Signal::default(),
            place: Signal::default(),
            data: Signal::default(),
            uart: UartSender::new(baud),
            crc: Crc16::default(),
            state: DFF::default(),
            kept: DFF::default(),
            words: DFF::default(),
            at: DFF::default(),
            counts: DFF::default(),
            gives: Signal::default(),
            next: Signal::default(),
            whole: Signal::default(),
            field: Signal::default(),
        }
    }
}

impl<const N: usize> Logic for Speak<N> {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, state, kept, words, at, counts);
        clock!(self, clock, uart, crc);
        self.pin.next = self.uart.pin.val();
        self.crc.init.next = self.state.q.val() == State::Head;
        self.crc.enable.next = self.uart.sample.val() && self.counts.q.val();
        self.crc.level.next = self.uart.level.val();
        self.field.next = !self.crc.value.val();
        self.next.next = self.at.q.val() + 1;
        self.whole.next = bit_cast::<9, 7>(self.words.q.val()) << 2;
        self.busy.next = self.state.q.val() != State::Idle;
        self.done.next = false;
        self.uart.valid.next = self.turn.val() && (self.state.q.val() != State::End);
        self.gives.next = self.turn.val() && self.uart.ready.val();
        self.uart.value.next = self.data.val();
        match self.state.q.val() {
            State::Idle => {
                self.uart.valid.next = self.turn.val() && self.start.val();
                self.uart.value.next = 0xa5.into();
                if self.turn.val() && self.start.val() {
                    self.kept.d.next = self.head.val();
                    self.words.d.next = self.count.val();
                    self.at.d.next = 0.into();
                    self.counts.d.next = false;
                    self.state.d.next = State::Head;
                }
            }
            State::Head => {
                self.uart.value.next = self.kept.q.val();
                if self.gives.val() {
                    self.counts.d.next = true;
                    self.state.d.next = State::Length;
                }
            }
            State::Length => {
                self.uart.value.next = bit_cast::<8, 7>(self.words.q.val());
                if self.gives.val() {
                    self.state.d.next = State::Payload;
                    if self.words.q.val() == 0 {
                        self.state.d.next = State::Low;
                    }
                }
            }
            State::Payload => {
                if self.gives.val() {
                    self.at.d.next = self.next.val();
                    if self.next.val() == self.whole.val() {
                        self.state.d.next = State::Low;
                    }
                }
            }
            State::Low => {
                self.uart.value.next = self.field.val().get_bits::<8>(0);
                if self.gives.val() {
                    self.counts.d.next = false;
                    self.state.d.next = State::High;
                }
            }
            State::High => {
                self.uart.value.next = self.field.val().get_bits::<8>(8);
                if self.gives.val() {
                    self.state.d.next = State::End;
                }
            }
            State::End => {
                if self.uart.ready.val() {
                    self.done.next = true;
                    self.state.d.next = State::Idle;
                }
            }
        }
        self.place.next = self.at.q.val().get_bits::<8>(0);
    }
}
