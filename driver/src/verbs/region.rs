//! Memory regions.

use super::pd::PdInner;
use super::{Access, ProtectionDomain, RemoteAddress, Sge};
use crate::error::Error;
use crate::sync::lock;
use crate::transport::DmaBuffer;
use ironwarp_proto::abi::region::Region;
use std::sync::Arc;

/// Lengths of an entry have 48 bits.
const LEN_MAX: u64 = 1 << 48;

/// An entry of the device's region table. It is revoked when this is dropped; until then it keeps the memory.
pub(super) struct Entry {
    pub(super) pd: Arc<PdInner>,
    /// Any STag that the entry had: names its index.
    stag: u32,
    buffer: Option<DmaBuffer>,
}

impl Entry {
    /// Take an entry and write it: `region` with an STag and the protection domain filled in.
    pub(super) fn create(
        pd: &Arc<PdInner>,
        region: Region,
        buffer: Option<DmaBuffer>,
    ) -> Result<Self, Error> {
        let stag = lock(&pd.device.stags).take()?;
        let entry = Self { pd: Arc::clone(pd), stag, buffer };
        entry.pd.device.hw.write_region(&Region { stag, pd: pd.id, ..region })?;
        Ok(entry)
    }
    /// The STag it began with.
    pub(super) fn stag(&self) -> u32 {
        self.stag
    }
    /// Another STag of the same entry.
    pub(super) fn rekey(&self, stag: u32) -> u32 {
        lock(&self.pd.device.stags).rekey(stag)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let device = &self.pd.device;
        match device.hw.revoke_region(self.stag) {
            Ok(last) => lock(&device.stags).give(last),
            Err(error) => {
                // The device may still reach the memory: it is never used for anything else then.
                tracing::error!(stag = self.stag, %error, "not revoked: entry and memory are not freed");
                std::mem::forget(self.buffer.take());
            }
        }
    }
}

pub(super) struct RegionInner {
    pub(super) entry: Entry,
    buffer: DmaBuffer,
    /// First byte in the buffer.
    offset: usize,
    len: usize,
    base: u64,
    access: Access,
}

impl RegionInner {
    pub(super) fn register(
        pd: &Arc<PdInner>,
        buffer: DmaBuffer,
        offset: usize,
        len: usize,
        base: u64,
        access: Access,
    ) -> Result<Arc<Self>, Error> {
        access.check_region()?;
        if len == 0 || !buffer.contains(offset, len) {
            let size = buffer.len() as u64;
            return Err(Error::Range { offset: offset as u64, len: len as u64, size });
        }
        if len as u64 >= LEN_MAX || base.checked_add(len as u64).is_none() {
            return Err(Error::range("region length", len, "below 2^48, and its tagged offsets below 2^64"));
        }
        let region = Region {
            valid: true,
            access: access.bits(),
            length: len as u64,
            base,
            host: buffer.addr() + offset as u64,
            ..Region::default()
        };
        let entry = Entry::create(pd, region, Some(buffer.clone()))?;
        Ok(Arc::new(Self { entry, buffer, offset, len, base, access }))
    }
}

/// Registered memory. When the last handle goes, the device revokes the STag first, and only then is the memory freed:
/// a request that still names it fails, and no byte of freed memory is ever read or written.
#[derive(Clone)]
pub struct MemoryRegion(pub(super) Arc<RegionInner>);

impl MemoryRegion {
    /// Tagged offset of the first byte.
    pub fn addr(&self) -> u64 {
        self.0.base
    }
    /// Length, bytes.
    pub fn len(&self) -> usize {
        self.0.len
    }
    /// Whether it has no byte; it always has.
    pub fn is_empty(&self) -> bool {
        self.0.len == 0
    }
    /// STag for own requests.
    pub fn lkey(&self) -> u32 {
        self.0.entry.stag()
    }
    /// STag for the peer: the same, but worth nothing to it without remote rights.
    pub fn rkey(&self) -> u32 {
        self.0.entry.stag()
    }
    /// Rights.
    pub fn access(&self) -> Access {
        self.0.access
    }
    /// Its protection domain.
    pub fn pd(&self) -> ProtectionDomain {
        ProtectionDomain(Arc::clone(&self.0.entry.pd))
    }
    /// The memory behind it, which may be larger.
    pub fn buffer(&self) -> &DmaBuffer {
        &self.0.buffer
    }

    /// Copy bytes at `offset` to `out`.
    pub fn read(&self, offset: usize, out: &mut [u8]) -> Result<(), Error> {
        let at = self.place(offset, out.len())?;
        if self.0.buffer.read(at, out) { Ok(()) } else { Err(self.outside(offset, out.len())) }
    }
    /// Copy `data` to `offset`.
    pub fn write(&self, offset: usize, data: &[u8]) -> Result<(), Error> {
        let at = self.place(offset, data.len())?;
        if self.0.buffer.write(at, data) { Ok(()) } else { Err(self.outside(offset, data.len())) }
    }
    /// An element of `len` bytes at `offset`.
    pub fn sge(&self, offset: usize, len: usize) -> Result<Sge, Error> {
        self.place(offset, len)?;
        let length = u32::try_from(len).map_err(|_| Error::TooLong)?;
        Ok(Sge { to: self.0.base + offset as u64, length, lkey: self.lkey() })
    }
    /// What to tell a peer that shall use the bytes from `offset` on.
    pub fn remote(&self, offset: usize) -> Result<RemoteAddress, Error> {
        self.place(offset, 0)?;
        Ok(RemoteAddress { to: self.0.base + offset as u64, stag: self.rkey() })
    }

    /// Place in the buffer of `len` bytes at `offset` of the region.
    fn place(&self, offset: usize, len: usize) -> Result<usize, Error> {
        let inside = offset.checked_add(len).is_some_and(|end| end <= self.0.len);
        if inside { Ok(self.0.offset + offset) } else { Err(self.outside(offset, len)) }
    }
    fn outside(&self, offset: usize, len: usize) -> Error {
        Error::Range { offset: offset as u64, len: len as u64, size: self.0.len as u64 }
    }
}

impl std::fmt::Debug for MemoryRegion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (addr, len) = (self.addr(), self.len());
        write!(f, "MemoryRegion(STag {:#010x}, TO {addr:#x}, {len} bytes, {:?})", self.rkey(), self.0.access)
    }
}
