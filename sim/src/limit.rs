//! The goodput that a link allows, from the frame format alone.
//!
//! ```text
//! | preamble 8 | Ethernet 14 | IPv4 20 | TCP 20 | FPDUs, at most MSS | FCS 4 | gap 12 |
//! FPDU = length 2 + DDP header 14 or 18 + payload + pad to 4 + CRC 4 (+ markers: 4 in every 512 bytes of stream)
//! ```
//! ACKs travel the other way and cost nothing, or ride on data.

use crate::link::wire_time_bits;
use ironwarp_proto::ddp::{TAGGED_LEN, UNTAGGED_LEN};
use ironwarp_proto::mpa::fpdu::{fpdu_len, mulpdu};
use ironwarp_proto::mpa::marker::{INTERVAL, MARKER_LEN};

/// Bytes of IPv4 and TCP headers without options.
const IP_TCP: u32 = 40;
/// Bytes of an Ethernet header.
const ETHERNET: u32 = 14;

/// What is sent over and over again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traffic {
    /// Payload of a message behind its DDP headers, bytes.
    pub message: u32,
    /// Messages are tagged.
    pub tagged: bool,
    /// IP MTU, bytes.
    pub mtu: u16,
    /// Markers are inserted.
    pub markers: bool,
}

impl Traffic {
    /// Bits of wire time a message takes in the best case: full segments, small messages packed as densely as they fit.
    pub fn bits_per_message(&self) -> f64 {
        let mss = u32::from(self.mtu) - IP_TCP;
        let header = if self.tagged { TAGGED_LEN } else { UNTAGGED_LEN } as u32;
        let room = mulpdu(mss, self.markers) - header;
        let fpdu = |payload: u32| {
            let unmarked = f64::from(fpdu_len((header + payload) as u16));
            let share = if self.markers { f64::from(MARKER_LEN as u32) / f64::from(INTERVAL) } else { 0.0 };
            unmarked / (1.0 - share)
        };
        let segment = |bytes: f64| {
            let frame = ETHERNET + IP_TCP;
            // A frame is padded to the Ethernet minimum; above it, bits are proportional.
            let floor = wire_time_bits(0) as f64;
            (wire_time_bits(1000) as f64 + (bytes + f64::from(frame) - 1000.0) * 8.0).max(floor)
        };
        let (full, tail) = (self.message / room, self.message % room);
        let full_bits = f64::from(full) * segment(fpdu(room));
        if full == 0 {
            let packed = (f64::from(mss) / fpdu(tail)).floor().max(1.0);
            segment(packed * fpdu(tail)) / packed
        } else if tail == 0 {
            full_bits
        } else {
            full_bits + segment(fpdu(tail))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload_share(message: u32, mtu: u16, markers: bool, tagged: bool) -> f64 {
        let bits = Traffic { message, tagged, mtu, markers }.bits_per_message();
        f64::from(message) * 8.0 / bits
    }

    /// The table of computed wire limits that hardware is measured against.
    #[test]
    fn known_efficiencies() {
        let near = |found: f64, expected: f64| assert!((found - expected).abs() < 5e-5, "{found} {expected}");
        near(payload_share(1440 * 1000, 1500, false, true), 0.9363);
        near(payload_share(8940 * 1000, 9000, false, true), 0.9892);
        near(payload_share(1436 * 1000, 1500, false, false), 1436.0 / 1538.0);
        // With markers a full segment varies by one marker; the mean counts.
        assert!((payload_share(1428 * 1000, 1500, true, true) - 0.9285).abs() < 1e-3);
    }

    #[test]
    fn small_messages_are_packed() {
        let rate =
            |message| 1e9 / Traffic { message, tagged: true, mtu: 1500, markers: false }.bits_per_message();
        assert!((rate(8) / 4.24e6 - 1.0).abs() < 0.01, "{}", rate(8));
        assert!((rate(0) / 5.93e6 - 1.0).abs() < 0.01, "{}", rate(0));
        assert!((rate(256) / 0.43e6 - 1.0).abs() < 0.01, "{}", rate(256));
    }
}
