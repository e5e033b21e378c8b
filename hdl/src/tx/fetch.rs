use super::item::ItemOut;
use crate::dma::{Bursts, ReadMaster};
use crate::fb::{FB, bit_cast, bits};
use rust_hdl::prelude::*;

#[derive(Copy, Clone, PartialEq, Debug, LogicState)]
enum State {
    Idle,
    Second,
    Third,
    Words,
    AddressLow,
    AddressHigh,
    Launch,
    Data,
}

/// Takes transmit commands apart and fetches the payload that is in host memory.
///
/// ```text
///  command words --> FSM --------------------> item
///                     | address, bytes    ^
///                     v                   | lead, count
///                  Bursts --> dma --------+
/// ```
///
/// **Interface.** `command`, `valid`, `ready`: the words of docs/microarchitecture.md section 6; words that begin no command are
/// dropped. `item`: see the table of the module `item`; without MPA items. `dma`: the read channel. `busy`: a command is under way or an item waits.
///
/// **Theory of operation.** A READ asks for whole words. Of the first word the bytes in front of the address do not count, of the last
/// those behind the length; every word becomes an item of 1 to 4 bytes. An error is noted and told with END; until then everything goes on, since what has been asked for must be taken.
///
/// **Latency** 1 cycle from word to item; READ: 4 and the DMA's. **Throughput** an item a cycle.
#[derive(LogicBlock, Default)]
pub struct Fetch {
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
    /// Items.
    pub item: ItemOut,
    /// Host memory.
    pub dma: ReadMaster,
    /// Not idle.
    pub busy: Signal<Out, Bit>,
    bursts: Bursts,
    state: DFF<State>,
    left: DFF<FB<16>>,
    offset: DFF<FB<2>>,
    failed: DFF<Bit>,
    // The item.
    word: DFF<FB<32>>,
    kind: DFF<FB<3>>,
    count: DFF<FB<3>>,
    lead: DFF<FB<2>>,
    full: DFF<Bit>,
    room: Signal<Local, Bit>,
    op: Signal<Local, FB<4>>,
    words: Signal<Local, FB<8>>,
    few: Signal<Local, FB<3>>,
    usable: Signal<Local, FB<3>>,
    size: Signal<Local, FB<3>>,
    is_last: Signal<Local, Bit>,
    taken: Signal<Local, Bit>,
    gives: Signal<Local, Bit>,
    starts: Signal<Local, Bit>,
}

impl Fetch {
    /// With host addresses of 32 bits: see [`Bursts`].
    pub fn narrow(mut self) -> Self {
        self.bursts = self.bursts.narrow();
        self
    }
}

