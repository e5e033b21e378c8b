//! Frames in, MPA frames and FPDUs out.

use super::event::{Detail, Event, Segment};
use super::follow::{Follower, Piece, Stamp};
use super::link;
use super::search::{CERTAIN, Found, Framing, Search};
use ironwarp_proto::mpa::connect::{MpaFlags, MpaFrame, MpaKind};
use ironwarp_proto::mpa::stream::{Deframer, FpduCrc};
use ironwarp_proto::seq::Seq;
use ironwarp_proto::wire::ipv4::{Ipv4Header, PROTOCOL_TCP};
use ironwarp_proto::wire::tcp::{TcpFlags, TcpHeader};
use ironwarp_proto::wire::{checksum, ipv4};
use std::collections::HashMap;
use std::net::SocketAddrV4;
use std::time::Duration;

/// Most connections followed at a time.
const MAX_CONNECTIONS: usize = 1 << 16;
/// Most bytes kept behind an MPA Request while its Reply is missing.
const MAX_HELD: usize = 256 << 10;

/// Decodes the iWARP traffic of a capture, frame by frame.
///
/// Events come with the frame that completes them, in that order, except where something becomes clear only later
/// (no MPA exchange seen, frames missing): such events come late, with the stamp of the frame they belong to.
#[derive(Debug, Default)]
pub struct Decoder {
    connections: HashMap<[SocketAddrV4; 2], Connection>,
    frames: u64,
    start: Option<Duration>,
    unknown_links: u64,
}

/// Both directions of a TCP connection; direction 0 is sent by the lower of the two addresses.
#[derive(Debug)]
struct Connection {
    ends: [SocketAddrV4; 2],
    halves: [Half; 2],
    /// This is iWARP: an MPA frame or certain FPDUs were seen.
    certain: bool,
}

/// One direction.
#[derive(Debug)]
struct Half {
    tcp: Follower,
    /// Initial sequence number, if the SYN was seen.
    isn: Option<Seq>,
    /// A segment with a right TCP checksum was seen, so wrong ones come from the wire, not from a capture taken before
    /// the network card filled them in.
    checksums: bool,
    /// The MPA frame this end sent.
    mpa: Option<(MpaKind, MpaFlags)>,
    /// Sequence number of the first byte behind it.
    origin: Seq,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Not in FPDUs, or not yet.
    Search(Search),
    /// Behind an MPA frame, until that of the other end is there.
    Held(Vec<(Stamp, Vec<u8>)>),
    /// In FPDUs.
    Fpdus(Deframer),
}

impl Decoder {
    /// A decoder that has seen nothing.
    pub fn new() -> Decoder {
        Decoder::default()
    }

    /// Frames seen so far.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Frames of link types that are not understood.
    pub fn unknown_links(&self) -> u64 {
        self.unknown_links
    }

    /// Takes an Ethernet frame; `time` may count from anywhere.
    pub fn frame(&mut self, time: Duration, frame: &[u8]) -> Vec<Event> {
        self.frame_on(link::ETHERNET, time, frame)
    }

    /// Takes a frame of a link type of the tcpdump registry.
    pub fn frame_on(&mut self, link: u32, time: Duration, frame: &[u8]) -> Vec<Event> {
        self.frames += 1;
        let start = *self.start.get_or_insert(time);
        let since = time.as_nanos() as i128 - start.as_nanos() as i128;
        let stamp = Stamp { frame: self.frames, time: since.clamp(i64::MIN.into(), i64::MAX.into()) as i64 };
        if !link::is_known(link) {
            self.unknown_links += 1;
        }
        let mut events = Vec::new();
        if let Some(segment) = link::ipv4(link, frame).and_then(Captured::parse) {
            self.segment(&segment, stamp, &mut events);
        }
        events
    }

    /// At the end of the capture: what can still be said of what has come.
    pub fn finish(mut self) -> Vec<Event> {
        let mut events = Vec::new();
        for connection in self.connections.values_mut() {
            connection.finish(&mut events);
        }
        events.sort_by_key(|event| event.stamp.frame);
        events
    }

    fn segment(&mut self, segment: &Captured, stamp: Stamp, events: &mut Vec<Event>) {
        let from_lower = segment.src <= segment.dst;
        let ends = if from_lower { [segment.src, segment.dst] } else { [segment.dst, segment.src] };
        if self.connections.len() >= MAX_CONNECTIONS && !self.connections.contains_key(&ends) {
            self.connections.retain(|_, connection| connection.certain);
            if self.connections.len() >= MAX_CONNECTIONS {
                return;
            }
        }
        let connection = self.connections.entry(ends).or_insert_with(|| Connection::new(ends));
        connection.segment(usize::from(!from_lower), segment, stamp, events);
    }
}

/// A TCP segment of a capture.
struct Captured<'a> {
    src: SocketAddrV4,
    dst: SocketAddrV4,
    tcp: TcpHeader,
    payload: &'a [u8],
    checksum: Checksum,
}

/// What the TCP checksum of a captured segment says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Checksum {
    Right,
    /// The sum of the pseudo header alone, as hosts leave it for the network card to complete.
    Partial,
    Wrong,
}

