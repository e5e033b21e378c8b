//! A pair of Unix datagram sockets.

use super::Wire;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

/// Own socket and the other end's path. The own file goes with it.
pub(super) struct Unix {
    socket: UnixDatagram,
    local: PathBuf,
    remote: PathBuf,
}

impl Unix {
    pub(super) fn open(local: &Path, remote: &Path) -> io::Result<Self> {
        // A socket left behind by a process that is gone would be in the way. Anything else is somebody's file.
        let is_socket = local.symlink_metadata().is_ok_and(|data| data.file_type().is_socket());
        if is_socket && UnixDatagram::unbound()?.connect(local).is_err() {
            std::fs::remove_file(local)?;
        }
        let socket = UnixDatagram::bind(local)?;
        let unix = Self { socket, local: local.into(), remote: remote.into() };
        unix.socket.set_nonblocking(true)?;
        Ok(unix)
    }
}

impl Wire for Unix {
    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        self.socket.send_to(frame, &self.remote).map(|_| ())
    }
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.recv(buffer)
    }
}

impl AsFd for Unix {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Unix {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.local);
    }
}
