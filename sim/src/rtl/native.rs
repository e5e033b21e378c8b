//! The core in RustHDL's simulation, single-threaded.

use super::pins::{Inputs, Outputs, ReadIn, ReadOut, Rtl, Word, WriteOut};
use super::waves::{Sink, WavesError};
use ironwarp_hdl::dma::ReadMaster;
use ironwarp_hdl::fb::FB;
use ironwarp_hdl::top::Core;
use rust_hdl::core::vcd_probe::VCDProbe;
use rust_hdl::prelude::*;
use std::path::Path;

/// Passes after which a core that still changes counts as oscillating.
const SETTLE: usize = 200;

/// A core that is simulated here.
pub struct Native<
    const P: usize,
    const M: usize,
    const T: usize,
    const R: usize,
    const X: usize,
    const C: usize,
    const I: usize,
    const N: usize,
> {
    core: Box<Core<P, M, T, R, X, C, I, N>>,
    waves: Option<(VCDProbe<Sink>, Sink)>,
}

impl<
    const P: usize,
    const M: usize,
    const T: usize,
    const R: usize,
    const X: usize,
    const C: usize,
    const I: usize,
    const N: usize,
> Native<P, M, T, R, X, C, I, N>
{
    /// Simulate this core, whose signals are connected.
    pub fn new(core: Core<P, M, T, R, X, C, I, N>) -> Self {
        Self { core: Box::new(core), waves: None }
    }
}

fn drive(channel: &mut ReadMaster, pins: &ReadIn) {
    channel.accept.next = pins.accept;
    channel.valid.next = pins.valid;
    channel.data.next = FB::new(pins.data.into());
    channel.last.next = pins.last;
    channel.error.next = pins.error;
}

fn look(channel: &ReadMaster) -> ReadOut {
    ReadOut {
        request: channel.request.val(),
        address: channel.address.val().get(),
        words: channel.words.val().get() as u16,
        ready: channel.ready.val(),
    }
}

impl<
    const P: usize,
    const M: usize,
    const T: usize,
    const R: usize,
    const X: usize,
    const C: usize,
    const I: usize,
    const N: usize,
> Rtl for Native<P, M, T, R, X, C, I, N>
{
    fn settle(&mut self, inputs: &Inputs) -> Outputs {
        let u = &mut *self.core;
        u.clock.next = false.into();
        u.reset.next = inputs.reset;
        u.line.valid.next = inputs.line.valid;
        u.line.data.next = FB::new(inputs.line.data.into());
        u.line.first.next = inputs.line.first;
        u.line.last.next = inputs.line.last;
        u.line.empty.next = FB::new(inputs.line.empty.into());
        u.line.err.next = inputs.line.err;
        u.mac.ready.next = inputs.mac_ready;
        u.pace.next = inputs.pace;
        u.now.next = FB::new(inputs.now.into());
        u.host_valid.next = inputs.host.valid;
        u.host_write.next = inputs.host.write;
        u.host_offset.next = FB::cut(inputs.host.offset.into());
        u.host_data.next = FB::new(inputs.host.data.into());
        u.answer_ready.next = inputs.answer_ready;
        let [walk, source, small, send] = &inputs.reads;
        drive(&mut u.walk_channel, walk);
        drive(&mut u.source_channel, source);
        drive(&mut u.small_channel, small);
        drive(&mut u.send_channel, send);
        u.write_channel.accept.next = inputs.write.accept;
        u.write_channel.ready.next = inputs.write.ready;
        u.write_channel.answered.next = inputs.write.answered;
        u.write_channel.failed.next = inputs.write.failed;
        u.fill_valid.next = inputs.fill.is_some();
        u.fill_data.next = FB::new(inputs.fill.unwrap_or(0).into());
        if !simulate(u, SETTLE) {
            tracing::error!("the core does not settle");
        }
        Outputs {
            fill: u.fill_request.val().then(|| u.fill_address.val().get() as u16),
            line_ready: u.line.ready.val(),
            mac: Word {
                valid: u.mac.valid.val(),
                data: u.mac.data.val().get() as u32,
                first: u.mac.first.val(),
                last: u.mac.last.val(),
                empty: u.mac.empty.val().get() as u8,
                err: u.mac.err.val(),
            },
            host_ready: u.host_ready.val(),
            answer: u.answer_valid.val().then(|| u.answer.val().get() as u32),
            interrupt: u.irq.val(),
            waiting: u.waiting.val(),
            resting: u.resting.val(),
            sending: u.sending.val(),
            alarm: u.alarm_set.val().then(|| u.alarm.val().get() as u32),
            retired: u.retired.val().then(|| u.retired_pc.val().get() as u16),
            reads: [
                look(&u.walk_channel),
                look(&u.source_channel),
                look(&u.small_channel),
                look(&u.send_channel),
            ],
            write: WriteOut {
                request: u.write_channel.request.val(),
                address: u.write_channel.address.val().get(),
                words: u.write_channel.words.val().get() as u16,
                valid: u.write_channel.valid.val(),
                data: u.write_channel.data.val().get() as u32,
                strobes: u.write_channel.strobes.val().get() as u8,
                last: u.write_channel.last.val(),
            },
        }
    }

    /// The edge needs one pass to enter the circuit. What it changes settles with the inputs of the next cycle, which follow a pass behind, as on their way
    /// down the hierarchy nothing overtakes the clock. Waveforms want to see it settled.
    fn rise(&mut self) {
        let u = &mut *self.core;
        u.clock.next = true.into();
        if self.waves.is_none() {
            u.update_all();
        } else if !simulate(u, SETTLE) {
            tracing::error!("the core does not settle");
        }
    }

    fn trace(&mut self, path: &Path) -> Result<(), WavesError> {
        let sink = Sink::create(path)?;
        let probe = write_vcd_header(sink.clone(), &*self.core);
        sink.error().map_or(Ok(()), |error| Err(WavesError::new(path, error)))?;
        self.waves = Some((probe, sink));
        Ok(())
    }

    fn dump(&mut self, ps: u64) {
        let Some((mut probe, sink)) = self.waves.take() else { return };
        // The sink takes everything.
        let _ = probe.timestamp(ps);
        let probe = write_vcd_change(probe, &*self.core);
        match sink.error() {
            Some(error) => tracing::error!("no more waveforms: {error}"),
            None => self.waves = Some((probe, sink)),
        }
    }
}
