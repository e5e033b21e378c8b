use crate::fb::{FB, bit_cast};
use rust_hdl::prelude::*;

/// An Internet checksum (RFC 1071), 32 bits a cycle.
///
/// ```text
///  data --> + --> sum, carry --> halves added --> = 65535 or 131070 --> good
///           ^------+             (register)
/// ```
///
/// **Interface.** With `enable`, `data` is added, or begins a new sum if `init` is set too. Two cycles after the last word
/// `good` says that the sum is right: that folded to 16 bits it is FFFF, as over data with a right checksum.
///
/// **Theory of operation.** 2^16 = 1 modulo 65,535, so words of 32 bits may be added with the carry going round;
/// the carry waits in a register for the next word. Sum, upper and lower half and carry together are at most
/// 131,071: the sum is right exactly if that is 65,535 or 131,070 (0 it is of zeros only, which RFC 1071 calls wrong).
/// The order of bytes within a word only turns the sum round.
///
/// **Latency** 2 cycles. **Throughput** 4 bytes a cycle.
///
/// **Area and fmax** on the HX8K: docs/area.md.
#[derive(LogicBlock, Default)]
pub struct Sum {
    /// Rising edge.
    pub clock: Signal<In, Clock>,
    /// Forget what was before this word.
    pub init: Signal<In, Bit>,
    /// Take this word.
    pub enable: Signal<In, Bit>,
    /// Four bytes.
    pub data: Signal<In, FB<32>>,
    /// The sum of the words taken is right.
    pub good: Signal<Out, Bit>,
    sum: DFF<FB<32>>,
    carry: DFF<Bit>,
    halves: DFF<FB<17>>,
    // One place to the left, with a 1 below that makes the carry of it.
    a: Signal<Local, FB<34>>,
    b: Signal<Local, FB<34>>,
    c: Signal<Local, FB<34>>,
    x: Signal<Local, FB<18>>,
    y: Signal<Local, FB<18>>,
    z: Signal<Local, FB<18>>,
}

impl Logic for Sum {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, sum, carry, halves);
        self.a.next = (bit_cast::<34, 32>(self.sum.q.val()) << 1) | 1;
        self.b.next =
            (bit_cast::<34, 32>(self.data.val()) << 1) | bit_cast::<34, 1>(self.carry.q.val().into());
        self.c.next = self.a.val() + self.b.val();
        if self.enable.val() {
            self.sum.d.next = self.c.val().get_bits::<32>(1);
            self.carry.d.next = self.c.val().get_bit(33);
            if self.init.val() {
                self.sum.d.next = self.data.val();
                self.carry.d.next = false;
            }
        }
        self.x.next = (bit_cast::<18, 16>(self.sum.q.val().get_bits::<16>(0)) << 1) | 1;
        self.y.next = (bit_cast::<18, 16>(self.sum.q.val().get_bits::<16>(16)) << 1)
            | bit_cast::<18, 1>(self.carry.q.val().into());
        self.z.next = self.x.val() + self.y.val();
        self.halves.d.next = self.z.val().get_bits::<17>(1);
        self.good.next = (self.halves.q.val() == 0xffff) || (self.halves.q.val() == 0x1_fffe);
    }
}
