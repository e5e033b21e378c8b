//! Memory that something outside of this process reads and writes at any time: a shared file, or a device's BAR.
//!
//! All accesses are atomic words in ascending order, so that neither side's changes can be torn within an aligned word, and
//! a ring entry whose valid word comes last is complete when that word is seen.
#![allow(unsafe_code, reason = "mapping memory, and access to what others change")]

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering, fence};

/// Length of a page, bytes: what mappings and IOMMUs deal in.
pub const PAGE: usize = 4096;
const WORD: usize = size_of::<u64>();

/// A range of memory mapped into this process until it is dropped.
pub struct Mapping {
    start: NonNull<u8>,
    len: usize,
    writable: bool,
}

// SAFETY: the memory belongs to no thread, and all accesses are atomic.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Map `len` bytes at `offset` of a file, shared with whoever else maps it. A file that can shrink kills the process
    /// that then touches the mapping: the caller makes sure that it cannot.
    pub fn shared(file: BorrowedFd<'_>, offset: u64, len: usize, writable: bool) -> io::Result<Self> {
        let write = if writable { ProtFlags::WRITE } else { ProtFlags::empty() };
        // SAFETY: the address is the kernel's choice, so nothing that exists is mapped over.
        let start = unsafe {
            mmap(std::ptr::null_mut(), len, ProtFlags::READ | write, MapFlags::SHARED, file, offset)
        }?;
        Self::new(start, len, writable)
    }

    /// Zeroed memory of `len` bytes without a file, for an IOMMU to map.
    pub fn anonymous(len: usize) -> io::Result<Self> {
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the address is the kernel's choice, so nothing that exists is mapped over.
        let start = unsafe { mmap_anonymous(std::ptr::null_mut(), len, prot, MapFlags::SHARED) }?;
        Self::new(start, len, true)
    }

    /// Zeroed memory of `len` bytes, and the file behind it, whose size nobody can change.
    pub fn memfd(len: usize) -> io::Result<(Self, OwnedFd)> {
        let file = memfd_create("ironwarp-dma", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&file, len as u64)?;
        fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        let mapping = Self::shared(std::os::fd::AsFd::as_fd(&file), 0, len, true)?;
        Ok((mapping, file))
    }

    fn new(start: *mut std::ffi::c_void, len: usize, writable: bool) -> io::Result<Self> {
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { start, len, writable })
    }

    /// Length, bytes.
    pub fn len(&self) -> usize {
        self.len
    }
    /// Whether it holds no byte; it never does.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
    /// Whether it may be written.
    pub fn is_writable(&self) -> bool {
        self.writable
    }
    /// Address in this process.
    pub fn as_ptr(&self) -> *mut u8 {
        self.start.as_ptr()
    }
    /// Whether `len` bytes at `offset` lie inside.
    pub fn contains(&self, offset: usize, len: usize) -> bool {
        offset.checked_add(len).is_some_and(|end| end <= self.len)
    }

    /// Copy bytes out; `false`, and nothing is read, if the range is not inside.
    #[must_use]
    pub fn read(&self, offset: usize, buf: &mut [u8]) -> bool {
        if !self.contains(offset, buf.len()) {
            return false;
        }
        let (mut at, mut rest) = (offset, buf);
        while !rest.is_empty() {
            let (piece, left) = rest.split_at_mut(piece_len(at, rest.len()));
            match <&mut [u8; WORD]>::try_from(&mut *piece) {
                // SAFETY: inside the mapping, and aligned: `piece_len` gives whole words at multiples of their size only.
                Ok(word) => *word = unsafe { self.word(at) }.load(Ordering::Acquire).to_ne_bytes(),
                Err(_) => piece.iter_mut().enumerate().for_each(|(index, byte)| {
                    // SAFETY: inside the mapping.
                    *byte = unsafe { self.byte(at + index) }.load(Ordering::Acquire);
                }),
            }
            at += piece.len();
            rest = left;
        }
        true
    }

    /// Copy bytes in; `false`, and nothing is written, if the range is not inside or may not be written.
    #[must_use]
    pub fn write(&self, offset: usize, data: &[u8]) -> bool {
        if !self.writable || !self.contains(offset, data.len()) {
            return false;
        }
        let (mut at, mut rest) = (offset, data);
        while !rest.is_empty() {
            let (piece, left) = rest.split_at(piece_len(at, rest.len()));
            match <[u8; WORD]>::try_from(piece) {
                // SAFETY: inside the mapping, writable, and aligned as in `read`.
                Ok(word) => unsafe { self.word(at) }.store(u64::from_ne_bytes(word), Ordering::Release),
                Err(_) => piece.iter().enumerate().for_each(|(index, byte)| {
                    // SAFETY: inside the mapping, writable.
                    unsafe { self.byte(at + index) }.store(*byte, Ordering::Release);
                }),
            }
            at += piece.len();
            rest = left;
        }
        true
    }

    /// Read a register of a mapped BAR; `None` outside of it.
    pub fn load32(&self, offset: usize) -> Option<u32> {
        let inside = self.contains(offset, 4) && offset.is_multiple_of(4);
        // SAFETY: inside the mapping and aligned; registers have no invalid values.
        inside.then(|| u32::from_le(unsafe { self.register(offset).read_volatile() }))
    }

    /// Write a register of a mapped BAR behind all memory written before; `false` outside of it.
    #[must_use]
    pub fn store32(&self, offset: usize, value: u32) -> bool {
        let inside = self.writable && self.contains(offset, 4) && offset.is_multiple_of(4);
        if inside {
            fence(Ordering::SeqCst);
            // SAFETY: inside the mapping, writable and aligned.
            unsafe { self.register(offset).write_volatile(value.to_le()) };
        }
        inside
    }

    fn register(&self, offset: usize) -> *mut u32 {
        self.as_ptr().wrapping_add(offset).cast()
    }

    /// SAFETY: `offset` must be inside.
    unsafe fn byte(&self, offset: usize) -> &AtomicU8 {
        // SAFETY: the caller's promise; the memory lives as long as `self`.
        unsafe { AtomicU8::from_ptr(self.as_ptr().add(offset)) }
    }

    /// SAFETY: `offset` must be a multiple of 8, and the word inside. The mapping itself begins at a page.
    unsafe fn word(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: the caller's promise; the memory lives as long as `self`.
        unsafe { AtomicU64::from_ptr(self.as_ptr().add(offset).cast()) }
    }
}

