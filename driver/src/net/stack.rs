//! Frames in, frames out: finds the connection of a segment, opens and accepts connections, and passes them on to the
//! device.

use super::arp::{Arp, ArpFrame};
use super::isn::IsnGenerator;
use super::tcp::{Arrival, CloseReason, Endpoint, Numbers, Opening, Segment, State, TimeWait, Verdict};
use super::{NetConfig, icmp, ports};
use ironwarp_proto::abi::context::TEMPLATE_BYTES;
use ironwarp_proto::abi::raw::RawHeader;
use ironwarp_proto::pins::{Frame, Nanos};
use ironwarp_proto::seq::Seq;
use ironwarp_proto::wire::arp::ArpPacket;
use ironwarp_proto::wire::eth::{self, ETHERTYPE_ARP, ETHERTYPE_IPV4, EthHeader, MacAddr};
use ironwarp_proto::wire::ipv4::{self, Ipv4Header, PROTOCOL_ICMP, PROTOCOL_TCP};
use ironwarp_proto::wire::tcp::{TcpFlags, TcpHeader};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddrV4};
use thiserror::Error;

/// Frames that wait for the transmit ring. Beyond, they are lost, as on a wire.
const OUT_MAX: usize = 1024;
/// Frames that come for a connection between hand-off and activation. Beyond, they are lost.
const HELD_MAX: usize = 256;
/// Time to live of what we send (RFC 1122 section 3.2.1.7).
const TTL: u8 = 64;

/// A connection of one [`Net`]. Numbers are not used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(u64);

/// A frame to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutFrame {
    /// The frame.
    pub bytes: Frame,
    /// For the device's own receive path, not for the wire.
    pub inject: bool,
}

/// Why something cannot be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NetError {
    /// The port has a listener.
    #[error("port {0} already has a listener")]
    PortInUse(u16),
    /// No port left for connections to that address.
    #[error("no port is left for another connection to {0}")]
    NoPort(SocketAddrV4),
    /// As many connections as the configuration allows.
    #[error("{0} connections are open, more are not allowed")]
    TooMany(usize),
    /// No route.
    #[error("{0} is in another network and there is no gateway, or it is no address of a station")]
    Unreachable(Ipv4Addr),
    /// No such connection, or it is in a state that does not allow it.
    #[error("the connection is not in a state that allows it")]
    BadState,
    /// More to send than the slow path carries.
    #[error("{0} bytes are more than the slow path sends")]
    TooLong(usize),
}

/// Where a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// The handshake is under way.
    Opening,
    /// Open.
    Open {
        /// Everything sent is acknowledged.
        acknowledged: bool,
        /// The peer has sent FIN behind the bytes received.
        peer_closed: bool,
    },
    /// Closed by us, waiting for the peer.
    Closing,
    /// Handed over.
    Device,
    /// Gone: only the reason is left, until it is released.
    Closed(CloseReason),
    /// Not a connection.
    Unknown,
}

/// What the device needs to take a connection over (docs/host-abi.md, "Connections").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handoff {
    /// Header template, as [`encode_template`](ironwarp_proto::abi::context::encode_template) takes it.
    pub template: [u8; TEMPLATE_BYTES],
    /// Own address.
    pub local: SocketAddrV4,
    /// The peer's.
    pub remote: SocketAddrV4,
    /// First octet behind what was acknowledged: behind the peer's MPA frame.
    pub rcv_nxt: u32,
    /// First octet behind what was sent.
    pub snd_nxt: u32,
    /// Window the peer offers, bytes.
    pub snd_wnd: u32,
    /// Right edge of the window offered to it.
    pub rcv_adv: u32,
    /// Shift of windows received.
    pub snd_wscale: u8,
    /// Shift of windows sent.
    pub rcv_wscale: u8,
    /// Largest payload of a segment.
    pub mss: u16,
    /// Round-trip time of the handshake, if it was measured.
    pub rtt: Option<Nanos>,
}

