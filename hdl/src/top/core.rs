use crate::dma::{ReadMaster, Reader, WriteMaster, Writer};
use crate::fb::{FB, bit_cast};
use crate::host::Requests;
use crate::mem::Fifo;
use crate::mpa::Walk;
use crate::rx::{Arbiter, Receive};
use crate::seq::Sequencer;
use crate::stream::{StreamIn, StreamOut};
use crate::tx::TxEngine;
use rust_hdl::prelude::*;

/// The RNIC: sequencer and engines (docs/microarchitecture.md).
///
/// Address bits: `P` program, `M` operands, `T` tables, `R` receive ring, `X` transmit ring, `C` transmit commands.
///
/// ```text
///  wire --> Arbiter > Receive ---descriptors---> +-----------+
///            ^ inject   | ring                   |           | <-- Requests <-- host
///            |          +--> Walk --packets----> |           | --> answer
///            |          +--> Writer <-- Fifo <-- | Sequencer |
///            |               Reader <----------> |           | <-- now
///            +---- TxEngine <------------------- |           |
///  mac <---------/                               +-----------+
/// ```
///
/// **Interface.** `line`, `mac`: frames with two pad bytes in front, without FCS. `host_*`: register requests, answered in order on `answer`. Four read
/// channels and one write channel to host memory. `now`: time in units of 1024 ns. `pace`: the transmitter may build frames. `irq`: the interrupt, a level. `waiting`:
/// the sequencer has nothing to do. `alarm`: when it wants to be woken, if `alarm_set`.
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
    sequencer: Sequencer<P, M, T>,
    arbiter: Arbiter,
    receive: Receive<R, 8>,
    walk: Walk<R>,
    writes: Fifo<7, 32>,
    writer: Writer<R>,
    reader: Reader,
    requests: Requests,
    transmit: TxEngine<C, X>,
    mac_low: DFF<FB<32>>,
    mac_high: DFF<FB<32>>,
    alarm_at: DFF<FB<32>>,
    alarm_on: DFF<Bit>,
    late: Signal<Local, FB<32>>,
    due: Signal<Local, Bit>,
    quiet: Signal<Local, Bit>,
    conditions: Signal<Local, FB<10>>,
    error_word: Signal<Local, FB<32>>,
    writer_tag: Signal<Local, FB<32>>,
    writer_flag: Signal<Local, FB<32>>,
    send_tag: Signal<Local, FB<32>>,
    send_flag: Signal<Local, FB<32>>,
    in_port: Signal<Local, FB<4>>,
    takes: Signal<Local, Bit>,
    out_port: Signal<Local, FB<4>>,
    puts: Signal<Local, Bit>,
    word: Signal<Local, FB<32>>,
}

impl<const P: usize, const M: usize, const T: usize, const R: usize, const X: usize, const C: usize>
    Core<P, M, T, R, X, C>
{
    /// With this program, for frames of up to `frame_max` bytes, at most `frames_max` in line, and doorbell pages of 2^`page` bytes.
    pub fn new(program: &[u32], frame_max: usize, frames_max: u8, page: u8) -> Self {
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
            sending: Signal::default(),
            alarm_set: Signal::default(),
            alarm: Signal::default(),
            retired: Signal::default(),
            retired_pc: Signal::default(),
            sequencer: Sequencer::new(program),
            arbiter: Arbiter::default(),
            receive: Receive::default(),
            walk: Walk::default(),
            writes: Fifo::default(),
            writer: Writer::default(),
            reader: Reader::default(),
            requests: Requests::new(page),
            transmit: TxEngine::new(frame_max, frames_max),
            mac_low: DFF::default(),
            mac_high: DFF::default(),
            alarm_at: DFF::default(),
            alarm_on: DFF::default(),
            late: Signal::default(),
            due: Signal::default(),
            quiet: Signal::default(),
            conditions: Signal::default(),
            error_word: Signal::default(),
            writer_tag: Signal::default(),
            writer_flag: Signal::default(),
            send_tag: Signal::default(),
            send_flag: Signal::default(),
            in_port: Signal::default(),
            takes: Signal::default(),
            out_port: Signal::default(),
            puts: Signal::default(),
            word: Signal::default(),
        }
    }
}

