//! A device as Verilog: what the hardware commands write and synthesise.

use crate::size::Size;
use ironwarp_hdl::flow::Design;
use ironwarp_hdl::ports::Port;
use ironwarp_hdl::top::{CU_CLOCK_HZ, Cu, full_core, small_core};
use ironwarp_micro::asm::AsmError;
use ironwarp_micro::layout::Sizes;
use ironwarp_micro::program::assemble;
use ironwarp_proto::bridge::BAUD;
use std::fmt::Write;

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

/// The core of a device of this size. That of a `full` one has its program in it; a `small` one fetches it.
pub fn core(size: Size) -> Result<Design, AsmError> {
    Ok(match size {
        Size::Small => Design::new(size.name(), small_core()),
        Size::Full => Design::new(size.name(), full_core(&assemble(&Sizes::FULL)?.words)),
    })
}

/// What is in the FPGA of an Alchitry Cu, and its constraints for nextpnr-ice40.
pub fn alchitry_cu() -> (Design, String) {
    let design = Design::new("alchitry-cu", Cu::new(BAUD.into()));
    let constraints =
        format!("set_frequency clock {}\nset_frequency phy_clock 50\n", CU_CLOCK_HZ as f64 / 1e6);
    (design, constraints)
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