/// How a connection that the device had has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Both FINs are acknowledged and ours came first: TIME-WAIT.
    TimeWait {
        /// SND.NXT.
        snd_nxt: u32,
        /// RCV.NXT.
        rcv_nxt: u32,
    },
    /// The peer is told by RST.
    Reset {
        /// SND.NXT.
        snd_nxt: u32,
        /// RCV.NXT.
        rcv_nxt: u32,
    },
    /// The peer knows, or the connection is software's and ends by RST.
    Forget,
}

/// Names a connection in a segment: own port, the other end.
type Tuple = (u16, SocketAddrV4);

#[derive(Debug)]
enum Stage {
    Software(Box<Endpoint>),
    /// Handed over, not yet activated: frames with the kept ones in front.
    Held(VecDeque<Frame>),
    /// Activated: frames that still come here are injected. The count of those diverted.
    Diverting(u16),
    /// All frames go to the device.
    Device,
    Closed(CloseReason),
}

#[derive(Debug)]
struct Connection {
    tuple: Tuple,
    /// The listener it came by.
    listener: Option<u16>,
    /// Where the peer's frames come from; until then ARP is asked.
    peer_mac: Option<MacAddr>,
    /// Somebody above knows of it and will release it.
    owned: bool,
    stage: Stage,
}

/// The slow path of one device.
#[derive(Debug)]
pub struct Net {
    config: NetConfig,
    rng: SmallRng,
    isn: IsnGenerator,
    arp: Arp,
    /// Listeners: port and how many connections may wait there.
    listeners: BTreeMap<u16, usize>,
    connections: BTreeMap<ConnId, Connection>,
    by_tuple: BTreeMap<Tuple, ConnId>,
    time_wait: BTreeMap<Tuple, TimeWait>,
    last_id: u64,
    changed: BTreeSet<ConnId>,
    out: VecDeque<OutFrame>,
}

/// A segment with what is around it.
struct Received<'a> {
    src_mac: MacAddr,
    src: Ipv4Addr,
    header: TcpHeader,
    payload: &'a [u8],
    payload_at: usize,
    frame: &'a [u8],
}

impl<'a> Received<'a> {
    fn tuple(&self) -> Tuple {
        (self.header.dst_port, SocketAddrV4::new(self.src, self.header.src_port))
    }
    fn arrival(&self) -> Arrival<'a> {
        Arrival {
            seq: self.header.seq,
            payload: self.payload,
            fin: self.header.flags.contains(TcpFlags::FIN),
            frame: self.frame,
            payload_at: self.payload_at,
        }
    }
}

/// An address that a station may have.
fn is_station(ip: Ipv4Addr) -> bool {
    !(ip.is_multicast() || ip.is_broadcast() || ip.is_unspecified() || ip.is_loopback())
}

impl Net {
    /// Nothing listens, nothing is open.
    pub fn new(config: NetConfig) -> Self {
        let mut rng = config.seed.map_or_else(SmallRng::from_os_rng, SmallRng::seed_from_u64);
        // Ports show something of the generator that picks them: the secret has one of its own.
        let secret = if config.seed.is_some() { rng.random() } else { SmallRng::from_os_rng().random() };
        let isn = IsnGenerator::new(secret);
        let arp = Arp::new(config.mac, config.ip);
        Self {
            config,
            rng,
            isn,
            arp,
            listeners: BTreeMap::new(),
            connections: BTreeMap::new(),
            by_tuple: BTreeMap::new(),
            time_wait: BTreeMap::new(),
            last_id: 0,
            changed: BTreeSet::new(),
            out: VecDeque::new(),
        }
    }

    /// Own address.
    pub fn ip(&self) -> Ipv4Addr {
        self.config.ip
    }

