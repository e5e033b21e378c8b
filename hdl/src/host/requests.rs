use crate::fb::{FB, bit_cast};
use crate::mem::{Packets, StoreMaster};
use rust_hdl::prelude::*;

/// Register reads, register writes and doorbells of the host, on their way to the sequencer.
///
/// ```text
///  write, offset, data --> newest --> Packets --> word
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
    /// Memory of the requests, if it is shared.
    pub store: StoreMaster,
    page_mask: Constant<FB<24>>,
    queue: Packets<5, 32, 2>,
    newest: DFF<Bit>,
    is_write: DFF<Bit>,
    place: DFF<FB<24>>,
    value: DFF<FB<32>>,
    // The first word of the newest is in the queue.
    half: DFF<Bit>,
    second: DFF<Bit>,
    within: Signal<Local, FB<24>>,
    is_index: Signal<Local, Bit>,
    merges: Signal<Local, Bit>,
    leaves: Signal<Local, Bit>,
    moves: Signal<Local, Bit>,
    first: Signal<Local, FB<32>>,
    flag: Signal<Local, FB<32>>,
}

impl Requests {
    /// With doorbell pages of 2^`page` bytes.
    pub fn new(page: u8) -> Self {
        Self::form(page, Packets::default())
    }

    /// The same, with `words` words of a shared memory from `base` on.
    pub fn shared(page: u8, base: usize, words: usize) -> Self {
        Self::form(page, Packets::shared(base, words, 2))
    }

    fn form(page: u8, queue: Packets<5, 32, 2>) -> Self {
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
            store: Default::default(),
            page_mask: Constant::new(FB::new((1 << page) - 1)),
            queue,
            newest: DFF::default(),
            is_write: DFF::default(),
            place: DFF::default(),
            value: DFF::default(),
            half: DFF::default(),
            second: DFF::default(),
            within: Signal::default(),
            is_index: Signal::default(),
            merges: Signal::default(),
            leaves: Signal::default(),
            moves: Signal::default(),
            first: Signal::default(),
            flag: Signal::default(),
        }
    }
}

impl Logic for Requests {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, newest, is_write, place, value, half, second);
        clock!(self, clock, queue);
        self.queue.reset.next = self.reset.val();
        self.within.next = self.place.q.val() & self.page_mask.val();
        self.is_index.next =
            self.is_write.q.val() && (self.within.val() == 0) && (self.place.q.val() > 0xfff);
        self.merges.next = self.newest.q.val()
            && self.is_index.val()
            && self.write.val()
            && (self.offset.val() == self.place.q.val());
        // The newest joins the others when they are gone, or when one comes that it cannot be merged with: two words, one after the other.
        self.leaves.next = self.newest.q.val()
            && ((self.queue.level.val() == 0) || (self.valid.val() && !self.merges.val()));
        self.moves.next = self.half.q.val() && self.queue.may_write.val();
        self.ready.next = !self.newest.q.val() || self.merges.val() || self.moves.val();
        self.flag.next = bit_cast::<32, 1>(self.is_write.q.val().into());
        self.first.next = bit_cast::<32, 24>(self.place.q.val());
        self.queue.slot.next = 0.into();
        self.queue.data_in.next = self.first.val() | (self.flag.val() << 31);
        self.queue.write.next = false;
        self.queue.commit.next = 0.into();
        if !self.half.q.val() && self.leaves.val() && self.queue.room.val() && self.queue.may_write.val() {
            self.queue.write.next = true;
            self.half.d.next = true;
        }
        if self.moves.val() {
            self.queue.slot.next = 1.into();
            self.queue.data_in.next = self.value.q.val();
            self.queue.write.next = true;
            self.queue.commit.next = 2.into();
            self.half.d.next = false;
            self.newest.d.next = false;
        }
        if self.valid.val() && self.ready.val() {
            self.newest.d.next = true;
            self.is_write.d.next = self.write.val();
            self.place.d.next = self.offset.val();
            self.value.d.next = self.data.val();
            // A merged one that has just moved has gone with its old value.
        }
        StoreMaster::link(&mut self.store, &mut self.queue.store);
        self.word.next = self.queue.word.val();
        self.word_valid.next = self.queue.valid.val();
        self.waiting.next = self.queue.waiting.val() && !self.second.q.val();
        self.queue.ready.next = self.take.val();
        if self.take.val() && self.queue.valid.val() {
            self.second.d.next = !self.second.q.val();
        }
        self.empty.next = !self.queue.waiting.val() && (self.queue.level.val() == 0) && !self.newest.q.val();
        if self.reset.val() {
            self.newest.d.next = false;
            self.half.d.next = false;
            self.second.d.next = false;
        }
    }
}
