//! A piece of host memory for the tests of the engines.

use ironwarp_proto::pins::{Dma, DmaFault};
use std::sync::Mutex;

/// Bytes from an address on; nothing else is mapped.
pub struct Memory {
    base: u64,
    bytes: Mutex<Vec<u8>>,
}

impl Memory {
    /// `len` zeros at `base`.
    pub fn new(base: u64, len: usize) -> Self {
        Self { base, bytes: Mutex::new(vec![0; len]) }
    }
    /// Content.
    pub fn bytes(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.read(at, &mut bytes).unwrap();
        bytes
    }
    fn place(&self, addr: u64, len: usize) -> Result<usize, DmaFault> {
        let at = addr.checked_sub(self.base).map(|at| at as usize);
        at.filter(|at| at + len <= self.bytes.lock().unwrap().len()).ok_or(DmaFault { addr, len })
    }
}

impl Dma for Memory {
    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), DmaFault> {
        let at = self.place(addr, buf.len())?;
        buf.copy_from_slice(&self.bytes.lock().unwrap()[at..at + buf.len()]);
        Ok(())
    }
    fn write(&self, addr: u64, data: &[u8]) -> Result<(), DmaFault> {
        let at = self.place(addr, data.len())?;
        self.bytes.lock().unwrap()[at..at + data.len()].copy_from_slice(data);
        Ok(())
    }
}
