//! Two hosts with an RNIC each on one link, all in this process: what demos, benchmarks and tests start from.

use crate::link::LinkConfig;
use crate::model::{Model, ModelConfig};
use crate::pcap::PcapWriter;
use crate::world::{World, WorldError};
use ironwarp_driver::transport::{Fabric, HostMemory, InProcess, Transport};
use ironwarp_driver::verbs::{Context, ContextConfig};
use ironwarp_proto::wire::eth::MacAddr;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use thiserror::Error;

/// Why a laboratory could not be set up.
#[derive(Debug, Error)]
pub enum LabError {
    /// The link.
    #[error(transparent)]
    World(#[from] WorldError),
    /// A driver.
    #[error("cannot open device {name}: {error}")]
    Open {
        /// Name of the node.
        name: &'static str,
        /// What the driver says.
        error: ironwarp_driver::Error,
    },
}

/// Names of the two nodes.
pub const NAMES: [&str; 2] = ["left", "right"];

/// What a laboratory is made of.
#[derive(Debug, Clone)]
pub struct LabConfig {
    /// The link in both directions.
    pub link: LinkConfig,
    /// IP MTU, bytes.
    pub mtu: u16,
    /// Seed of everything random.
    pub seed: u64,
    /// Size of the devices.
    pub device: ModelConfig,
}

/// Two hosts.
pub struct Lab {
    world: Arc<Mutex<World>>,
    /// Their drivers.
    pub hosts: [Context; 2],
}

/// IPv4 address of host `node`.
pub fn address(node: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, 1 + node as u8)
}

impl Lab {
    /// Two hosts on golden models; frames are recorded with `capture`.
    pub fn new(config: &LabConfig, capture: Option<PcapWriter>) -> Result<Self, LabError> {
        let mut world = World::new(config.seed);
        world.set_max_frame(usize::from(config.mtu) + 18);
        let memories = [HostMemory::new(), HostMemory::new()];
        for (memory, name) in memories.iter().zip(NAMES) {
            world.add_node(Box::new(Model::new(config.device, memory.clone())), name);
        }
        world.connect(config.link)?;
        if let Some(writer) = capture {
            world.capture(writer);
        }
        let world = Arc::new(Mutex::new(world));
        let fabric: Arc<Mutex<dyn Fabric>> = world.clone();
        let transports = InProcess::attach_all(fabric, memories.to_vec());
        let open = |node: usize| {
            let transport: Arc<dyn Transport> = transports[node].clone();
            let mac = MacAddr([2, 0x1a, 0xce, 0, 0, 1 + node as u8]);
            let own = ContextConfig::new(mac, address(node))
                .mtu(config.mtu)
                .seed(config.seed.wrapping_mul(2).wrapping_add(node as u64));
            Context::open(transport, own).map_err(|error| LabError::Open { name: NAMES[node], error })
        };
        Ok(Self { hosts: [open(0)?, open(1)?], world })
    }

    /// The devices and the link between them.
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
