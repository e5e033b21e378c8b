//! Initial sequence numbers: a clock plus a keyed hash of the connection (RFC 6528, RFC 9293 section 3.4.1).

use ironwarp_proto::pins::Nanos;
use ironwarp_proto::seq::Seq;
use siphasher::sip::SipHasher24;
use std::hash::Hasher;
use std::net::SocketAddrV4;

/// Nanoseconds of one step of the clock.
const STEP: u64 = 4000;

/// Makes initial sequence numbers that grow for one pair of addresses and tell nothing about those of another.
#[derive(Debug, Clone)]
pub struct IsnGenerator {
    secret: (u64, u64),
}

impl IsnGenerator {
    /// With this secret.
    pub fn new(secret: (u64, u64)) -> Self {
        Self { secret }
    }

    /// The first sequence number of a connection that begins at `now`.
    pub fn isn(&self, now: Nanos, local: SocketAddrV4, remote: SocketAddrV4) -> Seq {
        let mut hash = SipHasher24::new_with_keys(self.secret.0, self.secret.1);
        for end in [local, remote] {
            hash.write(&end.ip().octets());
            hash.write(&end.port().to_be_bytes());
        }
        Seq((now / STEP) as u32) + hash.finish() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn addr(ip: u32, port: u16) -> SocketAddrV4 {
        SocketAddrV4::new(ip.into(), port)
    }

    proptest! {
        #[test]
        fn grows_with_time_for_one_connection(secret: (u64, u64), ips: [u32; 2], ports: [u16; 2], now in 0u64..1 << 60, later in 4000u64..1_000_000_000_000) {
            let isn = IsnGenerator::new(secret);
            let (a, b) = (addr(ips[0], ports[0]), addr(ips[1], ports[1]));
            prop_assert!(isn.isn(now + later, a, b).after(isn.isn(now, a, b)));
        }
    }

    /// Knowing the numbers of one's own connections must not tell those of others: the offsets between neighbouring
    /// ports look random, bit by bit, and change with the secret.
    #[test]
    fn tells_nothing_across_connections() {
        let (a, b) = (IsnGenerator::new((1, 2)), IsnGenerator::new((1, 3)));
        let mut ones = [0u32; 32];
        for port in 0..4096 {
            let of = |g: &IsnGenerator, port| g.isn(0, addr(1, port), addr(2, 7174)).0;
            let offset = of(&a, port + 1).wrapping_sub(of(&a, port));
            assert_ne!(of(&a, port), of(&b, port));
            for (bit, ones) in ones.iter_mut().enumerate() {
                *ones += offset >> bit & 1;
            }
        }
        assert!(ones.iter().all(|ones| (1848..2248).contains(ones)), "{ones:?}");
    }
}
