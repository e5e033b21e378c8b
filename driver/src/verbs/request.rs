//! Work requests, and their form in the device's rings.

use super::{FastRegion, MemoryWindow, WcOpcode};
use crate::error::Error;
use crate::hw::DeviceAttributes;
use ironwarp_proto::abi::receive_entry::ReceiveEntry;
use ironwarp_proto::abi::regs::features;
pub use ironwarp_proto::abi::send_entry::Sge;
use ironwarp_proto::abi::send_entry::{AtomicOperands, Opcode, Payload, SendEntry};

/// Memory of the peer: an STag it has told us, and a tagged offset in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemoteAddress {
    /// Tagged offset of the first byte.
    pub to: u64,
    /// STag.
    pub stag: u32,
}

/// Payload of a Send or Write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// Gathered from these elements when it is sent, and again when it is retransmitted: the bytes must stay as they are
    /// until the request is complete.
    Sges(Vec<Sge>),
    /// These bytes, at most [`DeviceAttributes::max_inline`].
    Inline(Vec<u8>),
}

impl Data {
    /// Copy `bytes` into the request.
    pub fn inline(bytes: &[u8]) -> Self {
        Self::Inline(bytes.to_vec())
    }
}

impl From<Sge> for Data {
    fn from(sge: Sge) -> Self {
        Self::Sges(vec![sge])
    }
}

impl From<Vec<Sge>> for Data {
    fn from(sges: Vec<Sge>) -> Self {
        Self::Sges(sges)
    }
}

impl<const N: usize> From<[Sge; N]> for Data {
    fn from(sges: [Sge; N]) -> Self {
        Self::Sges(sges.into())
    }
}

/// A window and what it is to be bound to; made by [`MemoryWindow::bind`].
#[derive(Debug, Clone)]
pub struct Bind {
    /// Keeps the entry alive while the request is not yet posted.
    pub(super) window: MemoryWindow,
    pub(super) rkey: u32,
    pub(super) base: u64,
    pub(super) range: Sge,
    pub(super) access: u8,
}

impl Bind {
    /// STag of the window once the request is complete.
    pub fn rkey(&self) -> u32 {
        self.rkey
    }
    /// Let the tagged offsets of the window begin at `base` instead of that of the region's first byte bound.
    #[must_use]
    pub fn with_base(mut self, base: u64) -> Self {
        self.base = base;
        self
    }
    /// Where a peer finds byte `offset` of the window.
    pub fn remote(&self, offset: u64) -> RemoteAddress {
        RemoteAddress { to: self.base.wrapping_add(offset), stag: self.rkey }
    }
    /// The window.
    pub fn window(&self) -> &MemoryWindow {
        &self.window
    }
}

/// A region entry and what it is to stand for; made by [`FastRegion::register`].
#[derive(Debug, Clone)]
pub struct FastRegister {
    pub(super) region: FastRegion,
    pub(super) stag: u32,
    pub(super) base: u64,
    pub(super) host: Sge,
    pub(super) access: u8,
}

impl FastRegister {
    /// lkey and rkey once the request is complete.
    pub fn stag(&self) -> u32 {
        self.stag
    }
    /// Let the tagged offsets of the region begin at `base` instead of the device address of its first byte.
    #[must_use]
    pub fn with_base(mut self, base: u64) -> Self {
        self.base = base;
        self
    }
    /// `len` bytes at `offset`, for use once the request is complete.
    pub fn sge(&self, offset: u64, len: u32) -> Result<Sge, Error> {
        let size = self.host.length;
        let inside = offset.checked_add(len.into()).is_some_and(|end| end <= u64::from(size));
        if !inside {
            return Err(Error::Range { offset, len: len.into(), size: size.into() });
        }
        Ok(Sge { to: self.base.wrapping_add(offset), length: len, lkey: self.stag })
    }
    /// Where a peer finds byte `offset` of the region.
    pub fn remote(&self, offset: u64) -> RemoteAddress {
        RemoteAddress { to: self.base.wrapping_add(offset), stag: self.stag }
    }
    /// The region.
    pub fn region(&self) -> &FastRegion {
        &self.region
    }
}

