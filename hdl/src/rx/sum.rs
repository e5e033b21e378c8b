use crate::fb::{FB, bit_cast};
use rust_hdl::prelude::*;

/// An Internet checksum (RFC 1071), 32 bits a cycle.
///
/// ```text
///  data --> upper + lower --> half --> + --> sum --> good
///             ^--- carry ------+       ^------+ carry
/// ```
///
/// **Interface.** With `enable`, `data` is added, or begins a new sum if `init` is set too. Two cycles after the last word
/// `good` says that the sum is right: that folded to 16 bits it is FFFF, as over data with a right checksum. `sum` is the sum
/// folded to 16 bits two cycles after the second of two words of zeros behind the last.
///
/// **Theory of operation.** 2^16 = 1 modulo 65,535: a carry out of 16 bits is as good as one into them. So the halves of a
/// word are added in one step and their sum to that so far in the next, each with the carry of the word before. Sum and the two
/// carries that are still to be added, 0 to 65,537 together, are right if that is 65,535 (0 it is of zeros only,
/// which RFC 1071 calls wrong). The order of bytes within a word only turns the sum round.
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
    /// The sum without the carries of the last two words.
    pub sum: Signal<Out, FB<16>>,
    half: DFF<FB<16>>,
    half_carry: DFF<Bit>,
    there: DFF<Bit>,
    total: DFF<FB<16>>,
    carry: DFF<Bit>,
    cycles: Signal<Local, Bit>,
    // One place to the left, with a 1 below that makes the carry of it.
    a: Signal<Local, FB<18>>,
    b: Signal<Local, FB<18>>,
    c: Signal<Local, FB<18>>,
    x: Signal<Local, FB<18>>,
    y: Signal<Local, FB<18>>,
    z: Signal<Local, FB<18>>,
    missing: Signal<Local, FB<2>>,
}

impl Logic for Sum {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, half, half_carry, there, total, carry);
        self.cycles.next = self.half_carry.q.val() && !self.init.val();
        self.a.next = (bit_cast::<18, 16>(self.data.val().get_bits::<16>(0)) << 1) | 1;
        self.b.next = (bit_cast::<18, 16>(self.data.val().get_bits::<16>(16)) << 1)
            | bit_cast::<18, 1>(self.cycles.val().into());
        self.c.next = self.a.val() + self.b.val();
        self.there.d.next = self.enable.val();
        if self.enable.val() {
            self.half.d.next = self.c.val().get_bits::<16>(1);
            self.half_carry.d.next = self.c.val().get_bit(17);
        }
        self.x.next = (bit_cast::<18, 16>(self.total.q.val()) << 1) | 1;
        self.y.next =
            (bit_cast::<18, 16>(self.half.q.val()) << 1) | bit_cast::<18, 1>(self.carry.q.val().into());
        self.z.next = self.x.val() + self.y.val();
        if self.there.q.val() {
            self.total.d.next = self.z.val().get_bits::<16>(1);
            self.carry.d.next = self.z.val().get_bit(17);
        }
        if self.enable.val() && self.init.val() {
            self.total.d.next = 0.into();
            self.carry.d.next = false;
        }
        // What the two carries must bring: 0 to 2.
        self.missing.next = !self.total.q.val().get_bits::<2>(0);
        self.good.next = false;
        if self.total.q.val().get_bits::<14>(2).all() {
            if self.half_carry.q.val() && self.carry.q.val() {
                self.good.next = self.missing.val() == 2;
            } else if self.half_carry.q.val() || self.carry.q.val() {
                self.good.next = self.missing.val() == 1;
            } else {
                self.good.next = self.missing.val() == 0;
            }
        }
        self.sum.next = self.total.q.val();
    }
}
