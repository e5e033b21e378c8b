//! The command line of `ironwarp`, and its subcommands, one a file.

pub mod cu;
pub mod decode;
pub mod demo;
mod end;
pub mod nic;
pub mod options;
pub mod perf;
pub mod program;
pub mod registers;
pub mod rping;
pub mod switch;
pub mod synth;
pub mod verilog;
pub mod vfio_user;

use clap::{Parser, Subcommand};
use options::CommandError;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// Ironwarp, an open iWARP RNIC: golden model, driver and tools. Without a command, `demo` runs.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    demo: demo::Args,
}

#[derive(Subcommand)]
enum Command {
    Demo(demo::Args),
    Nic(nic::Args),
    Switch(switch::Args),
    Rping(rping::Args),
    Perf(perf::Args),
    Decode(decode::Args),
    Registers(registers::Args),
    VfioUser(vfio_user::Args),
    Cu(cu::Args),
    Verilog(verilog::Args),
    Synth(synth::Args),
    Program(program::Args),
}

/// Do what the command line says.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // What the driver has to say beside results: warnings, or what RUST_LOG asks for.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match run(&mut cli.command.unwrap_or(Command::Demo(cli.demo))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &mut Command) -> Result<(), CommandError> {
    match command {
        Command::Demo(args) => args.run.adopt(&args.device)?,
        Command::Rping(args) => args.run.adopt(&args.device)?,
        Command::Perf(args) => args.run.adopt(&args.device)?,
        _ => {}
    }
    match command {
        Command::Demo(args) => demo::run(args),
        Command::Nic(args) => nic::run(args),
        Command::Switch(args) => switch::run(args),
        Command::Rping(args) => rping::run(args),
        Command::Perf(args) => perf::run(args),
        Command::Decode(args) => Ok(decode::run(args)?),
        Command::Registers(args) => registers::run(args),
        Command::VfioUser(args) => vfio_user::run(args),
        Command::Cu(args) => cu::run(args),
        Command::Verilog(args) => verilog::run(args),
        Command::Synth(args) => synth::run(args),
        Command::Program(args) => program::run(args),
    }
}
