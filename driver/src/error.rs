//! What can go wrong between an application and a device.

use crate::hw::HwError;
use crate::transport::TransportError;
use crate::verbs::QpState;
use thiserror::Error;

/// Why a verb failed. Nothing has changed unless the variant says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Error {
    /// The path to the device.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The device refused, or answered what no Ironwarp device answers.
    #[error(transparent)]
    Hw(#[from] HwError),
    /// A parameter is out of its range.
    #[error("{what} is {value}, must be {range}")]
    OutOfRange {
        /// Parameter.
        what: &'static str,
        /// What was given.
        value: u64,
        /// What is allowed.
        range: String,
    },
    /// The device has no such feature.
    #[error("the device cannot do {0}; see DeviceAttributes::features")]
    Unsupported(&'static str),
    /// All objects of a kind are in use.
    #[error("all {limit} {what} of the device are in use; drop some first")]
    Exhausted {
        /// Kind of object.
        what: &'static str,
        /// How many there are.
        limit: u32,
    },
    /// A queue has no free slot. Poll its completion queue; entries without `signalled` are freed by the completion of
    /// a later signalled one only.
    #[error(
        "the {queue} queue is full ({slots} slots); poll completions, and signal at least one request a ring"
    )]
    QueueFull {
        /// Which queue.
        queue: &'static str,
        /// Its slots.
        slots: u32,
    },
    /// The queue pair is in a state that does not allow this.
    #[error("{verb} is not possible in state {state:?}; it needs {needs}")]
    State {
        /// What was attempted.
        verb: &'static str,
        /// State of the queue pair.
        state: QpState,
        /// States that would do.
        needs: &'static str,
    },
    /// A range does not lie inside its region or buffer.
    #[error("{len} bytes at offset {offset} are outside the region of {size} bytes")]
    Range {
        /// First byte.
        offset: u64,
        /// Length, bytes.
        len: u64,
        /// Size of the region, bytes.
        size: u64,
    },
    /// Rights that cannot be given.
    #[error("{0}")]
    Access(&'static str),
    /// More scatter-gather elements than an entry holds.
    #[error("{count} SGEs, an entry of this kind holds {max}; copy, or split the request")]
    TooManySges {
        /// What was given.
        count: usize,
        /// What fits.
        max: usize,
    },
    /// More inline bytes than an entry holds.
    #[error("{len} inline bytes, an entry holds {max}; use SGEs")]
    InlineTooLong {
        /// What was given.
        len: usize,
        /// What fits.
        max: usize,
    },
    /// The elements add up to 2^32 bytes or more.
    #[error("the SGEs add up to 4 GiB or more; split the request")]
    TooLong,
    /// Reads and atomics need an ORD of at least 1.
    #[error("Reads and atomics need ORD of at least 1: raise QpConfig::ord, or the peer granted none")]
    NoOrd,
    /// Objects of different protection domains or contexts, or of different kinds, were combined.
    #[error("{0}")]
    Mismatch(&'static str),
    /// The deadline has come first.
    #[error("nothing came before the deadline")]
    TimedOut,
    /// Nothing is pending anywhere: waiting would never end (simulated worlds).
    #[error("nothing is pending in the simulated world: the wait would never end")]
    Idle,
}

impl Error {
    /// `what` with `value` is out of `range`.
    pub(crate) fn range(what: &'static str, value: impl TryInto<u64>, range: impl ToString) -> Self {
        Self::OutOfRange { what, value: value.try_into().unwrap_or(u64::MAX), range: range.to_string() }
    }
}

/// A list of requests was posted in part.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("request {posted} of the list was refused, the {posted} before it are posted: {error}")]
pub struct PartialPost {
    /// Requests that are posted: those before the bad one.
    pub posted: usize,
    /// What is wrong with the next one.
    #[source]
    pub error: Error,
}