    /// Accepts connections to `port`; at most `backlog` of them may be anywhere between SYN and hand-off.
    pub fn listen(&mut self, port: u16, backlog: usize) -> Result<(), NetError> {
        if self.listeners.contains_key(&port) {
            return Err(NetError::PortInUse(port));
        }
        self.listeners.insert(port, backlog);
        Ok(())
    }

    /// A port that nobody listens on, random.
    pub fn free_port(&mut self) -> Option<u16> {
        ports::pick(&self.config.ephemeral, &mut self.rng, |port| self.listeners.contains_key(&port))
    }

    /// Accepts no more connections to `port`. Those that are there stay.
    pub fn unlisten(&mut self, port: u16) {
        self.listeners.remove(&port);
    }

    /// Begins to open a connection.
    pub fn connect(&mut self, now: Nanos, remote: SocketAddrV4) -> Result<ConnId, NetError> {
        let ip = *remote.ip();
        if !is_station(ip) || ip == self.config.ip || self.config.next_hop(ip).is_none() {
            return Err(NetError::Unreachable(ip));
        }
        self.check_room()?;
        let used = |port| {
            let tuple = (port, remote);
            self.listeners.contains_key(&port)
                || self.by_tuple.contains_key(&tuple)
                || self.time_wait.contains_key(&tuple)
        };
        let port =
            ports::pick(&self.config.ephemeral, &mut self.rng, used).ok_or(NetError::NoPort(remote))?;
        let tuple = (port, remote);
        let iss = self.isn.isn(now, SocketAddrV4::new(self.config.ip, port), remote);
        let opening = Opening { config: &self.config.tcp, iss, mss: self.config.mss() };
        let mut segments = Vec::new();
        let endpoint = Endpoint::connect(now, opening, &mut segments);
        let id = self.insert(tuple, None, None, endpoint);
        self.transmit(now, tuple, None, segments);
        Ok(id)
    }

    /// The next connection whose status or bytes have changed.
    pub fn next_changed(&mut self) -> Option<ConnId> {
        self.changed.pop_first()
    }

    /// Where the connection is.
    pub fn status(&self, id: ConnId) -> Status {
        let Some(connection) = self.connections.get(&id) else { return Status::Unknown };
        match &connection.stage {
            Stage::Software(endpoint) => match endpoint.state() {
                State::SynSent | State::SynReceived => Status::Opening,
                State::Open => Status::Open {
                    acknowledged: endpoint.all_acknowledged(),
                    peer_closed: endpoint.peer_closed(),
                },
                State::Closing { .. } | State::TimeWait => Status::Closing,
                State::Closed(reason) => Status::Closed(reason),
            },
            Stage::Held(_) | Stage::Diverting(_) | Stage::Device => Status::Device,
            Stage::Closed(reason) => Status::Closed(*reason),
        }
    }

    /// Own and the peer's address.
    pub fn addresses(&self, id: ConnId) -> Option<(SocketAddrV4, SocketAddrV4)> {
        let (port, remote) = self.connections.get(&id)?.tuple;
        Some((SocketAddrV4::new(self.config.ip, port), remote))
    }

    /// The listener's port, if the connection came by one.
    pub fn listener(&self, id: ConnId) -> Option<u16> {
        self.connections.get(&id)?.listener
    }

    /// The first bytes received, in order, whether acknowledged or not.
    pub fn received(&self, id: ConnId) -> &[u8] {
        match self.connections.get(&id).map(|connection| &connection.stage) {
            Some(Stage::Software(endpoint)) => endpoint.received(),
            _ => &[],
        }
    }

    /// Lets the first `count` bytes received be acknowledged; nothing behind them is.
    pub fn acknowledge(&mut self, now: Nanos, id: ConnId, count: usize) -> Result<(), NetError> {
        self.with_endpoint(now, id, |endpoint, out| endpoint.acknowledge(count, out))
    }

