use super::item::ItemOut;
use crate::dma::ReadMaster;
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
    Prepare,
    Request,
    Data,
}

/// Takes transmit commands apart and fetches the payload that is in host memory.
///
/// ```text
///  command words --> FSM --------------------> item
///                     | address, bytes    ^
///                     v                   | shift, count
///                    dma command     dma data
/// ```
///
/// **Interface.** `command`, `valid`, `ready`: the words of docs/microarchitecture.md section 6; words that begin no command are
/// dropped. `item`: see the table of the module `item`; without MPA items. `dma`: the read channel. `busy`: a command is under way or an item waits.
///
/// **Theory of operation.** A READ is cut at 4 KiB into DMA commands of whole words. The first word loses the bytes in
/// front of the address, the last those behind the length; every word becomes an item of 1 to 4 bytes at the low end, with zeros
/// above. An error is noted and told with END; until then everything goes on, since what has been asked for must be taken.
///
/// **Latency** 1 cycle from word to item; READ: 4 and the DMA's. **Throughput** an item a cycle.
#[derive(LogicBlock, Default)]
pub struct Fetch {
    /// Rising page_left.
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
    state: DFF<State>,
    left: DFF<FB<16>>,
    low: DFF<FB<32>>,
    high: DFF<FB<32>>,
    offset: DFF<FB<2>>,
    need: DFF<FB<15>>,
    page_left: DFF<FB<15>>,
    failed: DFF<Bit>,
    // The item.
    word: DFF<FB<32>>,
    kind: DFF<FB<3>>,
    count: DFF<FB<3>>,
    full: DFF<Bit>,
    room: Signal<Local, Bit>,
    op: Signal<Local, FB<4>>,
    words: Signal<Local, FB<8>>,
    wide_words: Signal<Local, FB<16>>,
    many: Signal<Local, FB<16>>,
    size: Signal<Local, FB<3>>,
    usable: Signal<Local, FB<3>>,
    wide_size: Signal<Local, FB<16>>,
    wide_usable: Signal<Local, FB<16>>,
    raw: Signal<Local, FB<32>>,
    masked: Signal<Local, FB<32>>,
    span: Signal<Local, FB<17>>,
    wide_left: Signal<Local, FB<17>>,
    wide_offset: Signal<Local, FB<17>>,
    in_page: Signal<Local, FB<10>>,
    wide_page: Signal<Local, FB<15>>,
    page: Signal<Local, FB<33>>,
    wide_low: Signal<Local, FB<33>>,
    next_low: Signal<Local, FB<32>>,
    wide_three: Signal<Local, FB<3>>,
    taken: Signal<Local, Bit>,
    word_low: Signal<Local, FB<32>>,
    wide_address: Signal<Local, FB<64>>,
}

impl Logic for Fetch {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(
            self, clock, state, left, low, high, offset, need, page_left, failed, word, kind, count, full
        );
        self.room.next = !self.full.q.val() || self.item.ready.val();
        self.op.next = self.command.val().get_bits::<4>(0);
        self.words.next = self.command.val().get_bits::<8>(8);
        self.wide_words.next = bit_cast::<16, 8>(self.words.val());
        self.many.next = self.wide_words.val() << 2;

        // Bytes of the word that is there: 1 to 4.
        self.raw.next = self.command.val();
        self.wide_three.next = bit_cast::<3, 2>(self.offset.q.val());
        self.usable.next = 4.into();
        if self.state.q.val() == State::Data {
            self.raw.next = self.dma.data.val();
            self.usable.next = bits::<3>(4) - self.wide_three.val();
            if self.offset.q.val() == 1 {
                self.raw.next = self.dma.data.val() >> 8;
            }
            if self.offset.q.val() == 2 {
                self.raw.next = self.dma.data.val() >> 16;
            }
            if self.offset.q.val() == 3 {
                self.raw.next = self.dma.data.val() >> 24;
            }
        }
        self.wide_usable.next = bit_cast::<16, 3>(self.usable.val());
        self.size.next = self.usable.val();
        if self.left.q.val() < self.wide_usable.val() {
            self.size.next = self.left.q.val().get_bits::<3>(0);
        }
        self.wide_size.next = bit_cast::<16, 3>(self.size.val());
        self.masked.next = self.raw.val();
        if self.size.val() == 1 {
            self.masked.next = self.raw.val() & 0xff;
        }
        if self.size.val() == 2 {
            self.masked.next = self.raw.val() & 0xffff;
        }
        if self.size.val() == 3 {
            self.masked.next = self.raw.val() & 0xff_ffff;
        }

        // What a READ still needs, and what the page has.
        self.wide_left.next = bit_cast::<17, 16>(self.left.q.val());
        self.wide_offset.next = bit_cast::<17, 2>(self.offset.q.val());
        self.span.next = self.wide_left.val() + self.wide_offset.val() + 3;
        self.in_page.next = self.low.q.val().get_bits::<10>(2);
        self.wide_page.next = bit_cast::<15, 10>(self.in_page.val());
        self.wide_low.next = bit_cast::<33, 32>(self.low.q.val());
        self.page.next = self.wide_low.val() + 0x1000;
        self.next_low.next = self.page.val().get_bits::<32>(0);

