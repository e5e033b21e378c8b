use crate::fb::{FB, bit_cast};
use crate::mem::Ram;
use rust_hdl::prelude::*;

/// What is being done with a doorbell.
#[derive(Copy, Clone, PartialEq, Debug, LogicState)]
enum State {
    /// Nothing has rung.
    Idle,
    /// Asking for the entry: three words to the small reader.
    Ask,
    /// BEGIN, HEADER and its first four words.
    Begin,
    /// Waiting for words 0 and 1 of the entry, and looking at them.
    Judge,
    /// The other words of the headers.
    Headers,
    /// FPDU, and its first word.
    Fpdu,
    Control,
    /// The rest of the entry must be there.
    Gather,
    /// The other words of a tagged header.
    Stag,
    ToHigh,
    ToLow,
    /// Of an untagged one: no STag, queue 0, MSN, MO 0.
    NoStag,
    Queue,
    Msn,
    Offset,
    /// INLINE and its words.
    Inline,
    Payload,
    /// CLOSE, END.
    Close,
    End,
    /// END of a frame that is not sent.
    Drop,
    /// What is left of the reply.
    Drain,
}

/// Sends the one inline Write or Send that the next doorbell of a queue is expected to bring.
///
/// ```text
///  script --> RAM (commands, headers) --+
///         \-> registers (page, head)    |
///  doorbell --> compare ---> FSM -------+--> tx_word --> transmit engine
///                             |         |
///  small reads --> RAM (entry) ---------+
///                             \--> read_word --> small reader
/// ```
///
/// **Interface.** `script` with `script_write`: 24 words, the last arms it:
///
/// | word | content |
/// |---|---|
/// | 0..2 | the command of the small reader that reads the entry |
/// | 3..6 | BEGIN (STOP larger than any FPDU), HEADER |
/// | 7..20 | the headers of the frame for a segment without payload |
/// | 21 | MSN of a Send, as on the wire |
/// | 22 | byte offset of the doorbell |
/// | 23 | word 0 of the entry if it is a signalled inline Write; its index and one is the doorbell's value |
///
/// `door_*`: writes of the host as they pass; `clear`: no other request waits, and the transmit engine may be given a frame. `seen_*`: words of small reads as they
/// come by; `reply_*`: the reader's reply, which is taken and dropped. `disarm` forgets the script and the result. `busy`: not to be disarmed. `fired`: a frame was sent; then `outcome` is PREDICTED's word of
/// docs/microarchitecture.md section 9, else 0.
///
/// **Theory of operation.** While the entry is being read, the frame is begun. Its length is known with word 1 of the entry and stands in word 4 of the headers; the transmit engine puts
/// the checksums in. The FPDU is built from the words of the entry as the program would. If the entry is something else, or cannot be
/// read, the frame is dropped and nothing has happened.
///
/// **Limits.** Entries of 16 words; IP length below 256; no markers.
///
/// **Latency** from the doorbell to the last command word of an 8-byte Write 33 cycles, if the words of the entry follow the command at once and nothing else waits. **Throughput** one frame a script.
/// What cannot be read behind word 1 of the entry drops the frame before its FPDU or at its end, as it happens to be known.
///
/// **Area and fmax** on the HX8K: docs/area.md.
#[derive(LogicBlock, Default)]
pub struct PredictSend {
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
    /// Byte offset of a write of the host.
    pub door_offset: Signal<In, FB<24>>,
    /// Its value.
    pub door_data: Signal<In, FB<32>>,
    /// It passes.
    pub door_rings: Signal<In, Bit>,
    /// It may be acted on.
    pub clear: Signal<In, Bit>,
    /// Command word for the small reader.
    pub read_word: Signal<Out, FB<32>>,
    /// There is one.
    pub read_valid: Signal<Out, Bit>,
    /// It is taken.
    pub read_ready: Signal<In, Bit>,
    /// A word that was read.
    pub seen_data: Signal<In, FB<32>>,
    /// It means nothing.
    pub seen_error: Signal<In, Bit>,
    /// It passes.
    pub seen_passes: Signal<In, Bit>,
    /// Word of the reply.
    pub reply_word: Signal<In, FB<32>>,
    /// There is one.
    pub reply_valid: Signal<In, Bit>,
    /// It is taken.
    pub reply_ready: Signal<Out, Bit>,
    /// Command word for the transmit engine.
    pub tx_word: Signal<Out, FB<32>>,
    /// There is one.
    pub tx_valid: Signal<Out, Bit>,
    /// It is taken.
    pub tx_ready: Signal<In, Bit>,
    /// A doorbell is being acted on.
    pub busy: Signal<Out, Bit>,
    /// A frame was sent.
    pub fired: Signal<Out, Bit>,
    /// What it was.
    pub outcome: Signal<Out, FB<32>>,
    words: Ram<5, 32>,
    entry: Ram<4, 32>,
    state: DFF<State>,
    // Script words so far, and the script is whole.
    length: DFF<FB<5>>,
    armed: DFF<Bit>,
    page: DFF<FB<24>>,
    head: DFF<FB<32>>,
    // The script's word that is shown, the entry's, and how many of the entry have come.
    at: DFF<FB<5>>,
    look: DFF<FB<4>>,
    count: DFF<FB<5>>,
    bad: DFF<Bit>,
    // It is no entry to be sent from here.
    misses: DFF<Bit>,
    signalled: DFF<Bit>,
    is_write: DFF<Bit>,
    is_send: DFF<Bit>,
    payload: DFF<FB<32>>,
    left: DFF<FB<4>>,
    // Words of the reply that were taken, and it is over.
    taken: DFF<FB<5>>,
    over: DFF<Bit>,
    done: DFF<Bit>,
    next_at: Signal<Local, FB<5>>,
    next_look: Signal<Local, FB<4>>,
    index: Signal<Local, FB<16>>,
    value: Signal<Local, FB<16>>,
    agrees: Signal<Local, Bit>,
    heard: Signal<Local, FB<32>>,
    differs: Signal<Local, FB<32>>,
    len: Signal<Local, FB<8>>,
    around: Signal<Local, FB<8>>,
    padded: Signal<Local, FB<8>>,
    fpdu: Signal<Local, FB<8>>,
    ulpdu: Signal<Local, FB<8>>,
    rounded: Signal<Local, FB<8>>,
    header: Signal<Local, FB<32>>,
    control: Signal<Local, FB<32>>,
    swapped: Signal<Local, FB<32>>,
    passes: Signal<Local, Bit>,
    plays: Signal<Local, Bit>,
    copies: Signal<Local, Bit>,
    begins: Signal<Local, Bit>,
}

