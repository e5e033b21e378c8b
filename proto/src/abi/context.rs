//! Queue pair context, header template, state words and the areas of host memory that belong to a QP.

use super::{Field, Layout};
use std::ops::RangeInclusive;

const MODE: Field = Field::new("mode", 0, 0, 2, "1 rdma, 2 stream");
const MARKERS_TX: Field =
    Field::new("markers_tx", 0, 2, 1, "insert markers: the peer asked for them (RFC 5044 7.1)");
const MARKERS_RX: Field = Field::new("markers_rx", 0, 3, 1, "expect markers: we asked for them");
const CRC: Field =
    Field::new("crc", 0, 4, 1, "CRC is generated and checked; else the field is 0 and ignored");
const HOLD: Field =
    Field::new("hold", 0, 5, 1, "MPA responder: send no FPDU before one has been received (RFC 5044 7.1.2)");
const ATOMICS: Field = Field::new("atomics", 0, 6, 1, "answer Atomic Requests");
const USE_SRQ: Field = Field::new("use_srq", 0, 7, 1, "receives come from `srq`");
const SND_WSCALE: Field = Field::new("snd_wscale", 0, 8, 4, "shift of windows received (RFC 7323), 0..=14");
const RCV_WSCALE: Field = Field::new("rcv_wscale", 0, 12, 4, "shift of windows sent, 0..=14");
const PD: Field = Field::new("pd", 0, 16, 16, "protection domain");
const SCQ: Field = Field::new("scq", 1, 0, 16, "CQ of send entries");
const RCQ: Field = Field::new("rcq", 1, 16, 16, "CQ of receive entries");
const SRQ: Field = Field::new("srq", 2, 0, 16, "shared receive queue");
const IRD: Field = Field::new("ird", 2, 16, 8, "Reads and atomics accepted at once");
const ORD: Field = Field::new("ord", 2, 24, 8, "Reads and atomics outstanding at once");
const MSS: Field = Field::new("mss", 3, 0, 16, "largest TCP payload of a segment (EMSS), bytes");
const MULPDU: Field = Field::new("mulpdu", 3, 16, 16, "largest ULPDU, bytes (RFC 5044 4.5)");
const SQ_LOG2: Field = Field::new(
    "sq_log2",
    4,
    0,
    8,
    "log2 of the send ring: 64-byte slots, at most 14; stream: bytes, at most 30",
);
const RQ_LOG2: Field = Field::new(
    "rq_log2",
    4,
    8,
    8,
    "log2 of the receive ring: entries, at most 14; stream: bytes, at most 30",
);
const KEEPALIVE: Field =
    Field::new("keepalive", 5, 0, 16, "idle time before a keep-alive probe, in units of 64 ticks; 0: off");
const KEEPALIVE_PROBES: Field = Field::new("keepalive_probes", 5, 16, 8, "unanswered probes before RETRY");
const SQ_BASE: Field = Field::new("sq_base", 6, 0, 64, "host address of the send ring");
const RQ_BASE: Field = Field::new("rq_base", 8, 0, 64, "host address of the receive ring");
const STAGING: Field = Field::new(
    "staging",
    10,
    0,
    64,
    "host address of 66 KiB for an FPDU received in parts; stream: of the status block",
);
const SAVE: Field = Field::new("save", 12, 0, 64, "host address of the save area");
const RCV_NXT: Field = Field::new(
    "rcv_nxt",
    14,
    0,
    32,
    "next sequence number expected; rdma: the first octet behind the MPA frame",
);
const RCV_WND: Field =
    Field::new("rcv_wnd", 15, 0, 32, "receive window, bytes; stream: the free ring space limits it too");
const SND_NXT: Field =
    Field::new("snd_nxt", 16, 0, 32, "next sequence number to send; everything before is acknowledged");
const SND_WND: Field = Field::new("snd_wnd", 17, 0, 32, "window the peer offered last, bytes");
const RCV_ADV: Field =
    Field::new("rcv_adv", 18, 0, 32, "right edge of the window offered so far; it never moves left");

