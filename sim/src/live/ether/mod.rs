//! Ethernet that leads out of this process: how it is named on a command line, and one frame in or out of it.

mod tap;
mod udp;
mod unix;

use rustix::io::Errno;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::str::FromStr;
use thiserror::Error;

/// Longest frame taken, bytes.
pub const FRAME_MAX: usize = 65_536;
/// Longest name of a network interface, bytes.
const INTERFACE_NAME_MAX: usize = 15;

/// Where an Ethernet port leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ether {
    /// A pair of Unix datagram sockets, one frame a datagram, as QEMU's `-netdev dgram` has it.
    Unix {
        /// Own socket; made here.
        local: PathBuf,
        /// The other end's.
        remote: PathBuf,
    },
    /// A TAP interface of the host. One that does not exist is made, and goes with this process.
    Tap {
        /// Name of the interface.
        name: String,
    },
    /// UDP, one frame a datagram, as QEMU's `-netdev dgram` has it.
    Udp {
        /// Own address.
        local: SocketAddr,
        /// The other end's; nothing is taken from any other.
        remote: SocketAddr,
    },
}

/// Text that names no Ethernet.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "'{0}' names no Ethernet: write unix:LOCAL,REMOTE with the paths of two sockets, \
     tap:NAME with an interface, or udp:LOCAL,REMOTE with two addresses such as 127.0.0.1:9000"
)]
pub struct BadEther(String);

impl FromStr for Ether {
    type Err = BadEther;
    fn from_str(text: &str) -> Result<Self, BadEther> {
        let bad = || BadEther(text.into());
        let (kind, rest) = text.split_once(':').ok_or_else(bad)?;
        let pair = || rest.split_once(',').filter(|(a, b)| !a.is_empty() && !b.is_empty());
        match kind {
            "unix" => {
                let (local, remote) = pair().ok_or_else(bad)?;
                Ok(Self::Unix { local: local.into(), remote: remote.into() })
            }
            "udp" => {
                let (local, remote) = pair().ok_or_else(bad)?;
                let address = |text: &str| text.parse().map_err(|_| bad());
                Ok(Self::Udp { local: address(local)?, remote: address(remote)? })
            }
            "tap" => {
                let good = |c: char| c.is_ascii_graphic() && c != '/' && c != ':' && c != '%';
                let named = (1..=INTERFACE_NAME_MAX).contains(&rest.len()) && rest.chars().all(good);
                if named { Ok(Self::Tap { name: rest.into() }) } else { Err(bad()) }
            }
            _ => Err(bad()),
        }
    }
}

impl fmt::Display for Ether {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix { local, remote } => write!(f, "unix:{},{}", local.display(), remote.display()),
            Self::Tap { name } => write!(f, "tap:{name}"),
            Self::Udp { local, remote } => write!(f, "udp:{local},{remote}"),
        }
    }
}

/// Why an Ethernet cannot be opened.
#[derive(Debug, Error)]
#[error("cannot open {ether}: {source}; {advice}")]
pub struct OpenError {
    /// Which.
    pub ether: Ether,
    /// What the system says.
    pub source: io::Error,
    /// What may help.
    pub advice: &'static str,
}

/// One end of a wire. Nothing here blocks: [`io::ErrorKind::WouldBlock`] says that there is no frame, or no room for one.
pub trait Wire: AsFd + Send {
    /// Send a frame.
    fn send(&mut self, frame: &[u8]) -> io::Result<()>;
    /// Receive a frame; returns its length.
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize>;
}

impl Ether {
    /// Open it.
    pub fn open(&self) -> Result<Box<dyn Wire>, OpenError> {
        let (wire, advice): (io::Result<Box<dyn Wire>>, _) = match self {
            Self::Unix { local, remote } => (
                unix::Unix::open(local, remote).map(|wire| Box::new(wire) as _),
                "the directory must exist, and no other process may have the socket",
            ),
            Self::Tap { name } => (
                tap::Tap::open(name).map(|wire| Box::new(wire) as _),
                "it takes root (CAP_NET_ADMIN) and /dev/net/tun, or an interface made for you by \
                 'ip tuntap add NAME mode tap user YOU', which no other process has open",
            ),
            Self::Udp { local, remote } => (
                udp::Udp::open(*local, *remote).map(|wire| Box::new(wire) as _),
                "the own address must be one of this host with a free port",
            ),
        };
        wire.map_err(|source| OpenError { ether: self.clone(), source, advice })
    }
}

/// Whether a frame was lost because the other end is not there, which is no fault of this end.
pub fn is_absent(error: &io::Error) -> bool {
    let absent = [Errno::CONNREFUSED, Errno::NOENT, Errno::IO, Errno::NETDOWN, Errno::HOSTUNREACH];
    error.raw_os_error().is_some_and(|code| absent.iter().any(|errno| errno.raw_os_error() == code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ethernets_are_named_by_their_ends() {
        for good in ["unix:/a/b,c", "tap:iw0", "udp:127.0.0.1:9000,[::1]:9001"] {
            assert_eq!(good.parse::<Ether>().map(|ether| ether.to_string()), Ok(good.into()));
        }
        for bad in [
            "",
            "unix:",
            "unix:a",
            "unix:,b",
            "tap:",
            "tap:a/b",
            "tap:a b",
            "tap:sixteen-byte-name",
            "udp:a,b",
            "udp:127.0.0.1,127.0.0.1:1",
            "eth:eth0",
        ] {
            let error = bad.parse::<Ether>().expect_err(bad).to_string();
            assert!(error.contains("unix:LOCAL,REMOTE") && error.contains(bad), "{error}");
        }
    }

    #[test]
    fn what_cannot_be_opened_is_named_with_advice() {
        let error = "unix:/nowhere/at/all,/b".parse::<Ether>().unwrap().open().err().unwrap().to_string();
        assert!(error.contains("/nowhere/at/all") && error.contains("directory"), "{error}");
        let error = "udp:192.0.2.1:9,127.0.0.1:9".parse::<Ether>().unwrap().open().err().unwrap().to_string();
        assert!(error.contains("192.0.2.1:9") && error.contains("own address"), "{error}");
    }
}
