//! What became of a work request.

pub use ironwarp_proto::abi::completion::Status as WcStatus;

/// What a completion speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WcOpcode {
    /// A Send of any kind.
    Send,
    /// RDMA Write, with or without Immediate Data.
    Write,
    /// RDMA Read.
    Read,
    /// Atomic FetchAdd.
    FetchAdd,
    /// Atomic CmpSwap.
    CompareSwap,
    /// Immediate Data sent.
    Immediate,
    /// A memory window was bound.
    Bind,
    /// An STag was invalidated by us.
    LocalInvalidate,
    /// A region was registered by a work request.
    FastRegister,
    /// Nothing was done.
    Nop,
    /// A message was received.
    Receive,
    /// Immediate Data was received; the receive buffer is untouched.
    ReceiveImmediate,
}

/// How a work request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkCompletion {
    /// What the request was posted with.
    pub wr_id: u64,
    /// How it ended. When it is not [`WcStatus::Ok`], only `wr_id`, `qp` and `opcode` mean something.
    pub status: WcStatus,
    /// What was done.
    pub opcode: WcOpcode,
    /// Payload, bytes.
    pub byte_len: u32,
    /// Number of the queue pair.
    pub qp: u32,
    /// The peer asked for an event with this message.
    pub solicited: bool,
    /// STag that the message invalidated.
    pub invalidated: Option<u32>,
    /// Immediate Data received (RFC 7306).
    pub immediate: Option<[u8; 8]>,
}

impl WorkCompletion {
    /// The completion of a request that was not done because its connection ended.
    pub(crate) fn flushed(wr_id: u64, opcode: WcOpcode, qp: u16) -> Self {
        Self {
            wr_id,
            status: WcStatus::Flushed,
            opcode,
            byte_len: 0,
            qp: qp.into(),
            solicited: false,
            invalidated: None,
            immediate: None,
        }
    }
}

/// Which completions an armed completion queue tells about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notify {
    /// The next one.
    Any,
    /// The next one that was solicited by the peer, or that failed.
    Solicited,
}
