//! Names of devices, as users write them.

use super::{Transport, TransportError};
use ironwarp_proto::bridge::BAUD;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use thiserror::Error;

/// Environment variable that names the device to use where none is given.
pub const DEVICE_VARIABLE: &str = "IRONWARP_DEVICE";

/// Which device to open.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeviceName {
    /// `model`: the golden model in this process. The driver does not contain it; `ironwarp_sim::open_device` opens it.
    Model,
    /// `rtl`: the RTL in RustHDL's simulation, likewise.
    Rtl,
    /// `rtl-verilated`: the RTL's Verilog, compiled by Verilator, likewise.
    RtlVerilated,
    /// `vfio-user:PATH`: a device in another process, by the socket it listens at.
    VfioUser(PathBuf),
    /// `vfio:DDDD:BB:DD.F`: a PCI device bound to vfio-pci, by its address.
    Vfio(PciAddress),
    /// `serial:PATH[@BAUD]`: a board on a serial port.
    Serial {
        /// The port.
        path: String,
        /// Bits a second; the board's image decides.
        baud: u32,
    },
}

/// Address of a PCI function: domain, bus, device, function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PciAddress {
    domain: u32,
    bus: u8,
    device: u8,
    function: u8,
}

/// Text that names no device.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "'{0}' names no device: write model, rtl, rtl-verilated, vfio-user:PATH (a socket), vfio:0000:01:00.0 (a PCI address) or serial:/dev/ttyUSB1@12000000 (a port and its rate)"
)]
pub struct BadDeviceName(String);

impl FromStr for PciAddress {
    type Err = BadDeviceName;
    fn from_str(text: &str) -> Result<Self, BadDeviceName> {
        let parse = || {
            let (rest, function) = text.rsplit_once('.')?;
            let (rest, device) = rest.rsplit_once(':')?;
            // The domain may be left out, as lspci does.
            let (domain, bus) = rest.rsplit_once(':').unwrap_or(("0000", rest));
            let hex = |text: &str, digits: std::ops::RangeInclusive<usize>| {
                let plain = digits.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
                plain.then(|| u32::from_str_radix(text, 16).ok())?
            };
            let address = Self {
                domain: hex(domain, 4..=8)?,
                bus: hex(bus, 2..=2)? as u8,
                device: hex(device, 2..=2)? as u8,
                function: hex(function, 1..=1)? as u8,
            };
            (address.device < 32 && address.function < 8).then_some(address)
        };
        parse().ok_or_else(|| BadDeviceName(format!("vfio:{text}")))
    }
}

impl fmt::Display for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:02x}:{:02x}.{:x}", self.domain, self.bus, self.device, self.function)
    }
}

impl FromStr for DeviceName {
    type Err = BadDeviceName;
    fn from_str(text: &str) -> Result<Self, BadDeviceName> {
        match text.split_once(':') {
            None if text == "model" => Ok(Self::Model),
            None if text == "rtl" => Ok(Self::Rtl),
            None if text == "rtl-verilated" => Ok(Self::RtlVerilated),
            Some(("vfio-user", path)) if !path.is_empty() => Ok(Self::VfioUser(path.into())),
            Some(("vfio", address)) => Ok(Self::Vfio(address.parse()?)),
            Some(("serial", port)) => {
                let (path, baud) = match port.rsplit_once('@') {
                    None => (port, Some(BAUD)),
                    Some((path, baud)) => (path, baud.parse().ok()),
                };
                // A board's clock makes no lower rate than this.
                let baud = baud.filter(|baud| *baud >= 9600 && path.starts_with('/'));
                let baud = baud.ok_or_else(|| BadDeviceName(text.into()))?;
                Ok(Self::Serial { path: path.into(), baud })
            }
            _ => Err(BadDeviceName(text.into())),
        }
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Model => f.write_str("model"),
            Self::Rtl => f.write_str("rtl"),
            Self::RtlVerilated => f.write_str("rtl-verilated"),
            Self::VfioUser(path) => write!(f, "vfio-user:{}", path.display()),
            Self::Vfio(address) => write!(f, "vfio:{address}"),
            Self::Serial { path, baud: BAUD } => write!(f, "serial:{path}"),
            Self::Serial { path, baud } => write!(f, "serial:{path}@{baud}"),
        }
    }
}

impl DeviceName {
    /// What [`DEVICE_VARIABLE`] names, or the model where it is not set.
    pub fn from_environment() -> Result<Self, BadDeviceName> {
        match std::env::var_os(DEVICE_VARIABLE) {
            None => Ok(Self::Model),
            Some(text) => text.to_string_lossy().parse(),
        }
    }

    /// Whether the device is simulated in this process.
    pub fn is_simulated(&self) -> bool {
        matches!(self, Self::Model | Self::Rtl | Self::RtlVerilated)
    }

    /// A way to the device. Nothing else uses it until the transport is dropped.
    pub fn open(&self) -> Result<Arc<dyn Transport>, TransportError> {
        match self {
            Self::Model | Self::Rtl | Self::RtlVerilated => Err(TransportError::Open {
                device: self.to_string(),
                reason:
                    "simulated devices are not part of the driver; open it with ironwarp_sim::open_device"
                        .into(),
            }),
            Self::VfioUser(path) => Ok(super::VfioUser::open(path)?),
            Self::Vfio(address) => Ok(super::Vfio::open(*address)?),
            Self::Serial { path, baud } => Ok(super::Serial::open(path, *baud)?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written() {
        for text in [
            "model",
            "rtl",
            "rtl-verilated",
            "vfio-user:/run/a.sock",
            "vfio:0000:01:00.0",
            "vfio:10000:e1:1f.7",
            "serial:/dev/ttyUSB1",
            "serial:/dev/ttyUSB0@3000000",
        ] {
            assert_eq!(text.parse::<DeviceName>().unwrap().to_string(), text);
        }
        assert_eq!(
            "serial:/dev/ttyUSB1@12000000".parse::<DeviceName>().unwrap().to_string(),
            "serial:/dev/ttyUSB1"
        );
        assert_eq!("vfio:01:00.0".parse::<DeviceName>().unwrap().to_string(), "vfio:0000:01:00.0");
    }

    #[test]
    fn what_names_no_device_is_refused_with_advice() {
        let bad = [
            "",
            "modell",
            "model:x",
            "rtl-settled",
            "vfio-user:",
            "vfio-user",
            "vfio:",
            "vfio:1:0.0",
            "vfio:0000:01:20.0",
            "vfio:0000:01:00.8",
            "vfio:../../x",
            "vfio:+000:01:00.0",
            "serial:x",
            "serial:/dev/a@fast",
            "serial:/dev/a@300",
        ];
        for text in bad {
            let error = text.parse::<DeviceName>().unwrap_err().to_string();
            assert!(error.contains(text) && error.contains("vfio-user:PATH"), "{error}");
        }
    }
}
