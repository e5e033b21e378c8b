use crate::fb::{FB, bit_cast};
use crate::mem::Ram;
use rust_hdl::prelude::*;

/// What is being done with a segment.
#[derive(Copy, Clone, PartialEq, Debug, LogicState)]
enum State {
    /// None that was expected has come.
    Idle,
    /// The four words of the walker's command.
    Stretch,
    Source,
    Phase,
    High,
    /// The walk is under way.
    Walk,
    /// The placement is commanded: it must have been written.
    Place,
    /// What is left of the walker's packets.
    Drain,
}

/// Places the one Send that the next segment of a connection is expected to bring, and completes its receive; or completes the one message that the next ACK is
/// expected to acknowledge.
///
/// ```text
///  script --> RAM (addresses, numbers; commands) --+--> compare <-- descriptor words, as written
///         \-> registers (MSN, limit)               |        |
///                                                  |       FSM --> walk_word --> walker
///  packet words, as written ----> compare ---------|--------^
///                                                  +--> write_* --> the writer's queue
/// ```
///
/// **Interface.** `script` with `script_write`: 24 words, the last arms it:
///
/// | word | content |
/// |---|---|
/// | 0..4 | D3 to D7 of the descriptor |
/// | 5 | MSN, as on the wire |
/// | 6 | 15:0 largest ULPDU length, 16 CRC checked, 17 an ACK is expected: words 5 and 7..11 are not looked at, and the segment has no payload |
/// | 7..11 | what the writer is told to place it: TAG, PLACE without length, a word that is not looked at, destination |
/// | 12..23 | and to complete it: TAG, WORDS, address, 8 words; word 1 of those, the length, is put in if a Send is expected |
///
/// `told_*`: words of descriptors as the parser writes them. `clear`: no descriptor waits, and the writer has done everything. `found_*`: words of packets as the walker writes
/// them; `packet_*`: the packets, which are taken and dropped. `quiet`: the writer has done everything and has all answers; `failed`: one says that a
/// write failed. `disarm`, `busy` as in [`PredictSend`](super::PredictSend). `placed`: the payload was placed, or of an ACK the completion is commanded; `completed`: and the completion is commanded.
///
/// **Theory of operation.** The addresses and numbers of a segment are compared as they come by. It has to bring one whole FPDU, the only and last segment of the Send that is expected, and nothing else.
/// While it is walked, the writer's commands are put behind the end of its queue; with a good CRC they become part of it. Those of the completion follow when the payload is in memory.
///
/// **Limits.** No markers, no TCP options; the ACK field is the one that is expected; no flag but ACK and PSH.
///
/// **Latency** from the commit of the descriptor to that of the completion 22 cycles for 8 bytes, if the 8 words of the FPDU and the verdict follow the walker's command at once and the
/// writer is quiet two cycles behind its command; what walker and writer take is to be added. **Throughput** one segment a script.
///
/// **Area and fmax** on the HX8K: docs/area.md.
#[derive(LogicBlock, Default)]
pub struct PredictReceive {
    /// Rising edge.
    pub clock: Signal<In, Clock>,
    /// Synchronous: no script, nothing under way.
    pub reset: Signal<In, Bit>,
    /// Next word of the script.
    pub script: Signal<In, FB<32>>,
    /// Here it is.
    pub script_write: Signal<In, Bit>,
    /// Forget script and result.
    pub disarm: Signal<In, Bit>,
    /// Which word of a descriptor.
    pub told_slot: Signal<In, FB<7>>,
    /// The word.
    pub told_data: Signal<In, FB<32>>,
    /// It is written.
    pub told_write: Signal<In, Bit>,
    /// The descriptor is complete with so many words.
    pub told_commit: Signal<In, FB<7>>,
    /// It may be acted on.
    pub clear: Signal<In, Bit>,
    /// Command word for the walker.
    pub walk_word: Signal<Out, FB<32>>,
    /// There is one.
    pub walk_valid: Signal<Out, Bit>,
    /// It is taken.
    pub walk_ready: Signal<In, Bit>,
    /// Which word of a packet.
    pub found_slot: Signal<In, FB<7>>,
    /// The word.
    pub found_data: Signal<In, FB<32>>,
    /// It is written.
    pub found_write: Signal<In, Bit>,
    /// A packet is there whose first word was not taken.
    pub packet_waits: Signal<In, Bit>,
    /// The next word begins a packet.
    pub packet_first: Signal<In, Bit>,
    /// Words of packets are taken.
    pub packet_ready: Signal<Out, Bit>,
    /// Word behind the end of the writer's queue.
    pub write_slot: Signal<Out, FB<7>>,
    /// What to write there.
    pub write_data: Signal<Out, FB<32>>,
    /// Write it.
    pub write_enable: Signal<Out, Bit>,
    /// So many words become part of the queue.
    pub write_commit: Signal<Out, FB<7>>,
    /// The writer has done everything.
    pub quiet: Signal<In, Bit>,
    /// A write failed.
    pub failed: Signal<In, Bit>,
    /// A segment is being acted on.
    pub busy: Signal<Out, Bit>,
    /// The payload was placed.
    pub placed: Signal<Out, Bit>,
    /// The completion is commanded too.
    pub completed: Signal<Out, Bit>,
    words: Ram<5, 32>,
    state: DFF<State>,
    length: DFF<FB<5>>,
    armed: DFF<Bit>,
    msn: DFF<FB<32>>,
    limit: DFF<FB<16>>,
    checked: DFF<Bit>,
    is_ack: DFF<Bit>,
    // A word of the descriptor that is being compared; all so far were as expected; it is a segment of the wire.
    told: DFF<FB<32>>,
    compares: DFF<Bit>,
    opens: DFF<Bit>,
    good: DFF<Bit>,
    plain: DFF<Bit>,
    start: DFF<FB<16>>,
    bytes: DFF<FB<16>>,
    // The FPDU: its length is known, and something is not as expected.
    ulpdu: DFF<FB<16>>,
    known: DFF<Bit>,
    wrong: DFF<Bit>,
    // The next command word to write, and those that are in the queue.
    next: DFF<FB<5>>,
    base: DFF<FB<5>>,
    pause: DFF<Bit>,
    is_placed: DFF<Bit>,
    is_completed: DFF<Bit>,
    place: Signal<Local, FB<5>>,
    following: Signal<Local, FB<5>>,
    address: Signal<Local, FB<16>>,
    payload: Signal<Local, FB<16>>,
    padded: Signal<Local, FB<16>>,
    whole: Signal<Local, FB<16>>,
    field: Signal<Local, FB<16>>,
    flags: Signal<Local, FB<8>>,
    same: Signal<Local, Bit>,
    begins: Signal<Local, Bit>,
    fits: Signal<Local, Bit>,
    is_verdict: Signal<Local, Bit>,
    waits: Signal<Local, Bit>,
    writes: Signal<Local, Bit>,
    slot: Signal<Local, FB<5>>,
    source: Signal<Local, FB<16>>,
}

