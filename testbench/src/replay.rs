//! Connections out of captures of Linux siw, played again to a device that takes the place of one of their ends.
//!
//! siw's end sends what was captured, only with other addresses and sequence numbers. The device's end has the regions
//! that the capture tells of, with their STags and TOs, and posts again what was sent from there.

use crate::rig::Rig;
use crate::scene::{self, CQ, PD, QP, STAG, Scene};
use ironwarp_driver::transport::DmaBuffer;
use ironwarp_proto::abi::completion::{Completion, OPCODE_RECEIVE};
use ironwarp_proto::abi::context::{Context, ErrorRecord, RECORD_BYTES, SAVE_TERMINATE};
use ironwarp_proto::abi::doorbell::{Page, qp as doorbell};
use ironwarp_proto::abi::event::{ErrorCause, Event, EventKind};
use ironwarp_proto::abi::receive_entry::ReceiveEntry;
use ironwarp_proto::abi::region::{access, index_of};
use ironwarp_proto::abi::send_entry::{Opcode as Verb, Payload, SendEntry, Sge};
use ironwarp_proto::ddp::DdpHeader;
use ironwarp_proto::mpa::connect::{HEADER_LEN, MpaFrame, MpaKind};
use ironwarp_proto::mpa::fpdu::fpdu_len;
use ironwarp_proto::mpa::stream::{Fpdu, FpduCrc};
use ironwarp_proto::rdmap::{self, Opcode, ReadRequest};
use ironwarp_proto::seq::Seq;
use ironwarp_proto::terminate::{Terminate, TerminateError};
use ironwarp_proto::wire::checksum;
use ironwarp_proto::wire::eth::EthHeader;
use ironwarp_proto::wire::ipv4::{Ipv4Header, PROTOCOL_TCP};
use ironwarp_proto::wire::tcp::{self, TcpFlags, TcpHeader};
use ironwarp_sim::decode::{Detail, Frames, Segment, decode_file};
use ironwarp_sim::model::ModelConfig;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddrV4;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The captures: those of the folder that the environment variable `IRONWARP_SHARED` names, those beside the workspace,
/// or the few that come with it.
pub fn captures() -> Vec<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let shared = std::env::var_os("IRONWARP_SHARED").map_or_else(|| own.join("../../shared"), PathBuf::from);
    let shared = shared.join("captures");
    let folder = if shared.is_dir() { shared } else { own.join("data") };
    let files = std::fs::read_dir(folder).expect("a folder of captures");
    let paths = files.map(|entry| entry.expect("a folder that can be listed").path());
    let mut captures: Vec<_> = paths.filter(|path| path.extension().is_some_and(|e| e == "pcap")).collect();
    captures.sort();
    assert!(captures.len() >= 7, "captures are missing");
    captures
}

/// An end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// It sent the MPA Request.
    Initiator,
    /// It sent the MPA Reply.
    Responder,
}

impl Side {
    /// Both.
    pub const BOTH: [Side; 2] = [Side::Initiator, Side::Responder];

    /// The end at the other end.
    pub fn other(self) -> Side {
        match self {
            Side::Initiator => Side::Responder,
            Side::Responder => Side::Initiator,
        }
    }
}

/// Part of a stream in a segment of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The bytes, counted from the first FPDU.
    pub bytes: Range<usize>,
    /// TCP flags.
    pub flags: TcpFlags,
    /// TCP options, as captured.
    pub options: Vec<u8>,
}

impl Cut {
    /// FIN is set.
    pub fn fin(&self) -> bool {
        self.flags.contains(TcpFlags::FIN)
    }

    /// It takes sequence numbers: more than an ACK.
    pub fn occupies(&self) -> bool {
        self.fin() || !self.bytes.is_empty()
    }
}

/// Where a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "fields of the DDP header")]
pub enum Place {
    Tagged { stag: u32, to: u64 },
    Untagged { qn: u32, msn: u32, inv_stag: u32 },
}

/// An RDMAP message, put together again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What it is.
    pub opcode: Opcode,
    /// Where its first byte goes.
    pub place: Place,
    /// What it carries.
    pub payload: Vec<u8>,
    /// Its last segment is there.
    pub whole: bool,
}

