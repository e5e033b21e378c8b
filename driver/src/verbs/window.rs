//! What work requests make valid: type 2 memory windows and fast regions.

use super::pd::PdInner;
use super::region::{Entry, RegionInner};
use super::request::{Bind, FastRegister};
use super::{Access, MemoryRegion, Sge};
use crate::error::Error;
use crate::sync::lock;
use crate::transport::DmaBuffer;
use ironwarp_proto::abi::region::{Region, access};
use std::sync::{Arc, Mutex};

struct Binding {
    /// STag of the last bind.
    rkey: u32,
    /// Regions it was ever to be bound to. The device checks a window alone, so its parent must not go before it.
    parents: Vec<Arc<RegionInner>>,
}

pub(super) struct WindowInner {
    // Before `binding`: the entry is revoked first, then the parents may go.
    entry: Entry,
    binding: Mutex<Binding>,
}

impl WindowInner {
    pub(super) fn create(pd: &Arc<PdInner>) -> Result<Arc<Self>, Error> {
        pd.device.need_windows()?;
        let region = Region { window: true, allocated: true, ..Region::default() };
        let entry = Entry::create(pd, region, None)?;
        let binding = Mutex::new(Binding { rkey: entry.stag(), parents: Vec::new() });
        Ok(Arc::new(Self { entry, binding }))
    }
}

/// A type 2 memory window: rights to a part of a region, given and taken by work requests, for one queue pair.
///
/// Bind it with [`SendRequest::bind`](super::SendRequest::bind); take it back with
/// [`SendRequest::local_invalidate`](super::SendRequest::local_invalidate), or let the peer do so by a Send with Invalidate. It must be
/// unbound to be bound again. Regions that it was bound to stay registered as long as it lives.
#[derive(Clone)]
pub struct MemoryWindow(pub(super) Arc<WindowInner>);

impl MemoryWindow {
    /// STag of the last [`bind`](Self::bind), usable once that request is complete.
    pub fn rkey(&self) -> u32 {
        lock(&self.0.binding).rkey
    }

    /// Prepare to bind the window to `len` bytes at `offset` of `region`, with a new STag.
    ///
    /// Errors: the region has no `BIND`, or is of another protection domain; rights that a window cannot have, or that need
    /// `LOCAL_WRITE` of the region.
    pub fn bind(
        &self,
        region: &MemoryRegion,
        offset: usize,
        len: usize,
        rights: Access,
    ) -> Result<Bind, Error> {
        rights.check_window()?;
        if !Arc::ptr_eq(&self.0.entry.pd, &region.0.entry.pd) {
            return Err(Error::Mismatch("window and region are of different protection domains"));
        }
        if !region.access().contains(Access::BIND) {
            return Err(Error::Access("the region has no BIND: register it with Access::BIND"));
        }
        if rights.remote_change() && !region.access().contains(Access::LOCAL_WRITE) {
            return Err(Error::Access(
                "REMOTE_WRITE and REMOTE_ATOMIC of a window need LOCAL_WRITE of its region",
            ));
        }
        let range = region.sge(offset, len)?;
        let mut binding = lock(&self.0.binding);
        binding.rkey = self.0.entry.rekey(binding.rkey);
        if !binding.parents.iter().any(|parent| Arc::ptr_eq(parent, &region.0)) {
            binding.parents.push(Arc::clone(&region.0));
        }
        let access = rights.bits() | access::INVALIDATE;
        Ok(Bind { window: self.clone(), rkey: binding.rkey, base: range.to, range, access })
    }
}

impl std::fmt::Debug for MemoryWindow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MemoryWindow(STag {:#010x})", self.rkey())
    }
}

struct FastInner {
    entry: Entry,
    buffer: DmaBuffer,
    stag: Mutex<u32>,
}

/// Memory whose region entry work requests make valid and invalid, at the cost of a work request and without a round trip to
/// the device's registers.
#[derive(Clone)]
pub struct FastRegion(Arc<FastInner>);

impl FastRegion {
    pub(super) fn create(pd: &Arc<PdInner>, buffer: DmaBuffer) -> Result<Self, Error> {
        pd.device.need_windows()?;
        let region = Region { allocated: true, ..Region::default() };
        let entry = Entry::create(pd, region, Some(buffer.clone()))?;
        let stag = Mutex::new(entry.stag());
        Ok(Self(Arc::new(FastInner { entry, buffer, stag })))
    }
    /// Its memory.
    pub fn buffer(&self) -> &DmaBuffer {
        &self.0.buffer
    }
    /// STag of the last [`register`](Self::register), usable once that request is complete.
    pub fn stag(&self) -> u32 {
        *lock(&self.0.stag)
    }

    /// Prepare to register `len` bytes at `offset` with a new STag. The entry must be invalid when the request runs.
    pub fn register(&self, offset: usize, len: u32, rights: Access) -> Result<FastRegister, Error> {
        rights.check_region()?;
        let size = self.0.buffer.len() as u64;
        let inside = usize::try_from(len).is_ok_and(|len| self.0.buffer.contains(offset, len));
        if !inside || len == 0 {
            return Err(Error::Range { offset: offset as u64, len: len.into(), size });
        }
        // A region to which windows are bound cannot be invalidated: they would outlive it.
        let invalidate = if rights.contains(Access::BIND) { 0 } else { access::INVALIDATE };
        let mut stag = lock(&self.0.stag);
        *stag = self.0.entry.rekey(*stag);
        let to = self.0.buffer.addr() + offset as u64;
        let host = Sge { to, length: len, lkey: 0 };
        let access = rights.bits() | invalidate;
        Ok(FastRegister { region: self.clone(), stag: *stag, base: to, host, access })
    }
}

impl std::fmt::Debug for FastRegion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FastRegion(STag {:#010x}, {:?})", self.stag(), self.0.buffer)
    }
}
