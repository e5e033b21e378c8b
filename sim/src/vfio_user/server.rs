//! The socket of a PCI function: one client at a time, never blocking, nothing believed.

use super::function::PciFunction;
use super::memory::DmaSpace;
use ironwarp_driver::transport::Fabric;
use ironwarp_driver::transport::vfio_user::wire::{Header, Message, Reader, flags, send};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thiserror::Error;

/// Messages of a client handled before the device and others have their turn.
const BATCH: usize = 64;

/// Why a function cannot be served.
#[derive(Debug, Error)]
pub enum ServerError {
    /// The socket.
    #[error("cannot listen at {}: {error}", path.display())]
    Listen {
        /// Where.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// Another process listens there.
    #[error("another process listens at {}; stop it or choose another path", .0.display())]
    InUse(PathBuf),
    /// No such device, or not an Ironwarp device.
    #[error("registers of device {0} make no sense: no Ironwarp device")]
    NoDevice(usize),
    /// Waiting failed.
    #[error("cannot wait for clients: {0}")]
    Poll(#[from] io::Error),
}

struct Client {
    socket: UnixStream,
    reader: Reader,
}

/// A PCI function on a socket. The socket's file goes with it.
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
    function: PciFunction,
    client: Option<Client>,
}

impl Server {
    /// Listen at `path` for clients of device `node` of `fabric`, which was made with `memory`.
    pub fn bind(
        path: &Path,
        fabric: &mut dyn Fabric,
        node: usize,
        memory: Arc<DmaSpace>,
    ) -> Result<Self, ServerError> {
        let function = PciFunction::new(fabric, node, memory).ok_or(ServerError::NoDevice(node))?;
        let listen = |error| ServerError::Listen { path: path.into(), error };
        let listener = match UnixListener::bind(path) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                // A process that was killed leaves its socket behind; one that lives answers.
                match UnixStream::connect(path) {
                    Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                    Err(error) => return Err(listen(error)),
                    Ok(_) => return Err(ServerError::InUse(path.into())),
                }
                std::fs::remove_file(path).and_then(|()| UnixListener::bind(path))
            }
            bound => bound,
        };
        let listener = listener.map_err(listen)?;
        listener.set_nonblocking(true).map_err(listen)?;
        Ok(Self { listener, path: path.into(), function, client: None })
    }

    /// What to poll for input: [`serve`](Self::serve) has something to do when one of them has some.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        [self.listener.as_fd()].into_iter().chain(self.client.as_ref().map(|client| client.socket.as_fd()))
    }

    /// Number of the device.
    pub fn node(&self) -> usize {
        self.function.node()
    }
    /// Whether there is a client.
    pub fn has_client(&self) -> bool {
        self.client.is_some()
    }
    /// Tell the level of the device's interrupt line.
    pub fn interrupt(&mut self, level: bool) {
        self.function.interrupt(level);
    }

    /// Handle what has come, at most a batch; never blocks.
    pub fn serve(&mut self, fabric: &mut dyn Fabric) {
        // The old client first: the new one may be there because the old one is gone.
        if let Some(client) = &mut self.client
            && let Err(error) = client.serve(&mut self.function, fabric)
        {
            match error.kind() {
                ErrorKind::UnexpectedEof => tracing::info!("client has gone"),
                _ => tracing::warn!(%error, "client dropped"),
            }
            self.release(fabric);
        }
        self.accept(fabric);
    }

    fn release(&mut self, fabric: &mut dyn Fabric) {
        self.client = None;
        self.function.release(fabric);
    }

    fn accept(&mut self, fabric: &mut dyn Fabric) {
        let socket = match self.listener.accept() {
            Ok((socket, _)) => socket,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) => return tracing::warn!(%error, "cannot accept a client"),
        };
        // The old one may have gone since it was served.
        if self.client.as_ref().is_some_and(Client::has_gone) {
            self.release(fabric);
        }
        if self.client.is_some() {
            // Closing tells it at once; waiting in the queue would tell it nothing.
            return tracing::warn!("a second client was refused: the device is in use");
        }
        match socket.set_nonblocking(true) {
            Ok(()) => self.client = Some(Client { socket, reader: Reader::default() }),
            Err(error) => tracing::warn!(%error, "cannot serve a client"),
        }
    }
}

impl Client {
    fn serve(&mut self, function: &mut PciFunction, fabric: &mut dyn Fabric) -> io::Result<()> {
        for _ in 0..BATCH {
            let Some(message) = self.reader.read(&self.socket)? else { break };
            let Message { header, .. } = message;
            if header.has(flags::REPLY) {
                return Err(io::Error::new(ErrorKind::InvalidData, "it sent a reply, and was asked nothing"));
            }
            let result = function.handle(fabric, message);
            if let Err(error) = &result {
                tracing::warn!(command = header.command, %error, "refused");
            }
            if !header.has(flags::NO_REPLY) {
                self.reply(header, result)?;
            }
        }
        Ok(())
    }

    fn has_gone(&self) -> bool {
        let mut fds = [PollFd::new(&self.socket, PollFlags::RDHUP)];
        poll(&mut fds, Some(&Timespec::default())).is_ok_and(|count| count > 0)
    }

    /// A client that does not read its replies is not waited for: what does not fit into the socket is an error.
    fn reply(&self, to: Header, result: Result<Vec<u8>, Errno>) -> io::Result<()> {
        let error = result.as_ref().err().map_or(0, |errno| errno.raw_os_error().unsigned_abs());
        let flags = flags::REPLY | if error == 0 { 0 } else { flags::ERROR };
        send(&self.socket, Header { flags, error, ..to }, &result.unwrap_or_default(), &[])
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
