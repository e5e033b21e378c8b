//! Two hosts with an RNIC each on one link, all in this process: what demos, benchmarks and tests start from.

use crate::engine::{Engine, EngineError, Watch};
use crate::link::LinkConfig;
use crate::model::ModelConfig;
use crate::pcap::PcapWriter;
use crate::rtl::WavesConfig;
use crate::world::{World, WorldError};
use ironwarp_driver::Error;
use ironwarp_driver::cm::{AcceptParams, ConnectError, ConnectParams, Established, RtrSet};
use ironwarp_driver::transport::{DeviceName, Fabric, HostMemory, InProcess, Transport, Wait};
use ironwarp_driver::verbs::{CompletionQueue, Context, ContextConfig, Notify, QueuePair};
use ironwarp_proto::pins::Nanos;
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
    /// A device.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A driver.
    #[error("cannot open device {name}: {error}")]
    Open {
        /// Name of the node.
        name: String,
        /// What the driver says.
        error: Error,
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

/// Longest wait on real devices for something that must happen, ns: every retransmission that can help has then been made.
const PATIENCE: Nanos = 60_000_000_000;

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
    /// Waveforms of both, each in a file of its own, if the engine has any.
    pub waves: Option<WavesConfig>,
}

impl LabConfig {
    /// How the driver of host `node` opens its device.
    fn host(&self, node: usize) -> ContextConfig {
        let mac = MacAddr([2, 0x1a, 0xce, 0, 0, 1 + node as u8]);
        let seed = self.seed.wrapping_mul(2).wrapping_add(node as u64);
        ContextConfig::new(mac, address(node)).mtu(self.mtu).seed(seed)
    }
}

/// Two hosts.
pub struct Lab {
    /// Empty if the devices are elsewhere.
    world: Arc<Mutex<World>>,
    /// The devices are on real time: only armed queues tell of completions, and nothing ever is idle.
    live: bool,
    /// What their devices do, if the engine tells.
    pub watches: [Watch; 2],
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
        let waves = NAMES.map(|name| config.waves.as_ref().map(|waves| waves.for_device(name)));
        let mut device = config.device;
        let watches = waves.map(|waves| Watch { waves, ..Watch::default() });
        for ((memory, watch), name) in memories.iter().zip(&watches).zip(NAMES) {
            world.add_node(config.engine.watched(&device, memory.clone(), watch)?, name);
            // The two are not stalled alike.
            device.dma_seed ^= 1 << 63;
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
            let opened = Context::open(transport, config.host(node));
            opened.map_err(|error| LabError::Open { name: NAMES[node].into(), error })
        };
        Ok(Self { hosts: [open(0)?, open(1)?], watches, world, live: false })
    }

    /// Two hosts on devices that are elsewhere and can reach one another; of the configuration, the link and the size of the
    /// devices mean nothing.
    pub fn on_devices(names: [&DeviceName; 2], config: &LabConfig) -> Result<Self, LabError> {
        let open = |node: usize| {
            let opened = Context::open_device(names[node], config.host(node));
            opened.map_err(|error| LabError::Open { name: names[node].to_string(), error })
        };
        Ok(Self::of_hosts([open(0)?, open(1)?]))
    }

    /// Two hosts whose devices are on real time and can reach one another.
    pub fn of_hosts(hosts: [Context; 2]) -> Self {
        let world = Arc::new(Mutex::new(World::new(0)));
        Self { hosts, watches: Default::default(), world, live: true }
    }

    /// Whether the devices are on real time.
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// Let time pass until something happened. `Idle` if nothing can happen any more; on real time, if nothing has
    /// completed `queues` since `start` for so long that nothing will.
    pub fn wait(&self, start: Nanos, queues: &[&CompletionQueue]) -> Result<Wait, Error> {
        if self.live {
            queues.iter().try_for_each(|cq| cq.arm(Notify::Any))?;
            if self.hosts[0].now().saturating_sub(start) > PATIENCE {
                return Ok(Wait::Idle);
            }
        }
        self.hosts[0].wait(None)
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
        let connecting = left.connect(listener.local(), connect)?;
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
