//! The bench itself: that co-simulation finds a difference, even a rare one.

use crate::common::{Bench, random};
use ironwarp_hdl::fb::FB;
use rust_hdl::prelude::*;

/// The sequence comparison as one would write it, and as it goes wrong: Verilog subtracts in 32 bits here.
#[derive(LogicBlock, Default)]
struct Naive {
    clock: Signal<In, Clock>,
    seq: Signal<In, FB<8>>,
    base: Signal<In, FB<8>>,
    inside: Signal<Out, Bit>,
}

impl Logic for Naive {
    #[hdl_gen]
    fn update(&mut self) {
        self.inside.next = self.seq.val() - self.base.val() < 5;
    }
}

#[test]
fn a_difference_is_found() {
    let Some(mut bench) = Bench::with_verilog("naive", Naive::default(), |u| &mut u.clock) else { return };
    let mut random = random(3);
    let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        for _ in 0..20_000 {
            let (seq, base) = (random.below(256) as u64, random.below(256) as u64);
            bench.fall(|u| {
                u.seq.next = FB::new(seq);
                u.base.next = FB::new(base);
            });
            bench.rise();
        }
    }));
    let message = *found.expect_err("20,000 cycles without a mismatch").downcast::<String>().unwrap();
    assert!(message.contains("simulation, then Verilog") && message.contains("inside"), "{message}");
}
