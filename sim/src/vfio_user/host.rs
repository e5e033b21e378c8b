//! Simulated devices and their links on the clock of this machine, served to other processes.

use super::memory::DmaSpace;
use super::server::{Server, ServerError};
use crate::world::World;
use ironwarp_driver::transport::{Fabric, Step};
use ironwarp_proto::pins::{Device, Nanos};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Events of the world handled before clients have their turn.
const BATCH: usize = 256;

/// A world whose time is that of the clock, and the servers of its devices, in one thread.
pub struct Host {
    world: World,
    servers: Vec<Server>,
    start: Instant,
}

impl Host {
    /// Serve devices that are added to `world`, which must be new.
    pub fn new(world: World) -> Self {
        Self { world, servers: Vec::new(), start: Instant::now() }
    }

    /// Add a device, made for the memory of its client, and listen at `path`.
    pub fn add<E: From<ServerError>>(
        &mut self,
        path: &Path,
        name: &str,
        device: impl FnOnce(Arc<DmaSpace>) -> Result<Box<dyn Device>, E>,
    ) -> Result<(), E> {
        let memory = DmaSpace::new();
        let node = self.world.add_node(device(memory.clone())?, name);
        self.servers.push(Server::bind(path, &mut self.world, node, memory)?);
        Ok(())
    }

    /// The devices and the links between them.
    pub fn world(&mut self) -> &mut World {
        &mut self.world
    }

    /// Number of clients.
    pub fn clients(&self) -> usize {
        self.servers.iter().filter(|server| server.has_client()).count()
    }

    /// Serve until `stop` has input or hangs up.
    pub fn run(&mut self, stop: BorrowedFd<'_>) -> Result<(), ServerError> {
        while !self.turn(stop)? {}
        Ok(())
    }

    fn now(&self) -> Nanos {
        self.start.elapsed().as_nanos() as Nanos
    }

    /// Let the world go on up to now; `false` if it has more to do.
    fn catch_up(&mut self) -> bool {
        let now = self.now();
        (0..BATCH).any(|_| self.world.step(Some(now)) != Step::Event)
    }

    /// Wait for something to do, and do it; whether to stop.
    fn turn(&mut self, stop: BorrowedFd<'_>) -> Result<bool, ServerError> {
        let idle = self.catch_up();
        for server in &mut self.servers {
            server.interrupt(self.world.interrupt(server.node()));
        }
        let next = if idle { self.world.next_event() } else { Some(0) };
        let left = next.map(|at| at.saturating_sub(self.now()));
        let timeout = left.map(|left| Timespec {
            tv_sec: (left / 1_000_000_000) as i64,
            tv_nsec: (left % 1_000_000_000) as i64,
        });
        let mut fds = vec![PollFd::from_borrowed_fd(stop, PollFlags::IN)];
        for server in &self.servers {
            fds.extend(server.fds().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        }
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(ServerError::Poll(error.into())),
        }
        let stopped = !fds[0].revents().is_empty();
        let called = fds.iter().skip(1).any(|fd| !fd.revents().is_empty());
        drop(fds);
        if called {
            self.catch_up();
            for server in &mut self.servers {
                server.serve(&mut self.world);
            }
        }
        Ok(stopped)
    }
}