impl Logic for Fetch {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, state, left, offset, failed, word, kind, count, lead, full);
        clock!(self, clock, bursts);
        self.room.next = !self.full.q.val() || self.item.ready.val();
        self.op.next = self.command.val().get_bits::<4>(0);
        self.words.next = self.command.val().get_bits::<8>(8);

        // Bytes of the word that is there: 1 to 4.
        self.usable.next = bits::<3>(4) - bit_cast::<3, 2>(self.offset.q.val());
        self.few.next = self.left.q.val().get_bits::<3>(0);
        self.size.next = self.usable.val();
        self.is_last.next = false;
        if !self.left.q.val().get_bits::<13>(3).any() && (self.few.val() <= self.usable.val()) {
            self.size.next = self.few.val();
            self.is_last.next = true;
        }

        self.bursts.reset.next = self.reset.val();
        self.bursts.word.next = self.command.val();
        self.bursts.set_low.next = (self.state.q.val() == State::AddressLow) && self.valid.val();
        self.bursts.set_high.next = (self.state.q.val() == State::AddressHigh) && self.valid.val();
        self.bursts.start.next = self.state.q.val() == State::Launch;
        self.bursts.bytes.next = bit_cast::<18, 16>(self.left.q.val());
        self.bursts.silent.next = false;
        self.dma.address.next = self.bursts.channel_address.val();
        self.dma.words.next = self.bursts.channel_words.val();
        self.dma.request.next = self.bursts.request.val();
        self.bursts.accept.next = self.dma.accept.val();

        self.ready.next = false;
        self.dma.ready.next = false;
        self.gives.next = false;
        self.starts.next = false;
        self.taken.next = self.valid.val() && self.room.val();
        if self.room.val() {
            self.full.d.next = false;
            self.word.d.next = self.command.val();
            if self.state.q.val() == State::Data {
                self.word.d.next = self.dma.data.val();
            }
            self.count.d.next = self.size.val();
            self.lead.d.next = self.offset.q.val();
            self.kind.d.next = 0.into();
        }

        match self.state.q.val() {
            State::Idle => {
                self.ready.next = self.room.val();
                if self.taken.val() {
                    self.offset.d.next = 0.into();
                    self.left.d.next = bit_cast::<16, 8>(self.words.val()) << 2;
                    if self.op.val() == 1 {
                        self.full.d.next = true;
                        self.kind.d.next = 1.into();
                        self.failed.d.next = false;
                        self.state.d.next = State::Second;
                    }
                    if self.op.val() == 2 {
                        self.starts.next = true;
                    }
                    if self.op.val() == 3 {
                        self.full.d.next = true;
                        self.kind.d.next = 4.into();
                        self.starts.next = true;
                    }
                    if self.op.val() == 4 {
                        self.left.d.next = bit_cast::<16, 8>(self.words.val());
                        self.starts.next = true;
                    }
                    if self.op.val() == 5 {
                        self.left.d.next = self.command.val().get_bits::<16>(16);
                        self.state.d.next = State::AddressLow;
                    }
                    if self.op.val() == 6 {
                        self.full.d.next = true;
                        self.kind.d.next = 5.into();
                    }
                    if self.op.val() == 7 {
                        self.full.d.next = true;
                        self.kind.d.next = 6.into();
                        self.count.d.next = 0.into();
                        if self.command.val().get_bit(4) && !self.failed.q.val() {
                            self.count.d.next = 1.into();
                        }
                        if self.failed.q.val() {
                            self.count.d.next = 2.into();
                        }
                    }
                    if self.starts.val() && (self.words.val() != 0) {
                        self.state.d.next = State::Words;
                    }
                }
            }
            State::Second => {
                self.ready.next = self.room.val();
                if self.taken.val() {
                    self.full.d.next = true;
                    self.kind.d.next = 2.into();
                    self.state.d.next = State::Third;
                }
            }
            State::Third => {
                self.ready.next = self.room.val();
                if self.taken.val() {
                    self.full.d.next = true;
                    self.kind.d.next = 3.into();
                    self.state.d.next = State::Idle;
                }
            }
            State::Words => {
                self.ready.next = self.room.val();
                self.gives.next = self.taken.val();
            }
            State::AddressLow => {
                self.ready.next = true;
                if self.valid.val() {
                    self.offset.d.next = self.command.val().get_bits::<2>(0);
                    self.state.d.next = State::AddressHigh;
                }
            }
            State::AddressHigh => {
                self.ready.next = true;
                if self.valid.val() {
                    self.state.d.next = State::Launch;
                    if self.left.q.val() == 0 {
                        self.state.d.next = State::Idle;
                    }
                }
            }
            State::Launch => {
                self.state.d.next = State::Data;
            }
            State::Data => {
                self.dma.ready.next = self.room.val();
                self.gives.next = self.dma.valid.val() && self.room.val();
                if self.gives.val() && self.dma.error.val() {
                    self.failed.d.next = true;
                }
            }
        }
        if self.gives.val() {
            self.full.d.next = true;
            self.left.d.next = self.left.q.val() - bit_cast::<16, 3>(self.size.val());
            self.offset.d.next = 0.into();
            if self.is_last.val() {
                self.state.d.next = State::Idle;
            }
        }
        self.busy.next = self.full.q.val() || (self.state.q.val() != State::Idle);
        self.item.data.next = self.word.q.val();
        self.item.kind.next = self.kind.q.val();
        self.item.count.next = self.count.q.val();
        self.item.lead.next = self.lead.q.val();
        self.item.valid.next = self.full.q.val();
        if self.reset.val() {
            self.state.d.next = State::Idle;
            self.full.d.next = false;
            self.failed.d.next = false;
        }
    }
}
