//! Options that several commands share, and what they have in common.

use crate::engine::{Engine, EngineError};
use crate::engine_of;
use crate::lab::{Connection, Lab, LabConfig, LabError};
use crate::link::LinkConfig;
use crate::live::Ether;
use crate::live::ether::OpenError;
use crate::model::ModelConfig;
use crate::pcap::{CaptureError, PcapWriter};
use crate::rtl::WavesConfig;
use crate::size::Size;
use crate::vfio_user::ServerError;
use clap::{Args, ValueEnum};
use ironwarp_driver::transport::{DEVICE_VARIABLE, DeviceName};
use ironwarp_proto::wire::eth::MacAddr;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use thiserror::Error;

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// Use it.
    On,
    /// Do without.
    Off,
}

impl Switch {
    /// Whether it is on.
    pub fn is_on(self) -> bool {
        self == Switch::On
    }
}

/// The Ethernet of a NIC in this process, and its addresses there.
#[derive(Debug, Clone, Args)]
pub struct EtherOptions {
    /// Ethernet of the RNIC: `unix:LOCAL,REMOTE`, `tap:NAME` or `udp:LOCAL,REMOTE`.
    #[arg(long, value_name = "ETHER")]
    pub ether: Option<Ether>,
    /// MAC address of the RNIC.
    #[arg(long, default_value = "02:1a:ce:00:00:01")]
    pub mac: MacAddr,
    /// IPv4 address of the RNIC; a server has that of --listen.
    #[arg(long)]
    pub ip: Option<Ipv4Addr>,
}

/// Rate of the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Rate {
    /// Frames take no time.
    None,
    /// 100 Mbit/s.
    #[value(name = "100m")]
    M100,
    /// 1 Gbit/s.
    #[value(name = "1g")]
    G1,
    /// 10 Gbit/s.
    #[value(name = "10g")]
    G10,
}

impl Rate {
    /// Bits per second.
    pub fn bps(self) -> Option<u64> {
        match self {
            Rate::None => None,
            Rate::M100 => Some(100_000_000),
            Rate::G1 => Some(1_000_000_000),
            Rate::G10 => Some(10_000_000_000),
        }
    }
}

/// The device, the connection and the record of a run.
#[derive(Debug, Clone, Args)]
pub struct RunOptions {
    /// What plays the device.
    #[arg(long, value_enum, default_value = "model")]
    pub engine: Engine,
    /// Size of the device.
    #[arg(long, value_enum, default_value = "full")]
    pub config: Size,
    /// Seed of everything random: the same seed gives the same run.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Write every frame to a pcapng file.
    #[arg(long, value_name = "FILE")]
    pub pcap: Option<PathBuf>,
    /// MPA CRC.
    #[arg(long, value_enum, default_value = "on")]
    pub crc: Switch,
    /// MPA markers, in both directions.
    #[arg(long, value_enum, default_value = "off")]
    pub markers: Switch,
    /// IP MTU, bytes; a small device takes up to 1500.
    #[arg(long, default_value_t = 1500, value_parser = clap::value_parser!(u16).range(576..=9000))]
    pub mtu: u16,
    /// Core clock, MHz; engines timed and rtl run at this rate. 62.5 for a full device, 31.25 for a small one.
    #[arg(long, value_name = "MHZ", value_parser = clock)]
    pub clock_mhz: Option<f64>,
    /// Waveforms of the RTL: FILE.left.vcd and FILE.right.vcd, every signal; large, so give a window.
    #[arg(long, value_name = "FILE")]
    pub vcd: Option<PathBuf>,
    /// First cycle of the waveforms, from the end of reset.
    #[arg(long, value_name = "CYCLE", default_value_t = 0, requires = "vcd")]
    pub vcd_from: u64,
    /// Cycle in front of which they end.
    #[arg(long, value_name = "CYCLE", default_value_t = 100_000, requires = "vcd")]
    pub vcd_to: u64,
    /// Latency of host memory, nanoseconds; engines timed and rtl.
    #[arg(long, value_name = "NS", default_value_t = 500, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub dma_latency_ns: u32,
    /// Largest random addition to it, and random stalls of every channel, nanoseconds; engines rtl.
    #[arg(long, value_name = "NS", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub dma_jitter_ns: u32,
}

