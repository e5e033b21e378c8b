//! Why there is no connection.

use super::negotiate::Failure;
use crate::error::Error;
use crate::net::{CloseReason, NetError};
use ironwarp_proto::mpa::connect::MpaError;
use thiserror::Error;

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConnectError {
    /// TCP came to nothing, or was lost before the device had the connection.
    #[error("TCP: {0}")]
    Tcp(#[from] CloseReason),
    /// It took too long.
    #[error("the connection was not set up in time")]
    Timeout,
    /// The peer closed instead of answering. One that knows MPA revision 1 only does this: try
    /// [`Revision::One`](super::Revision) (RFC 6581 section 10).
    #[error(
        "the peer closed the connection instead of answering the MPA request; it may know revision 1 only"
    )]
    ClosedByPeer,
    /// The peer said no.
    #[error("the peer rejected the connection, with {} bytes of private data", .private_data.len())]
    Rejected {
        /// What it says about it.
        private_data: Vec<u8>,
        /// IRD and ORD that it gave, if it did (RFC 6581 section 9.1).
        depths: Option<(u16, u16)>,
    },
    /// The two ends want what does not go together.
    #[error("MPA negotiation: {0}")]
    Negotiation(Failure),
    /// What came is no MPA frame.
    #[error("not MPA: {0}")]
    BadMpa(#[from] MpaError),
    /// The slow path has no room or no route.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The queue pair has a connection, or is getting one.
    #[error(
        "queue pair {0} already has a connection or is getting one; a queue pair carries one in its life"
    )]
    Busy(u16),
    /// It ended while the device took it over: the peer closed, reset or terminated it, or the queue pair was given up.
    #[error("the connection ended before it was up; the events of the queue pair say why")]
    Ended,
    /// The peer that asked is gone.
    #[error("the peer has gone before its request was answered")]
    RequestGone,
    /// The device or a verb.
    #[error(transparent)]
    Driver(#[from] Error),
}

impl From<Failure> for ConnectError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Frame(error) => Self::BadMpa(error),
            Failure::Rejected { private_data, depths } => Self::Rejected { private_data, depths },
            other => Self::Negotiation(other),
        }
    }
}
