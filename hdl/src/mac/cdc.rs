use crate::fb::{FB, bit_cast};
use rust_hdl::prelude::*;

/// 2^`A` words of `D` bits, written with one clock and read with another.
///
/// ```text
///                   +---------+
///  write_address -->|         |<-- read_address
///  data_in -------->|  words  |--> data_out (register of read_clock)
///  write_enable --->|         |
///                   +---------+
///   write_clock         read_clock
/// ```
///
/// **Interface.** As [`Ram`](crate::mem::Ram). A word that is written while it is read comes out as anything: whoever uses this keeps the two apart.
///
/// **Latency** 1 cycle of `read_clock`. **Area** one block RAM for each 4 Kbit, 256 x 16 at the widest.
#[derive(LogicBlock)]
pub struct CrossRam<const A: usize, const D: usize> {
    /// Rising edge.
    pub write_clock: Signal<In, Clock>,
    /// Rising edge.
    pub read_clock: Signal<In, Clock>,
    /// Where to write.
    pub write_address: Signal<In, FB<A>>,
    /// What to write.
    pub data_in: Signal<In, FB<D>>,
    /// Write it.
    pub write_enable: Signal<In, Bit>,
    /// Where to read.
    pub read_address: Signal<In, FB<A>>,
    /// What is there.
    pub data_out: Signal<Out, FB<D>>,
    _words: Vec<u64>,
}

impl<const A: usize, const D: usize> Default for CrossRam<A, D> {
    fn default() -> Self {
        CrossRam {
            write_clock: Signal::default(),
            read_clock: Signal::default(),
            write_address: Signal::default(),
            data_in: Signal::default(),
            write_enable: Signal::default(),
            read_address: Signal::default(),
            data_out: Signal::default(),
            _words: vec![0; 1 << A],
        }
    }
}

impl<const A: usize, const D: usize> Logic for CrossRam<A, D> {
    fn update(&mut self) {
        if self.read_clock.pos_edge() {
            self.data_out.next = FB::cut(self._words[self.read_address.val().index()]);
        }
        if self.write_clock.pos_edge() && self.write_enable.val() {
            self._words[self.write_address.val().index()] = self.data_in.val().get();
        }
    }

    fn connect(&mut self) {
        self.data_out.connect();
    }

    fn hdl(&self) -> Verilog {
        Verilog::Custom(format!(
            "\
reg [{high}:0] mem [0:{last}];
initial data_out = 0;
always @(posedge read_clock) data_out <= mem[read_address];
always @(posedge write_clock) if (write_enable) mem[write_address] <= data_in;
",
            high = D - 1,
            last = (1usize << A) - 1,
        ))
    }
}

/// A queue between two clocks of any relation, with what is needed to take back the end of it.
///
/// 2^`A` words of `D` bits; `P` must be `A` + 1.
///
/// ```text
///      write_clock                        read_clock
///  data_in --> tail ----> CrossRam -----> head --> data_out
///               |                          |
///             public --gray--> two registers --> empty
///      full <-- two registers <--gray------+
/// ```
///
/// **Interface.** Writer: `write` puts `data_in` behind the tail, unless `full`. The reader sees a word when it is public: `publish` makes one more so, the oldest that is not, also in the
/// cycle in which it is written. `close` instead puts `data_in` in the place of the oldest word that is not public, makes it public, and takes the others back; there must be
/// one, so that it needs no room. `discard` takes them all back. One of `write`, `close`, `discard` at a time. Reader: `data_out` is the oldest word unless `empty`; `read` takes it.
///
/// **Theory of operation.** Each side's pointer crosses as a register in Gray code through two registers of the other: one bit changes at a time, so what is sampled is the pointer
/// as it was or as it is. A word is written at least two cycles of the reader before it is seen.
///
/// **Latency** 2 to 3 cycles of the reader. **Throughput** a word a cycle on either side. **Area** docs/area.md.
#[derive(LogicBlock)]
pub struct Crossing<const A: usize, const P: usize, const D: usize> {
    /// Rising edge.
    pub write_clock: Signal<In, Clock>,
    /// What to write.
    pub data_in: Signal<In, FB<D>>,
    /// Write it behind the tail.
    pub write: Signal<In, Bit>,
    /// One more word is public.
    pub publish: Signal<In, Bit>,
    /// Write it behind what is public, and end there.
    pub close: Signal<In, Bit>,
    /// End with what is public.
    pub discard: Signal<In, Bit>,
    /// No word fits.
    pub full: Signal<Out, Bit>,
    /// Rising edge.
    pub read_clock: Signal<In, Clock>,
    /// The oldest word.
    pub data_out: Signal<Out, FB<D>>,
    /// There is none.
    pub empty: Signal<Out, Bit>,
    /// Take it.
    pub read: Signal<In, Bit>,
    top: Constant<FB<P>>,
    ram: CrossRam<A, D>,
    tail: DFF<FB<P>>,
    public: DFF<FB<P>>,
    public_gray: DFF<FB<P>>,
    head_seen: DFF<FB<P>>,
    head_sure: DFF<FB<P>>,
    head: DFF<FB<P>>,
    head_gray: DFF<FB<P>>,
    public_seen: DFF<FB<P>>,
    public_sure: DFF<FB<P>>,
    next_public: Signal<Local, FB<P>>,
    next_head: Signal<Local, FB<P>>,
    tail_gray: Signal<Local, FB<P>>,
    opposite: Signal<Local, FB<P>>,
    place: Signal<Local, FB<P>>,
    writes: Signal<Local, Bit>,
    nothing: Signal<Local, Bit>,
}

