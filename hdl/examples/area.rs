//! What each block costs on the iCE40 HX8K: `cargo run --release -p ironwarp-hdl --example area [block]`.
//!
//! LUT4, carry, FF and BRAM are those of the block alone. For fmax every input comes out of a register and every
//! output goes into one, so that combinational paths count and the number of pins does not limit. LC, logic cells,
//! are those of the framed block less one for each of these registers.

use ironwarp_hdl::align::Rotator;
use ironwarp_hdl::bridge::{Baud, Bridge};
use ironwarp_hdl::crc::Crc32c;
use ironwarp_hdl::dma::{Fetch, Reader, Writer};
use ironwarp_hdl::mem::{Fifo, Packets};
use ironwarp_hdl::mpa::{Markers, Walk};
use ironwarp_hdl::ports::{Port, ports};
use ironwarp_hdl::rx::{Arbiter, Parse, Receive};
use ironwarp_hdl::seq::SeqWindow;
use rust_hdl::prelude::*;
use std::fmt::Write;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const TARGET_MHZ: &str = "62.5";
const SEEDS: [&str; 3] = ["1", "2", "3"];

/// A block's name, Verilog and ports.
struct Design {
    name: &'static str,
    verilog: String,
    ports: Vec<Port>,
}

fn design<U: Block>(name: &'static str, mut block: U) -> Design {
    block.connect_all();
    Design { name, verilog: generate_verilog(&block), ports: ports(&block) }
}

fn designs() -> Vec<Design> {
    vec![
        design("crc/crc32c", Crc32c::default()),
        design("align/rotator", Rotator::default()),
        design("mpa/markers", Markers::default()),
        design("seq/window", SeqWindow::default()),
        // 256 words of 32 bits.
        design("mem/fifo", Fifo::<8, 32>::default()),
        design("mem/packets", Packets::<8, 32, 9>::default()),
        // Rings of 512 words, which the part can hold.
        design("rx/arbiter", Arbiter::default()),
        design("rx/parse", Parse::<9>::default()),
        design("rx/receive", Receive::<9, 8>::default()),
        design("mpa/walk", Walk::<9>::default()),
        design("dma/fetch", Fetch::<9>::default()),
        design("dma/reader", Reader::default()),
        design("dma/writer", Writer::<9>::default()),
        // 12 Mbaud from 31.25 MHz.
        design("bridge/engine", Bridge::<10>::new(Baud::new(31_250_000, 12_000_000))),
    ]
}

