use super::item::ItemOut;
use super::{Cut, Fetch, Framer, Serial, TxRing};
use crate::dma::ReadMaster;
use crate::fb::FB;
use crate::mem::{Fifo, Packets, StoreMaster};
use crate::stream::StreamOut;
use rust_hdl::prelude::*;

/// The transmit engine: 2^`C` command words in its queue, a ring of 2^`N` words.
///
/// ```text
///  command --> Packets --> Fetch --> Framer --> Cut --> TxRing --> mac
///                        ^ dma  \--> Serial --------^     \---> inject
/// ```
///
/// **Interface.** `command`, `valid`, `ready`: the words of docs/microarchitecture.md section 6. `mac`, `inject`: frames with two pad bytes. `room`: a whole frame can be
/// commanded now without waiting for the wire, and not more than `frames_max` frames stand in line. `inject_room`: the same without looking at the line.
/// `idle`: no command is left. `empty`: no frame either. `error`: a frame could not be read; it stays, with `error_tag`, until `error_take`.
///
/// **Two forms.** Framer and Cut, a word a cycle, or [`Serial`](Self::serial) in their place, a byte a cycle.
///
/// **Theory of operation.** See the stages.
///
/// **Latency** that of the stages, not measured as a whole. **Throughput** a word a cycle (serial: a byte); a full segment takes at most 21 cycles more
/// than its words (`tests/blocks/transmit.rs`). **Area** not measured.
#[derive(LogicBlock)]
pub struct TxEngine<const C: usize, const N: usize> {
    /// Rising edge.
    pub clock: Signal<In, Clock>,
    /// Forget everything.
    pub reset: Signal<In, Bit>,
    /// Command word.
    pub command: Signal<In, FB<32>>,
    /// There is one.
    pub valid: Signal<In, Bit>,
    /// It is taken.
    pub ready: Signal<Out, Bit>,
    /// Host memory.
    pub dma: ReadMaster,
    /// Frames for the wire.
    pub mac: StreamOut,
    /// Frames for the own receive path.
    pub inject: StreamOut,
    /// COND bit 4.
    pub room: Signal<Out, Bit>,
    /// COND bit 9.
    pub inject_room: Signal<Out, Bit>,
    /// All commands are executed.
    pub idle: Signal<Out, Bit>,
    /// And all frames have left.
    pub empty: Signal<Out, Bit>,
    /// A frame was given up.
    pub error: Signal<Out, Bit>,
    /// Its tag.
    pub error_tag: Signal<Out, FB<16>>,
    /// The error is known.
    pub error_take: Signal<In, Bit>,
    /// Memory of the commands, if it is shared.
    pub store: StoreMaster,
    queue: Packets<C, 32, 1>,
    fetch: Fetch,
    framer: Framer,
    cut: Cut,
    bytes: Serial,
    is_serial: Constant<Bit>,
    is_few: Constant<Bit>,
    ring: TxRing<N>,
    frames_max: Constant<FB<8>>,
    errors: Fifo<2, 16>,
    fails: Signal<Local, Bit>,
    rests: Signal<Local, Bit>,
    nearly: Signal<Local, Bit>,
    builds: Signal<Local, Bit>,
    fits: Signal<Local, Bit>,
}

impl<const C: usize, const N: usize> TxEngine<C, N> {
    /// For frames of up to `frame_max` bytes, of which up to `frames_max` may stand in line.
    pub fn new(frame_max: usize, frames_max: u8) -> Self {
        Self::form(frame_max, frames_max, Packets::default())
    }

    /// The same, with commands in `words` words of a shared memory from `base` on.
    pub fn shared(frame_max: usize, frames_max: u8, base: usize, words: usize) -> Self {
        Self::form(frame_max, frames_max, Packets::shared(base, words, 1))
    }

    fn form(frame_max: usize, frames_max: u8, queue: Packets<C, 32, 1>) -> Self {
        Self {
            clock: Signal::default(),
            reset: Signal::default(),
            command: Signal::default(),
            valid: Signal::default(),
            ready: Signal::default(),
            dma: Default::default(),
            mac: Default::default(),
            inject: Default::default(),
            room: Signal::default(),
            inject_room: Signal::default(),
            idle: Signal::default(),
            empty: Signal::default(),
            error: Signal::default(),
            error_tag: Signal::default(),
            error_take: Signal::default(),
            store: Default::default(),
            queue,
            fetch: Fetch::default(),
            framer: Framer::default(),
            cut: Cut::default(),
            bytes: Serial::default(),
            is_serial: Constant::new(false),
            is_few: Constant::new(false),
            ring: TxRing::new(frame_max),
            frames_max: Constant::new(FB::new(frames_max.into())),
            errors: Fifo::default(),
            fails: Signal::default(),
            rests: Signal::default(),
            nearly: Signal::default(),
            builds: Signal::default(),
            fits: Signal::default(),
        }
    }

    /// A byte a cycle.
    pub fn serial(mut self) -> Self {
        self.is_serial = Constant::new(true);
        self
    }

