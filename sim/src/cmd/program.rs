//! `ironwarp program`: a bitstream into a board.

use super::options::CommandError;
use ironwarp_hdl::flow::run as run_tool;
use std::path::{Path, PathBuf};

/// Write bitstream and program into the flash of an Alchitry Cu on USB, with iceprog (Debian package fpga-icestorm).
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What `ironwarp synth --board alchitry-cu` has made.
    #[arg(long, value_name = "FILE", default_value = "synth/flash.bin")]
    image: PathBuf,
}

/// What a bitstream of the iCE40 begins with: comment, then the preamble 7EAA997E.
const PREAMBLE: [u8; 4] = [0x7e, 0xaa, 0x99, 0x7e];

/// Run the command.
pub fn run(args: &Args) -> Result<(), CommandError> {
    let image = std::fs::read(&args.image)
        .map_err(|source| CommandError::File { path: args.image.clone(), source })?;
    // icepack puts FF 00, a comment and 00 FF in front of it.
    if !image
        .iter()
        .take(1024)
        .collect::<Vec<_>>()
        .windows(4)
        .any(|bytes| bytes.iter().copied().eq(&PREAMBLE))
    {
        let why = format!("{} is no bitstream of an iCE40: it has no preamble", args.image.display());
        return Err(CommandError::Failed(why));
    }
    let path = args
        .image
        .canonicalize()
        .map_err(|source| CommandError::File { path: args.image.clone(), source })?;
    print!("{}", run_tool(Path::new("."), "iceprog", &[&path.to_string_lossy()])?);
    Ok(())
}
