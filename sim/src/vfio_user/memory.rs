//! The memory that a vfio-user client lets the device reach, by device address (IOVA).

use ironwarp_driver::transport::mapping::Mapping;
use ironwarp_proto::pins::{Dma, DmaFault};
use rustix::fs::{FileType, SealFlags, fcntl_get_seals, fstat};
use rustix::io::Errno;
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound::{Included, Unbounded};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};
use thiserror::Error;

/// Most ranges a client may map. A guest that maps single pages needs 256 for a megabyte.
const WINDOWS_MAX: usize = 1 << 18;

/// Why a range cannot be mapped or unmapped.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MapError {
    /// Nothing, or more than the address space has.
    #[error("the range is empty or passes the end of the address space")]
    Range,
    /// Some of it is mapped already.
    #[error("some of the range is mapped already")]
    Overlap,
    /// An unmapping would cut a mapping in two.
    #[error("the range ends inside of a mapping; unmap whole ones")]
    Cut,
    /// Too many ranges.
    #[error("more than {WINDOWS_MAX} ranges")]
    TooMany,
    /// The file could be truncated, and then kill this process.
    #[error(
        "the file can shrink: only memfds sealed against it are taken (QEMU: -object memory-backend-memfd,share=on)"
    )]
    NotSealed,
    /// The file does not have these bytes.
    #[error("the range passes the end of the file")]
    FileEnd,
    /// The system.
    #[error("cannot map: {0}")]
    System(Errno),
}

impl MapError {
    /// What the client is told.
    pub fn errno(&self) -> Errno {
        match self {
            Self::Overlap => Errno::EXIST,
            Self::TooMany => Errno::NOSPC,
            Self::NotSealed => Errno::PERM,
            Self::System(errno) => *errno,
            Self::Range | Self::Cut | Self::FileEnd => Errno::INVAL,
        }
    }
}

/// One mapped range.
struct Window {
    len: u64,
    /// `None`: the client named no file (its ROMs, other devices), so the device cannot get there.
    file: Option<(Arc<Mapping>, u64)>,
    read: bool,
    write: bool,
}

/// Last address of a range: one that ends at the end of the address space has no end to compute with.
fn last(addr: u64, len: u64) -> Result<u64, MapError> {
    len.checked_sub(1).and_then(|rest| addr.checked_add(rest)).ok_or(MapError::Range)
}

impl Window {
    fn last(&self, start: u64) -> u64 {
        start + (self.len - 1)
    }
    fn allows(&self, write: bool) -> bool {
        self.file.is_some() && if write { self.write } else { self.read }
    }
}

#[derive(Default)]
struct Map {
    windows: BTreeMap<u64, Window>,
    /// Files in use: one mapping serves all ranges of a file, of which a guest's memory has thousands.
    files: HashMap<(u64, u64), Weak<Mapping>>,
    /// Bus master enable of the PCI function: without it the device reaches nothing.
    bus_master: bool,
}

/// Memory of a client. A device has it as its [`Dma`]; what is not mapped is refused and never touched.
#[derive(Default)]
pub struct DmaSpace(RwLock<Map>);

impl DmaSpace {
    /// An empty one.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    fn map_ref(&self) -> RwLockReadGuard<'_, Map> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
    fn map_mut(&self) -> RwLockWriteGuard<'_, Map> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Let the device reach `len` bytes at `addr`: those at `offset` of `file`.
    pub fn map(
        &self,
        addr: u64,
        len: u64,
        file: Option<(OwnedFd, u64)>,
        read: bool,
        write: bool,
    ) -> Result<(), MapError> {
        let last = last(addr, len)?;
        let mut map = self.map_mut();
        if map.windows.len() >= WINDOWS_MAX {
            return Err(MapError::TooMany);
        }
        let below = map.windows.range(..=last).next_back();
        if below.is_some_and(|(start, window)| window.last(*start) >= addr) {
            return Err(MapError::Overlap);
        }
        let file = match file {
            Some((file, offset)) => Some((map.file(&file, offset, len, write)?, offset)),
            None => None,
        };
        map.windows.insert(addr, Window { len, file, read, write });
        Ok(())
    }

