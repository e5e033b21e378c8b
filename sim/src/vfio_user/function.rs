//! What vfio-user messages do to the PCI function around a device.

use super::config::{self, ConfigSpace, Effect};
use super::memory::DmaSpace;
use ironwarp_driver::transport::Fabric;
use ironwarp_driver::transport::vfio_user::wire::{
    BAR0_REGION, CONFIG_REGION, Command, MSIX_IRQ, Message, access, dma, dma_range, irq, u32_at, u64_at,
    version, words,
};
use ironwarp_proto::abi::doorbell::Pages;
use ironwarp_proto::abi::regs::{self, ctrl};
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

/// Regions of a PCI device: six BARs, ROM, configuration space, VGA.
const REGIONS: u32 = 9;
/// BAR of the MSI-X table.
const BAR2_REGION: u32 = 2;
/// Interrupts of a PCI device: INTx, MSI, MSI-X, error, request.
const IRQS: u32 = 5;
/// Device flags: has a reset, is a PCI device.
const RESETTABLE_PCI: u32 = 3;
/// Region flags: readable and writable.
const READ_WRITE: u32 = 3;
/// Interrupt flags: told by eventfd, the number of vectors is fixed.
const EVENTFD_FIXED: u32 = 1 | 1 << 3;
/// Most bytes of one register access: a burst, and no way to keep the device busy for long.
const BURST_MAX: u32 = 4096;

/// A PCI function with one MSI-X vector around a device of a [`Fabric`].
pub struct PciFunction {
    node: usize,
    bar0: u32,
    config: ConfigSpace,
    memory: Arc<DmaSpace>,
    /// Where the interrupt is told.
    vector: Option<OwnedFd>,
    /// The interrupt line was high and that was told.
    told: bool,
}

impl PciFunction {
    /// Around device `node` of `fabric`, which was made with `memory`; `None` if its registers make no sense.
    pub fn new(fabric: &mut dyn Fabric, node: usize, memory: Arc<DmaSpace>) -> Option<Self> {
        let (doorbells, limits) = (fabric.read32(node, regs::DOORBELLS), fabric.read32(node, regs::LIMITS0));
        let pages = Pages::from_registers(doorbells, limits)?;
        let end = u64::from(pages.first) + (u64::from(pages.qps + pages.cqs + pages.srqs) << pages.log2_size);
        let bar0 = u32::try_from(end.next_power_of_two().max(4096)).ok().filter(|size| *size <= 1 << 30)?;
        Some(Self { node, bar0, config: ConfigSpace::new(bar0), memory, vector: None, told: false })
    }

    /// Number of the device.
    pub fn node(&self) -> usize {
        self.node
    }

    /// Do what a message asks for; the body of the reply, or what is wrong.
    pub fn handle(&mut self, fabric: &mut dyn Fabric, message: Message) -> Result<Vec<u8>, Errno> {
        let command = Command::from_code(message.header.command).ok_or(Errno::NOTSUP)?;
        let body = &message.body;
        let word = |at| u32_at(body, at).ok_or(Errno::INVAL);
        let long = |at| u64_at(body, at).ok_or(Errno::INVAL);
        match command {
            // The major version in the low half: only 0 exists.
            Command::Version if word(0)? & 0xffff == 0 => Ok(version()),
            Command::Version => Err(Errno::NOTSUP),
            Command::DeviceInfo => Ok(words(&[16, RESETTABLE_PCI, REGIONS, IRQS])),
            Command::RegionInfo => {
                let index = word(8)?;
                let size = self.region_size(index).ok_or(Errno::INVAL)?;
                let flags = if size > 0 { READ_WRITE } else { 0 };
                Ok(words(&[32, flags, index, 0, size, 0, 0, 0]))
            }
            Command::IrqInfo => {
                let index = word(8)?;
                if index >= IRQS {
                    return Err(Errno::INVAL);
                }
                let [flags, count] = if index == MSIX_IRQ { [EVENTFD_FIXED, 1] } else { [0, 0] };
                Ok(words(&[16, flags, index, count]))
            }
            Command::SetIrqs => {
                let fields = [word(4)?, word(8)?, word(12)?, word(16)?];
                self.set_irqs(fields, message.fds).map(|()| Vec::new())
            }
            Command::RegionRead => {
                let (offset, region, count) = (long(0)?, word(8)?, word(12)?);
                let data = self.read(fabric, region, offset, count)?;
                Ok([access(offset, region, count), data].concat())
            }
            Command::RegionWrite => {
                let (offset, region, count) = (long(0)?, word(8)?, word(12)?);
                let data = body.get(16..).filter(|data| data.len() == count as usize).ok_or(Errno::INVAL)?;
                self.write(fabric, region, offset, data)?;
                Ok(access(offset, region, count))
            }
            Command::DmaMap => {
                let (flags, offset, addr, len) = (word(4)?, long(8)?, long(16)?, long(24)?);
                if message.fds.len() > 1 {
                    return Err(Errno::INVAL);
                }
                let file = message.fds.into_iter().next().map(|file| (file, offset));
                let (read, write) = (flags & dma::READ != 0, flags & dma::WRITE != 0);
                self.memory.map(addr, len, file, read, write).map(|()| Vec::new()).map_err(|error| {
                    tracing::warn!(%error, "DMA_MAP of {len:#x} bytes at {addr:#x} refused");
                    error.errno()
                })
            }
            Command::DmaUnmap => {
                let (flags, addr, len) = (word(4)?, long(8)?, long(16)?);
                let all = flags & dma::UNMAP_ALL != 0;
                let result = self.memory.unmap(if all { 0 } else { addr }, if all { u64::MAX } else { len });
                result.map(|()| dma_range(flags, None, addr, len)).map_err(|error| {
                    tracing::warn!(%error, "DMA_UNMAP of {len:#x} bytes at {addr:#x} refused");
                    error.errno()
                })
            }
            Command::Reset => {
                self.reset(fabric);
                Ok(Vec::new())
            }
        }
    }