impl Message {
    /// The Read Request that it is.
    pub fn read_request(&self) -> Option<ReadRequest> {
        let is = self.opcode == Opcode::ReadRequest;
        is.then(|| ReadRequest::parse(&self.payload).expect("a whole Read Request"))
    }
}

/// Put the next segment into a list of messages; says whether it begins one.
fn put_together(messages: &mut Vec<Message>, header: &DdpHeader, payload: &[u8]) -> bool {
    let opcode = Opcode::try_from(rdmap::opcode_of(header.rdmap_control())).expect("a known opcode");
    let (place, offset) = match *header {
        DdpHeader::Tagged { stag, to, .. } => (Place::Tagged { stag, to }, to),
        DdpHeader::Untagged { qn, msn, mo, inv_stag, .. } => {
            (Place::Untagged { qn, msn, inv_stag }, u64::from(mo))
        }
    };
    if let Some(open) = messages.last_mut().filter(|message| !message.whole) {
        let len = open.payload.len() as u64;
        match (open.place, place) {
            (Place::Tagged { stag, to }, Place::Tagged { stag: same, .. }) => {
                assert_eq!((same, offset), (stag, to.wrapping_add(len)), "a segment continues the message");
            }
            (open, place) => assert_eq!((place, offset), (open, len), "a segment continues the message"),
        }
        assert_eq!(open.opcode, opcode);
        open.payload.extend(payload);
        open.whole = header.is_last();
        return false;
    }
    assert!(header.is_tagged() || offset == 0, "a message begins at offset 0");
    messages.push(Message { opcode, place, payload: payload.to_vec(), whole: header.is_last() });
    true
}

/// What one end of a captured connection did.
#[derive(Debug)]
pub struct End {
    /// Its MPA frame.
    pub mpa: MpaFrame,
    /// Everything it sent behind that.
    pub stream: Vec<u8>,
    /// The FPDUs in the stream, each with the place behind it.
    pub fpdus: Vec<(usize, Segment)>,
    /// The messages in the FPDUs.
    pub messages: Vec<Message>,
    /// It sent FIN.
    pub fin: bool,
}

/// Something that happened, in the order of the capture.
#[derive(Debug)]
enum Step {
    /// The first FPDU of a message is sent.
    Begins(Side, usize),
    /// A segment is sent.
    Segment(Side, Cut),
}

/// A captured connection that came as far as FPDUs.
#[derive(Debug)]
pub struct Connection {
    /// Name of the capture, and which of its connections this is.
    pub name: String,
    /// Initiator and responder.
    pub ends: [End; 2],
    /// CRCs are in use.
    pub crc: bool,
    steps: Vec<Step>,
}

/// The MPA frames of a capture, with who sent them.
pub fn mpa_frames(path: &Path) -> Vec<(SocketAddrV4, SocketAddrV4, MpaFrame)> {
    let events = decode_file(path).expect("a capture").events;
    let mpa = events.into_iter().filter_map(|event| match event.detail {
        Detail::Mpa(frame) => Some((event.src, event.dst, frame)),
        Detail::Segment(_) => None,
    });
    mpa.collect()
}

impl Connection {
    /// The connections of a capture whose MPA exchange succeeded.
    pub fn all(path: &Path) -> Vec<Connection> {
        let frames = mpa_frames(path);
        let accepted =
            frames.iter().filter(|(_, _, frame)| frame.kind == MpaKind::Reply && !frame.flags.reject);
        let connections = accepted.enumerate().map(|(number, (responder, initiator, reply))| {
            let request = frames
                .iter()
                .find(|(src, dst, frame)| (src, dst, frame.kind) == (initiator, responder, MpaKind::Request));
            let (_, _, request) = request.expect("a Reply answers a Request");
            let stem = path.file_stem().expect("a file").to_string_lossy();
            let name = format!("{stem} #{number}");
            Connection::new(path, name, [*initiator, *responder], [request.clone(), reply.clone()])
        });
        connections.collect()
    }

