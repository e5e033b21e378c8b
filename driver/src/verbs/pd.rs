//! Protection domains.

use super::device::Device;
use super::qp::QpInner;
use super::region::RegionInner;
use super::srq::SrqInner;
use super::window::WindowInner;
use super::{
    Access, FastRegion, MemoryRegion, MemoryWindow, QpConfig, QueuePair, SharedReceiveQueue, SrqConfig,
};
use crate::error::Error;
use crate::sync::lock;
use crate::transport::DmaBuffer;
use std::sync::Arc;

pub(super) struct PdInner {
    pub(super) device: Arc<Device>,
    pub(super) id: u16,
}

impl Drop for PdInner {
    fn drop(&mut self) {
        lock(&self.device.pd_ids).give(self.id);
    }
}

/// What belongs together: a queue pair reaches only regions and windows of its own protection domain (RFC 5040
/// section 8.1, RFC 5042 section 2.3).
#[derive(Clone)]
pub struct ProtectionDomain(pub(super) Arc<PdInner>);

impl ProtectionDomain {
    pub(super) fn create(device: &Arc<Device>) -> Result<Self, Error> {
        let id = lock(&device.pd_ids).take()?;
        Ok(Self(Arc::new(PdInner { device: Arc::clone(device), id })))
    }

    /// A region of `len` new bytes, all zero. Its tagged offsets begin at its device address.
    pub fn register(&self, len: usize, access: Access) -> Result<MemoryRegion, Error> {
        self.register_buffer(self.0.device.hw.transport().alloc(len)?, access)
    }
    /// A region of `len` new bytes, all zero, with tagged offsets from 0.
    pub fn register_zero_based(&self, len: usize, access: Access) -> Result<MemoryRegion, Error> {
        let buffer = self.0.device.hw.transport().alloc(len)?;
        self.register_range(buffer, 0, len, 0, access)
    }
    /// A region of all of `buffer`, which may have other regions too. Its tagged offsets begin at its device address.
    pub fn register_buffer(&self, buffer: DmaBuffer, access: Access) -> Result<MemoryRegion, Error> {
        let (len, base) = (buffer.len(), buffer.addr());
        self.register_range(buffer, 0, len, base, access)
    }
    /// A region of `len` bytes at `offset` of `buffer`, with tagged offsets from `base`.
    pub fn register_range(
        &self,
        buffer: DmaBuffer,
        offset: usize,
        len: usize,
        base: u64,
        access: Access,
    ) -> Result<MemoryRegion, Error> {
        RegionInner::register(&self.0, buffer, offset, len, base, access).map(MemoryRegion)
    }
    /// `len` new bytes, all zero, with a region entry that a work request makes valid
    /// (see [`FastRegion::register`]).
    pub fn alloc_fast_region(&self, len: u32) -> Result<FastRegion, Error> {
        let len = usize::try_from(len).map_err(|_| Error::TooLong)?;
        FastRegion::create(&self.0, self.0.device.hw.transport().alloc(len)?)
    }
    /// A type 2 memory window, bound to nothing (see [`MemoryWindow::bind`]).
    pub fn alloc_window(&self) -> Result<MemoryWindow, Error> {
        WindowInner::create(&self.0).map(MemoryWindow)
    }
    /// A shared receive queue.
    pub fn create_srq(&self, config: SrqConfig) -> Result<SharedReceiveQueue, Error> {
        SrqInner::create(&self.0, config).map(SharedReceiveQueue)
    }
    /// A queue pair.
    pub fn create_qp(&self, config: &QpConfig) -> Result<QueuePair, Error> {
        QpInner::create(&self.0, config).map(QueuePair)
    }
}
