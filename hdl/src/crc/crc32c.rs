use crate::fb::FB;
use rust_hdl::prelude::*;

/// The polynomial 1EDC6F41 of RFC 3720 and RFC 5044, lowest bit first.
pub(super) const POLYNOMIAL: u32 = 0x82f6_3b78;

/// CRC32c, 32 bits a cycle.
///
/// ```text
///           init
///            |
///   crc --> and --> not --+              +-----+
///    ^                   xor --> M x --> | crc |--+--> crc
///    |  data -------------+       not    +-----+  |
///    |                              enable ^      |
///    +--------------------------------------------+
/// ```
///
/// **Interface.** In a cycle with `enable`, `data` (first byte on the wire lowest) goes on with the CRC, or begins
/// a new one if `init` is set too; `init` is a stream's `first`. `crc` is the CRC of all words so far as software
/// writes it, CRC("123456789") = E3069283, and what the CRC field of an FPDU holds as a stream word. Over an FPDU
/// and its right CRC field it is [`Crc32c::RESIDUE`]. It is 0, the CRC of nothing, at start.
///
/// **Theory of operation.** A step of the CRC is linear over GF(2), and with 32 bits of data as wide as the state
/// it is a multiplication of (state xor data) with *one* 32 x 32 matrix: the state after 32 zero bits. Row `i`
/// of it is the constant `rows[i]`, found at construction by stepping unit vectors bit by bit. The register holds
/// the complement of the state, since then it starts as zero, needs no inverters at its output, and beginning anew
/// is an AND with the same LUT that does the XOR.
///
/// **Latency** 1 cycle from `data` to `crc`. **Throughput** 4 bytes a cycle; whole words only, which FPDUs are.
///
/// **Area and fmax** on the HX8K: 184 LUT4, 0 carry, 32 FF, 184 LC, no BRAM; 150 MHz (docs/area.md).
#[derive(LogicBlock)]
pub struct Crc32c {
    /// Rising edge.
    pub clock: Signal<In, Clock>,
    /// Forget what was before this word.
    pub init: Signal<In, Bit>,
    /// Take this word.
    pub enable: Signal<In, Bit>,
    /// Four bytes.
    pub data: Signal<In, FB<32>>,
    /// CRC of the words taken.
    pub crc: Signal<Out, FB<32>>,
    state: DFF<FB<32>>,
    seed: Signal<Local, FB<32>>,
    inverse: Signal<Local, FB<32>>,
    mixed: Signal<Local, FB<32>>,
    product: Signal<Local, FB<32>>,
    rows: [Constant<FB<32>>; 32],
}

impl Crc32c {
    /// The CRC of a message followed by its own CRC, whatever the message.
    pub const RESIDUE: u32 = 0x4867_4bc7;
}

/// Row `i`: which bits of (state xor data) bit `i` of the next state is the parity of.
fn rows() -> [u32; 32] {
    let mut rows = [0; 32];
    for column in 0..32 {
        let state = (0..32).fold(1u32 << column, |s, _| s >> 1 ^ if s & 1 == 1 { POLYNOMIAL } else { 0 });
        for (i, row) in rows.iter_mut().enumerate() {
            *row |= (state >> i & 1) << column;
        }
    }
    rows
}

impl Default for Crc32c {
    fn default() -> Self {
        Crc32c {
            clock: Signal::default(),
            init: Signal::default(),
            enable: Signal::default(),
            data: Signal::default(),
            crc: Signal::default(),
            state: DFF::default(),
            seed: Signal::default(),
            inverse: Signal::default(),
            mixed: Signal::default(),
            product: Signal::default(),
            rows: rows().map(|row| Constant::new(FB::new(u64::from(row)))),
        }
    }
}

impl Logic for Crc32c {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, state);
        self.seed.next = self.state.q.val();
        if self.init.val() {
            self.seed.next = 0.into();
        }
        self.inverse.next = !self.seed.val();
        self.mixed.next = self.inverse.val() ^ self.data.val();
        self.product.next = 0.into();
        for i in 0..32 {
            self.product.next =
                self.product.val().replace_bit(i, (self.mixed.val() & self.rows[i].val()).xor());
        }
        if self.enable.val() {
            self.state.d.next = !self.product.val();
        }
        self.crc.next = self.state.q.val();
    }
}