    fn new(path: &Path, name: String, addresses: [SocketAddrV4; 2], mpa: [MpaFrame; 2]) -> Connection {
        let crc = mpa[0].flags.crc || mpa[1].flags.crc;
        let mut ends = mpa.map(|mpa| {
            let (stream, fpdus, messages) = Default::default();
            End { mpa, stream, fpdus, messages, fin: false }
        });
        let side_of = |src: SocketAddrV4, dst: SocketAddrV4| {
            Side::BOTH
                .into_iter()
                .find(|side| (addresses[*side as usize], addresses[side.other() as usize]) == (src, dst))
        };
        // Messages that begin, with the frame.
        let mut begins = BTreeSet::new();
        for event in decode_file(path).expect("a capture").events {
            let (Some(side), Detail::Segment(segment)) = (side_of(event.src, event.dst), event.detail) else {
                continue;
            };
            let end = &mut ends[side as usize];
            let start = end.fpdus.last().map_or(0, |(behind, _)| *behind);
            let header = segment.header.expect("siw sends whole headers");
            if put_together(&mut end.messages, &header, &segment.payload) {
                begins.insert((event.stamp.frame, side as usize, end.messages.len() - 1));
            }
            end.fpdus.push((start + fpdu_len(segment.ulpdu_len as u16) as usize, segment));
        }
        let mut steps = Vec::new();
        let mut first: [Option<Seq>; 2] = [None; 2];
        for (number, frame) in (1..).zip(Frames::open(path).expect("a capture")) {
            let frame = frame.expect("a whole capture").bytes;
            let (_, packet) = EthHeader::parse(&frame).expect("Ethernet");
            let Ok((ip, segment)) = Ipv4Header::parse(packet) else { continue };
            let Ok((tcp, payload)) = TcpHeader::parse(ip.src, ip.dst, segment) else { continue };
            let (src, dst) =
                (SocketAddrV4::new(ip.src, tcp.src_port), SocketAddrV4::new(ip.dst, tcp.dst_port));
            let Some(side) = side_of(src, dst) else { continue };
            let end = &mut ends[side as usize];
            let mpa_len = HEADER_LEN + end.mpa.private_data.len();
            if tcp.flags.contains(TcpFlags::SYN) {
                first[side as usize] = Some(tcp.seq + 1 + mpa_len as u32);
                continue;
            }
            // The MPA exchange is over when this capture's connection reaches the device.
            let offset = tcp.seq.diff(first[side as usize].expect("a SYN comes first"));
            let Ok(start) = usize::try_from(offset + payload.len() as i32).map(|_| offset.max(0) as usize)
            else {
                continue;
            };
            let payload = &payload[offset.min(0).unsigned_abs() as usize..];
            if offset < 0 && payload.is_empty() {
                continue;
            }
            let bytes = start..start + payload.len();
            if !payload.is_empty() {
                end.stream.resize(end.stream.len().max(bytes.end), 0);
                end.stream[bytes.clone()].copy_from_slice(payload);
            }
            end.fin |= tcp.flags.contains(TcpFlags::FIN);
            for (_, _, message) in
                begins.range((number, side as usize, 0)..=(number, side as usize, usize::MAX))
            {
                steps.push(Step::Begins(side, *message));
            }
            let options = segment[tcp::HEADER_LEN..tcp.header_len].to_vec();
            steps.push(Step::Segment(side, Cut { bytes, flags: tcp.flags, options }));
        }
        Connection { name, ends, crc, steps }
    }

    /// What an end did.
    pub fn end(&self, side: Side) -> &End {
        &self.ends[side as usize]
    }

    /// The end that sent the first FPDU.
    pub fn first_speaker(&self) -> Option<Side> {
        self.steps.iter().find_map(|step| match step {
            Step::Begins(side, _) => Some(*side),
            Step::Segment(..) => None,
        })
    }

    /// What the device at `side` is set up with.
    fn context(&self, side: Side) -> Context {
        let depths = |side| self.end(side).mpa.enhanced().expect("well-formed set-up data").0;
        let most = ModelConfig::default().ird;
        let clamp = |depth: u16| u8::try_from(depth).unwrap_or(most).min(most);
        let (own, peer) = (depths(side), depths(side.other()));
        let negotiated = own.zip(peer);
        Context {
            crc: self.crc,
            // siw's responder may speak first; a device that holds back as RFC 5044 wants would wait for ever.
            hold: side == Side::Responder && self.first_speaker() == Some(Side::Initiator),
            ird: negotiated.map_or(most, |(own, _)| clamp(own.ird)),
            ord: negotiated.map_or(most, |(own, peer)| clamp(own.ord.min(peer.ird))),
            ..scene::context()
        }
    }
}