impl Logic for PredictSend {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(
            self, clock, state, length, armed, page, head, at, look, count, bad, misses, signalled, is_write,
            is_send, payload, left, taken, over, done
        );
        clock!(self, clock, words, entry);

        // The script.
        self.words.write_address.next = self.length.q.val();
        self.words.data_in.next = self.script.val();
        self.words.write_enable.next = self.script_write.val();
        if self.script_write.val() {
            self.length.d.next = self.length.q.val() + 1;
            if self.length.q.val() == 22 {
                self.page.d.next = self.script.val().get_bits::<24>(0);
            }
            if self.length.q.val() == 23 {
                self.head.d.next = self.script.val();
                self.armed.d.next = true;
            }
        }

        // The doorbell: one entry more.
        self.index.next = self.head.q.val().get_bits::<16>(16);
        self.value.next = self.index.val() + 1;
        self.agrees.next = (self.door_offset.val() == self.page.q.val())
            && (self.door_data.val().get_bits::<16>(0) == self.value.val());
        self.begins.next = self.armed.q.val()
            && self.door_rings.val()
            && self.agrees.val()
            && self.clear.val()
            && !self.disarm.val();

        // The entry, as it comes by.
        self.entry.write_address.next = self.count.q.val().get_bits::<4>(0);
        self.entry.data_in.next = self.seen_data.val();
        self.entry.write_enable.next = false;
        self.heard.next = self.seen_data.val() | 0x200;
        self.differs.next = self.heard.val() ^ self.head.q.val();
        if self.seen_passes.val() && (self.state.q.val() != State::Idle) && !self.count.q.val().get_bit(4) {
            self.entry.write_enable.next = true;
            self.count.d.next = self.count.q.val() + 1;
            if self.seen_error.val() {
                self.bad.d.next = true;
            }
            if self.count.q.val() == 0 {
                self.signalled.d.next = self.seen_data.val().get_bit(9);
                self.is_write.d.next = self.differs.val() == 0;
                // A Send's opcode in place of a Write's.
                self.is_send.d.next = self.differs.val() == 4;
            }
            if self.count.q.val() == 1 {
                self.payload.d.next = self.seen_data.val();
            }
        }
        // The reply says the same once more.
        self.reply_ready.next = (self.state.q.val() != State::Idle) && !self.over.q.val();
        if self.reply_valid.val() && self.reply_ready.val() {
            self.taken.d.next = self.taken.q.val() + 1;
            if (self.taken.q.val() == 16) || ((self.taken.q.val() == 0) && (self.reply_word.val() != 0)) {
                self.over.d.next = true;
            }
        }