    /// Sends a small message.
    pub fn send(&mut self, now: Nanos, id: ConnId, bytes: &[u8]) -> Result<(), NetError> {
        let sent = self.with_endpoint(now, id, |endpoint, out| endpoint.send(now, bytes, out))?;
        if sent { Ok(()) } else { Err(NetError::TooLong(bytes.len())) }
    }

    /// Sends FIN behind everything. The connection disappears by itself when the peer has closed too.
    pub fn close(&mut self, now: Nanos, id: ConnId) -> Result<(), NetError> {
        let end = self.with_endpoint(now, id, |endpoint, out| endpoint.close(now, out));
        if let Some(connection) = self.connections.get_mut(&id) {
            (connection.listener, connection.owned) = (None, false);
        }
        self.settle(now, id);
        end
    }

    /// Sends RST and forgets the connection.
    pub fn abort(&mut self, now: Nanos, id: ConnId) {
        let _ = self.with_endpoint(now, id, |endpoint, out| endpoint.abort(out));
        self.remove(id);
    }

    /// Takes the connection out of software's hands. Nothing is lost from here to [`activated`](Self::activated).
    /// [`NetError::BadState`] while something sent is not acknowledged.
    pub fn hand_off(&mut self, id: ConnId) -> Result<Handoff, NetError> {
        let connection = self.connections.get_mut(&id).ok_or(NetError::BadState)?;
        let peer_mac = connection.peer_mac.ok_or(NetError::BadState)?;
        let stage = std::mem::replace(&mut connection.stage, Stage::Device);
        let Stage::Software(endpoint) = stage else {
            connection.stage = stage;
            return Err(NetError::BadState);
        };
        match endpoint.hand_off() {
            Ok((numbers, frames)) => {
                connection.stage = Stage::Held(frames.into());
                connection.listener = None;
                let tuple = connection.tuple;
                Ok(self.handoff(tuple, peer_mac, &numbers))
            }
            Err(endpoint) => {
                connection.stage = Stage::Software(endpoint);
                Err(NetError::BadState)
            }
        }
    }

    /// ACTIVATE was done: the frames kept are injected, and from here on those diverted, in order.
    pub fn activated(&mut self, id: ConnId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if let Stage::Held(frames) = &mut connection.stage {
            let frames = std::mem::take(frames);
            connection.stage = Stage::Diverting(0);
            for bytes in frames {
                self.emit(OutFrame { bytes, inject: true });
            }
        }
    }

    /// Frames diverted since ACTIVATE, as the device counts them: the argument of GO, once the frames they were
    /// injected as have left [`next_frame`](Self::next_frame).
    pub fn diverted(&self, id: ConnId) -> Option<u16> {
        match self.connections.get(&id)?.stage {
            Stage::Diverting(count) => Some(count),
            _ => None,
        }
    }

    /// GO was done: all frames go to the device.
    pub fn running(&mut self, id: ConnId) {
        if let Some(connection) = self.connections.get_mut(&id)
            && matches!(connection.stage, Stage::Diverting(_))
        {
            connection.stage = Stage::Device;
        }
    }

    /// Forgets a connection: one that the device had and has no more, or one that is closed.
    pub fn release(&mut self, now: Nanos, id: ConnId, ending: Ending) {
        let Some(connection) = self.connections.get(&id) else { return };
        if matches!(connection.stage, Stage::Software(_)) {
            return self.abort(now, id);
        }
        let (tuple, mac) = (connection.tuple, connection.peer_mac);
        self.remove(id);
        match ending {
            Ending::TimeWait { snd_nxt, rcv_nxt } => {
                self.begin_time_wait(now, tuple, snd_nxt, rcv_nxt);
                // The device may have forgotten the connection before its ACK of the peer's FIN left.
                let ack = Segment::bare(TcpFlags::ACK, Seq(snd_nxt), Seq(rcv_nxt));
                self.transmit(now, tuple, mac, vec![ack]);
            }
            Ending::Reset { snd_nxt, rcv_nxt } => {
                let rst = Segment::bare(TcpFlags::RST | TcpFlags::ACK, Seq(snd_nxt), Seq(rcv_nxt));
                self.transmit(now, tuple, mac, vec![rst]);
            }
            Ending::Forget => {}
        }
    }