impl Captured<'_> {
    fn parse(packet: &[u8]) -> Option<Captured<'_>> {
        let (ip, bytes) = Ipv4Header::parse(packet).ok()?;
        if ip.protocol != PROTOCOL_TCP || ip.is_fragment() {
            return None;
        }
        let (tcp, payload) = TcpHeader::parse_unverified(bytes).ok()?;
        let pseudo = checksum::pseudo_header(ip.src, ip.dst, ipv4::PROTOCOL_TCP, bytes.len() as u16);
        let partial = !checksum::finish(pseudo);
        let checksum = if checksum::finish(checksum::sum(pseudo, bytes)) == 0 {
            Checksum::Right
        } else if bytes.get(16..18) == Some(&partial.to_be_bytes()[..]) {
            Checksum::Partial
        } else {
            Checksum::Wrong
        };
        let (src, dst) = (SocketAddrV4::new(ip.src, tcp.src_port), SocketAddrV4::new(ip.dst, tcp.dst_port));
        Some(Captured { src, dst, tcp, payload, checksum })
    }
}

impl Half {
    fn new(isn: Option<Seq>) -> Half {
        Half {
            tcp: isn.map_or_else(Follower::default, |isn| Follower::starting_at(isn + 1)),
            isn,
            checksums: false,
            mpa: None,
            origin: Seq(0),
            state: State::Search(match isn {
                Some(_) => Search::for_frames(),
                None => Search::for_fpdus(Framing::default()),
            }),
        }
    }
}

impl Connection {
    fn new(ends: [SocketAddrV4; 2]) -> Connection {
        Connection { ends, halves: [Half::new(None), Half::new(None)], certain: false }
    }

    fn segment(&mut self, d: usize, segment: &Captured, stamp: Stamp, events: &mut Vec<Event>) {
        let tcp = &segment.tcp;
        match segment.checksum {
            Checksum::Right => self.halves[d].checksums = true,
            Checksum::Wrong if self.halves[d].checksums => return,
            _ => {}
        }
        let mut seq = tcp.seq;
        if tcp.flags.contains(TcpFlags::SYN) {
            if self.halves[d].isn != Some(tcp.seq) {
                // The first SYN of a connection makes it a new one; that of the other end belongs to it.
                let answers =
                    tcp.flags.contains(TcpFlags::ACK) && self.halves[1 - d].isn == Some(tcp.ack - 1);
                if !answers {
                    self.finish(events);
                    *self = Connection::new(self.ends);
                }
                let checksums = segment.checksum == Checksum::Right;
                self.halves[d] = Half { checksums, ..Half::new(Some(tcp.seq)) };
            }
            seq += 1;
        }
        if tcp.flags.contains(TcpFlags::ACK) {
            let pieces = self.halves[1 - d].tcp.acknowledge(tcp.ack);
            self.pieces(1 - d, pieces, events);
        }
        let pieces = self.halves[d].tcp.push(seq, segment.payload, stamp);
        self.pieces(d, pieces, events);
    }

    fn finish(&mut self, events: &mut Vec<Event>) {
        for d in [0, 1] {
            let pieces = self.halves[d].tcp.finish();
            self.pieces(d, pieces, events);
            self.stop_waiting(d, events);
        }
    }

    fn pieces(&mut self, d: usize, pieces: Vec<Piece>, events: &mut Vec<Event>) {
        for piece in pieces {
            self.piece(d, piece, events);
        }
    }

    /// The next bytes of direction `d`.
    fn piece(&mut self, d: usize, piece: Piece, events: &mut Vec<Event>) {
        if piece.gap {
            self.stop_waiting(d, events);
            self.search_fpdus(d);
        }
        let half = &mut self.halves[d];
        match &mut half.state {
            State::Fpdus(_) => self.fpdus(d, piece.stamp, &piece.bytes, events),
            State::Held(held) => {
                held.push((piece.stamp, piece.bytes));
                if held.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() > MAX_HELD {
                    self.stop_waiting(d, events);
                }
            }
            State::Search(search) => {
                search.push(&piece, u64::from((piece.seq - half.origin.0).0));
                self.step(d, events);
            }
        }
    }

    /// Sees whether the search in direction `d` has come to something.
    fn step(&mut self, d: usize, events: &mut Vec<Event>) {
        let help = match &self.halves[1 - d].state {
            _ if self.certain => CERTAIN,
            State::Search(other) => other.weight(),
            _ => 0,
        };
        let half = &mut self.halves[d];
        let State::Search(search) = &mut half.state else { return };
        let Some(found) = search.step(help) else { return };
        let newly_certain = !self.certain;
        self.certain = true;
        let search = std::mem::take(search);
        match found {
            Found::Fpdus(deframer) => {
                half.state = State::Fpdus(deframer);
                for (stamp, _, bytes) in search.take() {
                    self.fpdus(d, stamp, &bytes, events);
                }
            }
            Found::Frame(frame, used) => self.mpa_frame(d, frame, used, search, events),
        }
        if newly_certain {
            self.step(1 - d, events);
        }
    }

