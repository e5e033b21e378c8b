use crate::fb::FB;
use rust_hdl::prelude::*;

/// Where a TCP sequence number lies relative to a window (RFC 9293 section 3.4).
///
/// ```text
///   seq ---+     +------+        < size ---> inside
///          - --> | dist | --+--> = 0    ---> equal    (registered)
///   base --+     +------+   +--> bit 31 ---> before
///   size ------> | reg  | -------> distance, one cycle before the verdicts
///                +------+
/// ```
///
/// **Interface.** Every cycle takes a question {`seq`, `base`, `size`}; two cycles later stand its answers:
/// `before` = `seq` < `base`, `equal` = `seq` = `base`, `inside` = `base` <= `seq` < `base` + `size`, all modulo
/// 2^32. `before` means something while the two are less than 2^31 apart, `inside` for every size; a window of 0
/// contains nothing. `distance` = `seq` - `base` stands after one cycle.
///
/// **Theory of operation.** One subtraction modulo 2^32 answers all three, if its 32 bits are kept and nothing
/// more: a comparison of the difference as an unsigned number is the window test, its sign the order. The
/// difference is registered before it decides (two 32-bit carry chains in a cycle would not make 62.5 MHz on
/// an iCE40); `size` goes along, so questions may follow each other.
///
/// **Latency** 2 cycles. **Throughput** one question a cycle.
///
/// **Area and fmax** on the HX8K: 107 LUT4, 63 carry, 67 FF, 141 LC, no BRAM; 127 MHz (docs/area.md).
#[derive(LogicBlock, Default)]
pub struct SeqWindow {
    /// Rising edge.
    pub clock: Signal<In, Clock>,
    /// The sequence number asked about.
    pub seq: Signal<In, FB<32>>,
    /// First sequence number of the window.
    pub base: Signal<In, FB<32>>,
    /// Length of the window.
    pub size: Signal<In, FB<32>>,
    /// `seq` - `base`, after one cycle.
    pub distance: Signal<Out, FB<32>>,
    /// `seq` < `base`, after two.
    pub before: Signal<Out, Bit>,
    /// `seq` = `base`, after two.
    pub equal: Signal<Out, Bit>,
    /// `seq` in the window, after two.
    pub inside: Signal<Out, Bit>,
    difference: DFF<FB<32>>,
    limit: DFF<FB<32>>,
    is_before: DFF<Bit>,
    is_equal: DFF<Bit>,
    is_inside: DFF<Bit>,
}

impl Logic for SeqWindow {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, difference, limit, is_before, is_equal, is_inside);
        self.difference.d.next = self.seq.val() - self.base.val();
        self.limit.d.next = self.size.val();
        self.is_before.d.next = self.difference.q.val().get_bit(31);
        self.is_equal.d.next = self.difference.q.val() == 0;
        self.is_inside.d.next = self.difference.q.val() < self.limit.q.val();
        self.distance.next = self.difference.q.val();
        self.before.next = self.is_before.q.val();
        self.equal.next = self.is_equal.q.val();
        self.inside.next = self.is_inside.q.val();
    }
}
