//! Two stacks back to back over a bad link with virtual time.

use super::*;
use ironwarp_proto::abi::context::encode_template;
use ironwarp_proto::abi::raw::RawHeader;
use ironwarp_proto::pins::{Frame, Nanos};
use ironwarp_proto::seq::Seq;
use ironwarp_proto::wire::arp::{ArpOp, ArpPacket};
use ironwarp_proto::wire::eth::{EthHeader, MacAddr};
use ironwarp_proto::wire::icmp::IcmpEcho;
use ironwarp_proto::wire::ipv4::Ipv4Header;
use ironwarp_proto::wire::tcp::{TcpFlags, TcpHeader, TcpOptions};
use proptest::prelude::*;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::net::{Ipv4Addr, SocketAddrV4};

const PORT: u16 = 7174;
const DELAY: Nanos = 10_000;

fn ip(node: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 7, 0, 1 + node as u8)
}
fn mac(node: usize) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, 1 + node as u8])
}
fn addr(node: usize, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(ip(node), port)
}
fn config(node: usize) -> NetConfig {
    NetConfig { seed: Some(node as u64), ..NetConfig::new(mac(node), ip(node)) }
}

/// Chances in percent.
#[derive(Debug, Clone, Copy, Default)]
struct Badness {
    loss: u8,
    duplicate: u8,
    reorder: u8,
}

struct World {
    nets: Vec<Net>,
    now: Nanos,
    wire: Vec<(Nanos, usize, Frame)>,
    injected: Vec<Vec<Frame>>,
    badness: Badness,
    rng: SmallRng,
    frames: usize,
}

impl World {
    fn new(configs: [NetConfig; 2], badness: Badness, seed: u64) -> Self {
        let nets = configs.into_iter().map(Net::new).collect();
        let rng = SmallRng::seed_from_u64(seed);
        Self { nets, now: 0, wire: vec![], injected: vec![vec![], vec![]], badness, rng, frames: 0 }
    }
    fn good() -> Self {
        Self::new([config(0), config(1)], Badness::default(), 0)
    }

    fn chance(&mut self, percent: u8) -> bool {
        self.rng.random_range(0..100) < percent
    }

    fn collect(&mut self) {
        for node in 0..2 {
            while let Some(frame) = self.nets[node].next_frame() {
                if frame.inject {
                    self.injected[node].push(frame.bytes);
                    continue;
                }
                self.frames += 1;
                if self.chance(self.badness.loss) {
                    continue;
                }
                let copies = 1 + usize::from(self.chance(self.badness.duplicate));
                for _ in 0..copies {
                    let late = if self.chance(self.badness.reorder) { 20 * DELAY } else { DELAY };
                    self.wire.push((self.now + late, 1 - node, frame.bytes.clone()));
                }
            }
        }
    }

    /// One event; `false` when nothing is left to happen.
    fn step(&mut self) -> bool {
        let timers = self.nets.iter_mut().filter_map(|net| net.poll(self.now)).min();
        self.collect();
        let arrival = self.wire.iter().map(|(at, ..)| *at).min();
        let Some(next) = timers.into_iter().chain(arrival).min() else { return false };
        self.now = self.now.max(next);
        if let Some(index) = self.wire.iter().position(|(at, ..)| *at <= self.now) {
            let (_, node, frame) = self.wire.remove(index);
            self.nets[node].receive(self.now, &RawHeader::default(), &frame);
            self.collect();
        }
        true
    }

    fn run_until(&mut self, what: &str, mut done: impl FnMut(&mut World) -> bool) {
        for _ in 0..100_000 {
            if done(self) {
                return;
            }
            assert!(self.step(), "nothing is left to happen before: {what}");
        }
        panic!("never: {what}");
    }

    fn run_dry(&mut self) {
        self.run_until("the end", |world| {
            let idle =
                world.wire.is_empty() && world.nets.iter_mut().all(|net| net.poll(world.now).is_none());
            world.collect();
            idle && world.wire.is_empty()
        });
    }

    fn is_open(&self, node: usize, id: ConnId) -> bool {
        matches!(self.nets[node].status(id), Status::Open { .. })
    }

    fn accepted(&mut self, node: usize) -> Option<ConnId> {
        let net = &mut self.nets[node];
        while let Some(id) = net.next_changed() {
            if net.listener(id).is_some() {
                return Some(id);
            }
        }
        None
    }

