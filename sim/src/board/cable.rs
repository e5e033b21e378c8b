//! Two boards on one cable.

use super::{BoardInputs, BoardModel, BoardOutputs, Terminal};
use crate::pcap::PcapWriter;
use crate::rtl::verilated::VerilateError;
use ironwarp_hdl::outside::{FlashChip, Line, Phy};
use ironwarp_hdl::top::{CU_CLOCK_HZ, Cu};
use ironwarp_micro::asm::AsmError;
use ironwarp_micro::layout::Sizes;
use ironwarp_micro::program::assemble;
use ironwarp_proto::bridge::BAUD;
use ironwarp_proto::pins::Nanos;
use rust_hdl::prelude::{Block, generate_verilog};
use std::io;
use thiserror::Error;

/// Period of the PHYs' clock, ps. The cable has the same one on both ends.
const PHY_PS: u64 = 20_000;
/// Edges between two looks at the terminals.
const SLICE: u32 = 500;

/// Why there are no boards.
#[derive(Debug, Error)]
pub enum BoardsError {
    /// The program.
    #[error("the device's program cannot be assembled: {0}")]
    Program(#[from] AsmError),
    /// The model.
    #[error(transparent)]
    Verilate(#[from] VerilateError),
    /// A terminal.
    #[error("no pseudo-terminal: {0}")]
    Terminal(#[from] io::Error),
}

/// A board and what is at its pins.
struct Board {
    model: BoardModel,
    inputs: BoardInputs,
    outputs: BoardOutputs,
    line: Line,
    flash: FlashChip,
    terminal: Terminal,
    /// Half a period of the core clock, and its next edge, ps.
    half_ps: u64,
    next_ps: u64,
}

impl Board {
    fn evaluate(&mut self) {
        self.outputs = self.model.evaluate(&self.inputs);
    }

    /// The next edge of the core clock. The UART and the flash are looked at with the falling one.
    fn core_edge(&mut self) {
        let now = self.next_ps;
        self.next_ps += self.half_ps;
        self.inputs.clock = !self.inputs.clock;
        if !self.inputs.clock {
            self.inputs.rx = self.line.drive(now);
            let (io1, io0) = self.flash.drives().unwrap_or_default();
            self.inputs.flash_in = [io0, io1];
        }
        self.evaluate();
        if !self.inputs.clock {
            self.line.look(now, self.outputs.tx);
            let BoardOutputs { flash_select, flash_run, flash_out, .. } = self.outputs;
            self.flash.cycle(!flash_select, flash_run, flash_out);
        }
    }
}

/// Two Alchitry Cus whose PHYs are joined.
pub struct Boards {
    boards: [Board; 2],
    /// Next edge of the PHYs' clock, ps, and its level.
    phy_ps: u64,
    phy_high: bool,
    tap: Option<Tap>,
}

/// Who listens to the cable.
struct Tap {
    writer: PcapWriter,
    /// What each board sends.
    ears: [(Phy, u32); 2],
}

impl Tap {
    /// The di-bits of a cycle.
    fn look(&mut self, now: Nanos, pairs: [(u8, bool); 2]) {
        for ((ear, interface), (pair, valid)) in self.ears.iter_mut().zip(pairs) {
            ear.look(pair, valid);
            while let Some(frame) = ear.take() {
                let comment = if frame.good { "" } else { "damaged" };
                self.writer.frame(now, *interface, &frame.bytes, comment);
            }
        }
    }
}

/// The Verilog of a Cu.
fn verilog() -> String {
    let mut cu = Cu::new(u64::from(BAUD));
    cu.connect_all();
    generate_verilog(&cu)
}

impl Boards {
    /// Two boards at power-up. Their crystals are not alike.
    pub fn new() -> Result<Self, BoardsError> {
        let (verilog, program) = (verilog(), assemble(&Sizes::SMALL)?);
        let half = 1_000_000_000_000 / CU_CLOCK_HZ / 2;
        let board = |half_ps, next_ps| {
            let mut board = Board {
                model: BoardModel::new(&verilog)?,
                inputs: BoardInputs { running: true, rx: true, ..BoardInputs::default() },
                outputs: BoardOutputs::default(),
                line: Line::new(u64::from(BAUD)),
                flash: FlashChip::new(&program.words),
                terminal: Terminal::open()?,
                half_ps,
                next_ps,
            };
            board.evaluate();
            Ok::<_, BoardsError>(board)
        };
        // 60 millionths apart, and not in phase.
        Ok(Self { boards: [board(half, 0)?, board(half + 1, 4_321)?], phy_ps: 7, phy_high: false, tap: None })
    }

    /// What to open as the serial ports of the boards.
    pub fn paths(&self) -> [&str; 2] {
        self.boards.each_ref().map(|board| board.terminal.path())
    }

    /// Simulated time.
    pub fn now(&self) -> Nanos {
        self.phy_ps / 1000
    }

    /// The lamps of both.
    pub fn leds(&self) -> [u8; 2] {
        self.boards.each_ref().map(|board| board.outputs.leds)
    }

    /// Record the frames on the cable. Their times are those of their ends.
    pub fn capture(&mut self, mut writer: PcapWriter) {
        let ears = ["left", "right"].map(|name| (Phy::default(), writer.add_interface(name)));
        self.tap = Some(Tap { writer, ears });
    }

    /// Record no more; what was recorded.
    pub fn end_capture(&mut self) -> Option<PcapWriter> {
        self.tap.take().map(|tap| tap.writer)
    }

    /// Bytes on the line to a board that its host has not sent.
    pub fn disturb(&mut self, board: usize, bytes: &[u8]) {
        self.boards[board].line.send(bytes);
    }

    /// Press or release a board's reset button.
    pub fn press(&mut self, board: usize, pressed: bool) {
        self.boards[board].inputs.running = !pressed;
    }

    /// Go on for a while.
    pub fn run(&mut self) {
        for board in &mut self.boards {
            let bytes = board.terminal.read();
            board.line.send(&bytes);
        }
        for _ in 0..SLICE {
            self.edge();
        }
        for board in &mut self.boards {
            let bytes = board.line.take();
            board.terminal.write(&bytes);
        }
    }

    /// The next edge of any clock.
    fn edge(&mut self) {
        let [left, right] = &mut self.boards;
        let first = if left.next_ps <= right.next_ps { left } else { right };
        if first.next_ps < self.phy_ps {
            first.core_edge();
            return;
        }
        self.phy_ps += PHY_PS / 2;
        self.phy_high = !self.phy_high;
        let [left, right] = &mut self.boards;
        if !self.phy_high {
            // What one sends the other receives; each changes with the falling edge.
            (left.inputs.rxd, left.inputs.crs_dv) = (right.outputs.txd, right.outputs.tx_en);
            (right.inputs.rxd, right.inputs.crs_dv) = (left.outputs.txd, left.outputs.tx_en);
            if let Some(tap) = &mut self.tap {
                let now = self.phy_ps / 1000;
                tap.look(now, [&left, &right].map(|board| (board.outputs.txd, board.outputs.tx_en)));
            }
        }
        for board in [left, right] {
            board.inputs.phy_clock = self.phy_high;
            board.evaluate();
        }
    }
}
