//! The client's end of a vfio-user connection: one command and its reply at a time.

use super::wire::{Command, Header, Message, Reader, flags, send, u32_at, u64_at};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;
use thiserror::Error;

/// Longest wait for a reply. A server that dies is noticed at once; this is for one that hangs.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a command failed.
#[derive(Debug, Error)]
pub(super) enum SessionError {
    /// The stream is broken; nothing more can be done with it.
    #[error("{0}")]
    Broken(String),
    /// The server refused this command.
    #[error("the server refused {command:?}: {error}")]
    Refused { command: Command, error: io::Error },
}

/// A region of the device.
#[derive(Debug, Clone, Copy)]
pub(super) struct Region {
    pub(super) flags: u32,
    pub(super) size: u64,
}

/// A connection to a server.
pub(super) struct Session {
    socket: UnixStream,
    reader: Reader,
    id: u16,
}

fn broken(error: &io::Error) -> SessionError {
    SessionError::Broken(match error.kind() {
        ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => {
            "its server has closed the connection, or died".into()
        }
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            format!("its server takes nothing and has not answered for {} s", PATIENCE.as_secs())
        }
        _ => error.to_string(),
    })
}

impl Session {
    /// Connect, and agree on the version.
    pub(super) fn open(path: &Path) -> Result<Self, SessionError> {
        let connect = || {
            let socket = UnixStream::connect(path)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            socket.set_write_timeout(Some(PATIENCE))?;
            Ok(socket)
        };
        let socket = connect().map_err(|error: io::Error| {
            SessionError::Broken(match error.kind() {
                ErrorKind::NotFound => "there is no such socket; is the server started?".into(),
                ErrorKind::ConnectionRefused => "nobody listens at the socket; is the server started?".into(),
                _ => error.to_string(),
            })
        })?;
        let mut session = Self { socket, reader: Reader::default(), id: 0 };
        let reply = session.call(Command::Version, &super::wire::version(), &[]);
        let reply = reply.map_err(|error| match error {
            SessionError::Broken(why) => {
                SessionError::Broken(format!("{why}; a device serves one client at a time: is it in use?"))
            }
            error => error,
        })?;
        // Major version in the low half; minor versions of a major are compatible.
        match u32_at(&reply, 0) {
            Some(version) if version & 0xffff == 0 => Ok(session),
            version => {
                Err(SessionError::Broken(format!("its server speaks protocol version {version:x?}, not 0.x")))
            }
        }
    }

    /// Another handle of the socket, which hangs up when the server does.
    pub(super) fn life_line(&self) -> io::Result<std::os::fd::OwnedFd> {
        self.socket.as_fd().try_clone_to_owned()
    }

    fn header(&mut self, command: Command) -> Header {
        self.id = self.id.wrapping_add(1);
        Header { id: self.id, command: command as u16, ..Header::default() }
    }

    /// Send a command and return the body of its reply.
    pub(super) fn call(
        &mut self,
        command: Command,
        body: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> Result<Vec<u8>, SessionError> {
        let header = self.header(command);
        send(&self.socket, header, body, fds).map_err(|error| broken(&error))?;
        let reply = self.reader.read(&self.socket).map_err(|error| broken(&error))?;
        let Message { header: reply, body, .. } = reply.ok_or_else(|| broken(&ErrorKind::TimedOut.into()))?;
        if !reply.has(flags::REPLY) || (reply.id, reply.command) != (header.id, header.command) {
            return Err(SessionError::Broken(format!("its server answered {command:?} with {reply:x?}")));
        }
        if reply.has(flags::ERROR) {
            let error = io::Error::from_raw_os_error(reply.error.min(4095) as i32);
            return Err(SessionError::Refused { command, error });
        }
        Ok(body)
    }

    /// Send a command that nobody answers.
    pub(super) fn tell(&mut self, command: Command, body: &[u8]) -> Result<(), SessionError> {
        let mut header = self.header(command);
        header.flags = flags::NO_REPLY;
        send(&self.socket, header, body, &[]).map_err(|error| broken(&error))
    }

    /// A region of the device.
    pub(super) fn region(&mut self, index: u32) -> Result<Region, SessionError> {
        let body = super::wire::words(&[32, 0, index, 0, 0, 0, 0, 0]);
        let reply = self.call(Command::RegionInfo, &body, &[])?;
        match (u32_at(&reply, 4), u64_at(&reply, 16)) {
            (Some(flags), Some(size)) => Ok(Region { flags, size }),
            _ => Err(short(Command::RegionInfo)),
        }
    }

    /// Number of vectors of an interrupt.
    pub(super) fn vectors(&mut self, index: u32) -> Result<u32, SessionError> {
        let reply = self.call(Command::IrqInfo, &super::wire::words(&[16, 0, index, 0]), &[])?;
        u32_at(&reply, 12).ok_or_else(|| short(Command::IrqInfo))
    }
}

/// The reply is too short for what it must say.
pub(super) fn short(command: Command) -> SessionError {
    SessionError::Broken(format!("its server's reply to {command:?} is too short"))
}