    /// The next frame to send.
    pub fn next_frame(&mut self) -> Option<OutFrame> {
        self.out.pop_front()
    }

    /// Whether [`next_frame`](Self::next_frame) has any.
    pub fn has_frames(&self) -> bool {
        !self.out.is_empty()
    }

    /// Runs the timers. Returns when to call again.
    pub fn poll(&mut self, now: Nanos) -> Option<Nanos> {
        self.time_wait.retain(|_, entry| entry.until() > now);
        let due = |connection: &Connection| match &connection.stage {
            Stage::Software(endpoint) => endpoint.next_timer().is_some_and(|at| at <= now),
            _ => false,
        };
        let ids: Vec<_> = self.connections.iter().filter(|(_, c)| due(c)).map(|(id, _)| *id).collect();
        for id in ids {
            let _ = self.with_endpoint(now, id, |endpoint, out| endpoint.poll(now, out));
        }
        let mut frames = Vec::new();
        let arp = self.arp.poll(now, &mut frames);
        self.emit_arp(frames);
        let timers = self.connections.values().filter_map(|connection| match &connection.stage {
            Stage::Software(endpoint) => endpoint.next_timer(),
            _ => None,
        });
        timers.chain(arp).min()
    }

    /// Takes a frame of the raw receive ring. Frames that make no sense are dropped.
    pub fn receive(&mut self, now: Nanos, raw: &RawHeader, frame: &[u8]) {
        if raw.truncated {
            return;
        }
        let Ok((eth, payload)) = EthHeader::parse(frame) else { return };
        match eth.ethertype {
            ETHERTYPE_ARP => self.receive_arp(now, payload),
            ETHERTYPE_IPV4 if eth.dst == self.config.mac && !eth.src.is_multicast() => {
                self.receive_ipv4(now, raw, eth.src, payload, frame);
            }
            _ => {}
        }
    }

    fn receive_arp(&mut self, now: Nanos, payload: &[u8]) {
        let Ok(packet) = ArpPacket::parse(payload) else { return };
        let mut frames = Vec::new();
        let released = self.arp.receive(now, &packet, &mut frames);
        self.emit_arp(frames);
        for released in released {
            self.emit_ipv4(released.mac, &released.packet);
        }
    }

    fn receive_ipv4(&mut self, now: Nanos, raw: &RawHeader, src_mac: MacAddr, bytes: &[u8], frame: &[u8]) {
        let Ok((ip, payload)) = Ipv4Header::parse(bytes) else { return };
        if ip.dst != self.config.ip || ip.src == self.config.ip || !is_station(ip.src) || ip.is_fragment() {
            return;
        }
        match ip.protocol {
            PROTOCOL_ICMP => {
                if let Some(reply) = icmp::answer(payload) {
                    let packet = self.packet(ip.src, PROTOCOL_ICMP, &reply);
                    self.emit_ipv4(src_mac, &packet);
                }
            }
            PROTOCOL_TCP => {
                let parsed = if raw.checksum_ok {
                    TcpHeader::parse_unverified(payload)
                } else {
                    TcpHeader::parse(ip.src, ip.dst, payload)
                };
                if let Ok((header, payload)) = parsed {
                    let payload_at = eth::HEADER_LEN + ip.header_len + header.header_len;
                    let received = Received { src_mac, src: ip.src, header, payload, payload_at, frame };
                    self.receive_tcp(now, raw, &received);
                }
            }
            _ => {}
        }
    }

