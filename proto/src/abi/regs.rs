//! Registers in BAR 0, 32-bit access only.

/// A register, or a run of `count` registers, of the register file.
#[derive(Debug, Clone, Copy)]
pub struct Register {
    /// Byte offset.
    pub offset: u32,
    /// Name.
    pub name: &'static str,
    /// `R`, `W` or `RW`.
    pub access: &'static str,
    /// Content.
    pub doc: &'static str,
}

/// Declares each register once: its offset constant and its row in [`REGISTERS`].
macro_rules! registers {
    ($($name:ident = $offset:literal, $access:literal, $doc:literal;)*) => {
        $(#[doc = $doc] pub const $name: u32 = $offset;)*
        /// Every register, in order of offset.
        pub const REGISTERS: &[Register] =
            &[$(Register { offset: $offset, name: stringify!($name), access: $access, doc: $doc }),*];
    };
}

registers! {
    ID = 0x000, "R", "0x50525749, \"IWRP\".";
    VERSION = 0x004, "R", "ABI version: major 31:16, minor 15:0.";
    FEATURES = 0x008, "R", "Bit 0 markers, 1 atomics, 2 immediate data, 3 stream mode, 4 SRQ, 5 memory windows.";
    LIMITS0 = 0x00C, "R", "log2 of the number of QPs 7:0, regions 15:8, CQs 23:16, SRQs 31:24.";
    LIMITS1 = 0x010, "R", "IRD limit 7:0, ORD limit 15:8, SGEs of an entry 23:16, inline bytes 31:24.";
    CTRL = 0x014, "RW", "Bit 0 receive enable, 1 transmit enable, 2 promiscuous, 3 no prediction (only time differs), 31 soft reset (clears itself; DMA drained).";
    STATUS = 0x018, "R", "Bit 0 link up, 1 DMA fault seen, 2 EQ overflow (write 1 to CTRL bit 30 clears 1 and 2), 3 transmitter idle.";
    CLOCK = 0x01C, "R", "Core clock, kHz.";
    MAC_LO = 0x020, "RW", "Own MAC address, first byte on the wire in bits 7:0.";
    MAC_HI = 0x024, "RW", "Bytes 5 and 6 of the MAC address in 15:0.";
    TICK = 0x028, "RW", "Core cycles per timer tick; reset value is 1 ms.";
    TCPCFG = 0x02C, "RW", "Minimum RTO 11:0 ticks, delayed ACK 19:12 ticks, initial window 23:20 segments, retransmissions before RETRY 27:24, maximum RTO = minimum << 31:28.";
    DOORBELLS = 0x030, "R", "log2 of the doorbell page size 7:0, offset of the first page / 256 31:8.";
    LIMITS2 = 0x034, "R", "What connections should offer at most, bytes: MSS 15:0, receive window 31:16; 0: no limit. More may be lost while the device is busy.";
    EQ_BASE_LO = 0x040, "RW", "Event queue address, low.";
    EQ_BASE_HI = 0x044, "RW", "Event queue address, high.";
    EQ_LOG2 = 0x048, "RW", "log2 of the event queue's entries; writing it restarts the queue at producer 0, phase 1.";
    EQ_CONSUMER = 0x04C, "RW", "Index of the first event not yet handled, 16 bits.";
    EQ_CTRL = 0x050, "RW", "Bit 0 interrupt enable.";
    EQ_COALESCE = 0x054, "RW", "Events to collect before the interrupt 15:0 (0 and 1: none), longest wait 31:16 ticks.";
    RAWRX_BASE_LO = 0x060, "RW", "Raw receive ring address, low.";
    RAWRX_BASE_HI = 0x064, "RW", "Raw receive ring address, high.";
    RAWRX_LOG2 = 0x068, "RW", "log2 of its slots; writing it restarts the ring at 0, phase 1.";
    RAWRX_CONSUMER = 0x06C, "RW", "Index of the first slot not yet handled, 16 bits.";
    RAWTX_BASE_LO = 0x070, "RW", "Raw transmit ring address, low.";
    RAWTX_BASE_HI = 0x074, "RW", "Raw transmit ring address, high.";
    RAWTX_LOG2 = 0x078, "RW", "log2 of its slots; writing it restarts the ring at 0.";
    RAWTX_PRODUCER = 0x07C, "RW", "Write: index behind the last filled slot. Read: the device's consumer, slots before it are free.";
    CMD = 0x080, "RW", "Command 7:0, object 23:8; see commands. Takes CMD_ARG, which is written before.";
    CMD_STAT = 0x084, "R", "Result of the last command or window access 7:0, bit 31 busy.";
    CMD_ARG = 0x088, "RW", "Argument of the next command.";
    WIN_ADDR = 0x090, "RW", "Window: word 7:0, object 23:8, table 31:24.";
    WIN_DATA = 0x094, "RW", "Data at WIN_ADDR; each access increments the word.";
    COUNTERS = 0x100, "R", "32 counters of 32 bits, wrapping, never cleared; see counters.";
}

/// `FEATURES` bits.
pub mod features {
    /// MPA markers in both directions.
    pub const MARKERS: u32 = 1 << 0;
    /// Atomic operations (RFC 7306).
    pub const ATOMICS: u32 = 1 << 1;
    /// Immediate Data (RFC 7306).
    pub const IMMEDIATE: u32 = 1 << 2;
    /// Stream mode (plain TCP offload).
    pub const STREAM: u32 = 1 << 3;
    /// Shared receive queues.
    pub const SRQ: u32 = 1 << 4;
    /// Type 2 memory windows and fast registration.
    pub const WINDOWS: u32 = 1 << 5;
}

/// `CTRL` bits.
pub mod ctrl {
    /// Accept frames from the wire.
    pub const RX_ENABLE: u32 = 1 << 0;
    /// Send frames.
    pub const TX_ENABLE: u32 = 1 << 1;
    /// Give frames for other MAC addresses to the raw ring too.
    pub const PROMISCUOUS: u32 = 1 << 2;
    /// Let the sequencer do everything, as if there were no prediction in gates: nothing but time differs.
    pub const NO_PREDICTION: u32 = 1 << 3;
    /// Clear the sticky bits of `STATUS`.
    pub const CLEAR_STICKY: u32 = 1 << 30;
    /// Back to power-up state.
    pub const SOFT_RESET: u32 = 1 << 31;
}

/// `STATUS` bits.
pub mod status {
    /// The link is up.
    pub const LINK: u32 = 1 << 0;
    /// A DMA access failed; sticky.
    pub const DMA_FAULT: u32 = 1 << 1;
    /// An event was dropped because the queue was full; sticky. State words hold what it said.
    pub const EQ_OVERFLOW: u32 = 1 << 2;
    /// Nothing to send.
    pub const TX_IDLE: u32 = 1 << 3;
}

/// Fields of `TCPCFG`.
pub mod tcpcfg {
    use crate::abi::Field;
    /// Minimum RTO, ticks.
    pub const MIN_RTO: Field = Field::new("min_rto", 0, 0, 12, "minimum RTO, ticks");
    /// Longest delay of an ACK, ticks.
    pub const DELAYED_ACK: Field = Field::new("delayed_ack", 0, 12, 8, "longest delay of an ACK, ticks");
    /// Initial congestion window, segments.
    pub const INITIAL_WINDOW: Field =
        Field::new("initial_window", 0, 20, 4, "initial congestion window, segments");
    /// Retransmissions of one segment before the connection is given up.
    pub const RETRIES: Field = Field::new("retries", 0, 24, 4, "retransmissions before RETRY");
    /// Maximum RTO as a shift of the minimum.
    pub const MAX_RTO_SHIFT: Field = Field::new("max_rto_shift", 0, 28, 4, "maximum RTO = minimum << this");
}

/// Commands of `CMD`. The object is a QP unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Command {
    /// Context and template are written: injected frames of its 4-tuple reach the connection, wire frames are diverted.
    Activate = 1,
    /// Wire frames reach it too, if `CMD_ARG` is still the number of frames diverted; else [`CommandStatus::Again`].
    Go = 2,
    /// Stop at a segment boundary, leave the lookup, write the context to the save area, raise QUIESCED.
    Quiesce = 3,
    /// Forget the QP at once; its context becomes writable.
    Reset = 4,
    /// `CMD_ARG`: MSS 15:0 and MULPDU 31:16 for what is sent from now on.
    Modify = 5,
    /// Invalidate the region or window with STag `CMD_ARG`; done when no placement or read with it is in flight.
    Invalidate = 6,
    /// Completion queue entry is written: start it.
    StartCq = 7,
    /// Stop a completion queue.
    StopCq = 8,
    /// Shared receive queue entry is written: start it.
    StartSrq = 9,
    /// Stop a shared receive queue.
    StopSrq = 10,
}

