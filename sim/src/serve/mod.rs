//! Services over the device's TCP offload, without threads: each is polled, and does what it can at once.

mod echo;
mod http;

use ironwarp_driver::stream::{TcpListener, TcpStream};
use ironwarp_driver::verbs::Context;
use ironwarp_proto::pins::Nanos;
use std::fmt;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::str::FromStr;
use thiserror::Error;

/// Connections that may be under way to a listener at once.
const BACKLOG: usize = 64;
/// Bytes that one connection moves before the others have their turn.
const TURN: usize = 256 << 10;
/// How long a peer may let a connection stand still.
const IDLE: Nanos = 60_000_000_000;

/// A service and its port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceSpec {
    /// Everything comes back (RFC 862).
    Echo {
        /// TCP port.
        port: u16,
    },
    /// The files of a directory, or one file, by HTTP/1.1.
    Http {
        /// TCP port.
        port: u16,
        /// Directory or file.
        root: PathBuf,
    },
}

/// Text that names no service.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "'{0}' names no service: write echo:PORT, or http:PORT,PATH with a directory or a file; ports are 1 to 65535"
)]
pub struct BadService(String);

impl FromStr for ServiceSpec {
    type Err = BadService;
    fn from_str(text: &str) -> Result<Self, BadService> {
        let bad = || BadService(text.into());
        let port = |text: &str| text.parse().ok().filter(|port| *port != 0).ok_or_else(bad);
        match text.split_once(':').ok_or_else(bad)? {
            ("echo", rest) => Ok(Self::Echo { port: port(rest)? }),
            ("http", rest) => {
                let (number, root) =
                    rest.split_once(',').filter(|(_, root)| !root.is_empty()).ok_or_else(bad)?;
                Ok(Self::Http { port: port(number)?, root: root.into() })
            }
            _ => Err(bad()),
        }
    }
}

impl fmt::Display for ServiceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Echo { port } => write!(f, "echo:{port}"),
            Self::Http { port, root } => write!(f, "http:{port},{}", root.display()),
        }
    }
}

/// Why a service does not start.
#[derive(Debug, Error)]
#[error("cannot serve {spec}: {source}")]
pub struct ServeError {
    /// Which.
    pub spec: ServiceSpec,
    /// Why.
    pub source: io::Error,
}

/// How far a conversation has come in a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// Nothing could be done.
    Waits,
    /// Something was done.
    Moved,
    /// It is over.
    Over,
}

/// What is said on one connection.
trait Conversation {
    /// Go on as far as is possible without waiting, moving about `room` bytes.
    fn step(&mut self, stream: &TcpStream, room: usize) -> io::Result<Turn>;
}

struct Talk {
    stream: TcpStream,
    conversation: Box<dyn Conversation>,
    moved: Nanos,
}

/// What a service has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ServerStats {
    /// Connections accepted.
    pub accepted: u64,
    /// Those that ended in order.
    pub finished: u64,
    /// Those that were lost, stood still too long, or could not be accepted.
    pub failed: u64,
}

/// A service on its port.
pub struct Server {
    spec: ServiceSpec,
    root: Option<http::Root>,
    listener: TcpListener,
    talks: Vec<Talk>,
    stats: ServerStats,
}

impl Server {
    /// Start it.
    pub fn start(context: &Context, spec: &ServiceSpec) -> Result<Self, ServeError> {
        let error = |source| ServeError { spec: spec.clone(), source };
        let (port, root) = match spec {
            ServiceSpec::Echo { port } => (*port, None),
            ServiceSpec::Http { port, root } => (*port, Some(http::Root::open(root).map_err(error)?)),
        };
        let listener = TcpListener::bind(context, port, BACKLOG).map_err(error)?;
        listener.set_nonblocking(true);
        Ok(Self { spec: spec.clone(), root, listener, talks: Vec::new(), stats: ServerStats::default() })
    }

    /// Which it is.
    pub fn spec(&self) -> &ServiceSpec {
        &self.spec
    }
    /// What it has done.
    pub fn stats(&self) -> ServerStats {
        self.stats
    }
    /// Connections open now.
    pub fn open(&self) -> usize {
        self.talks.len()
    }

    /// Accept who comes, and go on with everyone as far as is possible without waiting.
    pub fn poll(&mut self, now: Nanos) {
        loop {
            match self.listener.accept() {
                Ok((stream, peer)) => {
                    tracing::debug!(%peer, service = %self.spec, "accepted");
                    stream.set_nonblocking(true);
                    let conversation: Box<dyn Conversation> = match &self.root {
                        Some(root) => Box::new(http::Exchange::new(root.clone())),
                        None => Box::new(echo::Echo::default()),
                    };
                    self.talks.push(Talk { stream, conversation, moved: now });
                    self.stats.accepted += 1;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => {
                    // All queue pairs of the device in use, for example. The peer was told.
                    tracing::warn!(%error, service = %self.spec, "a connection was refused");
                    self.stats.failed += 1;
                    break;
                }
            }
        }
        let stats = &mut self.stats;
        self.talks.retain_mut(|talk| match talk.conversation.step(&talk.stream, TURN) {
            Ok(Turn::Over) => {
                stats.finished += 1;
                false
            }
            Ok(Turn::Moved) => {
                talk.moved = now;
                true
            }
            Ok(Turn::Waits) if now.saturating_sub(talk.moved) < IDLE => true,
            other => {
                tracing::debug!(peer = %talk.stream.peer_addr(), ?other, "a connection failed");
                // Not by FIN: what was cut short must not look whole.
                if let Err(error) = talk.stream.abort() {
                    tracing::debug!(%error, "giving up a connection");
                }
                stats.failed += 1;
                false
            }
        });
    }
}

/// `None` where I/O would have to wait.
fn ready(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(count) => Ok(Some(count)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_named_by_port_and_path() {
        for good in ["echo:7", "http:80,/srv", "http:8080,a,b"] {
            assert_eq!(good.parse::<ServiceSpec>().map(|spec| spec.to_string()), Ok(good.into()));
        }
        for bad in ["", "echo", "echo:", "echo:0", "echo:65536", "http:80", "http:80,", "ftp:21"] {
            let error = bad.parse::<ServiceSpec>().expect_err(bad).to_string();
            assert!(error.contains("echo:PORT"), "{error}");
        }
    }
}
