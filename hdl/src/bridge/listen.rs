use super::{Baud, Crc16, UartReceiver};
use crate::fb::{FB, bit_cast};
use rust_hdl::prelude::*;

/// Where in a frame the receiver is.
#[derive(Copy, Clone, PartialEq, Debug, LogicState)]
enum State {
    /// Before A5.
    Hunt,
    /// At the kind and number.
    Head,
    /// At the number of words.
    Length,
    /// In the payload.
    Payload,
    /// At the first byte of the CRC.
    Low,
    /// At the second.
    High,
}

/// Frames from the line.
///
/// ```text
///  pin --> UartReceiver --bytes--> FSM --> kind, number, put, place, byte
///               |                   |
///               +--bits--> Crc16 ---+----> good, bad
/// ```
///
/// **Interface.** `opens`: a frame begins. Then `kind` and `number` stand from the length byte to the end of the frame. `put`: `value` is byte `place` of the payload, whose CRC is not known yet.
/// `good`: the frame is whole and its CRC is right. `bad`: it was neither, or a byte without stop bit has come.
///
/// **Theory of operation.** The CRC is computed bit by bit as they come. A frame that claims more than 64 words is none.
///
/// **Latency** `good` comes with the stop bit of the last byte.
#[derive(LogicBlock)]
pub struct Listen<const N: usize> {
    /// Rising edge.
    pub clock: Signal<In, Clock>,
    /// The line. Asynchronous.
    pub pin: Signal<In, Bit>,
    /// A frame begins.
    pub opens: Signal<Out, Bit>,
    /// Its kind.
    pub kind: Signal<Out, FB<3>>,
    /// Its number.
    pub number: Signal<Out, FB<4>>,
    /// A byte of payload.
    pub value: Signal<Out, FB<8>>,
    /// There is one.
    pub put: Signal<Out, Bit>,
    /// Which.
    pub place: Signal<Out, FB<8>>,
    /// A frame has ended well.
    pub good: Signal<Out, Bit>,
    /// Something has not.
    pub bad: Signal<Out, Bit>,
    uart: UartReceiver<N>,
    crc: Crc16,
    state: DFF<State>,
    head: DFF<FB<8>>,
    words: DFF<FB<7>>,
    at: DFF<FB<9>>,
    next: Signal<Local, FB<9>>,
    whole: Signal<Local, FB<9>>,
}

impl<const N: usize> Listen<N> {
    /// At this rate.
    pub fn new(baud: Baud<N>) -> Self {
        Self {
            clock: Signal::default(),
            pin: Signal::default(),
            opens: Signal::default(),
            kind: Signal::default(),
            number: Signal::default(),
            value: Signal::default(),
            put: Signal::default(),
            place: Signal::default(),
            good: Signal::default(),
            bad: Signal::default(),
            uart: UartReceiver::new(baud),
            crc: Crc16::default(),
            state: DFF::default(),
            head: DFF::default(),
            words: DFF::default(),
            at: DFF::default(),
            next: Signal::default(),
            whole: Signal::default(),
        }
    }
}

impl<const N: usize> Logic for Listen<N> {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, state, head, words, at);
        clock!(self, clock, uart, crc);
        self.uart.pin.next = self.pin.val();
        self.crc.init.next = self.state.q.val() == State::Hunt;
        self.crc.enable.next = self.uart.sample.val();
        self.crc.level.next = self.uart.level.val();
        self.opens.next = false;
        self.put.next = false;
        self.good.next = false;
        self.bad.next = false;
        self.next.next = self.at.q.val() + 1;
        self.whole.next = bit_cast::<9, 7>(self.words.q.val()) << 2;
        if self.uart.valid.val() {
            match self.state.q.val() {
                State::Hunt => {
                    if self.uart.value.val() == 0xa5 {
                        self.opens.next = true;
                        self.state.d.next = State::Head;
                    }
                }
                State::Head => {
                    self.head.d.next = self.uart.value.val();
                    self.state.d.next = State::Length;
                }
                State::Length => {
                    self.words.d.next = self.uart.value.val().get_bits::<7>(0);
                    self.at.d.next = 0.into();
                    self.state.d.next = State::Payload;
                    if self.uart.value.val() == 0 {
                        self.state.d.next = State::Low;
                    }
                    if self.uart.value.val() > 64 {
                        self.state.d.next = State::Hunt;
                        self.bad.next = true;
                    }
                }
                State::Payload => {
                    self.put.next = true;
                    self.at.d.next = self.next.val();
                    if self.next.val() == self.whole.val() {
                        self.state.d.next = State::Low;
                    }
                }
                State::Low => {
                    self.state.d.next = State::High;
                }
                State::High => {
                    self.good.next = self.crc.right.val();
                    self.bad.next = !self.crc.right.val();
                    self.state.d.next = State::Hunt;
                }
            }
        }
        if self.uart.bad.val() {
            self.bad.next = true;
            self.state.d.next = State::Hunt;
        }
        self.kind.next = self.head.q.val().get_bits::<3>(0);
        self.number.next = self.head.q.val().get_bits::<4>(4);
        self.value.next = self.uart.value.val();
        self.place.next = self.at.q.val().get_bits::<8>(0);
    }
}
