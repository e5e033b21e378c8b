//! What only the part has: PLL and pad cells of the iCE40, as instances of Lattice's primitives. These three blocks are the only Verilog of the device that is written by hand.
//! Simulations of the device begin one level further in, with [`Cu`](super::Cu): here, [`Logic::update`] does nothing.

use super::CU_CLOCK_HZ;
use crate::fb::FB;
use rust_hdl::prelude::*;

/// Oscillator of the board, Hz.
pub const OSCILLATOR_HZ: u64 = 100_000_000;
/// Dividers of the PLL: 100 MHz x (9 + 1) = 1 GHz in its own oscillator, / 2^5.
const DIVF: u64 = 9;
const DIVQ: u64 = 5;
const _: () = assert!((OSCILLATOR_HZ * (DIVF + 1)) >> DIVQ == CU_CLOCK_HZ);
// Limits of the part: 10..=133 MHz in, 533..=1066 MHz in the oscillator.
const _: () =
    assert!(OSCILLATOR_HZ * (DIVF + 1) >= 533_000_000 && OSCILLATOR_HZ * (DIVF + 1) <= 1_066_000_000);
/// Its loop filter, for 100 MHz at the phase detector (`icepll -i 100 -o 31.25`).
const FILTER_RANGE: u64 = 5;

/// A module whose outputs are wires: those of the cells in it, which the synthesiser knows.
fn wrapper(code: String) -> Verilog {
    Verilog::Wrapper(Wrapper { code, cores: String::new() })
}

/// The core clock from the board's oscillator.
///
/// ```text
///  oscillator --pad--> SB_PLL40_PAD --> clock (global net), locked
/// ```
///
/// **Interface.** `oscillator` must be the pad itself. `clock`: 31.25 MHz. `locked`: it is stable; asynchronous.
#[derive(LogicBlock, Default)]
pub struct Pll {
    /// 100 MHz, the pad.
    pub oscillator: Signal<In, Clock>,
    /// 31.25 MHz.
    pub clock: Signal<Out, Clock>,
    /// It is stable.
    pub locked: Signal<Out, Bit>,
}

impl Logic for Pll {
    fn update(&mut self) {}

    fn connect(&mut self) {
        self.clock.connect();
        self.locked.connect();
    }

