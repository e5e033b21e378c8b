use crate::fb::{FB, bit_cast};
use rust_hdl::prelude::*;

/// What the slave is doing.
#[derive(Copy, Clone, PartialEq, Debug, LogicState)]
enum State {
    /// Nothing, or offering what the bus asks.
    Idle,
    /// A read waits for its answer.
    Answer,
    /// The bus is answered.
    Done,
}

/// The registers of the device as a Wishbone B4 classic slave of 32 bits.
///
/// ```text
///  cyc, stb, we, adr, dat_w --> host_* (request)
///  ack, err, dat_r <-- register <-- answer*
/// ```
///
/// **Interface.** The bus as in Wishbone B4 chapter 3; `adr` counts words. Only whole words can be accessed: one with `sel` other than
/// 1111 ends with `err` and does nothing. `host_*` and `answer*` go to the ports of the same names of the core.
///
/// **Theory of operation.** One access at a time. A master may give up a read (`cyc` low): its answer is taken and dropped before the next access.
///
/// **Latency** 2 cycles a write that is taken at once, a read 2 cycles more than its answer. **Throughput** an access in that time.
#[derive(LogicBlock, Default)]
pub struct Wishbone {
    /// Rising edge.
    pub clock: Signal<In, Clock>,
    /// Synchronous, together with the core's.
    pub reset: Signal<In, Bit>,
    /// Bus cycle.
    pub cyc: Signal<In, Bit>,
    /// Access.
    pub stb: Signal<In, Bit>,
    /// It is a write.
    pub we: Signal<In, Bit>,
    /// Word address.
    pub adr: Signal<In, FB<22>>,
    /// Bytes that count.
    pub sel: Signal<In, FB<4>>,
    /// What to write.
    pub dat_w: Signal<In, FB<32>>,
    /// What was read.
    pub dat_r: Signal<Out, FB<32>>,
    /// Done.
    pub ack: Signal<Out, Bit>,
    /// Refused.
    pub err: Signal<Out, Bit>,
    /// To the core: it is a write.
    pub host_write: Signal<Out, Bit>,
    /// Its byte offset.
    pub host_offset: Signal<Out, FB<24>>,
    /// What to write.
    pub host_data: Signal<Out, FB<32>>,
    /// There is a request.
    pub host_valid: Signal<Out, Bit>,
    /// It is taken.
    pub host_ready: Signal<In, Bit>,
    /// From the core: answer to a read.
    pub answer: Signal<In, FB<32>>,
    /// There is one.
    pub answer_valid: Signal<In, Bit>,
    /// It is taken.
    pub answer_ready: Signal<Out, Bit>,
    state: DFF<State>,
    word: DFF<FB<32>>,
    refused: DFF<Bit>,
    // The master has given up the read that is under way.
    dropped: DFF<Bit>,
    asks: Signal<Local, Bit>,
    whole: Signal<Local, Bit>,
}

impl Logic for Wishbone {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, state, word, refused, dropped);
        self.asks.next = self.cyc.val() && self.stb.val();
        self.whole.next = self.sel.val().all();
        self.host_write.next = self.we.val();
        self.host_offset.next = bit_cast::<24, 22>(self.adr.val()) << 2;
        self.host_data.next = self.dat_w.val();
        self.host_valid.next = (self.state.q.val() == State::Idle) && self.asks.val() && self.whole.val();
        self.answer_ready.next = self.state.q.val() == State::Answer;
        if (self.state.q.val() == State::Idle) && self.asks.val() {
            self.refused.d.next = !self.whole.val();
            self.dropped.d.next = false;
            if !self.whole.val() {
                self.state.d.next = State::Done;
            } else if self.host_ready.val() {
                self.state.d.next = State::Answer;
                if self.we.val() {
                    self.state.d.next = State::Done;
                }
            }
        }
        if self.state.q.val() == State::Answer {
            if !self.cyc.val() {
                self.dropped.d.next = true;
            }
            if self.answer_valid.val() {
                self.word.d.next = self.answer.val();
                self.state.d.next = State::Done;
                if self.dropped.q.val() || !self.cyc.val() {
                    self.state.d.next = State::Idle;
                }
            }
        }
        if self.state.q.val() == State::Done {
            self.state.d.next = State::Idle;
        }
        self.ack.next = (self.state.q.val() == State::Done) && !self.refused.q.val() && self.asks.val();
        self.err.next = (self.state.q.val() == State::Done) && self.refused.q.val() && self.asks.val();
        self.dat_r.next = self.word.q.val();
        if self.reset.val() {
            self.state.d.next = State::Idle;
        }
    }
}
