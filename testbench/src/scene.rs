//! A device in one connection with a scripted peer that can say anything.

use crate::rig::{MAC, Rig};
use ironwarp_driver::transport::DmaBuffer;
use ironwarp_proto::abi::context::{Context, ErrorRecord, Mode, RECORD_BYTES, SAVE_RECORD, SAVE_TERMINATE};
use ironwarp_proto::abi::doorbell::{Page, qp as qp_doorbell};
use ironwarp_proto::abi::event::{ErrorCause, Event, EventKind, FlushCursors};
use ironwarp_proto::abi::receive_entry::ReceiveEntry;
use ironwarp_proto::abi::region::access;
use ironwarp_proto::abi::regs::{Command, CommandStatus};
use ironwarp_proto::abi::send_entry::{Opcode as Verb, Payload, SendEntry, Sge};
use ironwarp_proto::crc;
use ironwarp_proto::ddp::{self, DdpHeader};
use ironwarp_proto::mpa::marker::{self, MarkerPhase};
use ironwarp_proto::mpa::stream::{Deframer, Fpdu, FpduCrc};
use ironwarp_proto::pins::{Frame, Nanos};
use ironwarp_proto::rdmap::{self, AtomicRequest, Opcode, ReadRequest};
use ironwarp_proto::seq::Seq;
use ironwarp_proto::wire::eth::{ETHERTYPE_IPV4, EthHeader, MacAddr};
use ironwarp_proto::wire::ipv4::{Ipv4Header, PROTOCOL_TCP};
use ironwarp_proto::wire::tcp::{TcpFlags, TcpHeader, TcpOptions};
use std::collections::HashMap;
use std::net::Ipv4Addr;

/// The QP of the scene.
pub const QP: u16 = 1;
/// Its protection domain.
pub const PD: u16 = 5;
/// Its completion queue.
pub const CQ: u16 = 2;
/// A region with every right, 64 KiB, TO 0x10_0000.
pub const STAG: u32 = 0x00c0_1055;
/// TO of its first byte.
pub const BASE: u64 = 0x10_0000;
/// Its length, bytes.
pub const LEN: usize = 65_536;

const DEVICE: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 9, 0, 1), 7471);
const PEER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
/// Port of the peer.
pub const PORT: u16 = 33_001;
const PEER_MAC: [u8; 6] = [2, 0x1a, 0xce, 0, 0, 2];

/// A segment that the device sent.
#[derive(Debug, Clone)]
pub struct Sent {
    /// Its TCP header.
    pub tcp: TcpHeader,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// The far end of one connection.
pub struct Peer {
    /// The device's QP.
    pub qp: u16,
    /// Port of the peer.
    pub port: u16,
    /// Next sequence number of the peer.
    pub snd: Seq,
    /// What the peer acknowledges.
    pub rcv: Seq,
    /// Window the peer offers, not scaled.
    pub window: u16,
    /// What came from the device in order.
    pub deframer: Deframer,
    context: Context,
    stream_start: Seq,
    /// Every byte the device has sent, by sequence number: a retransmission repeats it.
    record: HashMap<u32, u8>,
}

/// A device, its host and the peer.
pub struct Scene {
    /// Device and host.
    pub rig: Rig,
    /// The peer that acts.
    pub peer: Peer,
    /// Memory behind [`STAG`].
    pub memory: DmaBuffer,
    /// Frames for a peer that does not act now.
    strays: Vec<Frame>,
}

/// What a scene starts from.
pub fn context() -> Context {
    Context {
        mode: Mode::Rdma,
        crc: true,
        atomics: true,
        pd: PD,
        scq: CQ,
        rcq: CQ,
        ird: 2,
        ord: 2,
        mss: 1460,
        mulpdu: 1454,
        rcv_nxt: u32::MAX - 700,
        rcv_wnd: 262_144,
        rcv_wscale: 4,
        rcv_adv: (u32::MAX - 700).wrapping_add(60_000),
        snd_nxt: u32::MAX - 900,
        snd_wnd: 60_000,
        ..Context::default()
    }
}

impl Peer {
    /// Connect QP `qp` of a device to port `port` of a new peer and let it run.
    pub fn connect(rig: &mut Rig, qp: u16, port: u16, context: Context) -> Self {
        rig.activate(qp, context, &template_for(port));
        assert_eq!(rig.command(Command::Go, qp, 0), CommandStatus::Ok);
        Self::new(qp, port, context)
    }

