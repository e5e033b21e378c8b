use crate::fb::{FB, bit_cast};
use rust_hdl::prelude::*;

/// A place in host memory that advances by bytes, and the bursts for what it passes: none crosses 4 KiB.
///
/// ```text
///  word --> page, inner, odd --+--------------> channel_address
///              ^      + bytes -+-> behind -min-> channel_words      request, accept
///              +--- advance <--------+
/// ```
///
/// **Interface.** `set_low` and `set_high` set the halves of the byte address to `word`. With `start` it advances by `bytes`
/// (at least one), and commands for the words that it touches are offered, as the channels of this module want
/// them; none if `silent` is set. `busy` until the last is accepted and the address is that of the byte behind. `low`: the low
/// end of the address.
///
/// **Theory of operation.** The first burst reaches to the end of its 4 KiB page or of the stretch, every other begins a page: so
/// the address is a counter of pages and one of words in the page that only ever becomes 0 or that of the end. The length
/// is found in a cycle of its own.
///
/// A device with [`narrow`](Self::narrow) addresses has 32 bits of them: bit 32 says that the address is beyond, and stays once it
/// is set; bits 63:33 are 0. Such an address is for the other end of the channel to refuse.
///
/// **Latency** 2 cycles from `start` to `request`. **Throughput** a burst every 2 cycles.
///
/// **Area and fmax** on the HX8K: docs/area.md.
#[derive(LogicBlock)]
pub struct Bursts {
    /// Rising edge.
    pub clock: Signal<In, Clock>,
    /// Synchronous: forget the rest.
    pub reset: Signal<In, Bit>,
    /// Half an address.
    pub word: Signal<In, FB<32>>,
    /// It is the low one. Not while `busy`.
    pub set_low: Signal<In, Bit>,
    /// It is the high one. Not while `busy`.
    pub set_high: Signal<In, Bit>,
    /// Advance. Not while `busy`.
    pub start: Signal<In, Bit>,
    /// By so many bytes.
    pub bytes: Signal<In, FB<18>>,
    /// Without asking for them.
    pub silent: Signal<In, Bit>,
    /// Bits 17:0 of the address.
    pub low: Signal<Out, FB<18>>,
    /// Advancing.
    pub busy: Signal<Out, Bit>,
    /// Where the burst is.
    pub channel_address: Signal<Out, FB<64>>,
    /// How many words it has.
    pub channel_words: Signal<Out, FB<12>>,
    /// There is one.
    pub request: Signal<Out, Bit>,
    /// It is taken.
    pub accept: Signal<In, Bit>,
    is_narrow: Constant<Bit>,
    is_aligned: Constant<Bit>,
    // The address: page of 4 KiB, word in it, byte in that.
    high: DFF<FB<32>>,
    page: DFF<FB<20>>,
    inner: DFF<FB<10>>,
    odd: DFF<FB<2>>,
    // The low end of the address that it advances to.
    behind: DFF<FB<19>>,
    advancing: DFF<Bit>,
    asking: DFF<Bit>,
    quiet: DFF<Bit>,
    burst: DFF<FB<11>>,
    here: Signal<Local, FB<19>>,
    sum: Signal<Local, FB<19>>,
    end_page: Signal<Local, FB<7>>,
    page_low: Signal<Local, FB<7>>,
    is_last: Signal<Local, Bit>,
    to: Signal<Local, FB<11>>,
    part: Signal<Local, Bit>,
    carry: Signal<Local, FB<11>>,
    beyond: Signal<Local, Bit>,
    upper: Signal<Local, FB<32>>,
    whole_page: Signal<Local, FB<52>>,
    next_page: Signal<Local, FB<52>>,
    is_empty: Signal<Local, Bit>,
    passes: Signal<Local, Bit>,
}

impl Default for Bursts {
    fn default() -> Self {
        Bursts {
            clock: Signal::default(),
            reset: Signal::default(),
            word: Signal::default(),
            set_low: Signal::default(),
            set_high: Signal::default(),
            start: Signal::default(),
            bytes: Signal::default(),
            silent: Signal::default(),
            low: Signal::default(),
            busy: Signal::default(),
            channel_address: Signal::default(),
            channel_words: Signal::default(),
            request: Signal::default(),
            accept: Signal::default(),
            is_narrow: Constant::new(false),
            is_aligned: Constant::new(false),
            high: DFF::default(),
            page: DFF::default(),
            inner: DFF::default(),
            odd: DFF::default(),
            behind: DFF::default(),
            advancing: DFF::default(),
            asking: DFF::default(),
            quiet: DFF::default(),
            burst: DFF::default(),
            here: Signal::default(),
            sum: Signal::default(),
            end_page: Signal::default(),
            page_low: Signal::default(),
            is_last: Signal::default(),
            to: Signal::default(),
            part: Signal::default(),
            carry: Signal::default(),
            beyond: Signal::default(),
            upper: Signal::default(),
            whole_page: Signal::default(),
            next_page: Signal::default(),
            is_empty: Signal::default(),
            passes: Signal::default(),
        }
    }
}

