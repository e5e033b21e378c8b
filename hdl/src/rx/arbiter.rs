use crate::stream::{StreamIn, StreamOut};
use rust_hdl::prelude::*;

/// Puts the frames of the MAC and those that software injects into one stream.
///
/// ```text
///  wire_in --> swallow while off -+
///                                 +--> downstream, injected
///  inject ------------------------+
/// ```
///
/// **Interface.** Frames pass whole and in order of each side. `injected` stands with the words of those from `inject`.
/// While `enable` is off frames that begin on `wire_in` are taken and forgotten; one that has begun passes to its end. So is the
/// rest of a frame that a reset has cut.
///
/// **Theory of operation.** Whose turn it is is decided while no frame is under way: the other side than the last goes first
/// if both have one. The decision is a register, so that nothing of the valid signals goes back into the ready signals.
///
/// **Latency** 0, and 1 cycle for the decision. **Throughput** one word a cycle, 1 cycle between frames.
///
/// **Area and fmax** on the HX8K: docs/area.md.
#[derive(LogicBlock, Default)]
pub struct Arbiter {
    /// Rising edge.
    pub clock: Signal<In, Clock>,
    /// Synchronous: no frame is under way.
    pub reset: Signal<In, Bit>,
    /// Take frames from the wire.
    pub enable: Signal<In, Bit>,
    /// Frames of the MAC.
    pub wire_in: StreamIn,
    /// Frames of software.
    pub inject: StreamIn,
    /// Both.
    pub downstream: StreamOut,
    /// The word is one of software.
    pub injected: Signal<Out, Bit>,
    busy: DFF<Bit>,
    from_inject: DFF<Bit>,
    swallow: DFF<Bit>,
    passes: Signal<Local, Bit>,
    ends: Signal<Local, Bit>,
}

impl Logic for Arbiter {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, busy, from_inject, swallow);
        self.downstream.data.next = self.wire_in.data.val();
        self.downstream.valid.next = self.wire_in.valid.val() && self.busy.q.val() && !self.swallow.q.val();
        self.downstream.first.next = self.wire_in.first.val();
        self.downstream.last.next = self.wire_in.last.val();
        self.downstream.empty.next = self.wire_in.empty.val();
        self.downstream.err.next = self.wire_in.err.val();
        self.wire_in.ready.next = self.busy.q.val()
            && !self.from_inject.q.val()
            && (self.downstream.ready.val() || self.swallow.q.val());
        self.inject.ready.next = self.busy.q.val() && self.from_inject.q.val() && self.downstream.ready.val();
        self.passes.next = self.wire_in.valid.val() && self.wire_in.ready.val();
        self.ends.next = self.passes.val() && self.wire_in.last.val();
        if self.from_inject.q.val() {
            self.downstream.data.next = self.inject.data.val();
            self.downstream.valid.next = self.inject.valid.val() && self.busy.q.val();
            self.downstream.first.next = self.inject.first.val();
            self.downstream.last.next = self.inject.last.val();
            self.downstream.empty.next = self.inject.empty.val();
            self.downstream.err.next = self.inject.err.val();
            self.passes.next = self.inject.valid.val() && self.inject.ready.val();
            self.ends.next = self.passes.val() && self.inject.last.val();
        }
        self.injected.next = self.from_inject.q.val();
        if !self.busy.q.val() {
            if self.inject.valid.val() && (!self.wire_in.valid.val() || !self.from_inject.q.val()) {
                self.busy.d.next = true;
                self.from_inject.d.next = true;
                self.swallow.d.next = false;
            } else if self.wire_in.valid.val() {
                self.busy.d.next = true;
                self.from_inject.d.next = false;
                // What a reset has cut has no beginning.
                self.swallow.d.next = !self.enable.val() || !self.wire_in.first.val();
            }
        }
        if self.ends.val() {
            self.busy.d.next = false;
        }
        if self.reset.val() {
            self.busy.d.next = false;
        }
    }
}
