use crate::crc::{Crc32c, Crc32cBytes};
use crate::dma::{Fetch, ReadMaster};
use crate::fb::{FB, bit_cast};
use crate::mem::{Packets, StoreMaster};
use rust_hdl::prelude::*;

/// What the walker is doing.
#[derive(Copy, Clone, PartialEq, Debug, LogicState)]
enum State {
    /// Taking W0.
    Command,
    /// Taking W1.
    Low,
    /// Taking W2.
    Phase,
    /// Taking W3.
    High,
    /// Starting the fetch.
    Start,
    /// Taking the words of an FPDU.
    Body,
    /// Writing R0.
    Code,
    /// Writing R1.
    Offset,
    /// Writing R2.
    Length,
    /// Writing R3.
    Next,
    /// Nothing is left, or nothing more is wanted.
    Drain,
}

/// Finds the FPDUs in a stretch of the MPA stream (RFC 5044 sections 4 and 6), checks them and shows their headers.
///
/// ```text
///  command --> registers --> Fetch <--> ring, host memory
///                              |
///                 +------------+-----------+
///                 v            v           v
///              Crc32c   marker counter   length, words left
///                 |            |           |
///                 +----------> R0..R3 <----+--> Packets --> word, first
/// ```
///
/// **Interface.** Commands of four words on `command`, results as packets of words, both as in section 3 of
/// docs/microarchitecture.md; `first` stands with the first word of a packet. `waiting`: there is a packet whose first word
/// has not been taken. A command is taken when the one before is done; a packet waits until the queue has room.
///
/// **Theory of operation.** FPDUs and markers are multiples of four bytes and a stretch begins with an FPDU, so behind the
/// rotator of the fetch every word is either a marker, and that is known from a 7-bit counter (every 128th word), or
/// belongs to the FPDU, whose first word says how many there are. Everything up to and including the CRC field goes
/// through the CRC: over a right field it leaves a known residue. Words are shown by writing them behind
/// the four result words of a packet that is committed, with those words that it is to show, when all is known.
///
/// **Errors.** An FPDU of which a word could not be read counts as one with a bad CRC, checked or not.
///
/// **Latency** 7 cycles from W3 to the first word if nothing is there. **Throughput** one word a cycle, 4 cycles more an FPDU; [`serial`](Self::serial): a byte a cycle.
///
/// **Area and fmax** on the HX8K: docs/area.md.
#[derive(LogicBlock)]
pub struct Walk<const A: usize> {
    /// Rising edge.
    pub clock: Signal<In, Clock>,
    /// Synchronous: forget the command under way and all packets. The channel must be reset too.
    pub reset: Signal<In, Bit>,
    /// Next word of a command.
    pub command: Signal<In, FB<32>>,
    /// There is one.
    pub command_valid: Signal<In, Bit>,
    /// It is taken.
    pub command_ready: Signal<Out, Bit>,
    /// Next word of the packets.
    pub word: Signal<Out, FB<32>>,
    /// It begins a packet.
    pub first: Signal<Out, Bit>,
    /// There is one.
    pub valid: Signal<Out, Bit>,
    /// It is taken.
    pub ready: Signal<In, Bit>,
    /// There is a packet that nobody has looked at.
    pub waiting: Signal<Out, Bit>,
    /// Memory of the packets, if it is shared.
    pub store: StoreMaster,
    /// A packet as it is written: which word.
    pub found_slot: Signal<Out, FB<7>>,
    /// The word.
    pub found_data: Signal<Out, FB<32>>,
    /// It is written.
    pub found_write: Signal<Out, Bit>,
    /// Next word to read from the ring.
    pub ring_address: Signal<Out, FB<A>>,
    /// The word at the address of the cycle before.
    pub ring_data: Signal<In, FB<32>>,
    /// No, it is another.
    pub ring_wait: Signal<In, Bit>,
    /// Host memory.
    pub channel: ReadMaster,
    fetch: Fetch<A>,
    crc: Crc32c,
    // In its place, a byte a cycle, and the byte.
    bytes_crc: Crc32cBytes,
    lane: DFF<FB<2>>,
    is_serial: Constant<Bit>,
    packets: Packets<8, 32, 22>,
    state: DFF<State>,
    // The command.
    markers: DFF<Bit>,
    checked: DFF<Bit>,
    from_host: DFF<Bit>,
    bytes: DFF<FB<18>>,
    // Words from the start of the command to this FPDU, words of it so far and of those, bytes that are none.
    at: DFF<FB<17>>,
    position: DFF<FB<17>>,
    unused: DFF<FB<2>>,
    // Words to the next marker, now and where the FPDU began.
    to_marker: DFF<FB<7>>,
    phase: DFF<FB<7>>,
    // The FPDU: its length field has come; what it says; words from it to here; words still to come.
    inside: DFF<Bit>,
    known: DFF<Bit>,
    length: DFF<FB<16>>,
    back: DFF<FB<15>>,
    left: DFF<FB<15>>,
    // The next word to show, how many will be, and what was wrong.
    shown: DFF<FB<5>>,
    most: DFF<FB<5>>,
    mismatch: DFF<Bit>,
    whole: DFF<Bit>,
    ended: DFF<Bit>,
    code: DFF<FB<4>>,
    pending: DFF<FB<8>>,
    // Words of the packet being read that are still to come.
    rest: DFF<FB<5>>,
    shown_bits: Constant<FB<32>>,
    taking: Signal<Local, Bit>,
    wants: Signal<Local, Bit>,
    octet: Signal<Local, FB<8>>,
    sum: Signal<Local, FB<32>>,
    passes: Signal<Local, Bit>,
    complete: Signal<Local, Bit>,
    is_marker: Signal<Local, Bit>,
    is_start: Signal<Local, Bit>,
    pointer: Signal<Local, FB<14>>,
    field: Signal<Local, FB<16>>,
    wide: Signal<Local, FB<17>>,
    covered: Signal<Local, FB<17>>,
    words: Signal<Local, FB<15>>,
    limit: Signal<Local, FB<5>>,
    is_short: Signal<Local, Bit>,
    stays: Signal<Local, Bit>,
    failed: Signal<Local, Bit>,
    there: Signal<Local, FB<32>>,
    slot_data: Signal<Local, FB<32>>,
    count: Signal<Local, FB<5>>,
    writes: Signal<Local, Bit>,
    commits: Signal<Local, Bit>,
    is_first: Signal<Local, Bit>,
    is_taken: Signal<Local, Bit>,
    clear: Signal<Local, Bit>,
}