/// Layout of the context.
pub const LAYOUT: Layout = Layout {
    name: "QP context",
    words: 19,
    doc: "Written by the host through the window before ACTIVATE.",
    fields: &[
        MODE,
        MARKERS_TX,
        MARKERS_RX,
        CRC,
        HOLD,
        ATOMICS,
        USE_SRQ,
        SND_WSCALE,
        RCV_WSCALE,
        PD,
        SCQ,
        RCQ,
        SRQ,
        IRD,
        ORD,
        MSS,
        MULPDU,
        SQ_LOG2,
        RQ_LOG2,
        KEEPALIVE,
        KEEPALIVE_PROBES,
        SQ_BASE,
        RQ_BASE,
        STAGING,
        SAVE,
        RCV_NXT,
        RCV_WND,
        SND_NXT,
        SND_WND,
        RCV_ADV,
    ],
};
/// Words of a context.
pub const WORDS: usize = 19;
/// Values of `mss` that a device takes: IPv4 cannot say more with headers of 40 bytes.
pub const MSS_RANGE: RangeInclusive<u16> = 64..=65_495;
/// Values of `mulpdu` that a device takes (RFC 5044 section 4.5).
pub const MULPDU_RANGE: RangeInclusive<u16> = 128..=64_768;

/// What a connection carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// MPA, DDP and RDMAP.
    #[default]
    Rdma,
    /// Plain TCP.
    Stream,
}

/// A QP's context as software hands it over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "each field is documented by the Field constant of the same name")]
pub struct Context {
    pub mode: Mode,
    pub markers_tx: bool,
    pub markers_rx: bool,
    pub crc: bool,
    pub hold: bool,
    pub atomics: bool,
    pub snd_wscale: u8,
    pub rcv_wscale: u8,
    pub pd: u16,
    pub scq: u16,
    pub rcq: u16,
    pub srq: Option<u16>,
    pub ird: u8,
    pub ord: u8,
    pub mss: u16,
    pub mulpdu: u16,
    pub sq_log2: u8,
    pub rq_log2: u8,
    pub keepalive: u16,
    pub keepalive_probes: u8,
    pub sq_base: u64,
    pub rq_base: u64,
    pub staging: u64,
    pub save: u64,
    pub rcv_nxt: u32,
    pub rcv_wnd: u32,
    pub snd_nxt: u32,
    pub snd_wnd: u32,
    pub rcv_adv: u32,
}