    /// A connection from node 1 to node 0.
    fn open(&mut self) -> (ConnId, ConnId) {
        self.nets[0].listen(PORT, 8).unwrap();
        let client = self.nets[1].connect(self.now, addr(0, PORT)).unwrap();
        let mut server = None;
        self.run_until("both ends are open", |world| {
            server = server.or(world.accepted(0));
            server.is_some() && world.is_open(1, client)
        });
        (server.unwrap(), client)
    }
}

/// A segment from node 1 as a frame for node 0.
fn segment(ports: (u16, u16), flags: TcpFlags, seq: u32, ack: u32, payload: &[u8]) -> Frame {
    let header = TcpHeader {
        src_port: ports.0,
        dst_port: ports.1,
        seq: Seq(seq),
        ack: Seq(ack),
        flags,
        window: 1000,
        urgent: 0,
        options: TcpOptions { mss: flags.contains(TcpFlags::SYN).then_some(1460), ..TcpOptions::default() },
        header_len: 0,
    };
    let mut tcp = Vec::new();
    header.emit(ip(1), ip(0), payload, &mut tcp);
    packet(6, &tcp)
}

fn packet(protocol: u8, payload: &[u8]) -> Frame {
    let mut bytes = Vec::new();
    EthHeader { dst: mac(0), src: mac(1), ethertype: 0x800 }.emit(&mut bytes);
    let header = Ipv4Header {
        src: ip(1),
        dst: ip(0),
        protocol,
        ttl: 64,
        id: 0,
        dscp_ecn: 0,
        dont_fragment: true,
        more_fragments: false,
        fragment_offset: 0,
        header_len: 0,
        total_len: 0,
    };
    header.emit(payload.len() as u16, &mut bytes);
    bytes.extend(payload);
    bytes
}

fn feed(net: &mut Net, now: Nanos, frame: &[u8]) -> Vec<(TcpHeader, Vec<u8>)> {
    net.receive(now, &RawHeader::default(), frame);
    answers(net)
}

fn answers(net: &mut Net) -> Vec<(TcpHeader, Vec<u8>)> {
    std::iter::from_fn(|| net.next_frame())
        .map(|frame| {
            let (ip, tcp) = Ipv4Header::parse(&frame.bytes[14..]).unwrap();
            let (header, payload) = TcpHeader::parse(ip.src, ip.dst, tcp).unwrap();
            (header, payload.to_vec())
        })
        .collect()
}

const SYN: TcpFlags = TcpFlags::SYN;
const ACK: TcpFlags = TcpFlags::ACK;
const RST: TcpFlags = TcpFlags::RST;
const FIN: TcpFlags = TcpFlags::FIN;

/// An open connection at a lone node 0 with a hand-made peer at port 9: the connection and the server's ISN; the
/// peer's next number is 101.
fn lone_open() -> (Net, ConnId, u32) {
    let mut net = Net::new(config(0));
    net.listen(PORT, 8).unwrap();
    let answer = feed(&mut net, 0, &segment((9, PORT), SYN, 100, 0, b""));
    let isn = answer[0].0.seq.0;
    assert_eq!((answer[0].0.flags, answer[0].0.ack), (SYN | ACK, Seq(101)));
    assert!(feed(&mut net, 0, &segment((9, PORT), ACK, 101, isn + 1, b"")).is_empty());
    let id = net.next_changed().unwrap();
    (net, id, isn)
}

#[test]
fn a_handshake_measures_its_round_trip() {
    let mut world = World::good();
    let (server, client) = world.open();
    assert_eq!(world.nets[0].listener(server), Some(PORT));
    let (local, remote) = world.nets[0].addresses(server).unwrap();
    assert_eq!(world.nets[1].addresses(client), Some((remote, local)));
    // Two more for ARP at the client.
    assert_eq!(world.nets[1].hand_off(client).unwrap().rtt, Some(4 * DELAY));
    assert_eq!(world.nets[0].hand_off(server).unwrap().rtt, Some(2 * DELAY));
}

