//! Engines: what can play the device.

use crate::emulated::{Build, Emulated, Latency, Meter, Timed};
use crate::model::{Model, ModelConfig};
use crate::rtl::gates;
use crate::rtl::native::Native;
use crate::rtl::pins::Rtl;
use crate::rtl::verilated::{VerilateError, Verilated};
use crate::rtl::{
    Compared, Comparison, DmaTiming, Pace, Profile, RtlConfig, RtlDevice, Stored, WavesConfig, WavesError,
};
use clap::ValueEnum;
use ironwarp_hdl::top::{Core, full_core, small_core};
use ironwarp_micro::asm::{AsmError, Program};
use ironwarp_micro::layout::Sizes;
use ironwarp_micro::program::assemble;
use ironwarp_proto::pins::{Device, Dma};
use rust_hdl::prelude::generate_verilog;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use thiserror::Error;

/// What plays the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Engine {
    /// The golden model.
    #[default]
    Model,
    /// The program of the RTL on an interpreter, with models of the engines around it.
    Micro,
    /// As micro, in the time of the RTL.
    Timed,
    /// The RTL in RustHDL's simulation, in its own time.
    Rtl,
    /// The RTL with a clock as fast as the caller wants: for tests at the pins.
    RtlSettled,
    /// The RTL's Verilog, compiled by Verilator, in its own time.
    RtlVerilated,
    /// That with a clock as fast as the caller wants.
    RtlVerilatedSettled,
    /// The gates that yosys makes of a small device's Verilog for the iCE40, with the part's cell models, compiled by Verilator.
    RtlGates,
    /// RustHDL's simulation and the Verilog side by side, every output compared in every cycle.
    RtlCompared,
}

/// Name of the variable that chooses the engine of tests.
pub const VARIABLE: &str = "IRONWARP_ENGINE";
/// Words that T addresses reach.
const TABLE_MAX: usize = 1 << 16;

