//! A device in one connection with a scripted peer that can say anything.

use crate::rig::{MAC, Rig};
use ironwarp_proto::abi::context::{Context, Mode};
use ironwarp_proto::abi::regs::{Command, CommandStatus};
use ironwarp_proto::abi::region::access;
use ironwarp_proto::crc;
use ironwarp_proto::ddp::{self, DdpHeader};
use ironwarp_proto::mpa::marker::{self, MarkerPhase};
use ironwarp_proto::mpa::stream::{Deframer, Fpdu};
use ironwarp_proto::pins::{Frame, Nanos};
use ironwarp_proto::rdmap::{self, Opcode};
use ironwarp_proto::seq::Seq;
use ironwarp_proto::wire::eth::{ETHERTYPE_IPV4, EthHeader, MacAddr};
use ironwarp_proto::wire::ipv4::{Ipv4Header, PROTOCOL_TCP};
use ironwarp_proto::wire::tcp::{TcpFlags, TcpHeader, TcpOptions};
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
const PEER: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 9, 0, 2), 33_001);
const PEER_MAC: [u8; 6] = [2, 0x1a, 0xce, 0, 0, 2];

/// A segment that the device sent.
#[derive(Debug, Clone)]
pub struct Sent {
    /// Its TCP header.
    pub tcp: TcpHeader,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// A device, its host and the peer.
pub struct Scene {
    /// Device and host.
    pub rig: Rig,
    /// Next sequence number of the peer.
    pub snd: Seq,
    /// What the peer acknowledges.
    pub rcv: Seq,
    /// Window the peer offers, not scaled.
    pub window: u16,
    /// Memory behind [`STAG`].
    pub memory: ironwarp_driver::transport::DmaBuffer,
    /// What came from the device in order.
    pub deframer: Deframer,
    context: Context,
    stream_start: Seq,
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

impl Scene {
    /// On the golden model with the usual context.
    pub fn model() -> Self {
        Self::new(Rig::model(), context())
    }

    /// On any device.
    pub fn new(mut rig: Rig, context: Context) -> Self {
        rig.cq(CQ, 8);
        let rights = access::LOCAL_WRITE | access::REMOTE | access::BIND;
        let memory = rig.region(STAG, Some(BASE), LEN, rights, PD);
        rig.activate(QP, context, &template());
        assert_eq!(rig.command(Command::Go, QP, 0), CommandStatus::Ok);
        Self {
            rig,
            snd: Seq(context.rcv_nxt),
            rcv: Seq(context.snd_nxt),
            window: (context.snd_wnd >> context.snd_wscale) as u16,
            memory,
            deframer: Deframer::new(context.markers_tx, context.crc),
            context,
            stream_start: Seq(context.rcv_nxt),
        }
    }

    /// A segment of the peer with explicit sequence number.
    pub fn frame_at(&self, seq: Seq, flags: TcpFlags, payload: &[u8]) -> Frame {
        frame(seq, self.rcv, self.window, flags, payload)
    }

    /// Deliver a frame to the device.
    pub fn deliver(&mut self, frame: &[u8]) {
        self.rig.device.receive(self.rig.now, frame);
    }

    /// Send the next payload bytes of the peer's stream in one segment.
    pub fn send(&mut self, payload: &[u8]) {
        let frame = self.frame_at(self.snd, TcpFlags::ACK | TcpFlags::PSH, payload);
        self.snd += payload.len() as u32;
        self.deliver(&frame);
    }

    /// A segment without payload: ACK and these flags.
    pub fn send_flags(&mut self, flags: TcpFlags) {
        let frame = self.frame_at(self.snd, flags | TcpFlags::ACK, &[]);
        self.deliver(&frame);
        if flags.contains(TcpFlags::FIN) || flags.contains(TcpFlags::SYN) {
            self.snd += 1;
        }
    }

    /// The FPDU of a ULPDU at the peer's place in the stream.
    pub fn fpdu(&self, ulpdu: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        if self.context.markers_rx {
            let offset = self.snd.0.wrapping_sub(self.stream_start.0);
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

    /// Send a ULPDU in a segment of its own.
    pub fn send_ulpdu(&mut self, ulpdu: &[u8]) {
        let fpdu = self.fpdu(ulpdu);
        self.send(&fpdu);
    }

    /// Send a DDP segment.
    pub fn send_ddp(&mut self, header: DdpHeader, payload: &[u8]) {
        let mut ulpdu = Vec::new();
        header.emit(&mut ulpdu);
        ulpdu.extend(payload);
        self.send_ulpdu(&ulpdu);
    }

    /// What the device sends now; the peer takes in-order bytes and acknowledges them. Returns the segments.
    pub fn pump(&mut self) -> (Vec<Sent>, Vec<Fpdu>) {
        self.take(Vec::new())
    }

    /// As [`pump`](Self::pump), after `time` has passed.
    pub fn pump_after(&mut self, time: Nanos) -> (Vec<Sent>, Vec<Fpdu>) {
        let frames = self.rig.elapse(time);
        self.take(frames)
    }

    fn take(&mut self, mut frames: Vec<Frame>) -> (Vec<Sent>, Vec<Fpdu>) {
        let (mut segments, mut fpdus) = (Vec::new(), Vec::new());
        frames.extend(self.rig.frames());
        while !frames.is_empty() {
            let mut news = false;
            for frame in frames.drain(..) {
                let sent = parse(&frame);
                if sent.tcp.seq == self.rcv {
                    let fin = sent.tcp.flags.contains(TcpFlags::FIN);
                    self.rcv += sent.payload.len() as u32 + u32::from(fin);
                    fpdus.extend(self.deframer.push(&sent.payload));
                    news |= fin || !sent.payload.is_empty();
                }
                segments.push(sent);
            }
            if news {
                self.send_flags(TcpFlags::ACK);
            }
            frames = self.rig.frames();
        }
        (segments, fpdus)
    }
}

/// A TCP frame of the peer.
pub fn frame(seq: Seq, ack: Seq, window: u16, flags: TcpFlags, payload: &[u8]) -> Frame {
    let tcp = TcpHeader {
        src_port: PEER.1,
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
    tcp.emit(PEER.0, DEVICE.0, payload, &mut segment);
    let mut frame = Vec::new();
    EthHeader { dst: MacAddr(MAC), src: MacAddr(PEER_MAC), ethertype: ETHERTYPE_IPV4 }.emit(&mut frame);
    ip_header().emit(segment.len() as u16, &mut frame);
    frame.extend(segment);
    frame
}

fn ip_header() -> Ipv4Header {
    Ipv4Header {
        src: PEER.0,
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

/// The headers the device puts in front of its segments.
pub fn template() -> [u8; 54] {
    let mut headers = [0; 54];
    headers[..6].copy_from_slice(&PEER_MAC);
    headers[6..12].copy_from_slice(&MAC);
    headers[12..16].copy_from_slice(&[8, 0, 0x45, 0]);
    headers[20] = 0x40;
    headers[22..24].copy_from_slice(&[64, PROTOCOL_TCP]);
    headers[26..30].copy_from_slice(&DEVICE.0.octets());
    headers[30..34].copy_from_slice(&PEER.0.octets());
    headers[34..36].copy_from_slice(&DEVICE.1.to_be_bytes());
    headers[36..38].copy_from_slice(&PEER.1.to_be_bytes());
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
