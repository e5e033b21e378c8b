//! The `ironwarp` command.

use clap::{Parser, Subcommand};
use ironwarp_sim::cmd;
use std::process::ExitCode;

#[derive(Parser)]
#[command(version, about = "Ironwarp, an open iWARP RNIC")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Decode(cmd::decode::Args),
}

fn main() -> ExitCode {
    let Command::Decode(args) = Cli::parse().command;
    match cmd::decode::run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