/// What to do.
#[derive(Debug, Clone)]
pub enum Operation {
    /// Send a message to a receive buffer of the peer.
    Send {
        /// The message.
        data: Data,
        /// Ask for an event at the peer.
        solicited: bool,
        /// STag of the peer that it shall invalidate.
        invalidate: Option<u32>,
    },
    /// Write into memory of the peer.
    Write {
        /// The bytes.
        data: Data,
        /// Where to.
        remote: RemoteAddress,
        /// Then send this as Immediate Data (RFC 7306), which takes a receive buffer of the peer.
        immediate: Option<[u8; 8]>,
    },
    /// Read memory of the peer.
    Read {
        /// Where to put it; its length is the length of the Read.
        sink: Sge,
        /// Where from.
        remote: RemoteAddress,
        /// Invalidate the sink's STag when the bytes are there.
        invalidate_local: bool,
    },
    /// Add to an 8-byte number of the peer (RFC 7306 section 5.2.1).
    FetchAdd {
        /// Where to put the original value: 8 bytes.
        result: Sge,
        /// The number; 8-byte aligned.
        remote: RemoteAddress,
        /// What to add.
        add: u64,
        /// A set bit is the top of a field: no carry leaves it. 0 adds 64-bit numbers.
        mask: u64,
    },
    /// Replace an 8-byte number of the peer if it is as expected (RFC 7306 section 5.2.2).
    CompareSwap {
        /// Where to put the original value: 8 bytes.
        result: Sge,
        /// The number; 8-byte aligned.
        remote: RemoteAddress,
        /// What is expected.
        compare: u64,
        /// Which bits are compared.
        compare_mask: u64,
        /// The new value.
        swap: u64,
        /// Which bits are replaced.
        swap_mask: u64,
    },
    /// Send 8 bytes to the peer's completion (RFC 7306 section 4).
    Immediate {
        /// The bytes.
        data: [u8; 8],
        /// Ask for an event at the peer.
        solicited: bool,
    },
    /// Bind a memory window.
    BindWindow(Bind),
    /// Invalidate an own STag when all earlier requests are complete.
    LocalInvalidate {
        /// The STag.
        stag: u32,
    },
    /// Make a fast region valid.
    FastRegister(FastRegister),
    /// Complete in order, nothing else.
    Nop,
}

/// A request for the send queue.
///
/// Requests are signalled unless [`unsignalled`](Self::unsignalled).
#[derive(Debug, Clone)]
pub struct SendRequest {
    /// Comes back in the completion.
    pub wr_id: u64,
    /// What to do.
    pub operation: Operation,
    /// Write a completion when it succeeds. A failure is always reported.
    pub signalled: bool,
    /// Start only when all earlier Reads and atomics are complete.
    pub fence: bool,
}

impl SendRequest {
    /// A signalled request without fence.
    pub fn new(wr_id: u64, operation: Operation) -> Self {
        Self { wr_id, operation, signalled: true, fence: false }
    }
    /// Send.
    pub fn send(wr_id: u64, data: impl Into<Data>) -> Self {
        Self::new(wr_id, Operation::Send { data: data.into(), solicited: false, invalidate: None })
    }
    /// RDMA Write.
    pub fn write(wr_id: u64, data: impl Into<Data>, remote: RemoteAddress) -> Self {
        Self::new(wr_id, Operation::Write { data: data.into(), remote, immediate: None })
    }
    /// RDMA Read.
    pub fn read(wr_id: u64, sink: Sge, remote: RemoteAddress) -> Self {
        Self::new(wr_id, Operation::Read { sink, remote, invalidate_local: false })
    }
    /// Add a 64-bit number.
    pub fn fetch_add(wr_id: u64, result: Sge, remote: RemoteAddress, add: u64) -> Self {
        Self::new(wr_id, Operation::FetchAdd { result, remote, add, mask: 0 })
    }
    /// Compare and swap a 64-bit number.
    pub fn compare_swap(wr_id: u64, result: Sge, remote: RemoteAddress, compare: u64, swap: u64) -> Self {
        let (compare_mask, swap_mask) = (u64::MAX, u64::MAX);
        Self::new(wr_id, Operation::CompareSwap { result, remote, compare, compare_mask, swap, swap_mask })
    }
    /// Immediate Data.
    pub fn immediate(wr_id: u64, data: [u8; 8]) -> Self {
        Self::new(wr_id, Operation::Immediate { data, solicited: false })
    }
    /// Bind a window.
    pub fn bind(wr_id: u64, bind: Bind) -> Self {
        Self::new(wr_id, Operation::BindWindow(bind))
    }
    /// Invalidate an own STag.
    pub fn local_invalidate(wr_id: u64, stag: u32) -> Self {
        Self::new(wr_id, Operation::LocalInvalidate { stag })
    }
    /// Make a fast region valid.
    pub fn fast_register(wr_id: u64, register: FastRegister) -> Self {
        Self::new(wr_id, Operation::FastRegister(register))
    }
    /// Nothing.
    pub fn nop(wr_id: u64) -> Self {
        Self::new(wr_id, Operation::Nop)
    }