impl Context {
    /// Its words.
    pub fn encode(&self) -> [u32; WORDS] {
        let mut words = [0; WORDS];
        let w = &mut words;
        MODE.set(w, if self.mode == Mode::Rdma { 1u8 } else { 2 });
        MARKERS_TX.set(w, self.markers_tx);
        MARKERS_RX.set(w, self.markers_rx);
        CRC.set(w, self.crc);
        HOLD.set(w, self.hold);
        ATOMICS.set(w, self.atomics);
        USE_SRQ.set(w, self.srq.is_some());
        SND_WSCALE.set(w, self.snd_wscale);
        RCV_WSCALE.set(w, self.rcv_wscale);
        PD.set(w, self.pd);
        SCQ.set(w, self.scq);
        RCQ.set(w, self.rcq);
        SRQ.set(w, self.srq.unwrap_or(0));
        IRD.set(w, self.ird);
        ORD.set(w, self.ord);
        MSS.set(w, self.mss);
        MULPDU.set(w, self.mulpdu);
        SQ_LOG2.set(w, self.sq_log2);
        RQ_LOG2.set(w, self.rq_log2);
        KEEPALIVE.set(w, self.keepalive);
        KEEPALIVE_PROBES.set(w, self.keepalive_probes);
        SQ_BASE.set(w, self.sq_base);
        RQ_BASE.set(w, self.rq_base);
        STAGING.set(w, self.staging);
        SAVE.set(w, self.save);
        RCV_NXT.set(w, self.rcv_nxt);
        RCV_WND.set(w, self.rcv_wnd);
        SND_NXT.set(w, self.snd_nxt);
        SND_WND.set(w, self.snd_wnd);
        RCV_ADV.set(w, self.rcv_adv);
        words
    }
    /// Read it; `None` if the mode does not exist or a size is beyond its limit.
    pub fn decode(words: &[u32; WORDS]) -> Option<Self> {
        let w = &words[..];
        let mode = match MODE.get(w) {
            1 => Mode::Rdma,
            2 => Mode::Stream,
            _ => return None,
        };
        let context = Self {
            mode,
            markers_tx: MARKERS_TX.is_set(w),
            markers_rx: MARKERS_RX.is_set(w),
            crc: CRC.is_set(w),
            hold: HOLD.is_set(w),
            atomics: ATOMICS.is_set(w),
            snd_wscale: SND_WSCALE.get(w) as u8,
            rcv_wscale: RCV_WSCALE.get(w) as u8,
            pd: PD.get16(w),
            scq: SCQ.get16(w),
            rcq: RCQ.get16(w),
            srq: USE_SRQ.is_set(w).then(|| SRQ.get16(w)),
            ird: IRD.get(w) as u8,
            ord: ORD.get(w) as u8,
            mss: MSS.get16(w),
            mulpdu: MULPDU.get16(w),
            sq_log2: SQ_LOG2.get(w) as u8,
            rq_log2: RQ_LOG2.get(w) as u8,
            keepalive: KEEPALIVE.get16(w),
            keepalive_probes: KEEPALIVE_PROBES.get(w) as u8,
            sq_base: SQ_BASE.get(w),
            rq_base: RQ_BASE.get(w),
            staging: STAGING.get(w),
            save: SAVE.get(w),
            rcv_nxt: RCV_NXT.get32(w),
            rcv_wnd: RCV_WND.get32(w),
            snd_nxt: SND_NXT.get32(w),
            snd_wnd: SND_WND.get32(w),
            rcv_adv: RCV_ADV.get32(w),
        };
        let log2_max = if mode == Mode::Rdma { super::queue::LOG2_MAX } else { 30 };
        let sizes = context.sq_log2 <= log2_max && context.rq_log2 <= log2_max;
        let scales = context.snd_wscale <= 14 && context.rcv_wscale <= 14;
        let mulpdu = mode == Mode::Stream || MULPDU_RANGE.contains(&context.mulpdu);
        (sizes && scales && mulpdu && MSS_RANGE.contains(&context.mss)).then_some(context)
    }
}

/// Words of a header template.
pub const TEMPLATE_WORDS: usize = 14;
/// Bytes of the Ethernet, IPv4 and TCP headers in a template.
pub const TEMPLATE_BYTES: usize = 54;

/// The header template: 2 zero bytes, then Ethernet, IPv4 (no options) and TCP headers as they stand in a frame, with
/// total length, identification, IPv4 checksum, sequence and acknowledgment numbers, flags, window and TCP checksum 0.
/// The connection's 4-tuple is read from it.
pub fn encode_template(headers: &[u8; TEMPLATE_BYTES]) -> [u32; TEMPLATE_WORDS] {
    let mut bytes = [0; 4 * TEMPLATE_WORDS];
    bytes[2..].copy_from_slice(headers);
    super::field::load(&bytes)
}

/// The headers in a template.
pub fn decode_template(words: &[u32; TEMPLATE_WORDS]) -> [u8; TEMPLATE_BYTES] {
    let bytes = super::field::bytes_of(words);
    let mut headers = [0; TEMPLATE_BYTES];
    headers.copy_from_slice(&bytes[2..]);
    headers
}

/// Bytes of a save area.
pub const SAVE_BYTES: usize = 1024;
/// Offset of the error record that the device writes.
pub const SAVE_RECORD: usize = 0;
/// Offset of the Terminate that software writes: length in bytes (word 0), then the Terminate Header.
pub const SAVE_TERMINATE: usize = 128;
/// Longest Terminate Header, bytes: control 4, length 2, DDP header 18, RDMAP header 52.
pub const TERMINATE_MAX: usize = 76;
/// Offset of the state words that QUIESCE writes.
pub const SAVE_STATE: usize = 256;

