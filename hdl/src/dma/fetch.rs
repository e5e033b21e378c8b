use super::{Bursts, ReadMaster};
use crate::align::{Rotator, SerialRotator};
use crate::fb::{FB, bit_cast};
use crate::stream::StreamOut;
use rust_hdl::prelude::*;

/// Bytes from anywhere in the receive ring or host memory, as an aligned packet.
///
/// ```text
///  word, start, from_host, bytes ----> bursts --> channel (command)
///                                       channel (data) --+
///  ring_address <-- next word                            +--> Rotator --> downstream
///  ring_data, words_data --------------------------------+
/// ```
///
/// **Two forms.** A word a cycle; or, [`serial`](Self::serial), a byte a cycle.
///
/// **Interface.** There is one address, whose halves `set_low` and `set_high` set to `word`. With `start` while `idle`, `bytes` (at least one)
/// from there come out of `downstream` as one packet: from host memory if `from_host` is set, else from the ring, whose byte addresses
/// are taken modulo its size (2^`A` words); then the address is that of the byte behind. With `from_words` the bytes are
/// those given on `words_data`, all of them, and the address stays. `skip` only moves the address on by `bytes`.
/// The first byte comes in byte `lane` of the first word; what is below it means nothing. `failed`: a word of the packet under way could not be read; it is set when the first byte of
/// that word comes out or before and stays until the next `start`. `err` stands with the last word of such a packet. All words of a packet have to be taken.
///
/// **Theory of operation.** Words are asked for in bursts that end at 4 KiB boundaries, as fast as the channel takes the
/// commands and whatever data is still to come; the data side only counts words. The ring's RAM is read every
/// cycle at the address of the word that is next after this cycle, so its output is always the next word. The
/// rotator drops the bytes in front of the first, but for `lane` of them; if there are too few, a word of nothing goes first.
///
/// **Latency** from `start` to the first word: 3 cycles from the ring. **Throughput** one word a cycle (serial: a byte; from a ring with one copy a byte every other cycle).
///
/// **Area and fmax** on the HX8K: docs/area.md.
#[derive(LogicBlock)]
pub struct Fetch<const A: usize> {
    /// Rising edge.
    pub clock: Signal<In, Clock>,
    /// Synchronous: forget the packet under way. The channel must be reset too.
    pub reset: Signal<In, Bit>,
    /// Do this.
    pub start: Signal<In, Bit>,
    /// From host memory, else from the ring.
    pub from_host: Signal<In, Bit>,
    /// From `words_data`, else as `from_host` says.
    pub from_words: Signal<In, Bit>,
    /// Do only this: move the address on.
    pub skip: Signal<In, Bit>,
    /// Half an address.
    pub word: Signal<In, FB<32>>,
    /// It is the low one. Only while `idle`.
    pub set_low: Signal<In, Bit>,
    /// It is the high one. Only while `idle`.
    pub set_high: Signal<In, Bit>,
    /// How many bytes.
    pub bytes: Signal<In, FB<18>>,
    /// The byte of the first word out in which the first byte is to be.
    pub lane: Signal<In, FB<2>>,
    /// Another packet may be started; the last may still be coming out.
    pub idle: Signal<Out, Bit>,
    /// Part of the packet could not be read.
    pub failed: Signal<Out, Bit>,
    /// Next word to read from the ring.
    pub ring_address: Signal<Out, FB<A>>,
    /// The word at the address of the cycle before.
    pub ring_data: Signal<In, FB<32>>,
    /// No, it is another.
    pub ring_wait: Signal<In, Bit>,
    /// Next word given.
    pub words_data: Signal<In, FB<32>>,
    /// There is one.
    pub words_valid: Signal<In, Bit>,
    /// It is taken.
    pub words_ready: Signal<Out, Bit>,
    /// Host memory.
    pub channel: ReadMaster,
    /// The bytes.
    pub downstream: StreamOut,
    rotator: Rotator,
    serial: SerialRotator,
    is_serial: Constant<Bit>,
    bursts: Bursts,
    // Words still to come, first of all, which bytes of the first and last are none.
    left: DFF<FB<17>>,
    opening: DFF<Bit>,
    is_host: DFF<Bit>,
    is_words: DFF<Bit>,
    // A word of nothing goes first, so that the bytes move up.
    padding: DFF<Bit>,
    offset: DFF<FB<2>>,
    unused: DFF<FB<2>>,
    error: DFF<Bit>,
    place: DFF<FB<A>>,
    starts: Signal<Local, Bit>,
    low: Signal<Local, FB<2>>,
    beyond: Signal<Local, FB<3>>,
    span: Signal<Local, FB<19>>,
    rest: Signal<Local, FB<2>>,
    next_place: Signal<Local, FB<A>>,
    active: Signal<Local, Bit>,
    is_last: Signal<Local, Bit>,
    valid: Signal<Local, Bit>,
    bad: Signal<Local, Bit>,
    takes: Signal<Local, Bit>,
    ready: Signal<Local, Bit>,
    offers: Signal<Local, Bit>,
    ends: Signal<Local, Bit>,
    given: Signal<Local, FB<32>>,
}