impl Command {
    /// All commands with a line for the document.
    pub const ALL: &'static [(Command, &'static str)] = &[
        (
            Command::Activate,
            "QP: injected frames reach the connection, wire frames of its 4-tuple are diverted and counted",
        ),
        (
            Command::Go,
            "QP: wire frames reach it too, if CMD_ARG equals the number of diverted frames; else AGAIN",
        ),
        (
            Command::Quiesce,
            "QP: stop at a segment boundary, leave the lookup, write the save area, raise QUIESCED",
        ),
        (Command::Reset, "QP: forget it at once"),
        (Command::Modify, "QP: CMD_ARG = MSS 15:0, MULPDU 31:16 for what is sent from now on"),
        (Command::Invalidate, "CMD_ARG = STag: revoke; done when nothing with it is in flight"),
        (Command::StartCq, "CQ: entry is written, start"),
        (Command::StopCq, "CQ: stop"),
        (Command::StartSrq, "SRQ: entry is written, start"),
        (Command::StopSrq, "SRQ: stop"),
    ];

    /// The command with this code.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.iter().map(|(command, _)| *command).find(|command| *command as u8 == code)
    }
}

/// Result in `CMD_STAT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum CommandStatus {
    /// Done.
    Ok = 0,
    /// The object is active, the write was ignored.
    Busy = 1,
    /// No such object, table or command.
    BadObject = 2,
    /// The object is in a state that does not allow it.
    BadState = 3,
    /// More frames were diverted: inject them and try again.
    Again = 4,
    /// The content of the context or entry makes no sense.
    BadContent = 5,
}

