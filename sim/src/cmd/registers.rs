//! `ironwarp registers`: prints the register document.

use std::io::Write;

/// Print `docs/registers.md`, made from the declarations of the host ABI.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Run the command.
pub fn run(_: &Args) -> Result<(), super::options::CommandError> {
    Ok(std::io::stdout().write_all(ironwarp_proto::abi::doc::markdown().as_bytes())?)
}
