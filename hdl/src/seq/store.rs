use crate::fb::FB;
use rust_hdl::prelude::*;

/// The operand memory M of the sequencer: `N` address bits, two read ports, one write port.
///
/// ```text
///  write ---+--> copy a --> data_a
///           +--> copy b --> data_b
/// ```
///
/// **Interface.** With `enable` the words at `address_a` and `address_b` stand at the outputs after the edge; without it they
/// stay. A word written in the same cycle is read as it was before. With one copy ([`Operands::single`]) both outputs are the word at `address_a`.
///
/// **Theory of operation.** Block RAM has one read port, so there are two copies, which are always equal; or one, and whoever reads two words
/// takes two cycles.
///
/// **Latency** 1 cycle. **Throughput** two reads (one copy: one read) and a write a cycle.
#[derive(LogicBlock)]
pub struct Operands<const N: usize> {
    /// Rising edge.
    pub clock: Signal<In, Clock>,
    /// Read.
    pub enable: Signal<In, Bit>,
    /// First word to read.
    pub address_a: Signal<In, FB<N>>,
    /// Second word to read.
    pub address_b: Signal<In, FB<N>>,
    /// First word.
    pub data_a: Signal<Out, FB<32>>,
    /// Second word.
    pub data_b: Signal<Out, FB<32>>,
    /// Write.
    pub write: Signal<In, Bit>,
    /// Word to write.
    pub write_address: Signal<In, FB<N>>,
    /// Its new content.
    pub write_data: Signal<In, FB<32>>,
    _words: Vec<u32>,
    _single: bool,
}

impl<const N: usize> Default for Operands<N> {
    fn default() -> Self {
        Self {
            _single: false,
            clock: Signal::default(),
            enable: Signal::default(),
            address_a: Signal::default(),
            address_b: Signal::default(),
            data_a: Signal::default(),
            data_b: Signal::default(),
            write: Signal::default(),
            write_address: Signal::default(),
            write_data: Signal::default(),
            _words: vec![0; 1 << N],
        }
    }
}

impl<const N: usize> Operands<N> {
    /// With one copy.
    pub fn single() -> Self {
        Self { _single: true, ..Self::default() }
    }
}

impl<const N: usize> Logic for Operands<N> {
    fn update(&mut self) {
        if self.clock.pos_edge() {
            if self.enable.val() {
                let second = if self._single { &self.address_a } else { &self.address_b };
                self.data_b.next = u64::from(self._words[second.val().index()]).into();
                self.data_a.next = u64::from(self._words[self.address_a.val().index()]).into();
            }
            if self.write.val() {
                self._words[self.write_address.val().index()] = self.write_data.val().get() as u32;
            }
        }
    }

    fn connect(&mut self) {
        self.data_a.connect();
        self.data_b.connect();
    }

    fn hdl(&self) -> Verilog {
        if self._single {
            return Verilog::Custom(format!(
                "reg [31:0] mem [0:{last}];\nreg [31:0] word;\ninitial word = 0;\n\
                 always @(*) begin\n  data_a = word;\n  data_b = word;\nend\n\
                 always @(posedge clock) begin\n  if (enable) word <= mem[address_a];\n  if (write) mem[write_address] <= write_data;\nend\n",
                last = (1 << N) - 1,
            ));
        }
        Verilog::Custom(format!(
            "reg [31:0] copy_a [0:{last}];\nreg [31:0] copy_b [0:{last}];\n\
             initial begin\n  data_a = 0;\n  data_b = 0;\nend\n\
             always @(posedge clock) begin\n  if (enable) data_a <= copy_a[address_a];\n  if (write) copy_a[write_address] <= write_data;\nend\n\
             always @(posedge clock) begin\n  if (enable) data_b <= copy_b[address_b];\n  if (write) copy_b[write_address] <= write_data;\nend\n",
            last = (1 << N) - 1,
        ))
    }
}

/// The table memory T of the sequencer: `N` address bits, one read and one write port.
///
/// **Interface.** With `enable` the word at `address` stands at `data` after the edge; without it `data` stays. A word written in
/// the same cycle is read as it was before.
///
/// **Latency** 1 cycle. **Throughput** a read and a write a cycle.
#[derive(LogicBlock)]
pub struct Table<const N: usize> {
    /// Rising edge.
    pub clock: Signal<In, Clock>,
    /// Read.
    pub enable: Signal<In, Bit>,
    /// Word to read.
    pub address: Signal<In, FB<N>>,
    /// The word.
    pub data: Signal<Out, FB<32>>,
    /// Write.
    pub write: Signal<In, Bit>,
    /// Word to write.
    pub write_address: Signal<In, FB<N>>,
    /// Its new content.
    pub write_data: Signal<In, FB<32>>,
    _words: Vec<u32>,
}

impl<const N: usize> Default for Table<N> {
    fn default() -> Self {
        Self {
            clock: Signal::default(),
            enable: Signal::default(),
            address: Signal::default(),
            data: Signal::default(),
            write: Signal::default(),
            write_address: Signal::default(),
            write_data: Signal::default(),
            _words: vec![0; 1 << N],
        }
    }
}

impl<const N: usize> Logic for Table<N> {
    fn update(&mut self) {
        if self.clock.pos_edge() {
            if self.enable.val() {
                self.data.next = u64::from(self._words[self.address.val().index()]).into();
            }
            if self.write.val() {
                self._words[self.write_address.val().index()] = self.write_data.val().get() as u32;
            }
        }
    }

    fn connect(&mut self) {
        self.data.connect();
    }

    fn hdl(&self) -> Verilog {
        Verilog::Custom(format!(
            "reg [31:0] mem [0:{last}];\ninitial data = 0;\n\
             always @(posedge clock) begin\n  if (enable) data <= mem[address];\n  if (write) mem[write_address] <= write_data;\nend\n",
            last = (1 << N) - 1,
        ))
    }
}
