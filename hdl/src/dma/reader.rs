use super::{Bursts, ReadMaster};
use crate::fb::{FB, bit_cast};
use crate::mem::{Packets, StoreMaster};
use rust_hdl::prelude::*;

/// What the reader is doing.
#[derive(Copy, Clone, PartialEq, Debug, LogicState)]
enum State {
    /// Taking C0.
    Command,
    /// Taking C1.
    Low,
    /// Taking C2.
    High,
    /// Starting, when the reply has room.
    Start,
    /// Taking the words.
    Data,
    /// Writing the status.
    Status,
}

/// Reads a few words of host memory for the sequencer.
///
/// ```text
///  command --> registers --> Bursts --> channel (command)
///                 |                     channel (data) --+--> Packets --> word
///                 +--> mask, in turn ------- which --------+       ^
///                 +--> words left --> status --------------------+
/// ```
///
/// **Interface.** Commands of three words on `command`, replies on `word`, both as in section 5 of docs/microarchitecture.md.
/// A command is taken when the one before is done. Bits 1:0 of the address are ignored: else a burst would have a word more than is taken, and the next reply begin with it. 0 words, or more than 64 (with a mask: 256), are not a command: the word is dropped.
/// `waiting`, `store`: of the replies, see [`Packets`].
///
/// **Theory of operation.** The status comes before the words and is known behind them, so they are written behind its place
/// and committed with it, or without if one could not be read. The mask turns by a bit with each word that comes; its lowest bit says whether the word is
/// kept: of a send entry the sequencer looks at half of the words, and each costs it a cycle.
///
/// **Latency** 7 cycles from C2 to the reply if memory answers at once. **Throughput** one word a cycle within a command.
///
/// **Area and fmax** on the HX8K: docs/area.md.
#[derive(LogicBlock)]
pub struct Reader {
    /// Rising edge.
    pub clock: Signal<In, Clock>,
    /// Synchronous: forget the command under way and all replies. The channel must be reset too.
    pub reset: Signal<In, Bit>,
    /// Next word of a command.
    pub command: Signal<In, FB<32>>,
    /// There is one.
    pub command_valid: Signal<In, Bit>,
    /// It is taken.
    pub command_ready: Signal<Out, Bit>,
    /// Next word of the replies.
    pub word: Signal<Out, FB<32>>,
    /// There is one.
    pub valid: Signal<Out, Bit>,
    /// It is taken.
    pub ready: Signal<In, Bit>,
    /// There is one, or will be when its turn comes.
    pub waiting: Signal<Out, Bit>,
    /// Memory of the replies, if it is shared.
    pub store: StoreMaster,
    /// Host memory.
    pub channel: ReadMaster,
    bursts: Bursts,
    packets: Packets<8, 32, 65>,
    state: DFF<State>,
    /// Words to come.
    count: DFF<FB<9>>,
    /// Which of them are kept, the next in bit 0.
    mask: DFF<FB<16>>,
    // The word that comes next, from 1 on.
    next: DFF<FB<7>>,
    error: DFF<Bit>,
    is_read: Signal<Local, Bit>,
    takes: Signal<Local, Bit>,
    words: Signal<Local, FB<9>>,
    above: Signal<Local, FB<7>>,
    which: Signal<Local, FB<16>>,
    fits: Signal<Local, Bit>,
    kept: Signal<Local, Bit>,
    first: Signal<Local, FB<16>>,
    turned: Signal<Local, FB<16>>,
}

impl Default for Reader {
    fn default() -> Self {
        Self::form(Packets::default())
    }
}

impl Reader {
    /// With replies of up to `most` words, in `words` words of a shared memory from `base` on.
    pub fn shared(base: usize, words: usize, most: usize) -> Self {
        Self::form(Packets::shared(base, words, most + 1))
    }

    fn form(packets: Packets<8, 32, 65>) -> Self {
        Self {
            clock: Signal::default(),
            reset: Signal::default(),
            command: Signal::default(),
            command_valid: Signal::default(),
            command_ready: Signal::default(),
            word: Signal::default(),
            valid: Signal::default(),
            ready: Signal::default(),
            waiting: Signal::default(),
            store: Default::default(),
            channel: Default::default(),
            bursts: Bursts::default().aligned(),
            packets,
            state: DFF::default(),
            count: DFF::default(),
            mask: DFF::default(),
            next: DFF::default(),
            error: DFF::default(),
            is_read: Signal::default(),
            takes: Signal::default(),
            words: Signal::default(),
            above: Signal::default(),
            which: Signal::default(),
            fits: Signal::default(),
            kept: Signal::default(),
            first: Signal::default(),
            turned: Signal::default(),
        }
    }