    /// Take `len` bytes at `addr` away from the device: whole mappings, any number of them. It is done on return.
    pub fn unmap(&self, addr: u64, len: u64) -> Result<(), MapError> {
        let last = last(addr, len)?;
        let mut map = self.map_mut();
        let before = map.windows.range(..addr).next_back();
        let highest = map.windows.range(addr..=last).next_back();
        if before.is_some_and(|(start, window)| window.last(*start) >= addr)
            || highest.is_some_and(|(start, window)| window.last(*start) > last)
        {
            return Err(MapError::Cut);
        }
        let inside: Vec<u64> = map.windows.range(addr..=last).map(|(start, _)| *start).collect();
        for start in inside {
            map.windows.remove(&start);
        }
        map.files.retain(|_, mapping| mapping.strong_count() > 0);
        Ok(())
    }

    /// Take everything away, and bus mastering too.
    pub fn clear(&self) {
        *self.map_mut() = Map::default();
    }

    /// Set whether the device may reach anything at all.
    pub fn set_bus_master(&self, on: bool) {
        self.map_mut().bus_master = on;
    }

    /// Number of ranges mapped.
    pub fn windows(&self) -> usize {
        self.map_ref().windows.len()
    }
}

impl Map {
    /// The mapping of a whole file that has `len` bytes at `offset`.
    fn file(&mut self, file: &OwnedFd, offset: u64, len: u64, write: bool) -> Result<Arc<Mapping>, MapError> {
        let stat = fstat(file).map_err(MapError::System)?;
        let sealed = fcntl_get_seals(file).is_ok_and(|seals| seals.contains(SealFlags::SHRINK));
        if !sealed || FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(MapError::NotSealed);
        }
        let size = usize::try_from(stat.st_size).map_err(|_| MapError::FileEnd)?;
        if offset.checked_add(len).is_none_or(|end| end > size as u64) {
            return Err(MapError::FileEnd);
        }
        let key = (stat.st_dev, stat.st_ino);
        let known = self.files.get(&key).and_then(Weak::upgrade);
        if let Some(known) = known.filter(|known| known.len() == size && (known.is_writable() || !write)) {
            return Ok(known);
        }
        let mapping = Mapping::shared(file.as_fd(), 0, size, write);
        let mapping = mapping
            .map_err(|error| MapError::System(Errno::from_io_error(&error).unwrap_or(Errno::INVAL)))?;
        let mapping = Arc::new(mapping);
        self.files.insert(key, Arc::downgrade(&mapping));
        Ok(mapping)
    }

    /// Cut `len` bytes at `addr` at the borders of the mappings they are in, and hand each piece to `visit`: mapping, offset
    /// in its file, and range of the access. Nothing is visited unless all of them may be reached.
    fn pieces(
        &self,
        addr: u64,
        len: usize,
        write: bool,
        mut visit: impl FnMut(&Mapping, usize, std::ops::Range<usize>) -> bool,
    ) -> Result<(), DmaFault> {
        let fault = DmaFault { addr, len };
        last(addr, len as u64).ok().filter(|_| self.bus_master).ok_or(fault)?;
        for act in [false, true] {
            let mut done = 0;
            while done < len {
                let at = addr + done as u64;
                let (start, window) =
                    self.windows.range((Unbounded, Included(at))).next_back().ok_or(fault)?;
                let (mapping, offset) = window.file.as_ref().ok_or(fault)?;
                let inside = window.len.saturating_sub(at - start).min((len - done) as u64) as usize;
                if inside == 0 || !window.allows(write) {
                    return Err(fault);
                }
                if act && !visit(mapping, (offset + (at - start)) as usize, done..done + inside) {
                    return Err(fault);
                }
                done += inside;
            }
        }
        Ok(())
    }
}

