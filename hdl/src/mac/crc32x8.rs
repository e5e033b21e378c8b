use crate::fb::FB;
use rust_hdl::prelude::*;

/// The polynomial of IEEE 802.3 3.2.9, lowest bit first.
const POLYNOMIAL: u32 = 0xedb8_8320;

/// The Ethernet FCS, a byte a cycle.
///
/// ```text
///  byte --> xor --> 8 bits x M --> xor --> state --> fcs_byte
///            ^                      ^       |  \---> right
///            +---- low byte --------+--->> 8+
/// ```
///
/// **Interface.** As [`Crc32`](super::Crc32), with `byte` and `fcs_byte` in place of pairs.
///
/// **Theory of operation.** Eight steps are linear over GF(2): the lowest byte of (state xor byte) goes through an 8 x 32 matrix, row `i` of which is the constant `rows[i]`, the
/// rest of the state moves down by 8. The register holds the state inverted, which is the FCS.
///
/// **Latency** 1 cycle. **Throughput** 8 bits a cycle. **Area** docs/area.md.
#[derive(LogicBlock)]
pub struct Crc32x8 {
    /// Rising edge.
    pub clock: Signal<In, Clock>,
    /// Begin.
    pub init: Signal<In, Bit>,
    /// Take the byte.
    pub enable: Signal<In, Bit>,
    /// The first bit on the wire lowest.
    pub byte: Signal<In, FB<8>>,
    /// Give a byte.
    pub shift: Signal<In, Bit>,
    /// The next byte of the FCS.
    pub fcs_byte: Signal<Out, FB<8>>,
    /// The FCS was right.
    pub right: Signal<Out, Bit>,
    top: Constant<FB<32>>,
    rows: [Constant<FB<8>>; 32],
    // Inverted: registers start as zero, and the FCS is inverted.
    state: DFF<FB<32>>,
    feedback: Signal<Local, FB<8>>,
    product: Signal<Local, FB<32>>,
    moved: Signal<Local, FB<32>>,
}

/// Row `i`: which bits of the feedback bit `i` of the next state is the parity of.
fn rows() -> [u32; 32] {
    let mut rows = [0; 32];
    for column in 0..8 {
        let state = (0..8).fold(1u32 << column, |s, _| s >> 1 ^ if s & 1 == 1 { POLYNOMIAL } else { 0 });
        for (i, row) in rows.iter_mut().enumerate() {
            *row |= (state >> i & 1) << column;
        }
    }
    rows
}

impl Default for Crc32x8 {
    fn default() -> Self {
        Crc32x8 {
            clock: Signal::default(),
            init: Signal::default(),
            enable: Signal::default(),
            byte: Signal::default(),
            shift: Signal::default(),
            fcs_byte: Signal::default(),
            right: Signal::default(),
            top: Constant::new(FB::new(0xff00_0000)),
            rows: rows().map(|row| Constant::new(FB::new(u64::from(row)))),
            state: DFF::default(),
            feedback: Signal::default(),
            product: Signal::default(),
            moved: Signal::default(),
        }
    }
}

impl Logic for Crc32x8 {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, state);
        self.feedback.next = !(self.state.q.val().get_bits::<8>(0) ^ self.byte.val());
        self.product.next = 0.into();
        for i in 0..32 {
            self.product.next =
                self.product.val().replace_bit(i, (self.feedback.val() & self.rows[i].val()).xor());
        }
        self.moved.next = (self.state.q.val() >> 8) | self.top.val();
        if self.enable.val() {
            self.state.d.next = self.moved.val() ^ self.product.val();
        }
        if self.shift.val() {
            self.state.d.next = self.state.q.val() >> 8;
        }
        if self.init.val() {
            self.state.d.next = 0.into();
        }
        self.fcs_byte.next = self.state.q.val().get_bits::<8>(0);
        self.right.next = self.state.q.val() == 0x2144_df1c;
    }
}
