use crate::fb::FB;
use rust_hdl::prelude::*;

/// The program memory of the sequencer: read only, one word a cycle, `N` address bits.
///
/// **Interface.** With `enable` the word at `address` stands at `data` after the edge; without it `data` stays.
/// Addresses behind the program read 0.
///
/// **Latency** 1 cycle. **Throughput** one word a cycle. Infers block RAM.
#[derive(LogicBlock)]
pub struct Rom<const N: usize> {
    /// Rising edge.
    pub clock: Signal<In, Clock>,
    /// Read.
    pub enable: Signal<In, Bit>,
    /// Which word.
    pub address: Signal<In, FB<N>>,
    /// The word.
    pub data: Signal<Out, FB<32>>,
    _words: Vec<u32>,
}

impl<const N: usize> Rom<N> {
    /// With these words from address 0 on; what does not fit is not there.
    pub fn new(words: &[u32]) -> Self {
        let mut _words = words.to_vec();
        _words.resize(1 << N, 0);
        Self {
            clock: Signal::default(),
            enable: Signal::default(),
            address: Signal::default(),
            data: Signal::default(),
            _words,
        }
    }
}

impl<const N: usize> Logic for Rom<N> {
    fn update(&mut self) {
        if self.clock.pos_edge() && self.enable.val() {
            self.data.next = u64::from(self._words[self.address.val().index()]).into();
        }
    }

    fn connect(&mut self) {
        self.data.connect();
    }

    fn hdl(&self) -> Verilog {
        let words: String = self
            ._words
            .iter()
            .enumerate()
            .map(|(at, word)| format!("  mem[{at}] = 32'h{word:08x};\n"))
            .collect();
        Verilog::Custom(format!(
            "reg [31:0] mem [0:{last}];\ninitial begin\n{words}end\n\
             always @(posedge clock) begin\n  if (enable) data <= mem[address];\nend\n",
            last = (1 << N) - 1,
        ))
    }
}