/// What is unusual about the device's end.
#[derive(Debug, Clone, Copy, Default)]
pub struct Setup {
    /// Length of the receive buffers, if they are not exactly as long as what comes; 0: there are none.
    pub receive: Option<u32>,
    /// The peer has no rights.
    pub private: bool,
    /// The peer's FPDU with this number is at fault: nothing of it, and nothing behind it, may have an effect.
    pub fault: Option<usize>,
    /// Hold back like a responder that has received nothing.
    pub hold: bool,
}

/// A region and what its memory must hold.
struct Buffer {
    base: u64,
    memory: DmaBuffer,
    expected: Vec<u8>,
}

impl Buffer {
    /// Where `len` bytes at `to` are, if they are inside.
    fn range(&self, to: u64, len: usize) -> Option<Range<usize>> {
        let start = usize::try_from(to.checked_sub(self.base)?).ok()?;
        let range = start..start.checked_add(len)?;
        (range.end <= self.expected.len()).then_some(range)
    }
    /// What the host writes.
    fn fill(&mut self, to: u64, bytes: &[u8]) {
        let range = self.range(to, bytes.len()).expect("bytes of the region");
        assert!(self.memory.write(range.start, bytes));
        self.expected[range].copy_from_slice(bytes);
    }
    /// What the device must have written.
    fn expect(&mut self, to: u64, bytes: &[u8]) {
        let range = self.range(to, bytes.len()).expect("bytes of the region");
        self.expected[range].copy_from_slice(bytes);
    }
}

/// A device in the place of one end of a captured connection.
pub struct Replay<'a> {
    /// Device and peer.
    pub scene: Scene,
    /// Events of the device.
    pub events: Vec<Event>,
    /// Completions of receive entries.
    pub received: Vec<Completion>,
    /// Completions of send entries.
    pub done: Vec<Completion>,
    /// What the device sent.
    pub sent: Vec<Message>,
    /// The device sent FIN.
    pub fin: bool,
    /// Read Responses it owes, in order.
    pub owed: Vec<Message>,
    /// Work posted, as messages, in order.
    pub posted: Vec<Message>,
    /// What the device found wrong, or what the peer's Terminate said.
    pub record: Option<ErrorRecord>,
    connection: &'a Connection,
    side: Side,
    setup: Setup,
    regions: BTreeMap<u32, Buffer>,
    outbox: u32,
    outbox_used: u64,
    inbox: u32,
    /// Places of receive buffers, for Sends in their order.
    slots: Vec<(u64, u32)>,
    receives_posted: usize,
    /// FPDUs, Sends and Read Requests of the peer so far.
    applied: (usize, usize, usize),
    /// Reads that may be under way.
    ord: usize,
    stream_start: Seq,
    acked: Seq,
}

/// A region of the device's end: TOs and rights.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    range: Range<u64>,
    access: u8,
}

/// The regions that the capture shows or, in those of `iwt`, that the private data announces.
fn wanted_regions(connection: &Connection, side: Side, private: bool) -> BTreeMap<u32, Wanted> {
    let (own, peer) = (connection.end(side), connection.end(side.other()));
    let mut uses = Vec::new();
    for message in peer.messages.iter().filter(|message| !message.payload.is_empty()) {
        let len = message.payload.len() as u64;
        match (message.place, message.read_request()) {
            (Place::Tagged { stag, to }, _) if message.opcode == Opcode::Write => {
                uses.push((stag, to, len, access::LOCAL_WRITE | access::REMOTE_WRITE));
            }
            (_, Some(read)) if read.size > 0 => {
                uses.push((read.source_stag, read.source_to, read.size.into(), access::REMOTE_READ));
            }
            _ => {}
        }
    }
    for read in own.messages.iter().filter_map(Message::read_request).filter(|read| read.size > 0) {
        uses.push((read.sink_stag, read.sink_to, read.size.into(), access::LOCAL_WRITE));
    }
    let (_, data) = own.mpa.enhanced().expect("well-formed set-up data");
    let announced = data.first_chunk::<16>().map(|data| {
        let (to, rest) = data.split_first_chunk::<8>().expect("16 bytes");
        let word = |at: usize| u32::from_be_bytes([rest[at], rest[at + 1], rest[at + 2], rest[at + 3]]);
        (word(0), u64::from_be_bytes(*to), u64::from(word(4)))
    });
    let mut regions: BTreeMap<u32, Wanted> = BTreeMap::new();
    if let Some((stag, to, len)) = announced {
        regions.insert(stag, Wanted { range: to..to + len, access: 0 });
    }
    for (stag, to, len, access) in uses {
        match regions.get_mut(&stag) {
            Some(region) => {
                if announced.is_none() {
                    region.range = region.range.start.min(to)..region.range.end.max(to + len);
                }
                region.access |= access;
            }
            // iwt has one region, and any other STag is wrong on purpose.
            None if announced.is_some() => {}
            None => {
                regions.insert(stag, Wanted { range: to..to + len, access });
            }
        }
    }
    for message in &peer.messages {
        if let (true, Place::Untagged { inv_stag, .. }) = (message.opcode.invalidates(), message.place)
            && let Some(region) = regions.get_mut(&inv_stag)
        {
            region.access |= access::INVALIDATE;
        }
    }
    if private {
        regions.values_mut().for_each(|region| region.access &= !access::REMOTE);
    }
    regions
}