impl Logic for PredictReceive {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(
            self,
            clock,
            state,
            length,
            armed,
            msn,
            limit,
            checked,
            is_ack,
            told,
            compares,
            opens,
            good,
            plain,
            start,
            bytes,
            ulpdu,
            known,
            wrong,
            next,
            base,
            pause,
            is_placed,
            is_completed
        );
        clock!(self, clock, words);

        // The script.
        self.words.write_address.next = self.length.q.val();
        self.words.data_in.next = self.script.val();
        self.words.write_enable.next = self.script_write.val();
        if self.script_write.val() {
            self.length.d.next = self.length.q.val() + 1;
            if self.length.q.val() == 5 {
                self.msn.d.next = self.script.val();
            }
            if self.length.q.val() == 6 {
                self.limit.d.next = self.script.val().get_bits::<16>(0);
                self.checked.d.next = self.script.val().get_bit(16);
                self.is_ack.d.next = self.script.val().get_bit(17);
            }
            if self.length.q.val() == 23 {
                self.armed.d.next = true;
            }
        }

        // The descriptor, as it is written: D3 to D7 beside the script, D8 and D0 by themselves.
        self.place.next = self.told_slot.val().get_bits::<5>(0);
        self.place.next = self.place.val() - 3;
        self.told.d.next = self.told_data.val();
        self.compares.d.next =
            self.told_write.val() && (self.told_slot.val() > 2) && (self.told_slot.val() < 8);
        self.opens.d.next = self.told_slot.val() == 3;
        self.same.next = self.told.q.val() == self.words.data_out.val();
        if self.compares.q.val() {
            if self.opens.q.val() {
                self.good.d.next = self.same.val() && self.armed.q.val();
            } else if !self.same.val() {
                self.good.d.next = false;
            }
        }
        self.flags.next = self.told_data.val().get_bits::<8>(0);
        self.flags.next = self.flags.val() & 0xf7;
        if self.told_write.val() {
            if (self.told_slot.val() == 8) && (self.flags.val() != 0x10) {
                self.good.d.next = false;
            }
            if self.told_slot.val() == 0 {
                self.plain.d.next = self.told_data.val().get_bits::<5>(0) == 0;
            }
            // Others come while this one is acted on.
            if (self.told_slot.val() == 1) && (self.state.q.val() == State::Idle) {
                self.start.d.next = self.told_data.val().get_bits::<16>(0);
            }
        }
        self.begins.next = self.armed.q.val()
            && (self.told_commit.val() == 9)
            && self.good.q.val()
            && self.plain.q.val()
            && (self.told_data.val().get_bits::<16>(0) == 56)
            && (!self.is_ack.q.val() || (self.told_data.val().get_bits::<16>(16) == 0))
            && self.clear.val()
            && !self.disarm.val();