impl<const P: usize, const M: usize, const T: usize, const R: usize, const X: usize, const C: usize> Logic
    for Core<P, M, T, R, X, C>
{
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, mac_low, mac_high, alarm_at, alarm_on);
        clock!(self, clock, sequencer, arbiter, receive, walk, writes, writer, reader, requests, transmit);
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
        self.writer.command.next = self.writes.data_out.val();
        self.writer.command_valid.next = !self.writes.empty.val();
        self.writes.read.next = self.writer.command_ready.val() && !self.writes.empty.val();
        self.irq.next = self.writer.irq.val();

        // Host.
        self.requests.write.next = self.host_write.val();
        self.requests.offset.next = self.host_offset.val();
        self.requests.data.next = self.host_data.val();
        self.requests.valid.next = self.host_valid.val();
        self.host_ready.next = self.requests.ready.val();

        // Conditions.
        self.late.next = self.now.val() - self.alarm_at.q.val();
        self.due.next = self.alarm_on.q.val() && !self.late.val().get_bit(31);
        self.conditions.next = 0.into();
        self.conditions.next = self.conditions.val().replace_bit(0, self.receive.valid.val());
        self.conditions.next = self.conditions.val().replace_bit(1, self.requests.waiting.val());
        self.conditions.next = self.conditions.val().replace_bit(2, self.walk.waiting.val());
        self.conditions.next = self.conditions.val().replace_bit(3, self.due.val());
        self.conditions.next =
            self.conditions.val().replace_bit(4, self.transmit.room.val() && self.pace.val());
        self.conditions.next = self.conditions.val().replace_bit(5, self.transmit.error.val());
        self.conditions.next = self.conditions.val().replace_bit(6, self.writer.error.val());
        self.conditions.next = self.conditions.val().replace_bit(7, self.reader.valid.val());
        self.conditions.next = self.conditions.val().replace_bit(8, self.transmit.empty.val());
        self.conditions.next = self.conditions.val().replace_bit(9, self.transmit.inject_room.val());
        self.sequencer.cond.next = self.conditions.val();

        // Ports read.
        self.in_port.next = self.sequencer.port.val();
        self.takes.next = self.sequencer.port_take.val();
        self.quiet.next =
            self.writer.drained.val() && self.writes.empty.val() && (self.writes.level.val() == 0);
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

        // Ports written.
        self.out_port.next = self.sequencer.out_port.val();
        self.puts.next = self.sequencer.out_valid.val();
        self.word.next = self.sequencer.out_data.val();
        self.writes.data_in.next = self.word.val();
        self.writes.write.next = false;
        self.answer.next = self.word.val();
        self.answer_valid.next = false;
        self.reader.command.next = self.word.val();
        self.reader.command_valid.next = false;
        self.walk.command.next = self.word.val();
        self.walk.command_valid.next = false;
        self.transmit.command.next = self.word.val();
        self.transmit.valid.next = false;
        self.sequencer.out_ready.next = true;
        if self.out_port.val() == 1 {
            self.sequencer.out_ready.next = !self.writes.full.val();
            self.writes.write.next = self.puts.val();
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
            self.alarm_at.d.next = self.word.val();
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

        self.waiting.next = self.sequencer.waiting.val()
            && self.quiet.val()
            && self.walk.command_ready.val()
            && self.transmit.idle.val()
            && self.requests.empty.val();
        self.sending.next = !self.transmit.idle.val();
        self.alarm_set.next = self.alarm_on.q.val();
        self.alarm.next = self.alarm_at.q.val();
        self.retired.next = self.sequencer.retired.val();
        self.retired_pc.next = self.sequencer.retired_pc.val();
        if self.reset.val() {
            self.alarm_on.d.next = false;
            self.mac_high.d.next = 0.into();
        }
    }
}