    /// Size of a region; `None` if there is none with this index.
    fn region_size(&self, index: u32) -> Option<u32> {
        match index {
            BAR0_REGION => Some(self.bar0),
            BAR2_REGION => Some(config::MSIX_BAR_LEN),
            CONFIG_REGION => Some(config::LEN as u32),
            _ if index < REGIONS => Some(0),
            _ => None,
        }
    }

    /// The access lies inside of its region.
    fn check(&self, region: u32, offset: u64, count: u32) -> Result<u32, Errno> {
        let size = self.region_size(region).ok_or(Errno::INVAL)?;
        let end = offset.checked_add(count.into()).ok_or(Errno::INVAL)?;
        let inside = (1..=BURST_MAX).contains(&count) && end <= u64::from(size);
        if inside { Ok(offset as u32) } else { Err(Errno::INVAL) }
    }

    fn read(
        &mut self,
        fabric: &mut dyn Fabric,
        region: u32,
        offset: u64,
        count: u32,
    ) -> Result<Vec<u8>, Errno> {
        let first = self.check(region, offset, count)?;
        let mut data = vec![0; count as usize];
        match region {
            BAR0_REGION => {
                // Registers are whole words; an access may begin and end inside of one.
                let skip = first % 4;
                let registers = (first - skip..first + count).step_by(4);
                let bytes: Vec<u8> =
                    registers.flat_map(|at| fabric.read32(self.node, at).to_le_bytes()).collect();
                data.copy_from_slice(&bytes[skip as usize..(skip + count) as usize]);
            }
            CONFIG_REGION if !self.config.read(offset, &mut data) => return Err(Errno::INVAL),
            // The table behind BAR 2 is kept by the client, which tells of it by SET_IRQS.
            _ => {}
        }
        Ok(data)
    }

    fn write(&mut self, fabric: &mut dyn Fabric, region: u32, offset: u64, data: &[u8]) -> Result<(), Errno> {
        let first = self.check(region, offset, data.len() as u32)?;
        match region {
            BAR0_REGION => {
                let (register, rest) = data.as_chunks::<4>();
                if !rest.is_empty() || !first.is_multiple_of(4) {
                    return Err(Errno::INVAL);
                }
                for (at, bytes) in (first..).step_by(4).zip(register) {
                    fabric.write32(self.node, at, u32::from_le_bytes(*bytes));
                    // A message is sent once; what came while it was handled needs another one.
                    if [regs::EQ_CONSUMER, regs::RAWRX_CONSUMER, regs::EQ_CTRL].contains(&at) {
                        self.told = false;
                    }
                }
            }
            CONFIG_REGION => match self.config.write(offset, data).ok_or(Errno::INVAL)? {
                Effect::Reset => self.reset(fabric),
                Effect::BusMaster(on) => self.memory.set_bus_master(on),
                Effect::None => {}
            },
            _ => {}
        }
        Ok(())
    }

    fn set_irqs(&mut self, [flags, index, start, count]: [u32; 4], fds: Vec<OwnedFd>) -> Result<(), Errno> {
        if index >= IRQS || flags & irq::ACTION_TRIGGER == 0 {
            return Err(Errno::INVAL);
        }
        // QEMU also clears interrupts that do not exist.
        let last = start.checked_add(count).ok_or(Errno::INVAL)?;
        if index != MSIX_IRQ || last > 1 {
            let nothing = fds.is_empty() && count == 0;
            return if nothing { Ok(()) } else { Err(Errno::INVAL) };
        }
        match (flags & irq::DATA_EVENTFD != 0, count) {
            (false, 0) => self.vector = None,
            (false, _) if flags & irq::DATA_NONE != 0 => self.fire(),
            (true, 1) if fds.len() <= 1 => {
                self.vector = fds.into_iter().next().map(checked).transpose()?;
                self.told = false;
            }
            (true, 0) if fds.is_empty() => {}
            _ => return Err(Errno::INVAL),
        }
        Ok(())
    }

    fn fire(&self) {
        if let Some(vector) = &self.vector
            && let Err(error) = rustix::io::write(vector, &1u64.to_ne_bytes())
        {
            // A counter that is full is a signal as well.
            tracing::debug!(%error, "eventfd");
        }
    }

    /// Tell the level of the device's interrupt line.
    pub fn interrupt(&mut self, level: bool) {
        if level && !self.told {
            self.fire();
        }
        self.told = level;
    }

    /// Function-level reset: device and configuration space as after power-up. Mappings and the vector are the client's.
    pub fn reset(&mut self, fabric: &mut dyn Fabric) {
        fabric.write32(self.node, regs::CTRL, ctrl::SOFT_RESET);
        self.config.reset();
        self.memory.set_bus_master(false);
        self.told = false;
    }

    /// The client is gone, and with it all that it gave.
    pub fn release(&mut self, fabric: &mut dyn Fabric) {
        self.reset(fabric);
        self.memory.clear();
        self.vector = None;
    }
}

/// Take a descriptor only if it is an eventfd, and have it never block: nothing else may be written to blindly.
fn checked(fd: OwnedFd) -> Result<OwnedFd, Errno> {
    let link = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).map_err(|_| Errno::BADF)?;
    if !link.to_string_lossy().contains("[eventfd]") {
        return Err(Errno::INVAL);
    }
    rustix::fs::fcntl_setfl(&fd, rustix::fs::fcntl_getfl(&fd)? | OFlags::NONBLOCK)?;
    Ok(fd)
}
