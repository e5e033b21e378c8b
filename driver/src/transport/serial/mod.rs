//! A device on a board, reached over a serial line (docs/bridge.md).
//!
//! ```text
//!  Serial --- read32, write32 ---> Link <--- bytes ---> thread <---> port
//!     |                             |                     |
//!     +-- alloc --> HostMemory <----+ reads, writes       +--> eventfd of the reactor
//! ```
//!
//! [`Link`] is the protocol, without a port and without a clock: simulations drive it too. A thread moves its bytes.

mod link;
mod port;

pub use link::{Link, LinkCounters, Patience, SerialError};

use super::reactor::{Member, Reactor, event};
use super::{DmaBuffer, HostMemory, Service, Transport, TransportError, Wait};
use crate::sync::lock;
use ironwarp_proto::bridge::REGISTERS;
use ironwarp_proto::pins::{DmaFault, Nanos};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Register writes that wait for the line before a writer is held up.
const QUEUE: usize = 64;
/// A look at the state even if nobody has woken us.
const LOOK: Duration = Duration::from_millis(100);

/// The transport to a board.
pub struct Serial {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What callers and the thread share.
struct Shared {
    link: Mutex<Link>,
    /// Something about the link has changed.
    changed: Condvar,
    memory: Arc<HostMemory>,
    member: Arc<Member>,
    reactor: &'static Reactor,
    /// Wakes the thread.
    wake: OwnedFd,
    /// Signals the interrupt.
    irq: OwnedFd,
    stop: AtomicBool,
}

impl Serial {
    /// Open the serial port at `path`, reset the device behind it and enable its DMA.
    pub fn open(path: &str, baud: u32) -> Result<Arc<Self>, TransportError> {
        let name = format!("serial:{path}@{baud}");
        let port =
            port::open(path, baud).map_err(|reason| TransportError::Open { device: name.clone(), reason })?;
        Self::over(port, &name, Patience::at(baud))
    }

    /// The device at the other end of a file: a terminal that is set already, or a socket.
    pub fn over(port: OwnedFd, name: &str, patience: Patience) -> Result<Arc<Self>, TransportError> {
        let open = |reason: String| TransportError::Open { device: name.into(), reason };
        let io = |error: std::io::Error| open(error.to_string());
        let reactor = Reactor::process()?;
        let set = |flags| rustix::fs::fcntl_setfl(&port, flags);
        rustix::fs::fcntl_getfl(&port)
            .and_then(|flags| set(flags | rustix::fs::OFlags::NONBLOCK))
            .map_err(|error| open(error.to_string()))?;
        let mut port = File::from(port);
        // What is of the time before goes away, as far as it has come.
        while matches!(port.read(&mut [0; 4096]), Ok(1..)) {}
        let irq = event().map_err(io)?;
        let member = Member::new(irq.try_clone().map_err(io)?, None);
        let memory = HostMemory::below_4g();
        // Any number will do that the last user of the line has probably not used.
        let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.subsec_nanos());
        let link = Link::new(memory.clone(), patience, (clock >> 10) as u8, reactor.now());
        let shared = Arc::new(Shared {
            link: Mutex::new(link),
            changed: Condvar::new(),
            memory,
            member,
            reactor,
            wake: event().map_err(io)?,
            irq,
            stop: AtomicBool::new(false),
        });
        let ours = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("ironwarp-serial".into())
            .spawn(move || ours.run(port))
            .map_err(io)?;
        let serial = Self { shared, thread: Some(thread) };
        serial.shared.until(|link| link.is_open().then_some(())).map_err(|error| match error {
            TransportError::Gone(reason) => open(reason),
            error => error,
        })?;
        serial.shared.reactor.join(&serial.shared.member);
        Ok(Arc::new(serial))
    }

    /// What the link has seen.
    pub fn counters(&self) -> LinkCounters {
        lock(&self.shared.link).counters()
    }

    /// The last access of the device that was refused.
    pub fn last_fault(&self) -> Option<DmaFault> {
        lock(&self.shared.link).last_fault()
    }
}

impl Drop for Serial {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.kick();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of a serial line has panicked");
        }
    }
}

