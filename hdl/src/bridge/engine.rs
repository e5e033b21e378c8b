use super::{Baud, Listen, Speak};
use crate::dma::{ReadSlave, WriteSlave};
use crate::fb::{FB, bit_cast};
use crate::mem::Ram;
use rust_hdl::prelude::*;

/// The register access.
#[derive(Copy, Clone, PartialEq, Debug, LogicState)]
enum Access {
    /// None, or it is answered.
    Done,
    /// It has come and is offered to the core from time to time.
    Offer,
    /// The core is to give a value.
    Result,
    /// ANSWER is to be sent.
    Due,
}

/// The read burst.
#[derive(Copy, Clone, PartialEq, Debug, LogicState)]
enum Reading {
    /// None.
    Idle,
    /// READ is to be sent.
    Want,
    /// It has been sent.
    Wait,
    /// DATA is here.
    Drain,
    /// There is no data.
    Fail,
}

/// The write burst.
#[derive(Copy, Clone, PartialEq, Debug, LogicState)]
enum Writing {
    /// Words are collected.
    Collect,
    /// WRITE is to be sent.
    Want,
    /// It has been sent.
    Wait,
    /// It is answered.
    Next,
    /// The command is taken.
    Accept,
    /// The core is told.
    Tell,
}

/// The serial bridge: one UART between a host and the core's register port, DMA channels and interrupt (docs/bridge.md).
///
/// ```text
///  rx --> Listen --> memory --> word --+--> host port
///           |       (DATA,             +--> walk, source, small, send
///           |       REGISTER)
///           v good: kind, number
///     access, reading, writing -------------> accept, answered
///           |
///           v due
///  tx <-- Speak <-- bytes <-- memory <------- write channel, answer
///                             address <------ commands
/// ```
///
/// **Interface.** `rx`, `tx`: the line. `core_reset`: the core is to be in reset: from power-up to the first HELLO, and around each. `host_*`, `answer*`, `irq`: as the core has them.
/// `walk`, `source`, `small`, `send`: read channels, `write`: the write channel. `alive`: a host has said HELLO. `good`, `bad`: a frame has come, or what was none.
///
/// **Theory of operation.** Three state machines, `access`, `reading` and `writing`, have one request open each, with its own place in the memories, and do not wait for one another. A command to read is
/// taken and its address and length kept; a command to write stands at the channel until its last word is answered. Words of both directions go through one memory of 512 bytes: the line needs it once in 26
/// cycles. What has come from there is written first; of two cycles one reads for the core and one for the line. What has arrived is used only when its CRC was right; what is sent stays until it is answered. A word for the core is read in eight cycles; a register access that the core does not take at once is withdrawn, since words of a read must not wait behind it.
///
/// **Errors.** A burst above 4 GiB is not sent: reads give their words with `error`, writes are swallowed and answered with `failed`.
///
/// **Throughput** a word in 10 cycles; the line is slower. **Area** docs/area.md; one block RAM.
#[derive(LogicBlock)]
pub struct Bridge<const N: usize> {
    /// Rising edge.
    pub clock: Signal<In, Clock>,
    /// Synchronous.
    pub reset: Signal<In, Bit>,
    /// From the host. Asynchronous.
    pub rx: Signal<In, Bit>,
    /// To the host.
    pub tx: Signal<Out, Bit>,
    /// Resets the core.
    pub core_reset: Signal<Out, Bit>,
    /// The request is a write.
    pub host_write: Signal<Out, Bit>,
    /// Its byte offset.
    pub host_offset: Signal<Out, FB<24>>,
    /// What to write.
    pub host_data: Signal<Out, FB<32>>,
    /// There is a request, for a cycle.
    pub host_valid: Signal<Out, Bit>,
    /// It is taken.
    pub host_ready: Signal<In, Bit>,
    /// Answer to a read.
    pub answer: Signal<In, FB<32>>,
    /// There is one.
    pub answer_valid: Signal<In, Bit>,
    /// It is taken.
    pub answer_ready: Signal<Out, Bit>,
    /// Interrupt level.
    pub irq: Signal<In, Bit>,
    /// Host memory: walker.
    pub walk: ReadSlave,
    /// Host memory: writer, as source.
    pub source: ReadSlave,
    /// Host memory: small reads.
    pub small: ReadSlave,
    /// Host memory: payload to send.
    pub send: ReadSlave,
    /// Host memory: writes.
    pub write: WriteSlave,
    /// A host has said hello.
    pub alive: Signal<Out, Bit>,
    /// A frame has come.
    pub good: Signal<Out, Bit>,
    /// Something that is none has.
    pub bad: Signal<Out, Bit>,
    listen: Listen<N>,
    speak: Speak<N>,
    // Bytes 0 to 255 DATA, 256 to 263 REGISTER and then its ANSWER, 264 to 511 words 2 to 63 of WRITE.
    memory: Ram<9, 8>,
    // It has been read for the core, and is for the line.
    turn: DFF<Bit>,
    comes: Signal<Local, Bit>,
    // The link.
    greeted: DFF<Bit>,
    running: DFF<Bit>,
    hello_due: DFF<Bit>,
    status_due: DFF<Bit>,
    told: DFF<Bit>,
    sent: DFF<FB<3>>,
    // What comes is to be kept.
    keeps: DFF<Bit>,
    for_access: Signal<Local, Bit>,
    for_reading: Signal<Local, Bit>,
    wanted: Signal<Local, Bit>,
    stores: Signal<Local, Bit>,
    is_good: Signal<Local, Bit>,
    // The register access.
    access: DFF<Access>,
    number: DFF<FB<4>>,
    offset: DFF<FB<24>>,
    writes: DFF<Bit>,
    // The read burst.
    reading: DFF<Reading>,
    channel: DFF<FB<2>>,
    address: DFF<FB<32>>,
    words: DFF<FB<11>>,
    position: DFF<FB<10>>,
    read_number: DFF<FB<4>>,
    next_position: Signal<Local, FB<11>>,
    chooses: Signal<Local, Bit>,
    sends_read: Signal<Local, Bit>,
    sends_write: Signal<Local, Bit>,
    // A word on its way to the core: 0 none, 4 to 7 its bytes, 1 all there.
    step: DFF<FB<3>>,
    is_access: DFF<Bit>,
    is_value: DFF<Bit>,
    shift: DFF<FB<32>>,
    inner: Signal<Local, FB<9>>,
    offers: Signal<Local, Bit>,
    taker: Signal<Local, Bit>,
    // The write burst.
    writing: DFF<Writing>,
    write_number: DFF<FB<4>>,
    filled: DFF<FB<7>>,
    written: DFF<FB<11>>,
    first: DFF<FB<4>>,
    latest: DFF<FB<4>>,
    ends: DFF<Bit>,
    failed: DFF<Bit>,
    write_high: Signal<Local, FB<32>>,
    // A word on its way to the line.
    quarter: DFF<FB<2>>,
    was_answer: DFF<Bit>,
    takes_answer: Signal<Local, Bit>,
    takes_word: Signal<Local, Bit>,
    in_line: Signal<Local, FB<6>>,
    collected: Signal<Local, Bit>,
    // The frame to send.
    kind: Signal<Local, FB<3>>,
    due: Signal<Local, Bit>,
    label: Signal<Local, FB<4>>,
    place: Signal<Local, FB<8>>,
    piece: Signal<Local, FB<8>>,
    answer_piece: Signal<Local, FB<8>>,
    read_byte: Signal<Local, FB<8>>,
    write_byte: Signal<Local, FB<8>>,
    read_meta: Signal<Local, FB<8>>,
    write_meta: Signal<Local, FB<8>>,
    // The channel that reads next.
    asks: Signal<Local, Bit>,
    pick: Signal<Local, FB<2>>,
    low_address: Signal<Local, FB<33>>,
    high_address: Signal<Local, FB<33>>,
    low_words: Signal<Local, FB<11>>,
    high_words: Signal<Local, FB<11>>,
}