impl CommandStatus {
    /// All results with a line for the document.
    pub const ALL: &'static [(CommandStatus, &'static str)] = &[
        (CommandStatus::Ok, "done"),
        (CommandStatus::Busy, "the object is active, the write was ignored"),
        (CommandStatus::BadObject, "no such object, table or command"),
        (CommandStatus::BadState, "the object is in a state that does not allow it"),
        (CommandStatus::Again, "more frames were diverted: inject them and try again"),
        (CommandStatus::BadContent, "the content of the context or entry makes no sense"),
    ];

    /// The result with this code.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.iter().map(|(status, _)| *status).find(|status| *status as u8 == code)
    }
}

/// Counters, in order from `COUNTERS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Counter {
    /// Frames received for this address.
    RxFrames = 0,
    /// Frames sent.
    TxFrames = 1,
    /// Frames for another address.
    RxOther = 2,
    /// Frames dropped for a malformed header.
    RxMalformed = 3,
    /// Frames dropped for a bad IPv4 header checksum.
    RxIpChecksum = 4,
    /// Frames dropped for a bad TCP checksum.
    RxTcpChecksum = 5,
    /// Frames dropped because the raw receive ring was full.
    RawRxFull = 6,
    /// Segments with data that arrived out of order and were dropped.
    OutOfOrder = 7,
    /// Duplicate ACKs received.
    DuplicateAcks = 8,
    /// Segments retransmitted, for any reason.
    Retransmits = 9,
    /// Fast retransmits entered.
    FastRetransmits = 10,
    /// Retransmission time-outs.
    Timeouts = 11,
    /// Zero-window probes sent.
    WindowProbes = 12,
    /// Challenge ACKs sent (RFC 5961).
    ChallengeAcks = 13,
    /// FPDUs received with a good CRC, or without one when CRC is off.
    RxFpdus = 14,
    /// FPDUs sent, retransmissions not counted.
    TxFpdus = 15,
    /// FPDUs with a bad CRC.
    CrcErrors = 16,
    /// FPDUs that were not aligned with their segment.
    UnalignedFpdus = 17,
    /// Marker errors.
    MarkerErrors = 18,
    /// Payload bytes placed, low 32 bits.
    BytesPlaced = 19,
    /// Completions written.
    Completions = 20,
    /// Completions dropped because a CQ was full.
    CqOverflows = 21,
    /// Events dropped because the EQ was full.
    EqOverflows = 22,
    /// DMA accesses refused by the host.
    DmaFaults = 23,
    /// Pure ACKs sent.
    PureAcks = 24,
    /// Segments with data sent, retransmissions not counted.
    DataSegments = 25,
}

impl Counter {
    /// Name of each counter, in order.
    pub const NAMES: &'static [&'static str] = &[
        "rx_frames",
        "tx_frames",
        "rx_other",
        "rx_malformed",
        "rx_ip_checksum",
        "rx_tcp_checksum",
        "raw_rx_full",
        "out_of_order",
        "duplicate_acks",
        "retransmits",
        "fast_retransmits",
        "timeouts",
        "window_probes",
        "challenge_acks",
        "rx_fpdus",
        "tx_fpdus",
        "crc_errors",
        "unaligned_fpdus",
        "marker_errors",
        "bytes_placed",
        "completions",
        "cq_overflows",
        "eq_overflows",
        "dma_faults",
        "pure_acks",
        "data_segments",
    ];

    /// Byte offset of the counter's register.
    pub fn offset(self) -> u32 {
        COUNTERS + 4 * self as u32
    }
}
