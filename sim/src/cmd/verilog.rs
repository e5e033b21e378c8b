//! `ironwarp verilog`: the RTL as Verilog.

use super::options::CommandError;
use crate::hardware;
use crate::size::Size;
use std::path::PathBuf;

/// Write the core as Verilog-2005, and what stands between it and Wishbone, RMII or GMII, to put into a design of your own
/// (docs/integration.md).
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Size of the device.
    #[arg(long, value_enum, default_value = "full")]
    config: Size,
    /// Folder for `ironwarp_SIZE.v` and the others; it is made if it is not there.
    #[arg(long, value_name = "DIR", default_value = "verilog")]
    out: PathBuf,
}

/// Run the command.
pub fn run(args: &Args) -> Result<(), CommandError> {
    let units = hardware::units(args.config)?;
    let file = |path: &PathBuf, source| CommandError::File { path: path.clone(), source };
    std::fs::create_dir_all(&args.out).map_err(|source| file(&args.out, source))?;
    for unit in units {
        let path = args.out.join(format!("{}.v", unit.name));
        let text = unit.text();
        std::fs::write(&path, &text).map_err(|source| file(&path, source))?;
        let (lines, ports) = (text.lines().count(), unit.design.ports.len());
        println!("{}: {}; {lines} lines, {ports} ports", path.display(), unit.what);
    }
    Ok(())
}