        // The FPDU, as the walker sees it. It fills the segment.
        self.field.next = (bit_cast::<16, 8>(self.found_data.val().get_bits::<8>(0)) << 8)
            | bit_cast::<16, 8>(self.found_data.val().get_bits::<8>(8));
        self.padded.next = self.ulpdu.q.val() + 9;
        self.whole.next = self.padded.val() & 0xfffc;
        self.payload.next = self.ulpdu.q.val() - 18;
        self.fits.next = (self.whole.val() == self.bytes.q.val())
            && (self.ulpdu.q.val() > 18)
            && (self.ulpdu.q.val() <= self.limit.q.val())
            && !self.wrong.q.val();
        self.is_verdict.next =
            (self.state.q.val() == State::Walk) && self.found_write.val() && (self.found_slot.val() == 0);
        if (self.state.q.val() == State::Walk) && self.found_write.val() {
            if self.found_slot.val() == 4 {
                self.known.d.next = true;
                self.ulpdu.d.next = self.field.val();
                if self.found_data.val().get_bits::<16>(16) != 0x4341 {
                    self.wrong.d.next = true;
                }
            }
            if ((self.found_slot.val() == 6) || (self.found_slot.val() == 8)) && self.found_data.val().any() {
                self.wrong.d.next = true;
            }
            if (self.found_slot.val() == 7) && (self.found_data.val() != self.msn.q.val()) {
                self.wrong.d.next = true;
            }
        }

        // The writer's commands, word by word: the lengths are put in when they are known.
        self.address.next = self.start.q.val() << 2;
        self.source.next = self.address.val() + 76;
        self.waits.next = (self.next.q.val() == 17) || ((self.next.q.val() == 1) && !self.known.q.val());
        self.writes.next = ((self.state.q.val() == State::Walk) || (self.state.q.val() == State::Place))
            && !self.waits.val();
        self.slot.next = self.next.q.val() - self.base.q.val();
        self.write_slot.next = bit_cast::<7, 5>(self.slot.val());
        self.write_data.next = self.words.data_out.val();
        if self.next.q.val() == 1 {
            self.write_data.next = self.words.data_out.val() | (bit_cast::<32, 16>(self.payload.val()) << 16);
        }
        if self.next.q.val() == 2 {
            self.write_data.next = bit_cast::<32, 16>(self.source.val());
        }
        if (self.next.q.val() == 10) && !self.is_ack.q.val() {
            self.write_data.next = bit_cast::<32, 16>(self.payload.val());
        }
        self.write_enable.next = self.writes.val();
        self.write_commit.next = 0.into();
        self.following.next = self.next.q.val();
        if self.writes.val() {
            self.following.next = self.next.q.val() + 1;
        }