/// Why there is no such device.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EngineError {
    /// The variable names none.
    #[error(
        "{VARIABLE} is '{0}'; give model, micro, timed, rtl, rtl-settled, rtl-verilated, rtl-verilated-settled, rtl-gates or rtl-compared"
    )]
    Unknown(String),
    /// Too large.
    #[error("a device of this size needs {0} words of table memory; the sequencer reaches {TABLE_MAX}")]
    TooLarge(usize),
    /// The program.
    #[error("the device's program cannot be assembled: {0}")]
    Program(#[from] AsmError),
    /// The RTL is of two sizes.
    #[error(
        "the RTL is built as a small device (4 QPs, 16 regions, 8 CQs, no SRQs) and a full one (64 QPs, 256 regions, 128 CQs, 16 SRQs) with the features of \
         each, which this is not: use engine model or micro for other sizes"
    )]
    NotBuilt,
    /// The compiled Verilog.
    #[error(transparent)]
    Verilate(#[from] VerilateError),
    /// Waveforms.
    #[error(transparent)]
    Waves(#[from] WavesError),
    /// Only the RTL has signals.
    #[error("engine {0} has no waveforms; use rtl, rtl-settled, rtl-verilated or rtl-verilated-settled")]
    NoWaves(&'static str),
}

/// What is to be seen of a device, and where it will stand.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    /// Cycles of a program that is interpreted.
    pub meter: Arc<Meter>,
    /// Cycles of the RTL.
    pub profile: Arc<Mutex<Profile>>,
    /// Waveforms of the RTL.
    pub waves: Option<WavesConfig>,
}

impl Engine {
    /// Name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Engine::Model => "model",
            Engine::Micro => "micro",
            Engine::Rtl => "rtl",
            Engine::RtlSettled => "rtl-settled",
            Engine::RtlVerilated => "rtl-verilated",
            Engine::RtlVerilatedSettled => "rtl-verilated-settled",
            Engine::RtlGates => "rtl-gates",
            Engine::RtlCompared => "rtl-compared",
            Engine::Timed => "timed",
        }
    }

    /// Whether it is the RTL, simulated cycle by cycle.
    pub fn is_rtl(self) -> bool {
        !matches!(self, Engine::Model | Engine::Micro | Engine::Timed)
    }

    /// The engine to use where time is not the device's: where the peers' is real, or where a test sets it by hand. The RTL's clock is
    /// then as fast as the caller wants, and the device has no time of its own that falls behind.
    #[must_use]
    pub fn settled(self) -> Self {
        match self {
            Engine::Rtl => Engine::RtlSettled,
            Engine::RtlVerilated => Engine::RtlVerilatedSettled,
            other => other,
        }
    }

    /// What the variable says; the model if it is not set.
    pub fn from_env() -> Result<Self, EngineError> {
        match std::env::var_os(VARIABLE) {
            None => Ok(Engine::default()),
            Some(text) => {
                let text = text.to_string_lossy();
                Engine::from_str(&text, true).map_err(|_| EngineError::Unknown(text.into()))
            }
        }
    }

    /// A device in power-up state with access to `dma`.
    pub fn device(self, config: &ModelConfig, dma: Arc<dyn Dma>) -> Result<Box<dyn Device>, EngineError> {
        self.watched(config, dma, &Watch::default())
    }

    /// A device that tells what it does.
    pub fn watched(
        self,
        config: &ModelConfig,
        dma: Arc<dyn Dma>,
        watch: &Watch,
    ) -> Result<Box<dyn Device>, EngineError> {
        if watch.waves.is_some() && !self.is_rtl() {
            return Err(EngineError::NoWaves(self.name()));
        }
        match self {
            Engine::Model => Ok(Box::new(Model::new(*config, dma))),
            Engine::Micro | Engine::Timed => {
                let sizes = sizes(config);
                if sizes.table() > TABLE_MAX {
                    return Err(EngineError::TooLarge(sizes.table()));
                }
                let meter = Arc::clone(&watch.meter);
                let build = Build { program: program(&sizes)?, sizes, meter };
                let latency = Latency { memory: latency_cycles(config) };
                Ok(match self {
                    Engine::Timed => Box::new(Timed::new(&build, dma, latency)),
                    _ => Box::new(Emulated::new(&build, dma)),
                })
            }
            Engine::Rtl
            | Engine::RtlSettled
            | Engine::RtlVerilated
            | Engine::RtlVerilatedSettled
            | Engine::RtlGates
            | Engine::RtlCompared => {
                let sizes = sizes(config);
                let built = |size: &Sizes| Sizes { clock_khz: size.clock_khz, ..sizes } == *size;
                let program = program(&sizes)?;
                let rtl = if built(&Sizes::SMALL) {
                    Box::new(Stored::new(self.simulation(small_core(), &sizes, watch)?, program.clone()))
                } else if built(&Sizes::FULL) {
                    self.simulation(full_core(&program.words), &sizes, watch)?
                } else {
                    return Err(EngineError::NotBuilt);
                };
                let pace = match self {
                    Engine::RtlSettled | Engine::RtlVerilatedSettled => Pace::Settled,
                    _ => Pace::Clocked { period_ps: 1_000_000_000 / u64::from(sizes.clock_khz.max(1)) },
                };
                let rtl_config = RtlConfig { pace, dma: dma_timing(config), pages: config.pages() };
                let (profile, waves) = (Arc::clone(&watch.profile), watch.waves.as_ref());
                Ok(Box::new(RtlDevice::new(rtl, program, rtl_config, dma, profile, waves)?))
            }
        }
    }

    /// The simulation of a core of this size.
    fn simulation<
        const P: usize,
        const M: usize,
        const T: usize,
        const R: usize,
        const X: usize,
        const C: usize,
        const I: usize,
        const N: usize,
    >(
        self,
        core: Core<P, M, T, R, X, C, I, N>,
        sizes: &Sizes,
        watch: &Watch,
    ) -> Result<Box<dyn Rtl>, EngineError> {
        static VERILOG: Memo<Arc<str>> = Memo::new();
        static GATES: Memo<Arc<str>> = Memo::new();
        let verilated = || -> Result<_, EngineError> {
            let verilog = VERILOG.get(sizes, || Ok(generate_verilog(&core).into()))?;
            Ok(Box::new(Verilated::new(&verilog, watch.waves.is_some())?))
        };
        Ok(match self {
            Engine::RtlCompared => {
                let verilated = verilated()?;
                Box::new(Compared::new(Box::new(Native::new(core)), verilated, comparison()))
            }
            Engine::RtlVerilated | Engine::RtlVerilatedSettled => verilated()?,
            Engine::RtlGates => {
                let netlist = GATES.get(sizes, || Ok(gates(&generate_verilog(&core))?.into()))?;
                Box::new(Verilated::new(&netlist, watch.waves.is_some())?)
            }
            _ => Box::new(Native::new(core)),
        })
    }
}