    /// With host addresses of 32 bits: see [`Bursts`].
    pub fn narrow(mut self) -> Self {
        self.bursts = self.bursts.narrow();
        self
    }
}

impl Logic for Reader {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, state, count, mask, next, error);
        clock!(self, clock, bursts, packets);
        self.bursts.reset.next = self.reset.val();
        self.packets.reset.next = self.reset.val();
        self.command_ready.next = (self.state.q.val() == State::Command)
            || (self.state.q.val() == State::Low)
            || (self.state.q.val() == State::High);
        self.bursts.word.next = self.command.val();
        self.bursts.set_low.next = false;
        self.bursts.set_high.next = false;
        self.words.next = self.command.val().get_bits::<9>(0);
        self.above.next = self.command.val().get_bits::<7>(9);
        self.which.next = self.command.val().get_bits::<16>(16);
        self.fits.next = self.words.val() <= 64;
        if self.which.val() != 0 {
            self.fits.next = self.words.val() <= 256;
        }
        self.is_read.next = (self.words.val() != 0) && self.fits.val() && (self.above.val() == 0);
        if self.command_valid.val() {
            if (self.state.q.val() == State::Command) && self.is_read.val() {
                self.state.d.next = State::Low;
                self.count.d.next = self.words.val();
                self.mask.d.next = self.which.val();
                if self.which.val() == 0 {
                    self.mask.d.next = 0xffff.into();
                }
            }
            if self.state.q.val() == State::Low {
                self.state.d.next = State::High;
                self.bursts.set_low.next = true;
            }
            if self.state.q.val() == State::High {
                self.state.d.next = State::Start;
                self.bursts.set_high.next = true;
            }
        }

        self.bursts.start.next = false;
        self.bursts.bytes.next = bit_cast::<18, 9>(self.count.q.val()) << 2;
        self.bursts.silent.next = false;
        self.channel.address.next = self.bursts.channel_address.val();
        self.channel.words.next = self.bursts.channel_words.val();
        self.channel.request.next = self.bursts.request.val();
        self.bursts.accept.next = self.channel.accept.val();
        if (self.state.q.val() == State::Start) && self.packets.room.val() {
            self.state.d.next = State::Data;
            self.bursts.start.next = true;
            self.next.d.next = 1.into();
            self.error.d.next = false;
        }

        self.takes.next = (self.state.q.val() == State::Data) && self.packets.may_write.val();
        self.channel.ready.next = self.takes.val();
        self.packets.slot.next = self.next.q.val();
        self.packets.data_in.next = self.channel.data.val();
        self.kept.next = self.mask.q.val().get_bit(0);
        self.first.next = bit_cast::<16, 1>(self.kept.val().into());
        self.turned.next = (self.mask.q.val() >> 1) | (self.first.val() << 15);
        self.packets.write.next = false;
        self.packets.commit.next = 0.into();
        if self.takes.val() && self.channel.valid.val() {
            self.packets.write.next = self.kept.val();
            if self.kept.val() {
                self.next.d.next = self.next.q.val() + 1;
            }
            self.mask.d.next = self.turned.val();
            self.count.d.next = self.count.q.val() - 1;
            if self.channel.error.val() {
                self.error.d.next = true;
            }
            if self.count.q.val() == 1 {
                self.state.d.next = State::Status;
            }
        }
        if (self.state.q.val() == State::Status) && self.packets.may_write.val() {
            self.state.d.next = State::Command;
            self.packets.slot.next = 0.into();
            self.packets.data_in.next = bit_cast::<32, 1>(self.error.q.val().into());
            self.packets.write.next = true;
            self.packets.commit.next = self.next.q.val();
            if self.error.q.val() {
                self.packets.commit.next = 1.into();
            }
        }
        if self.reset.val() {
            self.state.d.next = State::Command;
        }
        self.word.next = self.packets.word.val();
        self.valid.next = self.packets.valid.val();
        self.waiting.next = self.packets.waiting.val();
        StoreMaster::link(&mut self.store, &mut self.packets.store);
        self.packets.ready.next = self.ready.val();
    }
}
