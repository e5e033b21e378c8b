//! Every memory of the `small` core and the block RAMs of an iCE40 that it takes: `cargo run --release -p ironwarp-hdl --example memories`.
//!
//! yosys says which cells it infers; the shapes are those of the Verilog.

use ironwarp_hdl::top::small_core;
use rust_hdl::prelude::generate_verilog;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::process::{Command, ExitCode};

/// Block RAMs of an HX8K, of 4 Kbit each.
const PART: usize = 32;

fn main() -> ExitCode {
    match table() {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// What a memory is for, by its place in the hierarchy.
fn purpose(path: &str) -> &'static str {
    match path {
        "sequencer.program.words" => "instruction cache: words",
        "sequencer.program.tags" => "instruction cache: tags",
        "sequencer.operands" => "M: globals, ports, 4 contexts of 64 words",
        "sequencer.tables" => "T: registers, regions, CQs, QP areas, send entries",
        "receive.ring.walk" => "receive ring, one copy",
        "transmit.ring.high" | "transmit.ring.low" => "transmit ring, half of each word",
        "inbox" => "host requests, descriptors, walker packets, small reads",
        "outbox" => "writer commands, transmit commands",
        _ => "",
    }
}

fn table() -> Result<String, String> {
    let verilog = generate_verilog(&small_core());
    let folder = std::env::temp_dir().join(format!("ironwarp-memories-{}", std::process::id()));
    let file = |e: std::io::Error| format!("{}: {e}", folder.display());
    std::fs::create_dir_all(&folder).map_err(file)?;
    std::fs::write(folder.join("top.v"), &verilog).map_err(file)?;
    let script = "read_verilog top.v; synth_ice40 -top top -run begin:map_gates; opt_clean -purge; select -list t:SB_RAM40_4K";
    let output = Command::new("yosys").args(["-p", script]).current_dir(&folder).output();
    let _ = std::fs::remove_dir_all(&folder);
    let output = output.map_err(|e| match e.kind() {
        ErrorKind::NotFound => "yosys is not installed (Debian package yosys)".to_owned(),
        _ => format!("yosys: {e}"),
    })?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        return Err(format!("yosys failed:\n{text}{}", String::from_utf8_lossy(&output.stderr)));
    }
    let cells: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("top/")).collect();
    let mut rows = String::from("| memory | for | words x bits | block RAMs |\n|---|---|---|---|\n");
    let mut sum = 0;
    for (path, shape) in shapes(&verilog) {
        let count = cells.iter().filter(|cell| cell.starts_with(&format!("{path}."))).count();
        if count > 0 {
            rows += &format!("| `{path}` | {} | {shape} | {count} |\n", purpose(&path));
        }
        sum += count;
    }
    if sum != cells.len() {
        return Err(format!(
            "{} block RAMs, of which {sum} belong to memories that are known: {cells:?}",
            cells.len()
        ));
    }
    Ok(format!("{rows}| **sum** | | | **{sum}** of {PART} |\n"))
}

/// Words x bits of each memory, by its place in the hierarchy.
fn shapes(verilog: &str) -> BTreeMap<String, String> {
    let (mut path, mut shapes) = (String::new(), BTreeMap::new());
    for line in verilog.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("module top$") {
            path = rest.split('(').next().unwrap_or_default().trim().replace('$', ".");
        }
        let memory = line.split_once("reg [").and_then(|(_, rest)| {
            let (high, rest) = rest.split_once(":0] ")?;
            let last = rest.split_once(" [0:")?.1.split_once(']')?.0;
            Some((last.parse::<usize>().ok()? + 1, high.parse::<usize>().ok()? + 1))
        });
        if let Some((words, bits)) = memory {
            shapes.insert(path.clone(), format!("{words} x {bits}"));
        }
    }
    shapes
}