impl<const A: usize> Default for Walk<A> {
    fn default() -> Self {
        Self::form(Packets::default())
    }
}

impl<const A: usize> Walk<A> {
    /// With packets in `words` words of a shared memory from `base` on.
    pub fn shared(base: usize, words: usize) -> Self {
        Self::form(Packets::shared(base, words, 22))
    }

    fn form(packets: Packets<8, 32, 22>) -> Self {
        Self {
            clock: Signal::default(),
            reset: Signal::default(),
            command: Signal::default(),
            command_valid: Signal::default(),
            command_ready: Signal::default(),
            word: Signal::default(),
            first: Signal::default(),
            valid: Signal::default(),
            ready: Signal::default(),
            waiting: Signal::default(),
            store: Default::default(),
            found_slot: Signal::default(),
            found_data: Signal::default(),
            found_write: Signal::default(),
            ring_address: Signal::default(),
            ring_data: Signal::default(),
            ring_wait: Signal::default(),
            channel: Default::default(),
            fetch: Fetch::default(),
            crc: Crc32c::default(),
            bytes_crc: Crc32cBytes::default(),
            lane: DFF::default(),
            is_serial: Constant::new(false),
            packets,
            state: DFF::default(),
            markers: DFF::default(),
            checked: DFF::default(),
            from_host: DFF::default(),
            bytes: DFF::default(),
            at: DFF::default(),
            position: DFF::default(),
            unused: DFF::default(),
            to_marker: DFF::default(),
            phase: DFF::default(),
            inside: DFF::default(),
            known: DFF::default(),
            length: DFF::default(),
            back: DFF::default(),
            left: DFF::default(),
            shown: DFF::default(),
            most: DFF::default(),
            mismatch: DFF::default(),
            whole: DFF::default(),
            ended: DFF::default(),
            code: DFF::default(),
            pending: DFF::default(),
            rest: DFF::default(),
            shown_bits: Constant::new(FB::new(0xffff_001f)),
            taking: Signal::default(),
            wants: Signal::default(),
            octet: Signal::default(),
            sum: Signal::default(),
            passes: Signal::default(),
            complete: Signal::default(),
            is_marker: Signal::default(),
            is_start: Signal::default(),
            pointer: Signal::default(),
            field: Signal::default(),
            wide: Signal::default(),
            covered: Signal::default(),
            words: Signal::default(),
            limit: Signal::default(),
            is_short: Signal::default(),
            stays: Signal::default(),
            failed: Signal::default(),
            there: Signal::default(),
            slot_data: Signal::default(),
            count: Signal::default(),
            writes: Signal::default(),
            commits: Signal::default(),
            is_first: Signal::default(),
            is_taken: Signal::default(),
            clear: Signal::default(),
        }
    }