impl<const A: usize> Default for Fetch<A> {
    fn default() -> Self {
        Self {
            clock: Signal::default(),
            reset: Signal::default(),
            start: Signal::default(),
            from_host: Signal::default(),
            from_words: Signal::default(),
            skip: Signal::default(),
            word: Signal::default(),
            set_low: Signal::default(),
            set_high: Signal::default(),
            bytes: Signal::default(),
            lane: Signal::default(),
            idle: Signal::default(),
            failed: Signal::default(),
            ring_address: Signal::default(),
            ring_data: Signal::default(),
            ring_wait: Signal::default(),
            words_data: Signal::default(),
            words_valid: Signal::default(),
            words_ready: Signal::default(),
            channel: Default::default(),
            downstream: Default::default(),
            rotator: Rotator::default(),
            serial: SerialRotator::default(),
            is_serial: Constant::new(false),
            bursts: Bursts::default(),
            left: DFF::default(),
            opening: DFF::default(),
            is_host: DFF::default(),
            is_words: DFF::default(),
            padding: DFF::default(),
            offset: DFF::default(),
            unused: DFF::default(),
            error: DFF::default(),
            place: DFF::default(),
            starts: Signal::default(),
            low: Signal::default(),
            beyond: Signal::default(),
            span: Signal::default(),
            rest: Signal::default(),
            next_place: Signal::default(),
            active: Signal::default(),
            is_last: Signal::default(),
            valid: Signal::default(),
            bad: Signal::default(),
            takes: Signal::default(),
            ready: Signal::default(),
            offers: Signal::default(),
            ends: Signal::default(),
            given: Signal::default(),
        }
    }
}

impl<const A: usize> Fetch<A> {
    /// A byte a cycle.
    pub fn serial(mut self) -> Self {
        self.is_serial = Constant::new(true);
        self
    }

    /// With host addresses of 32 bits: see [`Bursts`].
    pub fn narrow(mut self) -> Self {
        self.bursts = self.bursts.narrow();
        self
    }
}