impl<const A: usize, const P: usize, const D: usize> Default for Crossing<A, P, D> {
    fn default() -> Self {
        assert!(P == A + 1 && A >= 2, "a pointer into 2^{A} words has one bit more, not {P}");
        Crossing {
            write_clock: Signal::default(),
            data_in: Signal::default(),
            write: Signal::default(),
            publish: Signal::default(),
            close: Signal::default(),
            discard: Signal::default(),
            full: Signal::default(),
            read_clock: Signal::default(),
            data_out: Signal::default(),
            empty: Signal::default(),
            read: Signal::default(),
            top: Constant::new(FB::new(3 << (P - 2))),
            ram: CrossRam::default(),
            tail: DFF::default(),
            public: DFF::default(),
            public_gray: DFF::default(),
            head_seen: DFF::default(),
            head_sure: DFF::default(),
            head: DFF::default(),
            head_gray: DFF::default(),
            public_seen: DFF::default(),
            public_sure: DFF::default(),
            next_public: Signal::default(),
            next_head: Signal::default(),
            tail_gray: Signal::default(),
            opposite: Signal::default(),
            place: Signal::default(),
            writes: Signal::default(),
            nothing: Signal::default(),
        }
    }
}

impl<const A: usize, const P: usize, const D: usize> Logic for Crossing<A, P, D> {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, write_clock, tail, public, public_gray, head_seen, head_sure);
        dff_setup!(self, read_clock, head, head_gray, public_seen, public_sure);
        self.ram.write_clock.next = self.write_clock.val();
        self.ram.read_clock.next = self.read_clock.val();

        // The writer.
        self.head_seen.d.next = self.head_gray.q.val();
        self.head_sure.d.next = self.head_seen.q.val();
        // Full: in Gray code, pointers one round apart differ in the two highest bits.
        self.tail_gray.next = self.tail.q.val() ^ (self.tail.q.val() >> 1);
        self.opposite.next = self.head_sure.q.val() ^ self.top.val();
        self.full.next = self.tail_gray.val() == self.opposite.val();
        self.writes.next = self.write.val() && (self.tail_gray.val() != self.opposite.val());
        self.next_public.next = self.public.q.val();
        if self.publish.val() || self.close.val() {
            self.next_public.next = self.public.q.val() + 1;
        }
        self.public.d.next = self.next_public.val();
        self.public_gray.d.next = self.next_public.val() ^ (self.next_public.val() >> 1);
        self.place.next = self.tail.q.val();
        if self.writes.val() {
            self.tail.d.next = self.tail.q.val() + 1;
        }
        if self.close.val() {
            self.place.next = self.public.q.val();
            self.tail.d.next = self.next_public.val();
        }
        if self.discard.val() {
            self.tail.d.next = self.public.q.val();
        }
        self.ram.write_address.next = bit_cast::<A, P>(self.place.val());
        self.ram.data_in.next = self.data_in.val();
        self.ram.write_enable.next = self.writes.val() || self.close.val();

        // The reader.
        self.public_seen.d.next = self.public_gray.q.val();
        self.public_sure.d.next = self.public_seen.q.val();
        self.nothing.next = self.head_gray.q.val() == self.public_sure.q.val();
        self.empty.next = self.nothing.val();
        self.next_head.next = self.head.q.val();
        if self.read.val() && !self.nothing.val() {
            self.next_head.next = self.head.q.val() + 1;
        }
        self.head.d.next = self.next_head.val();
        self.head_gray.d.next = self.next_head.val() ^ (self.next_head.val() >> 1);
        self.ram.read_address.next = bit_cast::<A, P>(self.next_head.val());
        self.data_out.next = self.ram.data_out.val();
    }
}
