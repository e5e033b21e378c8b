//! What the decoder finds, and how it is written down.

use super::follow::Stamp;
use ironwarp_proto::ddp::DdpHeader;
use ironwarp_proto::mpa::connect::{MpaFrame, MpaKind};
use ironwarp_proto::mpa::stream::{Fpdu, FpduCrc, MarkerMismatch};
use ironwarp_proto::rdmap::{self, AtomicRequest, AtomicResponse, ImmediateData, Opcode, ReadRequest};
use ironwarp_proto::terminate::Terminate;
use serde::{Serialize, Serializer};
use serde_json::Value;
use std::fmt;
use std::net::SocketAddrV4;

/// An MPA frame or an FPDU, complete.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The frame that completes it: number (the first is 1) and time.
    pub stamp: Stamp,
    /// Who sent it.
    pub src: SocketAddrV4,
    /// To whom.
    pub dst: SocketAddrV4,
    /// What it is.
    pub detail: Detail,
}

/// What an [`Event`] is.
#[derive(Debug, Clone, PartialEq)]
pub enum Detail {
    /// An MPA Request or Reply.
    Mpa(MpaFrame),
    /// An FPDU.
    Segment(Segment),
}

/// An FPDU and the DDP segment in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Segment {
    /// Bytes of the ULPDU.
    pub ulpdu_len: u32,
    /// The DDP header; `None` if the ULPDU is too short for one.
    pub header: Option<DdpHeader>,
    /// The opcode; `None` if unknown or in the wrong kind (tagged or untagged) of segment.
    pub opcode: Option<Opcode>,
    /// What is behind the DDP header.
    pub payload: Vec<u8>,
    /// What the CRC field says.
    pub crc: FpduCrc,
    /// The CRC field, as on the wire.
    pub crc_field: [u8; 4],
    /// The first marker that is wrong.
    pub marker_mismatch: Option<MarkerMismatch>,
}

impl Segment {
    /// Reads the DDP segment of an FPDU.
    pub fn new(fpdu: Fpdu) -> Segment {
        let (header, payload) = match DdpHeader::parse(&fpdu.ulpdu) {
            Ok((header, payload)) => (Some(header), payload.to_vec()),
            Err(_) => (None, Vec::new()),
        };
        let opcode = header.and_then(|header| {
            let opcode = Opcode::try_from(rdmap::opcode_of(header.rdmap_control())).ok()?;
            (opcode.is_tagged() == header.is_tagged()).then_some(opcode)
        });
        Segment {
            ulpdu_len: fpdu.ulpdu.len() as u32,
            header,
            opcode,
            payload,
            crc: fpdu.crc,
            crc_field: fpdu.crc_field,
            marker_mismatch: fpdu.marker_mismatch,
        }
    }

    /// Every field is as a sender that follows the RFCs writes it: what looks like this is an FPDU.
    pub fn is_regular(&self) -> bool {
        let (Some(header), Some(opcode)) = (self.header, self.opcode) else { return false };
        let fits = match header {
            DdpHeader::Tagged { .. } => true,
            DdpHeader::Untagged { qn, msn, mo, inv_stag, last, .. } => {
                let length_fits = match opcode {
                    Opcode::ReadRequest => self.payload.len() == ReadRequest::LEN,
                    Opcode::Terminate => self.payload.len() >= Terminate::CONTROL_LEN,
                    Opcode::AtomicRequest => self.payload.len() == AtomicRequest::LEN,
                    Opcode::AtomicResponse => self.payload.len() == AtomicResponse::LEN,
                    Opcode::ImmediateData | Opcode::ImmediateDataSolicited => {
                        self.payload.len() == ImmediateData::LEN
                    }
                    _ => true,
                };
                let is_whole = opcode.is_send() || mo == 0 && last;
                let invalidates = opcode.invalidates() || inv_stag == 0;
                length_fits && is_whole && invalidates && opcode.queue_number() == Some(qn) && msn != 0
            }
        };
        header.version() == ironwarp_proto::ddp::VERSION
            && rdmap::version_of(header.rdmap_control()) == rdmap::VERSION
            && header.rdmap_control() & 0x30 == 0
            && fits
    }