fn clock(text: &str) -> Result<f64, String> {
    let mhz: f64 = text.parse().map_err(|_| "give a frequency in MHz such as 62.5".to_string())?;
    if (1.0..=1000.0).contains(&mhz) { Ok(mhz) } else { Err("a clock has 1 to 1000 MHz".into()) }
}

impl RunOptions {
    /// How queue pairs are connected.
    pub fn connection(&self) -> Connection {
        Connection { crc: self.crc.is_on(), markers: self.markers.is_on() }
    }

    /// Two hosts on such devices with this link between them.
    pub fn lab(&self, link: LinkConfig) -> Result<Lab, CommandError> {
        let capture = self.pcap.as_ref().map(PcapWriter::create).transpose()?;
        Ok(Lab::new(&self.config(link)?, capture)?)
    }

    /// Two hosts on these devices.
    pub fn lab_on(&self, devices: [&DeviceName; 2]) -> Result<Lab, CommandError> {
        self.check_elsewhere()?;
        Ok(Lab::on_devices(devices, &self.config(LinkConfig::default())?)?)
    }

    /// Take the engine that a device's name says, such as `rtl`.
    pub fn adopt(&mut self, device: &DeviceOptions) -> Result<(), CommandError> {
        let [name] = device.names.as_slice() else { return Ok(()) };
        match engine_of(name) {
            Some(engine) if self.engine == Engine::default() || self.engine == engine => self.engine = engine,
            Some(_) if *name != DeviceName::Model => {
                return Err(CommandError::Failed(format!(
                    "device {name} and engine {} are both chosen: leave out --engine, or --device and {DEVICE_VARIABLE}",
                    self.engine.name()
                )));
            }
            _ => {}
        }
        Ok(())
    }

    /// An error if something is asked for that only a device in this process can do.
    pub fn check_elsewhere(&self) -> Result<(), CommandError> {
        let failed = |text: &str| Err(CommandError::Failed(text.into()));
        if self.pcap.is_some() {
            return failed("the frames of devices elsewhere cannot be captured here: leave out --pcap");
        }
        if self.vcd.is_some() {
            return failed("devices elsewhere have no waveforms here: leave out --vcd");
        }
        if self.engine != Engine::default() {
            return failed("the engine of devices elsewhere is chosen where they are: leave out --engine");
        }
        if self.config != Size::default() {
            return failed("the size of devices elsewhere is chosen where they are: leave out --config");
        }
        Ok(())
    }

    /// The device.
    pub fn device(&self) -> Result<ModelConfig, CommandError> {
        let most = self.config.max_mtu();
        if self.mtu > most {
            return Err(CommandError::Failed(format!(
                "the buffers of a {} device hold packets of up to {most} bytes: give --mtu {most} or less",
                self.config.name()
            )));
        }
        let device = self.config.device();
        Ok(ModelConfig {
            clock_khz: self.clock_mhz.map_or(device.clock_khz, |mhz| (mhz * 1000.0) as u32),
            dma_latency_ns: self.dma_latency_ns,
            dma_jitter_ns: self.dma_jitter_ns,
            dma_seed: self.seed,
            ..device
        })
    }

    fn config(&self, link: LinkConfig) -> Result<LabConfig, CommandError> {
        let device = self.device()?;
        let cycles = self.vcd_from..self.vcd_to;
        let waves = self.vcd.as_ref().map(|path| WavesConfig { path: path.clone(), cycles });
        Ok(LabConfig { link, mtu: self.mtu, seed: self.seed, engine: self.engine, device, waves })
    }
}

/// Which devices to use.
#[derive(Debug, Clone, Args)]
pub struct DeviceOptions {
    /// Devices: model, rtl, rtl-verilated, vfio-user:PATH or vfio:0000:01:00.0; several are separated by commas.
    #[arg(long = "device", value_name = "NAME", value_delimiter = ',', env = DEVICE_VARIABLE)]
    names: Vec<DeviceName>,
}

impl DeviceOptions {
    /// Two devices elsewhere, or `None` for two that are simulated in this process.
    pub fn pair(&self) -> Result<Option<[&DeviceName; 2]>, CommandError> {
        match self.names.as_slice() {
            [] => Ok(None),
            [name] if name.is_simulated() => Ok(None),
            [left, right] if left == right => {
                Err(CommandError::Failed(format!("{left} is named twice: two devices are needed")))
            }
            [left, right] => Ok(Some([left, right])),
            names => Err(CommandError::Failed(format!(
                "{} devices are named, two are needed that reach one another: --device A,B",
                names.len()
            ))),
        }
    }

