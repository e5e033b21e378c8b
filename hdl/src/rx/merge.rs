use crate::stream::{StreamIn, StreamOut};
use rust_hdl::prelude::*;

#[derive(Copy, Clone, PartialEq, Debug, LogicState)]
enum State {
    Idle,
    Wire,
    Own,
    Drop,
}

/// Frames of the wire and injected ones, one after the other.
///
/// ```text
///  line -----+--> downstream, injected
///  inject --/
/// ```
///
/// **Interface.** `injected` stands with the words of frames from `inject`. Without `enabled`, frames of the wire that begin are taken and
/// forgotten.
///
/// **Theory of operation.** The choice is made when the first word of a frame is there, injected ones first, and holds up to its last.
///
/// **Latency** 1 cycle. **Throughput** a word a cycle, 1 cycle between frames.
#[derive(LogicBlock, Default)]
pub struct Merge {
    /// Rising edge.
    pub clock: Signal<In, Clock>,
    /// Forget the frame under way.
    pub reset: Signal<In, Bit>,
    /// Take frames of the wire.
    pub enabled: Signal<In, Bit>,
    /// Frames of the wire.
    pub line: StreamIn,
    /// Injected frames.
    pub inject: StreamIn,
    /// Both.
    pub downstream: StreamOut,
    /// The word is of an injected frame.
    pub injected: Signal<Out, Bit>,
    state: DFF<State>,
}

impl Logic for Merge {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, state);
        self.line.ready.next = false;
        self.inject.ready.next = false;
        self.injected.next = self.state.q.val() == State::Own;
        self.downstream.data.next = self.line.data.val();
        self.downstream.first.next = self.line.first.val();
        self.downstream.last.next = self.line.last.val();
        self.downstream.empty.next = self.line.empty.val();
        self.downstream.err.next = self.line.err.val();
        self.downstream.valid.next = false;
        match self.state.q.val() {
            State::Idle => {
                if self.inject.valid.val() {
                    self.state.d.next = State::Own;
                } else if self.line.valid.val() {
                    self.state.d.next = State::Drop;
                    if self.enabled.val() {
                        self.state.d.next = State::Wire;
                    }
                }
            }
            State::Wire => {
                self.downstream.valid.next = self.line.valid.val();
                self.line.ready.next = self.downstream.ready.val();
                if self.line.valid.val() && self.downstream.ready.val() && self.line.last.val() {
                    self.state.d.next = State::Idle;
                }
            }
            State::Own => {
                self.downstream.data.next = self.inject.data.val();
                self.downstream.first.next = self.inject.first.val();
                self.downstream.last.next = self.inject.last.val();
                self.downstream.empty.next = self.inject.empty.val();
                self.downstream.err.next = self.inject.err.val();
                self.downstream.valid.next = self.inject.valid.val();
                self.inject.ready.next = self.downstream.ready.val();
                if self.inject.valid.val() && self.downstream.ready.val() && self.inject.last.val() {
                    self.state.d.next = State::Idle;
                }
            }
            State::Drop => {
                self.line.ready.next = true;
                if self.line.valid.val() && self.line.last.val() {
                    self.state.d.next = State::Idle;
                }
            }
        }
        if self.reset.val() {
            self.state.d.next = State::Idle;
        }
    }
}
