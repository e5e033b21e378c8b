//! The hardware commands: what they write, and what they say where a tool is missing.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder of this test's own.
fn folder(name: &str) -> PathBuf {
    let folder =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("hardware-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Runs the command in a folder, with nothing on PATH if `bare`.
fn ironwarp(folder: &Path, arguments: &[&str], bare: bool) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ironwarp"));
    command.args(arguments).current_dir(folder);
    if bare {
        command.env("PATH", "");
    }
    command.output().unwrap()
}

fn fails_with(output: &Output, words: &str) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains(words), "{text}");
}

/// The file is there, and Verilator finds no fault with it.
fn lint(folder: &Path, unit: &str) {
    let file = folder.join(format!("v/ironwarp_{unit}.v"));
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("// Ironwarp "), "{}", &text[..500]);
    let top = format!("ironwarp_{unit}");
    assert!(text.contains(&format!("module {top}(")), "{}", &text[..500]);
    // What the emitter does throughout is not looked at: widths of literals, one process a module.
    let quiet = ["-Wno-WIDTH", "-Wno-UNOPTFLAT", "-Wno-DECLFILENAME", "-Wno-UNUSED", "-Wno-VARHIDDEN"];
    let lint = Command::new("verilator")
        .args(["--lint-only", "-Wall", "--default-language", "1364-2005", "--top-module", &top])
        .args(quiet)
        .arg(&file)
        .output();
    match lint {
        Ok(lint) => assert!(lint.status.success(), "{}", String::from_utf8_lossy(&lint.stderr)),
        Err(_) => println!("skipped: verilator is not installed (Debian package verilator)"),
    }
}

#[test]
fn verilog_of_both_sizes_is_written_and_clean() {
    let folder = folder("verilog");
    for size in ["small", "full"] {
        let output = ironwarp(&folder, &["verilog", "--config", size, "--out", "v"], true);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        for unit in [size, "wishbone", "rmii", "gmii"] {
            lint(&folder, unit);
        }
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_missing_tool_names_its_package() {
    let folder = folder("missing");
    let output = ironwarp(&folder, &["synth", "--board", "alchitry-cu", "--out", "s"], true);
    fails_with(&output, "yosys is not installed: apt-get install yosys");
    let output = ironwarp(&folder, &["synth", "--stat", "--out", "s"], true);
    fails_with(&output, "yosys is not installed: apt-get install yosys");
    // A bitstream of nothing: icepack's head and preamble.
    let image = [&[0xff, 0, 0, 0xff][..], &[0x7e, 0xaa, 0x99, 0x7e], &[0; 64]].concat();
    std::fs::write(folder.join("top.bin"), image).unwrap();
    let output = ironwarp(&folder, &["program", "--image", "top.bin"], true);
    fails_with(&output, "iceprog is not installed: apt-get install fpga-icestorm");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn what_cannot_be_done_is_said() {
    let folder = folder("errors");
    let output = ironwarp(&folder, &["synth", "--board", "alchitry-cu", "--config", "full"], false);
    fails_with(&output, "holds --config small only");
    fails_with(&ironwarp(&folder, &["program", "--image", "no.bin"], false), "no.bin");
    std::fs::write(folder.join("text.bin"), "not a bitstream").unwrap();
    fails_with(&ironwarp(&folder, &["program", "--image", "text.bin"], false), "it has no preamble");
    std::fs::remove_dir_all(folder).unwrap();
}