#[test]
fn a_closed_port_refuses() {
    let mut world = World::good();
    let client = world.nets[1].connect(0, addr(0, 1)).unwrap();
    world.run_dry();
    assert_eq!(world.nets[1].status(client), Status::Closed(CloseReason::Refused));
    world.nets[1].release(world.now, client, Ending::Forget);
    assert_eq!(world.nets[1].status(client), Status::Unknown);
}

#[test]
fn a_silent_peer_times_out() {
    let mut world = World::new([config(0), config(1)], Badness { loss: 100, ..Badness::default() }, 0);
    let client = world.nets[1].connect(0, addr(0, PORT)).unwrap();
    world.run_dry();
    assert_eq!(world.nets[1].status(client), Status::Closed(CloseReason::Timeout));
    assert_eq!(world.now / SECOND, 63);
}

#[test]
fn unreachable_addresses_are_named() {
    let mut net = Net::new(config(0));
    for ip in [ip(0), Ipv4Addr::new(192, 168, 0, 1), Ipv4Addr::BROADCAST, Ipv4Addr::new(224, 0, 0, 1)] {
        assert_eq!(net.connect(0, SocketAddrV4::new(ip, 1)), Err(NetError::Unreachable(ip)));
    }
    assert_eq!((net.listen(1, 1), net.listen(1, 1)), (Ok(()), Err(NetError::PortInUse(1))));
}

#[test]
fn both_may_open_at_once() {
    let mut configs = [config(0), config(1)];
    for config in &mut configs {
        config.ephemeral = PORT..=PORT;
    }
    let mut world = World::new(configs, Badness::default(), 0);
    let ids = [0, 1].map(|node| world.nets[node].connect(0, addr(1 - node, PORT)).unwrap());
    world.run_until("both open", |world| world.is_open(0, ids[0]) && world.is_open(1, ids[1]));
    world.run_dry();
    for node in [0, 1] {
        world.nets[node].send(world.now, ids[node], b"hello").unwrap();
    }
    world
        .run_until("both heard", |world| (0..2).all(|node| world.nets[node].received(ids[node]) == b"hello"));
}

#[test]
fn the_backlog_is_a_limit_and_frees_itself() {
    let mut net = Net::new(config(0));
    net.listen(PORT, 3).unwrap();
    let syn = |port| segment((port, PORT), SYN, 100, 0, b"");
    let mut isn = 0;
    for port in 1..=10 {
        let answer = feed(&mut net, 0, &syn(port));
        assert_eq!(answer.len(), usize::from(port <= 3), "beyond the limit SYNs stay without an answer");
        if port == 3 {
            isn = answer[0].0.seq.0;
        }
    }
    feed(&mut net, 0, &segment((3, PORT), ACK, 101, isn + 1, b""));
    let id = net.next_changed().unwrap();
    assert!(net.hand_off(id).is_ok(), "hand-off frees one place");
    assert_eq!(feed(&mut net, 0, &syn(20)).len(), 1);
    let mut now = 0;
    while let Some(at) = net.poll(now) {
        now = at;
    }
    answers(&mut net);
    assert_eq!(feed(&mut net, now, &syn(21)).len(), 1, "silence frees the rest");
    assert_eq!(net.next_changed(), None, "nobody has heard of them");
}

#[test]
fn a_reset_half_open_connection_is_forgotten() {
    let mut net = Net::new(config(0));
    net.listen(PORT, 1).unwrap();
    feed(&mut net, 0, &segment((9, PORT), SYN, 100, 0, b""));
    assert!(feed(&mut net, 0, &segment((9, PORT), RST, 101, 0, b"")).is_empty());
    assert_eq!(feed(&mut net, 0, &segment((8, PORT), SYN, 100, 0, b"")).len(), 1);
}

#[test]
fn resets_are_never_answered() {
    let mut net = Net::new(config(0));
    net.listen(PORT, 4).unwrap();
    for port in [1, PORT] {
        for flags in [RST, RST | ACK, RST | SYN, RST | FIN | ACK] {
            assert!(feed(&mut net, 0, &segment((9, port), flags, 5, 6, b"data")).is_empty());
        }
        let answer = feed(&mut net, 0, &segment((9, port), ACK, 5, 77, b"data"));
        assert_eq!((answer[0].0.flags, answer[0].0.seq), (RST, Seq(77)));
    }
    let answer = feed(&mut net, 0, &segment((9, 1), SYN, 5, 0, b""));
    assert_eq!((answer[0].0.flags, answer[0].0.seq, answer[0].0.ack), (RST | ACK, Seq(0), Seq(6)));
}