        // Lengths: of the payload, of the ULPDU, of the FPDU.
        self.len.next = bit_cast::<8, 32>(self.payload.q.val());
        self.around.next = 23.into();
        self.ulpdu.next = self.len.val() + 14;
        if self.is_send.q.val() {
            self.around.next = 27.into();
            self.ulpdu.next = self.len.val() + 18;
        }
        self.padded.next = self.len.val() + self.around.val();
        self.fpdu.next = self.padded.val() & 0xfc;
        self.rounded.next = self.len.val() + 3;

        // What is said.
        self.passes.next = self.tx_ready.val();
        self.read_word.next = self.words.data_out.val();
        self.read_valid.next = self.state.q.val() == State::Ask;
        self.tx_word.next = self.words.data_out.val();
        self.tx_valid.next = false;
        self.plays.next = false;
        self.copies.next = false;
        // The total length of the IPv4 header ends in the last byte of word 4.
        self.header.next = self.words.data_out.val() + (bit_cast::<32, 8>(self.fpdu.val()) << 24);
        self.control.next = (bit_cast::<32, 8>(self.ulpdu.val()) << 8) | 0x40c1_0000;
        if self.is_send.q.val() {
            self.control.next = (bit_cast::<32, 8>(self.ulpdu.val()) << 8) | 0x4341_0000;
        }
        self.swapped.next = (bit_cast::<32, 8>(self.entry.data_out.val().get_bits::<8>(0)) << 24)
            | (bit_cast::<32, 8>(self.entry.data_out.val().get_bits::<8>(8)) << 16)
            | (bit_cast::<32, 8>(self.entry.data_out.val().get_bits::<8>(16)) << 8)
            | bit_cast::<32, 8>(self.entry.data_out.val().get_bits::<8>(24));
        match self.state.q.val() {
            State::Idle => {
                if self.begins.val() {
                    self.state.d.next = State::Ask;
                    self.armed.d.next = false;
                    self.count.d.next = 0.into();
                    self.taken.d.next = 0.into();
                    self.over.d.next = false;
                    self.bad.d.next = false;
                }
            }
            State::Ask => {
                self.plays.next = self.read_ready.val();
                if self.read_ready.val() && (self.at.q.val() == 2) {
                    self.state.d.next = State::Begin;
                }
            }
            State::Begin => {
                self.tx_valid.next = true;
                self.plays.next = self.passes.val();
                if self.passes.val() && (self.at.q.val() == 10) {
                    self.state.d.next = State::Judge;
                }
            }
            State::Judge => {
                if self.count.q.val() > 1 {
                    self.state.d.next = State::Headers;
                    self.misses.d.next = (!self.is_write.q.val() && !self.is_send.q.val())
                        || (self.payload.q.val() > 32)
                        || self.bad.q.val();
                }
            }
            State::Headers => {
                self.tx_valid.next = true;
                self.plays.next = self.passes.val();
                if self.at.q.val() == 11 {
                    self.tx_word.next = self.header.val();
                }
                if self.passes.val() && (self.at.q.val() == 20) {
                    self.state.d.next = State::Fpdu;
                    // HEADER has all its words now: another command can follow.
                    if self.misses.q.val() {
                        self.state.d.next = State::Drop;
                    }
                }
            }
            State::Fpdu => {
                self.tx_valid.next = true;
                self.tx_word.next = 0x403.into();
                if self.is_send.q.val() {
                    self.tx_word.next = 0x503.into();
                }
                if self.passes.val() {
                    self.state.d.next = State::Control;
                }
            }
            State::Control => {
                self.tx_valid.next = true;
                self.tx_word.next = self.control.val();
                if self.passes.val() {
                    self.state.d.next = State::Gather;
                }
            }
            State::Gather => {
                if self.count.q.val().get_bit(4) {
                    self.state.d.next = State::Stag;
                    if self.is_send.q.val() {
                        self.state.d.next = State::NoStag;
                    }
                }
            }
            State::Stag => {
                self.tx_valid.next = true;
                self.tx_word.next = self.swapped.val();
                if self.passes.val() {
                    self.state.d.next = State::ToHigh;
                }
            }
            State::ToHigh => {
                self.tx_valid.next = true;
                self.tx_word.next = self.swapped.val();
                if self.passes.val() {
                    self.state.d.next = State::ToLow;
                }
            }
            State::ToLow => {
                self.tx_valid.next = true;
                self.tx_word.next = self.swapped.val();
                if self.passes.val() {
                    self.state.d.next = State::Inline;
                }
            }
            State::NoStag => {
                self.tx_valid.next = true;
                self.tx_word.next = 0.into();
                if self.passes.val() {
                    self.state.d.next = State::Queue;
                }
            }
            State::Queue => {
                self.tx_valid.next = true;
                self.tx_word.next = 0.into();
                if self.passes.val() {
                    self.state.d.next = State::Msn;
                }
            }
            State::Msn => {
                self.tx_valid.next = true;
                if self.passes.val() {
                    self.state.d.next = State::Offset;
                }
            }
            State::Offset => {
                self.tx_valid.next = true;
                self.tx_word.next = 0.into();
                if self.passes.val() {
                    self.state.d.next = State::Inline;
                }
            }
            State::Inline => {
                self.tx_valid.next = self.len.val() != 0;
                self.tx_word.next = (bit_cast::<32, 8>(self.len.val()) << 8) | 4;
                self.left.d.next = self.rounded.val().get_bits::<4>(2);
                if self.len.val() == 0 {
                    self.state.d.next = State::Close;
                } else if self.passes.val() {
                    self.state.d.next = State::Payload;
                }
            }
            State::Payload => {
                self.tx_valid.next = true;
                self.tx_word.next = self.entry.data_out.val();
                self.copies.next = self.passes.val();
                if self.passes.val() {
                    self.left.d.next = self.left.q.val() - 1;
                    if self.left.q.val() == 1 {
                        self.state.d.next = State::Close;
                    }
                }
            }
            State::Close => {
                self.tx_valid.next = true;
                self.tx_word.next = 6.into();
                if self.passes.val() {
                    self.state.d.next = State::End;
                }
            }
            State::End => {
                self.tx_valid.next = true;
                self.tx_word.next = 7.into();
                if self.bad.q.val() {
                    self.tx_word.next = 0x17.into();
                }
                if self.passes.val() {
                    self.state.d.next = State::Drain;
                    self.done.d.next = !self.bad.q.val();
                }
            }
            State::Drop => {
                self.tx_valid.next = true;
                self.tx_word.next = 0x17.into();
                if self.passes.val() {
                    self.state.d.next = State::Drain;
                }
            }
            State::Drain => {
                if self.over.q.val() {
                    self.state.d.next = State::Idle;
                }
            }
        }

