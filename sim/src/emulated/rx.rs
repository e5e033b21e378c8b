//! Receive parse and ring (docs/microarchitecture.md section 2): frames in, descriptors and a ring of words out.

use super::command::words;
use crate::model::frame::{Arrival, classify};
use ironwarp_proto::pins::Frame;
use ironwarp_proto::wire::eth::MacAddr;
use std::collections::VecDeque;

/// Pad bytes in front of a frame inside the core.
pub const PAD: usize = 2;

/// Bits of MAC1.
mod mac1 {
    pub const PROMISCUOUS: u32 = 1 << 16;
    pub const ENABLE: u32 = 1 << 17;
}

/// What D0 says about a frame.
pub(super) mod class {
    pub const SEGMENT: u32 = 0;
    pub const RAW: u32 = 1;
    pub const OTHER: u32 = 2;
    pub const MALFORMED: u32 = 3;
    pub const BAD_IP: u32 = 4;
    pub const BAD_TCP: u32 = 5;
    pub const INJECTED: u32 = 1 << 4;
    pub const FOREIGN: u32 = 1 << 5;
}

/// The ring and what is in front of it.
#[derive(Debug)]
pub struct Receiver {
    ring: Vec<u32>,
    /// Word behind the last frame, and first word not yet free.
    head: usize,
    tail: usize,
    mac: [u32; 2],
    /// Frames not yet parsed, and whether they are injected.
    waiting: VecDeque<(Frame, bool)>,
    descriptors: VecDeque<u32>,
}

impl Receiver {
    /// With a ring of `2^log2` words.
    pub fn new(log2: u8) -> Self {
        Self {
            ring: vec![0; 1 << log2],
            head: 0,
            tail: 0,
            mac: [0; 2],
            waiting: VecDeque::new(),
            descriptors: VecDeque::new(),
        }
    }

    /// MAC0 or MAC1.
    pub fn set_mac(&mut self, which: usize, value: u32) {
        self.mac[which] = value;
    }

    fn address(&self) -> MacAddr {
        let [lo, hi] = self.mac.map(u32::to_le_bytes);
        MacAddr([lo[0], lo[1], lo[2], lo[3], hi[0], hi[1]])
    }

    /// A frame from the MAC.
    pub fn frame(&mut self, frame: &[u8]) {
        if self.mac[1] & mac1::ENABLE != 0 {
            self.waiting.push_back((frame.to_vec(), false));
            self.parse();
        }
    }

    /// A frame from the transmit engine.
    pub fn inject(&mut self, frame: Frame) {
        self.waiting.push_back((frame, true));
        self.parse();
    }

    /// Nothing more will be freed: the MAC front end drops what does not fit. Tells how many.
    pub fn overflow(&mut self) -> usize {
        let lost = self.waiting.len();
        self.waiting.clear();
        lost
    }

    /// Everything in front of ring word `word` may be overwritten.
    pub fn free(&mut self, word: usize) {
        self.tail = word;
        self.parse();
    }

    /// The next word of the descriptors.
    pub fn descriptor(&mut self) -> Option<u32> {
        self.descriptors.pop_front()
    }

    /// The words that are there, of one or more descriptors.
    pub fn descriptors(&mut self) -> &[u32] {
        self.descriptors.make_contiguous()
    }

    /// Whether there is one.
    pub fn has_descriptor(&self) -> bool {
        !self.descriptors.is_empty()
    }

    /// `len` bytes of the ring from a ring byte address.
    pub fn bytes(&self, from: usize, len: usize) -> Vec<u8> {
        let byte = |at: usize| self.ring[(at / 4) & (self.ring.len() - 1)].to_le_bytes()[at % 4];
        (from..from + len).map(byte).collect()
    }

    /// Parse frames while the ring has room. One word stays empty: a full ring is not an empty one.
    fn parse(&mut self) {
        while let Some((frame, injected)) = self.waiting.pop_front() {
            let used = self.head.wrapping_sub(self.tail) & (self.ring.len() - 1);
            let need = (PAD + frame.len()).div_ceil(4);
            if need >= self.ring.len() {
                tracing::warn!("a frame of {} bytes is larger than the receive ring", frame.len());
                if injected {
                    // Whoever has injected it counts descriptors.
                    self.describe(class::MALFORMED, self.head, 0, true, frame.len());
                }
            } else if used + need >= self.ring.len() {
                self.waiting.push_front((frame, injected));
                return;
            } else {
                self.store(&frame, injected);
            }
        }
    }

