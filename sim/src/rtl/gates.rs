//! The gates of a core: what the synthesiser makes of its Verilog, as Verilog again.

use super::verilated::{VerilateError, cache};
use ironwarp_hdl::flow::run;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Yosys' models of the cells of the iCE40, where its Debian package has them.
const MODELS: &str = "/usr/share/yosys/ice40/cells_sim.v";

/// The netlist of this Verilog after `synth_ice40`, LUTs, flip-flops, carries and block RAMs, with yosys' models of these cells behind it.
pub fn gates(verilog: &str) -> Result<String, VerilateError> {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    let number = RUNS.fetch_add(1, Ordering::Relaxed);
    let folder = cache().join(format!("gates-{}-{number}.part", std::process::id()));
    let files = |path: &Path, error: std::io::Error| {
        VerilateError::Files(path.display().to_string(), error.to_string())
    };
    let (source, netlist) = (folder.join("top.v"), folder.join("netlist.v"));
    std::fs::create_dir_all(&folder)
        .and_then(|()| std::fs::write(&source, verilog))
        .map_err(|error| files(&source, error))?;
    let script = "read_verilog top.v; synth_ice40 -top top; write_verilog -noattr netlist.v";
    run(&folder, "yosys", &["-q", "-p", script]).map_err(|error| VerilateError::Gates(error.to_string()))?;
    let read = |path: &Path| std::fs::read_to_string(path).map_err(|error| files(path, error));
    // Without the defaults of inputs that are not connected, which only SystemVerilog has. The synthesiser connects all that matter.
    let text = read(&netlist)? + "`define NO_ICE40_DEFAULT_ASSIGNMENTS\n" + &read(Path::new(MODELS))?;
    let _ = std::fs::remove_dir_all(&folder);
    Ok(text)
}