    /// A byte a cycle.
    pub fn serial(mut self) -> Self {
        self.is_serial = Constant::new(true);
        self.fetch = self.fetch.serial();
        self
    }

    /// With host addresses of 32 bits: see [`Bursts`](crate::dma::Bursts).
    pub fn narrow(mut self) -> Self {
        self.fetch = self.fetch.narrow();
        self
    }
}

impl<const A: usize> Logic for Walk<A> {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(
            self, clock, state, markers, checked, from_host, bytes, at, position, unused, to_marker, phase,
            inside, known, length, back, left, shown, most, mismatch, whole, ended, code, pending, rest,
            lane
        );
        clock!(self, clock, fetch, crc, bytes_crc, packets);
        self.fetch.reset.next = self.reset.val();
        self.packets.reset.next = self.reset.val();
        ReadMaster::link(&mut self.channel, &mut self.fetch.channel);
        self.ring_address.next = self.fetch.ring_address.val();
        self.fetch.ring_data.next = self.ring_data.val();
        self.fetch.ring_wait.next = self.ring_wait.val();
        self.clear.next = false;

        // The command.
        self.fetch.word.next = self.command.val();
        self.fetch.set_low.next = false;
        self.fetch.set_high.next = false;
        self.command_ready.next = (self.state.q.val() == State::Command)
            || (self.state.q.val() == State::Low)
            || (self.state.q.val() == State::Phase)
            || (self.state.q.val() == State::High);
        if self.command_valid.val() {
            if self.state.q.val() == State::Command {
                self.state.d.next = State::Low;
                self.markers.d.next = self.command.val().get_bit(0);
                self.checked.d.next = self.command.val().get_bit(1);
                self.from_host.d.next = self.command.val().get_bit(2);
                // Bytes in the ring, words in host memory.
                self.bytes.d.next = bit_cast::<18, 16>(self.command.val().get_bits::<16>(16));
                if self.command.val().get_bit(2) {
                    self.bytes.d.next = bit_cast::<18, 16>(self.command.val().get_bits::<16>(16)) << 2;
                }
            }
            if self.state.q.val() == State::Low {
                self.state.d.next = State::Phase;
                self.fetch.set_low.next = true;
            }
            if self.state.q.val() == State::Phase {
                self.state.d.next = State::High;
                self.to_marker.d.next = self.command.val().get_bits::<7>(2);
            }
            if self.state.q.val() == State::High {
                self.state.d.next = State::Start;
                self.fetch.set_high.next = true;
                self.at.d.next = 0.into();
                self.clear.next = true;
            }
        }
        self.fetch.from_host.next = self.from_host.q.val();
        self.fetch.from_words.next = false;
        self.fetch.words_data.next = 0.into();
        self.fetch.words_valid.next = false;
        self.fetch.lane.next = 0.into();
        self.fetch.skip.next = false;
        self.fetch.bytes.next = self.bytes.q.val();
        self.fetch.start.next = false;
        if self.state.q.val() == State::Start {
            if self.bytes.q.val() == 0 {
                self.state.d.next = State::Code;
                self.code.d.next = 4.into();
                self.ended.d.next = true;
            } else {
                self.state.d.next = State::Body;
                self.ended.d.next = false;
                self.fetch.start.next = true;
            }
        }

