//! The IPv4 packet in a captured frame, by link type.

use ironwarp_proto::wire::eth::ETHERTYPE_IPV4;

/// Link type number of Ethernet.
pub const ETHERNET: u32 = 1;

/// The IPv4 packet in a frame, Ethernet padding still behind it. `None`: something else, or not understood.
pub fn ipv4(link: u32, frame: &[u8]) -> Option<&[u8]> {
    match link {
        ETHERNET => ethernet(frame),
        // Raw IP, under the three numbers it has had, and IPv4 only.
        12 | 14 | 101 | 228 => version_4(frame),
        // BSD loopback: a family in either byte order.
        0 | 108 => version_4(frame.get(4..)?),
        // Linux "cooked" captures, versions 1 and 2.
        113 => by_type(frame.get(14..16)?, frame.get(16..)?),
        276 => by_type(frame.get(0..2)?, frame.get(20..)?),
        _ => None,
    }
}

/// Whether [`ipv4`] knows this link type at all.
pub fn is_known(link: u32) -> bool {
    matches!(link, ETHERNET | 12 | 14 | 101 | 228 | 0 | 108 | 113 | 276)
}

/// Behind an Ethernet header and any VLAN tags.
fn ethernet(frame: &[u8]) -> Option<&[u8]> {
    let mut rest = frame.get(12..)?;
    while let [0x81, 0x00, ..] | [0x88, 0xa8, ..] | [0x91, 0x00, ..] = rest {
        rest = rest.get(4..)?;
    }
    by_type(rest.get(..2)?, &rest[2..])
}

fn by_type<'a>(ethertype: &[u8], rest: &'a [u8]) -> Option<&'a [u8]> {
    (ethertype == ETHERTYPE_IPV4.to_be_bytes()).then_some(rest)
}

fn version_4(packet: &[u8]) -> Option<&[u8]> {
    (packet.first()? >> 4 == 4).then_some(packet)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_the_packet_is() {
        let packet = [0x45, 1, 2];
        let behind = |header: &[u8]| [header, &packet].concat();
        let eth = [0; 12];
        let tagged = [&eth[..], &[0x88, 0xa8, 0, 1, 0x81, 0, 0, 2, 8, 0]].concat();
        let cooked = [&[0; 14][..], &[8, 0]].concat();
        let cooked_2 = [&[8, 0][..], &[0; 18]].concat();
        assert_eq!(ipv4(1, &behind(&[&eth[..], &[8, 0]].concat())), Some(&packet[..]));
        assert_eq!(ipv4(1, &behind(&tagged)), Some(&packet[..]));
        assert_eq!(ipv4(1, &behind(&[&eth[..], &[8, 6]].concat())), None);
        assert_eq!(ipv4(101, &packet), Some(&packet[..]));
        assert_eq!(ipv4(101, &[0x60]), None);
        assert_eq!(ipv4(0, &behind(&[2, 0, 0, 0])), Some(&packet[..]));
        assert_eq!(ipv4(113, &behind(&cooked)), Some(&packet[..]));
        assert_eq!(ipv4(276, &behind(&cooked_2)), Some(&packet[..]));
        for link in [0, 1, 12, 101, 113, 276, 999] {
            for length in 0..24 {
                let _ = ipv4(link, &[0x81; 24][..length]);
                let _ = ipv4(link, &tagged[..length.min(tagged.len())]);
            }
        }
    }
}