/// RFC 5961 sections 3 to 5, and its limit on challenges.
#[test]
fn blind_attacks_get_one_challenge_and_change_nothing() {
    let (mut net, id, isn) = lone_open();
    let second = |n: u64| n * SECOND;
    let attacks = [
        segment((9, PORT), RST, 102, 0, b""),
        segment((9, PORT), SYN, 101, 0, b""),
        segment((9, PORT), SYN, 5_000_000, 0, b""),
        segment((9, PORT), SYN | ACK, 101, isn + 1, b""),
        segment((9, PORT), ACK, 101, isn + 2, b"evil"),
        segment((9, PORT), ACK, 101, isn.wrapping_sub(100_000), b"evil"),
    ];
    for (n, attack) in (1..).zip(&attacks) {
        let answer = feed(&mut net, second(n), attack);
        assert_eq!(answer.len(), 1, "{n}");
        assert_eq!((answer[0].0.flags, answer[0].0.seq, answer[0].0.ack), (ACK, Seq(isn + 1), Seq(101)));
        assert!(feed(&mut net, second(n), attack).is_empty(), "{n}: one is enough");
    }
    assert!(feed(&mut net, second(20), &segment((9, PORT), RST, 9_999_999, 0, b"")).is_empty());
    assert_eq!(net.received(id), b"");
    assert_eq!(net.status(id), Status::Open { acknowledged: true, peer_closed: false });
    feed(&mut net, second(21), &segment((9, PORT), RST, 101, 0, b""));
    assert_eq!(net.status(id), Status::Closed(CloseReason::Reset));
}

#[test]
fn what_lies_behind_the_message_is_kept_and_not_acknowledged() {
    let (mut net, id, isn) = lone_open();
    let first = segment((9, PORT), ACK, 101, isn + 1, b"requestFPDU1");
    let second = segment((9, PORT), ACK, 113, isn + 1, b"FPDU2");
    let third = segment((9, PORT), ACK | FIN, 118, isn + 6, b"FPDU3");
    assert_eq!(feed(&mut net, 0, &second).len(), 1, "a gap: one duplicate ACK");
    assert!(feed(&mut net, 0, &first).is_empty());
    assert_eq!(net.received(id), b"requestFPDU1FPDU2");
    net.acknowledge(0, id, 7).unwrap();
    assert_eq!(answers(&mut net)[0].0.ack, Seq(108));
    net.send(0, id, b"reply").unwrap();
    let reply = answers(&mut net);
    assert_eq!((reply[0].0.ack, &reply[0].1[..]), (Seq(108), &b"reply"[..]));
    assert_eq!(net.hand_off(id), Err(NetError::BadState), "the reply is not acknowledged");
    assert!(feed(&mut net, 0, &third).is_empty());
    let handoff = net.hand_off(id).unwrap();
    assert_eq!((handoff.rcv_nxt, handoff.snd_nxt, handoff.snd_wnd), (108, isn + 6, 1000));
    assert_eq!((handoff.snd_wscale, handoff.rcv_wscale, handoff.mss), (0, 0, 1460));
    assert!(Seq(handoff.rcv_adv).diff(Seq(101 + 65535)) >= 0);
    let (_, rest) = EthHeader::parse(&handoff.template).unwrap();
    assert_eq!((rest[0], &rest[12..16], &rest[16..20]), (0x45, &ip(0).octets()[..], &ip(1).octets()[..]));
    assert_eq!(rest[2..6], [0, 0, 0x0, 0x0]);
    assert_eq!(rest[20..40], [0x1c, 0x06, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0, 0, 0, 0, 0, 0, 0]);
    encode_template(&handoff.template);

    // Before ACTIVATE, between, diverted.
    let more = |n: u8| segment((9, PORT), ACK, 124 + u32::from(n), isn + 6, &[n]);
    assert!(feed(&mut net, 0, &more(0)).is_empty());
    net.activated(id);
    for n in 1..4 {
        let raw = RawHeader { diverted: Some((5, n.into())), ..RawHeader::default() };
        net.receive(0, &raw, &more(n));
    }
    assert_eq!(net.diverted(id), Some(3));
    let frames: Vec<_> = std::iter::from_fn(|| net.next_frame()).collect();
    assert!(frames.iter().all(|frame| frame.inject));
    let bytes: Vec<_> = frames.into_iter().map(|frame| frame.bytes).collect();
    assert_eq!(bytes, [first, second, third, more(0), more(1), more(2), more(3)]);
    net.running(id);
    assert!(feed(&mut net, 0, &more(4)).is_empty(), "no endless circle");
    net.release(0, id, Ending::Reset { snd_nxt: 7, rcv_nxt: 8 });
    let rst = answers(&mut net);
    assert_eq!((rst[0].0.flags, rst[0].0.seq, rst[0].0.ack), (RST | ACK, Seq(7), Seq(8)));
    assert_eq!(net.status(id), Status::Unknown);
}

