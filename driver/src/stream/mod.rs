//! Plain TCP carried by the device ("Stream mode" in `docs/host-abi.md`), in the manner of `std::net`.
//!
//! ```
//! use ironwarp_driver::stream::{TcpListener, TcpStream};
//! use ironwarp_driver::verbs::Context;
//! use std::io::{Read, Write};
//! use std::net::SocketAddrV4;
//! fn hello(context: &Context, peer: SocketAddrV4) -> std::io::Result<Vec<u8>> {
//!     let mut stream = TcpStream::connect(context, peer)?;
//!     stream.write_all(b"hello")?;
//!     stream.shutdown_write()?;
//!     let mut answer = Vec::new();
//!     stream.read_to_end(&mut answer)?;
//!     Ok(answer)
//! }
//! ```
//!
//! Blocking calls let simulated time pass. In a world where nothing is left to happen they fail with
//! [`ErrorKind::Deadlock`] instead of hanging.

mod pipe;

use crate::cm::{ConnectError, Connecting, Kind};
use crate::error::Error;
use crate::net::CloseReason;
use crate::sync::lock;
use crate::verbs::{Context, Device};
use ironwarp_proto::pins::Nanos;
use pipe::Pipe;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long `connect` tries.
const CONNECT_TIMEOUT: Nanos = 120_000_000_000;
/// How long a dropped stream waits for the peer to take everything and close.
const LINGER: Nanos = 60_000_000_000;

/// How calls wait.
#[derive(Debug, Default)]
struct Patience {
    nonblocking: AtomicBool,
    read: Mutex<Option<Duration>>,
    write: Mutex<Option<Duration>>,
}

impl Patience {
    /// Polls until there is something, as long as this socket is willing to.
    fn wait<T>(
        &self,
        device: &Device,
        limit: Option<Duration>,
        mut poll: impl FnMut() -> io::Result<Option<T>>,
    ) -> io::Result<T> {
        if self.nonblocking.load(Ordering::Relaxed) {
            return poll()?.ok_or_else(|| ErrorKind::WouldBlock.into());
        }
        let nanos = |limit: Duration| u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        let deadline = limit.map(|limit| device.now().saturating_add(nanos(limit)));
        device.wait_for(deadline, || Ok(poll().transpose())).map_err(io_error)?
    }
}

/// An error of the driver as one of I/O.
fn io_error(error: Error) -> io::Error {
    let kind = match error {
        Error::TimedOut => ErrorKind::TimedOut,
        Error::Idle => ErrorKind::Deadlock,
        Error::Unsupported(_) => ErrorKind::Unsupported,
        _ => ErrorKind::Other,
    };
    io::Error::new(kind, error)
}

/// An error of connecting as one of I/O.
fn connect_error(error: ConnectError) -> io::Error {
    let kind = match &error {
        ConnectError::Tcp(CloseReason::Refused) => ErrorKind::ConnectionRefused,
        ConnectError::Tcp(CloseReason::Reset | CloseReason::Finished) => ErrorKind::ConnectionReset,
        ConnectError::Tcp(CloseReason::Timeout) | ConnectError::Timeout => ErrorKind::TimedOut,
        ConnectError::Net(crate::net::NetError::PortInUse(_)) => ErrorKind::AddrInUse,
        ConnectError::Net(crate::net::NetError::Unreachable(_)) => ErrorKind::HostUnreachable,
        ConnectError::RequestGone | ConnectError::Ended => ErrorKind::ConnectionAborted,
        _ => ErrorKind::Other,
    };
    match error {
        ConnectError::Driver(error) => io_error(error),
        error => io::Error::new(kind, error),
    }
}

/// A port that accepts TCP connections.
pub struct TcpListener {
    device: Arc<Device>,
    local: SocketAddrV4,
    patience: Patience,
    /// Accepted, on their way to the device.
    coming: Mutex<VecDeque<(Arc<Pipe>, Connecting)>>,
}

impl TcpListener {
    /// Listens on `port`; 0 picks a free one. At most `backlog` connections may be under way there at once.
    pub fn bind(context: &Context, port: u16, backlog: usize) -> io::Result<Self> {
        let device = Arc::clone(&context.device);
        let listen = lock(device.manager()).listen(port, backlog, Kind::Stream);
        let local = listen.map_err(|error| connect_error(error.into()))?;
        Ok(Self { device, local, patience: Patience::default(), coming: Mutex::default() })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddrV4 {
        self.local
    }

    /// Whether [`accept`](Self::accept) returns at once.
    pub fn set_nonblocking(&self, nonblocking: bool) {
        self.patience.nonblocking.store(nonblocking, Ordering::Relaxed);
    }

    /// The next connection and who it is from.
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddrV4)> {
        let stream = self.patience.wait(&self.device, None, || self.try_accept())?;
        let peer = stream.peer;
        Ok((stream, peer))
    }