    fn store(&mut self, frame: &[u8], injected: bool) {
        let arrival = classify(frame, self.address());
        let promiscuous = self.mac[1] & mac1::PROMISCUOUS != 0;
        let mut rest = Vec::new();
        let mut hash = 0;
        let class = match &arrival {
            Arrival::Segment(_, tcp, payload) => {
                let at = |word: usize| super::command::words(&frame[4 * word - PAD..][..4])[0];
                let offset = payload.as_ptr() as usize - frame.as_ptr() as usize + PAD;
                let (remote, ports) = (at(7), at(9));
                hash = (remote ^ ports).to_le_bytes().into_iter().fold(0, |sum, byte| sum ^ byte);
                rest.extend([
                    offset as u32 | (payload.len() as u32) << 16,
                    remote,
                    at(8),
                    ports,
                    tcp.seq.0,
                    tcp.ack.0,
                    u32::from(tcp.flags.0) | u32::from(tcp.window) << 16,
                ]);
                class::SEGMENT
            }
            Arrival::Raw => class::RAW,
            Arrival::Other if promiscuous => class::RAW | class::FOREIGN,
            Arrival::Other => class::OTHER,
            Arrival::Malformed => class::MALFORMED,
            Arrival::BadIpChecksum => class::BAD_IP,
            Arrival::BadTcpChecksum => class::BAD_TCP,
        };
        let start = self.head;
        if class & 15 <= class::RAW {
            let padded: Vec<u8> = [0; PAD].iter().chain(frame).copied().collect();
            for word in words(&padded) {
                self.ring[self.head] = word;
                self.head = (self.head + 1) & (self.ring.len() - 1);
            }
        }
        self.describe(class, start, hash, injected, frame.len());
        self.descriptors.extend(rest);
    }