    fn receive_tcp(&mut self, now: Nanos, raw: &RawHeader, received: &Received<'_>) {
        let tuple = received.tuple();
        if let Some(id) = self.by_tuple.get(&tuple) {
            return self.receive_on(now, *id, raw, received);
        }
        let len = received.arrival().len();
        let mut above = None;
        if let Some(entry) = self.time_wait.get_mut(&tuple) {
            match entry.receive(now, &received.header, len) {
                Verdict::Ignore => return,
                Verdict::Answer(segment) => {
                    return self.transmit(now, tuple, Some(received.src_mac), vec![segment]);
                }
                Verdict::Reopen(last) => above = Some(last),
            }
        }
        let syn = TcpFlags::SYN | TcpFlags::ACK | TcpFlags::RST | TcpFlags::FIN;
        let opens = received.header.flags.0 & syn.0 == TcpFlags::SYN.0;
        match self.listeners.get(&tuple.0).copied() {
            Some(backlog) if opens => self.accept(now, received, backlog, above),
            // RFC 9293 section 3.10.7.2: a listener answers everything but SYN like a closed port.
            _ => {
                if let Some(segment) = Segment::refusal(&received.header, len) {
                    self.transmit(now, tuple, Some(received.src_mac), vec![segment]);
                }
            }
        }
    }

    /// A SYN for a listener. Without room it is not answered: the peer asks again.
    fn accept(&mut self, now: Nanos, received: &Received<'_>, backlog: usize, above: Option<Seq>) {
        let tuple = received.tuple();
        let (port, remote) = tuple;
        let waiting = self.connections.values().filter(|c| c.listener == Some(port)).count();
        let half_open = |c: &&Connection| {
            c.listener.is_some() && matches!(&c.stage, Stage::Software(e) if e.state() == State::SynReceived)
        };
        let half_open = self.connections.values().filter(half_open).count();
        if waiting >= backlog || half_open >= self.config.max_half_open || self.check_room().is_err() {
            return;
        }
        self.time_wait.remove(&tuple);
        let mut iss = self.isn.isn(now, SocketAddrV4::new(self.config.ip, port), remote);
        // Behind everything that the connection before has sent (RFC 1122 section 4.2.2.13).
        if let Some(last) = above
            && !iss.after(last)
        {
            iss = last + 1;
        }
        let opening = Opening { config: &self.config.tcp, iss, mss: self.config.mss() };
        let mut segments = Vec::new();
        let endpoint = Endpoint::accept(now, opening, &received.header, &mut segments);
        self.insert(tuple, Some(port), Some(received.src_mac), endpoint);
        self.transmit(now, tuple, Some(received.src_mac), segments);
    }

