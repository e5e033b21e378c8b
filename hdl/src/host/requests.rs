use crate::fb::{FB, bit_cast};
use crate::mem::Fifo;
use rust_hdl::prelude::*;

/// Register reads, register writes and doorbells of the host, on their way to the sequencer.
///
/// ```text
///  write, offset, data --> newest --> Fifo --> head, data --> word
///                           ^ merge
/// ```
///
/// **Interface.** A request passes with `valid` and `ready`. `word`: two words a request (docs/microarchitecture.md section 7), taken with
/// `take`; `waiting`: there is one whose first word has not been taken. `offset` 0x1000 and up are doorbells, in pages of 2^`page` bytes.
///
/// **Theory of operation.** Software may ring faster than the sequencer answers. The first doorbell of a page carries an absolute index: a
/// newer one makes an older one superfluous. So the newest request stands apart while others wait in front of it, and a write to
/// the same index doorbell takes its place.
///
/// **Throughput** a request every 2 cycles on the sequencer's side.
#[derive(LogicBlock)]
pub struct Requests {
    /// Rising edge.
    pub clock: Signal<In, Clock>,
    /// Forget everything.
    pub reset: Signal<In, Bit>,
    /// It is a write.
    pub write: Signal<In, Bit>,
    /// Byte offset in BAR 0.
    pub offset: Signal<In, FB<24>>,
    /// What to write.
    pub data: Signal<In, FB<32>>,
    /// There is a request.
    pub valid: Signal<In, Bit>,
    /// It is taken.
    pub ready: Signal<Out, Bit>,
    /// The next word.
    pub word: Signal<Out, FB<32>>,
    /// There is one.
    pub word_valid: Signal<Out, Bit>,
    /// It is taken.
    pub take: Signal<In, Bit>,
    /// A request waits.
    pub waiting: Signal<Out, Bit>,
    /// Nothing waits.
    pub empty: Signal<Out, Bit>,
    page_mask: Constant<FB<24>>,
    queue: Fifo<4, 57>,
    newest: DFF<Bit>,
    is_write: DFF<Bit>,
    place: DFF<FB<24>>,
    value: DFF<FB<32>>,
    second: DFF<Bit>,
    within: Signal<Local, FB<24>>,
    is_index: Signal<Local, Bit>,
    merges: Signal<Local, Bit>,
    moves: Signal<Local, Bit>,
    entry: Signal<Local, FB<57>>,
    wide_value: Signal<Local, FB<57>>,
    wide_place: Signal<Local, FB<57>>,
    wide_write: Signal<Local, FB<57>>,
    head: Signal<Local, FB<57>>,
    head_place: Signal<Local, FB<24>>,
    head_write: Signal<Local, FB<1>>,
    first: Signal<Local, FB<32>>,
    flag: Signal<Local, FB<32>>,
}

impl Requests {
    /// With doorbell pages of 2^`page` bytes.
    pub fn new(page: u8) -> Self {
        Self {
            clock: Signal::default(),
            reset: Signal::default(),
            write: Signal::default(),
            offset: Signal::default(),
            data: Signal::default(),
            valid: Signal::default(),
            ready: Signal::default(),
            word: Signal::default(),
            word_valid: Signal::default(),
            take: Signal::default(),
            waiting: Signal::default(),
            empty: Signal::default(),
            page_mask: Constant::new(FB::new((1 << page) - 1)),
            queue: Fifo::default(),
            newest: DFF::default(),
            is_write: DFF::default(),
            place: DFF::default(),
            value: DFF::default(),
            second: DFF::default(),
            within: Signal::default(),
            is_index: Signal::default(),
            merges: Signal::default(),
            moves: Signal::default(),
            entry: Signal::default(),
            wide_value: Signal::default(),
            wide_place: Signal::default(),
            wide_write: Signal::default(),
            head: Signal::default(),
            head_place: Signal::default(),
            head_write: Signal::default(),
            first: Signal::default(),
            flag: Signal::default(),
        }
    }
}

impl Logic for Requests {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, newest, is_write, place, value, second);
        clock!(self, clock, queue);
        self.queue.reset.next = self.reset.val();
        self.within.next = self.place.q.val() & self.page_mask.val();
        self.is_index.next =
            self.is_write.q.val() && (self.within.val() == 0) && (self.place.q.val() > 0xfff);
        self.merges.next = self.newest.q.val()
            && self.is_index.val()
            && self.write.val()
            && (self.offset.val() == self.place.q.val());
        // The newest joins the others when they are gone, or when one comes that it cannot be merged with.
        self.moves.next = self.newest.q.val()
            && !self.queue.full.val()
            && ((self.queue.level.val() == 0) || (self.valid.val() && !self.merges.val()));
        self.ready.next = !self.newest.q.val() || self.merges.val() || self.moves.val();
        self.wide_value.next = bit_cast::<57, 32>(self.value.q.val());
        self.wide_place.next = bit_cast::<57, 24>(self.place.q.val());
        self.wide_write.next = bit_cast::<57, 1>(self.is_write.q.val().into());
        self.entry.next =
            self.wide_value.val() | (self.wide_place.val() << 32) | (self.wide_write.val() << 56);
        self.queue.data_in.next = self.entry.val();
        self.queue.write.next = self.moves.val();
        if self.moves.val() {
            self.newest.d.next = false;
        }
        if self.valid.val() && self.ready.val() {
            self.newest.d.next = true;
            self.is_write.d.next = self.write.val();
            self.place.d.next = self.offset.val();
            self.value.d.next = self.data.val();
            // A merged one that has just moved has gone with its old value.
        }
        self.head.next = self.queue.data_out.val();
        self.head_place.next = self.head.val().get_bits::<24>(32);
        self.head_write.next = self.head.val().get_bits::<1>(56);
        self.flag.next = bit_cast::<32, 1>(self.head_write.val());
        self.first.next = bit_cast::<32, 24>(self.head_place.val());
        self.word.next = self.first.val() | (self.flag.val() << 31);
        if self.second.q.val() {
            self.word.next = self.head.val().get_bits::<32>(0);
        }
        self.word_valid.next = !self.queue.empty.val();
        self.waiting.next = !self.queue.empty.val() && !self.second.q.val();
        self.queue.read.next = false;
        if self.take.val() && !self.queue.empty.val() {
            self.second.d.next = !self.second.q.val();
            self.queue.read.next = self.second.q.val();
        }
        self.empty.next = self.queue.empty.val() && (self.queue.level.val() == 0) && !self.newest.q.val();
        if self.reset.val() {
            self.newest.d.next = false;
            self.second.d.next = false;
        }
    }
}