    /// The far end of a connection that starts with `context`.
    pub fn new(qp: u16, port: u16, context: Context) -> Self {
        Self {
            qp,
            port,
            snd: Seq(context.rcv_nxt),
            rcv: Seq(context.snd_nxt),
            window: (context.snd_wnd >> context.snd_wscale) as u16,
            deframer: Deframer::new(context.markers_tx, context.crc),
            context,
            stream_start: Seq(context.rcv_nxt),
            record: HashMap::new(),
        }
    }

    /// A segment with explicit sequence number.
    pub fn frame_at(&self, seq: Seq, flags: TcpFlags, payload: &[u8]) -> Frame {
        frame(self.port, seq, self.rcv, self.window, flags, payload)
    }

    /// The FPDU of a ULPDU at offset `ahead` behind the peer's place in the stream.
    pub fn fpdu_ahead(&self, ahead: u32, ulpdu: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        if self.context.markers_rx {
            let offset = (self.snd + ahead).0.wrapping_sub(self.stream_start.0);
            let phase = MarkerPhase::at(offset.into());
            marker::emit(&[ulpdu], self.context.crc, phase, &mut out).expect("ULPDU fits");
        } else {
            out.extend((ulpdu.len() as u16).to_be_bytes());
            out.extend(ulpdu);
            out.resize(out.len().next_multiple_of(4), 0);
            let check = if self.context.crc { crc::to_wire(crc::fpdu_crc(&out)) } else { [0; 4] };
            out.extend(check);
        }
        out
    }

    /// Take a segment of the device: in-order bytes are put into `fpdus`. Says whether there were any.
    fn take(&mut self, sent: &Sent, fpdus: &mut Vec<Fpdu>) -> bool {
        for (at, byte) in (0..).zip(&sent.payload) {
            let seq = sent.tcp.seq + at;
            let first = *self.record.entry(seq.0).or_insert(*byte);
            assert_eq!(first, *byte, "the byte at {} changed when it was sent again", seq.0);
        }
        let old = self.rcv.diff(sent.tcp.seq);
        let fin = sent.tcp.flags.contains(TcpFlags::FIN);
        let Some(fresh) = usize::try_from(old).ok().and_then(|old| sent.payload.get(old..)) else {
            return false;
        };
        self.rcv += fresh.len() as u32 + u32::from(fin);
        fpdus.extend(self.deframer.push(fresh));
        fin || !fresh.is_empty()
    }
}

impl Scene {
    /// On the golden model with the usual context.
    pub fn model() -> Self {
        Self::with(context())
    }

    /// On the golden model.
    pub fn with(context: Context) -> Self {
        Self::new(Rig::device(), context)
    }

    /// On any device.
    pub fn new(rig: Rig, context: Context) -> Self {
        let mut scene = Self::furnished(rig, context);
        scene.activate();
        assert_eq!(scene.rig.command(Command::Go, QP, 0), CommandStatus::Ok);
        scene
    }

    /// On the golden model, up to ACTIVATE.
    pub fn activated(context: Context) -> Self {
        let mut scene = Self::furnished(Rig::device(), context);
        scene.activate();
        scene
    }

    /// On any device, before ACTIVATE.
    pub fn furnished(mut rig: Rig, context: Context) -> Self {
        rig.cq(CQ, 8);
        let rights = access::LOCAL_WRITE | access::REMOTE | access::BIND;
        let memory = rig.region(STAG, Some(BASE), LEN, rights, PD);
        Self { rig, peer: Peer::new(QP, PORT, context), memory, strays: Vec::new() }
    }

    /// ACTIVATE the QP.
    pub fn activate(&mut self) {
        self.rig.activate(self.peer.qp, self.peer.context, &template_for(self.peer.port));
    }

    /// Let another peer act.
    pub fn swap(&mut self, other: &mut Peer) {
        std::mem::swap(&mut self.peer, other);
    }

    /// A segment of the peer with explicit sequence number.
    pub fn frame_at(&self, seq: Seq, flags: TcpFlags, payload: &[u8]) -> Frame {
        self.peer.frame_at(seq, flags, payload)
    }

    /// Deliver a frame to the device.
    pub fn deliver(&mut self, frame: &[u8]) {
        self.rig.device.receive(self.rig.now, frame);
    }

