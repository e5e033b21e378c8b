//! What the owner of a [`Net`](super::Net) chooses.

use super::{MS, SECOND};
use ironwarp_proto::pins::Nanos;
use ironwarp_proto::wire::eth::MacAddr;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

/// Addresses and limits of the slow path.
#[derive(Debug, Clone)]
pub struct NetConfig {
    /// Own hardware address.
    pub mac: MacAddr,
    /// Own address.
    pub ip: Ipv4Addr,
    /// Bits of the address that name the network.
    pub prefix_len: u8,
    /// Who forwards to other networks.
    pub gateway: Option<Ipv4Addr>,
    /// Largest IPv4 packet, bytes: at least 104, so that a segment of 64 bytes fits.
    pub mtu: u16,
    /// Seed of ports, sequence numbers and everything else that is random; `None` takes them from the system.
    pub seed: Option<u64>,
    /// Ports for connections from here (RFC 6056).
    pub ephemeral: RangeInclusive<u16>,
    /// Connections that may exist at once, those under way to the device included.
    pub max_connections: usize,
    /// Connections to our ports whose handshake is not complete, all listeners together.
    pub max_half_open: usize,
    /// Connections remembered in TIME-WAIT; beyond, the oldest is forgotten.
    pub max_time_wait: usize,
    /// TCP's numbers.
    pub tcp: TcpConfig,
}

impl NetConfig {
    /// Usual values for an address in a /24 network without a gateway.
    pub fn new(mac: MacAddr, ip: Ipv4Addr) -> Self {
        Self {
            mac,
            ip,
            prefix_len: 24,
            gateway: None,
            mtu: 1500,
            seed: None,
            ephemeral: 49152..=65535,
            max_connections: 4096,
            max_half_open: 256,
            max_time_wait: 4096,
            tcp: TcpConfig::default(),
        }
    }

    /// Largest TCP payload that fits the MTU and suits the device.
    pub(crate) fn mss(&self) -> u16 {
        self.mtu.saturating_sub(40).min(self.tcp.max_mss).max(super::tcp::MIN_MSS)
    }

    /// The neighbour that frames for `ip` go to.
    pub(crate) fn next_hop(&self, ip: Ipv4Addr) -> Option<Ipv4Addr> {
        let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix_len.min(32))).unwrap_or(0);
        let local = (u32::from(ip) ^ u32::from(self.ip)) & mask == 0;
        if local { Some(ip) } else { self.gateway }
    }
}

/// TCP's numbers.
#[derive(Debug, Clone)]
pub struct TcpConfig {
    /// Window the device will offer, bytes: decides the window scale in the SYN (RFC 7323 section 2).
    pub receive_window: u32,
    /// Largest MSS to offer and to use.
    pub max_mss: u16,
    /// First retransmission time-out (RFC 6298 section 2.1).
    pub initial_rto: Nanos,
    /// Shortest retransmission time-out.
    pub min_rto: Nanos,
    /// Longest retransmission time-out.
    pub max_rto: Nanos,
    /// Retransmissions of a SYN before the peer counts as silent.
    pub syn_retries: u8,
    /// Retransmissions of anything else.
    pub retries: u8,
    /// TIME-WAIT lasts twice this long (RFC 9293 section 3.4.2 suggests two minutes; data-centre round trips allow less).
    pub msl: Nanos,
}

impl Default for TcpConfig {
    fn default() -> Self {
        Self {
            receive_window: 256 << 10,
            max_mss: u16::MAX,
            initial_rto: SECOND,
            min_rto: 200 * MS,
            max_rto: 60 * SECOND,
            syn_retries: 5,
            retries: 7,
            msl: 15 * SECOND,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_networks_are_behind_the_gateway() {
        let mut config = NetConfig::new(MacAddr::default(), Ipv4Addr::new(10, 7, 0, 1));
        let (near, far) = (Ipv4Addr::new(10, 7, 0, 9), Ipv4Addr::new(10, 8, 0, 9));
        assert_eq!((config.next_hop(near), config.next_hop(far)), (Some(near), None));
        config.gateway = Some(near);
        assert_eq!(config.next_hop(far), Some(near));
        config.prefix_len = 0;
        assert_eq!(config.next_hop(far), Some(far));
        config.prefix_len = 32;
        assert_eq!(config.next_hop(far), Some(near));
    }
}