        self.ready.next = false;
        self.dma.request.next = false;
        self.dma.ready.next = false;
        self.word_low.next = (self.low.q.val() >> 2) << 2;
        self.wide_address.next = bit_cast::<64, 32>(self.high.q.val());
        self.dma.address.next = (self.wide_address.val() << 32) | bit_cast::<64, 32>(self.word_low.val());
        self.dma.words.next = self.need.q.val().get_bits::<12>(0);
        if self.page_left.q.val() < self.need.q.val() {
            self.dma.words.next = self.page_left.q.val().get_bits::<12>(0);
        }
        self.taken.next = self.valid.val() && self.room.val();
        if self.room.val() {
            self.full.d.next = false;
        }

        match self.state.q.val() {
            State::Idle => {
                self.ready.next = self.room.val();
                if self.taken.val() {
                    self.word.d.next = self.command.val();
                    self.count.d.next = 0.into();
                    self.left.d.next = self.many.val();
                    if self.op.val() == 1 {
                        self.full.d.next = true;
                        self.kind.d.next = 1.into();
                        self.failed.d.next = false;
                        self.state.d.next = State::Second;
                    }
                    if self.op.val() == 2 {
                        self.state.d.next = State::Words;
                    }
                    if self.op.val() == 3 {
                        self.full.d.next = true;
                        self.kind.d.next = 4.into();
                        self.state.d.next = State::Words;
                    }
                    if self.op.val() == 4 {
                        self.left.d.next = self.wide_words.val();
                        self.state.d.next = State::Words;
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
                        self.word.d.next = 0.into();
                        if self.command.val().get_bit(4) && !self.failed.q.val() {
                            self.word.d.next = 1.into();
                        }
                        if self.failed.q.val() {
                            self.word.d.next = 2.into();
                        }
                    }
                }
            }
            State::Second => {
                self.ready.next = self.room.val();
                if self.taken.val() {
                    self.word.d.next = self.command.val();
                    self.full.d.next = true;
                    self.kind.d.next = 2.into();
                    self.state.d.next = State::Third;
                }
            }
            State::Third => {
                self.ready.next = self.room.val();
                if self.taken.val() {
                    self.word.d.next = self.command.val();
                    self.full.d.next = true;
                    self.kind.d.next = 3.into();
                    self.state.d.next = State::Idle;
                }
            }
            State::Words => {
                if self.left.q.val() == 0 {
                    self.state.d.next = State::Idle;
                } else {
                    self.ready.next = self.room.val();
                    if self.taken.val() {
                        self.word.d.next = self.masked.val();
                        self.count.d.next = self.size.val();
                        self.kind.d.next = 0.into();
                        self.full.d.next = true;
                        self.left.d.next = self.left.q.val() - self.wide_size.val();
                        if self.left.q.val() == self.wide_size.val() {
                            self.state.d.next = State::Idle;
                        }
                    }
                }
            }
            State::AddressLow => {
                self.ready.next = true;
                if self.valid.val() {
                    self.low.d.next = self.command.val();
                    self.offset.d.next = self.command.val().get_bits::<2>(0);
                    self.state.d.next = State::AddressHigh;
                }
            }
            State::AddressHigh => {
                self.ready.next = true;
                if self.valid.val() {
                    self.high.d.next = self.command.val();
                    self.state.d.next = State::Prepare;
                    if self.left.q.val() == 0 {
                        self.state.d.next = State::Idle;
                    }
                }
            }
            State::Prepare => {
                self.need.d.next = self.span.val().get_bits::<15>(2);
                self.page_left.d.next = bits::<15>(1024) - self.wide_page.val();
                self.state.d.next = State::Request;
            }
            State::Request => {
                self.dma.request.next = true;
                if self.dma.accept.val() {
                    self.state.d.next = State::Data;
                }
            }
            State::Data => {
                self.dma.ready.next = self.room.val();
                if self.dma.valid.val() && self.room.val() {
                    self.word.d.next = self.masked.val();
                    self.count.d.next = self.size.val();
                    self.kind.d.next = 0.into();
                    self.full.d.next = true;
                    self.left.d.next = self.left.q.val() - self.wide_size.val();
                    self.offset.d.next = 0.into();
                    if self.dma.error.val() {
                        self.failed.d.next = true;
                    }
                    if self.dma.last.val() {
                        // The page is used up, or the READ.
                        self.low.d.next = (self.next_low.val() >> 12) << 12;
                        if self.page.val().get_bit(32) {
                            self.high.d.next = self.high.q.val() + 1;
                        }
                        self.state.d.next = State::Prepare;
                        if self.left.q.val() == self.wide_size.val() {
                            self.state.d.next = State::Idle;
                        }
                    }
                }
            }
        }
        self.busy.next = self.full.q.val() || (self.state.q.val() != State::Idle);
        self.item.data.next = self.word.q.val();
        self.item.kind.next = self.kind.q.val();
        self.item.count.next = self.count.q.val();
        self.item.valid.next = self.full.q.val();
        if self.reset.val() {
            self.state.d.next = State::Idle;
            self.full.d.next = false;
            self.failed.d.next = false;
        }
    }
}