impl<const N: usize> Bridge<N> {
    /// At this rate.
    pub fn new(baud: Baud<N>) -> Self {
        Self {
            clock: Signal::default(),
            reset: Signal::default(),
            rx: Signal::default(),
            tx: Signal::default(),
            core_reset: Signal::default(),
            host_write: Signal::default(),
            host_offset: Signal::default(),
            host_data: Signal::default(),
            host_valid: Signal::default(),
            host_ready: Signal::default(),
            answer: Signal::default(),
            answer_valid: Signal::default(),
            answer_ready: Signal::default(),
            irq: Signal::default(),
            walk: Default::default(),
            source: Default::default(),
            small: Default::default(),
            send: Default::default(),
            write: Default::default(),
            alive: Signal::default(),
            good: Signal::default(),
            bad: Signal::default(),
            listen: Listen::new(baud),
            speak: Speak::new(baud),
            memory: Ram::default(),
            turn: DFF::default(),
            comes: Signal::default(),
            greeted: DFF::default(),
            running: DFF::default(),
            hello_due: DFF::default(),
            status_due: DFF::default(),
            told: DFF::default(),
            sent: DFF::default(),
            keeps: DFF::default(),
            for_access: Signal::default(),
            for_reading: Signal::default(),
            wanted: Signal::default(),
            stores: Signal::default(),
            is_good: Signal::default(),
            access: DFF::default(),
            number: DFF::default(),
            offset: DFF::default(),
            writes: DFF::default(),
            reading: DFF::default(),
            channel: DFF::default(),
            address: DFF::default(),
            words: DFF::default(),
            position: DFF::default(),
            read_number: DFF::default(),
            next_position: Signal::default(),
            chooses: Signal::default(),
            sends_read: Signal::default(),
            sends_write: Signal::default(),
            step: DFF::default(),
            is_access: DFF::default(),
            is_value: DFF::default(),
            shift: DFF::default(),
            inner: Signal::default(),
            offers: Signal::default(),
            taker: Signal::default(),
            writing: DFF::default(),
            write_number: DFF::default(),
            filled: DFF::default(),
            written: DFF::default(),
            first: DFF::default(),
            latest: DFF::default(),
            ends: DFF::default(),
            failed: DFF::default(),
            write_high: Signal::default(),
            quarter: DFF::default(),
            was_answer: DFF::default(),
            takes_answer: Signal::default(),
            takes_word: Signal::default(),
            in_line: Signal::default(),
            collected: Signal::default(),
            kind: Signal::default(),
            due: Signal::default(),
            label: Signal::default(),
            place: Signal::default(),
            piece: Signal::default(),
            answer_piece: Signal::default(),
            read_byte: Signal::default(),
            write_byte: Signal::default(),
            read_meta: Signal::default(),
            write_meta: Signal::default(),
            asks: Signal::default(),
            pick: Signal::default(),
            low_address: Signal::default(),
            high_address: Signal::default(),
            low_words: Signal::default(),
            high_words: Signal::default(),
        }
    }
}

