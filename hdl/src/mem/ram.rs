use super::{initial, read, rises};
use crate::fb::FB;
use rust_hdl::prelude::*;

/// 2^`A` words of `D` bits with one port to write and one to read.
///
/// ```text
///                   +---------+
///  write_address -->|         |
///  data_in -------->|  words  |--> data_out
///  write_enable --->|         |    (register)
///  read_address --->|         |
///                   +---------+
/// ```
///
/// **Interface.** With the rising edge, `data_in` goes to `write_address` if `write_enable` is set, and the word at
/// `read_address` goes to `data_out`. If both are the same address, `data_out` means nothing until the next edge.
/// Words are zero at start or those of [`Ram::new`]. A ROM is a RAM that is never written.
///
/// **Theory of operation.** Written by hand, since RustHDL has no arrays: the Verilog is the form that synthesisers
/// know as a block RAM, the simulation a vector. (RustHDL's own RAM is a tree map with big integers as keys.)
/// A block RAM of the iCE40 promises nothing about a word that is read while it is written: to promise the old one takes
/// a register for the whole write port and a multiplexer, about 75 LC. Simulated, here and in Verilog, it gives the complement of the
/// old word, so that a block that looks at it fails its tests.
///
/// **Latency** 1 cycle from `read_address` to `data_out`; a word can be read in the cycle after that in which it is
/// written. **Throughput** one read and one write a cycle.
///
/// **Area** on the HX8K: one block RAM for each 4 Kbit, 256 x 16 at the widest (docs/area.md).
#[derive(LogicBlock)]
pub struct Ram<const A: usize, const D: usize> {
    /// Rising edge.
    pub clock: Signal<In, Clock>,
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
    _contents: Vec<u64>,
}

impl<const A: usize, const D: usize> Ram<A, D> {
    /// With contents; words that are not given are zero.
    ///
    /// # Panics
    /// If there are more than 2^`A` words or one does not fit `D` bits: the design is wrong then.
    pub fn new(contents: &[u64]) -> Self {
        assert!(contents.len() <= 1 << A, "{} words for a memory of {}", contents.len(), 1usize << A);
        assert!(contents.iter().all(|word| *word <= FB::<D>::MASK), "a word does not fit {D} bits");
        let mut words = contents.to_vec();
        words.resize(1 << A, 0);
        Ram {
            clock: Signal::default(),
            write_address: Signal::default(),
            data_in: Signal::default(),
            write_enable: Signal::default(),
            read_address: Signal::default(),
            data_out: Signal::default(),
            _words: words,
            _contents: contents.to_vec(),
        }
    }
}

impl<const A: usize, const D: usize> Default for Ram<A, D> {
    fn default() -> Self {
        Self::new(&[])
    }
}

impl<const A: usize, const D: usize> Logic for Ram<A, D> {
    fn update(&mut self) {
        if rises(&self.clock) {
            let word = self._words[self.read_address.val().index()];
            let collides = self.write_enable.val() && self.write_address.val() == self.read_address.val();
            self.data_out.next = FB::cut(if collides { !word } else { word });
            if self.write_enable.val() {
                self._words[self.write_address.val().index()] = self.data_in.val().get();
            }
        }
    }

    fn connect(&mut self) {
        self.data_out.connect();
    }

    fn hdl(&self) -> Verilog {
        Verilog::Custom(format!(
            "\
(* no_rw_check *) reg [{high}:0] mem [0:{last}];
{initial}
{read}
always @(posedge clock) begin
   if (write_enable) mem[write_address] <= data_in;
end
",
            high = D - 1,
            last = (1usize << A) - 1,
            read = read("data_out", ["mem", "read_address"], None, ["write_enable", "write_address"]),
            initial = initial(&self._contents, D),
        ))
    }
}