#[test]
fn closing_ends_in_time_wait_and_a_new_syn_may_follow() {
    let mut world = World::good();
    let (server, client) = world.open();
    world.nets[0].close(world.now, server).unwrap();
    world.run_until("the peer hears", |world| {
        world.nets[1].status(client) == Status::Open { acknowledged: true, peer_closed: true }
    });
    world.nets[1].close(world.now, client).unwrap();
    world.run_until("both gone", |world| {
        world.nets[0].status(server) == Status::Unknown && world.nets[1].status(client) == Status::Unknown
    });
}

#[test]
fn time_wait_stands_its_ground() {
    let (mut net, id, isn) = lone_open();
    let tuple = (9, PORT);
    net.close(0, id).unwrap();
    assert_eq!(answers(&mut net)[0].0.flags, FIN | ACK | TcpFlags::PSH);
    let fin = segment(tuple, FIN | ACK, 101, isn + 2, b"");
    assert_eq!(feed(&mut net, 0, &fin)[0].0.ack, Seq(102));
    assert_eq!(net.status(id), Status::Unknown);
    let later = 20 * SECOND;
    assert_eq!(feed(&mut net, later, &fin)[0].0.ack, Seq(102), "the last ACK was lost");
    net.poll(later + 29 * SECOND);
    assert!(feed(&mut net, later + 29 * SECOND, &segment(tuple, RST, 102, 0, b"")).is_empty());
    assert!(feed(&mut net, later + 29 * SECOND, &segment(tuple, ACK, 102, isn + 2, b"")).is_empty());
    let old = feed(&mut net, later + 29 * SECOND, &segment(tuple, SYN, 50, 0, b""));
    assert_eq!((old[0].0.flags, old[0].0.ack), (ACK, Seq(102)));
    let new = feed(&mut net, later + 29 * SECOND, &segment(tuple, SYN, 103, 0, b""));
    assert_eq!((new[0].0.flags, new[0].0.ack), (SYN | ACK, Seq(104)));
    assert!(new[0].0.seq.after(Seq(isn + 2)));
}

#[test]
fn time_wait_ends_and_is_bounded() {
    let mut net = Net::new(NetConfig { max_time_wait: 2, ..config(0) });
    net.listen(PORT, 8).unwrap();
    for port in 1..=5 {
        let isn = feed(&mut net, u64::from(port), &segment((port, PORT), SYN, 100, 0, b""))[0].0.seq.0;
        feed(&mut net, u64::from(port), &segment((port, PORT), ACK, 101, isn + 1, b""));
        let id = net.next_changed().unwrap();
        net.hand_off(id).unwrap();
        net.release(u64::from(port), id, Ending::TimeWait { snd_nxt: 9, rcv_nxt: 101 });
        let told = answers(&mut net);
        assert_eq!(
            (told.len(), told[0].0.flags, told[0].0.ack),
            (1, ACK, Seq(101)),
            "the FIN is acknowledged"
        );
    }
    let data = |port| segment((port, PORT), ACK, 101, 9, b"x");
    assert_eq!(feed(&mut net, 10, &data(5))[0].0.flags, ACK);
    assert_eq!(feed(&mut net, 10, &data(3))[0].0.flags, RST, "the oldest was forgotten");
    net.poll(31 * SECOND);
    assert_eq!(feed(&mut net, 31 * SECOND, &data(5))[0].0.flags, RST);
}