    /// What stands for the framing where nobody has said how the stream is framed: a right CRC, or a CRC field of zero,
    /// with regular headers.
    pub fn is_certain(&self) -> bool {
        let crc_fits = match self.crc {
            FpduCrc::Good => true,
            FpduCrc::None => self.crc_field == [0; 4],
            FpduCrc::Bad => false,
        };
        crc_fits && self.is_regular()
    }

    /// The header of the message is in this segment: it is untagged and the first.
    fn is_first(&self) -> bool {
        matches!(self.header, Some(DdpHeader::Untagged { mo: 0, .. }))
    }

    fn fields(&self) -> Fields {
        let mut fields = Fields::default();
        fields.add("kind", self.opcode.map_or("Unknown", kind));
        fields.add("ulpdu_len", self.ulpdu_len);
        match self.header {
            Some(DdpHeader::Tagged { stag, to, .. }) => {
                fields.add("stag", stag);
                fields.add("to", to);
            }
            Some(DdpHeader::Untagged { qn, msn, mo, .. }) => {
                fields.add("qn", qn);
                fields.add("msn", msn);
                fields.add("mo", mo);
            }
            None => {}
        }
        if let Some(header) = self.header {
            fields.add("len", self.payload.len());
            fields.add("last", header.is_last());
        }
        fields.add(
            "crc",
            match self.crc {
                FpduCrc::Good => "good",
                FpduCrc::Bad => "bad",
                FpduCrc::None => "none",
            },
        );
        if let (Some(opcode), Some(DdpHeader::Untagged { inv_stag, .. })) = (self.opcode, self.header)
            && opcode.invalidates()
        {
            fields.add("inv_stag", inv_stag);
        }
        if self.is_first() {
            self.message_fields(&mut fields);
        }
        if let Some(wrong) = self.marker_mismatch {
            fields.add("marker_offset", wrong.offset);
            fields.add("marker_found", wrong.found);
            fields.add("marker_expected", wrong.expected);
        }
        fields
    }

    /// The fields of the RDMAP header.
    fn message_fields(&self, fields: &mut Fields) {
        match self.opcode {
            Some(Opcode::ReadRequest) => {
                if let Ok(read) = ReadRequest::parse(&self.payload) {
                    fields.add("sink_stag", read.sink_stag);
                    fields.add("sink_to", read.sink_to);
                    fields.add("size", read.size);
                    fields.add("src_stag", read.source_stag);
                    fields.add("src_to", read.source_to);
                }
            }
            Some(Opcode::Terminate) => self.terminate_fields(fields),
            Some(Opcode::AtomicRequest) => {
                if let Ok(atomic) = AtomicRequest::parse(&self.payload) {
                    fields.add("op", atomic.opcode);
                    fields.add("request_id", atomic.request_id);
                    fields.add("stag", atomic.stag);
                    fields.add("to", atomic.to);
                    fields.add("add_or_swap", atomic.add_or_swap);
                    fields.add("add_or_swap_mask", atomic.add_or_swap_mask);
                    fields.add("compare", atomic.compare);
                    fields.add("compare_mask", atomic.compare_mask);
                }
            }
            Some(Opcode::AtomicResponse) => {
                if let Ok(response) = AtomicResponse::parse(&self.payload) {
                    fields.add("request_id", response.request_id);
                    fields.add("original", response.original);
                }
            }
            Some(Opcode::ImmediateData | Opcode::ImmediateDataSolicited) => {
                fields.add("data", hex(&self.payload));
            }
            _ => {}
        }
    }

    /// A Terminate as RFC 5040 reads it, and its bytes: Linux siw writes the control word in another order.
    fn terminate_fields(&self, fields: &mut Fields) {
        if let Ok(terminate) = Terminate::parse(&self.payload) {
            let (_, _, code) = terminate.error.to_wire();
            fields.add("layer", self.payload[0] >> 4);
            fields.add("etype", self.payload[0] & 0x0f);
            fields.add("code", self.payload.get(1).copied().unwrap_or(code));
            fields.add("name", terminate.error.to_string());
            if let Some(length) = terminate.segment_len {
                fields.add("ddp_len", length);
            }
            if !terminate.ddp_header.is_empty() {
                fields.add("ddp_header", hex(&terminate.ddp_header));
            }
            if !terminate.rdmap_header.is_empty() {
                fields.add("rdmap_header", hex(&terminate.rdmap_header));
            }
        }
        fields.add("raw", hex(&self.payload));
    }
}

