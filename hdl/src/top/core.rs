use crate::dma::{ReadMaster, Reader, WriteMaster, Writer};
use crate::fb::{FB, bit_cast};
use crate::host::Requests;
use crate::mem::{Packets, Ram};
use crate::mpa::Walk;
use crate::predict::{PredictReceive, PredictSend};
use crate::rx::{Arbiter, Receive};
use crate::seq::Sequencer;
use crate::stream::{StreamIn, StreamOut};
use crate::tx::TxEngine;
use rust_hdl::prelude::*;

/// The RNIC: sequencer and engines (docs/microarchitecture.md).
///
/// Address bits: `P` program, `M` operands, `T` tables, `R` receive ring, `X` transmit ring, `C` transmit commands, `I` program words that are in
/// the core, `N` lines of those.
///
/// ```text
///  wire --> Arbiter > Receive ---descriptors---> +-----------+
///            ^ inject   | ring                   |           | <-- Requests <-- host
///            |          +--> Walk --packets----> |           | --> answer
///            |          +--> Writer <- queue <-- | Sequencer |
///            |               Reader <----------> |           | <-- now
///            +---- TxEngine <------------------- |           |
///  mac <---------/                               +-----------+
/// ```
///
/// **Interface.** `line`, `mac`: frames with two pad bytes in front, without FCS. `host_*`: register requests, answered in order on `answer`. Four read
/// channels and one write channel to host memory. `now`: time in units of 1024 ns. `pace`: the transmitter may build frames. `irq`: the interrupt, a level. `waiting`:
/// the sequencer and the engines have nothing to do; `resting`: the sequencer has not. `alarm`: when it wants to be woken, if `alarm_set`. `fill_*`: lines of the
/// program (see [`Cache`](crate::seq::Cache)), if it is not all in the core.
///
/// **Theory of operation.** What stands between the sequencer and the engines is here: the table of ports of docs/microarchitecture.md section 1.
#[derive(LogicBlock)]
pub struct Core<
    const P: usize,
    const M: usize,
    const T: usize,
    const R: usize,
    const X: usize,
    const C: usize,
    const I: usize,
    const N: usize,
> {
    /// Rising edge.
    pub clock: Signal<In, Clock>,
    /// Synchronous.
    pub reset: Signal<In, Bit>,
    /// Frames from the wire.
    pub line: StreamIn,
    /// Frames to the wire.
    pub mac: StreamOut,
    /// The transmitter may build a frame.
    pub pace: Signal<In, Bit>,
    /// Time.
    pub now: Signal<In, FB<32>>,
    /// The request is a write.
    pub host_write: Signal<In, Bit>,
    /// Its byte offset.
    pub host_offset: Signal<In, FB<24>>,
    /// What to write.
    pub host_data: Signal<In, FB<32>>,
    /// There is a request.
    pub host_valid: Signal<In, Bit>,
    /// It is taken.
    pub host_ready: Signal<Out, Bit>,
    /// Answer to a read.
    pub answer: Signal<Out, FB<32>>,
    /// There is one.
    pub answer_valid: Signal<Out, Bit>,
    /// It is taken.
    pub answer_ready: Signal<In, Bit>,
    /// Interrupt.
    pub irq: Signal<Out, Bit>,
    /// Host memory: walker.
    pub walk_channel: ReadMaster,
    /// Host memory: writer, as source.
    pub source_channel: ReadMaster,
    /// Host memory: small reads.
    pub small_channel: ReadMaster,
    /// Host memory: payload to send.
    pub send_channel: ReadMaster,
    /// Host memory: writes.
    pub write_channel: WriteMaster,
    /// Nothing to do.
    pub waiting: Signal<Out, Bit>,
    /// The sequencer has nothing to do.
    pub resting: Signal<Out, Bit>,
    /// A frame is being built.
    pub sending: Signal<Out, Bit>,
    /// An alarm is set.
    pub alarm_set: Signal<Out, Bit>,
    /// For this time.
    pub alarm: Signal<Out, FB<32>>,
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
    sequencer: Sequencer<P, M, T, I, N>,
    arbiter: Arbiter,
    receive: Receive<R, 8>,
    walk: Walk<R>,
    writes: Packets<7, 32, 1>,
    writer: Writer<R>,
    reader: Reader,
    requests: Requests,
    transmit: TxEngine<C, X>,
    predict_send: PredictSend,
    predict_receive: PredictReceive,
    // Commands of the sequencer to the writer that prediction has given already, if it has: it has completed something.
    written_already: DFF<Bit>,
    predicted: DFF<Bit>,
    // Of a small one: what goes to the sequencer, what comes from it, and whose turn it is.
    inbox: Ram<8, 32>,
    outbox: Ram<8, 32>,
    is_small: Constant<Bit>,
    turn: DFF<FB<2>>,
    mac_low: DFF<FB<32>>,
    mac_high: DFF<FB<32>>,
    // Inverted, as it is taken off the time.
    alarm_at: DFF<FB<32>>,
    alarm_on: DFF<Bit>,
    late: Signal<Local, FB<34>>,
    wide_now: Signal<Local, FB<34>>,
    wide_alarm: Signal<Local, FB<34>>,
    due: Signal<Local, Bit>,
    quiet: Signal<Local, Bit>,
    conditions: Signal<Local, FB<10>>,
    error_word: Signal<Local, FB<32>>,
    writer_tag: Signal<Local, FB<32>>,
    writer_flag: Signal<Local, FB<32>>,
    send_tag: Signal<Local, FB<32>>,
    send_flag: Signal<Local, FB<32>>,
    predicts: Signal<Local, Bit>,
    rests: Signal<Local, Bit>,
    rings: Signal<Local, Bit>,
    outcome: Signal<Local, FB<32>>,
    in_port: Signal<Local, FB<4>>,
    takes: Signal<Local, Bit>,
    out_port: Signal<Local, FB<4>>,
    puts: Signal<Local, Bit>,
    word: Signal<Local, FB<32>>,
}