    fn try_accept(&self) -> io::Result<Option<TcpStream>> {
        let mut coming = lock(&self.coming);
        loop {
            let Some(id) = lock(self.device.manager()).next_offered(self.local.port()) else { break };
            let (connecting, ticket) = Connecting::new(&self.device);
            let pipe = match Pipe::create(&self.device) {
                Ok(pipe) => pipe,
                Err(error) => {
                    // Without a QP there is no connection: the peer hears of it.
                    let _ = lock(self.device.manager()).reject(self.device.now(), id, &[]);
                    self.device.kick();
                    return Err(io_error(error));
                }
            };
            let carrier = Box::new(Arc::clone(&pipe));
            let accepted = lock(self.device.manager()).accept_stream(self.device.now(), id, carrier, ticket);
            self.device.kick();
            // One that has gone meanwhile is no error of the listener.
            if accepted.is_ok() {
                coming.push_back((pipe, connecting));
            }
        }
        let mut index = 0;
        while let Some((_, connecting)) = coming.get(index) {
            match connecting.status() {
                None => index += 1,
                Some(outcome) => {
                    let Some((pipe, _)) = coming.remove(index) else { continue };
                    if let Ok(established) = outcome {
                        return Ok(Some(TcpStream::new(pipe, established.local, established.peer)));
                    }
                }
            }
        }
        Ok(None)
    }
}

impl Drop for TcpListener {
    fn drop(&mut self) {
        lock(self.device.manager()).unlisten(self.device.now(), self.local.port());
        self.device.kick();
    }
}

impl std::fmt::Debug for TcpListener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TcpListener({})", self.local)
    }
}

/// A TCP connection carried by the device. Dropped, it closes: in order if everything received was read, else by RST.
#[derive(Debug)]
pub struct TcpStream {
    pipe: Arc<Pipe>,
    local: SocketAddrV4,
    peer: SocketAddrV4,
    patience: Patience,
}

impl TcpStream {
    fn new(pipe: Arc<Pipe>, local: SocketAddrV4, peer: SocketAddrV4) -> Self {
        Self { pipe, local, peer, patience: Patience::default() }
    }

    /// Connects to `peer`.
    pub fn connect(context: &Context, peer: SocketAddrV4) -> io::Result<Self> {
        let device = &context.device;
        let pipe = Pipe::create(device).map_err(io_error)?;
        let (connecting, ticket) = Connecting::new(device);
        let carrier = Box::new(Arc::clone(&pipe));
        let now = device.now();
        let begun = lock(device.manager()).connect_stream(now, peer, carrier, CONNECT_TIMEOUT, ticket);
        begun.map_err(connect_error)?;
        device.kick();
        let established = connecting.wait(None).map_err(connect_error)?;
        Ok(Self::new(pipe, established.local, established.peer))
    }

    /// Own address.
    pub fn local_addr(&self) -> SocketAddrV4 {
        self.local
    }
    /// The peer's address.
    pub fn peer_addr(&self) -> SocketAddrV4 {
        self.peer
    }
    /// Whether reading and writing return at once, with [`ErrorKind::WouldBlock`] if they would have to wait.
    pub fn set_nonblocking(&self, nonblocking: bool) {
        self.patience.nonblocking.store(nonblocking, Ordering::Relaxed);
    }
    /// How long reading waits, in the time of the device; then it fails with [`ErrorKind::TimedOut`]. `None`: for ever.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) {
        *lock(&self.patience.read) = timeout;
    }
    /// How long writing waits.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) {
        *lock(&self.patience.write) = timeout;
    }
    /// Says that nothing more will be written. Reading goes on.
    pub fn shutdown_write(&self) -> io::Result<()> {
        self.pipe.finish().map_err(io_error)
    }
    /// Gives the connection up with RST: what the peer has read so far shall not look like all there is.
    pub fn abort(&self) -> io::Result<()> {
        self.pipe.reset().map_err(io_error)
    }
}

impl Read for &TcpStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        let limit = *lock(&self.patience.read);
        self.patience.wait(self.pipe.device(), limit, || self.pipe.read(buf))
    }
}

impl Write for &TcpStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        let limit = *lock(&self.patience.write);
        self.patience.wait(self.pipe.device(), limit, || self.pipe.write(buf))
    }
    /// Does nothing: what is written is on its way.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for TcpStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buf)
    }
}

impl Write for TcpStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&*self).write(buf)
    }
    fn flush(&mut self) -> io::Result<()> {
        (&*self).flush()
    }
}

impl Drop for TcpStream {
    fn drop(&mut self) {
        // RFC 1122 section 4.2.2.13: what nobody read is lost, and the peer must know.
        let closed = if self.pipe.has_unread() { self.pipe.reset() } else { self.pipe.finish() };
        if let Err(error) = closed {
            tracing::debug!(%error, "closing a dropped stream");
        }
        let device = self.pipe.device();
        let deadline = device.now().saturating_add(LINGER);
        lock(device.manager()).linger(Box::new(Arc::clone(&self.pipe)), deadline);
        device.kick();
    }
}