    /// No completion on success.
    #[must_use]
    pub fn unsignalled(mut self) -> Self {
        self.signalled = false;
        self
    }
    /// Wait for all earlier Reads and atomics.
    #[must_use]
    pub fn fenced(mut self) -> Self {
        self.fence = true;
        self
    }
    /// Ask for an event at the peer (Send and Immediate Data; nothing else can).
    #[must_use]
    pub fn solicited(mut self) -> Self {
        match &mut self.operation {
            Operation::Send { solicited, .. } | Operation::Immediate { solicited, .. } => *solicited = true,
            _ => {}
        }
        self
    }
    /// Let a Send invalidate `stag` of the peer (nothing else can).
    #[must_use]
    pub fn invalidating(mut self, stag: u32) -> Self {
        if let Operation::Send { invalidate, .. } = &mut self.operation {
            *invalidate = Some(stag);
        }
        self
    }
    /// Let Immediate Data follow a Write (nothing else can).
    #[must_use]
    pub fn with_immediate(mut self, data: [u8; 8]) -> Self {
        if let Operation::Write { immediate, .. } = &mut self.operation {
            *immediate = Some(data);
        }
        self
    }

    /// The entry for the ring, without its index, and what its completion is called.
    pub(super) fn entry(&self, limits: &DeviceAttributes, ord: u8) -> Result<(SendEntry, WcOpcode), Error> {
        let needs = |feature, name| if limits.has(feature) { Ok(()) } else { Err(Error::Unsupported(name)) };
        let responses = || if ord > 0 { Ok(()) } else { Err(Error::NoOrd) };
        let one = |sge: Sge| Payload::Sges(vec![sge]);
        let (mut entry, opcode) = match &self.operation {
            Operation::Send { data, solicited, invalidate } => {
                let opcode = match (solicited, invalidate.is_some()) {
                    (false, false) => Opcode::Send,
                    (false, true) => Opcode::SendInvalidate,
                    (true, false) => Opcode::SendSolicited,
                    (true, true) => Opcode::SendSolicitedInvalidate,
                };
                let (stag, payload) = (invalidate.unwrap_or(0), payload(data, limits)?);
                (SendEntry { stag, payload, ..SendEntry::new(opcode) }, WcOpcode::Send)
            }
            Operation::Write { data, remote, immediate } => {
                if immediate.is_some() {
                    needs(features::IMMEDIATE, "Immediate Data")?;
                }
                let opcode = if immediate.is_some() { Opcode::WriteImmediate } else { Opcode::Write };
                let entry = SendEntry {
                    payload: payload(data, limits)?,
                    immediate: immediate.unwrap_or_default(),
                    ..aimed(opcode, *remote)
                };
                (entry, WcOpcode::Write)
            }
            Operation::Read { sink, remote, invalidate_local } => {
                responses()?;
                let opcode = if *invalidate_local { Opcode::ReadInvalidateLocal } else { Opcode::Read };
                (SendEntry { payload: one(*sink), ..aimed(opcode, *remote) }, WcOpcode::Read)
            }
            Operation::FetchAdd { result, remote, add, mask } => {
                needs(features::ATOMICS, "atomic operations")?;
                responses()?;
                let atomic = AtomicOperands {
                    add_or_swap: *add,
                    add_or_swap_mask: *mask,
                    ..AtomicOperands::default()
                };
                let payload = one(*eight(result)?);
                (SendEntry { payload, atomic, ..aimed(Opcode::FetchAdd, *remote) }, WcOpcode::FetchAdd)
            }
            Operation::CompareSwap { result, remote, compare, compare_mask, swap, swap_mask } => {
                needs(features::ATOMICS, "atomic operations")?;
                responses()?;
                let atomic = AtomicOperands {
                    add_or_swap: *swap,
                    add_or_swap_mask: *swap_mask,
                    compare: *compare,
                    compare_mask: *compare_mask,
                };
                let payload = one(*eight(result)?);
                (SendEntry { payload, atomic, ..aimed(Opcode::CompareSwap, *remote) }, WcOpcode::CompareSwap)
            }
            Operation::Immediate { data, solicited } => {
                needs(features::IMMEDIATE, "Immediate Data")?;
                let opcode = if *solicited { Opcode::ImmediateSolicited } else { Opcode::Immediate };
                (SendEntry { immediate: *data, ..SendEntry::new(opcode) }, WcOpcode::Immediate)
            }
            Operation::BindWindow(bind) => {
                let entry = SendEntry {
                    stag: bind.rkey,
                    to: bind.base,
                    access: bind.access,
                    payload: one(bind.range),
                    ..SendEntry::new(Opcode::BindWindow)
                };
                (entry, WcOpcode::Bind)
            }
            Operation::LocalInvalidate { stag } => (
                SendEntry { stag: *stag, ..SendEntry::new(Opcode::LocalInvalidate) },
                WcOpcode::LocalInvalidate,
            ),
            Operation::FastRegister(register) => {
                let entry = SendEntry {
                    stag: register.stag,
                    to: register.base,
                    access: register.access,
                    payload: one(register.host),
                    ..SendEntry::new(Opcode::FastRegister)
                };
                (entry, WcOpcode::FastRegister)
            }
            Operation::Nop => (SendEntry::new(Opcode::Nop), WcOpcode::Nop),
        };
        entry.signalled = self.signalled;
        entry.fence = self.fence;
        Ok((entry, opcode))
    }
}