/// The name of a message in the output.
fn kind(opcode: Opcode) -> &'static str {
    match opcode {
        Opcode::Write => "Write",
        Opcode::ReadRequest => "ReadRequest",
        Opcode::ReadResponse => "ReadResponse",
        Opcode::Send => "Send",
        Opcode::SendInvalidate => "SendInv",
        Opcode::SendSolicited => "SendSE",
        Opcode::SendSolicitedInvalidate => "SendSEInv",
        Opcode::Terminate => "Terminate",
        Opcode::ImmediateData => "Immediate",
        Opcode::ImmediateDataSolicited => "ImmediateSE",
        Opcode::AtomicRequest => "AtomicRequest",
        Opcode::AtomicResponse => "AtomicResponse",
    }
}

fn mpa_fields(frame: &MpaFrame) -> Fields {
    let mut fields = Fields::default();
    fields.add(
        "kind",
        match frame.kind {
            MpaKind::Request => "MpaRequest",
            MpaKind::Reply => "MpaReply",
        },
    );
    fields.add("revision", frame.revision);
    fields.add("markers", frame.flags.markers);
    fields.add("crc_flag", frame.flags.crc);
    fields.add("reject", frame.flags.reject);
    fields.add("enhanced", frame.flags.enhanced);
    if frame.reserved != 0 {
        fields.add("reserved", frame.reserved);
    }
    if let Ok((Some(enhanced), _)) = frame.enhanced() {
        fields.add("ird", enhanced.ird);
        fields.add("ord", enhanced.ord);
        fields.add("peer_to_peer", enhanced.peer_to_peer);
        fields.add("rtr_send", enhanced.rtr_send);
        fields.add("rtr_write", enhanced.rtr_write);
        fields.add("rtr_read", enhanced.rtr_read);
    }
    fields.add("private_data", hex(&frame.private_data));
    fields
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Event {
    /// The `kind` of the output.
    pub fn kind(&self) -> &'static str {
        match &self.detail {
            Detail::Mpa(frame) if frame.kind == MpaKind::Request => "MpaRequest",
            Detail::Mpa(_) => "MpaReply",
            Detail::Segment(segment) => segment.opcode.map_or("Unknown", kind),
        }
    }

    fn fields(&self) -> Fields {
        match &self.detail {
            Detail::Mpa(frame) => mpa_fields(frame),
            Detail::Segment(segment) => segment.fields(),
        }
    }
}

/// Names and values, in the order of the output.
#[derive(Default)]
struct Fields(Vec<(&'static str, Value)>);

impl Fields {
    fn add(&mut self, name: &'static str, value: impl Into<Value>) {
        self.0.push((name, value.into()));
    }
}

/// As one JSON object, fields that do not apply left out.
impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = Fields::default();
        fields.add("time", self.stamp.time as f64 / 1e9);
        fields.add("frame", self.stamp.frame);
        fields.add("src", self.src.ip().to_string());
        fields.add("src_port", self.src.port());
        fields.add("dst", self.dst.ip().to_string());
        fields.add("dst_port", self.dst.port());
        fields.0.extend(self.fields().0);
        serializer.collect_map(fields.0)
    }
}

/// As one line: time, ends, kind, then the fields; STags and offsets in hexadecimal.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (src, dst) = (self.src.to_string(), self.dst.to_string());
        let time = self.stamp.time as f64 / 1e9;
        write!(f, "{time:12.6} {src:>21} > {dst:<21} {:<14}", self.kind())?;
        for (name, value) in self.fields().0 {
            match (name, value) {
                ("kind", _) | (_, Value::Bool(false)) => {}
                (name, Value::Bool(true)) => write!(f, " {name}")?,
                ("name", Value::String(text)) => write!(f, " {name}={text:?}")?,
                (name, Value::String(text)) => write!(f, " {name}={text}")?,
                (name, value) if name.ends_with("stag") || name.ends_with("to") => {
                    write!(f, " {name}={:#x}", value.as_u64().unwrap_or(0))?;
                }
                (name, value) => write!(f, " {name}={value}")?,
            }
        }
        Ok(())
    }
}
