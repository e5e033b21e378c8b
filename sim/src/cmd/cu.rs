//! `ironwarp cu`: two simulated boards.

use super::options::CommandError;
use crate::board::Boards;
use crate::pcap::PcapWriter;
use ironwarp_driver::transport::DeviceName;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Rate by which the driver judges how patient it must be with boards that are simulated some hundred times slower than they are.
pub const SLOW_BAUD: u32 = 50_000;

/// Two Alchitry Cus, simulated pin by pin, on one Ethernet cable: for --device serial:... of other commands. Ends on SIGINT or SIGTERM.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Record the frames on the cable.
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,
}

/// Run the command.
pub fn run(args: &Args) -> Result<(), CommandError> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let mut boards = Boards::new()?;
    if let Some(path) = &args.pcap {
        boards.capture(PcapWriter::create(path)?);
    }
    let names = boards.paths().map(|path| DeviceName::Serial { path: path.into(), baud: SLOW_BAUD });
    println!("boards: {},{}", names[0], names[1]);
    let start = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        boards.run();
    }
    boards.end_capture().map_or(Ok(()), PcapWriter::finish)?;
    println!("{:.3} ms of the boards in {:.1} s", boards.now() as f64 / 1e6, start.elapsed().as_secs_f64());
    Ok(())
}