#[test]
fn a_peer_that_never_closes_is_left() {
    let (mut net, id, isn) = lone_open();
    net.close(0, id).unwrap();
    answers(&mut net);
    feed(&mut net, 1, &segment((9, PORT), ACK, 101, isn + 2, b""));
    assert_eq!(net.status(id), Status::Closing);
    let at = net.poll(1).unwrap();
    net.poll(at);
    assert_eq!((at, net.status(id)), (1 + 30 * SECOND, Status::Unknown));
}

#[test]
fn a_device_with_little_room_offers_little() {
    let mut config = config(0);
    (config.tcp.max_mss, config.tcp.receive_window) = (512, 1024);
    let mut net = Net::new(config);
    net.listen(PORT, 8).unwrap();
    let answer = feed(&mut net, 0, &segment((9, PORT), SYN, 100, 0, b"")).remove(0).0;
    assert_eq!((answer.options.mss, answer.window), (Some(512), 1024));
    feed(&mut net, 0, &segment((9, PORT), ACK, 101, answer.seq.0 + 1, &[1; 100]));
    let id = net.next_changed().unwrap();
    net.acknowledge(0, id, 100).unwrap();
    let ack = answers(&mut net).remove(0).0;
    assert_eq!((ack.ack, ack.window), (Seq(201), 1024));
}

#[test]
fn small_segments_and_a_closed_window_are_survived() {
    let mut net = Net::new(config(0));
    net.listen(PORT, 8).unwrap();
    let mut syn = segment((9, PORT), SYN, 100, 0, b"");
    // MSS 1, window 0, checksum not looked at.
    syn[14 + 20 + 20 + 2..14 + 20 + 24].copy_from_slice(&[0, 1]);
    syn[14 + 20 + 14..14 + 20 + 16].fill(0);
    let raw = RawHeader { checksum_ok: true, ..RawHeader::default() };
    net.receive(0, &raw, &syn);
    let isn = answers(&mut net)[0].0.seq.0;
    let mut ack = segment((9, PORT), ACK, 101, isn + 1, b"");
    ack[14 + 20 + 14..14 + 20 + 16].fill(0);
    net.receive(0, &raw, &ack);
    let id = net.next_changed().unwrap();
    net.send(0, id, &[7; 100]).unwrap();
    assert!(answers(&mut net).is_empty());
    let at = net.poll(0).unwrap();
    net.poll(at);
    assert_eq!(answers(&mut net)[0].1, [7], "a probe");
    let open = feed(&mut net, at, &segment((9, PORT), ACK, 101, isn + 2, b""));
    let sizes: Vec<_> = open.iter().map(|(_, payload)| payload.len()).collect();
    assert_eq!(sizes, [64, 35]);
}

#[test]
fn ping_and_arp_are_answered() {
    let mut net = Net::new(config(0));
    let mut echo = Vec::new();
    IcmpEcho { reply: false, id: 1, seq: 2, data: b"abc" }.emit(&mut echo);
    net.receive(0, &RawHeader::default(), &packet(1, &echo));
    let frame = net.next_frame().unwrap().bytes;
    let (eth, rest) = EthHeader::parse(&frame).unwrap();
    let (header, message) = Ipv4Header::parse(rest).unwrap();
    assert_eq!((eth.dst, header.dst), (mac(1), ip(1)));
    assert_eq!(IcmpEcho::parse(message), Ok(IcmpEcho { reply: true, id: 1, seq: 2, data: b"abc" }));
    let mut frame = Vec::new();
    EthHeader { dst: MacAddr::BROADCAST, src: mac(1), ethertype: 0x806 }.emit(&mut frame);
    let request = ArpPacket {
        op: ArpOp::Request,
        sender_mac: mac(1),
        sender_ip: ip(1),
        target_mac: MacAddr::default(),
        target_ip: ip(0),
    };
    request.emit(&mut frame);
    net.receive(0, &RawHeader::default(), &frame);
    let reply = net.next_frame().unwrap().bytes;
    assert_eq!(ArpPacket::parse(&reply[14..]).unwrap().sender_mac, mac(0));
}