impl<'a> Replay<'a> {
    /// The model at `side`.
    pub fn new(connection: &'a Connection, side: Side, setup: Setup) -> Self {
        let wanted = wanted_regions(connection, side, setup.private);
        let mut stags: Vec<u32> = wanted.keys().copied().chain([STAG]).collect();
        // siw's STags are random: take a table in which no two of them meet.
        let distinct = |stags: &[u32], log2: u8| {
            let indices: BTreeSet<_> = stags.iter().map(|stag| index_of(*stag, log2)).collect();
            indices.len() == stags.len()
        };
        let smallest = ModelConfig::default().log2_regions;
        let log2 = (smallest..=16).find(|log2| distinct(&stags, *log2)).expect("a table for these STags");
        let mut own_stag = || {
            let free = (1..1 << log2)
                .map(|index| index << 8)
                .find(|stag| distinct(&[&stags[..], &[*stag]].concat(), log2));
            let stag = free.expect("a free entry");
            stags.push(stag);
            stag
        };
        let (outbox, inbox) = (own_stag(), own_stag());
        let config = ModelConfig { log2_regions: log2, log2_qps: 2, ..ModelConfig::default() };
        let context =
            Context { hold: setup.hold || connection.context(side).hold, ..connection.context(side) };
        let scene = Scene::new(Rig::sized(&config), context);
        let payload_of =
            |side: Side| connection.end(side).messages.iter().map(|message| message.payload.len());
        let mut slots = Vec::new();
        let mut end = 0;
        for message in connection.end(side.other()).messages.iter().filter(|message| message.opcode.is_send())
        {
            let len = setup.receive.unwrap_or(message.payload.len() as u32);
            slots.push((end, len));
            end += u64::from(len);
        }
        let mut replay = Self {
            events: Vec::new(),
            received: Vec::new(),
            done: Vec::new(),
            sent: Vec::new(),
            fin: false,
            owed: Vec::new(),
            posted: Vec::new(),
            record: None,
            connection,
            side,
            setup,
            regions: BTreeMap::new(),
            outbox,
            outbox_used: 0,
            inbox,
            slots,
            receives_posted: 0,
            applied: (0, 0, 0),
            ord: context.ord.into(),
            stream_start: scene.peer.snd,
            acked: scene.peer.snd,
            scene,
        };
        for (stag, Wanted { range, access }) in wanted {
            replay.region(stag, range.start, (range.end - range.start) as usize, access);
        }
        replay.region(outbox, 0, payload_of(side).sum::<usize>() + 1, 0);
        replay.region(inbox, 0, end as usize + 1, access::LOCAL_WRITE);
        replay
    }

    fn region(&mut self, stag: u32, base: u64, len: usize, access: u8) {
        let memory = self.scene.rig.region(stag, Some(base), len, access, PD);
        self.regions.insert(stag, Buffer { base, memory, expected: vec![0; len] });
    }

