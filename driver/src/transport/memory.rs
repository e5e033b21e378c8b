//! Memory shared by host software and a device.

use super::TransportError;
use super::iova::IovaSpace;
use ironwarp_proto::pins::{Dma, DmaFault};
use std::collections::BTreeMap;
use std::ops::Bound::{Included, Unbounded};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};

/// A block of memory that both the host and a device can reach.
pub trait DmaMemory: Send + Sync {
    /// Device address of the first byte.
    fn addr(&self) -> u64;
    /// Length, bytes.
    fn len(&self) -> usize;
    /// Whether the block holds no byte; a live block never does.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Copy `buf.len()` bytes at `offset` to `buf`. The range was checked by the caller.
    fn read(&self, offset: usize, buf: &mut [u8]);
    /// Copy `data` to `offset`. The range was checked by the caller.
    fn write(&self, offset: usize, data: &[u8]);
}

/// An owned range of device-visible memory. A clone is another handle to the same bytes;
/// the device loses access when the last one goes.
#[derive(Clone)]
pub struct DmaBuffer(Arc<dyn DmaMemory>);

impl DmaBuffer {
    /// Wrap a block that a transport has made.
    pub fn new(memory: Arc<dyn DmaMemory>) -> Self {
        Self(memory)
    }
    /// Device address of the first byte.
    pub fn addr(&self) -> u64 {
        self.0.addr()
    }
    /// Length, bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }
    /// Whether the buffer is empty; it never is.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// Whether `len` bytes at `offset` lie inside.
    pub fn contains(&self, offset: usize, len: usize) -> bool {
        offset.checked_add(len).is_some_and(|end| end <= self.len())
    }
    /// Copy bytes out; `false`, and nothing is read, if the range is not inside the buffer.
    #[must_use]
    pub fn read(&self, offset: usize, buf: &mut [u8]) -> bool {
        let inside = self.contains(offset, buf.len());
        if inside {
            self.0.read(offset, buf);
        }
        inside
    }
    /// Copy bytes in; `false`, and nothing is written, if the range is not inside the buffer.
    #[must_use]
    pub fn write(&self, offset: usize, data: &[u8]) -> bool {
        let inside = self.contains(offset, data.len());
        if inside {
            self.0.write(offset, data);
        }
        inside
    }
}

impl std::fmt::Debug for DmaBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DmaBuffer({:#x}, {} bytes)", self.addr(), self.len())
    }
}

/// Alignment of every block, so that base addresses suit any ring.
const ALIGN: usize = 4096;
/// Devices read whole words of so many bytes.
const WORD: usize = 4;

/// Host memory of a device that reaches it through this process: blocks at device addresses with unmapped gaps between them. A block
/// can be read to the end of its last 32-bit word, which is zero there, and written to its last byte.
pub struct HostMemory {
    map: RwLock<Map>,
}

struct Map {
    space: IovaSpace,
    blocks: BTreeMap<u64, Weak<Block>>,
}

struct Block {
    addr: u64,
    /// Whole words.
    bytes: Mutex<Box<[u8]>>,
    len: usize,
}