    /// An MPA frame in the first `used` bytes of a search.
    fn mpa_frame(&mut self, d: usize, frame: MpaFrame, used: usize, search: Search, events: &mut Vec<Event>) {
        let half = &mut self.halves[d];
        let (mut held, mut left) = (Vec::new(), used);
        let mut completed = None;
        for (stamp, offset, bytes) in search.take() {
            let (part, behind) = bytes.split_at(left.min(bytes.len()));
            if left > 0 && part.len() == left {
                completed = Some(stamp);
                half.origin = half.origin + offset as u32 + left as u32;
            }
            left -= part.len();
            if !behind.is_empty() {
                held.push((stamp, behind.to_vec()));
            }
        }
        half.mpa = Some((frame.kind, frame.flags));
        half.state = State::Held(held);
        let kind = frame.kind;
        if let Some(stamp) = completed {
            events.push(self.event(d, stamp, Detail::Mpa(frame)));
        }
        match (self.halves[0].mpa, self.halves[1].mpa) {
            (Some(a), Some(b)) => self.agreed([a, b], events),
            // A Reply without a Request: the capture has missed it.
            _ if kind == MpaKind::Reply => self.stop_waiting(d, events),
            _ => {}
        }
    }

    /// Both MPA frames are there.
    fn agreed(&mut self, mpa: [(MpaKind, MpaFlags); 2], events: &mut Vec<Event>) {
        let rejected = mpa.iter().any(|(kind, flags)| *kind == MpaKind::Reply && flags.reject);
        for d in [0, 1] {
            if rejected {
                self.halves[d].mpa = None;
                self.halves[d].state = State::Search(Search::for_frames());
                continue;
            }
            let framing = self.framing(d);
            let next = State::Fpdus(Deframer::new(framing.markers, framing.crc.unwrap_or(true)));
            if let State::Held(held) = std::mem::replace(&mut self.halves[d].state, next) {
                for (stamp, bytes) in held {
                    self.fpdus(d, stamp, &bytes, events);
                }
            }
        }
    }

    /// What the MPA frames say of direction `d`: RFC 5044 section 7.1.1. M in a frame is about what its sender
    /// receives; C of either end is enough.
    fn framing(&self, d: usize) -> Framing {
        let flags = |end: usize| self.halves[end].mpa.map(|(_, flags)| flags);
        let (own, peer) = (flags(d), flags(1 - d));
        match (own, peer) {
            (Some(own), Some(peer)) => Framing { markers: peer.markers, crc: Some(own.crc || peer.crc) },
            // Without both frames it is not known whether there are markers, or where: none is the guess.
            _ => Framing::default(),
        }
    }

    /// Looks for FPDUs in direction `d` from here on.
    fn search_fpdus(&mut self, d: usize) {
        self.halves[d].state = State::Search(Search::for_fpdus(self.framing(d)));
    }

    /// The other end's MPA frame will not come any more: makes do with what is known.
    fn stop_waiting(&mut self, d: usize, events: &mut Vec<Event>) {
        if !matches!(self.halves[d].state, State::Held(_)) {
            return;
        }
        let framing = self.framing(d);
        let mut search = Search::for_fpdus(framing);
        let next = State::Search(Search::default());
        if let State::Held(held) = std::mem::replace(&mut self.halves[d].state, next) {
            let mut offset = 0;
            for (stamp, bytes) in held {
                let seq = self.halves[d].origin + offset;
                let length = bytes.len() as u32;
                search.push(&Piece { seq, bytes, boundary: true, gap: false, stamp }, offset.into());
                offset += length;
            }
        }
        self.halves[d].state = State::Search(search);
        self.step(d, events);
    }

    /// Bytes of a direction that is in FPDUs.
    fn fpdus(&mut self, d: usize, stamp: Stamp, bytes: &[u8], events: &mut Vec<Event>) {
        let guessed = self.framing(d).crc.is_none();
        let State::Fpdus(deframer) = &mut self.halves[d].state else { return };
        let fpdus = deframer.push(bytes);
        let count = fpdus.len();
        let ends_here = deframer.pending() == 0;
        for (index, fpdu) in fpdus.into_iter().enumerate() {
            let segment = Segment::new(fpdu);
            // A header that makes no sense and no CRC that vouches for it: the framing is lost.
            let mut lost = segment.opcode.is_none() && segment.crc != FpduCrc::Good;
            if guessed && !segment.is_certain() {
                // Shown only if it ends with its segment, as a damaged FPDU does, and one with a marker in it does not.
                if !(segment.is_regular() && ends_here && index + 1 == count) {
                    return self.search_fpdus(d);
                }
                lost = true;
            }
            events.push(self.event(d, stamp, Detail::Segment(segment)));
            if lost {
                return self.search_fpdus(d);
            }
        }
    }

    fn event(&self, d: usize, stamp: Stamp, detail: Detail) -> Event {
        Event { stamp, src: self.ends[d], dst: self.ends[1 - d], detail }
    }
}