/// An entry for memory of the peer.
fn aimed(opcode: Opcode, remote: RemoteAddress) -> SendEntry {
    SendEntry { stag: remote.stag, to: remote.to, ..SendEntry::new(opcode) }
}

/// The result of an atomic operation has 8 bytes.
fn eight(sge: &Sge) -> Result<&Sge, Error> {
    if sge.length == 8 { Ok(sge) } else { Err(Error::range("length of an atomic's result", sge.length, "8")) }
}

fn payload(data: &Data, limits: &DeviceAttributes) -> Result<Payload, Error> {
    match data {
        Data::Sges(sges) => {
            check_sges(sges, limits.max_send_sge)?;
            Ok(Payload::Sges(sges.clone()))
        }
        Data::Inline(bytes) if bytes.len() > limits.max_inline => {
            Err(Error::InlineTooLong { len: bytes.len(), max: limits.max_inline })
        }
        Data::Inline(bytes) => Ok(Payload::Inline(bytes.clone())),
    }
}

fn check_sges(sges: &[Sge], max: usize) -> Result<(), Error> {
    if sges.len() > max {
        return Err(Error::TooManySges { count: sges.len(), max });
    }
    let sum = sges.iter().try_fold(0u32, |sum, sge| sum.checked_add(sge.length));
    sum.map(drop).ok_or(Error::TooLong)
}

/// A receive buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiveRequest {
    /// Comes back in the completion.
    pub wr_id: u64,
    /// Where to put the message; needs [`Access::LOCAL_WRITE`](super::Access::LOCAL_WRITE).
    pub sges: Vec<Sge>,
}

impl ReceiveRequest {
    /// A buffer made of these elements, at most [`DeviceAttributes::max_recv_sge`].
    pub fn new(wr_id: u64, sges: impl Into<Vec<Sge>>) -> Self {
        Self { wr_id, sges: sges.into() }
    }

    /// The entry for the ring, without its index.
    pub(super) fn entry(&self, limits: &DeviceAttributes) -> Result<ReceiveEntry, Error> {
        check_sges(&self.sges, limits.max_recv_sge)?;
        Ok(ReceiveEntry { index: 0, sges: self.sges.clone() })
    }
}
