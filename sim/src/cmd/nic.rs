//! `ironwarp nic`: a NIC in a process of its own, with an address on a real Ethernet.

use super::options::{CommandError, EtherOptions, RunOptions};
use crate::live::{Host, HostConfig, Stop};
use crate::serve::{Server, ServiceSpec};
use std::fmt::Write as _;
use std::io::{self, ErrorKind, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// A NIC with an address on an Ethernet. It answers ARP and ping, refuses connections that nobody serves, and lives until SIGINT
/// or SIGTERM.
#[derive(Debug, clap::Args)]
#[command(mut_arg("ether", |arg| arg.required(true)), mut_arg("ip", |arg| arg.required(true)))]
pub struct Args {
    #[command(flatten)]
    ether: EtherOptions,
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
    let ip = args.ether.ip.ok_or_else(|| missing("--ip"))?;
    let stop = Stop::on_signals()?;
    let endpoint = args.stats.as_deref().map(StatsSocket::open).transpose()?;
    let host = Host::open(&HostConfig::new(ether.clone(), args.ether.mac, ip).with(&args.run))?;
    let start =
        |spec| Server::start(&host.context, spec).map_err(|error| CommandError::Failed(error.to_string()));
    let mut servers = args.services.iter().map(start).collect::<Result<Vec<_>, _>>()?;
    println!("nic: {} {ip} on {ether}, engine {}", args.ether.mac, args.run.engine.name());
    io::stdout().flush()?;
    let mut read_counters = 0;
    while !stop.is_raised() {
        let now = host.context.now();
        host.context.wait(Some(now.saturating_add(LOOK)))?;
        for server in &mut servers {
            server.poll(now);
        }
        if let Some(endpoint) = &endpoint {
            endpoint.poll(|| statistics(&host, ip, &servers))?;
        }
        if now >= read_counters {
            host.context.counters()?;
            read_counters = now + COUNTERS;
        }
    }
    let text = statistics(&host, ip, &servers)?;
    // Listeners and connections close while the device still runs.
    drop(servers);
    host.finish()?;
    print!("{text}");
    println!("nic: stopped");
    Ok(())
}

/// Everything that is counted, as lines of name and value.
fn statistics(host: &Host, ip: Ipv4Addr, servers: &[Server]) -> Result<String, CommandError> {
    let counters = host.context.counters()?;
    let port = host.nic().port().stats();
    let mut text = String::new();
    let mut line = |name: &str, value: &dyn std::fmt::Display| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name} {value}");
    };
    line("nic.ip", &ip);
    line("nic.uptime_seconds", &(host.context.now() / 1_000_000_000));
    line("port.sent_frames", &port.sent);
    line("port.sent_bytes", &port.sent_bytes);
    line("port.received_frames", &port.received);
    line("port.received_bytes", &port.received_bytes);
    line("port.lost_nobody_there", &port.absent);
    line("port.lost_not_read", &port.overflow);
    line("port.errors", &port.errors);
    for (name, value) in counters.iter() {
        line(&format!("device.{name}"), &value);
    }
    for server in servers {
        let (spec, stats) = (server.spec(), server.stats());
        line(&format!("serve.{spec}.accepted"), &stats.accepted);
        line(&format!("serve.{spec}.open"), &server.open());
        line(&format!("serve.{spec}.finished"), &stats.finished);
        line(&format!("serve.{spec}.failed"), &stats.failed);
    }
    Ok(text)
}

/// The socket at which statistics are read; its file goes with it.
struct StatsSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl StatsSocket {
    fn open(path: &Path) -> Result<Self, CommandError> {
        let failed = |error: io::Error| {
            CommandError::Failed(format!(
                "cannot listen at {}: {error}; the directory must exist, and no other process may have the socket",
                path.display()
            ))
        };
        let is_socket = path.symlink_metadata().is_ok_and(|data| data.file_type().is_socket());
        if is_socket && UnixStream::connect(path).is_err() {
            std::fs::remove_file(path).map_err(failed)?;
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        let endpoint = Self { listener, path: path.into() };
        endpoint.listener.set_nonblocking(true).map_err(failed)?;
        Ok(endpoint)
    }

    /// Answer who has come. The text is shorter than a socket's buffer, so nobody can keep the NIC waiting.
    fn poll(&self, text: impl Fn() -> Result<String, CommandError>) -> Result<(), CommandError> {
        loop {
            match self.listener.accept() {
                Ok((mut stream, _)) => {
                    let told = stream.set_nonblocking(true).and(stream.write_all(text()?.as_bytes()));
                    if let Err(error) = told {
                        tracing::debug!(%error, "statistics not taken");
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => {
                    tracing::warn!(%error, "statistics");
                    return Ok(());
                }
            }
        }
    }
}

impl Drop for StatsSocket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