impl Bursts {
    /// With addresses of 32 bits.
    pub fn narrow(mut self) -> Self {
        self.is_narrow = Constant::new(true);
        self
    }

    /// For whole words: bits 1:0 of an address are ignored.
    pub fn aligned(mut self) -> Self {
        self.is_aligned = Constant::new(true);
        self
    }
}

impl Logic for Bursts {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, high, page, inner, odd, behind, advancing, asking, quiet, burst);
        self.here.next = (bit_cast::<19, 20>(self.page.q.val()) << 12)
            | (bit_cast::<19, 10>(self.inner.q.val()) << 2)
            | bit_cast::<19, 2>(self.odd.q.val());
        self.low.next = bit_cast::<18, 19>(self.here.val());
        self.sum.next = self.here.val() + bit_cast::<19, 18>(self.bytes.val());

        // Words from here to the end of the page or to the end, which may be in a word.
        self.page_low.next = bit_cast::<7, 20>(self.page.q.val());
        self.end_page.next = self.behind.q.val().get_bits::<7>(12);
        self.is_last.next = self.page_low.val() == self.end_page.val();
        self.to.next = 1024.into();
        self.part.next = false;
        if self.is_last.val() {
            self.to.next = bit_cast::<11, 10>(self.behind.q.val().get_bits::<10>(2));
            self.part.next = self.behind.q.val().get_bit(0) || self.behind.q.val().get_bit(1);
        }
        self.carry.next = bit_cast::<11, 1>(self.part.val().into());

        self.whole_page.next =
            (bit_cast::<52, 32>(self.high.q.val()) << 20) | bit_cast::<52, 20>(self.page.q.val());
        self.next_page.next = self.whole_page.val() + 1;
        if self.is_narrow.val() {
            self.next_page.next = (self.next_page.val() & 0x1f_ffff) | (self.whole_page.val() & 0x10_0000);
        }
        self.beyond.next = false;
        self.upper.next = self.word.val();
        if self.is_narrow.val() {
            self.beyond.next = self.word.val().any();
            self.upper.next = bit_cast::<32, 1>(self.beyond.val().into());
        }
        // A burst of no words: the stretch ends with its page.
        self.is_empty.next = self.burst.q.val() == 0;
        self.passes.next = self.advancing.q.val()
            && (self.quiet.q.val() || (self.asking.q.val() && (self.accept.val() || self.is_empty.val())));
        if self.passes.val() {
            self.asking.d.next = false;
            self.inner.d.next = 0.into();
            if self.is_last.val() {
                self.advancing.d.next = false;
                self.inner.d.next = self.behind.q.val().get_bits::<10>(2);
                self.odd.d.next = self.behind.q.val().get_bits::<2>(0);
            } else {
                self.page.d.next = self.next_page.val().get_bits::<20>(0);
                self.high.d.next = self.next_page.val().get_bits::<32>(20);
            }
        } else if self.advancing.q.val() && !self.asking.q.val() {
            self.asking.d.next = true;
            self.burst.d.next = self.to.val() - bit_cast::<11, 10>(self.inner.q.val()) + self.carry.val();
        }
        if self.start.val() {
            self.advancing.d.next = true;
            self.quiet.d.next = self.silent.val();
            self.behind.d.next = self.sum.val();
        }
        if self.set_low.val() {
            self.page.d.next = self.word.val().get_bits::<20>(12);
            self.inner.d.next = self.word.val().get_bits::<10>(2);
            self.odd.d.next = self.word.val().get_bits::<2>(0);
        }
        if self.is_aligned.val() {
            self.odd.d.next = 0.into();
        }
        if self.set_high.val() {
            self.high.d.next = self.upper.val();
        }
        self.request.next = self.asking.q.val() && !self.is_empty.val();
        self.channel_words.next = bit_cast::<12, 11>(self.burst.q.val());
        self.channel_address.next =
            (bit_cast::<64, 52>(self.whole_page.val()) << 12) | (bit_cast::<64, 10>(self.inner.q.val()) << 2);
        self.busy.next = self.advancing.q.val();
        if self.reset.val() {
            self.advancing.d.next = false;
            self.asking.d.next = false;
        }
    }
}
