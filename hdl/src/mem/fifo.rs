use super::{read, rises};
use crate::fb::FB;
use rust_hdl::prelude::*;

/// A queue of up to 2^`A` words of `D` bits that shows its oldest word.
///
/// ```text
///              +-------+   +-----+
///  data_in --->|  RAM  |-->| out |--> data_out, empty
///  write ----->|       |   +-----+
///              +-------+      ^
///   full, level <-- pointers -+-- read
/// ```
///
/// **Interface.** `data_out` is the oldest word whenever `empty` is not set; `read` takes it away. `write` appends
/// `data_in`. A `read` while `empty` and a `write` while `full` do nothing. `level` counts the words written and
/// not yet read, also one that is still on its way to the output. `reset` forgets them all.
///
/// **Theory of operation.** The RAM is read every cycle at the address that will be the oldest word's after this
/// cycle's `read`, so its output register is the head of the queue. A word that is just being written cannot
/// be read from the RAM, hence `empty` compares with the write pointer as it was.
///
/// **Latency** 2 cycles from `write` to not `empty`. **Throughput** one word in and one out a cycle.
///
/// **Area** on the HX8K: docs/area.md.
#[derive(LogicBlock)]
pub struct Fifo<const A: usize, const D: usize> {
    /// Rising edge.
    pub clock: Signal<In, Clock>,
    /// Synchronous: become empty.
    pub reset: Signal<In, Bit>,
    /// The word to append.
    pub data_in: Signal<In, FB<D>>,
    /// Append it.
    pub write: Signal<In, Bit>,
    /// No word can be appended.
    pub full: Signal<Out, Bit>,
    /// The oldest word.
    pub data_out: Signal<Out, FB<D>>,
    /// There is none.
    pub empty: Signal<Out, Bit>,
    /// Take it away.
    pub read: Signal<In, Bit>,
    /// Words inside: 0 to 2^`A`.
    pub level: Signal<Out, FB<16>>,
    _words: Vec<u64>,
    _write: usize,
    _read: usize,
    _level: usize,
}

impl<const A: usize, const D: usize> Default for Fifo<A, D> {
    fn default() -> Self {
        assert!((1..=15).contains(&A), "a Fifo has 2 to 32768 words, not 2^{A}");
        Fifo {
            clock: Signal::default(),
            reset: Signal::default(),
            data_in: Signal::default(),
            write: Signal::default(),
            full: Signal::default(),
            data_out: Signal::default(),
            empty: Signal::new_with_default(true),
            read: Signal::default(),
            level: Signal::default(),
            _words: vec![0; 1 << A],
            _write: 0,
            _read: 0,
            _level: 0,
        }
    }
}

impl<const A: usize, const D: usize> Logic for Fifo<A, D> {
    fn update(&mut self) {
        if !rises(&self.clock) {
            return;
        }
        let last = (1 << A) - 1;
        let reads = self.read.val() && !self.empty.val();
        let writes = self.write.val() && !self.full.val();
        let head = (self._read + usize::from(reads)) & last;
        let behind = self._level - usize::from(reads);
        let collides = writes && head == self._write;
        self.data_out.next = FB::cut(if collides { !self._words[head] } else { self._words[head] });
        if writes {
            self._words[self._write] = self.data_in.val().get();
        }
        if self.reset.val() {
            (self._write, self._read, self._level) = (0, 0, 0);
            self.empty.next = true;
        } else {
            self._write = (self._write + usize::from(writes)) & last;
            self._read = head;
            self._level = behind + usize::from(writes);
            self.empty.next = behind == 0;
        }
        self.full.next = self._level == 1 << A;
        self.level.next = FB::new(self._level as u64);
    }

    fn connect(&mut self) {
        self.full.connect();
        self.data_out.connect();
        self.empty.connect();
        self.level.connect();
    }

    fn hdl(&self) -> Verilog {
        let (next, tail) = (format!("next[{}:0]", A - 1), format!("tail[{}:0]", A - 1));
        Verilog::Custom(format!(
            "\
(* no_rw_check *) reg [{high}:0] mem [0:{last}];
reg [{top}:0] behind;
reg [{top}:0] head;
reg [{top}:0] tail;
wire reads = read & ~empty;
wire writes = write & ~full;
wire [{top}:0] next = head + {{{{{top}{{1'b0}}}}, reads}};
initial begin
   head = 0;
   tail = 0;
   empty = 1;
end
always @(*) begin
   behind = tail - head;
   level = behind;
   full = behind[{top}];
end
{read}
always @(posedge clock) begin
   if (writes) mem[tail[{address}:0]] <= data_in;
   if (reset) begin
      head <= 0;
      tail <= 0;
      empty <= 1;
   end else begin
      head <= next;
      tail <= tail + {{{{{top}{{1'b0}}}}, writes}};
      empty <= next == tail;
   end
end
",
            read = read("data_out", ["mem", &next], None, ["writes", &tail]),
            high = D - 1,
            last = (1usize << A) - 1,
            top = A,
            address = A - 1,
        ))
    }
}