    /// Play all of it. `deliver` decides how a run of the peer's segments reaches the device; what gets lost is sent
    /// again, in order.
    pub fn run(&mut self, deliver: &mut dyn FnMut(&[Cut]) -> Vec<Cut>) {
        let connection = self.connection;
        let mut burst = Vec::new();
        for step in &connection.steps {
            match step {
                Step::Segment(side, cut) if *side != self.side => burst.push(cut.clone()),
                Step::Begins(side, _) if *side != self.side => {}
                Step::Begins(_, message) => {
                    self.flush(&mut burst, deliver);
                    self.post(&connection.end(self.side).messages[*message]);
                }
                Step::Segment(_, cut) => {
                    if cut.occupies() {
                        self.flush(&mut burst, deliver);
                    }
                    if cut.fin() {
                        self.scene.rig.ring(Page::Qp(QP), doorbell::FIN, 0);
                        self.pump(0);
                    }
                }
            }
        }
        self.flush(&mut burst, deliver);
        self.pump(1_000_000_000);
    }

    /// Post all that the device's end sent, and let the peer say nothing.
    pub fn speak(&mut self) {
        let connection = self.connection;
        for message in &connection.end(self.side).messages {
            self.post(message);
        }
        self.pump(1_000_000_000);
    }

    /// The device has stopped.
    pub fn stopped(&self) -> Option<ErrorCause> {
        let stop = self.events.iter().find(|event| event.kind == EventKind::QpError)?;
        Some(ErrorCause::from_code(stop.code))
    }

    /// Post what the device's end sent.
    fn post(&mut self, message: &Message) {
        let verb = match message.opcode {
            Opcode::Send => Verb::Send,
            Opcode::SendInvalidate => Verb::SendInvalidate,
            Opcode::SendSolicited => Verb::SendSolicited,
            Opcode::SendSolicitedInvalidate => Verb::SendSolicitedInvalidate,
            Opcode::Write => Verb::Write,
            Opcode::ReadRequest => Verb::Read,
            // The device's own business.
            _ => return,
        };
        // A message that the capture does not have all of was cut off by a FIN that did not wait for it.
        if !message.whole || self.stopped().is_some() {
            return;
        }
        let mut entry = SendEntry::new(verb);
        entry.signalled = true;
        (entry.stag, entry.to) = match (message.place, message.read_request()) {
            (_, Some(read)) => (read.source_stag, read.source_to),
            (Place::Tagged { stag, to }, _) => (stag, to),
            (Place::Untagged { inv_stag, .. }, _) => (inv_stag, 0),
        };
        let length = message.payload.len() as u32;
        let sge = match message.read_request() {
            Some(read) => Sge { to: read.sink_to, length: read.size, lkey: read.sink_stag },
            None => Sge { to: self.outbox_used, length, lkey: self.outbox },
        };
        if sge.lkey == self.outbox {
            self.regions.get_mut(&self.outbox).expect("own region").fill(sge.to, &message.payload);
            self.outbox_used += u64::from(length);
        }
        entry.payload = Payload::Sges(vec![sge]);
        self.scene.rig.post_send(QP, &entry);
        self.posted.push(message.clone());
        self.pump(0);
    }

    /// Let the peer send a run of segments.
    fn flush(&mut self, burst: &mut Vec<Cut>, deliver: &mut dyn FnMut(&[Cut]) -> Vec<Cut>) {
        let Some(end) = burst.iter().filter(|cut| cut.occupies()).map(|cut| cut.bytes.end).max() else {
            burst.drain(..).for_each(|ack| self.send(&ack));
            return;
        };
        self.post_receives();
        self.foresee(end);
        let peer = self.connection.end(self.side.other());
        let fin = burst.iter().any(Cut::fin);
        for cut in deliver(burst) {
            self.send(&cut);
        }
        // What is not acknowledged is sent again from there on.
        let all = self.stream_start + (end as u32 + u32::from(fin));
        for _ in 0..=end {
            self.pump(0);
            if self.acked != all {
                self.pump(50_000_000);
            }
            if self.acked == all {
                break;
            }
            let start = self.acked.diff(self.stream_start) as usize;
            let cut_end = end.min(start + 1448);
            let last = TcpFlags::ACK | TcpFlags::PSH;
            let flags = if fin && cut_end == end { last | TcpFlags::FIN } else { last };
            self.send(&Cut { bytes: start.min(peer.stream.len())..cut_end, flags, options: Vec::new() });
        }
        assert_eq!(self.acked, all, "{}: everything is acknowledged", self.connection.name);
        burst.clear();
        self.compare();
    }

