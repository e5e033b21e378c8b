use super::pads::{FlashPads, PhyPads, Pll};
use super::{CU_CLOCK_HZ, Cu, OSCILLATOR_HZ};
use crate::fb::FB;
use rust_hdl::prelude::*;
use rust_hdl_bsp_alchitry_cu::pins::{clock, leds, map_alchitry_pin_to_cu_pad};
use std::fmt::Write;

/// Clock of the PHY, Hz.
const PHY_CLOCK_HZ: u64 = 50_000_000;

/// A pin of [`AlchitryCu`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// Port of the top module.
    pub port: &'static str,
    /// Which bit of it, if it has several.
    pub bit: Option<usize>,
    /// Pad of the package.
    pub pad: String,
    /// With the part's own resistor to 3.3 V.
    pub pull_up: bool,
    /// What it is wired to: on the board, or a pin of connector A and one of the PHY's module.
    pub wire: String,
}

impl Pin {
    /// As nextpnr and Verilog name it.
    pub fn name(&self) -> String {
        self.bit.map_or_else(|| self.port.to_owned(), |bit| format!("{}[{bit}]", self.port))
    }
}

/// On the board, and not known to the board crate: port, pad, resistor, what it is.
const ON_BOARD: [(&str, &str, bool, &str); 7] = [
    ("button", "P8", true, "reset button"),
    ("rx", "P14", true, "FT2232H channel B, TXD"),
    ("tx", "M9", false, "FT2232H channel B, RXD"),
    // Lattice's dedicated pins IOB_105_SDO, IOB_106_SDI, IOB_107_SCK and IOB_108_SS (docs/board.md section 2).
    ("flash_io0", "M11", false, "flash DI, IO0"),
    ("flash_io1", "P11", true, "flash DO, IO1"),
    ("flash_clock", "P12", false, "flash CLK"),
    ("flash_select", "P13", false, "flash CS"),
];

/// The PHY's: port, bit, pin of connector A, pin of the module.
const PHY: [(&str, Option<usize>, &str, &str); 7] = [
    ("rxd", Some(0), "A2", "RX0"),
    ("rxd", Some(1), "A3", "RX1"),
    ("crs_dv", None, "A5", "CRS"),
    ("txd", Some(0), "A6", "TX0"),
    ("phy_clock", None, "A8", "nINT/REFCLK"),
    ("txd", Some(1), "A9", "TX1"),
    ("tx_en", None, "A11", "TX-EN"),
];

/// The pads that the board crate gives a signal.
fn pads(signal: &dyn Atom) -> Vec<String> {
    let location = |pin: PinConstraint| match pin.constraint {
        Constraint::Location(pad) => Some(pad),
        _ => None,
    };
    signal.constraints().into_iter().filter_map(location).collect()
}

/// Every pin of [`AlchitryCu`].
pub fn cu_pins() -> Vec<Pin> {
    let plain = |port, bit, pad: String, wire: String| Pin { port, bit, pad, pull_up: false, wire };
    let mut pins: Vec<Pin> =
        pads(&clock()).into_iter().map(|pad| plain("oscillator", None, pad, "oscillator".into())).collect();
    pins.extend(
        ON_BOARD
            .map(|(port, pad, pull_up, wire)| Pin { pull_up, ..plain(port, None, pad.into(), wire.into()) }),
    );
    let lamp = |(bit, pad)| plain("leds", Some(bit), pad, format!("LED {bit}"));
    pins.extend(pads(&leds()).into_iter().enumerate().map(lamp));
    pins.extend(PHY.map(|(port, bit, connector, module)| {
        plain(port, bit, map_alchitry_pin_to_cu_pad(connector).into(), format!("{connector}, PHY {module}"))
    }));
    pins
}

/// Pins and clock targets of [`AlchitryCu`] for nextpnr-ice40: `constraints/alchitry-cu.pcf`.
pub fn cu_constraints() -> String {
    let mut text = String::from(
        "# Alchitry Cu (iCE40 HX8K, CB132) with an RMII PHY on connector A: pins and clocks, MHz.\n\
         # Made from the tables in hdl/src/top/alchitry.rs by `ironwarp synth --board alchitry-cu --constraints`.\n",
    );
    // Writing to a String does not fail.
    for pin in cu_pins() {
        let pull_up = if pin.pull_up { "-pullup yes " } else { "" };
        let _ = writeln!(text, "set_io {pull_up}{} {} # {}", pin.name(), pin.pad, pin.wire);
    }
    for (net, hz) in
        [("oscillator", OSCILLATOR_HZ), ("cu.clock", CU_CLOCK_HZ), ("cu.phy_clock", PHY_CLOCK_HZ)]
    {
        let _ = writeln!(text, "set_frequency {net} {}", hz as f64 / 1e6);
    }
    text
}