        self.walk_word.next = 0.into();
        self.walk_valid.next = false;
        self.packet_ready.next = false;
        match self.state.q.val() {
            State::Idle => {
                self.following.next = 0.into();
                if self.begins.val() {
                    self.state.d.next = State::Stretch;
                    self.armed.d.next = false;
                    self.bytes.d.next = self.told_data.val().get_bits::<16>(16);
                    self.known.d.next = false;
                    self.wrong.d.next = false;
                    self.base.d.next = 0.into();
                    self.pause.d.next = false;
                    // Nothing to walk, nothing to place.
                    if self.is_ack.q.val() {
                        self.state.d.next = State::Place;
                        self.base.d.next = 5.into();
                        self.following.next = 5.into();
                    }
                }
            }
            State::Stretch => {
                self.walk_valid.next = true;
                self.walk_word.next = (bit_cast::<32, 16>(self.bytes.q.val()) << 16)
                    | (bit_cast::<32, 1>(self.checked.q.val().into()) << 1);
                if self.walk_ready.val() {
                    self.state.d.next = State::Source;
                }
            }
            State::Source => {
                self.walk_valid.next = true;
                self.walk_word.next = bit_cast::<32, 16>(self.address.val()) + 56;
                if self.walk_ready.val() {
                    self.state.d.next = State::Phase;
                }
            }
            State::Phase => {
                self.walk_valid.next = true;
                if self.walk_ready.val() {
                    self.state.d.next = State::High;
                }
            }
            State::High => {
                self.walk_valid.next = true;
                if self.walk_ready.val() {
                    self.state.d.next = State::Walk;
                }
            }
            State::Walk => {
                if self.is_verdict.val() {
                    self.state.d.next = State::Drain;
                    if self.fits.val() && (self.found_data.val().get_bits::<4>(0) == 0) {
                        self.state.d.next = State::Place;
                    }
                }
            }
            State::Place => {
                if (self.base.q.val() == 0) && (self.next.q.val() > 4) {
                    // TAG and PLACE.
                    self.write_commit.next = 5.into();
                    self.base.d.next = 5.into();
                    self.is_placed.d.next = true;
                    self.pause.d.next = true;
                }
                if (self.base.q.val() != 0)
                    && !self.pause.q.val()
                    && self.quiet.val()
                    && (self.next.q.val() == 17)
                {
                    self.state.d.next = State::Drain;
                    if !self.failed.val() {
                        self.write_commit.next = 12.into();
                        self.is_placed.d.next = true;
                        self.is_completed.d.next = true;
                    }
                }
                if self.pause.q.val() {
                    self.pause.d.next = false;
                }
            }
            State::Drain => {
                self.packet_ready.next = true;
                if self.walk_ready.val() && !self.packet_waits.val() && self.packet_first.val() {
                    self.state.d.next = State::Idle;
                }
            }
        }
        self.next.d.next = self.following.val();
        // Script word 7 is the first of the commands.
        self.words.read_address.next = self.following.val() + 7;
        if (self.state.q.val() == State::Idle) && !self.begins.val() {
            self.words.read_address.next = self.place.val();
        }

        self.busy.next = self.state.q.val() != State::Idle;
        self.placed.next = self.is_placed.q.val();
        self.completed.next = self.is_completed.q.val();
        if self.disarm.val() || self.reset.val() {
            self.armed.d.next = false;
            self.length.d.next = 0.into();
            self.good.d.next = false;
            self.is_placed.d.next = false;
            self.is_completed.d.next = false;
        }
        if self.reset.val() {
            self.state.d.next = State::Idle;
        }
    }
}