/// How many of `len` bytes at `offset` to copy at once: a whole aligned word, or single bytes up to the next one.
fn piece_len(offset: usize, len: usize) -> usize {
    let aligned = offset.is_multiple_of(WORD);
    if aligned && len >= WORD { WORD } else { len.min(WORD - offset % WORD) }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `mmap` with this length, and nobody holds a reference any more.
        if let Err(error) = unsafe { munmap(self.as_ptr().cast(), self.len) } {
            tracing::error!(%error, len = self.len, "munmap");
        }
    }
}

const _: () = assert!(align_of::<AtomicU32>() == 4 && PAGE.is_multiple_of(WORD));

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::fd::AsFd;

    #[test]
    fn two_mappings_of_a_file_are_the_same_bytes() {
        let (one, file) = Mapping::memfd(2 * PAGE).unwrap();
        let other = Mapping::shared(file.as_fd(), PAGE as u64, PAGE, false).unwrap();
        assert!(one.write(PAGE + 3, b"seen"));
        let mut out = [0; 4];
        assert!(other.read(3, &mut out));
        assert_eq!(&out, b"seen");
        assert!(!other.write(0, &[1]), "a mapping for reading is not written");
        assert!(ftruncate(&file, 0).is_err(), "the file cannot shrink below a mapping");
    }

    #[test]
    fn registers_are_words_inside() {
        let bar = Mapping::anonymous(PAGE).unwrap();
        assert!(bar.store32(8, 0x1234_5678));
        assert_eq!(bar.load32(8), Some(0x1234_5678));
        let mut bytes = [0; 4];
        assert!(bar.read(8, &mut bytes));
        assert_eq!(bytes, 0x1234_5678u32.to_le_bytes());
        for bad in [PAGE, PAGE - 2, 2, usize::MAX] {
            assert_eq!(bar.load32(bad), None);
            assert!(!bar.store32(bad, 1));
        }
    }

    proptest! {
        #[test]
        fn bytes_come_back_from_any_offset(offset in 0..300usize, data in prop::collection::vec(any::<u8>(), 0..300)) {
            let memory = Mapping::anonymous(PAGE).unwrap();
            prop_assert!(memory.write(offset, &data));
            let mut all = vec![0; PAGE];
            prop_assert!(memory.read(0, &mut all));
            let mut expected = vec![0; PAGE];
            expected[offset..offset + data.len()].copy_from_slice(&data);
            prop_assert_eq!(&all, &expected);
            let mut out = vec![0; data.len()];
            prop_assert!(memory.read(offset, &mut out));
            prop_assert_eq!(out, data);
            prop_assert!(!memory.read(PAGE - offset, &mut vec![0; offset + 1]));
        }
    }
}