    /// The one device, the model unless another one is named.
    pub fn one(&self) -> Result<DeviceName, CommandError> {
        match self.names.as_slice() {
            [] => Ok(DeviceName::Model),
            [name] => Ok(name.clone()),
            names => Err(CommandError::Failed(format!("{} devices are named, one is needed", names.len()))),
        }
    }
}

/// Impairments of the link. Probabilities are per frame: `0.01` or `1%`.
#[derive(Debug, Clone, Args)]
pub struct LinkOptions {
    /// Rate in each direction.
    #[arg(long = "link", value_enum, default_value = "none")]
    pub rate: Rate,
    /// Lost frames.
    #[arg(long, default_value = "0", value_parser = probability)]
    pub loss: f64,
    /// Frames held back for others to overtake.
    #[arg(long, default_value = "0", value_parser = probability)]
    pub reorder: f64,
    /// Frames that arrive twice.
    #[arg(long, default_value = "0", value_parser = probability)]
    pub duplicate: f64,
    /// Frames in which a bit is flipped behind the FCS check.
    #[arg(long, default_value = "0", value_parser = probability)]
    pub corrupt: f64,
    /// Delay in each direction, microseconds.
    #[arg(long, default_value_t = 1)]
    pub delay_us: u64,
}

impl LinkOptions {
    /// The link.
    pub fn link(&self) -> LinkConfig {
        LinkConfig {
            rate_bps: self.rate.bps(),
            delay: self.delay_us.saturating_mul(1000),
            loss: self.loss,
            duplicate: self.duplicate,
            reorder: self.reorder,
            corrupt: self.corrupt,
            ..LinkConfig::default()
        }
    }
}

fn probability(text: &str) -> Result<f64, String> {
    let (number, scale) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, 0.01));
    let value: f64 =
        number.trim().parse().map_err(|_| "give a probability such as 0.01 or 1%".to_string())?;
    let value = value * scale;
    if (0.0..=1.0).contains(&value) { Ok(value) } else { Err("a probability is between 0 and 1".into()) }
}

/// Why a command failed.
#[derive(Debug, Error)]
pub enum CommandError {
    /// No laboratory.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// A device.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The capture file.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// A device by name.
    #[error(transparent)]
    Open(#[from] crate::OpenDeviceError),
    /// A verb.
    #[error(transparent)]
    Verb(#[from] ironwarp_driver::Error),
    /// A connection.
    #[error(transparent)]
    Connect(#[from] ironwarp_driver::cm::ConnectError),
    /// The exercise.
    #[error(transparent)]
    Exercise(#[from] crate::exercise::ExerciseError),
    /// Decoding.
    #[error(transparent)]
    Decode(#[from] super::decode::DecodeError),
    /// The Ethernet.
    #[error(transparent)]
    Ether(#[from] OpenError),
    /// The socket of a device.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// Simulated boards.
    #[error(transparent)]
    Boards(#[from] crate::board::BoardsError),
    /// The time limit of the command has come.
    #[error("the time limit has come; --timeout sets another")]
    TimeLimit,
    /// SIGINT or SIGTERM.
    #[error("interrupted")]
    Interrupted,
    /// Output.
    #[error("cannot write: {0}")]
    Output(#[from] std::io::Error),
    /// A file.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A synthesis tool.
    #[error(transparent)]
    Flow(#[from] ironwarp_hdl::flow::FlowError),
    /// The sequencer's program.
    #[error(transparent)]
    Program(#[from] ironwarp_micro::asm::AsmError),
    /// What was asked for cannot be done, or something went wrong that is said in words.
    #[error("{0}")]
    Failed(String),
}

/// Largest resident size of this process so far, bytes; 0 where the system does not tell.
pub fn peak_rss_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_are_fractions_or_percentages() {
        assert_eq!(probability("0.25"), Ok(0.25));
        assert_eq!(probability("5%"), Ok(0.05));
        for bad in ["", "x", "1.5", "-0.1", "101%", "NaN"] {
            assert!(probability(bad).is_err(), "{bad}");
        }
    }
}
