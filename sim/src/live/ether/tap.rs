//! A TAP interface of Linux: frames of the host's own network stack (Documentation/networking/tuntap.rst).
#![allow(unsafe_code, reason = "TUNSETIFF is an ioctl")]

use super::{INTERFACE_NAME_MAX, Wire};
use rustix::fs::OFlags;
use rustix::ioctl::{Opcode, Setter, ioctl, opcode};
use std::ffi::c_int;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

/// `TUNSETIFF`, `_IOW('T', 202, int)`: name and kind of the interface.
const TUNSETIFF: Opcode = opcode::write::<c_int>(b'T', 202);
/// Ethernet frames, not IP packets.
const IFF_TAP: u16 = 0x0002;
/// No packet information in front of frames.
const IFF_NO_PI: u16 = 0x1000;

/// `struct ifreq`: 40 bytes, of which the ioctl uses name and flags.
#[repr(C)]
struct Ifreq {
    name: [u8; INTERFACE_NAME_MAX + 1],
    flags: u16,
    rest: [u8; 22],
}

const _: () = assert!(size_of::<Ifreq>() == 40);

/// The interface is gone with the file, unless it was made to stay.
pub(super) struct Tap(File);

impl Tap {
    pub(super) fn open(name: &str) -> io::Result<Self> {
        let nonblocking = OFlags::NONBLOCK.bits() as i32;
        let file =
            OpenOptions::new().read(true).write(true).custom_flags(nonblocking).open("/dev/net/tun")?;
        let mut request =
            Ifreq { name: [0; INTERFACE_NAME_MAX + 1], flags: IFF_TAP | IFF_NO_PI, rest: [0; 22] };
        let room = &mut request.name[..INTERFACE_NAME_MAX];
        room.get_mut(..name.len()).ok_or(io::ErrorKind::InvalidInput)?.copy_from_slice(name.as_bytes());
        // SAFETY: TUNSETIFF reads a `struct ifreq`, and `Ifreq` has its layout: its size was checked, its fields are plain
        // integers at the offsets 0 and 16, and the name ends with a zero.
        let set = unsafe { Setter::<TUNSETIFF, Ifreq>::new(request) };
        // SAFETY: the file is a tun device, and the operation is one of its own.
        unsafe { ioctl(&file, set) }?;
        Ok(Self(file))
    }
}

impl Wire for Tap {
    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        self.0.write(frame).map(|_| ())
    }
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
