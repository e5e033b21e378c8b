//! Who has which hardware address (RFC 826).
//!
//! ARP carries no proof, so an address is learnt only in answer to a question of our own. A packet nobody asked for
//! that names another address for a known neighbour makes us ask the known one again; only its silence lets another in.
//! (Answers to a peer go back to where its frame came from and need no entry here.)

use super::{MS, SECOND};
use ironwarp_proto::pins::Nanos;
use ironwarp_proto::wire::arp::{ArpOp, ArpPacket};
use ironwarp_proto::wire::eth::MacAddr;
use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;

/// Neighbours remembered.
const MAX_ENTRIES: usize = 256;
/// Packets that wait for one address; the newest are worth most.
const MAX_PENDING: usize = 4;
/// A confirmed address is used this long, and asked for again from half of it on.
const LIFETIME: Nanos = 120 * SECOND;
/// First pause between two requests; it doubles each time.
const FIRST_PAUSE: Nanos = 250 * MS;
/// Requests without an answer before an address is given up.
const MAX_TRIES: u8 = 5;

/// A frame of ARP to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArpFrame {
    /// Where it goes.
    pub dst: MacAddr,
    /// What it says.
    pub packet: ArpPacket,
}

/// A packet whose address has become known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Released {
    /// The address.
    pub mac: MacAddr,
    /// The IPv4 packet.
    pub packet: Vec<u8>,
}

#[derive(Debug)]
struct Entry {
    /// The address, until when it is good.
    known: Option<(MacAddr, Nanos)>,
    /// A question under way: times asked, and when to ask again or give up.
    asking: Option<(u8, Nanos)>,
    /// Used for the age when room is needed.
    used: Nanos,
    pending: VecDeque<Vec<u8>>,
}

/// The neighbours.
#[derive(Debug)]
pub struct Arp {
    mac: MacAddr,
    ip: Ipv4Addr,
    entries: BTreeMap<Ipv4Addr, Entry>,
}

impl Arp {
    /// No neighbours yet.
    pub fn new(mac: MacAddr, ip: Ipv4Addr) -> Self {
        Self { mac, ip, entries: BTreeMap::new() }
    }

    /// The address of `ip` to send `packet` to. If it is not known, the packet is kept and the question goes to `out`.
    pub fn resolve(
        &mut self,
        now: Nanos,
        ip: Ipv4Addr,
        packet: Vec<u8>,
        out: &mut Vec<ArpFrame>,
    ) -> Option<Released> {
        if !self.entries.contains_key(&ip) {
            self.make_room();
        }
        let entry = self.entries.entry(ip).or_insert_with(|| Entry {
            known: None,
            asking: None,
            used: now,
            pending: VecDeque::new(),
        });
        entry.used = now;
        let good = entry.known.filter(|(_, until)| *until > now);
        if good.is_none_or(|(_, until)| until - now < LIFETIME / 2) && entry.asking.is_none() {
            entry.asking = Some((1, now + FIRST_PAUSE));
            out.push(request(self.mac, self.ip, ip, good.map(|(mac, _)| mac)));
        }
        if let Some((mac, _)) = good {
            return Some(Released { mac, packet });
        }
        entry.known = None;
        if entry.pending.len() == MAX_PENDING {
            entry.pending.pop_front();
        }
        entry.pending.push_back(packet);
        None
    }

