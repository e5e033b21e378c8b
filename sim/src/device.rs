//! Devices by name: those of the driver, and those simulated in this process.

use crate::engine::{Engine, EngineError};
use crate::model::ModelConfig;
use crate::world::World;
use ironwarp_driver::Error;
use ironwarp_driver::transport::{DeviceName, Fabric, HostMemory, InProcess, Transport, TransportError};
use ironwarp_driver::verbs::{Context, ContextConfig};
use std::sync::{Arc, Mutex};
use thiserror::Error as ThisError;

/// Why a device cannot be opened.
#[derive(Debug, ThisError)]
pub enum OpenDeviceError {
    /// It cannot be simulated.
    #[error("cannot open {name}: {error}")]
    Engine {
        /// Which.
        name: DeviceName,
        /// Why.
        error: EngineError,
    },
    /// There is no way to it.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The driver has no use for it.
    #[error(transparent)]
    Driver(#[from] Error),
}

/// The engine that plays a device of this name; none if the device is elsewhere.
pub fn engine(name: &DeviceName) -> Option<Engine> {
    match name {
        DeviceName::Model => Some(Engine::Model),
        DeviceName::Rtl => Some(Engine::Rtl),
        DeviceName::RtlVerilated => Some(Engine::RtlVerilated),
        _ => None,
    }
}

/// A way to a device. One that is simulated in this process is alone in a world of its own, on simulated time; what is to have a
/// link comes from [`Lab`](crate::lab::Lab) or [`live::Host`](crate::live::Host).
pub fn open_transport(name: &DeviceName) -> Result<Arc<dyn Transport>, OpenDeviceError> {
    let Some(engine) = engine(name) else { return Ok(name.open()?) };
    let memory = HostMemory::new();
    let device = engine
        .device(&ModelConfig::default(), memory.clone())
        .map_err(|error| OpenDeviceError::Engine { name: name.clone(), error })?;
    let mut world = World::new(1);
    world.add_node(device, &name.to_string());
    let world: Arc<Mutex<dyn Fabric>> = Arc::new(Mutex::new(world));
    Ok(InProcess::attach_all(world, vec![memory]).remove(0))
}

/// A driver on such a device.
///
/// ```
/// use ironwarp_driver::verbs::ContextConfig;
/// use ironwarp_proto::wire::eth::MacAddr;
/// let config = ContextConfig::new(MacAddr([2, 0x1a, 0xce, 0, 0, 1]), [10, 9, 0, 1].into());
/// let context = ironwarp_sim::open_device(&"model".parse()?, config)?;
/// assert_eq!(context.attributes().max_qp, 64);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn open_device(name: &DeviceName, config: ContextConfig) -> Result<Context, OpenDeviceError> {
    Ok(Context::open(open_transport(name)?, config)?)
}
