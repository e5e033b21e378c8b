//! The `ironwarp` command for the live tests.

use std::process::ExitCode;

fn main() -> ExitCode {
    ironwarp_sim::cmd::main()
}