        // A word of the stream; the first of a packet needs room for its results.
        self.wants.next =
            (self.state.q.val() == State::Body) && (self.packets.room.val() || (self.position.q.val() != 0));
        self.taking.next = self.wants.val()
            && self.packets.may_write.val()
            && (!self.is_serial.val() || (self.lane.q.val() == 3));
        self.fetch.downstream.ready.next = self.taking.val() || (self.state.q.val() == State::Drain);
        self.passes.next = self.taking.val() && self.fetch.downstream.valid.val();
        self.is_marker.next = self.markers.q.val() && (self.to_marker.q.val() == 0);
        self.is_start.next = !self.is_marker.val() && !self.inside.q.val();
        self.crc.enable.next = self.passes.val();
        self.crc.init.next = self.position.q.val() == 0;
        self.crc.data.next = self.fetch.downstream.data.val();
        self.sum.next = self.crc.crc.val();
        // Serial: the word stays until its last byte has gone into the CRC.
        self.octet.next = self.fetch.downstream.data.val().get_bits::<8>(0);
        if self.lane.q.val() == 1 {
            self.octet.next = self.fetch.downstream.data.val().get_bits::<8>(8);
        }
        if self.lane.q.val() == 2 {
            self.octet.next = self.fetch.downstream.data.val().get_bits::<8>(16);
        }
        if self.lane.q.val() == 3 {
            self.octet.next = self.fetch.downstream.data.val().get_bits::<8>(24);
        }
        self.bytes_crc.init.next = (self.position.q.val() == 0) && (self.lane.q.val() == 0);
        self.bytes_crc.shift.next = false;
        self.bytes_crc.data.next = self.octet.val();
        self.bytes_crc.enable.next = false;
        if self.is_serial.val() {
            self.sum.next = self.bytes_crc.crc.val();
            self.bytes_crc.enable.next = self.passes.val();
            if self.wants.val() && self.fetch.downstream.valid.val() && (self.lane.q.val() != 3) {
                self.bytes_crc.enable.next = true;
                self.lane.d.next = self.lane.q.val() + 1;
            }
            if self.passes.val() {
                self.lane.d.next = 0.into();
            }
        }
        // The length field, words it covers with itself, words up to and with the CRC.
        self.field.next = (bit_cast::<16, 8>(self.fetch.downstream.data.val().get_bits::<8>(0)) << 8)
            | bit_cast::<16, 8>(self.fetch.downstream.data.val().get_bits::<8>(8));
        self.wide.next = bit_cast::<17, 16>(self.field.val());
        self.covered.next = self.wide.val() + 5;
        self.words.next = self.covered.val().get_bits::<15>(2);
        self.limit.next = 18.into();
        self.is_short.next = self.words.val() < 18;
        if self.fetch.downstream.data.val().get_bit(23) {
            self.limit.next = 4.into();
            self.is_short.next = self.words.val() < 4;
        }
        // FPDUPTR, of which the low two bits count as zero.
        self.pointer.next = (bit_cast::<14, 8>(self.fetch.downstream.data.val().get_bits::<8>(16)) << 6)
            | bit_cast::<14, 6>(self.fetch.downstream.data.val().get_bits::<6>(26));
        // The word is all there: only the last can be cut.
        self.stays.next = self.fetch.downstream.last.val() && (self.fetch.downstream.empty.val() != 0);
        self.complete.next =
            self.passes.val() && !self.is_marker.val() && (self.left.q.val() == 1) && !self.stays.val();
        self.slot_data.next = self.fetch.downstream.data.val();
        self.packets.slot.next = bit_cast::<7, 5>(self.shown.q.val()) + 4;
        self.packets.write.next = false;
        if self.passes.val() {
            self.position.d.next = self.position.q.val() + 1;
            self.unused.d.next = self.fetch.downstream.empty.val();
            self.to_marker.d.next = self.to_marker.q.val() - 1;
            self.ended.d.next = self.fetch.downstream.last.val();
            if self.inside.q.val() || self.is_start.val() {
                self.back.d.next = self.back.q.val() + 1;
            }
            if self.is_marker.val() {
                if (self.pointer.val() != self.back.q.val().get_bits::<14>(0))
                    || self.back.q.val().get_bit(14)
                {
                    self.mismatch.d.next = true;
                }
            } else {
                self.left.d.next = self.left.q.val() - 1;
                if self.shown.q.val() != 18 {
                    self.packets.write.next = true;
                    self.shown.d.next = self.shown.q.val() + 1;
                }
            }
            if self.is_start.val() {
                self.inside.d.next = true;
                // Two bytes of it are enough to know the length.
                self.known.d.next =
                    !self.fetch.downstream.last.val() || (self.fetch.downstream.empty.val() != 3);
                self.length.d.next = self.field.val();
                self.left.d.next = self.words.val();
                self.most.d.next = self.limit.val();
                if self.is_short.val() {
                    self.most.d.next = bit_cast::<5, 15>(self.words.val());
                }
            }
            if self.complete.val() {
                self.whole.d.next = true;
                self.state.d.next = State::Code;
                self.code.d.next = 0.into();
            } else if self.fetch.downstream.last.val() {
                self.state.d.next = State::Code;
                self.code.d.next = 3.into();
            }
        }

