//! The `ironwarp` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    ironwarp_sim::cmd::main()
}
