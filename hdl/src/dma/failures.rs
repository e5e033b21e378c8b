use crate::fb::{FB, bit_cast};
use crate::mem::Ram;
use rust_hdl::prelude::*;

/// What is being done with the memory.
#[derive(Copy, Clone, PartialEq, Debug, LogicState)]
enum State {
    /// Reading a tag's bit.
    Look,
    /// The bit is here.
    See,
    /// It was set: telling.
    Found,
    /// It was told: clearing it.
    Clear,
    /// Forgetting every tag, after a reset.
    Wipe,
}

/// The set of 2^`A` tags that failed and were not told yet.
///
/// ```text
///  put, tag --> one bit a tag <--> at --> which, found
///                                  left --> settled
/// ```
///
/// **Two forms.** A block RAM ([`Default`]), or, for tags below 16, as many flip-flops ([`few`](Self::few)).
///
/// **Interface.** `put`: `tag` failed. `found`: so did `which`; `take` ends that, and the next is looked for. `settled`: no tag is
/// in the set but one that is `found`. `ready`: the reset is over; nothing may be put before.
///
/// **Theory of operation.** A failure is told once, however often it comes before; so none can be lost, whoever waits for whom. Any
/// tag put makes one round through all of them due, from where the last one ended: in no order of time, and nothing is done while
/// nothing fails. A tag that is put again while it is told is not told again: who was told has not acted yet.
///
/// **Latency** 2 cycles a tag until one is found. **Throughput** a failure a cycle; 2^`A` + 1 cycles after a reset.
///
/// **Area** on the HX8K: one block RAM; its logic is not measured alone.
#[derive(LogicBlock)]
pub struct Failures<const A: usize> {
    /// Rising edge.
    pub clock: Signal<In, Clock>,
    /// Synchronous: nothing failed.
    pub reset: Signal<In, Bit>,
    /// Something failed.
    pub put: Signal<In, Bit>,
    /// Whose it was.
    pub tag: Signal<In, FB<A>>,
    /// There is one to tell of.
    pub found: Signal<Out, Bit>,
    /// Which.
    pub which: Signal<Out, FB<A>>,
    /// It is told.
    pub take: Signal<In, Bit>,
    /// There is no other.
    pub settled: Signal<Out, Bit>,
    /// Tags may be put.
    pub ready: Signal<Out, Bit>,
    bits: Ram<A, 1>,
    // Of few: the set, and what was read of it.
    set: DFF<FB<16>>,
    seen: DFF<FB<1>>,
    is_few: Constant<Bit>,
    mask: Constant<FB<A>>,
    state: DFF<State>,
    at: DFF<FB<A>>,
    left: DFF<FB<16>>,
    all: Constant<FB<16>>,
    one: Constant<FB<A>>,
    next: Signal<Local, FB<A>>,
    writes: Signal<Local, Bit>,
    place: Signal<Local, FB<A>>,
    value: Signal<Local, FB<1>>,
    bit: Signal<Local, FB<16>>,
    moved: Signal<Local, FB<16>>,
    is_set: Signal<Local, FB<1>>,
}

impl<const A: usize> Default for Failures<A> {
    fn default() -> Self {
        Self::form(false, 1 << A)
    }
}

impl<const A: usize> Failures<A> {
    /// Of tags below 16.
    pub fn few() -> Self {
        Self::form(true, 16)
    }

    fn form(few: bool, tags: u64) -> Self {
        Self {
            clock: Signal::default(),
            reset: Signal::default(),
            put: Signal::default(),
            tag: Signal::default(),
            found: Signal::default(),
            which: Signal::default(),
            take: Signal::default(),
            settled: Signal::default(),
            ready: Signal::default(),
            bits: Ram::default(),
            set: DFF::default(),
            seen: DFF::default(),
            is_few: Constant::new(few),
            mask: Constant::new(FB::new(tags - 1)),
            state: DFF::default(),
            at: DFF::default(),
            left: DFF::default(),
            // A tag that is put while its bit is being read is met at the end of the round.
            all: Constant::new(FB::new(tags + 1)),
            one: Constant::new(FB::new(1)),
            next: Signal::default(),
            writes: Signal::default(),
            place: Signal::default(),
            value: Signal::default(),
            bit: Signal::default(),
            moved: Signal::default(),
            is_set: Signal::default(),
        }
    }
}

impl<const A: usize> Logic for Failures<A> {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, state, at, left, set, seen);
        clock!(self, clock, bits);
        self.next.next = self.at.q.val() + self.one.val();
        self.next.next = self.next.val() & self.mask.val();
        self.bits.read_address.next = self.at.q.val();
        self.place.next = self.at.q.val();
        self.value.next = 0.into();
        self.writes.next = false;
        self.is_set.next = self.bits.data_out.val();
        if self.is_few.val() {
            self.is_set.next = self.seen.q.val();
        }
        match self.state.q.val() {
            State::Wipe => {
                self.writes.next = true;
                self.at.d.next = self.next.val();
                self.left.d.next = self.left.q.val() - 1;
                if self.left.q.val() == 1 {
                    self.state.d.next = State::Look;
                }
            }
            State::Look => {
                if self.left.q.val() != 0 {
                    self.state.d.next = State::See;
                }
            }
            State::See => {
                self.at.d.next = self.next.val();
                self.left.d.next = self.left.q.val() - 1;
                self.state.d.next = State::Look;
                if self.is_set.val() == 1 {
                    self.at.d.next = self.at.q.val();
                    self.state.d.next = State::Found;
                }
            }
            State::Found => {
                if self.take.val() {
                    self.state.d.next = State::Clear;
                }
            }
            State::Clear => {
                self.writes.next = true;
                if !self.put.val() {
                    self.at.d.next = self.next.val();
                    self.state.d.next = State::Look;
                }
            }
        }
        if self.put.val() {
            self.writes.next = true;
            self.place.next = self.tag.val();
            self.value.next = 1.into();
            self.left.d.next = self.all.val();
        }
        self.bits.write_address.next = self.place.val();
        self.bits.data_in.next = self.value.val();
        self.bits.write_enable.next = self.writes.val() && !self.is_few.val();
        self.bit.next = bit_cast::<16, 1>(self.is_few.val().into()) << self.place.val();
        if self.writes.val() {
            self.set.d.next = self.set.q.val() & !self.bit.val();
            if self.value.val() == 1 {
                self.set.d.next = self.set.q.val() | self.bit.val();
            }
        }
        self.moved.next = self.set.q.val() >> self.at.q.val();
        self.seen.d.next = self.moved.val().get_bits::<1>(0);
        self.found.next = self.state.q.val() == State::Found;
        self.which.next = self.at.q.val();
        self.settled.next = ((self.state.q.val() == State::Look) && (self.left.q.val() == 0))
            || (self.state.q.val() == State::Found);
        self.ready.next = self.state.q.val() != State::Wipe;
        if self.reset.val() {
            self.state.d.next = State::Wipe;
            self.at.d.next = 0.into();
            self.left.d.next = self.all.val();
        }
    }
}