    /// Takes a packet; `out` gets what is to be sent. Returns the packets that waited for it.
    pub fn receive(&mut self, now: Nanos, packet: &ArpPacket, out: &mut Vec<ArpFrame>) -> Vec<Released> {
        let (mac, ip) = (packet.sender_mac, packet.sender_ip);
        if mac.is_multicast() || mac == MacAddr::default() || mac == self.mac || ip == self.ip {
            return Vec::new();
        }
        let for_us = packet.target_ip == self.ip;
        if for_us && packet.op == ArpOp::Request {
            let reply = ArpPacket {
                op: ArpOp::Reply,
                sender_mac: self.mac,
                sender_ip: self.ip,
                target_mac: mac,
                target_ip: ip,
            };
            out.push(ArpFrame { dst: mac, packet: reply });
        }
        let Some(entry) = self.entries.get_mut(&ip) else { return Vec::new() };
        match (entry.asking, entry.known) {
            // While the old address is asked whether it still holds, only it may answer.
            (Some(_), Some((known, _))) if known != mac => Vec::new(),
            (Some(_), _) if for_us => {
                entry.asking = None;
                entry.known = Some((mac, now.saturating_add(LIFETIME)));
                entry.pending.drain(..).map(|packet| Released { mac, packet }).collect()
            }
            (None, Some((known, _))) if known != mac => {
                entry.asking = Some((1, now + FIRST_PAUSE));
                out.push(request(self.mac, self.ip, ip, Some(known)));
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    /// Asks again what was not answered. Returns when to call next.
    pub fn poll(&mut self, now: Nanos, out: &mut Vec<ArpFrame>) -> Option<Nanos> {
        let mut next = None;
        let (own_mac, own_ip) = (self.mac, self.ip);
        self.entries.retain(|ip, entry| {
            if let Some((tries, at)) = entry.asking
                && at <= now
            {
                if tries >= MAX_TRIES {
                    return false;
                }
                // The old address had its chance; from here anyone may answer.
                if tries >= 2 {
                    entry.known = None;
                }
                entry.asking = Some((tries + 1, now + (FIRST_PAUSE << tries)));
                out.push(request(own_mac, own_ip, *ip, entry.known.map(|(mac, _)| mac)));
            }
            if let Some((_, at)) = entry.asking {
                next = Some(next.map_or(at, |next: Nanos| next.min(at)));
            }
            true
        });
        next
    }

    /// Forgets the neighbour that was not used for longest.
    fn make_room(&mut self) {
        if self.entries.len() >= MAX_ENTRIES
            && let Some(ip) = self.entries.iter().min_by_key(|(_, entry)| entry.used).map(|(ip, _)| *ip)
        {
            self.entries.remove(&ip);
        }
    }
}

/// "Who has `ip`?", to the station that had it last, or to all.
fn request(own_mac: MacAddr, own_ip: Ipv4Addr, ip: Ipv4Addr, last: Option<MacAddr>) -> ArpFrame {
    let packet = ArpPacket {
        op: ArpOp::Request,
        sender_mac: own_mac,
        sender_ip: own_ip,
        target_mac: MacAddr::default(),
        target_ip: ip,
    };
    ArpFrame { dst: last.unwrap_or(MacAddr::BROADCAST), packet }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const PEER: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
    const THIEF: MacAddr = MacAddr([2, 0, 0, 0, 0, 6]);
    const OWN_IP: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 1);
    const PEER_IP: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 2);

    fn says(op: ArpOp, mac: MacAddr, target_ip: Ipv4Addr) -> ArpPacket {
        ArpPacket { op, sender_mac: mac, sender_ip: PEER_IP, target_mac: OWN, target_ip }
    }

    fn known(arp: &mut Arp, now: Nanos) -> Option<MacAddr> {
        arp.resolve(now, PEER_IP, vec![1], &mut Vec::new()).map(|released| released.mac)
    }

    fn learnt() -> Arp {
        let mut arp = Arp::new(OWN, OWN_IP);
        assert_eq!(known(&mut arp, 0), None);
        arp.receive(1, &says(ArpOp::Reply, PEER, OWN_IP), &mut Vec::new());
        assert_eq!(known(&mut arp, 1), Some(PEER));
        arp
    }

    #[test]
    fn asks_with_growing_pauses_then_gives_up() {
        let (mut arp, mut out) = (Arp::new(OWN, OWN_IP), Vec::new());
        for n in 0..10 {
            assert_eq!(arp.resolve(0, PEER_IP, vec![n], &mut out), None);
        }
        let (mut now, mut pauses) = (0, Vec::new());
        while let Some(at) = arp.poll(now, &mut out) {
            pauses.push((at - now) / FIRST_PAUSE);
            now = at;
        }
        assert_eq!((pauses, out.len()), (vec![1, 2, 4, 8, 16], 5));
        assert!(out.iter().all(|frame| frame.dst == MacAddr::BROADCAST && frame.packet.target_ip == PEER_IP));
        assert!(arp.entries.is_empty());
    }

    #[test]
    fn packets_that_waited_are_few_and_the_newest() {
        let (mut arp, mut out) = (Arp::new(OWN, OWN_IP), Vec::new());
        for n in 0..10 {
            arp.resolve(0, PEER_IP, vec![n], &mut out);
        }
        let released = arp.receive(5, &says(ArpOp::Reply, PEER, OWN_IP), &mut out);
        let packets: Vec<_> = released.iter().map(|r| (r.mac, r.packet[0])).collect();
        assert_eq!(packets, [(PEER, 6), (PEER, 7), (PEER, 8), (PEER, 9)]);
    }

    #[test]
    fn answers_for_the_own_address_only_and_learns_nothing_from_it() {
        let (mut arp, mut out) = (Arp::new(OWN, OWN_IP), Vec::new());
        arp.receive(0, &says(ArpOp::Request, PEER, PEER_IP), &mut out);
        arp.receive(0, &says(ArpOp::Reply, PEER, OWN_IP), &mut out);
        assert!(out.is_empty());
        arp.receive(0, &says(ArpOp::Request, PEER, OWN_IP), &mut out);
        assert_eq!((out[0].dst, out[0].packet.op, out[0].packet.sender_mac), (PEER, ArpOp::Reply, OWN));
        assert_eq!(known(&mut arp, 1), None);
    }

    #[test]
    fn an_unasked_packet_replaces_nothing_while_the_owner_answers() {
        for packet in [
            says(ArpOp::Reply, THIEF, OWN_IP),
            says(ArpOp::Request, THIEF, OWN_IP),
            says(ArpOp::Request, THIEF, PEER_IP),
        ] {
            let (mut arp, mut out) = (learnt(), Vec::new());
            arp.receive(2, &packet, &mut out);
            assert_eq!(out.last().unwrap().dst, PEER, "the owner is asked");
            arp.receive(3, &packet, &mut out);
            assert_eq!(known(&mut arp, 3), Some(PEER));
            arp.receive(4, &says(ArpOp::Reply, PEER, OWN_IP), &mut out);
            assert_eq!(known(&mut arp, 4), Some(PEER));
        }
    }

    #[test]
    fn an_owner_that_is_silent_loses_its_place() {
        let (mut arp, mut out) = (learnt(), Vec::new());
        let new = says(ArpOp::Reply, THIEF, OWN_IP);
        arp.receive(2, &new, &mut out);
        let mut now = 2;
        for _ in 0..2 {
            now = arp.poll(now, &mut out).unwrap();
        }
        arp.poll(now, &mut out);
        assert_eq!(out.last().unwrap().dst, MacAddr::BROADCAST);
        arp.receive(now, &new, &mut out);
        assert_eq!(known(&mut arp, now), Some(THIEF));
    }

    #[test]
    fn entries_age_and_are_refreshed_in_time() {
        let (mut arp, mut out) = (learnt(), Vec::new());
        let late = LIFETIME * 3 / 4;
        assert!(arp.resolve(late, PEER_IP, vec![], &mut out).is_some());
        assert_eq!(out[0].dst, PEER);
        arp.receive(late, &says(ArpOp::Reply, PEER, OWN_IP), &mut out);
        assert_eq!(known(&mut arp, LIFETIME + 5), Some(PEER));
        assert_eq!(known(&mut arp, 3 * LIFETIME), None);
    }

    #[test]
    fn the_table_is_bounded() {
        let mut arp = Arp::new(OWN, OWN_IP);
        for n in 0..1000u32 {
            arp.resolve(n.into(), Ipv4Addr::from(n), vec![], &mut Vec::new());
        }
        assert_eq!(arp.entries.len(), MAX_ENTRIES);
        assert!(arp.entries.contains_key(&Ipv4Addr::from(999)));
    }
}
