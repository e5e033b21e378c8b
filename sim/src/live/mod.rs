//! A device in this process on a real Ethernet: real time, frames to and from a socket or an interface of the host.

pub mod ether;
mod nic;
mod pair;
mod port;
mod served;
mod stop;
pub mod switch;

pub use ether::Ether;
pub use nic::Nic;
pub use pair::Pair;
pub use port::{Port, PortStats};
pub use served::Served;
pub use stop::{Patience, Stop};

use crate::cmd::options::{CommandError, RunOptions};
use crate::engine::Engine;
use crate::model::ModelConfig;
use crate::pcap::CaptureError;
use ironwarp_driver::transport::{DeviceName, Fabric, HostMemory, InProcess};
use ironwarp_driver::verbs::{Context, ContextConfig};
use ironwarp_proto::pins::Nanos;
use ironwarp_proto::wire::eth::MacAddr;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How long the last frames may take to leave.
const DRAIN: Nanos = 20_000_000;

/// What a [`Host`] is to be.
#[derive(Debug, Clone)]
pub struct HostConfig {
    /// Where its port leads.
    pub ether: Ether,
    /// MAC address.
    pub mac: MacAddr,
    /// IPv4 address.
    pub ip: Ipv4Addr,
    /// IP MTU, bytes.
    pub mtu: u16,
    /// What plays the device.
    pub engine: Engine,
    /// Its size.
    pub device: ModelConfig,
    /// Where every frame is recorded.
    pub pcap: Option<PathBuf>,
}

impl HostConfig {
    /// On the golden model, with an MTU of 1500, unrecorded.
    pub fn new(ether: Ether, mac: MacAddr, ip: Ipv4Addr) -> Self {
        Self { ether, mac, ip, mtu: 1500, engine: Engine::Model, device: ModelConfig::FULL, pcap: None }
    }

    /// With engine, size, MTU and record of these options.
    pub fn with(mut self, options: &RunOptions) -> Result<Self, CommandError> {
        (self.mtu, self.engine, self.pcap) = (options.mtu, options.engine, options.pcap.clone());
        self.device = options.device()?;
        Ok(self)
    }
}

/// Two NICs of this process, each on an Ethernet of its own, with a driver each.
pub fn open_pair(configs: [&HostConfig; 2]) -> Result<[Context; 2], CommandError> {
    let memories = [HostMemory::new(), HostMemory::new()];
    let nic = |node: usize| {
        let config = configs[node];
        Nic::open(
            &config.ether,
            config.engine,
            &config.device,
            config.pcap.as_deref(),
            memories[node].clone(),
        )
    };
    let fabric: Arc<Mutex<dyn Fabric>> = Arc::new(Mutex::new(Pair::new([nic(0)?, nic(1)?])));
    let transports = InProcess::attach_all(fabric, memories.to_vec());
    let open = |node: usize| {
        let HostConfig { mac, ip, mtu, .. } = *configs[node];
        Context::open(transports[node].clone(), ContextConfig::new(mac, ip).mtu(mtu))
    };
    Ok([open(0)?, open(1)?])
}

/// A NIC and the driver on top of it.
pub struct Host {
    /// `None` if it is elsewhere.
    nic: Option<Arc<Mutex<Nic>>>,
    /// The driver.
    pub context: Context,
}

impl Host {
    /// Open a device on its Ethernet with a driver on top.
    pub fn open(config: &HostConfig) -> Result<Self, CommandError> {
        let memory = HostMemory::new();
        let nic =
            Nic::open(&config.ether, config.engine, &config.device, config.pcap.as_deref(), memory.clone())?;
        let nic = Arc::new(Mutex::new(nic));
        let fabric: Arc<Mutex<dyn Fabric>> = nic.clone();
        let transport = InProcess::attach_all(fabric, vec![memory]).remove(0);
        // On a real network nobody may guess STags and sequence numbers: the seed is for reproducible simulations only.
        let context = Context::open(transport, ContextConfig::new(config.mac, config.ip).mtu(config.mtu))?;
        Ok(Self { nic: Some(nic), context })
    }

    /// Open a driver on a device elsewhere.
    pub fn on_device(name: &DeviceName, config: ContextConfig) -> Result<Self, CommandError> {
        Ok(Self { nic: None, context: Context::open_device(name, config)? })
    }

    /// Whether the device is in another process, or on a bus.
    pub fn is_elsewhere(&self) -> bool {
        self.nic.is_none()
    }

    /// The device on its port, if it is in this process.
    pub fn nic(&self) -> Option<MutexGuard<'_, Nic>> {
        self.nic.as_ref().map(|nic| nic.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A limit of `seconds` from now on (0: none) for what waits.
    pub fn patience(&self, stop: &Stop, seconds: u64) -> Patience {
        let deadline =
            (seconds > 0).then(|| self.context.now().saturating_add(seconds.saturating_mul(1_000_000_000)));
        Patience { stop: stop.clone(), deadline }
    }

    /// Let the last frames, such as a RST or the ACK of a FIN, leave, and end the recording.
    pub fn finish(&self) -> Result<(), CommandError> {
        let deadline = self.context.now() + DRAIN;
        while self.context.now() < deadline {
            self.context.wait(Some(deadline))?;
        }
        let finished: Result<(), CaptureError> = self.nic().map_or(Ok(()), |mut nic| nic.finish_capture());
        Ok(finished?)
    }
}