const REC_KIND: Field = Field::new("kind", 0, 0, 8, "1 error found here, 2 Terminate received");
const REC_LAYER: Field = Field::new("layer", 0, 8, 4, "layer (RFC 5040 4.8)");
const REC_ETYPE: Field = Field::new("etype", 0, 12, 4, "error type");
const REC_CODE: Field = Field::new("code", 0, 16, 8, "error code");
const REC_DDP: Field = Field::new("has_ddp", 0, 24, 1, "DDP segment length and header are valid");
const REC_RDMAP: Field = Field::new("has_rdmap", 0, 25, 1, "the RDMAP header is valid");
const REC_LENGTH: Field =
    Field::new("length", 1, 0, 32, "error: DDP segment (ULPDU) length; Terminate: bytes in `bytes`");
const REC_BYTES: Field = Field::new(
    "bytes",
    2,
    0,
    64,
    "error: the DDP header in 20 bytes, then the RDMAP header; Terminate: its header; words 2..22",
);

/// Layout of the error record.
pub const RECORD_LAYOUT: Layout = Layout {
    name: "Error record",
    words: 32,
    doc: "Written by the device at the start of the save area before a QP_ERROR event of cause DETECTED or TERMINATE_RECEIVED.",
    fields: &[REC_KIND, REC_LAYER, REC_ETYPE, REC_CODE, REC_DDP, REC_RDMAP, REC_LENGTH, REC_BYTES],
};
/// Bytes of an error record.
pub const RECORD_BYTES: usize = 128;

/// What the device found wrong, or what the peer said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErrorRecord {
    /// An error to tell the peer.
    Detected {
        /// Layer, error type and code (RFC 5040 section 4.8).
        error: (u8, u8, u8),
        /// ULPDU length of the segment at fault, bytes, and its DDP header.
        ddp: Option<(u16, Vec<u8>)>,
        /// RDMAP header of the segment at fault.
        rdmap: Option<Vec<u8>>,
    },
    /// Terminate Header received.
    Received(Vec<u8>),
}

impl ErrorRecord {
    /// Its bytes. Headers are at most 20, 52 and [`TERMINATE_MAX`] bytes long; what is longer is cut.
    pub fn encode(&self) -> Vec<u8> {
        let mut words = [0; 32];
        let mut tail = Vec::new();
        match self {
            Self::Detected { error, ddp, rdmap } => {
                REC_KIND.set(&mut words, 1u8);
                REC_LAYER.set(&mut words, error.0);
                REC_ETYPE.set(&mut words, error.1);
                REC_CODE.set(&mut words, error.2);
                if let Some((length, header)) = ddp {
                    REC_DDP.set(&mut words, 1u8);
                    REC_LENGTH.set(&mut words, *length);
                    tail.extend(header.iter().take(20));
                }
                tail.resize(20, 0);
                if let Some(header) = rdmap {
                    REC_RDMAP.set(&mut words, 1u8);
                    tail.extend(header.iter().take(52));
                }
            }
            Self::Received(header) => {
                REC_KIND.set(&mut words, 2u8);
                REC_LENGTH.set(&mut words, header.len().min(TERMINATE_MAX) as u64);
                tail.extend(header.iter().take(TERMINATE_MAX));
            }
        }
        let mut bytes = super::field::bytes_of(&words[..2]);
        bytes.extend(tail);
        bytes.resize(RECORD_BYTES, 0);
        bytes
    }
    /// Read it; `None` if there is none. The DDP header's length follows from its tagged flag, the RDMAP header's from the
    /// opcode: 28 bytes of a Read Request, 52 of an Atomic Request.
    pub fn decode(bytes: &[u8; RECORD_BYTES]) -> Option<Self> {
        let words: [u32; 2] = super::field::load(bytes);
        match REC_KIND.get(&words) {
            1 => {
                let header = &bytes[8..28];
                let tagged = header[0] & 0x80 != 0;
                let ddp_len = if tagged { 14 } else { 18 };
                let has_ddp = REC_DDP.is_set(&words);
                let atomic = header[1] & 0x0f == 10;
                let rdmap_len = if atomic { 52 } else { 28 };
                Some(Self::Detected {
                    error: (
                        REC_LAYER.get(&words) as u8,
                        REC_ETYPE.get(&words) as u8,
                        REC_CODE.get(&words) as u8,
                    ),
                    ddp: has_ddp.then(|| (REC_LENGTH.get16(&words), header[..ddp_len].to_vec())),
                    rdmap: REC_RDMAP.is_set(&words).then(|| bytes[28..28 + rdmap_len].to_vec()),
                })
            }
            2 => {
                let length = (REC_LENGTH.get(&words) as usize).min(TERMINATE_MAX);
                Some(Self::Received(bytes[8..8 + length].to_vec()))
            }
            _ => None,
        }
    }
}