    /// Deliver a segment with these fields.
    pub fn segment(&mut self, seq: Seq, ack: Seq, flags: TcpFlags, payload: &[u8]) {
        let frame = frame(self.peer.port, seq, ack, self.peer.window, flags, payload);
        self.deliver(&frame);
    }

    /// Send the next payload bytes of the peer's stream in one segment.
    pub fn send(&mut self, payload: &[u8]) {
        self.send_as(TcpFlags::ACK | TcpFlags::PSH, payload);
    }

    /// As [`send`](Self::send) with these flags.
    pub fn send_as(&mut self, flags: TcpFlags, payload: &[u8]) {
        let frame = self.frame_at(self.peer.snd, flags, payload);
        self.peer.snd += payload.len() as u32 + u32::from(flags.contains(TcpFlags::FIN));
        self.deliver(&frame);
    }

    /// A segment without payload: ACK and these flags.
    pub fn send_flags(&mut self, flags: TcpFlags) {
        self.send_as(flags | TcpFlags::ACK, &[]);
    }

    /// An ACK of everything up to `ack` that offers `window`.
    pub fn ack(&mut self, ack: Seq, window: u16) {
        self.peer.window = window;
        self.segment(self.peer.snd, ack, TcpFlags::ACK, &[]);
    }

    /// The FPDU of a ULPDU at the peer's place in the stream.
    pub fn fpdu(&self, ulpdu: &[u8]) -> Vec<u8> {
        self.peer.fpdu_ahead(0, ulpdu)
    }

    /// Send a ULPDU in a segment of its own.
    pub fn send_ulpdu(&mut self, ulpdu: &[u8]) {
        let fpdu = self.fpdu(ulpdu);
        self.send(&fpdu);
    }

    /// Send a DDP segment.
    pub fn send_ddp(&mut self, header: DdpHeader, payload: &[u8]) {
        self.send_ulpdu(&ulpdu(header, payload));
    }

    /// Ring a doorbell of the QP.
    pub fn ring(&mut self, doorbell: u32, value: u32) {
        self.rig.ring(Page::Qp(self.peer.qp), doorbell, value);
    }

    /// What the device sends now; the peer takes in-order bytes and acknowledges them. Returns the segments.
    pub fn pump(&mut self) -> (Vec<Sent>, Vec<Fpdu>) {
        self.pump_frames(Vec::new())
    }

    /// As [`pump`](Self::pump), after `time` has passed.
    pub fn pump_after(&mut self, time: Nanos) -> (Vec<Sent>, Vec<Fpdu>) {
        let frames = self.rig.elapse(time);
        self.pump_frames(frames)
    }

    /// What the device sends now; the peer takes in-order bytes and says nothing.
    pub fn hear(&mut self) -> Vec<Sent> {
        let frames = self.rig.frames();
        self.listen(frames, &mut Vec::new()).0
    }

    /// As [`hear`](Self::hear), after `time` has passed.
    pub fn hear_after(&mut self, time: Nanos) -> Vec<Sent> {
        let frames = self.rig.elapse(time);
        self.listen(frames, &mut Vec::new()).0
    }

    /// What the device sends now is lost; the segments all the same.
    pub fn lose(&mut self) -> Vec<Sent> {
        self.lose_after(0)
    }

    /// As [`lose`](Self::lose), after the time until `at` has passed.
    pub fn lose_until(&mut self, at: Nanos) -> Vec<Sent> {
        self.lose_after(at.saturating_sub(self.rig.now))
    }

    /// As [`lose`](Self::lose), after `time` has passed.
    pub fn lose_after(&mut self, time: Nanos) -> Vec<Sent> {
        let (rcv, deframer) = (self.peer.rcv, self.peer.deframer.clone());
        let lost = self.hear_after(time);
        (self.peer.rcv, self.peer.deframer) = (rcv, deframer);
        lost
    }

    /// Let the peer take what a link has left of a segment.
    pub fn receive_part(&mut self, sent: &Sent, fpdus: &mut Vec<Fpdu>) {
        self.peer.take(sent, fpdus);
    }

    fn listen(&mut self, frames: Vec<Frame>, fpdus: &mut Vec<Fpdu>) -> (Vec<Sent>, bool) {
        let (mut segments, mut news) = (Vec::new(), false);
        let waiting = std::mem::take(&mut self.strays);
        for frame in waiting.into_iter().chain(frames) {
            let sent = parse(&frame);
            if sent.tcp.dst_port == self.peer.port {
                news |= self.peer.take(&sent, fpdus);
                segments.push(sent);
            } else {
                self.strays.push(frame);
            }
        }
        (segments, news)
    }

