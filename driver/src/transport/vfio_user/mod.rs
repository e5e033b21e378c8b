//! A device in another process, reached over a vfio-user socket.

mod session;
pub mod wire;

use super::iova::IovaSpace;
use super::mapping::{Mapping, PAGE};
use super::reactor::{Member, Reactor, event};
use super::{DmaBuffer, DmaMemory, Service, Transport, TransportError, Wait};
use crate::sync::lock;
use ironwarp_proto::pins::Nanos;
use session::{Session, SessionError, short};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, Mutex, Weak};
use wire::{BAR0_REGION, CONFIG_REGION, Command, MSIX_IRQ, access, dma, dma_range, irq, u32_at, words};

/// PCI command register: memory space and bus master enable.
const COMMAND_REGISTER: u64 = 4;
const MEMORY_AND_BUS_MASTER: u16 = 6;

/// The transport to a device behind a vfio-user socket. The device keeps what it was told until this is dropped; a driver
/// that dies leaves nothing behind, since the server then forgets it.
pub struct VfioUser {
    link: Arc<Link>,
}

/// What the transport and its buffers share.
struct Link {
    session: Mutex<Session>,
    iova: Mutex<IovaSpace>,
    member: Arc<Member>,
    reactor: &'static Reactor,
    bar_size: u64,
}

impl VfioUser {
    /// Connect to the server at `path`, reset its device and enable DMA and the interrupt.
    pub fn open(path: &Path) -> Result<Arc<Self>, TransportError> {
        let open =
            |reason: String| TransportError::Open { device: format!("vfio-user:{}", path.display()), reason };
        let reactor = Reactor::process()?;
        let set_up = || {
            let mut session = Session::open(path)?;
            session.call(Command::Reset, &[], &[])?;
            let bar = session.region(BAR0_REGION)?;
            // Bits 0 and 1: readable and writable.
            if bar.flags & 3 != 3 || bar.size < PAGE as u64 {
                return Err(SessionError::Broken(format!("BAR 0 is {bar:x?}: no Ironwarp device")));
            }
            if session.vectors(MSIX_IRQ)? == 0 {
                return Err(SessionError::Broken("it has no MSI-X vector".into()));
            }
            session.enable()?;
            Ok((session, bar.size))
        };
        let (mut session, bar_size) = set_up().map_err(|error| open(error.to_string()))?;
        let io = |error: std::io::Error| open(error.to_string());
        let irq = event().map_err(io)?;
        let body = words(&[20, irq::DATA_EVENTFD | irq::ACTION_TRIGGER, MSIX_IRQ, 0, 1]);
        session.call(Command::SetIrqs, &body, &[irq.as_fd()]).map_err(|error| open(error.to_string()))?;
        let member = Member::new(irq, Some(session.life_line().map_err(io)?));
        reactor.join(&member);
        let iova = Mutex::default();
        Ok(Arc::new(Self {
            link: Arc::new(Link { session: Mutex::new(session), iova, member, reactor, bar_size }),
        }))
    }
}

impl Session {
    /// Switch on memory space and bus mastering.
    fn enable(&mut self) -> Result<(), SessionError> {
        let reply = self.call(Command::RegionRead, &access(COMMAND_REGISTER, CONFIG_REGION, 2), &[])?;
        let data = reply.get(16..18).ok_or_else(|| short(Command::RegionRead))?;
        let command = u16::from_le_bytes([data[0], data[1]]) | MEMORY_AND_BUS_MASTER;
        let mut body = access(COMMAND_REGISTER, CONFIG_REGION, 2);
        body.extend(command.to_le_bytes());
        self.call(Command::RegionWrite, &body, &[])?;
        Ok(())
    }
}

impl Link {
    /// Run a command; a broken stream is the end of the device.
    fn with<T>(
        &self,
        run: impl FnOnce(&mut Session) -> Result<T, SessionError>,
    ) -> Result<T, TransportError> {
        self.member.check()?;
        run(&mut lock(&self.session)).map_err(|error| match error {
            SessionError::Broken(reason) => self.member.lose(reason),
            SessionError::Refused { .. } => TransportError::Refused(error.to_string()),
        })
    }

