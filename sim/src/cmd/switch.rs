//! `ironwarp switch`: an Ethernet switch whose links have faults.

use super::options::{CommandError, LinkOptions};
use crate::live::switch::{Switch, SwitchStats};
use crate::live::{Ether, Stop};
use crate::pcap::PcapWriter;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

/// A learning Ethernet switch between sockets, TAP interfaces and NICs. Each pair of ports has a link with these impairments in
/// each direction. It lives until SIGINT or SIGTERM, and then tells what went through.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A port: `unix:LOCAL,REMOTE`, `tap:NAME` or `udp:LOCAL,REMOTE`. At least two.
    #[arg(long = "port", value_name = "ETHER", required = true)]
    ports: Vec<Ether>,
    /// Seed of the impairments.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write every frame that comes in to a pcapng file, with what happens to it.
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,
    #[command(flatten)]
    link: LinkOptions,
}

/// Longest sleep without a look at signals.
const NAP: Duration = Duration::from_millis(50);

/// Run the command.
pub fn run(args: &Args) -> Result<(), CommandError> {
    let stop = Stop::on_signals()?;
    let failed = |error: crate::live::switch::SwitchError| CommandError::Failed(error.to_string());
    let mut switch = Switch::open(&args.ports, args.link.link(), args.seed).map_err(failed)?;
    if let Some(path) = &args.pcap {
        switch.capture(PcapWriter::create(path)?);
    }
    println!("switch: {} ports", args.ports.len());
    std::io::stdout().flush()?;
    while !stop.is_raised() {
        switch.step(NAP);
    }
    report(&switch);
    Ok(switch.finish_capture()?)
}

fn report(switch: &Switch) {
    for (index, (ether, port)) in switch.ports().enumerate() {
        println!(
            "port {index} {ether}: {} frames in, {} bytes, {} out, {} bytes, {} lost, nobody there, {} lost, not read, {} errors",
            port.received,
            port.received_bytes,
            port.sent,
            port.sent_bytes,
            port.absent,
            port.overflow,
            port.errors
        );
    }
    for (from, to, link) in switch.links() {
        println!(
            "link {from} to {to}: {} frames, {} lost, {} reordered, {} duplicated, {} corrupted",
            link.frames, link.lost, link.reordered, link.duplicated, link.corrupted
        );
    }
    let SwitchStats { flooded, filtered, malformed, queue_full } = switch.stats();
    println!(
        "switch: {flooded} flooded, {filtered} filtered, {malformed} malformed, {queue_full} found a queue full"
    );
}
