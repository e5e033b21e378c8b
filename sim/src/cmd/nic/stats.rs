//! Statistics of a NIC, and the socket at which they are read.

use crate::cmd::options::CommandError;
use crate::live::PortStats;
use std::fmt::{Display, Write as _};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Lines of name and value.
#[derive(Default)]
pub struct Lines(String);

impl Lines {
    /// Add a line.
    pub fn add(&mut self, name: &str, value: &dyn Display) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{name} {value}");
    }

    /// Add what went through a port.
    pub fn add_port(&mut self, port: &PortStats) {
        self.add("port.sent_frames", &port.sent);
        self.add("port.sent_bytes", &port.sent_bytes);
        self.add("port.received_frames", &port.received);
        self.add("port.received_bytes", &port.received_bytes);
        self.add("port.lost_nobody_there", &port.absent);
        self.add("port.lost_not_read", &port.overflow);
        self.add("port.errors", &port.errors);
    }

    /// The text.
    pub fn text(self) -> String {
        self.0
    }
}

/// The socket at which statistics are read; its file goes with it.
pub struct StatsSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl StatsSocket {
    /// Listen at `path`.
    pub fn open(path: &Path) -> Result<Self, CommandError> {
        let failed = |error: io::Error| {
            CommandError::Failed(format!(
                "cannot listen at {}: {error}; the directory must exist, and no other process may have the socket",
                path.display()
            ))
        };
        let is_socket = path.symlink_metadata().is_ok_and(|data| data.file_type().is_socket());
        if is_socket && UnixStream::connect(path).is_err() {
            std::fs::remove_file(path).map_err(failed)?;
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        let endpoint = Self { listener, path: path.into() };
        endpoint.listener.set_nonblocking(true).map_err(failed)?;
        Ok(endpoint)
    }

    /// Answer who has come. The text is shorter than a socket's buffer, so nobody can keep the NIC waiting.
    pub fn poll(&self, text: impl Fn() -> Result<String, CommandError>) -> Result<(), CommandError> {
        loop {
            match self.listener.accept() {
                Ok((mut stream, _)) => {
                    let told = stream.set_nonblocking(true).and(stream.write_all(text()?.as_bytes()));
                    if let Err(error) = told {
                        tracing::debug!(%error, "statistics not taken");
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => {
                    tracing::warn!(%error, "statistics");
                    return Ok(());
                }
            }
        }
    }
}

impl Drop for StatsSocket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