    fn send(&mut self, cut: &Cut) {
        let seq = self.stream_start + cut.bytes.start as u32;
        let payload = &self.connection.end(self.side.other()).stream;
        // An ACK behind FIN is outside.
        let payload = payload.get(cut.bytes.clone()).unwrap_or_default();
        let frame = self.scene.frame_at(seq, cut.flags, payload);
        let frame = with_options(&frame, &cut.options);
        self.scene.peer.snd = self.scene.peer.snd.max(seq + payload.len() as u32 + u32::from(cut.fin()));
        self.scene.deliver(&frame);
        self.pump(0);
    }

    fn post_receives(&mut self) {
        if self.setup.receive == Some(0) {
            return;
        }
        while self.receives_posted < self.slots.len().min(self.received.len() + 48) {
            let (to, length) = self.slots[self.receives_posted];
            let sges = vec![Sge { to, length, lkey: self.inbox }];
            self.scene.rig.post_receive(QP, &ReceiveEntry { index: 0, sges });
            self.receives_posted += 1;
        }
    }

    /// Make ready for the peer's FPDUs up to byte `end` of its stream, and note what they must do.
    fn foresee(&mut self, end: usize) {
        let (fpdus, sends, reads) = self.applied;
        let all = &self.connection.end(self.side.other()).fpdus;
        let until =
            all.partition_point(|(behind, _)| *behind <= end).min(self.setup.fault.unwrap_or(usize::MAX));
        if until <= fpdus {
            return;
        }
        let next: Vec<&Segment> = all[fpdus..until].iter().map(|(_, segment)| segment).collect();
        self.applied.0 = until;
        // Memory that will be read holds what was read then; memory that will be written holds something else.
        let own = &self.connection.end(self.side).messages;
        let responses = own.iter().filter(|message| message.opcode == Opcode::ReadResponse);
        let requests = next.iter().filter_map(|segment| request_in(segment)).zip(responses.skip(reads));
        for (request, response) in requests {
            if let Some(buffer) = self.regions.get_mut(&request.source_stag).filter(|_| request.size > 0) {
                buffer.fill(request.source_to, &response.payload);
            }
        }
        for (stag, to, payload) in next.iter().filter_map(|segment| tagged_in(segment)) {
            let other: Vec<u8> = payload.iter().map(|byte| !byte).collect();
            self.regions.get_mut(&stag).expect("a region of the capture").fill(to, &other);
        }
        let mut send = sends;
        for segment in next {
            if let Some((stag, to, payload)) = tagged_in(segment) {
                self.regions.get_mut(&stag).expect("a region of the capture").expect(to, payload);
            }
            if let Some(request) = request_in(segment) {
                self.applied.2 += 1;
                self.owe(&request);
            }
            if let (Some(true), Some(DdpHeader::Untagged { mo, last, .. })) =
                (segment.opcode.map(Opcode::is_send), segment.header)
            {
                let (to, _) = self.slots[send];
                let inbox = self.regions.get_mut(&self.inbox).expect("own region");
                inbox.expect(to + u64::from(mo), &segment.payload);
                send += usize::from(last);
            }
        }
        self.applied.1 = send;
    }

    /// A Read Response must come.
    fn owe(&mut self, request: &ReadRequest) {
        let payload = match self.regions.get(&request.source_stag) {
            Some(buffer) if request.size > 0 => {
                let range = buffer.range(request.source_to, request.size as usize);
                buffer.expected[range.expect("bytes of the region")].to_vec()
            }
            _ => Vec::new(),
        };
        let place = Place::Tagged { stag: request.sink_stag, to: request.sink_to };
        self.owed.push(Message { opcode: Opcode::ReadResponse, place, payload, whole: true });
    }

    /// All memory holds what it must.
    fn compare(&self) {
        for (stag, buffer) in &self.regions {
            let mut found = vec![0; buffer.expected.len()];
            assert!(buffer.memory.read(0, &mut found));
            let wrong = found.iter().zip(&buffer.expected).position(|(found, expected)| found != expected);
            assert_eq!(wrong, None, "{} at the {:?}: STag {stag:08x}", self.connection.name, self.side);
        }
    }