fn main() -> ExitCode {
    let wanted = std::env::args().nth(1);
    let chosen = designs().into_iter().filter(|d| wanted.as_deref().is_none_or(|w| d.name.contains(w)));
    println!("| block | LUT4 | carry | FF | LC | BRAM | fmax MHz, seeds {} |", SEEDS.join("/"));
    println!("|---|---|---|---|---|---|---|");
    for design in chosen {
        match row(&design) {
            Ok(row) => println!("{row}"),
            Err(why) => {
                eprintln!("{}: {why}", design.name);
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

/// The row of a block.
fn row(design: &Design) -> Result<String, String> {
    let folder: PathBuf = std::env::temp_dir().join(format!("ironwarp-area-{}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let row = measure(design, &folder);
    let _ = std::fs::remove_dir_all(&folder);
    row
}

fn measure(design: &Design, folder: &Path) -> Result<String, String> {
    let write = |file: &str, text: &str| std::fs::write(folder.join(file), text).map_err(|e| e.to_string());
    write("top.v", &design.verilog)?;
    write("framed.v", &framed(&design.ports))?;
    let report = run(folder, "yosys", &["-p", "read_verilog top.v; synth_ice40 -top top; stat"])?;
    let script = "read_verilog top.v framed.v; synth_ice40 -top framed -json framed.json";
    run(folder, "yosys", &["-q", "-p", script])?;
    let (mut frequencies, mut logic_cells) = (Vec::new(), 0);
    for seed in SEEDS {
        let device = ["--hx8k", "--package", "cb132", "--freq", TARGET_MHZ, "--seed", seed];
        // A missed target is a figure here, not a failure.
        let files = ["--json", "framed.json", "--timing-allow-fail"];
        let report = run(folder, "nextpnr-ice40", &[&device[..], &files].concat())?;
        frequencies.push(frequency(&report)?);
        logic_cells = used(&report)?;
    }
    let cells = cells(&report);
    let count = |kind: &str| -> usize {
        cells.iter().filter(|(name, _)| name.starts_with(kind)).map(|(_, count)| count).sum()
    };
    let frame: usize = design.ports.iter().filter(|port| port.name != "clock").map(|port| port.bits).sum();
    Ok(format!(
        "| {} | {} | {} | {} | {} | {} | {} |",
        design.name,
        count("SB_LUT4"),
        count("SB_CARRY"),
        count("SB_DFF"),
        logic_cells.saturating_sub(frame + 2),
        count("SB_RAM40_4K"),
        frequencies.join(" / ")
    ))
}

/// A module with three pins around `top`: inputs from a shift register, outputs into one.
fn framed(ports: &[Port]) -> String {
    let mut text = String::from("module framed(input clock, input from_pin, output to_pin);\n");
    let (mut inputs, mut outputs, mut joined) = (0, 0, String::from(".clock(clock)"));
    for port in ports.iter().filter(|port| port.name != "clock") {
        let (wires, used) = if port.is_input { ("inputs", &mut inputs) } else { ("outputs", &mut outputs) };
        write!(joined, ", .\\{} ({wires}[{}:{}])", port.name, *used + port.bits - 1, *used).unwrap();
        *used += port.bits;
    }
    writeln!(text, "reg [{inputs}:0] inputs; wire [{outputs}:0] outputs; reg [{outputs}:0] seen;").unwrap();
    writeln!(text, "assign outputs[{outputs}] = 1'b0; assign to_pin = seen[{outputs}];").unwrap();
    writeln!(text, "always @(posedge clock) inputs <= {{inputs, from_pin}};").unwrap();
    writeln!(text, "always @(posedge clock) seen <= {{seen, 1'b0}} ^ outputs;").unwrap();
    writeln!(text, "top top({joined});\nendmodule").unwrap();
    text
}

/// Runs a tool; its output, or what to do about it.
fn run(folder: &Path, tool: &str, arguments: &[&str]) -> Result<String, String> {
    let output =
        Command::new(tool).args(arguments).current_dir(folder).output().map_err(|e| match e.kind() {
            ErrorKind::NotFound => {
                format!("{tool} is not installed (Debian packages yosys and nextpnr-ice40)")
            }
            _ => format!("{tool}: {e}"),
        })?;
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(text.into_owned()) } else { Err(format!("{tool} failed:\n{text}")) }
}

/// The cells of the whole design: the last table of yosys' report.
fn cells(report: &str) -> Vec<(String, usize)> {
    let table = report.rsplit("Number of cells:").next().unwrap_or_default();
    let line = |line: &str| {
        let (name, count) = line.trim().split_once(' ')?;
        Some((name.to_owned(), count.trim().parse().ok()?))
    };
    table.lines().filter_map(line).collect()
}

/// The frequency after routing, in whole MHz: nextpnr's last word on it.
fn frequency(report: &str) -> Result<String, String> {
    let found = report.lines().rev().find_map(|line| {
        let (_, rest) = line.split_once("Max frequency for clock")?;
        rest.rsplit_once(" MHz (")?.0.rsplit(' ').next()?.parse::<f64>().ok()
    });
    found.map(|mhz| format!("{mhz:.0}")).ok_or_else(|| format!("nextpnr-ice40 gave no frequency:\n{report}"))
}

/// Logic cells: `ICESTORM_LC:   143/ 7680`.
fn used(report: &str) -> Result<usize, String> {
    let found = report
        .lines()
        .find_map(|line| line.split_once("ICESTORM_LC:")?.1.split_once('/')?.0.trim().parse().ok());
    found.ok_or_else(|| format!("nextpnr-ice40 gave no utilisation:\n{report}"))
}
