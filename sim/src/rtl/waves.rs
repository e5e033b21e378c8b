//! Waveforms of a core: a VCD file with every signal, over a window of cycles.

use super::pins::Rtl;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use thiserror::Error;

/// Why there are no waveforms.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("cannot write waveforms to {path}: {reason}")]
pub struct WavesError {
    /// The file.
    pub path: String,
    /// What the system says.
    pub reason: String,
}

impl WavesError {
    pub(super) fn new(path: &Path, reason: impl ToString) -> Self {
        Self { path: path.display().to_string(), reason: reason.to_string() }
    }
}

/// What to record of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WavesConfig {
    /// The file.
    pub path: PathBuf,
    /// The cycles, counted from the end of reset.
    pub cycles: Range<u64>,
}

impl WavesConfig {
    /// The same for one of several devices: its name goes in front of the file's extension.
    pub fn for_device(&self, name: &str) -> Self {
        let extension = self.path.extension().map_or("vcd".into(), |text| text.to_string_lossy());
        Self { path: self.path.with_extension(format!("{name}.{extension}")), cycles: self.cycles.clone() }
    }
}

/// The recording of one core.
#[derive(Debug)]
pub(super) struct Waves {
    cycles: Range<u64>,
    period_ps: u64,
}

impl Waves {
    /// Start a recording; a cycle has `period_ps` picoseconds.
    pub fn open(config: &WavesConfig, period_ps: u64, rtl: &mut dyn Rtl) -> Result<Self, WavesError> {
        rtl.trace(&config.path)?;
        Ok(Self { cycles: config.cycles.clone(), period_ps: period_ps.max(2) })
    }

    /// The clock of `cycle` is low and all is settled.
    pub fn low(&self, cycle: u64, rtl: &mut dyn Rtl) {
        if self.cycles.contains(&cycle) {
            rtl.dump(cycle * self.period_ps);
        }
    }

    /// It has risen.
    pub fn high(&self, cycle: u64, rtl: &mut dyn Rtl) {
        if self.cycles.contains(&cycle) {
            rtl.dump(cycle * self.period_ps + self.period_ps / 2);
        }
    }
}

/// A file that keeps its first error: RustHDL's VCD writer knows none. What comes behind it is dropped.
#[derive(Clone)]
pub(super) struct Sink(Arc<Mutex<(BufWriter<File>, Option<io::Error>)>>);

impl Sink {
    pub fn create(path: &Path) -> Result<Self, WavesError> {
        let file = File::create(path).map_err(|error| WavesError::new(path, error))?;
        Ok(Self(Arc::new(Mutex::new((BufWriter::new(file), None)))))
    }

    /// The first error, once.
    pub fn error(&self) -> Option<io::Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1.take()
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (file, error) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if error.is_none()
            && let Err(new) = file.write_all(bytes)
        {
            *error = Some(new);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0.flush()
    }
}