impl<const N: usize> Logic for Bridge<N> {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, greeted, running, hello_due, status_due, told, sent, keeps);
        dff_setup!(self, clock, access, number, offset, writes);
        dff_setup!(self, clock, reading, channel, address, words, position, read_number);
        dff_setup!(self, clock, step, is_access, is_value, shift);
        dff_setup!(self, clock, writing, write_number, filled, written, first, latest, ends, failed);
        dff_setup!(self, clock, quarter, was_answer, turn);
        clock!(self, clock, listen, speak, memory);
        self.turn.d.next = !self.turn.q.val();
        self.listen.pin.next = self.rx.val();
        self.tx.next = self.speak.pin.val();
        self.alive.next = self.greeted.q.val();
        self.core_reset.next = !self.running.q.val();
        self.good.next = self.listen.good.val();
        self.bad.next = self.listen.bad.val();
        self.is_good.next = self.listen.good.val() && self.greeted.q.val();
        self.sends_read.next = self.speak.busy.val() && (self.sent.q.val() == 3);
        self.sends_write.next = self.speak.busy.val() && (self.sent.q.val() == 4);

        // Payload that is waited for goes into the inbox. That is decided once a frame, with its first byte.
        self.for_access.next = (self.listen.kind.val() == 2)
            && (self.listen.number.val() != self.number.q.val())
            && ((self.access.q.val() == Access::Done) || (self.access.q.val() == Access::Due));
        self.for_reading.next = ((self.listen.kind.val() == 3) || (self.listen.kind.val() == 4))
            && (self.listen.number.val() == self.read_number.q.val())
            && ((self.reading.q.val() == Reading::Want) || (self.reading.q.val() == Reading::Wait));
        self.wanted.next = self.greeted.q.val() && (self.for_access.val() || self.for_reading.val());
        self.stores.next = self.keeps.q.val();
        if self.listen.place.val() == 0 {
            self.stores.next = self.wanted.val();
        }
        if self.listen.opens.val() {
            self.keeps.d.next = false;
        }
        if self.listen.put.val() && (self.listen.place.val() == 0) {
            self.keeps.d.next = self.wanted.val();
        }
        // Of a REGISTER, two words: more there are not, and what is not yet known to be right could claim them.
        self.comes.next = self.listen.put.val()
            && self.stores.val()
            && ((self.listen.kind.val() != 2) || (self.listen.place.val().get_bits::<5>(3) == 0));

        // A new read burst. The state is looked at before this cycle's frame changes it.
        self.chooses.next = self.running.q.val() && (self.reading.q.val() == Reading::Idle);
        self.walk.accept.next = false;
        self.source.accept.next = false;
        self.small.accept.next = false;
        self.send.accept.next = false;
        self.pick.next = 3.into();
        self.asks.next = self.send.request.val();
        if self.source.request.val() {
            self.pick.next = 1.into();
            self.asks.next = true;
        }
        if self.walk.request.val() {
            self.pick.next = 0.into();
            self.asks.next = true;
        }
        if self.small.request.val() {
            self.pick.next = 2.into();
            self.asks.next = true;
        }
        // Two levels of two, which is what fits the part's cells. Bit 32: beyond 4 GiB.
        self.low_address.next = (bit_cast::<33, 1>((self.walk.address.val().get_bits::<32>(32) != 0).into())
            << 32)
            | bit_cast::<33, 32>(self.walk.address.val().get_bits::<32>(0));
        self.low_words.next = self.walk.words.val().get_bits::<11>(0);
        self.high_address.next =
            (bit_cast::<33, 1>((self.small.address.val().get_bits::<32>(32) != 0).into()) << 32)
                | bit_cast::<33, 32>(self.small.address.val().get_bits::<32>(0));
        self.high_words.next = self.small.words.val().get_bits::<11>(0);
        if self.pick.val().get_bit(0) {
            self.low_address.next =
                (bit_cast::<33, 1>((self.source.address.val().get_bits::<32>(32) != 0).into()) << 32)
                    | bit_cast::<33, 32>(self.source.address.val().get_bits::<32>(0));
            self.low_words.next = self.source.words.val().get_bits::<11>(0);
            self.high_address.next =
                (bit_cast::<33, 1>((self.send.address.val().get_bits::<32>(32) != 0).into()) << 32)
                    | bit_cast::<33, 32>(self.send.address.val().get_bits::<32>(0));
            self.high_words.next = self.send.words.val().get_bits::<11>(0);
        }
        if self.pick.val().get_bit(1) {
            self.low_address.next = self.high_address.val();
            self.low_words.next = self.high_words.val();
        }
        if self.chooses.val() {
            self.position.d.next = 0.into();
            self.channel.d.next = self.pick.val();
            self.address.d.next = self.low_address.val().get_bits::<32>(0);
            self.words.d.next = self.low_words.val();
            if self.asks.val() {
                self.walk.accept.next = self.pick.val() == 0;
                self.source.accept.next = self.pick.val() == 1;
                self.small.accept.next = self.pick.val() == 2;
                self.send.accept.next = self.pick.val() == 3;
                self.reading.d.next = Reading::Want;
                if self.low_address.val().get_bit(32) {
                    self.reading.d.next = Reading::Fail;
                }
            }
        }

        // A word for the core, byte by byte; it begins when the memory is read for it next.
        self.inner.next = (bit_cast::<9, 6>(self.position.q.val().get_bits::<6>(0)) << 2)
            | bit_cast::<9, 2>(self.step.q.val().get_bits::<2>(0));
        if self.is_access.q.val() {
            self.inner.next = (bit_cast::<9, 1>(self.is_value.q.val().into()) << 2)
                | bit_cast::<9, 2>(self.step.q.val().get_bits::<2>(0))
                | 256;
        }
        self.offers.next = self.step.q.val() == 1;
        if self.turn.q.val() && (self.step.q.val() == 0) {
            // Which: read data first. While READ is still being repeated, its address must not change.
            self.is_access.d.next = false;
            self.is_value.d.next = false;
            if (self.reading.q.val() == Reading::Drain) && !self.is_access.q.val() && !self.sends_read.val() {
                self.step.d.next = 4.into();
            } else if self.access.q.val() == Access::Offer {
                self.is_access.d.next = true;
                self.is_value.d.next = self.is_value.q.val();
                self.step.d.next = 4.into();
            }
        }
        if self.turn.q.val() && self.step.q.val().get_bit(2) {
            self.step.d.next = self.step.q.val() + 1;
            if self.step.q.val() == 7 {
                self.step.d.next = 1.into();
            }
            self.shift.d.next =
                (self.shift.q.val() >> 8) | (bit_cast::<32, 8>(self.memory.data_out.val()) << 24);
        }

        // To the core: the register access.
        self.host_valid.next = false;
        self.host_write.next = self.writes.q.val();
        self.host_offset.next = self.offset.q.val();
        self.host_data.next = self.shift.q.val();
        if self.offers.val() && self.is_access.q.val() {
            self.step.d.next = 0.into();
            if self.is_value.q.val() {
                self.host_valid.next = true;
                self.is_access.d.next = false;
                self.is_value.d.next = false;
                if self.host_ready.val() {
                    self.access.d.next = Access::Result;
                    if self.writes.q.val() {
                        self.access.d.next = Access::Due;
                    }
                }
            } else {
                self.is_value.d.next = true;
                self.writes.d.next = self.shift.q.val().get_bit(0);
                self.offset.d.next = (self.shift.q.val().get_bits::<24>(0) >> 2) << 2;
            }
        }

        // To the core: words of a read, or of one that failed.
        self.next_position.next = bit_cast::<11, 10>(self.position.q.val()) + 1;
        self.walk.valid.next = false;
        self.source.valid.next = false;
        self.small.valid.next = false;
        self.send.valid.next = false;
        self.walk.data.next = self.shift.q.val();
        self.source.data.next = self.shift.q.val();
        self.small.data.next = self.shift.q.val();
        self.send.data.next = self.shift.q.val();
        self.walk.last.next = self.next_position.val() == self.words.q.val();
        self.source.last.next = self.next_position.val() == self.words.q.val();
        self.small.last.next = self.next_position.val() == self.words.q.val();
        self.send.last.next = self.next_position.val() == self.words.q.val();
        self.walk.error.next = self.reading.q.val() == Reading::Fail;
        self.source.error.next = self.reading.q.val() == Reading::Fail;
        self.small.error.next = self.reading.q.val() == Reading::Fail;
        self.send.error.next = self.reading.q.val() == Reading::Fail;
        self.taker.next = false;
        if ((self.offers.val() && !self.is_access.q.val())
            || ((self.reading.q.val() == Reading::Fail) && !self.sends_read.val()))
            && self.running.q.val()
        {
            if self.channel.q.val() == 0 {
                self.walk.valid.next = true;
                self.taker.next = self.walk.ready.val();
            }
            if self.channel.q.val() == 1 {
                self.source.valid.next = true;
                self.taker.next = self.source.ready.val();
            }
            if self.channel.q.val() == 2 {
                self.small.valid.next = true;
                self.taker.next = self.small.ready.val();
            }
            if self.channel.q.val() == 3 {
                self.send.valid.next = true;
                self.taker.next = self.send.ready.val();
            }
        }
        if self.taker.val() {
            if self.reading.q.val() == Reading::Drain {
                self.step.d.next = 0.into();
            }
            self.position.d.next = self.next_position.val().get_bits::<10>(0);
            if self.next_position.val() == self.words.q.val() {
                self.reading.d.next = Reading::Idle;
                self.read_number.d.next = self.read_number.q.val() + 1;
            } else if (self.next_position.val().get_bits::<6>(0) == 0)
                && (self.reading.q.val() == Reading::Drain)
            {
                self.reading.d.next = Reading::Want;
                self.read_number.d.next = self.read_number.q.val() + 1;
            }
        }

        // Into the memory: the answer to a register read, or a word to write.
        self.takes_answer.next = self.was_answer.q.val();
        if self.quarter.q.val() == 0 {
            self.takes_answer.next = (self.access.q.val() == Access::Result) && self.answer_valid.val();
        }
        self.takes_word.next = !self.takes_answer.val()
            && (self.writing.q.val() == Writing::Collect)
            && self.running.q.val()
            && self.write.valid.val();
        self.was_answer.d.next = self.takes_answer.val();
        self.in_line.next = self.filled.q.val().get_bits::<6>(0);
        self.piece.next = self.write.data.val().get_bits::<8>(0);
        self.answer_piece.next = self.answer.val().get_bits::<8>(0);
        if self.quarter.q.val() == 1 {
            self.piece.next = self.write.data.val().get_bits::<8>(8);
            self.answer_piece.next = self.answer.val().get_bits::<8>(8);
        }
        if self.quarter.q.val() == 2 {
            self.piece.next = self.write.data.val().get_bits::<8>(16);
            self.answer_piece.next = self.answer.val().get_bits::<8>(16);
        }
        if self.quarter.q.val() == 3 {
            self.piece.next = self.write.data.val().get_bits::<8>(24);
            self.answer_piece.next = self.answer.val().get_bits::<8>(24);
        }
        if self.takes_answer.val() {
            self.piece.next = self.answer_piece.val();
            self.in_line.next = 0.into();
        }
        self.memory.data_in.next = self.piece.val();
        self.memory.write_address.next =
            (bit_cast::<9, 6>(self.in_line.val()) << 2) | bit_cast::<9, 2>(self.quarter.q.val()) | 256;
        self.memory.write_enable.next = self.takes_answer.val() || self.takes_word.val();
        if (self.takes_answer.val() || self.takes_word.val()) && !self.comes.val() {
            self.quarter.d.next = self.quarter.q.val() + 1;
        }
        self.answer_ready.next = self.takes_answer.val() && !self.comes.val() && (self.quarter.q.val() == 3);
        if self.takes_answer.val() && !self.comes.val() && (self.quarter.q.val() == 3) {
            self.access.d.next = Access::Due;
        }
        if self.comes.val() {
            self.memory.data_in.next = self.listen.value.val();
            self.memory.write_address.next = bit_cast::<9, 8>(self.listen.place.val())
                | (bit_cast::<9, 1>((self.listen.kind.val() == 2).into()) << 8);
            self.memory.write_enable.next = true;
        }

        // The write burst.
        self.collected.next = self.takes_word.val() && !self.comes.val() && (self.quarter.q.val() == 3);
        self.write.ready.next = self.collected.val();
        self.write.accept.next = false;
        self.write.answered.next = false;
        self.write.failed.next = self.failed.q.val();
        self.write_high.next = self.write.address.val().get_bits::<32>(32);
        if self.collected.val() {
            self.filled.d.next = self.filled.q.val() + 1;
            self.written.d.next = self.written.q.val() + 1;
            self.latest.d.next = self.write.strobes.val();
            self.ends.d.next = self.write.last.val();
            if self.filled.q.val() == 2 {
                self.first.d.next = self.write.strobes.val();
            }
            // A word of which a part is written is the first of a piece, or its last.
            if self.write.last.val()
                || (self.filled.q.val() == 63)
                || ((self.filled.q.val() != 2) && (self.write.strobes.val() != 15))
            {
                self.writing.d.next = Writing::Want;
            }
        }
        if (self.writing.q.val() == Writing::Want) && self.write.request.val() && (self.write_high.val() != 0)
        {
            self.failed.d.next = true;
            self.writing.d.next = Writing::Next;
        }
        if (self.writing.q.val() == Writing::Next) && !self.sends_write.val() {
            self.filled.d.next = 2.into();
            self.write_number.d.next = self.write_number.q.val() + 1;
            self.writing.d.next = Writing::Collect;
            if self.ends.q.val() {
                self.writing.d.next = Writing::Accept;
            }
        }
        if self.writing.q.val() == Writing::Accept {
            self.write.accept.next = true;
            if self.write.request.val() {
                self.writing.d.next = Writing::Tell;
            }
        }
        if self.writing.q.val() == Writing::Tell {
            self.write.answered.next = true;
            self.failed.d.next = false;
            self.written.d.next = 0.into();
            self.writing.d.next = Writing::Collect;
        }

        // What is to be sent, the most urgent last.
        self.kind.next = 0.into();
        self.due.next = false;
        self.label.next = self.number.q.val();
        self.speak.count.next = 0.into();
        if (self.writing.q.val() == Writing::Want) && self.write.request.val() && (self.write_high.val() == 0)
        {
            self.due.next = true;
            self.kind.next = 4.into();
            self.label.next = self.write_number.q.val();
            self.speak.count.next = self.filled.q.val();
        }
        if self.reading.q.val() == Reading::Want {
            self.due.next = true;
            self.kind.next = 3.into();
            self.label.next = self.read_number.q.val();
            self.speak.count.next = 2.into();
        }
        if self.status_due.q.val() || (self.running.q.val() && (self.irq.val() != self.told.q.val())) {
            self.due.next = true;
            self.kind.next = 0.into();
            self.label.next = self.number.q.val();
            self.speak.count.next = 0.into();
            if !self.greeted.q.val() {
                self.kind.next = 7.into();
            }
        }
        if self.access.q.val() == Access::Due {
            self.due.next = true;
            self.kind.next = 2.into();
            self.label.next = self.number.q.val();
            self.speak.count.next = 1.into();
            if self.writes.q.val() {
                self.speak.count.next = 0.into();
            }
        }
        if self.hello_due.q.val() {
            self.due.next = true;
            self.kind.next = 1.into();
            self.label.next = self.number.q.val();
            self.speak.count.next = 1.into();
        }
        self.speak.head.next = (bit_cast::<8, 4>(self.label.val()) << 4)
            | (bit_cast::<8, 1>(self.irq.val().into()) << 3)
            | bit_cast::<8, 3>(self.kind.val());
        self.speak.turn.next = !self.turn.q.val();
        self.speak.start.next = self.due.val();
        if self.due.val() && !self.speak.busy.val() && !self.turn.q.val() {
            self.sent.d.next = self.kind.val();
            self.told.d.next = self.irq.val();
            if self.kind.val() == 4 {
                self.writing.d.next = Writing::Wait;
            }
            if self.kind.val() == 3 {
                self.reading.d.next = Reading::Wait;
            }
            if (self.kind.val() == 0) || (self.kind.val() == 7) {
                self.status_due.d.next = false;
            }
            if self.kind.val() == 2 {
                self.access.d.next = Access::Done;
            }
            if self.kind.val() == 1 {
                self.hello_due.d.next = false;
            }
        }
        if self.speak.done.val() && (self.sent.q.val() == 1) && !self.hello_due.q.val() {
            self.running.d.next = true;
        }

        // Its bytes.
        self.place.next = self.speak.place.val();
        self.memory.read_address.next = self.inner.val();
        if self.turn.q.val() {
            self.memory.read_address.next = bit_cast::<9, 8>(self.place.val()) | 256;
        }
        // First the byte of each word, then which of them.
        self.read_byte.next = self.address.q.val().get_bits::<8>(0);
        self.write_byte.next = self.write.address.val().get_bits::<8>(0);
        self.read_meta.next = self.words.q.val().get_bits::<8>(0);
        self.write_meta.next =
            bit_cast::<8, 4>(self.first.q.val()) | (bit_cast::<8, 4>(self.latest.q.val()) << 4);
        if self.place.val().get_bits::<2>(0) == 1 {
            self.read_byte.next = self.address.q.val().get_bits::<8>(8);
            self.write_byte.next = self.write.address.val().get_bits::<8>(8);
            self.read_meta.next = bit_cast::<8, 3>(self.words.q.val().get_bits::<3>(8))
                | (bit_cast::<8, 4>(self.position.q.val().get_bits::<4>(6)) << 3);
            self.write_meta.next = self.written.q.val().get_bits::<8>(0);
        }
        if self.place.val().get_bits::<2>(0) == 2 {
            self.read_byte.next = self.address.q.val().get_bits::<8>(16);
            self.write_byte.next = self.write.address.val().get_bits::<8>(16);
            self.read_meta.next = 0.into();
            self.write_meta.next = bit_cast::<8, 3>(self.written.q.val().get_bits::<3>(8));
        }
        if self.place.val().get_bits::<2>(0) == 3 {
            self.read_byte.next = self.address.q.val().get_bits::<8>(24);
            self.write_byte.next = self.write.address.val().get_bits::<8>(24);
            self.read_meta.next = 0.into();
            self.write_meta.next = 0.into();
        }
        // ANSWER, and what is behind the two words in front of data, is in the memory.
        self.speak.data.next = self.memory.data_out.val();
        if (self.place.val().get_bits::<5>(3) == 0) && (self.sent.q.val() != 2) {
            self.speak.data.next = self.read_byte.val();
            if self.place.val().get_bit(2) {
                self.speak.data.next = self.read_meta.val();
            }
            if self.sent.q.val().get_bit(2) {
                self.speak.data.next = self.write_byte.val();
                if self.place.val().get_bit(2) {
                    self.speak.data.next = self.write_meta.val();
                }
            }
            // HELLO: version 1.
            if self.sent.q.val() == 1 {
                self.speak.data.next = bit_cast::<8, 1>((self.place.val().get_bits::<2>(0) == 0).into());
            }
        }

        // What has come.
        if self.listen.good.val() && !self.greeted.q.val() {
            self.status_due.d.next = true;
        }
        if self.is_good.val() {
            if self.listen.kind.val() == 0 {
                self.status_due.d.next = true;
                if self.reading.q.val() == Reading::Wait {
                    self.reading.d.next = Reading::Want;
                }
                if self.writing.q.val() == Writing::Wait {
                    self.writing.d.next = Writing::Want;
                }
            }
            if self.listen.kind.val() == 2 {
                if self.for_access.val() && self.keeps.q.val() {
                    self.number.d.next = self.listen.number.val();
                    self.access.d.next = Access::Offer;
                } else if (self.access.q.val() == Access::Done)
                    && (self.listen.number.val() == self.number.q.val())
                {
                    self.access.d.next = Access::Due;
                }
            }
            if self.for_reading.val() {
                if self.listen.kind.val() == 4 {
                    self.reading.d.next = Reading::Fail;
                } else if self.keeps.q.val() {
                    self.reading.d.next = Reading::Drain;
                }
            }
            if ((self.listen.kind.val() == 5) || (self.listen.kind.val() == 6))
                && (self.listen.number.val() == self.write_number.q.val())
                && ((self.writing.q.val() == Writing::Want) || (self.writing.q.val() == Writing::Wait))
            {
                self.writing.d.next = Writing::Next;
                if self.listen.kind.val() == 6 {
                    self.failed.d.next = true;
                }
            }
        }
        if (self.listen.good.val() && (self.listen.kind.val() == 1)) || self.reset.val() {
            self.greeted.d.next = true;
            self.running.d.next = false;
            self.hello_due.d.next = true;
            self.status_due.d.next = false;
            self.number.d.next = self.listen.number.val();
            self.access.d.next = Access::Done;
            self.reading.d.next = Reading::Idle;
            self.read_number.d.next = 0.into();
            self.step.d.next = 0.into();
            self.is_access.d.next = false;
            self.writing.d.next = Writing::Collect;
            self.write_number.d.next = 0.into();
            self.filled.d.next = 2.into();
            self.written.d.next = 0.into();
            self.failed.d.next = false;
            self.quarter.d.next = 0.into();
        }
        if self.reset.val() {
            self.greeted.d.next = false;
            self.hello_due.d.next = false;
        }
    }
}