    /// For the tags of a device of 4 QPs only: 0 to 3, 0x7e, 0x7f. See [`Tags`](crate::dma).
    pub fn few_tags(mut self) -> Self {
        self.is_few = Constant::new(true);
        self.ring = self.ring.tagged(7);
        self
    }

    /// With host addresses of 32 bits: see [`Bursts`](crate::dma::Bursts).
    pub fn narrow(mut self) -> Self {
        self.fetch = self.fetch.narrow();
        self
    }
}

impl<const C: usize, const N: usize> Logic for TxEngine<C, N> {
    #[hdl_gen]
    fn update(&mut self) {
        clock!(self, clock, queue, fetch, framer, cut, bytes, ring, errors);
        self.queue.reset.next = self.reset.val();
        self.fetch.reset.next = self.reset.val();
        self.framer.reset.next = self.reset.val();
        self.cut.reset.next = self.reset.val();
        self.bytes.reset.next = self.reset.val();
        self.ring.reset.next = self.reset.val();
        self.errors.reset.next = self.reset.val();
        self.queue.data_in.next = self.command.val();
        self.queue.slot.next = 0.into();
        self.queue.write.next = false;
        self.queue.commit.next = 0.into();
        if self.valid.val() && self.queue.room.val() {
            self.queue.write.next = true;
            self.queue.commit.next = 1.into();
        }
        self.ready.next = self.queue.room.val();
        self.fetch.command.next = self.queue.word.val();
        self.fetch.valid.next = self.queue.valid.val();
        self.queue.ready.next = self.fetch.ready.val();
        StoreMaster::link(&mut self.store, &mut self.queue.store);
        ReadMaster::link(&mut self.dma, &mut self.fetch.dma);
        self.framer.source.data.next = self.fetch.item.data.val();
        self.framer.source.kind.next = self.fetch.item.kind.val();
        self.framer.source.count.next = self.fetch.item.count.val();
        self.framer.source.lead.next = self.fetch.item.lead.val();
        self.framer.source.valid.next = self.fetch.item.valid.val() && !self.is_serial.val();
        ItemOut::join(&mut self.framer.sink, &mut self.cut.source);
        self.bytes.source.data.next = self.fetch.item.data.val();
        self.bytes.source.kind.next = self.fetch.item.kind.val();
        self.bytes.source.count.next = self.fetch.item.count.val();
        self.bytes.source.lead.next = self.fetch.item.lead.val();
        self.bytes.source.valid.next = self.fetch.item.valid.val() && self.is_serial.val();
        self.fetch.item.ready.next = self.framer.source.ready.val();
        self.ring.source.data.next = self.cut.sink.data.val();
        self.ring.source.kind.next = self.cut.sink.kind.val();
        self.ring.source.count.next = self.cut.sink.count.val();
        self.ring.source.lead.next = self.cut.sink.lead.val();
        self.ring.source.valid.next = self.cut.sink.valid.val();
        if self.is_serial.val() {
            self.fetch.item.ready.next = self.bytes.source.ready.val();
            self.ring.source.data.next = self.bytes.sink.data.val();
            self.ring.source.kind.next = self.bytes.sink.kind.val();
            self.ring.source.count.next = self.bytes.sink.count.val();
            self.ring.source.lead.next = self.bytes.sink.lead.val();
            self.ring.source.valid.next = self.bytes.sink.valid.val();
        }
        self.cut.sink.ready.next = self.ring.source.ready.val();
        self.bytes.sink.ready.next = self.ring.source.ready.val();
        StreamOut::link(&mut self.mac, &mut self.ring.mac);
        StreamOut::link(&mut self.inject, &mut self.ring.inject);

        self.rests.next = !self.queue.waiting.val() && (self.queue.level.val() == 0);
        self.builds.next = self.ring.building.val()
            || self.fetch.busy.val()
            || self.framer.sink.valid.val()
            || self.cut.sink.valid.val()
            || self.bytes.sink.valid.val();
        self.fits.next = self.ring.fits.val();
        if self.builds.val() || !self.rests.val() {
            self.fits.next = self.ring.fits_two.val();
        }
        // CLOSE and END of a frame whose payload is being read may still wait.
        self.nearly.next = self.queue.level.val() < 3;
        // Besides the one asked for, at most two frames have begun and not ended: so there is a place for what each may report.
        self.fails.next = self.errors.level.val() != 0;
        self.inject_room.next = self.nearly.val() && self.fits.val() && !self.fails.val();
        self.room.next = self.nearly.val()
            && self.fits.val()
            && !self.fails.val()
            && (self.ring.frames.val() < self.frames_max.val());
        self.idle.next = self.rests.val() && !self.builds.val();
        self.empty.next = self.rests.val() && !self.builds.val() && (self.ring.frames.val() == 0);
        self.errors.data_in.next = self.ring.tag.val();
        self.errors.write.next = self.ring.error.val();
        self.errors.read.next = self.error_take.val() && !self.errors.empty.val();
        self.error.next = !self.errors.empty.val();
        self.error_tag.next = self.errors.data_out.val();
        if self.is_few.val() && self.errors.data_out.val().get_bit(2) {
            self.error_tag.next = self.errors.data_out.val() | 0x78;
        }
    }
}
