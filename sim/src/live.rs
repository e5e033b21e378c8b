//! A device in this process on a real Ethernet: real time, frames to and from a socket.

use crate::cmd::options::{CommandError, RunOptions};
use crate::model::ModelConfig;
use crate::pcap::PcapWriter;
use ironwarp_driver::transport::{Fabric, HostMemory, InProcess, Step};
use ironwarp_driver::verbs::{Context, ContextConfig};
use ironwarp_proto::pins::{Device, Nanos};
use ironwarp_proto::wire::eth::MacAddr;
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use thiserror::Error;

/// Longest frame taken from the socket, bytes.
const FRAME_MAX: usize = 65_536;
/// Longest sleep without looking around, so that other threads get at the device.
const NAP: Duration = Duration::from_millis(10);

/// Where an Ethernet port leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ether {
    /// A pair of Unix datagram sockets, one frame a datagram, as QEMU's `-netdev dgram` has it.
    Unix {
        /// Own socket; made here.
        local: PathBuf,
        /// The other end's.
        remote: PathBuf,
    },
}

/// Text that names no Ethernet.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("'{0}' names no Ethernet: write unix:LOCAL,REMOTE with the paths of two sockets")]
pub struct BadEther(String);

impl FromStr for Ether {
    type Err = BadEther;
    fn from_str(text: &str) -> Result<Self, BadEther> {
        let paths = text.strip_prefix("unix:").and_then(|paths| paths.split_once(','));
        match paths {
            Some((local, remote)) if !local.is_empty() && !remote.is_empty() => {
                Ok(Ether::Unix { local: local.into(), remote: remote.into() })
            }
            _ => Err(BadEther(text.into())),
        }
    }
}

/// The socket of an [`Ether::Unix`]; its file goes with it.
struct Port {
    socket: UnixDatagram,
    local: PathBuf,
    remote: PathBuf,
    buffer: Vec<u8>,
}

impl Port {
    fn open(ether: &Ether) -> std::io::Result<Self> {
        let Ether::Unix { local, remote } = ether;
        // A socket left behind by a process that is gone would be in the way.
        if local.exists() && UnixDatagram::unbound()?.connect(local).is_err() {
            std::fs::remove_file(local)?;
        }
        let socket = UnixDatagram::bind(local)?;
        Ok(Self { socket, local: local.clone(), remote: remote.clone(), buffer: vec![0; FRAME_MAX] })
    }

    /// A frame is lost when the other end is away or does not read, as on any Ethernet.
    fn send(&self, frame: &[u8]) {
        if let Err(error) = self.socket.send_to(frame, &self.remote) {
            tracing::debug!(%error, "frame lost");
        }
    }

    /// The next frame, waiting at most `longest` for it.
    fn receive(&mut self, longest: Duration) -> Option<&[u8]> {
        let set = if longest.is_zero() {
            self.socket.set_nonblocking(true)
        } else {
            self.socket.set_nonblocking(false).and_then(|()| self.socket.set_read_timeout(Some(longest)))
        };
        match set.and_then(|()| self.socket.recv(&mut self.buffer)) {
            Ok(len) => Some(&self.buffer[..len]),
            Err(error) => {
                if !matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) {
                    tracing::warn!(%error, "cannot receive");
                }
                None
            }
        }
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.local);
    }
}

/// One device, one port, the clock of this machine.
struct Live {
    device: Box<dyn Device>,
    port: Port,
    start: Instant,
    capture: Option<(PcapWriter, u32)>,
}

impl Live {
    fn record(&mut self, frame: &[u8]) {
        let now = self.now();
        if let Some((writer, interface)) = &mut self.capture {
            writer.frame(now, *interface, frame, "");
        }
    }

    /// Send what the device has; whether there was anything.
    fn send_all(&mut self) -> bool {
        let mut sent = false;
        while let Some(frame) = self.device.transmit(self.now()) {
            self.record(&frame);
            self.port.send(&frame);
            sent = true;
        }
        sent
    }

    fn receive(&mut self, longest: Duration) -> bool {
        let Some(frame) = self.port.receive(longest).map(<[u8]>::to_vec) else { return false };
        self.record(&frame);
        let now = self.now();
        self.device.receive(now, &frame);
        true
    }
}

impl Fabric for Live {
    fn read32(&mut self, _: usize, offset: u32) -> u32 {
        let now = self.now();
        self.device.read32(now, offset)
    }
    fn write32(&mut self, _: usize, offset: u32, value: u32) {
        let now = self.now();
        self.device.write32(now, offset, value);
    }
    fn interrupt(&self, _: usize) -> bool {
        self.device.interrupt()
    }
    fn now(&self) -> Nanos {
        self.start.elapsed().as_nanos() as Nanos
    }
    fn step(&mut self, limit: Option<Nanos>) -> Step {
        let now = self.now();
        if self.device.next_event().is_some_and(|at| at <= now) {
            self.device.advance(now);
        }
        if self.send_all() || self.receive(Duration::ZERO) {
            self.send_all();
            return Step::Event;
        }
        let until = [limit, self.device.next_event()].into_iter().flatten().min();
        let longest = until.map_or(NAP, |at| Duration::from_nanos(at.saturating_sub(now)).min(NAP));
        if !longest.is_zero() && self.receive(longest) {
            self.send_all();
            return Step::Event;
        }
        let reached = limit.is_some_and(|limit| limit <= self.now());
        if reached { Step::Limit } else { Step::Event }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Some((writer, _)) = self.capture.take()
            && let Err(error) = writer.finish()
        {
            tracing::warn!(%error, "capture");
        }
    }
}

/// Open a golden model on `ether` with a driver on top.
pub fn open(
    ether: &Ether,
    mac: MacAddr,
    ip: Ipv4Addr,
    options: &RunOptions,
) -> Result<Context, CommandError> {
    let Ether::Unix { local, .. } = ether;
    let port = Port::open(ether)
        .map_err(|error| CommandError::Failed(format!("cannot open socket {}: {error}", local.display())))?;
    let capture = match &options.pcap {
        Some(path) => {
            let mut writer = PcapWriter::create(path)?;
            let interface = writer.add_interface("ironwarp");
            Some((writer, interface))
        }
        None => None,
    };
    let memory = HostMemory::new();
    let device = options.engine.device(&ModelConfig::default(), memory.clone())?;
    let live: Arc<Mutex<dyn Fabric>> =
        Arc::new(Mutex::new(Live { device, port, start: Instant::now(), capture }));
    let mut transports = InProcess::attach_all(live, vec![memory]);
    let transport = transports.remove(0);
    // On a real network nobody may guess STags and sequence numbers: the seed is for reproducible simulations only.
    Ok(Context::open(transport, ContextConfig::new(mac, ip).mtu(options.mtu))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ethernets_are_named_by_their_sockets() {
        let unix = Ether::Unix { local: "/a/b".into(), remote: "c".into() };
        assert_eq!("unix:/a/b,c".parse(), Ok(unix));
        for bad in ["", "unix:", "unix:a", "unix:,b", "tap:x"] {
            assert!(bad.parse::<Ether>().is_err(), "{bad}");
        }
    }
}
