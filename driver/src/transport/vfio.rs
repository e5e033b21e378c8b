//! A PCI device through Linux VFIO: the kernel's vfio-pci driver, an IOMMU, and nothing else between device and process.
#![allow(unsafe_code, reason = "giving memory to a device")]

use super::iova::IovaSpace;
use super::mapping::{Mapping, PAGE};
use super::reactor::{Member, Reactor};
use super::{DmaBuffer, DmaMemory, PciAddress, Service, Transport, TransportError, Wait};
use crate::sync::lock;
use ironwarp_proto::abi::regs;
use ironwarp_proto::pins::Nanos;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use vfio_ioctls::{VfioContainer, VfioDevice, VfioError, VfioOps};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

/// Index of BAR 0 among the regions of a PCI device.
const BAR0_REGION: u32 = 0;
/// Index of configuration space among them.
const CONFIG_REGION: u32 = 7;
/// Region flags: readable, writable, can be mapped.
const READ_WRITE: u32 = 3;
const MAPPABLE: u32 = 4;
/// PCI command register: memory space and bus master enable.
const COMMAND_REGISTER: u64 = 4;
const MEMORY_AND_BUS_MASTER: u16 = 6;
/// A longer BAR is not that of an RNIC, bytes.
const BAR_MAX: u64 = 1 << 31;
/// What every register of a device that is gone reads.
const GONE: u32 = u32::MAX;
/// How often those who wait look whether the device is still there, ns: one that is gone interrupts nobody.
const LOOK: Nanos = 200_000_000;

/// The transport to a PCI device bound to vfio-pci.
pub struct Vfio {
    bar: Bar,
    /// When somebody last looked whether the device is there.
    looked: AtomicU64,
    link: Arc<Link>,
}

/// BAR 0: mapped, or through the device file where the kernel does not let it be mapped. It goes before the device, whose
/// group stays busy as long as anything of it is mapped.
enum Bar {
    Mapped(Mapping),
    File { base: u64, size: u64 },
}

/// What the transport and its buffers share. Fields are dropped in order: the device first, which stops its DMA.
struct Link {
    device: VfioDevice,
    container: Arc<VfioContainer>,
    iova: Mutex<IovaSpace>,
    member: Arc<Member>,
    reactor: &'static Reactor,
}

/// What to do about it.
fn advice(error: &VfioError, path: &Path) -> &'static str {
    match error {
        VfioError::OpenContainer(error) if error.kind() == io::ErrorKind::NotFound => {
            "load the module vfio-pci (modprobe vfio-pci)"
        }
        VfioError::OpenGroup(error, _) if error.kind() == io::ErrorKind::NotFound => {
            "bind the device to vfio-pci: docs/driver.md"
        }
        VfioError::OpenContainer(_) | VfioError::OpenGroup(..) => {
            "is it in use, or does this user have no right to the files in /dev/vfio? docs/driver.md"
        }
        VfioError::InvalidPath if path.exists() => {
            "it is in no IOMMU group: switch the IOMMU on (intel_iommu=on or amd_iommu=on)"
        }
        VfioError::InvalidPath => "there is no such PCI device; lspci -D lists them",
        VfioError::GroupViable => "all devices of its IOMMU group must be bound to vfio-pci, or to no driver",
        VfioError::ContainerSetIOMMU(_) => {
            "the IOMMU cannot be used: is interrupt remapping available? dmesg tells"
        }
        _ => "docs/driver.md tells how to set up the device",
    }
}