    /// A segment of a connection that exists.
    fn receive_on(&mut self, now: Nanos, id: ConnId, raw: &RawHeader, received: &Received<'_>) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        match &mut connection.stage {
            Stage::Software(endpoint) => {
                let mut segments = Vec::new();
                let opening = endpoint.state() == State::SynSent;
                endpoint.receive(now, &received.header, received.arrival(), &mut segments);
                if opening && endpoint.state() != State::SynSent {
                    connection.peer_mac = Some(received.src_mac);
                }
                let (tuple, mac) = (connection.tuple, connection.peer_mac);
                self.transmit(now, tuple, mac.or(Some(received.src_mac)), segments);
                self.settle(now, id);
                self.tell(id);
            }
            Stage::Held(frames) => {
                if frames.len() < HELD_MAX {
                    frames.push_back(received.frame.to_vec());
                }
            }
            Stage::Diverting(count) => {
                if let Some((_, seen)) = raw.diverted {
                    *count = seen;
                }
                self.emit(OutFrame { bytes: received.frame.to_vec(), inject: true });
            }
            // The device has let go of it and software not yet: an answer could only be wrong, and injecting the frame
            // would bring it back for ever.
            Stage::Device | Stage::Closed(_) => {}
        }
    }

    fn with_endpoint<T>(
        &mut self,
        now: Nanos,
        id: ConnId,
        act: impl FnOnce(&mut Endpoint, &mut Vec<Segment>) -> T,
    ) -> Result<T, NetError> {
        let connection = self.connections.get_mut(&id).ok_or(NetError::BadState)?;
        let Stage::Software(endpoint) = &mut connection.stage else { return Err(NetError::BadState) };
        let mut segments = Vec::new();
        let result = act(endpoint, &mut segments);
        let (tuple, mac) = (connection.tuple, connection.peer_mac);
        self.transmit(now, tuple, mac, segments);
        self.settle(now, id);
        Ok(result)
    }

    /// Puts an endpoint that has ended where it belongs.
    fn settle(&mut self, now: Nanos, id: ConnId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let Stage::Software(endpoint) = &connection.stage else { return };
        let tuple = connection.tuple;
        match endpoint.state() {
            State::TimeWait => {
                let (snd_nxt, rcv_nxt) = endpoint.cursors();
                self.remove(id);
                self.begin_time_wait(now, tuple, snd_nxt.0, rcv_nxt.0);
            }
            State::Closed(reason) if connection.owned => {
                (connection.stage, connection.listener) = (Stage::Closed(reason), None);
                self.by_tuple.remove(&tuple);
                self.changed.insert(id);
            }
            State::Closed(_) => self.remove(id),
            _ => {}
        }
    }

    /// Lets the owner look at a connection; one to our port gets its owner when it is open.
    fn tell(&mut self, id: ConnId) {
        let open = matches!(self.status(id), Status::Open { .. });
        if let Some(connection) = self.connections.get_mut(&id)
            && open
        {
            connection.owned = true;
            self.changed.insert(id);
        }
    }

    fn check_room(&self) -> Result<(), NetError> {
        let count = self.connections.len();
        if count < self.config.max_connections { Ok(()) } else { Err(NetError::TooMany(count)) }
    }

    fn insert(
        &mut self,
        tuple: Tuple,
        listener: Option<u16>,
        peer_mac: Option<MacAddr>,
        endpoint: Endpoint,
    ) -> ConnId {
        self.last_id += 1;
        let id = ConnId(self.last_id);
        let stage = Stage::Software(Box::new(endpoint));
        let owned = listener.is_none();
        self.connections.insert(id, Connection { tuple, listener, peer_mac, owned, stage });
        self.by_tuple.insert(tuple, id);
        id
    }

    fn remove(&mut self, id: ConnId) {
        if let Some(connection) = self.connections.remove(&id)
            && self.by_tuple.get(&connection.tuple) == Some(&id)
        {
            self.by_tuple.remove(&connection.tuple);
        }
        self.changed.remove(&id);
    }

    fn begin_time_wait(&mut self, now: Nanos, tuple: Tuple, snd_nxt: u32, rcv_nxt: u32) {
        if self.time_wait.len() >= self.config.max_time_wait {
            let oldest =
                self.time_wait.iter().min_by_key(|(_, entry)| entry.until()).map(|(tuple, _)| *tuple);
            if let Some(oldest) = oldest {
                self.time_wait.remove(&oldest);
            }
        }
        let lifetime = self.config.tcp.msl.saturating_mul(2);
        self.time_wait.insert(tuple, TimeWait::new(now, lifetime, Seq(snd_nxt), Seq(rcv_nxt)));
    }

    fn handoff(&self, tuple: Tuple, peer_mac: MacAddr, numbers: &Numbers) -> Handoff {
        let (port, remote) = tuple;
        let mut bytes = Vec::with_capacity(TEMPLATE_BYTES);
        EthHeader { dst: peer_mac, src: self.config.mac, ethertype: ETHERTYPE_IPV4 }.emit(&mut bytes);
        let empty = Segment::bare(TcpFlags::default(), Seq(0), Seq(0));
        bytes.extend(self.packet(*remote.ip(), PROTOCOL_TCP, &self.tcp_bytes(tuple, &empty)));
        let mut template = [0; TEMPLATE_BYTES];
        template.copy_from_slice(&bytes[..TEMPLATE_BYTES]);
        // Total length, identification and checksum of IPv4, checksum of TCP: the device fills them in.
        let (ip, tcp) = (eth::HEADER_LEN, eth::HEADER_LEN + ipv4::HEADER_LEN);
        for at in [ip + 2, ip + 4, ip + 10, tcp + 16] {
            template[at..at + 2].fill(0);
        }
        Handoff {
            template,
            local: SocketAddrV4::new(self.config.ip, port),
            remote,
            rcv_nxt: numbers.rcv_nxt.0,
            snd_nxt: numbers.snd_nxt.0,
            snd_wnd: numbers.snd_wnd,
            rcv_adv: numbers.rcv_adv.0,
            snd_wscale: numbers.snd_wscale,
            rcv_wscale: numbers.rcv_wscale,
            mss: numbers.mss,
            rtt: numbers.rtt,
        }
    }

    fn tcp_bytes(&self, tuple: Tuple, segment: &Segment) -> Vec<u8> {
        let (port, remote) = tuple;
        let header = TcpHeader {
            src_port: port,
            dst_port: remote.port(),
            seq: segment.seq,
            ack: segment.ack,
            flags: segment.flags,
            window: segment.window,
            urgent: 0,
            options: segment.options,
            header_len: 0,
        };
        let mut bytes = Vec::new();
        header.emit(self.config.ip, *remote.ip(), &segment.payload, &mut bytes);
        bytes
    }

    fn packet(&self, dst: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let header = Ipv4Header {
            src: self.config.ip,
            dst,
            protocol,
            ttl: TTL,
            // Never fragmented, so it needs no identification (RFC 6864 section 4.1).
            id: 0,
            dscp_ecn: 0,
            dont_fragment: true,
            more_fragments: false,
            fragment_offset: 0,
            header_len: 0,
            total_len: 0,
        };
        let mut bytes = Vec::with_capacity(ipv4::HEADER_LEN + payload.len());
        header.emit(payload.len() as u16, &mut bytes);
        bytes.extend(payload);
        bytes
    }

    /// Sends segments to a known station, or to whoever ARP finds.
    fn transmit(&mut self, now: Nanos, tuple: Tuple, mac: Option<MacAddr>, segments: Vec<Segment>) {
        let dst = *tuple.1.ip();
        for segment in segments {
            let packet = self.packet(dst, PROTOCOL_TCP, &self.tcp_bytes(tuple, &segment));
            if let Some(mac) = mac {
                self.emit_ipv4(mac, &packet);
                continue;
            }
            let Some(hop) = self.config.next_hop(dst) else { continue };
            let mut frames = Vec::new();
            let resolved = self.arp.resolve(now, hop, packet, &mut frames);
            self.emit_arp(frames);
            if let Some(resolved) = resolved {
                self.emit_ipv4(resolved.mac, &resolved.packet);
            }
        }
    }

    fn emit_arp(&mut self, frames: Vec<ArpFrame>) {
        for frame in frames {
            let mut bytes = Vec::with_capacity(42);
            EthHeader { dst: frame.dst, src: self.config.mac, ethertype: ETHERTYPE_ARP }.emit(&mut bytes);
            frame.packet.emit(&mut bytes);
            self.emit(OutFrame { bytes, inject: false });
        }
    }

    fn emit_ipv4(&mut self, dst: MacAddr, packet: &[u8]) {
        let mut bytes = Vec::with_capacity(eth::HEADER_LEN + packet.len());
        EthHeader { dst, src: self.config.mac, ethertype: ETHERTYPE_IPV4 }.emit(&mut bytes);
        bytes.extend(packet);
        self.emit(OutFrame { bytes, inject: false });
    }

    fn emit(&mut self, frame: OutFrame) {
        if self.out.len() < OUT_MAX {
            self.out.push_back(frame);
        }
    }
}
