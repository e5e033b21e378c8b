//! The computer's side of a UART: a pseudo-terminal.

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::fs::File;
use std::io::{self, Read, Write};

/// A pseudo-terminal that nobody need have opened.
pub struct Terminal {
    master: File,
    path: String,
    pending: Vec<u8>,
}

impl Terminal {
    /// A new one.
    pub fn open() -> io::Result<Self> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let path = ptsname(&master, Vec::new())?.to_string_lossy().into_owned();
        rustix::fs::fcntl_setfl(&master, rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NONBLOCK)?;
        Ok(Self { master: master.into(), path, pending: Vec::new() })
    }

    /// What to open instead of a serial port.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What was written at the other end. While nobody has it open, nothing.
    pub fn read(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; 4096];
        let count = self.master.read(&mut bytes).unwrap_or(0);
        bytes.truncate(count);
        bytes
    }

    /// Bytes for the other end; lost, as on a line, while nobody has it open.
    pub fn write(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
        while !self.pending.is_empty() {
            match self.master.write(&self.pending) {
                Ok(count) => drop(self.pending.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => self.pending.clear(),
            }
        }
    }
}