impl Vfio {
    /// Open the device, reset it, and enable DMA and the interrupt.
    pub fn open(address: PciAddress) -> Result<Arc<Self>, TransportError> {
        let open = |reason: String| TransportError::Open { device: format!("vfio:{address}"), reason };
        let path = PathBuf::from(format!("/sys/bus/pci/devices/{address}"));
        let failed = |error: VfioError| open(format!("{error}; {}", advice(&error, &path)));
        if !path.exists() {
            return Err(failed(VfioError::InvalidPath));
        }
        let reactor = Reactor::process()?;
        let container = Arc::new(VfioContainer::new(None).map_err(failed)?);
        let ops: Arc<dyn VfioOps> = container.clone();
        let device = VfioDevice::new(&path, ops, true).map_err(failed)?;
        device.reset();
        let bar = Bar::open(&device).map_err(|error| open(format!("BAR 0: {error}")))?;
        enable(&device).map_err(|error| open(format!("configuration space: {error}")))?;
        let irq = EventFd::new(EFD_NONBLOCK).map_err(|error| open(error.to_string()))?;
        device
            .enable_msix(vec![&irq])
            .map_err(|error| open(format!("{error}: the device must have MSI-X")))?;
        // SAFETY: the descriptor is open, and `into_raw_fd` has given up its ownership.
        let member = Member::new(unsafe { OwnedFd::from_raw_fd(irq.into_raw_fd()) }, None);
        reactor.join(&member);
        let link = Link { device, container, iova: Mutex::default(), member, reactor };
        Ok(Arc::new(Self { bar, looked: AtomicU64::new(0), link: Arc::new(link) }))
    }
}

/// The device file. The library's own accessors drop errors.
fn file(device: &VfioDevice) -> io::Result<std::fs::File> {
    // SAFETY: the device owns the descriptor and outlives this call.
    Ok(unsafe { BorrowedFd::borrow_raw(device.as_raw_fd()) }.try_clone_to_owned()?.into())
}

/// Switch on memory space and bus mastering.
fn enable(device: &VfioDevice) -> io::Result<()> {
    let (file, at) = (file(device)?, device.get_region_offset(CONFIG_REGION) + COMMAND_REGISTER);
    let mut command = [0; 2];
    file.read_exact_at(&mut command, at)?;
    let command = u16::from_le_bytes(command) | MEMORY_AND_BUS_MASTER;
    file.write_all_at(&command.to_le_bytes(), at)
}

impl Bar {
    fn open(device: &VfioDevice) -> io::Result<Self> {
        let (flags, size) = (device.get_region_flags(BAR0_REGION), device.get_region_size(BAR0_REGION));
        let base = device.get_region_offset(BAR0_REGION);
        if flags & READ_WRITE != READ_WRITE || !(PAGE as u64..=BAR_MAX).contains(&size) {
            return Err(io::Error::other(format!("{size} bytes, flags {flags:#x}: no Ironwarp device")));
        }
        if flags & MAPPABLE == 0 {
            return Ok(Bar::File { base, size });
        }
        // SAFETY: the device owns the descriptor and outlives this call.
        let fd = unsafe { BorrowedFd::borrow_raw(device.as_raw_fd()) };
        Ok(Bar::Mapped(Mapping::shared(fd, base, size as usize, true)?))
    }
}

impl Vfio {
    fn outside(&self, offset: u32) -> TransportError {
        TransportError::Refused(format!("register {offset:#x} is outside of BAR 0"))
    }
    fn at(&self, base: u64, size: u64, offset: u32) -> Result<u64, TransportError> {
        let inside = u64::from(offset) + 4 <= size;
        inside.then_some(base + u64::from(offset)).ok_or_else(|| self.outside(offset))
    }
    /// Run an access of the device file; one that fails is the end of the device.
    fn access<T>(&self, run: impl FnOnce(std::fs::File) -> io::Result<T>) -> Result<T, TransportError> {
        let result = file(&self.link.device).and_then(run);
        result.map_err(|error| self.link.member.lose(format!("register access: {error}")))
    }
}

impl Vfio {
    fn load(&self, offset: u32) -> Result<u32, TransportError> {
        self.link.member.check()?;
        match &self.bar {
            Bar::Mapped(bar) => bar.load32(offset as usize).ok_or_else(|| self.outside(offset)),
            Bar::File { base, size } => {
                let (at, mut word) = (self.at(*base, *size, offset)?, [0; 4]);
                self.access(|file| file.read_exact_at(&mut word, at))?;
                Ok(u32::from_le_bytes(word))
            }
        }
    }
}

