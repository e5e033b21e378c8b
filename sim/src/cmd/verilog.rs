//! `ironwarp verilog`: the RTL as Verilog.

use super::options::CommandError;
use crate::hardware;
use crate::size::Size;
use std::path::PathBuf;

/// Write the core as Verilog-2005, to put into a design of your own (docs/integration.md).
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Size of the device.
    #[arg(long, value_enum, default_value = "full")]
    config: Size,
    /// Folder for `ironwarp_SIZE.v`; it is made if it is not there.
    #[arg(long, value_name = "DIR", default_value = "verilog")]
    out: PathBuf,
}

/// Run the command.
pub fn run(args: &Args) -> Result<(), CommandError> {
    let design = hardware::core(args.config)?;
    let path = args.out.join(format!("ironwarp_{}.v", args.config.name()));
    let text = hardware::verilog(args.config, &design);
    std::fs::create_dir_all(&args.out)
        .and_then(|()| std::fs::write(&path, &text))
        .map_err(|source| CommandError::File { path: path.clone(), source })?;
    println!("{}: {} lines, {} ports", path.display(), text.lines().count(), design.ports.len());
    Ok(())
}