        // The next word of the script; the MSN stands behind the headers.
        self.next_at.next = self.at.q.val();
        if self.plays.val() {
            self.next_at.next = self.at.q.val() + 1;
        }
        if self.state.q.val() == State::Idle {
            self.next_at.next = 0.into();
        }
        self.at.d.next = self.next_at.val();
        self.words.read_address.next = self.next_at.val();
        // The next word of the entry.
        self.next_look.next = self.look.q.val();
        if self.state.q.val() == State::Gather {
            self.next_look.next = 2.into();
        }
        if (self.state.q.val() == State::Stag) && self.passes.val() {
            self.next_look.next = 4.into();
        }
        if (self.state.q.val() == State::ToHigh) && self.passes.val() {
            self.next_look.next = 3.into();
        }
        if self.state.q.val() == State::Inline {
            self.next_look.next = 8.into();
        }
        if self.copies.val() {
            self.next_look.next = self.look.q.val() + 1;
        }
        self.look.d.next = self.next_look.val();
        self.entry.read_address.next = self.next_look.val();

        self.busy.next = self.state.q.val() != State::Idle;
        self.fired.next = self.done.q.val();
        self.outcome.next = 0.into();
        if self.done.q.val() {
            self.outcome.next = (bit_cast::<32, 8>(self.len.val()) << 16)
                | (bit_cast::<32, 8>(self.fpdu.val()) << 8)
                | (bit_cast::<32, 1>(self.is_send.q.val().into()) << 4)
                | (bit_cast::<32, 1>(self.signalled.q.val().into()) << 3)
                | 1;
        }
        if self.disarm.val() || self.reset.val() {
            self.armed.d.next = false;
            self.length.d.next = 0.into();
            self.done.d.next = false;
        }
        if self.reset.val() {
            self.state.d.next = State::Idle;
        }
    }
}