        // The results.
        self.failed.next = self.whole.q.val()
            && (self.fetch.failed.val() || (self.checked.q.val() && (self.sum.val() != 0x4867_4bc7)));
        self.there.next = bit_cast::<32, 17>(self.position.q.val()) << 2;
        self.commits.next = false;
        self.packets.commit.next = 0.into();
        self.writes.next = self.packets.may_write.val();
        self.count.next = 4.into();
        if (self.state.q.val() == State::Code) && self.writes.val() {
            self.packets.slot.next = 0.into();
            self.slot_data.next = bit_cast::<32, 4>(self.code.q.val());
            if self.known.q.val() {
                self.slot_data.next = bit_cast::<32, 4>(self.code.q.val())
                    | (bit_cast::<32, 16>(self.length.q.val()) << 16)
                    | 0x10;
            }
            if self.failed.val() {
                self.slot_data.next = self.slot_data.val() | 1;
                self.code.d.next = 1.into();
            } else if self.whole.q.val() && self.mismatch.q.val() {
                self.slot_data.next = self.slot_data.val() | 2;
                self.code.d.next = 2.into();
            } else if self.code.q.val() == 0 {
                self.count.next = self.most.q.val() + 4;
            }
            // How many words it has, for whoever reads it: bits that are not shown.
            self.slot_data.next = self.slot_data.val() | (bit_cast::<32, 5>(self.count.val()) << 8);
            if self.packets.room.val() || (self.position.q.val() != 0) {
                self.packets.write.next = true;
                self.state.d.next = State::Offset;
            }
        }
        if (self.state.q.val() == State::Offset) && self.writes.val() {
            self.packets.slot.next = 1.into();
            self.slot_data.next = bit_cast::<32, 17>(self.at.q.val()) << 2;
            self.packets.write.next = true;
            self.state.d.next = State::Length;
        }
        if (self.state.q.val() == State::Length) && self.writes.val() {
            self.packets.slot.next = 2.into();
            self.slot_data.next = self.there.val() - bit_cast::<32, 2>(self.unused.q.val());
            self.packets.write.next = true;
            self.state.d.next = State::Next;
        }
        if (self.state.q.val() == State::Next) && self.writes.val() {
            self.packets.slot.next = 3.into();
            self.slot_data.next = 0.into();
            if self.markers.q.val() {
                self.slot_data.next = bit_cast::<32, 7>(self.phase.q.val()) << 2;
            }
            self.packets.write.next = true;
            self.commits.next = true;
            self.packets.commit.next = 4.into();
            self.clear.next = true;
            self.at.d.next = self.at.q.val() + self.position.q.val();
            if self.code.q.val() == 0 {
                self.packets.commit.next = bit_cast::<7, 5>(self.most.q.val()) + 4;
                self.state.d.next = State::Body;
                if self.ended.q.val() {
                    self.state.d.next = State::Code;
                    self.code.d.next = 4.into();
                }
            } else {
                self.state.d.next = State::Drain;
                if self.ended.q.val() {
                    self.state.d.next = State::Command;
                }
            }
        }
        if (self.state.q.val() == State::Drain)
            && self.fetch.downstream.valid.val()
            && self.fetch.downstream.last.val()
        {
            self.state.d.next = State::Command;
        }
        self.packets.data_in.next = self.slot_data.val();
        self.found_slot.next = self.packets.slot.val();
        self.found_data.next = self.slot_data.val();
        self.found_write.next = self.packets.write.val();

        // The next FPDU begins here.
        if self.clear.val() {
            self.position.d.next = 0.into();
            self.unused.d.next = 0.into();
            self.phase.d.next = self.to_marker.q.val();
            self.inside.d.next = false;
            self.known.d.next = false;
            self.back.d.next = 0.into();
            self.left.d.next = 0.into();
            self.shown.d.next = 0.into();
            self.mismatch.d.next = false;
            self.whole.d.next = false;
        }

        // The packets.
        StoreMaster::link(&mut self.store, &mut self.packets.store);
        self.is_first.next = self.rest.q.val() == 0;
        self.word.next = self.packets.word.val();
        if self.is_first.val() {
            self.word.next = self.packets.word.val() & self.shown_bits.val();
        }
        self.first.next = self.is_first.val();
        self.valid.next = self.packets.valid.val();
        self.is_taken.next = self.ready.val() && self.packets.valid.val() && self.is_first.val();
        if self.ready.val() && self.packets.valid.val() {
            self.rest.d.next = self.rest.q.val() - 1;
            if self.is_first.val() {
                self.rest.d.next = self.packets.word.val().get_bits::<5>(8) - 1;
            }
        }
        if self.commits.val() && !self.is_taken.val() {
            self.pending.d.next = self.pending.q.val() + 1;
        } else if !self.commits.val() && self.is_taken.val() {
            self.pending.d.next = self.pending.q.val() - 1;
        }
        if self.reset.val() {
            self.state.d.next = State::Command;
            self.pending.d.next = 0.into();
            self.rest.d.next = 0.into();
            self.lane.d.next = 0.into();
        }
        self.packets.ready.next = self.ready.val();
        self.waiting.next = self.pending.q.val() != 0;
    }
}
