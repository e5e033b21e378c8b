//! `ironwarp nic`: a NIC in a process of its own, on a real Ethernet; its driver is here, or in another process.

mod stats;

use super::options::{CommandError, EtherOptions, RunOptions};
use crate::live::{Ether, Host, HostConfig, Served, Stop};
use crate::serve::{Server, ServiceSpec};
use ironwarp_driver::transport::Fabric;
use stats::{Lines, StatsSocket};
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// A NIC on an Ethernet, which lives until SIGINT or SIGTERM. With an address, it answers ARP and ping, and refuses connections
/// that nobody serves. With --vfio-user, it is a PCI device for a driver in another process, who gives it its addresses.
#[derive(Debug, clap::Args)]
#[command(
    mut_arg("ether", |arg| arg.required(true)),
    mut_arg("ip", |arg| arg.required_unless_present("vfio_user").conflicts_with("vfio_user")),
    mut_arg("mac", |arg| arg.conflicts_with("vfio_user")),
    mut_arg("mtu", |arg| arg.conflicts_with("vfio_user")),
)]
pub struct Args {
    #[command(flatten)]
    ether: EtherOptions,
    /// Be a PCI device at this socket, made here: for QEMU, or for --device vfio-user:SOCKET of other commands. The driver sets
    /// addresses and MTU.
    #[arg(long, value_name = "SOCKET")]
    vfio_user: Option<PathBuf>,
    /// Serve over the device's TCP: `echo:PORT`, or `http:PORT,PATH` with a directory or a file. May be repeated.
    #[arg(long = "serve", value_name = "SERVICE")]
    services: Vec<ServiceSpec>,
    /// Socket (Unix, stream) at which statistics are read: whoever connects gets them as lines of name and value.
    #[arg(long, value_name = "SOCKET")]
    stats: Option<PathBuf>,
    #[command(flatten)]
    run: RunOptions,
}

/// How often the counters are read, so that none wraps unseen, ns.
const COUNTERS: u64 = 5_000_000_000;
/// Longest time without a look at sockets for statistics, ns.
const LOOK: u64 = 50_000_000;

/// Run the command.
pub fn run(args: &Args) -> Result<(), CommandError> {
    let missing = |what: &str| CommandError::Failed(format!("{what} is missing"));
    let ether = args.ether.ether.as_ref().ok_or_else(|| missing("--ether"))?;
    if let (Some(_), Some(service)) = (&args.vfio_user, args.services.first()) {
        return Err(CommandError::Failed(format!(
            "--serve {service} needs a driver here, and --vfio-user leaves the device to one in another process: \
             leave out one of them"
        )));
    }
    let stop = Stop::on_signals()?;
    let endpoint = args.stats.as_deref().map(StatsSocket::open).transpose()?;
    match &args.vfio_user {
        Some(socket) => function(args, ether, socket, &stop, endpoint.as_ref())?,
        None => {
            station(args, ether, args.ether.ip.ok_or_else(|| missing("--ip"))?, &stop, endpoint.as_ref())?
        }
    }
    println!("nic: stopped");
    Ok(())
}

/// A NIC with a driver of its own.
fn station(
    args: &Args,
    ether: &Ether,
    ip: Ipv4Addr,
    stop: &Stop,
    endpoint: Option<&StatsSocket>,
) -> Result<(), CommandError> {
    let host = Host::open(&HostConfig::new(ether.clone(), args.ether.mac, ip).with(&args.run)?)?;
    let start =
        |spec| Server::start(&host.context, spec).map_err(|error| CommandError::Failed(error.to_string()));
    let mut servers = args.services.iter().map(start).collect::<Result<Vec<_>, _>>()?;
    println!("nic: {} {ip} on {ether}, engine {}", args.ether.mac, args.run.engine.settled().name());
    io::stdout().flush()?;
    let mut read_counters = 0;
    while !stop.is_raised() {
        let now = host.context.now();
        host.context.wait(Some(now.saturating_add(LOOK)))?;
        for server in &mut servers {
            server.poll(now);
        }
        if let Some(endpoint) = endpoint {
            endpoint.poll(|| station_statistics(&host, ip, &servers))?;
        }
        if now >= read_counters {
            host.context.counters()?;
            read_counters = now + COUNTERS;
        }
    }
    let text = station_statistics(&host, ip, &servers)?;
    // Listeners and connections close while the device still runs.
    drop(servers);
    host.finish()?;
    print!("{text}");
    Ok(())
}

/// A NIC whose driver is elsewhere.
fn function(
    args: &Args,
    ether: &Ether,
    socket: &Path,
    stop: &Stop,
    endpoint: Option<&StatsSocket>,
) -> Result<(), CommandError> {
    let mut served = Served::open(ether, &args.run, socket)?;
    println!("nic: vfio-user:{} on {ether}, engine {}", socket.display(), args.run.engine.settled().name());
    io::stdout().flush()?;
    while !stop.is_raised() {
        let now = served.nic().now();
        served.turn(now.saturating_add(LOOK));
        if let Some(endpoint) = endpoint {
            endpoint.poll(|| Ok(function_statistics(&served)))?;
        }
    }
    print!("{}", function_statistics(&served));
    Ok(served.finish()?)
}

/// Everything that is counted, as lines of name and value.
fn station_statistics(host: &Host, ip: Ipv4Addr, servers: &[Server]) -> Result<String, CommandError> {
    let counters = host.context.counters()?;
    let mut lines = Lines::default();
    lines.add("nic.ip", &ip);
    lines.add("nic.uptime_seconds", &(host.context.now() / 1_000_000_000));
    if let Some(nic) = host.nic() {
        lines.add_port(&nic.port().stats());
    }
    for (name, value) in counters.iter() {
        lines.add(&format!("device.{name}"), &value);
    }
    for server in servers {
        let (spec, stats) = (server.spec(), server.stats());
        lines.add(&format!("serve.{spec}.accepted"), &stats.accepted);
        lines.add(&format!("serve.{spec}.open"), &server.open());
        lines.add(&format!("serve.{spec}.finished"), &stats.finished);
        lines.add(&format!("serve.{spec}.failed"), &stats.failed);
    }
    Ok(lines.text())
}

/// The same of a NIC whose driver is elsewhere. The device's counters are the driver's: it resets them with the device.
fn function_statistics(served: &Served) -> String {
    let mut lines = Lines::default();
    lines.add("nic.uptime_seconds", &(served.nic().now() / 1_000_000_000));
    lines.add_port(&served.nic().port().stats());
    lines.add("vfio_user.clients", &u8::from(served.has_client()));
    lines.text()
}
