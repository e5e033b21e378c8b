//! What only the synthesiser sees: latches, undeclared names, undriven wires.

use rust_hdl::prelude::*;
use std::process::Command;

/// Lets yosys read a block's Verilog and refuses what `yosys_validate` refuses. Says so and returns where there is
/// no yosys.
pub fn check_synthesis<U: Block>(name: &str, mut block: U) {
    if Command::new("yosys").arg("-V").output().is_err() {
        println!("{name}: skipped: yosys is not installed (Debian package yosys)");
        return;
    }
    block.connect_all();
    // A folder of its own per process and block, under $TMPDIR.
    let folder = format!("ironwarp-yosys-{name}-{}", std::process::id());
    let verdict = yosys_validate(&folder, &generate_verilog(&block));
    let _ = std::fs::remove_dir_all(std::env::temp_dir().join(folder));
    verdict.unwrap_or_else(|e| panic!("{name}: {e:?}"));
}
