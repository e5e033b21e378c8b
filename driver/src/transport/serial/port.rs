//! Opening a serial port.
#![allow(unsafe_code, reason = "the port is taken over as a file")]

use serialport::{DataBits, ErrorKind, FlowControl, Parity, StopBits};
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};

/// The port at `path`, set to `baud`, 8 data bits, no parity, 1 stop bit, for nobody else to open; or what stands in the way.
pub(super) fn open(path: &str, baud: u32) -> Result<OwnedFd, String> {
    let port = serialport::new(path, baud)
        .data_bits(DataBits::Eight)
        .parity(Parity::None)
        .stop_bits(StopBits::One)
        .flow_control(FlowControl::None)
        .open_native()
        .map_err(|error| match error.kind {
            ErrorKind::NoDevice => format!("{error}; is the board plugged in, and its port not in use?"),
            ErrorKind::Io(std::io::ErrorKind::NotFound) => format!("{error}; is the board plugged in?"),
            ErrorKind::Io(std::io::ErrorKind::PermissionDenied) => {
                format!("{error}; you must be in the port's group (dialout)")
            }
            _ => error.to_string(),
        })?;
    // SAFETY: `into_raw_fd` gives up the open descriptor, which nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(port.into_raw_fd()) })
}