impl Shared {
    /// Wake the thread.
    fn kick(&self) {
        // A counter that is full wakes as well.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }

    /// Wait until the link says something.
    fn until<T>(&self, mut look: impl FnMut(&mut Link) -> Option<T>) -> Result<T, TransportError> {
        let mut link = lock(&self.link);
        loop {
            if let Some(found) = look(&mut link) {
                return Ok(found);
            }
            if let Some(error) = link.error() {
                return Err(self.member.lose(error.to_string()));
            }
            let waited = self.changed.wait_timeout(link, LOOK);
            link = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Move bytes until the device is gone, or nobody wants it any more.
    fn run(&self, mut port: File) {
        let mut pending = Vec::new();
        let error = loop {
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            let now = self.reactor.now();
            let next = {
                let link = &mut *lock(&self.link);
                link.advance(now);
                pending.extend(link.take_output());
                if let Some(error) = link.error() {
                    break error.clone();
                }
                link.next_event()
            };
            if let Err(error) = self.exchange(&mut port, &mut pending, next) {
                break error;
            }
        };
        self.member.lose(error.to_string());
        lock(&self.link).lose(error);
        // Whoever sleeps in the reactor is to see it.
        let _ = rustix::io::write(&self.irq, &1u64.to_ne_bytes());
        self.changed.notify_all();
    }

    /// Wait until there is something to do, and write and read what can be.
    fn exchange(
        &self,
        port: &mut File,
        pending: &mut Vec<u8>,
        next: Option<Nanos>,
    ) -> Result<(), SerialError> {
        let broken = |error: std::io::Error| SerialError::Port(error.to_string());
        if !pending.is_empty() {
            match port.write(pending) {
                Ok(count) => drop(pending.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(broken(error)),
            }
        }
        let left = next.map_or(LOOK, |at| Duration::from_nanos(at.saturating_sub(self.reactor.now())));
        let left = left.min(LOOK);
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(left.subsec_nanos()) };
        let wanted = if pending.is_empty() { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT };
        let mut fds = [PollFd::new(&*port, wanted), PollFd::new(&self.wake, PollFlags::IN)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(broken(error.into())),
        }
        let [port_events, wake_events] = [fds[0].revents(), fds[1].revents()];
        if wake_events.contains(PollFlags::IN) {
            let _ = rustix::io::read(&self.wake, &mut [0; 8]);
        }
        if port_events.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            let mut bytes = [0; 4096];
            let count = match port.read(&mut bytes) {
                Ok(0) => return Err(SerialError::Port("it was closed at the other end".into())),
                Ok(count) => count,
                Err(error) if [ErrorKind::WouldBlock, ErrorKind::Interrupted].contains(&error.kind()) => 0,
                Err(error) => return Err(broken(error)),
            };
            let link = &mut *lock(&self.link);
            link.input(self.reactor.now(), &bytes[..count]);
            if link.take_interrupt() {
                let _ = rustix::io::write(&self.irq, &1u64.to_ne_bytes());
            }
            self.changed.notify_all();
        }
        Ok(())
    }

    /// A register outside of what the bridge reaches is not asked for.
    fn check(&self, offset: u32) -> Result<(), TransportError> {
        self.member.check()?;
        if offset < REGISTERS && offset.is_multiple_of(4) {
            return Ok(());
        }
        let why =
            format!("register {offset:#x} is not a word of the {REGISTERS:#x} bytes that the bridge reaches");
        Err(TransportError::Refused(why))
    }
}

impl Transport for Serial {
    fn read32(&self, offset: u32) -> Result<u32, TransportError> {
        self.shared.check(offset)?;
        let ticket = lock(&self.shared.link).read(self.shared.reactor.now(), offset);
        self.shared.kick();
        self.shared.until(|link| link.take_answer(ticket))
    }
    /// As on a bus, a write is posted: it is in order with all that follows, and nobody waits for it.
    fn write32(&self, offset: u32, value: u32) -> Result<(), TransportError> {
        self.shared.check(offset)?;
        self.shared.until(|link| (link.waiting() < QUEUE).then_some(()))?;
        lock(&self.shared.link).write(self.shared.reactor.now(), offset, value);
        self.shared.kick();
        Ok(())
    }
    fn alloc(&self, len: usize) -> Result<DmaBuffer, TransportError> {
        self.shared.memory.alloc(len)
    }
    fn now(&self) -> Nanos {
        self.shared.reactor.now()
    }
    fn wait(&self, deadline: Option<Nanos>) -> Result<Wait, TransportError> {
        self.shared.reactor.wait(&self.shared.member, deadline)
    }
    fn attach(&self, service: Weak<dyn Service>) {
        self.shared.member.attach(service);
    }
    fn schedule(&self, at: Nanos) {
        self.shared.reactor.schedule(&self.shared.member, at);
    }
}
