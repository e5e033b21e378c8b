//! `ironwarp vfio-user`: simulated RNICs as PCI devices for other processes.

use super::options::{CommandError, LinkOptions};
use crate::engine::Engine;
use crate::lab::LabError;
use crate::size::Size;
use crate::vfio_user::Host;
use crate::world::World;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

/// Two RNICs on one link, each a PCI device on a vfio-user socket: for QEMU, or for --device vfio-user:PATH of other
/// commands. Ends on SIGINT or SIGTERM.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Socket of the first device; made here.
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,
    /// Socket of the second device; without it, the first is alone on its link.
    #[arg(long, value_name = "PATH")]
    peer: Option<PathBuf>,
    /// What plays the devices.
    #[arg(long, value_enum, default_value = "model")]
    engine: Engine,
    /// Size of the devices.
    #[arg(long, value_enum, default_value = "full")]
    config: Size,
    /// Seed of the link's faults.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    link: LinkOptions,
}

/// Run the command.
pub fn run(args: &Args) -> Result<(), CommandError> {
    // First of all: from here on a signal ends the loop, which removes the sockets.
    let (stop, signalled) = UnixStream::pair()?;
    for signal in [SIGINT, SIGTERM] {
        signal_hook::low_level::pipe::register(signal, signalled.try_clone()?)?;
    }
    let mut host = Host::new(World::new(args.seed));
    for (path, name) in [(Some(&args.socket), "left"), (args.peer.as_ref(), "right")] {
        let Some(path) = path else { continue };
        host.add(path, name, |memory| {
            Ok::<_, CommandError>(args.engine.settled().device(&args.config.device(), memory)?)
        })?;
        println!("{name}: vfio-user:{}", path.display());
    }
    host.world().connect(args.link.link()).map_err(LabError::from)?;
    Ok(host.run(stop.as_fd())?)
}