    /// A register outside of the BAR is not asked for.
    fn register(&self, offset: u32) -> Result<u64, TransportError> {
        let inside = u64::from(offset) + 4 <= self.bar_size;
        inside.then_some(offset.into()).ok_or_else(|| {
            TransportError::Refused(format!(
                "register {offset:#x} is outside of BAR 0 of {:#x} bytes",
                self.bar_size
            ))
        })
    }
}

impl Transport for VfioUser {
    fn read32(&self, offset: u32) -> Result<u32, TransportError> {
        let body = access(self.link.register(offset)?, BAR0_REGION, 4);
        let value = self.link.with(|session| {
            let reply = session.call(Command::RegionRead, &body, &[])?;
            u32_at(&reply, 16).ok_or_else(|| short(Command::RegionRead))
        });
        // What the device wrote to memory before it answered is seen from here on.
        fence(Ordering::Acquire);
        value
    }
    /// As on a bus, a write is posted: it is in order with all that follows, and nobody waits for it.
    fn write32(&self, offset: u32, value: u32) -> Result<(), TransportError> {
        let mut body = access(self.link.register(offset)?, BAR0_REGION, 4);
        body.extend(value.to_le_bytes());
        fence(Ordering::Release);
        self.link.with(|session| session.tell(Command::RegionWrite, &body))
    }
    fn alloc(&self, len: usize) -> Result<DmaBuffer, TransportError> {
        let no_memory = |reason: String| TransportError::NoMemory { len, reason };
        let size = len.checked_next_multiple_of(PAGE).filter(|size| *size > 0);
        let size = size.ok_or_else(|| no_memory("length must be at least 1".into()))?;
        let (mapping, file) = Mapping::memfd(size).map_err(|error| no_memory(error.to_string()))?;
        let addr = lock(&self.link.iova).take(size as u64);
        let addr = addr.ok_or_else(|| no_memory("the device address space is full".into()))?;
        let body = dma_range(dma::READ | dma::WRITE, Some(0), addr, size as u64);
        let mapped = self.link.with(|session| session.call(Command::DmaMap, &body, &[file.as_fd()]));
        if let Err(error) = mapped {
            lock(&self.link.iova).give(addr);
            return Err(match error {
                TransportError::Refused(reason) => no_memory(reason),
                error => error,
            });
        }
        Ok(DmaBuffer::new(Arc::new(Buffer { link: Arc::clone(&self.link), mapping, addr, len })))
    }
    fn now(&self) -> Nanos {
        self.link.reactor.now()
    }
    fn wait(&self, deadline: Option<Nanos>) -> Result<Wait, TransportError> {
        self.link.reactor.wait(&self.link.member, deadline)
    }
    fn attach(&self, service: Weak<dyn Service>) {
        self.link.member.attach(service);
    }
    fn schedule(&self, at: Nanos) {
        self.link.reactor.schedule(&self.link.member, at);
    }
}

/// Memory shared with the server.
struct Buffer {
    link: Arc<Link>,
    mapping: Mapping,
    addr: u64,
    len: usize,
}

impl DmaMemory for Buffer {
    fn addr(&self) -> u64 {
        self.addr
    }
    fn len(&self) -> usize {
        self.len
    }
    fn read(&self, offset: usize, buf: &mut [u8]) {
        let inside = self.mapping.read(offset, buf);
        debug_assert!(inside, "checked by the caller");
    }
    fn write(&self, offset: usize, data: &[u8]) {
        let inside = self.mapping.write(offset, data);
        debug_assert!(inside, "checked by the caller");
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let body = dma_range(0, None, self.addr, self.mapping.len() as u64);
        match self.link.with(|session| session.call(Command::DmaUnmap, &body, &[])) {
            Ok(_) => lock(&self.link.iova).give(self.addr),
            // The address stays in use: the device may reach the pages, which live as long as it has them.
            Err(error) => tracing::debug!(%error, addr = self.addr, "not unmapped"),
        }
    }
}