    fn pump_frames(&mut self, mut frames: Vec<Frame>) -> (Vec<Sent>, Vec<Fpdu>) {
        let (mut segments, mut fpdus) = (Vec::new(), Vec::new());
        loop {
            frames.extend(self.rig.frames());
            let (sent, news) = self.listen(std::mem::take(&mut frames), &mut fpdus);
            segments.extend(sent);
            if !news {
                return (segments, fpdus);
            }
            self.send_flags(TcpFlags::ACK);
        }
    }

    /// Cause and cursors of the QP's errors since events were last taken; other events are put aside.
    pub fn errors(&mut self) -> Vec<(ErrorCause, FlushCursors)> {
        let qp = self.peer.qp;
        let of_qp = |event: &Event| event.kind == EventKind::QpError && event.object == qp;
        let errors = self.rig.events().into_iter().filter(of_qp);
        errors.map(|event| (ErrorCause::from_code(event.code), FlushCursors::decode(&event.params))).collect()
    }

    /// The error record in the save area.
    pub fn record(&self) -> Option<ErrorRecord> {
        let mut bytes = [0; RECORD_BYTES];
        assert!(self.rig.qp_memory(self.peer.qp).save.read(SAVE_RECORD, &mut bytes));
        ErrorRecord::decode(&bytes)
    }

    /// Write a Terminate Header to the save area and ring for it.
    pub fn terminate(&mut self, header: &[u8]) {
        let save = &self.rig.qp_memory(self.peer.qp).save;
        assert!(save.write(SAVE_TERMINATE, &(header.len() as u32).to_le_bytes()));
        assert!(save.write(SAVE_TERMINATE + 4, header));
        self.ring(qp_doorbell::TERMINATE, 0);
    }

    /// All of the memory behind [`STAG`].
    pub fn image(&self) -> Vec<u8> {
        self.bytes(0, LEN)
    }

    /// Some of the memory behind [`STAG`].
    pub fn bytes(&self, offset: usize, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        assert!(self.memory.read(offset, &mut bytes));
        bytes
    }

    /// Post a receive of `len` bytes at `offset` of [`STAG`]; its index.
    pub fn post_receive(&mut self, offset: u64, len: u32) -> u16 {
        self.rig.post_receive(self.peer.qp, &ReceiveEntry { index: 0, sges: vec![sge(offset, len)] })
    }

    /// Post a signalled entry; its index.
    pub fn post(&mut self, entry: SendEntry) -> u16 {
        self.rig.post_send(self.peer.qp, &SendEntry { signalled: true, ..entry })
    }
}

/// An SGE in [`STAG`].
pub fn sge(offset: u64, length: u32) -> Sge {
    Sge { to: BASE + offset, length, lkey: STAG }
}

/// Bytes that tell their place.
pub fn pattern(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|i| (i as u8).wrapping_mul(31).wrapping_add((i >> 8) as u8).wrapping_add(seed)).collect()
}

/// The bytes of a DDP segment.
pub fn ulpdu(header: DdpHeader, payload: &[u8]) -> Vec<u8> {
    let mut ulpdu = Vec::new();
    header.emit(&mut ulpdu);
    ulpdu.extend(payload);
    ulpdu
}

/// Header and payload of FPDUs of the device; their CRCs and markers must be right.
pub fn segments(fpdus: &[Fpdu]) -> Vec<(DdpHeader, Vec<u8>)> {
    let parse = |fpdu: &Fpdu| {
        assert!(fpdu.crc != FpduCrc::Bad && fpdu.marker_mismatch.is_none(), "{fpdu:?}");
        let (header, payload) = DdpHeader::parse(&fpdu.ulpdu).expect("DDP header");
        (header, payload.to_vec())
    };
    fpdus.iter().map(parse).collect()
}

/// A Send of inline bytes.
pub fn send_inline(bytes: &[u8]) -> SendEntry {
    SendEntry { payload: Payload::Inline(bytes.to_vec()), ..SendEntry::new(Verb::Send) }
}