impl<const A: usize> Logic for Fetch<A> {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, left, opening, is_host, offset, unused, error, is_words, padding, place);
        clock!(self, clock, rotator, serial, bursts);
        self.rotator.reset.next = self.reset.val();
        self.serial.reset.next = self.reset.val();
        self.rotator.downstream.ready.next = self.downstream.ready.val();
        self.serial.downstream.ready.next = self.downstream.ready.val();
        self.downstream.data.next = self.rotator.downstream.data.val();
        self.downstream.valid.next = self.rotator.downstream.valid.val();
        self.downstream.first.next = self.rotator.downstream.first.val();
        self.downstream.last.next = self.rotator.downstream.last.val();
        self.downstream.empty.next = self.rotator.downstream.empty.val();
        self.downstream.err.next = self.rotator.downstream.err.val();
        self.ready.next = self.rotator.upstream.ready.val();
        if self.is_serial.val() {
            self.downstream.data.next = self.serial.downstream.data.val();
            self.downstream.valid.next = self.serial.downstream.valid.val();
            self.downstream.first.next = self.serial.downstream.first.val();
            self.downstream.last.next = self.serial.downstream.last.val();
            self.downstream.empty.next = self.serial.downstream.empty.val();
            self.downstream.err.next = self.serial.downstream.err.val();
            self.ready.next = self.serial.upstream.ready.val();
        }

        // The data side.
        self.active.next = self.left.q.val() != 0;
        self.is_last.next = self.left.q.val() == 1;
        self.takes.next = self.active.val() && !self.padding.q.val() && self.ready.val();
        self.channel.ready.next = self.takes.val() && self.is_host.q.val();
        self.words_ready.next = self.takes.val() && self.is_words.q.val();
        self.valid.next = self.active.val() && !self.ring_wait.val();
        self.bad.next = self.error.q.val();
        self.rotator.offset.next = self.offset.q.val();
        self.serial.offset.next = self.offset.q.val();
        self.given.next = self.ring_data.val();
        if self.is_words.q.val() {
            self.given.next = self.words_data.val();
            self.valid.next = self.active.val() && self.words_valid.val();
        } else if self.is_host.q.val() {
            self.given.next = self.channel.data.val();
            self.valid.next = self.active.val() && self.channel.valid.val();
            self.bad.next = self.error.q.val() || (self.valid.val() && self.channel.error.val());
        }
        self.rotator.upstream.data.next = self.given.val();
        self.serial.upstream.data.next = self.given.val();
        self.offers.next = self.valid.val() || self.padding.q.val();
        self.rotator.upstream.valid.next = self.offers.val();
        self.serial.upstream.valid.next = self.offers.val();
        self.rotator.upstream.first.next = self.opening.q.val();
        self.serial.upstream.first.next = self.opening.q.val();
        self.ends.next = self.is_last.val() && !self.padding.q.val();
        self.rotator.upstream.last.next = self.ends.val();
        self.serial.upstream.last.next = self.ends.val();
        self.rotator.upstream.empty.next = 0.into();
        self.serial.upstream.empty.next = 0.into();
        self.rotator.upstream.err.next = false;
        self.serial.upstream.err.next = false;
        if self.ends.val() {
            self.rotator.upstream.empty.next = self.unused.q.val();
            self.serial.upstream.empty.next = self.unused.q.val();
            self.rotator.upstream.err.next = self.bad.val();
            self.serial.upstream.err.next = self.bad.val();
        }
        self.next_place.next = self.place.q.val();
        if self.ready.val() && self.offers.val() {
            self.padding.d.next = false;
            self.opening.d.next = false;
        }
        if self.takes.val() && self.valid.val() {
            self.left.d.next = self.left.q.val() - 1;
            self.error.d.next = self.bad.val();
            self.next_place.next = self.place.q.val() + 1;
        }

        if self.is_serial.val() && self.valid.val() {
            // Its first byte can come out while the word is still there.
            self.error.d.next = self.bad.val();
        }

        // A new packet.
        self.low.next = self.bursts.low.val().get_bits::<2>(0);
        if self.from_words.val() {
            self.low.next = 0.into();
        }
        // Up to whole words: three more, and what is then above a word is the complement of what the last word lacks.
        self.beyond.next = bit_cast::<3, 2>(self.low.val()) + 3;
        self.span.next = bit_cast::<19, 18>(self.bytes.val()) + bit_cast::<19, 3>(self.beyond.val());
        self.rest.next = !self.span.val().get_bits::<2>(0);
        self.starts.next = self.start.val() && !self.active.val() && !self.bursts.busy.val();
        if self.starts.val() {
            self.left.d.next = self.span.val().get_bits::<17>(2);
            self.opening.d.next = true;
            self.is_host.d.next = self.from_host.val();
            self.is_words.d.next = self.from_words.val();
            self.offset.d.next = self.low.val() - self.lane.val();
            self.padding.d.next = self.low.val() < self.lane.val();
            self.unused.d.next = self.rest.val();
            self.error.d.next = false;
            self.next_place.next = self.bursts.low.val().get_bits::<A>(2);
        }
        self.bursts.reset.next = self.reset.val();
        self.bursts.word.next = self.word.val();
        self.bursts.set_low.next = self.set_low.val();
        self.bursts.set_high.next = self.set_high.val();
        self.bursts.start.next = self.skip.val() || (self.starts.val() && !self.from_words.val());
        self.bursts.bytes.next = self.bytes.val();
        self.bursts.silent.next = self.skip.val() || !self.from_host.val();
        self.channel.address.next = self.bursts.channel_address.val();
        self.channel.words.next = self.bursts.channel_words.val();
        self.channel.request.next = self.bursts.request.val();
        self.bursts.accept.next = self.channel.accept.val();
        self.place.d.next = self.next_place.val();
        self.ring_address.next = self.next_place.val();
        self.idle.next = !self.active.val() && !self.bursts.busy.val();
        self.failed.next = self.error.q.val();
        if self.reset.val() {
            self.left.d.next = 0.into();
            self.padding.d.next = false;
        }
    }
}