fn badness() -> impl Strategy<Value = Badness> {
    (0u8..30, 0u8..30, 0u8..40).prop_map(|(loss, duplicate, reorder)| Badness { loss, duplicate, reorder })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Handshake, a message each way, hand-off or close: over any link that lets something through.
    #[test]
    fn messages_get_through(badness in badness(), seed: u64, mtu in 104u16..1500, sizes in (1usize..532, 1usize..532)) {
        let mut configs = [config(0), config(1)];
        configs[(seed % 2) as usize].mtu = mtu;
        for config in &mut configs {
            (config.tcp.retries, config.tcp.syn_retries) = (30, 30);
            config.tcp.max_rto = SECOND;
        }
        let mut world = World::new(configs, badness, seed);
        let (server, client) = world.open();
        let (request, reply): (Vec<u8>, Vec<u8>) = ((0..sizes.0).map(|n| n as u8).collect(), vec![9; sizes.1]);
        world.nets[1].send(world.now, client, &request).unwrap();
        world.run_until("the request", |world| {
            let have = world.nets[0].received(server).len();
            world.nets[0].acknowledge(world.now, server, have).unwrap();
            world.nets[0].received(server) == request
        });
        world.nets[0].send(world.now, server, &reply).unwrap();
        world.run_until("the reply", |world| {
            let have = world.nets[1].received(client).len();
            world.nets[1].acknowledge(world.now, client, have).unwrap();
            world.nets[1].received(client) == reply
        });
        world.run_until("both may be handed over", |world| {
            let done = Status::Open { acknowledged: true, peer_closed: false };
            world.nets[0].status(server) == done && world.nets[1].status(client) == done
        });
        if seed % 3 == 0 {
            let (a, b) = (world.nets[0].hand_off(server).unwrap(), world.nets[1].hand_off(client).unwrap());
            prop_assert_eq!((a.rcv_nxt, a.snd_nxt, a.mss), (b.snd_nxt, b.rcv_nxt, b.mss));
            prop_assert_eq!((a.snd_wscale, a.rcv_wscale), (b.rcv_wscale, b.snd_wscale));
            prop_assert_eq!(a.mss, mtu - 40);
        } else {
            world.nets[1].close(world.now, client).unwrap();
            if seed % 3 == 1 {
                world.nets[0].close(world.now, server).unwrap();
            } else {
                world.run_until("FIN", |world| matches!(world.nets[0].status(server), Status::Open { peer_closed: true, .. }));
                world.nets[0].close(world.now, server).unwrap();
            }
            world.run_until("both gone", |world| {
                let gone = |status| matches!(status, Status::Unknown | Status::Closed(_));
                gone(world.nets[0].status(server)) && gone(world.nets[1].status(client))
            });
        }
    }

    /// Any bytes at all, and any TCP segment at a connection in any state.
    #[test]
    fn hostile_frames(
        frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 0..20),
        segments in prop::collection::vec(
            (any::<u8>(), 0u32..300_000, 0u32..10, 0usize..40, any::<bool>(), 0u64..3_000_000_000), 0..200),
    ) {
        let (mut net, id, isn) = lone_open();
        let mut now = 0;
        for frame in &frames {
            net.receive(now, &RawHeader::default(), frame);
            let mut ours = segment((9, PORT), ACK, 101, isn, b"");
            ours.truncate(14 + frame.first().map_or(0, |n| usize::from(*n) % 40));
            ours.extend(frame);
            net.receive(now, &RawHeader { checksum_ok: true, ..RawHeader::default() }, &ours);
        }
        for (flags, seq, ack, len, known, pause) in segments {
            now += pause / 16;
            let port = if known { 9 } else { 10 + u16::from(flags) };
            let bytes = segment((port, PORT), TcpFlags(flags), seq, isn.wrapping_add(ack), &[1; 40][..len]);
            net.receive(now, &RawHeader::default(), &bytes);
            match flags % 13 {
                0 => drop(net.send(now, id, b"abc")),
                1 => drop(net.acknowledge(now, id, len)),
                2 if len == 39 => drop(net.close(now, id)),
                3 => drop(net.hand_off(id)),
                4 => net.activated(id),
                5 => net.running(id),
                6 => net.release(now, id, Ending::TimeWait { snd_nxt: isn, rcv_nxt: seq }),
                _ => {}
            }
            net.poll(now);
            if flags % 4 == 0 {
                while net.next_frame().is_some() {}
            }
        }
        prop_assert!(std::iter::from_fn(|| net.next_frame()).count() <= 1024);
    }
}