    fn hdl(&self) -> Verilog {
        wrapper(format!(
            "\
SB_PLL40_PAD #(
    .FEEDBACK_PATH(\"SIMPLE\"),
    .PLLOUT_SELECT(\"GENCLK\"),
    .DIVR(4'd0),
    .DIVF(7'd{DIVF}),
    .DIVQ(3'd{DIVQ}),
    .FILTER_RANGE(3'd{FILTER_RANGE})
) cell (
    .PACKAGEPIN(oscillator),
    .PLLOUTGLOBAL(clock),
    .LOCK(locked),
    .RESETB(1'b1),
    .BYPASS(1'b0)
);
"
        ))
    }
}

/// The pads of the PHY, with the part's registers in them: what goes out changes, and what comes in is taken, at the same place for all pins,
/// whatever the router does.
///
/// ```text
///  phy_clock --pad--> SB_GB_IO --> clock (global net)
///  rxd, crs_dv --pad--> register --> rxd_in, crs_dv_in
///  txd, tx_en <--pad-- register <-- txd_out, tx_en_out
/// ```
///
/// **Latency** 1 cycle of the PHY each way.
#[derive(LogicBlock, Default)]
pub struct PhyPads {
    /// 50 MHz, the pad.
    pub phy_clock: Signal<In, Clock>,
    /// 50 MHz.
    pub clock: Signal<Out, Clock>,
    /// Receive di-bit, the pads.
    pub rxd: Signal<In, FB<2>>,
    /// Carrier or data, the pad.
    pub crs_dv: Signal<In, Bit>,
    /// Transmit di-bit, the pads.
    pub txd: Signal<Out, FB<2>>,
    /// It is one, the pad.
    pub tx_en: Signal<Out, Bit>,
    /// Receive di-bit.
    pub rxd_in: Signal<Out, FB<2>>,
    /// Carrier or data.
    pub crs_dv_in: Signal<Out, Bit>,
    /// Transmit di-bit.
    pub txd_out: Signal<In, FB<2>>,
    /// It is one.
    pub tx_en_out: Signal<In, Bit>,
}

// PIN_TYPE of SB_IO.
const INPUT_REGISTERED: &str = "6'b000000";
const OUTPUT_REGISTERED: &str = "6'b010100";
const OUTPUT_BOTH_EDGES: &str = "6'b010001";
const TRISTATE: &str = "6'b101001";

impl Logic for PhyPads {
    fn update(&mut self) {}

    fn connect(&mut self) {
        self.clock.connect();
        self.txd.connect();
        self.tx_en.connect();
        self.rxd_in.connect();
        self.crs_dv_in.connect();
    }

    fn hdl(&self) -> Verilog {
        // Two pads share a tile and its clocks: CRS_DV and TXD0, so each has both.
        let mut text = String::from(
            "SB_GB_IO #(.PIN_TYPE(6'b000001)) clock_pad (.PACKAGE_PIN(phy_clock), .GLOBAL_BUFFER_OUTPUT(clock));\n",
        );
        for (name, pad, to) in [
            ("rxd_pad_0", "rxd[0]", "rxd_in[0]"),
            ("rxd_pad_1", "rxd[1]", "rxd_in[1]"),
            ("crs_dv_pad", "crs_dv", "crs_dv_in"),
        ] {
            text += &format!(
                "SB_IO #(.PIN_TYPE({INPUT_REGISTERED})) {name} (.PACKAGE_PIN({pad}), .INPUT_CLK(clock), .OUTPUT_CLK(clock), .D_IN_0({to}));\n"
            );
        }
        for (name, pad, from) in [
            ("txd_pad_0", "txd[0]", "txd_out[0]"),
            ("txd_pad_1", "txd[1]", "txd_out[1]"),
            ("tx_en_pad", "tx_en", "tx_en_out"),
        ] {
            text += &format!(
                "SB_IO #(.PIN_TYPE({OUTPUT_REGISTERED})) {name} (.PACKAGE_PIN({pad}), .INPUT_CLK(clock), .OUTPUT_CLK(clock), .D_OUT_0({from}));\n"
            );
        }
        wrapper(text)
    }
}

/// The pads of the configuration flash that are more than a wire: its clock, and IO0, which turns round.
///
/// ```text
///  run --> SB_IO, both edges --pad--> flash_clock: high in the second half of a cycle with run
///  out, drive --> SB_IO, tristate <--pad--> flash_io0 --> in_0
/// ```
///
/// **Interface.** `clock`: the core's. What [`Flash`](crate::mem::Flash) drives changes with the rising edge of `clock`; the flash takes it with that of `flash_clock`, half a
/// cycle later.
#[derive(LogicBlock, Default)]
pub struct FlashPads {
    /// Core clock.
    pub clock: Signal<In, Clock>,
    /// A clock of the flash is in this cycle.
    pub run: Signal<In, Bit>,
    /// What is driven on IO0.
    pub out: Signal<In, Bit>,
    /// It is.
    pub drive: Signal<In, Bit>,
    /// What is on IO0.
    pub in_0: Signal<Out, Bit>,
    /// Clock of the flash, the pad.
    pub flash_clock: Signal<Out, Bit>,
    /// IO0, the pad.
    pub flash_io0: Signal<InOut, Bit>,
}

impl Logic for FlashPads {
    fn update(&mut self) {}

    fn connect(&mut self) {
        self.in_0.connect();
        self.flash_clock.connect();
        self.flash_io0.connect();
    }

    fn hdl(&self) -> Verilog {
        wrapper(format!(
            "\
SB_IO #(.PIN_TYPE({OUTPUT_BOTH_EDGES})) clock_pad (.PACKAGE_PIN(flash_clock), .OUTPUT_CLK(clock), .D_OUT_0(1'b0), .D_OUT_1(run));
SB_IO #(.PIN_TYPE({TRISTATE})) io0_pad (.PACKAGE_PIN(flash_io0), .OUTPUT_ENABLE(drive), .D_OUT_0(out), .D_IN_0(in_0));
"
        ))
    }
}