    /// D0 and D1 of a frame that stands in the ring from `start` on.
    fn describe(&mut self, class: u32, start: usize, hash: u8, injected: bool, len: usize) {
        let injected = if injected { class::INJECTED } else { 0 };
        self.descriptors.push_back(class | injected | u32::from(hash) << 8 | (len as u32) << 16);
        self.descriptors.push_back(start as u32 | (self.head as u32) << 16);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironwarp_proto::seq::Seq;
    use ironwarp_proto::wire::eth::{ETHERTYPE_ARP, ETHERTYPE_IPV4, EthHeader};
    use ironwarp_proto::wire::ipv4::{Ipv4Header, PROTOCOL_TCP};
    use ironwarp_proto::wire::tcp::{TcpFlags, TcpHeader, TcpOptions};
    use proptest::prelude::*;
    use std::net::Ipv4Addr;

    const MAC: MacAddr = MacAddr([2, 3, 4, 5, 6, 7]);

    fn receiver(log2: u8, bits: u32) -> Receiver {
        let mut receiver = Receiver::new(log2);
        receiver.set_mac(0, 0x0504_0302);
        receiver.set_mac(1, 0x0706 | bits);
        receiver
    }

    fn segment(payload: &[u8], timestamps: bool) -> Frame {
        let (src, dst) = (Ipv4Addr::new(10, 1, 2, 3), Ipv4Addr::new(10, 1, 2, 4));
        let mut tcp = Vec::new();
        let options = TcpOptions { timestamps: timestamps.then_some((1, 2)), ..TcpOptions::default() };
        TcpHeader {
            src_port: 0x1234,
            dst_port: 0x5678,
            seq: Seq(0x0102_0304),
            ack: Seq(0x0506_0708),
            flags: TcpFlags::ACK,
            window: 0x4321,
            urgent: 0,
            options,
            header_len: 20,
        }
        .emit(src, dst, payload, &mut tcp);
        let mut frame = Vec::new();
        EthHeader { dst: MAC, src: MacAddr([4; 6]), ethertype: ETHERTYPE_IPV4 }.emit(&mut frame);
        Ipv4Header {
            src,
            dst,
            protocol: PROTOCOL_TCP,
            ttl: 64,
            id: 9,
            dscp_ecn: 0,
            dont_fragment: true,
            more_fragments: false,
            fragment_offset: 0,
            header_len: 20,
            total_len: 0,
        }
        .emit(tcp.len() as u16, &mut frame);
        frame.extend(tcp);
        frame
    }

    fn descriptor(receiver: &mut Receiver) -> Vec<u32> {
        std::iter::from_fn(|| receiver.descriptor()).collect()
    }

    proptest! {
        #[test]
        fn a_segment_is_described_and_stands_in_the_ring(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..700), 1..20), options: bool,
        ) {
            let mut receiver = receiver(9, mac1::ENABLE);
            for payload in payloads {
                let frame = segment(&payload, options);
                receiver.frame(&frame);
                let d = descriptor(&mut receiver);
                prop_assert_eq!(d.len(), 9);
                prop_assert_eq!((d[0] & 0xff, d[0] >> 16), (class::SEGMENT, frame.len() as u32));
                let at = 4 * (d[1] & 0xffff) as usize;
                prop_assert_eq!(receiver.bytes(at + PAD, frame.len()), frame);
                let (offset, len) = ((d[2] & 0xffff) as usize, (d[2] >> 16) as usize);
                prop_assert_eq!(receiver.bytes(at + offset, len), payload);
                prop_assert_eq!(&d[3..], &[
                    u32::from_le_bytes([10, 1, 2, 3]), u32::from_le_bytes([10, 1, 2, 4]),
                    u32::from_le_bytes([0x12, 0x34, 0x56, 0x78]), 0x0102_0304, 0x0506_0708, 0x4321_0010,
                ]);
                let hash = 10 ^ 1 ^ 2 ^ 3 ^ 0x12 ^ 0x34 ^ 0x56 ^ 0x78;
                prop_assert_eq!(d[0] >> 8 & 0xff, hash);
                receiver.free((d[1] >> 16) as usize);
            }
        }
    }

    #[test]
    fn a_full_ring_holds_frames_back_until_words_are_freed() {
        let mut receiver = receiver(6, mac1::ENABLE);
        let mut arp = Vec::new();
        EthHeader { dst: MAC, src: MAC, ethertype: ETHERTYPE_ARP }.emit(&mut arp);
        arp.resize(122, 7);
        receiver.frame(&arp);
        receiver.frame(&arp);
        // 2 * 31 words fit 63, 3 * 31 do not.
        receiver.frame(&arp);
        assert_eq!(descriptor(&mut receiver).len(), 4);
        receiver.free(31);
        assert_eq!(descriptor(&mut receiver), [class::RAW | 122 << 16, 62 | 29 << 16]);
        assert_eq!(receiver.bytes(4 * 62 + PAD, 122), arp);
        assert_eq!(receiver.overflow(), 0);
        receiver.frame(&[7; 300]);
        assert!(!receiver.has_descriptor());
    }

    #[test]
    fn frames_that_are_dropped_leave_nothing_in_the_ring() {
        let mut receiver = receiver(9, mac1::ENABLE);
        let good = segment(b"payload", false);
        let changed = |at: usize| {
            let mut frame = good.clone();
            frame[at] ^= 0x40;
            frame
        };
        for (frame, expected) in [
            (changed(5), class::OTHER),
            (changed(30), class::BAD_IP),
            (changed(56), class::BAD_TCP),
            (good[..50].to_vec(), class::MALFORMED),
        ] {
            receiver.frame(&frame);
            let d = descriptor(&mut receiver);
            assert_eq!(d, [expected | (frame.len() as u32) << 16, 0]);
        }
    }

    #[test]
    fn foreign_frames_are_raw_in_promiscuous_mode_and_nothing_comes_while_disabled() {
        let mut frame = segment(b"payload", false);
        frame[5] ^= 1;
        let mut receiver = receiver(9, mac1::ENABLE | mac1::PROMISCUOUS);
        receiver.frame(&frame);
        assert_eq!(descriptor(&mut receiver)[0] & 0xff, class::RAW | class::FOREIGN);
        receiver.set_mac(1, 0x0706);
        receiver.frame(&frame);
        assert!(!receiver.has_descriptor());
        receiver.inject(segment(b"", false));
        assert_eq!(descriptor(&mut receiver)[0] & 0xff, class::SEGMENT | class::INJECTED);
    }
}