/// The parts of a core that differ between the sizes.
struct Parts<
    const P: usize,
    const M: usize,
    const T: usize,
    const R: usize,
    const X: usize,
    const C: usize,
    const I: usize,
    const N: usize,
> {
    small: bool,
    sequencer: Sequencer<P, M, T, I, N>,
    receive: Receive<R, 8>,
    walk: Walk<R>,
    reader: Reader,
    requests: Requests,
    writes: Packets<7, 32, 1>,
    transmit: TxEngine<C, X>,
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
> Core<P, M, T, R, X, C, I, N>
{
    /// With this program, for frames of up to `frame_max` bytes, at most `frames_max` in line, and doorbell pages of 2^`page` bytes.
    pub fn new(program: &[u32], frame_max: usize, frames_max: u8, page: u8) -> Self {
        Self::form(Parts {
            small: false,
            sequencer: Sequencer::new(program),
            receive: Receive::default(),
            walk: Walk::default(),
            reader: Reader::default(),
            requests: Requests::new(page),
            writes: Packets::default(),
            transmit: TxEngine::new(frame_max, frames_max),
        })
    }

    /// The same in as few block RAMs as possible; the program is elsewhere. What goes to the sequencer shares one memory, what comes from it another; small reads
    /// have at most 32 words.
    pub fn small(frame_max: usize, frames_max: u8, page: u8) -> Self {
        let mut core = Self::form(Parts {
            small: true,
            sequencer: Sequencer::small(),
            receive: Receive::small(64, 64),
            walk: Walk::shared(128, 64).serial(),
            reader: Reader::shared(192, 64, 32),
            requests: Requests::shared(page, 0, 32),
            writes: Packets::shared(0, 128, 1),
            transmit: TxEngine::shared(frame_max, frames_max, 128, 128).serial().few_tags(),
        });
        core.writer = core.writer.serial().few_tags();
        core
    }

    fn form(parts: Parts<P, M, T, R, X, C, I, N>) -> Self {
        let Parts { small, sequencer, receive, walk, reader, requests, writes, transmit } = parts;
        Self {
            clock: Signal::default(),
            reset: Signal::default(),
            line: Default::default(),
            mac: Default::default(),
            pace: Signal::default(),
            now: Signal::default(),
            host_write: Signal::default(),
            host_offset: Signal::default(),
            host_data: Signal::default(),
            host_valid: Signal::default(),
            host_ready: Signal::default(),
            answer: Signal::default(),
            answer_valid: Signal::default(),
            answer_ready: Signal::default(),
            irq: Signal::default(),
            walk_channel: Default::default(),
            source_channel: Default::default(),
            small_channel: Default::default(),
            send_channel: Default::default(),
            write_channel: Default::default(),
            waiting: Signal::default(),
            resting: Signal::default(),
            sending: Signal::default(),
            alarm_set: Signal::default(),
            alarm: Signal::default(),
            retired: Signal::default(),
            retired_pc: Signal::default(),
            fill_request: Signal::default(),
            fill_address: Signal::default(),
            fill_data: Signal::default(),
            fill_valid: Signal::default(),
            sequencer,
            arbiter: Arbiter::default(),
            receive,
            walk,
            writes,
            writer: Writer::default(),
            reader,
            requests,
            transmit,
            predict_send: PredictSend::default(),
            predict_receive: PredictReceive::default(),
            written_already: DFF::default(),
            predicted: DFF::default(),
            inbox: Ram::default(),
            outbox: Ram::default(),
            is_small: Constant::new(small),
            turn: DFF::default(),
            mac_low: DFF::default(),
            mac_high: DFF::default(),
            alarm_at: DFF::default(),
            alarm_on: DFF::default(),
            late: Signal::default(),
            wide_now: Signal::default(),
            wide_alarm: Signal::default(),
            due: Signal::default(),
            quiet: Signal::default(),
            conditions: Signal::default(),
            error_word: Signal::default(),
            writer_tag: Signal::default(),
            writer_flag: Signal::default(),
            send_tag: Signal::default(),
            send_flag: Signal::default(),
            predicts: Signal::default(),
            rests: Signal::default(),
            rings: Signal::default(),
            outcome: Signal::default(),
            in_port: Signal::default(),
            takes: Signal::default(),
            out_port: Signal::default(),
            puts: Signal::default(),
            word: Signal::default(),
        }
    }

    /// With host addresses of 32 bits: see [`Bursts`](crate::dma::Bursts).
    pub fn narrow(mut self) -> Self {
        self.walk = self.walk.narrow();
        self.writer = self.writer.narrow();
        self.reader = self.reader.narrow();
        self.transmit = self.transmit.narrow();
        self
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
> Logic for Core<P, M, T, R, X, C, I, N>
{
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, turn, mac_low, mac_high, alarm_at, alarm_on, written_already, predicted);
        clock!(
            self,
            clock,
            sequencer,
            arbiter,
            receive,
            walk,
            writes,
            writer,
            reader,
            requests,
            transmit,
            predict_send,
            predict_receive,
            inbox,
            outbox
        );
        // A small one has none: what is always reset is not there after synthesis.
        self.predict_send.reset.next = self.reset.val() || self.is_small.val();
        self.predict_receive.reset.next = self.reset.val() || self.is_small.val();
        self.sequencer.reset.next = self.reset.val();
        self.arbiter.reset.next = self.reset.val();
        self.receive.reset.next = self.reset.val();
        self.walk.reset.next = self.reset.val();
        self.writes.reset.next = self.reset.val();
        self.writer.reset.next = self.reset.val();
        self.reader.reset.next = self.reset.val();
        self.requests.reset.next = self.reset.val();
        self.transmit.reset.next = self.reset.val();

        // Streams and channels.
        StreamIn::link(&mut self.line, &mut self.arbiter.wire_in);
        StreamOut::join(&mut self.transmit.inject, &mut self.arbiter.inject);
        StreamOut::join(&mut self.arbiter.downstream, &mut self.receive.upstream);
        StreamOut::link(&mut self.mac, &mut self.transmit.mac);
        ReadMaster::link(&mut self.walk_channel, &mut self.walk.channel);
        ReadMaster::link(&mut self.source_channel, &mut self.writer.source);
        ReadMaster::link(&mut self.small_channel, &mut self.reader.channel);
        ReadMaster::link(&mut self.send_channel, &mut self.transmit.dma);
        WriteMaster::link(&mut self.write_channel, &mut self.writer.channel);
        self.arbiter.enable.next = self.mac_high.q.val().get_bit(17);
        self.receive.injected.next = self.arbiter.injected.val();
        self.receive.mac_low.next = self.mac_low.q.val();
        self.receive.mac_high.next = self.mac_high.q.val().get_bits::<16>(0);
        self.receive.promiscuous.next = self.mac_high.q.val().get_bit(16);
        self.receive.walk_address.next = self.walk.ring_address.val();
        self.walk.ring_data.next = self.receive.walk_data.val();
        self.receive.place_address.next = self.writer.ring_address.val();
        self.writer.ring_data.next = self.receive.place_data.val();
        self.receive.free_to.next = self.writer.free_to.val();
        self.receive.free_enable.next = self.writer.free_enable.val();
        self.walk.ring_wait.next = self.receive.walk_wait.val();
        self.writer.ring_wait.next = self.receive.place_wait.val();
        self.writer.command.next = self.writes.word.val();
        self.writer.command_valid.next = self.writes.valid.val();
        self.writes.ready.next = self.writer.command_ready.val();
        self.irq.next = self.writer.irq.val();

        // Program.
        self.fill_request.next = self.sequencer.fill_request.val();
        self.fill_address.next = self.sequencer.fill_address.val();
        self.sequencer.fill_data.next = self.fill_data.val();
        self.sequencer.fill_valid.next = self.fill_valid.val();

        // Shared memories: each queue has every fourth cycle of the inbox, or every second of the outbox to read; the sequencer alone writes that.
        self.turn.d.next = self.turn.q.val() + 1;
        self.requests.store.turn.next = self.turn.q.val() == 0;
        self.receive.store.turn.next = self.turn.q.val() == 1;
        self.walk.store.turn.next = self.turn.q.val() == 2;
        self.reader.store.turn.next = self.turn.q.val() == 3;
        self.inbox.read_address.next = self.requests.store.read_address.val();
        self.inbox.write_address.next = self.requests.store.write_address.val();
        self.inbox.data_in.next = self.requests.store.write_data.val();
        self.inbox.write_enable.next = self.requests.store.write_enable.val();
        if self.turn.q.val() == 1 {
            self.inbox.read_address.next = self.receive.store.read_address.val();
            self.inbox.write_address.next = self.receive.store.write_address.val();
            self.inbox.data_in.next = self.receive.store.write_data.val();
            self.inbox.write_enable.next = self.receive.store.write_enable.val();
        }
        if self.turn.q.val() == 2 {
            self.inbox.read_address.next = self.walk.store.read_address.val();
            self.inbox.write_address.next = self.walk.store.write_address.val();
            self.inbox.data_in.next = self.walk.store.write_data.val();
            self.inbox.write_enable.next = self.walk.store.write_enable.val();
        }
        if self.turn.q.val() == 3 {
            self.inbox.read_address.next = self.reader.store.read_address.val();
            self.inbox.write_address.next = self.reader.store.write_address.val();
            self.inbox.data_in.next = self.reader.store.write_data.val();
            self.inbox.write_enable.next = self.reader.store.write_enable.val();
        }
        self.requests.store.read_data.next = self.inbox.data_out.val();
        self.receive.store.read_data.next = self.inbox.data_out.val();
        self.walk.store.read_data.next = self.inbox.data_out.val();
        self.reader.store.read_data.next = self.inbox.data_out.val();
        self.writes.store.turn.next = !self.turn.q.val().get_bit(0);
        self.transmit.store.turn.next = self.turn.q.val().get_bit(0);
        self.outbox.read_address.next = self.writes.store.read_address.val();
        if self.turn.q.val().get_bit(0) {
            self.outbox.read_address.next = self.transmit.store.read_address.val();
        }
        self.outbox.data_in.next = self.sequencer.out_data.val();
        self.outbox.write_address.next = self.writes.store.write_address.val();
        self.outbox.write_enable.next = self.writes.store.write_enable.val();
        if self.transmit.store.write_enable.val() {
            self.outbox.write_address.next = self.transmit.store.write_address.val();
            self.outbox.write_enable.next = true;
        }
        self.writes.store.read_data.next = self.outbox.data_out.val();
        self.transmit.store.read_data.next = self.outbox.data_out.val();
        if !self.is_small.val() {
            self.inbox.write_enable.next = false;
            self.outbox.write_enable.next = false;
        }

        // Host.
        self.requests.write.next = self.host_write.val();
        self.requests.offset.next = self.host_offset.val();
        self.requests.data.next = self.host_data.val();
        self.requests.valid.next = self.host_valid.val();
        self.host_ready.next = self.requests.ready.val();

        // Conditions.
        self.wide_now.next = (bit_cast::<34, 32>(self.now.val()) << 1) | 1;
        self.wide_alarm.next = (bit_cast::<34, 32>(self.alarm_at.q.val()) << 1) | 1;
        self.late.next = self.wide_now.val() + self.wide_alarm.val();
        self.due.next = self.alarm_on.q.val() && !self.late.val().get_bit(32);
        self.quiet.next =
            self.writer.drained.val() && !self.writes.waiting.val() && (self.writes.level.val() == 0);
        self.conditions.next = 0.into();
        // Acknowledged is not yet written: a small ring has room for what a peer may send only if the frames before are out of it.
        self.conditions.next = self
            .conditions
            .val()
            .replace_bit(0, self.receive.waiting.val() && (self.quiet.val() || !self.is_small.val()));
        self.conditions.next = self.conditions.val().replace_bit(1, self.requests.waiting.val());
        self.conditions.next = self.conditions.val().replace_bit(2, self.walk.waiting.val());
        self.conditions.next = self.conditions.val().replace_bit(3, self.due.val());
        self.conditions.next =
            self.conditions.val().replace_bit(4, self.transmit.room.val() && self.pace.val());
        self.conditions.next = self.conditions.val().replace_bit(5, self.transmit.error.val());
        self.conditions.next = self.conditions.val().replace_bit(6, self.writer.error.val());
        self.conditions.next = self.conditions.val().replace_bit(7, self.reader.waiting.val());
        self.conditions.next = self.conditions.val().replace_bit(8, self.transmit.empty.val());
        self.conditions.next = self.conditions.val().replace_bit(9, self.transmit.inject_room.val());
        self.sequencer.cond.next = self.conditions.val();

        // Prediction, while the sequencer sleeps: what passes by.
        self.predict_send.door_offset.next = self.host_offset.val();
        self.predict_send.door_data.next = self.host_data.val();
        self.rings.next = self.host_write.val() && self.host_valid.val() && self.requests.ready.val();
        self.predict_send.door_rings.next = self.rings.val();
        self.predict_send.clear.next = self.requests.empty.val()
            && self.transmit.room.val()
            && self.pace.val()
            && !self.predict_receive.busy.val()
            && !self.predict_receive.placed.val();
        self.predict_send.seen_data.next = self.small_channel.data.val();
        self.predict_send.seen_error.next = self.small_channel.error.val();
        self.predict_send.seen_passes.next = self.small_channel.valid.val() && self.small_channel.ready.val();
        self.predict_send.reply_word.next = self.reader.word.val();
        self.predict_send.reply_valid.next = self.reader.valid.val();
        self.predict_send.read_ready.next = self.reader.command_ready.val();
        self.predict_send.tx_ready.next = self.transmit.ready.val();
        self.predict_receive.told_slot.next = self.receive.told_slot.val();
        self.predict_receive.told_data.next = self.receive.told_data.val();
        self.predict_receive.told_write.next = self.receive.told_write.val();
        self.predict_receive.told_commit.next = self.receive.told_commit.val();
        self.rests.next = self.writes.level.val() == 0;
        self.predict_receive.clear.next = !self.receive.waiting.val()
            && self.rests.val()
            && !self.writes.waiting.val()
            // A doorbell in the same cycle goes first: the program catches up with one of both.
            && !self.rings.val()
            && !self.predict_send.busy.val()
            && !self.predict_send.fired.val();
        self.predict_receive.found_slot.next = self.walk.found_slot.val();
        self.predict_receive.found_data.next = self.walk.found_data.val();
        self.predict_receive.found_write.next = self.walk.found_write.val();
        self.predict_receive.packet_waits.next = self.walk.waiting.val();
        self.predict_receive.packet_first.next = self.walk.first.val();
        self.predict_receive.walk_ready.next = self.walk.command_ready.val();
        self.predict_receive.quiet.next = self.quiet.val();
        self.predict_receive.failed.next = self.writer.error.val();
        self.predicts.next = self.predict_send.busy.val() || self.predict_receive.busy.val();
        self.outcome.next = self.predict_send.outcome.val()
            | (bit_cast::<32, 1>(self.predict_receive.completed.val().into()) << 2)
            | (bit_cast::<32, 1>(self.predict_receive.placed.val().into()) << 1);

        // Ports read.
        self.in_port.next = self.sequencer.port.val();
        self.takes.next = self.sequencer.port_take.val();
        self.writer_tag.next = bit_cast::<32, 8>(self.writer.error_tag.val());
        self.writer_flag.next = bit_cast::<32, 1>(self.writer.error.val().into());
        self.send_tag.next = bit_cast::<32, 16>(self.transmit.error_tag.val());
        self.send_flag.next = bit_cast::<32, 1>(self.transmit.error.val().into());
        self.error_word.next = 0.into();
        if self.writer.error.val() {
            self.error_word.next = (self.writer_tag.val() << 16) | self.writer_flag.val();
        }
        self.sequencer.port_valid.next = true;
        self.sequencer.port_data.next = bit_cast::<32, 10>(self.conditions.val());
        self.receive.ready.next = false;
        self.requests.take.next = false;
        self.reader.ready.next = false;
        self.walk.ready.next = false;
        self.writer.clear_error.next = false;
        self.transmit.error_take.next = false;
        if self.in_port.val() == 1 {
            self.sequencer.port_data.next = self.receive.word.val();
            self.sequencer.port_valid.next = self.receive.valid.val();
            self.receive.ready.next = self.takes.val();
        }
        if self.in_port.val() == 2 {
            self.sequencer.port_data.next = self.requests.word.val();
            self.sequencer.port_valid.next = self.requests.word_valid.val();
            self.requests.take.next = self.takes.val();
        }
        if self.in_port.val() == 3 {
            self.sequencer.port_data.next = self.reader.word.val();
            self.sequencer.port_valid.next = self.reader.valid.val();
            self.reader.ready.next = self.takes.val();
        }
        if self.in_port.val() == 4 {
            self.sequencer.port_data.next = self.walk.word.val();
            self.sequencer.port_valid.next = self.walk.valid.val();
            self.walk.ready.next = self.takes.val();
        }
        if self.in_port.val() == 5 {
            // What remains of the packet before is dropped.
            self.sequencer.port_data.next = self.walk.word.val();
            self.sequencer.port_valid.next = self.walk.valid.val() && self.walk.first.val();
            self.walk.ready.next = self.takes.val();
        }
        if self.in_port.val() == 6 {
            self.sequencer.port_data.next = self.error_word.val();
            self.sequencer.port_valid.next = self.quiet.val();
            self.writer.clear_error.next = self.takes.val() && self.quiet.val();
        }
        if self.in_port.val() == 7 {
            self.sequencer.port_data.next = self.now.val();
        }
        if self.in_port.val() == 8 {
            // Without an error the tag means nothing.
            self.sequencer.port_data.next = self.send_tag.val() | (self.send_flag.val() << 31);
            self.transmit.error_take.next = self.takes.val();
        }
        if self.in_port.val() == 9 {
            self.sequencer.port_data.next = self.error_word.val() | (self.writer_flag.val() << 31);
            self.writer.clear_error.next = self.takes.val();
        }
        if self.in_port.val() == 10 {
            self.sequencer.port_data.next = 0.into();
            self.sequencer.port_valid.next = self.transmit.idle.val();
        }

        self.predict_send.disarm.next = false;
        self.predict_receive.disarm.next = false;
        if self.in_port.val() == 11 {
            self.sequencer.port_data.next = self.outcome.val();
            self.sequencer.port_valid.next = !self.predicts.val();
            if self.takes.val() && !self.predicts.val() {
                self.predict_send.disarm.next = true;
                self.predict_receive.disarm.next = true;
                self.predicted.d.next = self.predict_receive.completed.val();
            }
        }

        // Ports written.
        self.out_port.next = self.sequencer.out_port.val();
        self.puts.next = self.sequencer.out_valid.val();
        self.word.next = self.sequencer.out_data.val();
        self.writes.data_in.next = self.word.val();
        self.writes.slot.next = 0.into();
        self.writes.write.next = false;
        self.writes.commit.next = 0.into();
        self.answer.next = self.word.val();
        self.answer_valid.next = false;
        self.reader.command.next = self.word.val();
        self.reader.command_valid.next = false;
        self.walk.command.next = self.word.val();
        self.walk.command_valid.next = false;
        self.transmit.command.next = self.word.val();
        self.transmit.valid.next = false;
        self.sequencer.out_ready.next = true;
        self.predict_send.script.next = self.word.val();
        self.predict_send.script_write.next = false;
        self.predict_receive.script.next = self.word.val();
        self.predict_receive.script_write.next = false;
        if (self.out_port.val() == 1) && !self.written_already.q.val() {
            self.sequencer.out_ready.next = self.writes.room.val();
            if self.puts.val() && self.writes.room.val() {
                self.writes.write.next = true;
                self.writes.commit.next = 1.into();
            }
        }
        if self.out_port.val() == 2 {
            self.sequencer.out_ready.next = self.answer_ready.val();
            self.answer_valid.next = self.puts.val();
        }
        if self.out_port.val() == 3 {
            self.sequencer.out_ready.next = self.reader.command_ready.val();
            self.reader.command_valid.next = self.puts.val();
        }
        if self.out_port.val() == 4 {
            self.sequencer.out_ready.next = self.walk.command_ready.val();
            self.walk.command_valid.next = self.puts.val();
        }
        if self.out_port.val() == 5 {
            self.sequencer.out_ready.next = self.transmit.ready.val();
            self.transmit.valid.next = self.puts.val();
        }
        if self.puts.val() && (self.out_port.val() == 6) {
            self.alarm_at.d.next = !self.word.val();
            self.alarm_on.d.next = true;
        }
        if self.puts.val() && (self.out_port.val() == 7) {
            self.alarm_on.d.next = false;
        }
        if self.puts.val() && (self.out_port.val() == 8) {
            self.mac_low.d.next = self.word.val();
        }
        if self.puts.val() && (self.out_port.val() == 9) {
            self.mac_high.d.next = self.word.val();
        }

        if !self.is_small.val() {
            if self.puts.val() && (self.out_port.val() == 11) {
                self.predict_send.script_write.next = true;
            }
            if self.puts.val() && (self.out_port.val() == 12) {
                self.predict_receive.script_write.next = true;
            }
            if self.puts.val() && (self.out_port.val() == 13) {
                self.written_already.d.next = self.word.val().get_bit(0)
                    || (self.word.val().get_bit(1) && self.written_already.q.val() && self.predicted.q.val());
            }
            // What prediction says goes where the sequencer's words go, which has nothing to say then.
            if self.predict_send.busy.val() {
                self.reader.command.next = self.predict_send.read_word.val();
                self.reader.command_valid.next = self.predict_send.read_valid.val();
                self.reader.ready.next = self.predict_send.reply_ready.val();
                self.transmit.command.next = self.predict_send.tx_word.val();
                self.transmit.valid.next = self.predict_send.tx_valid.val();
            }
            if self.predict_receive.busy.val() {
                self.walk.command.next = self.predict_receive.walk_word.val();
                self.walk.command_valid.next = self.predict_receive.walk_valid.val();
                self.walk.ready.next = self.predict_receive.packet_ready.val();
                self.writes.slot.next = self.predict_receive.write_slot.val();
                self.writes.data_in.next = self.predict_receive.write_data.val();
                self.writes.write.next = self.predict_receive.write_enable.val();
                self.writes.commit.next = self.predict_receive.write_commit.val();
            }
        }
        self.waiting.next = self.sequencer.waiting.val()
            && !self.predicts.val()
            && self.quiet.val()
            && self.walk.command_ready.val()
            && self.transmit.idle.val()
            && self.requests.empty.val();
        self.resting.next = self.sequencer.waiting.val();
        self.sending.next = !self.transmit.idle.val();
        self.alarm_set.next = self.alarm_on.q.val();
        self.alarm.next = !self.alarm_at.q.val();
        self.retired.next = self.sequencer.retired.val();
        self.retired_pc.next = self.sequencer.retired_pc.val();
        if self.reset.val() {
            self.alarm_on.d.next = false;
            self.mac_high.d.next = 0.into();
            self.written_already.d.next = false;
            self.predicted.d.next = false;
        }
    }
}
