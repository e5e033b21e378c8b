use crate::fb::{FB, bit_cast};
use crate::mem::Ram;
use rust_hdl::prelude::*;

/// The program memory of the sequencer, `P` address bits: all of it, or a direct-mapped cache of 2^`I` words in 2^`N` lines.
///
/// ```text
///  address --+--> asked --+-----------------------> fill_address, fill_request
///            |            +--> tag = ? --> present
///            +--> tags -------------^
///            +--> words ---------------> data
///                   ^------------------- fill_data, fill_valid
/// ```
///
/// **Interface.** With `enable` the word at `address` is asked for; without it the last one stays asked for. From the next cycle on `data` is that
/// word while `present` is set. While it is not and `fetch` is set, the line is filled: `fill_request` stays set, with the address of its first
/// word on `fill_address`, until the last of its words has come on `fill_data`, each in a cycle with `fill_valid`, in ascending order. Neither `enable` nor
/// a change of mind about `fetch` may come while `fill_request` is set.
///
/// **Theory of operation.** The tag memory holds, for each line, the address of its first word; bit 0 says that the line is there, so that
/// memory that starts as zeros holds nothing. Words are written as they come, the tag with the last. A memory as large as the program
/// ([`Cache::whole`]) has it from the start: nothing is ever missing, and the tags are never looked at.
///
/// **Latency** 1 cycle. After a miss: that of the fill, and 1 cycle. **Throughput** one word a cycle. **Area** docs/small.md.
#[derive(LogicBlock)]
pub struct Cache<const P: usize, const I: usize, const N: usize> {
    /// Rising edge.
    pub clock: Signal<In, Clock>,
    /// Synchronous: give up the fill under way. What is there stays.
    pub reset: Signal<In, Bit>,
    /// Ask for another word.
    pub enable: Signal<In, Bit>,
    /// Which.
    pub address: Signal<In, FB<P>>,
    /// The word.
    pub data: Signal<Out, FB<32>>,
    /// It is there.
    pub present: Signal<Out, Bit>,
    /// Fill its line if it is not.
    pub fetch: Signal<In, Bit>,
    /// A line is wanted.
    pub fill_request: Signal<Out, Bit>,
    /// Its first word.
    pub fill_address: Signal<Out, FB<P>>,
    /// Its next word.
    pub fill_data: Signal<In, FB<32>>,
    /// Here it is.
    pub fill_valid: Signal<In, Bit>,
    words: Ram<I, 32>,
    tags: Ram<N, P>,
    asked: DFF<FB<P>>,
    filling: DFF<Bit>,
    // The tag was just written, and cannot be seen yet.
    fresh: DFF<Bit>,
    count: DFF<FB<I>>,
    whole: Constant<Bit>,
    // Of an address: which line; of that, which word; log2 of the words of a line.
    upper: Constant<FB<P>>,
    last: Constant<FB<I>>,
    shift: Constant<FB<4>>,
    next: Signal<Local, FB<P>>,
    line: Signal<Local, FB<P>>,
    wanted: Signal<Local, FB<P>>,
    moved: Signal<Local, FB<P>>,
    asked_moved: Signal<Local, FB<P>>,
    there: Signal<Local, Bit>,
    ends: Signal<Local, Bit>,
}

impl<const P: usize, const I: usize, const N: usize> Cache<P, I, N> {
    fn new(contents: &[u64]) -> Self {
        assert!(N < I && I <= P, "2^{I} words in 2^{N} lines of a program of 2^{P}");
        let line = 1u64 << (I - N);
        Self {
            clock: Signal::default(),
            reset: Signal::default(),
            enable: Signal::default(),
            address: Signal::default(),
            data: Signal::default(),
            present: Signal::default(),
            fetch: Signal::default(),
            fill_request: Signal::default(),
            fill_address: Signal::default(),
            fill_data: Signal::default(),
            fill_valid: Signal::default(),
            words: Ram::new(contents),
            tags: Ram::default(),
            asked: DFF::default(),
            filling: DFF::default(),
            fresh: DFF::default(),
            count: DFF::default(),
            whole: Constant::new(!contents.is_empty()),
            upper: Constant::new(FB::cut(!(line - 1))),
            last: Constant::new(FB::new(line - 1)),
            shift: Constant::new(FB::new((I - N) as u64)),
            next: Signal::default(),
            line: Signal::default(),
            wanted: Signal::default(),
            moved: Signal::default(),
            asked_moved: Signal::default(),
            there: Signal::default(),
            ends: Signal::default(),
        }
    }

    /// Empty: the program is elsewhere.
    pub fn empty() -> Self {
        Self::new(&[])
    }

    /// With the whole program.
    ///
    /// # Panics
    /// If it does not fit 2^`P` words, or not all of them are here: the design is wrong then.
    pub fn whole(program: &[u32]) -> Self {
        assert!(I == P, "a memory of 2^{I} words does not hold a program of 2^{P}");
        let mut words: Vec<u64> = program.iter().map(|word| u64::from(*word)).collect();
        words.resize(words.len().max(1), 0);
        Self::new(&words)
    }
}

impl<const P: usize, const I: usize, const N: usize> Logic for Cache<P, I, N> {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, asked, filling, fresh, count);
        clock!(self, clock, words, tags);
        self.next.next = self.asked.q.val();
        if self.enable.val() {
            self.next.next = self.address.val();
        }
        self.asked.d.next = self.next.val();
        self.moved.next = self.next.val() >> self.shift.val();
        self.asked_moved.next = self.asked.q.val() >> self.shift.val();
        self.words.read_address.next = bit_cast::<I, P>(self.next.val());
        self.tags.read_address.next = bit_cast::<N, P>(self.moved.val());
        self.data.next = self.words.data_out.val();

        // Is it there?
        self.line.next = self.asked.q.val() & self.upper.val();
        self.wanted.next = self.line.val() | 1;
        self.there.next = self.tags.data_out.val() == self.wanted.val();
        self.present.next =
            self.whole.val() || (self.there.val() && !self.filling.q.val() && !self.fresh.q.val());

        // Fill.
        self.fill_request.next = self.filling.q.val();
        self.fill_address.next = self.line.val();
        self.ends.next =
            self.filling.q.val() && self.fill_valid.val() && (self.count.q.val() == self.last.val());
        self.words.write_address.next = bit_cast::<I, P>(self.line.val()) | self.count.q.val();
        self.words.data_in.next = self.fill_data.val();
        self.words.write_enable.next = self.filling.q.val() && self.fill_valid.val();
        self.tags.write_address.next = bit_cast::<N, P>(self.asked_moved.val());
        self.tags.data_in.next = self.wanted.val();
        self.tags.write_enable.next = self.ends.val();
        if self.filling.q.val() && self.fill_valid.val() {
            self.count.d.next = self.count.q.val() + 1;
        }
        if !self.filling.q.val() {
            self.count.d.next = 0.into();
            self.filling.d.next = self.fetch.val() && !self.present.val() && !self.fresh.q.val();
        }
        self.fresh.d.next = self.ends.val();
        if self.ends.val() {
            self.filling.d.next = false;
        }
        if self.reset.val() {
            self.filling.d.next = false;
        }
    }
}