/// How host memory answers the RTL.
fn dma_timing(config: &ModelConfig) -> DmaTiming {
    let cycles = |ns: u32| u64::from(ns) * u64::from(config.clock_khz) / 1_000_000;
    DmaTiming {
        latency: cycles(config.dma_latency_ns),
        jitter: cycles(config.dma_jitter_ns),
        seed: config.dma_seed,
    }
}

/// Latency of host memory in core cycles.
fn latency_cycles(config: &ModelConfig) -> u64 {
    u64::from(config.dma_latency_ns) * u64::from(config.clock_khz) / 1_000_000
}

/// What all devices of engine rtl-compared in this process have seen.
pub fn comparison() -> Arc<Comparison> {
    static SEEN: OnceLock<Arc<Comparison>> = OnceLock::new();
    Arc::clone(SEEN.get_or_init(Arc::default))
}

/// What is made once for each size of a device.
struct Memo<T>(Mutex<Vec<(Sizes, T)>>);

impl<T: Clone> Memo<T> {
    const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    fn get(&self, sizes: &Sizes, make: impl FnOnce() -> Result<T, EngineError>) -> Result<T, EngineError> {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, there)) = made.iter().find(|(size, _)| size == sizes) {
            return Ok(there.clone());
        }
        let new = make()?;
        made.push((*sizes, new.clone()));
        Ok(new)
    }
}

/// What the model's configuration says; what it does not say is that of a `small` device if it is of that size, else of a `full` one.
fn sizes(config: &ModelConfig) -> Sizes {
    let of = |rest: Sizes| Sizes {
        log2_qps: config.log2_qps,
        log2_regions: config.log2_regions,
        log2_cqs: config.log2_cqs,
        log2_srqs: config.log2_srqs,
        ird: config.ird,
        ord: config.ord,
        mss: config.mss,
        window: config.window,
        features: config.features,
        clock_khz: config.clock_khz,
        ..rest
    };
    let small = of(Sizes::SMALL);
    if small == (Sizes { clock_khz: config.clock_khz, ..Sizes::SMALL }) { small } else { of(Sizes::FULL) }
}

/// The program of a device.
fn program(sizes: &Sizes) -> Result<Arc<Program>, EngineError> {
    static PROGRAMS: Memo<Arc<Program>> = Memo::new();
    PROGRAMS.get(sizes, || Ok(Arc::new(assemble(sizes)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn model_and_rtl_are_of_the_same_sizes() {
        assert_eq!(sizes(&ModelConfig::FULL), Sizes::FULL);
        assert_eq!(sizes(&ModelConfig::SMALL), Sizes::SMALL);
        assert!(Sizes::FULL.table() <= TABLE_MAX);
    }

    #[test]
    fn the_rtl_is_built_in_two_sizes() {
        let odd = ModelConfig { log2_qps: 3, ..ModelConfig::SMALL };
        let made = Engine::Rtl.device(&odd, ironwarp_driver::transport::HostMemory::new());
        assert_eq!(made.err(), Some(EngineError::NotBuilt));
    }
}
