//! Host memory that remembers what a device did to it and can refuse.

use ironwarp_proto::pins::{Dma, DmaFault};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// An access of the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// It wrote.
    pub write: bool,
    /// First address.
    pub addr: u64,
    /// Bytes.
    pub len: usize,
    /// The host allowed it.
    pub done: bool,
}

#[derive(Default)]
struct State {
    log: Option<Vec<Access>>,
    refused: Vec<Range<u64>>,
    countdown: Option<usize>,
}

/// Between a device and its host's memory.
pub struct Spy {
    memory: Arc<dyn Dma>,
    state: Mutex<State>,
}

impl Spy {
    /// In front of `memory`; lets everything through.
    pub fn new(memory: Arc<dyn Dma>) -> Self {
        Self { memory, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Accesses since this was last called; the first call starts the log.
    pub fn log(&self) -> Vec<Access> {
        self.state().log.replace(Vec::new()).unwrap_or_default()
    }

    /// Refuse every access that touches these addresses.
    pub fn refuse(&self, addresses: Range<u64>) {
        self.state().refused.push(addresses);
    }

    /// Let `count` accesses through and refuse the one behind them.
    pub fn refuse_after(&self, count: usize) {
        self.state().countdown = Some(count);
    }

    /// Whether the refusal that [`refuse_after`](Self::refuse_after) asked for has happened.
    pub fn has_refused(&self) -> bool {
        self.state().countdown.is_none()
    }

    fn judge(&self, addr: u64, len: usize) -> Result<(), DmaFault> {
        let mut state = self.state();
        let end = addr.saturating_add(len as u64);
        let mut refused = state.refused.iter().any(|range| addr < range.end && range.start < end);
        match &mut state.countdown {
            Some(0) => {
                state.countdown = None;
                refused = true;
            }
            Some(left) => *left -= 1,
            None => {}
        }
        if refused { Err(DmaFault { addr, len }) } else { Ok(()) }
    }

    fn note(&self, write: bool, addr: u64, len: usize, result: &Result<(), DmaFault>) {
        if let Some(log) = &mut self.state().log {
            log.push(Access { write, addr, len, done: result.is_ok() });
        }
    }
}

impl Dma for Spy {
    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), DmaFault> {
        let result = self.judge(addr, buf.len()).and_then(|()| self.memory.read(addr, buf));
        self.note(false, addr, buf.len(), &result);
        result
    }
    fn write(&self, addr: u64, data: &[u8]) -> Result<(), DmaFault> {
        let result = self.judge(addr, data.len()).and_then(|()| self.memory.write(addr, data));
        self.note(true, addr, data.len(), &result);
        result
    }
}