    /// Let the device send, `time` later, and take what it says.
    fn pump(&mut self, time: u64) {
        let (segments, fpdus) = self.scene.pump_after(time);
        for segment in segments {
            self.acked = self.acked.max(segment.tcp.ack);
            self.fin |= segment.tcp.flags.contains(TcpFlags::FIN);
        }
        for fpdu in &fpdus {
            self.check_crc(fpdu);
            let (header, payload) = DdpHeader::parse(&fpdu.ulpdu).expect("a whole header");
            put_together(&mut self.sent, &header, payload);
        }
        for completion in self.scene.rig.completions(CQ, true) {
            let receive = completion.opcode == OPCODE_RECEIVE;
            if receive { &mut self.received } else { &mut self.done }.push(completion);
        }
        let asked = self.sent.iter().filter(|message| message.opcode == Opcode::ReadRequest).count();
        let answered = self.done.iter().filter(|done| done.opcode == Verb::Read as u8).count();
        assert!(asked - answered <= self.ord, "{}: more Reads under way than ORD", self.connection.name);
        let running = self.stopped().is_none();
        let events = self.scene.rig.events();
        self.events.extend(events);
        if running && self.stopped().is_some() {
            self.on_stop();
        }
    }

    fn check_crc(&self, fpdu: &Fpdu) {
        if self.connection.crc {
            assert_eq!(fpdu.crc, FpduCrc::Good);
        } else {
            assert_eq!(fpdu.crc_field, [0; 4], "no CRC");
        }
    }

    /// What software does when a QP stops: a Terminate for an error found here.
    fn on_stop(&mut self) {
        let save = &self.scene.rig.qp_memory(QP).save;
        let mut record = [0; RECORD_BYTES];
        assert!(save.read(0, &mut record));
        self.record = ErrorRecord::decode(&record);
        if let Some(ErrorRecord::Detected { error: (layer, etype, code), ddp, rdmap }) = self.record.clone() {
            let mut bytes = Vec::new();
            let terminate = Terminate {
                error: TerminateError::from_wire(layer, etype, code),
                segment_len: ddp.as_ref().map(|(length, _)| *length),
                ddp_header: ddp.map_or_else(Vec::new, |(_, header)| header),
                rdmap_header: rdmap.unwrap_or_default(),
            };
            terminate.emit(&mut bytes);
            let length = (bytes.len() as u32).to_le_bytes();
            assert!(save.write(SAVE_TERMINATE, &[&length[..], &bytes].concat()));
            self.scene.rig.ring(Page::Qp(QP), doorbell::TERMINATE, 0);
            self.pump(0);
        }
    }
}

/// The Read Request in a segment.
fn request_in(segment: &Segment) -> Option<ReadRequest> {
    let is = segment.opcode == Some(Opcode::ReadRequest);
    is.then(|| ReadRequest::parse(&segment.payload).expect("a whole Read Request"))
}

/// Where the payload of a tagged segment goes, if it has any.
fn tagged_in(segment: &Segment) -> Option<(u32, u64, &[u8])> {
    match segment.header {
        Some(DdpHeader::Tagged { stag, to, .. }) if !segment.payload.is_empty() => {
            Some((stag, to, &segment.payload))
        }
        _ => None,
    }
}

/// A frame of the scene with these TCP options.
fn with_options(frame: &[u8], options: &[u8]) -> Vec<u8> {
    let (ethernet, packet) = EthHeader::parse(frame).expect("Ethernet");
    let (ip, segment) = Ipv4Header::parse(packet).expect("IPv4");
    let (header, payload) = segment.split_at(tcp::HEADER_LEN);
    let mut segment = [header, options, payload].concat();
    segment[12] = ((tcp::HEADER_LEN + options.len()) as u8) << 2;
    segment[16..18].fill(0);
    let pseudo = checksum::pseudo_header(ip.src, ip.dst, PROTOCOL_TCP, segment.len() as u16);
    let check = checksum::finish(checksum::sum(pseudo, &segment));
    segment[16..18].copy_from_slice(&check.to_be_bytes());
    let mut frame = Vec::new();
    ethernet.emit(&mut frame);
    ip.emit(segment.len() as u16, &mut frame);
    frame.extend(segment);
    frame
}
