use super::{SMALL_LINE, SmallCore, small_core};
use crate::bridge::{Baud, Bridge};
use crate::dma::{ReadMaster, WriteMaster};
use crate::fb::{FB, bit_cast};
use crate::mac::Ethernet;
use crate::mem::{FLASH_BASE, Flash};
use crate::stream::StreamOut;
use rust_hdl::prelude::*;

/// Core clock on the Cu, Hz: 32 cycles are a unit of the core's time, 1024 ns.
pub const CU_CLOCK_HZ: u64 = 31_250_000;
/// Bits of the phase of a UART bit.
pub const CU_PHASE: usize = 10;
/// Cycles of reset behind the release of the button, log2.
const HOLD: usize = 6;

/// What is in the FPGA of an Alchitry Cu, but for the PLL: the core with Ethernet on an RMII PHY and the host on a UART.
///
/// ```text
///  rxd, crs_dv --> +----------+ line  +-----------+ channels  +--------+ <-- rx
///  txd, tx_en <--- | Ethernet |<----->| SmallCore |<--------->| Bridge | --> tx
///  phy_clock ----> +----------+ mac   +-----------+ host, irq +--------+
///                                      ^ now   ^ program         | core_reset
///  clock --> time ---------------------+       Flash <--> flash_* |
///                                       leds <--------------------+
/// ```
///
/// **Interface.** `clock`: 31.25 MHz. `phy_clock`: the PHY's 50 MHz. `running`: PLL locked and button released, asynchronous. The pins are in docs/board.md, and what the LEDs say.
/// `flash_*`: the configuration flash, which holds the program of a `small` device from byte [`FLASH_BASE`] on, as [`flash_image`](crate::mem::flash_image) puts it; see [`Flash`].
///
/// **Theory of operation.** From power-up the bridge is held in reset for 64 cycles behind `running`, the core until a host says hello.
#[derive(LogicBlock)]
pub struct Cu {
    /// Core clock, rising edge.
    pub clock: Signal<In, Clock>,
    /// 50 MHz from the PHY, rising edge.
    pub phy_clock: Signal<In, Clock>,
    /// Not in reset. Asynchronous.
    pub running: Signal<In, Bit>,
    /// UART from the host. Asynchronous.
    pub rx: Signal<In, Bit>,
    /// UART to the host.
    pub tx: Signal<Out, Bit>,
    /// Receive di-bit.
    pub rxd: Signal<In, FB<2>>,
    /// Carrier or data.
    pub crs_dv: Signal<In, Bit>,
    /// Transmit di-bit.
    pub txd: Signal<Out, FB<2>>,
    /// It is one.
    pub tx_en: Signal<Out, Bit>,
    /// 0 heartbeat, 1 host there, 2 toggles with each frame of the host, 3 with each damaged one, 4 with each Ethernet frame received, 5 with each sent, 6 one was
    /// lost for want of time, 7 interrupt.
    pub leds: Signal<Out, FB<8>>,
    /// Flash: select, active low.
    pub flash_select: Signal<Out, Bit>,
    /// Flash: its clock is this and not `clock`.
    pub flash_run: Signal<Out, Bit>,
    /// Flash, IO0: what is driven.
    pub flash_out: Signal<Out, Bit>,
    /// Flash, IO0: it is.
    pub flash_drive: Signal<Out, Bit>,
    /// Flash, IO0: what is there.
    pub flash_in_0: Signal<In, Bit>,
    /// Flash, IO1: what is there.
    pub flash_in_1: Signal<In, Bit>,
    core: SmallCore,
    flash: Flash<13>,
    bridge: Bridge<CU_PHASE>,
    ethernet: Ethernet,
    running_seen: DFF<Bit>,
    running_sure: DFF<Bit>,
    // Runs from zero at power-up and stands at its end.
    hold: DFF<FB<7>>,
    // 32 cycles are 1024 ns.
    elapsed: DFF<FB<37>>,
    heard: DFF<Bit>,
    damaged: DFF<Bit>,
    trouble: Signal<Local, Bit>,
    lamps: Signal<Local, FB<8>>,
}

impl Cu {
    /// With a UART at `baud`.
    pub fn new(baud: u64) -> Self {
        const { assert!(HOLD == 6, "the width of `hold`") };
        Self {
            clock: Signal::default(),
            phy_clock: Signal::default(),
            running: Signal::default(),
            rx: Signal::default(),
            tx: Signal::default(),
            rxd: Signal::default(),
            crs_dv: Signal::default(),
            txd: Signal::default(),
            tx_en: Signal::default(),
            leds: Signal::default(),
            flash_select: Signal::default(),
            flash_run: Signal::default(),
            flash_out: Signal::default(),
            flash_drive: Signal::default(),
            flash_in_0: Signal::default(),
            flash_in_1: Signal::default(),
            core: small_core(),
            flash: Flash::new(FLASH_BASE, SMALL_LINE),
            bridge: Bridge::new(Baud::new(CU_CLOCK_HZ, baud)),
            ethernet: Ethernet::default(),
            running_seen: DFF::default(),
            running_sure: DFF::default(),
            hold: DFF::default(),
            elapsed: DFF::default(),
            heard: DFF::default(),
            damaged: DFF::default(),
            trouble: Signal::default(),
            lamps: Signal::default(),
        }
    }
}

