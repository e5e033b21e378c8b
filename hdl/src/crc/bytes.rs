use super::crc32c::POLYNOMIAL;
use crate::fb::FB;
use rust_hdl::prelude::*;

/// CRC32c, 8 bits a cycle: [`Crc32c`](super::Crc32c) where there is time.
///
/// ```text
///         init
///          |
///  crc --> and --+--> 7:0 xor data, or 0 if shift --> T x --+--> xor --> | crc |--> crc
///   ^            +--> 31:8 ---------------------------------^            enable  |
///   +----------------------------------------------------------------------------+
/// ```
///
/// **Interface.** In a cycle with `enable`, `data` goes on with the CRC, or begins a new one if `init` is set too. With `shift` as well, the next byte of the
/// CRC moves to `crc`'s bits 7:0 instead: four bytes of a CRC field come out there. `crc` is as in [`Crc32c`](super::Crc32c), residue too.
///
/// **Theory of operation.** The state moves down by a byte and takes the XOR of those rows of a table of eight whose bit of (state xor data) is set; of none, if that byte is 0.
/// The register holds the complement of the state.
///
/// **Latency** 1 cycle from `data` to `crc`. **Throughput** a byte a cycle.
///
/// **Area** on the HX8K: docs/area.md.
#[derive(LogicBlock)]
pub struct Crc32cBytes {
    /// Rising edge.
    pub clock: Signal<In, Clock>,
    /// Forget what was before this byte.
    pub init: Signal<In, Bit>,
    /// Take this byte.
    pub enable: Signal<In, Bit>,
    /// Instead, move the CRC down by a byte.
    pub shift: Signal<In, Bit>,
    /// The byte.
    pub data: Signal<In, FB<8>>,
    /// CRC of the bytes taken.
    pub crc: Signal<Out, FB<32>>,
    state: DFF<FB<32>>,
    seed: Signal<Local, FB<32>>,
    mixed: Signal<Local, FB<8>>,
    product: Signal<Local, FB<32>>,
    top: Constant<FB<32>>,
    rows: [Constant<FB<8>>; 32],
}

/// Row `i`: which bits of (state xor data) bit `i` of the next state is the parity of.
fn rows() -> [u8; 32] {
    let mut rows = [0; 32];
    for column in 0..8 {
        let state = (0..8).fold(1u32 << column, |s, _| s >> 1 ^ if s & 1 == 1 { POLYNOMIAL } else { 0 });
        for (i, row) in rows.iter_mut().enumerate() {
            *row |= ((state >> i & 1) as u8) << column;
        }
    }
    rows
}

impl Default for Crc32cBytes {
    fn default() -> Self {
        Self {
            clock: Signal::default(),
            init: Signal::default(),
            enable: Signal::default(),
            shift: Signal::default(),
            data: Signal::default(),
            crc: Signal::default(),
            state: DFF::default(),
            seed: Signal::default(),
            mixed: Signal::default(),
            product: Signal::default(),
            // What moves in from above is a zero of the state.
            top: Constant::new(FB::new(0xff00_0000)),
            rows: rows().map(|row| Constant::new(FB::new(u64::from(row)))),
        }
    }
}

impl Logic for Crc32cBytes {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, state);
        self.seed.next = self.state.q.val();
        if self.init.val() {
            self.seed.next = 0.into();
        }
        self.mixed.next = self.seed.val().get_bits::<8>(0) ^ self.data.val();
        self.mixed.next = !self.mixed.val();
        if self.shift.val() {
            self.mixed.next = 0.into();
        }
        self.product.next = 0.into();
        for i in 0..32 {
            self.product.next =
                self.product.val().replace_bit(i, (self.mixed.val() & self.rows[i].val()).xor());
        }
        if self.enable.val() {
            self.state.d.next = ((self.seed.val() >> 8) | self.top.val()) ^ self.product.val();
        }
        self.crc.next = self.state.q.val();
    }
}