/// The FPGA of an Alchitry Cu.
///
/// ```text
///  oscillator --> Pll --clock--> +----+ <--> rx, tx
///                  | locked      |    | <--> FlashPads <--> flash_*
///  button ---------+--running--> | Cu | <--> PhyPads <--> phy_clock, rxd, crs_dv, txd, tx_en
///                                +----+ --> leds
/// ```
///
/// **Interface.** The pins of [`cu_pins`]. `button`: low while it is pressed.
#[derive(LogicBlock)]
pub struct AlchitryCu {
    /// 100 MHz.
    pub oscillator: Signal<In, Clock>,
    /// Low: reset.
    pub button: Signal<In, Bit>,
    /// UART from the host.
    pub rx: Signal<In, Bit>,
    /// UART to the host.
    pub tx: Signal<Out, Bit>,
    /// 50 MHz from the PHY.
    pub phy_clock: Signal<In, Clock>,
    /// Receive di-bit.
    pub rxd: Signal<In, FB<2>>,
    /// Carrier or data.
    pub crs_dv: Signal<In, Bit>,
    /// Transmit di-bit.
    pub txd: Signal<Out, FB<2>>,
    /// It is one.
    pub tx_en: Signal<Out, Bit>,
    /// Lamps.
    pub leds: Signal<Out, FB<8>>,
    /// Flash: select, active low.
    pub flash_select: Signal<Out, Bit>,
    /// Flash: its clock.
    pub flash_clock: Signal<Out, Bit>,
    /// Flash: IO0.
    pub flash_io0: Signal<InOut, Bit>,
    /// Flash: IO1.
    pub flash_io1: Signal<In, Bit>,
    pll: Pll,
    phy_pads: PhyPads,
    flash_pads: FlashPads,
    cu: Cu,
}

impl AlchitryCu {
    /// With a UART at `baud`.
    pub fn new(baud: u64) -> Self {
        Self {
            oscillator: Signal::default(),
            button: Signal::default(),
            rx: Signal::default(),
            tx: Signal::default(),
            phy_clock: Signal::default(),
            rxd: Signal::default(),
            crs_dv: Signal::default(),
            txd: Signal::default(),
            tx_en: Signal::default(),
            leds: Signal::default(),
            flash_select: Signal::default(),
            flash_clock: Signal::default(),
            flash_io0: Signal::default(),
            flash_io1: Signal::default(),
            pll: Pll::default(),
            phy_pads: PhyPads::default(),
            flash_pads: FlashPads::default(),
            cu: Cu::new(baud),
        }
    }
}

impl Logic for AlchitryCu {
    #[hdl_gen]
    fn update(&mut self) {
        self.pll.oscillator.next = self.oscillator.val();
        self.cu.clock.next = self.pll.clock.val();
        self.flash_pads.clock.next = self.pll.clock.val();
        self.cu.running.next = self.pll.locked.val() && self.button.val();
        self.cu.rx.next = self.rx.val();
        self.tx.next = self.cu.tx.val();
        self.leds.next = self.cu.leds.val();

        self.phy_pads.phy_clock.next = self.phy_clock.val();
        self.phy_pads.rxd.next = self.rxd.val();
        self.phy_pads.crs_dv.next = self.crs_dv.val();
        self.txd.next = self.phy_pads.txd.val();
        self.tx_en.next = self.phy_pads.tx_en.val();
        self.cu.phy_clock.next = self.phy_pads.clock.val();
        self.cu.rxd.next = self.phy_pads.rxd_in.val();
        self.cu.crs_dv.next = self.phy_pads.crs_dv_in.val();
        self.phy_pads.txd_out.next = self.cu.txd.val();
        self.phy_pads.tx_en_out.next = self.cu.tx_en.val();

        self.flash_select.next = self.cu.flash_select.val();
        self.flash_clock.next = self.flash_pads.flash_clock.val();
        Signal::<InOut, Bit>::link(&mut self.flash_io0, &mut self.flash_pads.flash_io0);
        self.flash_pads.run.next = self.cu.flash_run.val();
        self.flash_pads.out.next = self.cu.flash_out.val();
        self.flash_pads.drive.next = self.cu.flash_drive.val();
        self.cu.flash_in_0.next = self.flash_pads.in_0.val();
        self.cu.flash_in_1.next = self.flash_io1.val();
    }
}
