use crate::fb::FB;
use crate::mem::read;
use rust_hdl::prelude::*;

/// The operand memory M of the sequencer: `N` address bits, two read ports, one write port.
///
/// ```text
///  write ---+--> copy a --> data_a
///           +--> copy b --> data_b
/// ```
///
/// **Interface.** With `enable` the words at `address_a` and `address_b` stand at the outputs after the edge; without it they
/// stay. A word that is written in the same cycle reads as nothing in particular. With one copy ([`Operands::single`]) both outputs are the word at `address_a`.
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

/// The word at an address, or its complement if it is being written: see [`Ram`](crate::mem::Ram).
fn word_at(words: &[u32], address: usize, written: Option<usize>) -> u32 {
    if written == Some(address) { !words[address] } else { words[address] }
}

impl<const N: usize> Logic for Operands<N> {
    fn update(&mut self) {
        if self.clock.pos_edge() {
            let written = self.write.val().then(|| self.write_address.val().index());
            if self.enable.val() {
                let word = |address: FB<N>| word_at(&self._words, address.index(), written);
                let second = if self._single { self.address_a.val() } else { self.address_b.val() };
                self.data_a.next = u64::from(word(self.address_a.val())).into();
                self.data_b.next = u64::from(word(second)).into();
            }
            if let Some(address) = written {
                self._words[address] = self.write_data.val().get() as u32;
            }
        }
    }

    fn connect(&mut self) {
        self.data_a.connect();
        self.data_b.connect();
    }

    fn hdl(&self) -> Verilog {
        let copy = |name: &str, data: &str, address: &str| {
            format!(
                "(* no_rw_check *) reg [31:0] {name} [0:{last}];\n{read}\n\
                 always @(posedge clock)\n   if (write) {name}[write_address] <= write_data;\n",
                last = (1 << N) - 1,
                read = read(data, [name, address], Some("enable"), ["write", "write_address"]),
            )
        };
        Verilog::Custom(if self._single {
            copy("mem", "data_a", "address_a") + "always @(*) data_b = data_a;\n"
        } else {
            copy("copy_a", "data_a", "address_a") + &copy("copy_b", "data_b", "address_b")
        })
    }
}

/// The table memory T of the sequencer: `N` address bits, one read and one write port.
///
/// **Interface.** With `enable` the word at `address` stands at `data` after the edge; without it `data` stays. A word that is written
/// in the same cycle reads as nothing in particular.
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
            let written = self.write.val().then(|| self.write_address.val().index());
            if self.enable.val() {
                let word = word_at(&self._words, self.address.val().index(), written);
                self.data.next = u64::from(word).into();
            }
            if let Some(address) = written {
                self._words[address] = self.write_data.val().get() as u32;
            }
        }
    }

    fn connect(&mut self) {
        self.data.connect();
    }

    fn hdl(&self) -> Verilog {
        Verilog::Custom(format!(
            "(* no_rw_check *) reg [31:0] mem [0:{last}];\n{read}\n\
             always @(posedge clock)\n   if (write) mem[write_address] <= write_data;\n",
            last = (1 << N) - 1,
            read = read("data", ["mem", "address"], Some("enable"), ["write", "write_address"]),
        ))
    }
}