impl Transport for Vfio {
    fn read32(&self, offset: u32) -> Result<u32, TransportError> {
        let value = self.load(offset)?;
        // ID is never all ones while the device is there.
        if value == GONE && self.load(regs::ID)? == GONE {
            return Err(self.link.member.lose("its registers read all ones: unplugged, or without power"));
        }
        Ok(value)
    }
    fn write32(&self, offset: u32, value: u32) -> Result<(), TransportError> {
        self.link.member.check()?;
        match &self.bar {
            Bar::Mapped(bar) => {
                let stored = bar.store32(offset as usize, value);
                stored.then_some(()).ok_or_else(|| self.outside(offset))
            }
            Bar::File { base, size } => {
                let at = self.at(*base, *size, offset)?;
                self.access(|file| file.write_all_at(&value.to_le_bytes(), at))
            }
        }
    }
    fn alloc(&self, len: usize) -> Result<DmaBuffer, TransportError> {
        let no_memory = |reason: String| TransportError::NoMemory { len, reason };
        let size = len.checked_next_multiple_of(PAGE).filter(|size| *size > 0);
        let size = size.ok_or_else(|| no_memory("length must be at least 1".into()))?;
        let memory = Mapping::anonymous(size).map_err(|error| no_memory(error.to_string()))?;
        let addr = lock(&self.link.iova).take(size as u64);
        let addr = addr.ok_or_else(|| no_memory("the device address space is full".into()))?;
        // SAFETY: the memory is accessed by atomic operations only, and stays mapped until `Buffer::drop` has unmapped it
        // from the IOMMU, or for ever if that fails.
        let mapped = unsafe { self.link.container.vfio_dma_map(addr, size, memory.as_ptr()) };
        if let Err(error) = mapped {
            lock(&self.link.iova).give(addr);
            return Err(no_memory(format!(
                "{error}; memory for DMA is locked: raise the limit (ulimit -l), docs/driver.md"
            )));
        }
        let memory = Some(memory);
        Ok(DmaBuffer::new(Arc::new(Buffer { link: Arc::clone(&self.link), memory, addr, len, size })))
    }
    fn now(&self) -> Nanos {
        self.link.reactor.now()
    }
    fn wait(&self, deadline: Option<Nanos>) -> Result<Wait, TransportError> {
        let now = self.now();
        if now.saturating_sub(self.looked.load(Ordering::Relaxed)) > LOOK {
            self.looked.store(now, Ordering::Relaxed);
            self.read32(regs::ID)?;
        }
        self.link.reactor.wait(&self.link.member, deadline)
    }
    fn attach(&self, service: Weak<dyn Service>) {
        self.link.member.attach(service);
    }
    fn schedule(&self, at: Nanos) {
        self.link.reactor.schedule(&self.link.member, at);
    }
}

/// Memory mapped by the IOMMU.
struct Buffer {
    link: Arc<Link>,
    /// `None` only while it is dropped.
    memory: Option<Mapping>,
    addr: u64,
    len: usize,
    size: usize,
}

impl DmaMemory for Buffer {
    fn addr(&self) -> u64 {
        self.addr
    }
    fn len(&self) -> usize {
        self.len
    }
    fn read(&self, offset: usize, buf: &mut [u8]) {
        let inside = self.memory.as_ref().is_some_and(|memory| memory.read(offset, buf));
        debug_assert!(inside, "checked by the caller");
    }
    fn write(&self, offset: usize, data: &[u8]) {
        let inside = self.memory.as_ref().is_some_and(|memory| memory.write(offset, data));
        debug_assert!(inside, "checked by the caller");
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        match self.link.container.vfio_dma_unmap(self.addr, self.size) {
            Ok(()) => lock(&self.link.iova).give(self.addr),
            Err(error) => {
                // The device may still reach the pages: they are never given to anybody else.
                tracing::error!(%error, addr = self.addr, "not unmapped from the IOMMU: memory is not freed");
                std::mem::forget(self.memory.take());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_device_that_does_not_exist_is_named_with_advice() {
        let name = "vfio:fffe:ff:1f.7".parse::<crate::transport::DeviceName>().unwrap();
        let error = name.open().err().unwrap().to_string();
        assert!(error.contains("vfio:fffe:ff:1f.7") && error.contains("no such PCI device"), "{error}");
    }
}
