//! A device as Verilog: what the hardware commands write and synthesise.

use crate::size::Size;
use ironwarp_hdl::flow::Design;
use ironwarp_hdl::mem::{FLASH_BASE, flash_image};
use ironwarp_hdl::ports::Port;
use ironwarp_hdl::top::{AlchitryCu, cu_constraints, full_core, small_core};
use ironwarp_micro::asm::AsmError;
use ironwarp_micro::layout::Sizes;
use ironwarp_micro::program::assemble;
use ironwarp_proto::bridge::BAUD;
use std::fmt::Write;
use thiserror::Error;

/// What the ports of the core are for, by the beginning of their names; the first that fits.
const PORTS: &[(&str, &str)] = &[
    ("clock", "core clock, rising edge"),
    ("reset", "synchronous, high for at least one cycle after power-up"),
    ("line$", "frames from the MAC: 2 pad bytes, then the frame without FCS; docs/integration.md section 2"),
    ("mac$", "frames to the MAC, likewise"),
    ("pace", "the transmitter may build another frame; 1 if the MAC has back-pressure"),
    ("now", "time in units of 1024 ns, counts and wraps"),
    ("host_", "register requests; docs/integration.md section 3"),
    ("answer", "answers to register reads, in order"),
    ("irq", "interrupt, level"),
    ("walk_channel$", "DMA reads of the MPA walker; section 4"),
    ("source_channel$", "DMA reads of the writer"),
    ("small_channel$", "DMA reads of the sequencer"),
    ("send_channel$", "DMA reads of payload to send"),
    ("write_channel$", "DMA writes; section 5"),
    ("waiting", "nothing is under way (for power saving and simulation)"),
    ("resting", "trace: the sequencer has nothing to do"),
    ("sending", "a frame is being built"),
    ("alarm", "when it wants to be woken, in units of `now`"),
    ("fill_", "lines of the program that a small device fetches; section 6"),
    ("retired", "trace: the sequencer executed an instruction"),
];

/// Why there is no content for a flash.
#[derive(Debug, Error)]
pub enum HardwareError {
    /// The program.
    #[error("the device's program cannot be assembled: {0}")]
    Program(#[from] AsmError),
    /// The bitstream is where the program must be.
    #[error(
        "a bitstream of {0} bytes reaches into the program, which begins at byte {FLASH_BASE:#x} of the flash"
    )]
    Bitstream(usize),
}

/// The core of a device of this size. That of a `full` one has its program in it; a `small` one fetches it.
pub fn core(size: Size) -> Result<Design, AsmError> {
    Ok(match size {
        Size::Small => Design::new(size.name(), small_core()),
        Size::Full => Design::new(size.name(), full_core(&assemble(&Sizes::FULL)?.words)),
    })
}

/// What is in the FPGA of an Alchitry Cu, and its constraints for nextpnr-ice40.
pub fn alchitry_cu() -> (Design, String) {
    (Design::new("alchitry-cu", AlchitryCu::new(BAUD.into())), cu_constraints())
}

/// What is in the flash of an Alchitry Cu: the bitstream, which the part loads, and the program, which the device does.
pub fn alchitry_cu_flash(bitstream: &[u8]) -> Result<Vec<u8>, HardwareError> {
    let program = assemble(&Sizes::SMALL)?;
    let base = FLASH_BASE as usize;
    if bitstream.len() > base {
        return Err(HardwareError::Bitstream(bitstream.len()));
    }
    let mut flash = bitstream.to_vec();
    // As it is when it has been erased.
    flash.resize(base, 0xff);
    flash.extend(flash_image(&program.words));
    Ok(flash)
}

/// Its Verilog, with a comment in front that says what the ports are.
pub fn verilog(size: Size, design: &Design) -> String {
    let mut text = format!(
        "// Ironwarp {} {}: the core of an iWARP RNIC, made from RustHDL. Verilog-2005, top module `top`, one clock.\n//\n",
        env!("CARGO_PKG_VERSION"),
        size.name()
    );
    for port in &design.ports {
        // Writing to a String does not fail.
        let _ = writeln!(text, "// {}", describe(port));
    }
    text.push_str("//\n// Waveforms, reset and clocks: docs/integration.md.\n\n`default_nettype none\n\n");
    text.push_str(&design.verilog);
    text.push_str("\n`default_nettype wire\n");
    text
}

fn describe(port: &Port) -> String {
    let direction = if port.is_input { "in " } else { "out" };
    let what = PORTS.iter().find(|(prefix, _)| port.name.starts_with(prefix)).map_or("", |(_, what)| what);
    format!("{direction} {:2}  {:26} {what}", port.bits, port.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bitstream_and_program_share_a_flash() {
        let flash = alchitry_cu_flash(&[7; 135_100]).unwrap();
        let program = assemble(&Sizes::SMALL).unwrap().words;
        assert_eq!((flash[135_099], flash[135_100]), (7, 0xff));
        assert_eq!(flash[FLASH_BASE as usize..][..4], program[0].to_be_bytes());
        assert_eq!(flash.len(), FLASH_BASE as usize + 4 * program.len());
        let error = alchitry_cu_flash(&vec![0; FLASH_BASE as usize + 1]).unwrap_err().to_string();
        assert!(error.starts_with("a bitstream of 1048577 bytes reaches into the program"), "{error}");
    }

    #[test]
    fn every_port_is_described() {
        let design = core(Size::Small).unwrap();
        for port in &design.ports {
            let known = PORTS.iter().any(|(prefix, _)| port.name.starts_with(prefix));
            assert!(known, "{} has no description", port.name);
        }
        let text = verilog(Size::Small, &design);
        assert!(text.starts_with("// Ironwarp"));
        assert!(text.contains("// in   1  host_valid"), "{}", &text[..2000]);
    }
}
