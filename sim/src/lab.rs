//! Two hosts with an RNIC each on one link, all in this process: what demos, benchmarks and tests start from.

use crate::emulated::Meter;
use crate::engine::{Engine, EngineError};
use crate::link::LinkConfig;
use crate::model::ModelConfig;
use crate::pcap::PcapWriter;
use crate::world::{World, WorldError};
use ironwarp_driver::cm::{AcceptParams, ConnectError, ConnectParams, Established, RtrSet};
use ironwarp_driver::transport::{Fabric, HostMemory, InProcess, Transport};
use ironwarp_driver::verbs::{Context, ContextConfig, QueuePair};
use ironwarp_proto::wire::eth::MacAddr;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use thiserror::Error;

/// Why a laboratory could not be set up.
#[derive(Debug, Error)]
pub enum LabError {
    /// The link.
    #[error(transparent)]
    World(#[from] WorldError),
    /// A device.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A driver.
    #[error("cannot open device {name}: {error}")]
    Open {
        /// Name of the node.
        name: &'static str,
        /// What the driver says.
        error: ironwarp_driver::Error,
    },
    /// A connection.
    #[error("cannot connect the hosts: {0}")]
    Connect(#[from] ConnectError),
    /// Private data came out other than it went in.
    #[error("private data was changed on the way")]
    PrivateData,
}

/// How two queue pairs are connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    /// Use CRC.
    pub crc: bool,
    /// Use markers in both directions.
    pub markers: bool,
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
    /// What plays the devices.
    pub engine: Engine,
    /// Their size.
    pub device: ModelConfig,
}

/// Two hosts.
pub struct Lab {
    world: Arc<Mutex<World>>,
    /// What their devices do, if the engine tells.
    pub meters: [Arc<Meter>; 2],
    /// Their drivers.
    pub hosts: [Context; 2],
}

/// IPv4 address of host `node`.
pub fn address(node: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, 1 + node as u8)
}

impl Lab {
    /// Two hosts; frames are recorded with `capture`.
    pub fn new(config: &LabConfig, capture: Option<PcapWriter>) -> Result<Self, LabError> {
        let mut world = World::new(config.seed);
        world.set_max_frame(usize::from(config.mtu) + 18);
        let memories = [HostMemory::new(), HostMemory::new()];
        let meters: [Arc<Meter>; 2] = Default::default();
        for ((memory, meter), name) in memories.iter().zip(&meters).zip(NAMES) {
            world.add_node(config.engine.metered(&config.device, memory.clone(), meter.clone())?, name);
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
        Ok(Self { hosts: [open(0)?, open(1)?], meters, world })
    }

    /// Connect two queue pairs, the first as initiator, in the peer-to-peer model so that both may send at once.
    /// Private data goes both ways and is checked.
    pub fn connect(
        &self,
        [left, right]: [&QueuePair; 2],
        how: &Connection,
    ) -> Result<[Established; 2], LabError> {
        let listener = self.hosts[1].listen(0, 4)?;
        let (hello, answer) = (b"hello from the left".to_vec(), b"and from the right".to_vec());
        let connect = ConnectParams {
            private_data: hello.clone(),
            crc: how.crc,
            markers: how.markers,
            rtr: Some(RtrSet::ALL),
            ..ConnectParams::default()
        };
        let address = SocketAddrV4::new(address(1), listener.local().port());
        let connecting = left.connect(address, connect)?;
        let request = listener.wait(None)?;
        let same = request.private_data() == hello;
        let accept = AcceptParams {
            private_data: answer.clone(),
            crc: how.crc,
            markers: how.markers,
            ..AcceptParams::default()
        };
        let accepting = request.accept(right, accept)?;
        let established = [connecting.wait(None)?, accepting.wait(None)?];
        if same && established[0].private_data == answer {
            Ok(established)
        } else {
            Err(LabError::PrivateData)
        }
    }

    /// The devices and the link between them.
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