impl Logic for Cu {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, running_seen, running_sure, hold, elapsed, heard, damaged);
        clock!(self, clock, core, flash, bridge, ethernet);
        self.ethernet.phy_clock.next = self.phy_clock.val();

        // Reset.
        self.running_seen.d.next = self.running.val();
        self.running_sure.d.next = self.running_seen.q.val();
        if !self.hold.q.val().get_bit(6) {
            self.hold.d.next = self.hold.q.val() + 1;
        }
        if !self.running_sure.q.val() {
            self.hold.d.next = 0.into();
        }
        self.bridge.reset.next = !self.hold.q.val().get_bit(6);
        self.core.reset.next = self.bridge.core_reset.val();
        self.ethernet.reset.next = self.bridge.core_reset.val();

        // Program.
        self.flash.reset.next = !self.hold.q.val().get_bit(6);
        self.flash.request.next = self.core.fill_request.val();
        self.flash.address.next = self.core.fill_address.val();
        self.core.fill_data.next = self.flash.data.val();
        self.core.fill_valid.next = self.flash.valid.val();
        self.flash_select.next = self.flash.select.val();
        self.flash_run.next = self.flash.run.val();
        self.flash_out.next = self.flash.out.val();
        self.flash_drive.next = self.flash.drive.val();
        self.flash.in_0.next = self.flash_in_0.val();
        self.flash.in_1.next = self.flash_in_1.val();

        // Host.
        self.bridge.rx.next = self.rx.val();
        self.tx.next = self.bridge.tx.val();
        self.core.host_write.next = self.bridge.host_write.val();
        self.core.host_offset.next = self.bridge.host_offset.val();
        self.core.host_data.next = self.bridge.host_data.val();
        self.core.host_valid.next = self.bridge.host_valid.val();
        self.bridge.host_ready.next = self.core.host_ready.val();
        self.bridge.answer.next = self.core.answer.val();
        self.bridge.answer_valid.next = self.core.answer_valid.val();
        self.core.answer_ready.next = self.bridge.answer_ready.val();
        self.bridge.irq.next = self.core.irq.val();
        ReadMaster::join(&mut self.core.walk_channel, &mut self.bridge.walk);
        ReadMaster::join(&mut self.core.source_channel, &mut self.bridge.source);
        ReadMaster::join(&mut self.core.small_channel, &mut self.bridge.small);
        ReadMaster::join(&mut self.core.send_channel, &mut self.bridge.send);
        WriteMaster::join(&mut self.core.write_channel, &mut self.bridge.write);

        // Ethernet.
        self.ethernet.rxd.next = self.rxd.val();
        self.ethernet.crs_dv.next = self.crs_dv.val();
        self.txd.next = self.ethernet.txd.val();
        self.tx_en.next = self.ethernet.tx_en.val();
        StreamOut::join(&mut self.ethernet.downstream, &mut self.core.line);
        StreamOut::join(&mut self.core.mac, &mut self.ethernet.upstream);
        self.core.pace.next = true;

        // Time.
        self.elapsed.d.next = self.elapsed.q.val() + 1;
        self.core.now.next = self.elapsed.q.val().get_bits::<32>(5);

        // Lamps. Those of the 50 MHz side cross as they are: they are looked at.
        if self.bridge.good.val() {
            self.heard.d.next = !self.heard.q.val();
        }
        if self.bridge.bad.val() {
            self.damaged.d.next = !self.damaged.q.val();
        }
        self.trouble.next = (self.ethernet.lost.val() != 0) || (self.ethernet.spoiled.val() != 0);
        self.lamps.next = bit_cast::<8, 1>(self.elapsed.q.val().get_bit(24).into());
        self.lamps.next = self.lamps.val().replace_bit(1, self.bridge.alive.val());
        self.lamps.next = self.lamps.val().replace_bit(2, self.heard.q.val());
        self.lamps.next = self.lamps.val().replace_bit(3, self.damaged.q.val());
        self.lamps.next = self.lamps.val().replace_bit(4, self.ethernet.taken.val().get_bit(0));
        self.lamps.next = self.lamps.val().replace_bit(5, self.ethernet.sent.val().get_bit(0));
        self.lamps.next = self.lamps.val().replace_bit(6, self.trouble.val());
        self.lamps.next = self.lamps.val().replace_bit(7, self.core.irq.val());
        self.leds.next = self.lamps.val();
    }
}