const ST_STATE: Field =
    Field::new("state", 0, 0, 4, "0 inactive, 1 activated, 2 running, 3 error, 4 terminating, 5 quiesced");
const ST_CAUSE: Field = Field::new("cause", 0, 8, 8, "cause of the error, as in QP_ERROR");
const ST_PEER_CLOSED: Field = Field::new("peer_closed", 0, 16, 1, "FIN received in order");
const ST_FIN_ACKED: Field = Field::new("fin_acked", 0, 17, 1, "our FIN is acknowledged");
const ST_DIVERTED: Field = Field::new("diverted", 1, 0, 16, "frames diverted since ACTIVATE");
const ST_FLUSH: Field = Field::new("flush", 2, 0, 64, "flush cursors");
const ST_SND_UNA: Field = Field::new("snd_una", 4, 0, 32, "oldest sequence number not acknowledged");
const ST_SND_NXT: Field = Field::new("snd_nxt", 5, 0, 32, "highest sequence number sent + 1");
const ST_RCV_NXT: Field = Field::new("rcv_nxt", 6, 0, 32, "next sequence number expected");
const ST_RCV_ADV: Field = Field::new("rcv_adv", 7, 0, 32, "right edge of the window offered");
const ST_SND_WND: Field = Field::new("snd_wnd", 8, 0, 32, "window the peer offers, bytes");
const ST_CWND: Field = Field::new("cwnd", 9, 0, 32, "congestion window, bytes");
const ST_SRTT: Field = Field::new("srtt", 10, 0, 32, "smoothed round-trip time, ns / 1024");
const ST_RETRANSMITS: Field =
    Field::new("retransmits", 11, 0, 32, "segments retransmitted on this connection");

/// Layout of the state words.
pub const STATE_LAYOUT: Layout = Layout {
    name: "QP state",
    words: 12,
    doc: "Read through the window at any time, and written to the save area at byte 256 by QUIESCE.",
    fields: &[
        ST_STATE,
        ST_CAUSE,
        ST_PEER_CLOSED,
        ST_FIN_ACKED,
        ST_DIVERTED,
        ST_FLUSH,
        ST_SND_UNA,
        ST_SND_NXT,
        ST_RCV_NXT,
        ST_RCV_ADV,
        ST_SND_WND,
        ST_CWND,
        ST_SRTT,
        ST_RETRANSMITS,
    ],
};
/// Words of the state.
pub const STATE_WORDS: usize = 12;

/// State of a QP in the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum QpState {
    /// Its context may be written.
    #[default]
    Inactive = 0,
    /// Injected frames reach it.
    Activated = 1,
    /// All frames reach it.
    Running = 2,
    /// It stopped; TCP goes on.
    Error = 3,
    /// It stopped and its Terminate is sent.
    Terminating = 4,
    /// Handed back to software.
    Quiesced = 5,
}

/// The state words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "each field is documented by the Field constant of the same name")]
pub struct StateWords {
    pub state: QpState,
    pub cause: u8,
    pub peer_closed: bool,
    pub fin_acked: bool,
    pub diverted: u16,
    pub flush: super::event::FlushCursors,
    pub snd_una: u32,
    pub snd_nxt: u32,
    pub rcv_nxt: u32,
    pub rcv_adv: u32,
    pub snd_wnd: u32,
    pub cwnd: u32,
    pub srtt: u32,
    pub retransmits: u32,
}

