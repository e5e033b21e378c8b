use crate::fb::FB;
use rust_hdl::prelude::*;

/// The Ethernet FCS, two bits a cycle: CRC-32, reflected polynomial EDB88320.
///
/// ```text
///  pair --> xor --> two steps --> state --> pair_out
///            ^                     |  \---> right
///            +---------------------+
/// ```
///
/// **Interface.** `init` sets all ones; it wins over `enable`, which takes `pair` (bit 0 first). `shift` moves the state out instead: `pair_out` is
/// the next pair of the FCS. `right`: what has passed ended with its FCS.
///
/// **Theory of operation.** A step for each bit. The register holds the state inverted, which is the FCS: moved out, first bit lowest, it leaves what `init` sets.
///
/// **Latency** 1 cycle. **Throughput** 2 bits a cycle.
#[derive(LogicBlock)]
pub struct Crc32 {
    /// Rising edge.
    pub clock: Signal<In, Clock>,
    /// Begin.
    pub init: Signal<In, Bit>,
    /// Take the pair.
    pub enable: Signal<In, Bit>,
    /// Two bits, the first lowest.
    pub pair: Signal<In, FB<2>>,
    /// Give a pair.
    pub shift: Signal<In, Bit>,
    /// The next pair of the FCS.
    pub pair_out: Signal<Out, FB<2>>,
    /// The FCS was right.
    pub right: Signal<Out, Bit>,
    top: Constant<FB<32>>,
    // Inverted: registers start as zero, and the FCS is inverted.
    state: DFF<FB<32>>,
    first: Signal<Local, Bit>,
    second: Signal<Local, Bit>,
    once: Signal<Local, FB<32>>,
    twice: Signal<Local, FB<32>>,
}

impl Default for Crc32 {
    fn default() -> Self {
        Crc32 {
            clock: Signal::default(),
            init: Signal::default(),
            enable: Signal::default(),
            pair: Signal::default(),
            shift: Signal::default(),
            pair_out: Signal::default(),
            right: Signal::default(),
            top: Constant::new(FB::new(1 << 31)),
            state: DFF::default(),
            first: Signal::default(),
            second: Signal::default(),
            once: Signal::default(),
            twice: Signal::default(),
        }
    }
}

impl Logic for Crc32 {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, state);
        // With the state inverted, so is each feedback: a one that shifts in from above is a zero there.
        self.first.next = !(self.state.q.val().get_bit(0) ^ self.pair.val().get_bit(0));
        self.once.next = (self.state.q.val() >> 1) | self.top.val();
        if self.first.val() {
            self.once.next = (self.state.q.val() >> 1) ^ 0x6db8_8320;
        }
        self.second.next = !(self.once.val().get_bit(0) ^ self.pair.val().get_bit(1));
        self.twice.next = (self.once.val() >> 1) | self.top.val();
        if self.second.val() {
            self.twice.next = (self.once.val() >> 1) ^ 0x6db8_8320;
        }
        if self.enable.val() {
            self.state.d.next = self.twice.val();
        }
        if self.shift.val() {
            self.state.d.next = self.state.q.val() >> 2;
        }
        if self.init.val() {
            self.state.d.next = 0.into();
        }
        self.pair_out.next = self.state.q.val().get_bits::<2>(0);
        self.right.next = self.state.q.val() == 0x2144_df1c;
    }
}