/// A panic elsewhere leaves plain bytes behind, never a broken invariant, so a poisoned lock is still good.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl HostMemory {
    /// Empty memory. Addresses begin above 4 GiB, so that a device that drops the upper word is caught.
    pub fn new() -> Arc<Self> {
        Self::with(IovaSpace::default())
    }

    /// Empty memory whose addresses have 32 bits.
    pub fn below_4g() -> Arc<Self> {
        Self::with(IovaSpace::below_4g())
    }

    fn with(space: IovaSpace) -> Arc<Self> {
        Arc::new(Self { map: RwLock::new(Map { space, blocks: BTreeMap::new() }) })
    }

    /// A zeroed block of `len` bytes at an address that has not been used for as long as possible.
    pub fn alloc(&self, len: usize) -> Result<DmaBuffer, TransportError> {
        if len == 0 {
            return Err(TransportError::NoMemory { len, reason: "length must be at least 1".into() });
        }
        let mut bytes = Vec::new();
        let words = len.saturating_add(WORD - 1) / WORD * WORD;
        bytes
            .try_reserve_exact(words)
            .map_err(|error| TransportError::NoMemory { len, reason: error.to_string() })?;
        bytes.resize(words, 0);
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        let Map { space, blocks } = &mut *map;
        blocks.retain(|addr, block| {
            let live = block.strong_count() > 0;
            if !live {
                space.give(*addr);
            }
            live
        });
        // One unmapped page behind every block: an overrun faults instead of reaching a neighbour.
        let addr = len.checked_next_multiple_of(ALIGN).and_then(|len| space.take(len as u64));
        let addr = addr.ok_or_else(|| TransportError::NoMemory {
            len,
            reason: "the device address space is full".into(),
        })?;
        let block = Arc::new(Block { addr, bytes: Mutex::new(bytes.into_boxed_slice()), len });
        map.blocks.insert(addr, Arc::downgrade(&block));
        Ok(DmaBuffer::new(block))
    }

    /// The block in which `len` bytes at `addr` are, and where; blocks end at a multiple of `unit`.
    fn find(&self, addr: u64, len: usize, unit: usize) -> Result<(Arc<Block>, usize), DmaFault> {
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        let fault = DmaFault { addr, len };
        let (_, block) = map.blocks.range((Unbounded, Included(addr))).next_back().ok_or(fault)?;
        let block = block.upgrade().ok_or(fault)?;
        let offset = usize::try_from(addr - block.addr).map_err(|_| fault)?;
        let inside = offset.checked_add(len).is_some_and(|end| end <= block.len.next_multiple_of(unit));
        if inside { Ok((block, offset)) } else { Err(fault) }
    }
}

impl Dma for HostMemory {
    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), DmaFault> {
        let (block, offset) = self.find(addr, buf.len(), WORD)?;
        DmaMemory::read(&*block, offset, buf);
        Ok(())
    }
    fn write(&self, addr: u64, data: &[u8]) -> Result<(), DmaFault> {
        let (block, offset) = self.find(addr, data.len(), 1)?;
        DmaMemory::write(&*block, offset, data);
        Ok(())
    }
}

impl DmaMemory for Block {
    fn addr(&self) -> u64 {
        self.addr
    }
    fn len(&self) -> usize {
        self.len
    }
    fn read(&self, offset: usize, buf: &mut [u8]) {
        buf.copy_from_slice(&lock(&self.bytes)[offset..offset + buf.len()]);
    }
    fn write(&self, offset: usize, data: &[u8]) {
        lock(&self.bytes)[offset..offset + data.len()].copy_from_slice(data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_and_host_see_the_same_bytes() {
        let memory = HostMemory::new();
        let a = memory.alloc(100).unwrap();
        let b = memory.alloc(100).unwrap();
        assert!(a.addr().is_multiple_of(ALIGN as u64) && b.addr() > a.addr() + 100);
        memory.write(a.addr() + 10, &[1, 2, 3]).unwrap();
        let mut out = [0; 3];
        assert!(a.read(10, &mut out));
        assert_eq!(out, [1, 2, 3]);
        assert!(!a.read(98, &mut out) && !a.write(usize::MAX, &[0]));
    }

    #[test]
    fn the_last_word_is_read_whole_and_written_to_its_end() {
        let memory = HostMemory::new();
        let block = memory.alloc(5).unwrap();
        assert!(block.write(0, &[1, 2, 3, 4, 5]));
        let mut words = [9; 8];
        memory.read(block.addr(), &mut words).unwrap();
        assert_eq!(words, [1, 2, 3, 4, 5, 0, 0, 0]);
        let mut more = [0; 9];
        assert_eq!(memory.read(block.addr(), &mut more), Err(DmaFault { addr: block.addr(), len: 9 }));
        assert_eq!(memory.write(block.addr(), &[0; 6]), Err(DmaFault { addr: block.addr(), len: 6 }));
        assert_eq!(block.len(), 5);
    }

    #[test]
    fn unmapped_addresses_fault_and_change_nothing() {
        let memory = HostMemory::new();
        let a = memory.alloc(100).unwrap();
        let end = a.addr() + 100;
        assert_eq!(memory.write(end - 1, &[9, 9]), Err(DmaFault { addr: end - 1, len: 2 }));
        let mut last = [7];
        assert!(a.read(99, &mut last));
        assert_eq!(last, [0]);
        assert!(memory.read(0, &mut last).is_err());
        assert!(memory.read(u64::MAX, &mut last).is_err());
        let addr = a.addr();
        drop(a);
        assert!(memory.read(addr, &mut last).is_err(), "memory that was freed is out of reach");
    }
}