/// A Write of `len` bytes at `offset` of [`STAG`].
pub fn write_from(offset: u64, len: u32) -> SendEntry {
    let payload = Payload::Sges(vec![sge(offset, len)]);
    SendEntry { stag: 0x77, to: 0x5000, payload, ..SendEntry::new(Verb::Write) }
}

/// A Read of `len` bytes into `offset` of [`STAG`].
pub fn read_into(offset: u64, len: u32) -> SendEntry {
    SendEntry { opcode: Verb::Read, ..write_from(offset, len) }
}

/// An RDMA Read Request of the peer for `len` bytes at `offset` of [`STAG`].
pub fn read_request(offset: u64, size: u32) -> Vec<u8> {
    let request =
        ReadRequest { sink_stag: 0xabc, sink_to: 0x33, size, source_stag: STAG, source_to: BASE + offset };
    let mut bytes = Vec::new();
    request.emit(&mut bytes);
    bytes
}

/// A FetchAdd of `add` to the eight bytes at `offset` of [`STAG`] by the peer.
pub fn fetch_add(request_id: u32, offset: u64, add: u64) -> AtomicRequest {
    AtomicRequest {
        opcode: 0,
        request_id,
        stag: STAG,
        to: BASE + offset,
        add_or_swap: add,
        add_or_swap_mask: 0,
        compare: 0,
        compare_mask: u64::MAX,
    }
}

/// A TCP frame of the peer.
pub fn frame(port: u16, seq: Seq, ack: Seq, window: u16, flags: TcpFlags, payload: &[u8]) -> Frame {
    let tcp = TcpHeader {
        src_port: port,
        dst_port: DEVICE.1,
        seq,
        ack,
        flags,
        window,
        urgent: 0,
        options: TcpOptions::default(),
        header_len: 20,
    };
    let mut segment = Vec::new();
    tcp.emit(PEER, DEVICE.0, payload, &mut segment);
    let mut frame = Vec::new();
    EthHeader { dst: MacAddr(MAC), src: MacAddr(PEER_MAC), ethertype: ETHERTYPE_IPV4 }.emit(&mut frame);
    ip_header().emit(segment.len() as u16, &mut frame);
    frame.extend(segment);
    frame
}

fn ip_header() -> Ipv4Header {
    Ipv4Header {
        src: PEER,
        dst: DEVICE.0,
        protocol: PROTOCOL_TCP,
        ttl: 64,
        id: 1,
        dscp_ecn: 0,
        dont_fragment: true,
        more_fragments: false,
        fragment_offset: 0,
        header_len: 20,
        total_len: 0,
    }
}

/// The headers the device puts in front of its segments to port `port` of the peer.
pub fn template_for(port: u16) -> [u8; 54] {
    let mut headers = [0; 54];
    headers[..6].copy_from_slice(&PEER_MAC);
    headers[6..12].copy_from_slice(&MAC);
    headers[12..16].copy_from_slice(&[8, 0, 0x45, 0]);
    headers[20] = 0x40;
    headers[22..24].copy_from_slice(&[64, PROTOCOL_TCP]);
    headers[26..30].copy_from_slice(&DEVICE.0.octets());
    headers[30..34].copy_from_slice(&PEER.octets());
    headers[34..36].copy_from_slice(&DEVICE.1.to_be_bytes());
    headers[36..38].copy_from_slice(&port.to_be_bytes());
    headers[46] = 0x50;
    headers
}

/// Parse a TCP frame of the device; checksums must be right.
pub fn parse(frame: &[u8]) -> Sent {
    let (_, packet) = EthHeader::parse(frame).expect("Ethernet");
    let (ip, segment) = Ipv4Header::parse(packet).expect("IPv4");
    let (tcp, payload) = TcpHeader::parse(ip.src, ip.dst, segment).expect("TCP");
    Sent { tcp, payload: payload.to_vec() }
}

/// A tagged header of the current versions.
pub fn tagged(opcode: Opcode, stag: u32, to: u64, last: bool) -> DdpHeader {
    DdpHeader::Tagged { last, version: ddp::VERSION, rdmap_control: rdmap::control(opcode), stag, to }
}

/// An untagged header of the current versions.
pub fn untagged(opcode: Opcode, qn: u32, msn: u32, mo: u32, last: bool) -> DdpHeader {
    DdpHeader::Untagged {
        last,
        version: ddp::VERSION,
        rdmap_control: rdmap::control(opcode),
        inv_stag: 0,
        qn,
        msn,
        mo,
    }
}