impl StateWords {
    /// As words.
    pub fn encode(&self) -> [u32; STATE_WORDS] {
        let mut words = [0; STATE_WORDS];
        let w = &mut words;
        ST_STATE.set(w, self.state as u8);
        ST_CAUSE.set(w, self.cause);
        ST_PEER_CLOSED.set(w, self.peer_closed);
        ST_FIN_ACKED.set(w, self.fin_acked);
        ST_DIVERTED.set(w, self.diverted);
        ST_SND_UNA.set(w, self.snd_una);
        ST_SND_NXT.set(w, self.snd_nxt);
        ST_RCV_NXT.set(w, self.rcv_nxt);
        ST_RCV_ADV.set(w, self.rcv_adv);
        ST_SND_WND.set(w, self.snd_wnd);
        ST_CWND.set(w, self.cwnd);
        ST_SRTT.set(w, self.srtt);
        ST_RETRANSMITS.set(w, self.retransmits);
        w[2..4].copy_from_slice(&self.flush.encode());
        words
    }
    /// From words.
    pub fn decode(words: &[u32; STATE_WORDS]) -> Self {
        let w = &words[..];
        let state = match ST_STATE.get(w) {
            1 => QpState::Activated,
            2 => QpState::Running,
            3 => QpState::Error,
            4 => QpState::Terminating,
            5 => QpState::Quiesced,
            _ => QpState::Inactive,
        };
        Self {
            state,
            cause: ST_CAUSE.get(w) as u8,
            peer_closed: ST_PEER_CLOSED.is_set(w),
            fin_acked: ST_FIN_ACKED.is_set(w),
            diverted: ST_DIVERTED.get16(w),
            flush: super::event::FlushCursors::decode(&[words[2], words[3]]),
            snd_una: ST_SND_UNA.get32(w),
            snd_nxt: ST_SND_NXT.get32(w),
            rcv_nxt: ST_RCV_NXT.get32(w),
            rcv_adv: ST_RCV_ADV.get32(w),
            snd_wnd: ST_SND_WND.get32(w),
            cwnd: ST_CWND.get32(w),
            srtt: ST_SRTT.get32(w),
            retransmits: ST_RETRANSMITS.get32(w),
        }
    }
}

const SS_RECEIVED: Field =
    Field::new("received", 0, 0, 32, "bytes put into the receive ring since the start, modulo 2^32");
const SS_ACKED: Field =
    Field::new("acked", 1, 0, 32, "bytes of the send ring acknowledged since the start, modulo 2^32");
const SS_CLOSED: Field = Field::new("closed", 2, 0, 1, "FIN received behind the last byte");
const SS_SEQUENCE: Field = Field::new("sequence", 3, 0, 32, "count of updates; written last");

/// Layout of a stream's status block.
pub const STREAM_LAYOUT: Layout = Layout {
    name: "Stream status block",
    words: 4,
    doc: "Written by the device as one 16-byte write whenever it changes, after the data it speaks of.",
    fields: &[SS_RECEIVED, SS_ACKED, SS_CLOSED, SS_SEQUENCE],
};

/// A stream's status block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StreamStatus {
    /// Bytes received since the start.
    pub received: u32,
    /// Bytes acknowledged since the start.
    pub acked: u32,
    /// FIN received behind the last byte.
    pub closed: bool,
    /// Count of updates.
    pub sequence: u32,
}

impl StreamStatus {
    /// Bytes of a status block.
    pub const SIZE: usize = 16;
    /// As words.
    pub fn encode(&self) -> [u32; 4] {
        let mut words = [0; 4];
        SS_RECEIVED.set(&mut words, self.received);
        SS_ACKED.set(&mut words, self.acked);
        SS_CLOSED.set(&mut words, self.closed);
        SS_SEQUENCE.set(&mut words, self.sequence);
        words
    }
    /// From words.
    pub fn decode(words: &[u32; 4]) -> Self {
        Self {
            received: SS_RECEIVED.get32(words),
            acked: SS_ACKED.get32(words),
            closed: SS_CLOSED.is_set(words),
            sequence: SS_SEQUENCE.get32(words),
        }
    }
}
