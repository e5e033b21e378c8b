use super::coverage::{Coverage, Situation};
use super::verilated::Verilated;
use ironwarp_hdl::ports::ports;
use rust_hdl::prelude::*;

/// Passes after which a block that still changes counts as oscillating.
const SETTLE: usize = 100;

/// A block with its clock and, if Verilator is there, its Verilog beside it.
///
/// Inputs change with the falling edge: the simulator would take one that changes with the rising edge at its new
/// value, Verilog at its old.
pub struct Bench<U: Block + 'static> {
    /// The block.
    pub block: U,
    clock: fn(&mut U) -> &mut Signal<In, Clock>,
    model: Option<Verilated>,
    coverage: Option<Coverage<U>>,
    cycles: u64,
}

impl<U: Block + 'static> Bench<U> {
    /// The block alone.
    pub fn new(mut block: U, clock: fn(&mut U) -> &mut Signal<In, Clock>) -> Self {
        block.connect_all();
        check_all(&block).unwrap();
        Bench { block, clock, model: None, coverage: None, cycles: 0 }
    }

    /// The block and its Verilog. `None`, having said why, where there is no Verilator.
    pub fn with_verilog(name: &str, block: U, clock: fn(&mut U) -> &mut Signal<In, Clock>) -> Option<Self> {
        let mut bench = Self::new(block, clock);
        bench.model = Some(Verilated::build(name, &generate_verilog(&bench.block), &ports(&bench.block))?);
        Some(bench)
    }

    /// From here on these are counted.
    pub fn covering(mut self, situations: &'static [Situation<U>]) -> Self {
        self.coverage = Some(Coverage::of(situations));
        self
    }

    /// Goes on with the counters of another bench.
    pub fn counting_on(mut self, other: Self) -> Self {
        self.coverage = other.coverage;
        self
    }

    /// What the test knows to have happened, for the counters.
    pub fn tell(&mut self, name: &str, happened: bool) {
        if let Some(coverage) = self.coverage.as_mut().filter(|_| happened) {
            coverage.tell(name);
        }
    }

    /// Counts what the settled block shows. `rise` does it; only benches with several clocks have to.
    pub fn observe(&mut self) {
        if let Some(coverage) = &mut self.coverage {
            coverage.look(&self.block);
        }
    }

    /// The counters, none of which may be 0.
    ///
    /// # Panics
    /// If one is, or if nothing is counted.
    pub fn check_coverage(&self) {
        self.coverage.as_ref().expect("made by `covering`").check();
    }

    /// Clock low with the inputs that `drive` sets; what `look` sees of the settled block; the rising edge.
    pub fn cycle<R>(&mut self, drive: impl FnOnce(&mut U), look: impl FnOnce(&U) -> R) -> R {
        self.fall(drive);
        let seen = look(&self.block);
        self.rise();
        seen
    }

    /// The first half of a cycle: clock low, and the inputs that `drive` sets. Then look at `block`.
    pub fn fall(&mut self, drive: impl FnOnce(&mut U)) {
        self.level(false, drive);
    }

    /// The second half: the rising edge.
    pub fn rise(&mut self) {
        self.observe();
        self.level(true, |_| ());
        self.cycles += 1;
    }

    /// Cycles so far.
    pub fn cycles(&self) -> u64 {
        self.cycles
    }

    fn level(&mut self, high: bool, drive: impl FnOnce(&mut U)) {
        (self.clock)(&mut self.block).next = high.into();
        self.settle(drive);
    }

    /// What `drive` sets, clocks too: for blocks with several. One that rises must be all that changes.
    pub fn settle(&mut self, drive: impl FnOnce(&mut U)) {
        drive(&mut self.block);
        assert!(simulate(&mut self.block, SETTLE), "does not settle in cycle {}", self.cycles);
        let Some(model) = &mut self.model else { return };
        let ours = ports(&self.block);
        let theirs = model.evaluate(&ours);
        for (port, verilog) in ours.iter().zip(theirs) {
            assert_eq!(
                (port.value, port.name.as_str()),
                (verilog, port.name.as_str()),
                "simulation, then Verilog, cycle {}; all ports: {ours:x?}",
                self.cycles,
            );
        }
    }
}
