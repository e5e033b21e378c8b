//! A NIC whose driver is in another process: a PCI function on a vfio-user socket, on a real Ethernet.

use super::{Ether, Nic};
use crate::cmd::options::{CommandError, RunOptions};
use crate::pcap::CaptureError;
use crate::vfio_user::{DmaSpace, Server};
use ironwarp_driver::transport::Fabric;
use ironwarp_proto::pins::Nanos;
use std::path::Path;

/// Frames and other events handled before the client has its turn.
const BATCH: usize = 64;

/// A NIC and the socket at which its driver comes and goes.
pub struct Served {
    nic: Nic,
    server: Server,
}

impl Served {
    /// Put a device on its Ethernet, and listen at `socket` for its driver.
    pub fn open(ether: &Ether, options: &RunOptions, socket: &Path) -> Result<Self, CommandError> {
        let memory = DmaSpace::new();
        let mut nic =
            Nic::open(ether, options.engine, &options.device()?, options.pcap.as_deref(), memory.clone())?;
        let server = Server::bind(socket, &mut nic, 0, memory)?;
        Ok(Self { nic, server })
    }

    /// The device on its port.
    pub fn nic(&self) -> &Nic {
        &self.nic
    }

    /// Whether a driver is there.
    pub fn has_client(&self) -> bool {
        self.server.has_client()
    }

    /// Do what there is to do, for the wire and for the driver; sleep before if there is nothing, until `limit` at the latest.
    pub fn turn(&mut self, limit: Nanos) {
        let busy = (0..BATCH).all(|_| self.nic.work());
        self.server.interrupt(self.nic.interrupt(self.server.node()));
        let others: Vec<_> = self.server.fds().collect();
        if self.nic.sleep(&others, Some(if busy { 0 } else { limit })) {
            self.server.serve(&mut self.nic);
        }
    }

    /// End the recording; tells whether it is complete.
    pub fn finish(mut self) -> Result<(), CaptureError> {
        self.nic.finish_capture()
    }
}