impl Dma for DmaSpace {
    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), DmaFault> {
        let map = self.map_ref();
        map.pieces(addr, buf.len(), false, |mapping, offset, range| mapping.read(offset, &mut buf[range]))
    }
    fn write(&self, addr: u64, data: &[u8]) -> Result<(), DmaFault> {
        let map = self.map_ref();
        map.pieces(addr, data.len(), true, |mapping, offset, range| mapping.write(offset, &data[range]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(len: usize) -> (Mapping, OwnedFd) {
        Mapping::memfd(len).unwrap()
    }

    fn space() -> Arc<DmaSpace> {
        let space = DmaSpace::new();
        space.set_bus_master(true);
        space
    }

    #[test]
    fn an_access_reaches_what_is_mapped_across_borders() {
        let (space, (memory, fd)) = (space(), file(3 * 4096));
        // Two pages in exchanged order behind one another.
        for (addr, offset) in [(0x10000, 4096), (0x11000, 0)] {
            space.map(addr, 4096, Some((fd.try_clone().unwrap(), offset)), true, true).unwrap();
        }
        space.write(0x10ffe, &[1, 2, 3, 4]).unwrap();
        let mut found = [0; 2];
        assert!(memory.read(8190, &mut found));
        assert_eq!(found, [1, 2]);
        assert!(memory.read(0, &mut found));
        assert_eq!(found, [3, 4]);
        let mut back = [0; 4];
        space.read(0x10ffe, &mut back).unwrap();
        assert_eq!(back, [1, 2, 3, 4]);
    }

    #[test]
    fn what_is_not_mapped_for_it_is_refused_and_not_touched() {
        let (space, (memory, fd)) = (space(), file(4096));
        space.map(0x10000, 4096, Some((fd.try_clone().unwrap(), 0)), true, true).unwrap();
        let refused = |addr: u64, len: usize| {
            assert_eq!(space.write(addr, &vec![7; len]), Err(DmaFault { addr, len }));
            assert_eq!(space.read(addr, &mut vec![0; len]), Err(DmaFault { addr, len }));
        };
        refused(0xffff, 2);
        refused(0x10fff, 2);
        refused(u64::MAX, 2);
        space.set_bus_master(false);
        refused(0x10000, 1);
        space.set_bus_master(true);
        space.unmap(0x10000, 4096).unwrap();
        refused(0x10000, 1);
        space.map(0x10000, 4096, Some((fd.try_clone().unwrap(), 0)), true, false).unwrap();
        assert!(space.write(0x10000, &[7]).is_err() && space.read(0x10000, &mut [0]).is_ok());
        space.clear();
        refused(0x10000, 1);
        space.set_bus_master(true);
        space.map(0x10000, 4096, None, true, true).unwrap();
        refused(0x10000, 1);
        let mut all = vec![1; 4096];
        assert!(memory.read(0, &mut all));
        assert!(all.iter().all(|byte| *byte == 0));
    }

    #[test]
    fn senseless_ranges_are_refused() {
        let (space, (_memory, fd)) = (space(), file(8192));
        let map =
            |addr, len, offset| space.map(addr, len, Some((fd.try_clone().unwrap(), offset)), true, true);
        map(0x2000, 0x2000, 0).unwrap();
        for (addr, len) in [(0x2000, 0x1000), (0x1000, 0x1001), (0x3fff, 1), (0x1000, 0x4000)] {
            assert_eq!(map(addr, len, 0), Err(MapError::Overlap), "{addr:#x}");
        }
        assert_eq!(map(0x8000, 0, 0), Err(MapError::Range));
        assert_eq!(map(u64::MAX, 2, 0), Err(MapError::Range));
        assert_eq!(map(0x8000, 8193, 0), Err(MapError::FileEnd));
        assert_eq!(map(0x8000, 1, u64::MAX), Err(MapError::FileEnd));
        for (addr, len) in [(0x2000, 0x1000), (0x3000, 0x1000), (0x1000, 0x2000)] {
            assert_eq!(space.unmap(addr, len), Err(MapError::Cut), "{addr:#x}");
        }
        assert_eq!(space.windows(), 1);
        // As QEMU takes away all above the interrupt window.
        map(u64::MAX - 0xfff, 0x1000, 0).unwrap();
        assert_eq!(space.windows(), 2);
        space.unmap(0x4000, u64::MAX - 0x3fff).unwrap();
        assert_eq!(space.windows(), 1);
        space.unmap(0, u64::MAX).unwrap();
        assert_eq!(space.windows(), 0);
    }

    #[test]
    fn a_file_that_can_shrink_is_refused() {
        let space = space();
        let file = rustix::fs::memfd_create("open", rustix::fs::MemfdFlags::ALLOW_SEALING).unwrap();
        rustix::fs::ftruncate(&file, 4096).unwrap();
        assert_eq!(space.map(0, 4096, Some((file, 0)), true, true), Err(MapError::NotSealed));
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert_eq!(space.map(0, 4096, Some((one.into(), 0)), true, true), Err(MapError::NotSealed));
    }
}
