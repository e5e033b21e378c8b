//! Frames: right ones, and ones that are wrong in one place or another.

use crate::common::Random;
use ironwarp_proto::seq::Seq;
use ironwarp_proto::wire::checksum;
use ironwarp_proto::wire::eth::{ETHERTYPE_ARP, ETHERTYPE_IPV4, EthHeader, MacAddr};
use ironwarp_proto::wire::ipv4::PROTOCOL_TCP;
use ironwarp_proto::wire::tcp::{TcpFlags, TcpHeader, TcpOptions};

/// The address of the device.
pub const MAC: MacAddr = MacAddr([0x02, 0x13, 0x24, 0x35, 0x46, 0x57]);

const IP: usize = 14;

fn ethernet(r: &mut Random, ethertype: u16) -> Vec<u8> {
    let mut dst = MAC;
    match r.below(16) {
        0 => dst = MacAddr([0x33, 0x33, 0, 0, 0, 1]),
        1 => dst = MacAddr::BROADCAST,
        2 => dst.0[r.below(6)] ^= 2 << r.below(7),
        _ => {}
    }
    let mut frame = Vec::new();
    EthHeader { dst, src: MacAddr([4; 6]), ethertype }.emit(&mut frame);
    frame
}

/// An ARP frame of 60 bytes.
pub fn arp() -> Vec<u8> {
    let mut frame = Vec::new();
    EthHeader { dst: MacAddr::BROADCAST, src: MAC, ethertype: ETHERTYPE_ARP }.emit(&mut frame);
    frame.resize(60, 6);
    frame
}

/// A right segment for the device with these option bytes (a multiple of four).
pub fn segment(r: &mut Random, options: &[u8], payload: usize) -> Vec<u8> {
    let mut frame = Vec::new();
    EthHeader { dst: MAC, src: MacAddr([4; 6]), ethertype: ETHERTYPE_IPV4 }.emit(&mut frame);
    ipv4(r, &mut frame, &[], 20 + options.len() + payload, PROTOCOL_TCP, 0x4000);
    let at = frame.len();
    let header = TcpHeader {
        src_port: r.word() as u16,
        dst_port: r.word() as u16,
        seq: Seq(r.word()),
        ack: Seq(r.word()),
        flags: TcpFlags(r.word() as u8),
        window: r.word() as u16,
        urgent: r.word() as u16,
        options: TcpOptions::default(),
        header_len: 20,
    };
    header.emit([0; 4].into(), [0; 4].into(), &[], &mut frame);
    frame[at + 12] = (5 + options.len() as u8 / 4) << 4 | (r.word() & 15) as u8;
    frame.extend(options);
    frame.extend((0..payload).map(|_| r.word() as u8));
    set_tcp_checksum(&mut frame);
    frame
}

/// Appends an IPv4 header with its checksum.
fn ipv4(r: &mut Random, frame: &mut Vec<u8>, options: &[u8], behind: usize, protocol: u8, fragment: u16) {
    let at = frame.len();
    frame.extend([0x45 + options.len() as u8 / 4, r.word() as u8]);
    frame.extend(((20 + options.len() + behind) as u16).to_be_bytes());
    frame.extend((r.word() as u16).to_be_bytes());
    frame.extend(fragment.to_be_bytes());
    frame.extend([r.word() as u8, protocol, 0, 0]);
    frame.extend(r.word().to_be_bytes());
    frame.extend(r.word().to_be_bytes());
    frame.extend(options);
    set_ip_checksum(frame, at);
}

fn set_ip_checksum(frame: &mut [u8], at: usize) {
    let end = (at + usize::from(frame[at] & 15) * 4).min(frame.len());
    frame[at + 10..at + 12].fill(0);
    let check = checksum::finish(checksum::sum(0, &frame[at..end]));
    frame[at + 10..at + 12].copy_from_slice(&check.to_be_bytes());
}

/// The checksum of a segment behind an IPv4 header of 20 bytes whose total length is that of the frame.
pub fn set_tcp_checksum(frame: &mut [u8]) {
    let word = |at: usize| <[u8; 4]>::try_from(&frame[at..at + 4]).unwrap();
    let length = (frame.len() - IP - 20) as u16;
    let pseudo = checksum::pseudo_header(word(IP + 12).into(), word(IP + 16).into(), PROTOCOL_TCP, length);
    frame[IP + 36..IP + 38].fill(0);
    let check = checksum::finish(checksum::sum(pseudo, &frame[IP + 20..]));
    frame[IP + 36..IP + 38].copy_from_slice(&check.to_be_bytes());
}

/// Option bytes, right or nearly so, padded with zeros or not at all.
fn options(r: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..r.below(6) {
        match r.below(10) {
            0..=2 => bytes.push(1),
            3 => bytes.extend([2, 4, 5, 0xb4]),
            4 => bytes.extend([3, 3, 7]),
            5 => bytes.extend([4, 2]),
            6 => bytes.extend([8, 10, 1, 2, 3, 4, 5, 6, 7, 8]),
            7 => bytes.extend([30, 5, 9, 9, 9]),
            8 if r.below(3) == 0 => bytes.extend([[2, 3, 4, 8][r.below(4)], r.below(12) as u8]),
            9 if r.below(3) == 0 => bytes.extend([r.word() as u8, r.word() as u8]),
            _ => bytes.push(0),
        }
    }
    bytes.truncate(40);
    let padding = if r.below(4) == 0 { r.word() as u8 } else { (r.word() & 1) as u8 };
    bytes.resize(bytes.len().next_multiple_of(4), padding);
    bytes
}

/// A frame of up to `most` bytes.
pub fn some_frame(r: &mut Random, most: usize) -> Vec<u8> {
    let room = r.below(most - 94);
    let payload = if r.below(2) == 0 { room } else { room.min(r.below(12)) };
    let mut frame = match r.below(12) {
        0 => arp(),
        1 => (0..r.below(80)).map(|_| r.word() as u8).collect(),
        2 => {
            // Not TCP, a fragment or with IPv4 options.
            let mut frame = ethernet(r, ETHERTYPE_IPV4);
            let protocol = [PROTOCOL_TCP, 1, 17][r.below(3)];
            let fragment = [0, 0x2000, 0x4001, 0x1000, 0x8000][r.below(5)];
            let words = [0, 1, 10, r.below(11)][r.below(4)];
            let bytes: Vec<u8> = (0..4 * words).map(|_| r.word() as u8).collect();
            let behind = payload.min(most - 74);
            ipv4(r, &mut frame, &bytes, behind, protocol, fragment);
            frame.extend((0..behind).map(|_| r.word() as u8));
            frame
        }
        _ => {
            let bytes = if r.below(2) == 0 { options(r) } else { vec![] };
            let mut frame = segment(r, &bytes, payload);
            let header = ethernet(r, ETHERTYPE_IPV4);
            frame[..IP].copy_from_slice(&header);
            frame
        }
    };
    spoil(r, &mut frame);
    // Ethernet padding, which no length covers.
    if r.below(2) == 0 && frame.len() < 60 {
        frame.resize(60, r.word() as u8);
    } else {
        frame.extend(vec![0x99; r.below(4)]);
    }
    if r.below(20) == 0 {
        frame.truncate(r.below(frame.len() + 1));
    }
    frame
}

/// Changes a field now and then, with checksums made right again or not.
fn spoil(r: &mut Random, frame: &mut [u8]) {
    if frame.len() < IP + 40 {
        return;
    }
    let at = match r.below(12) {
        0 => IP + r.below(20),
        1 => IP + 20 + r.below(frame.len() - IP - 20),
        2 => IP,
        3 => IP + 2 + r.below(2),
        4 => IP + 32,
        5 => IP + 6 + r.below(4),
        _ => return,
    };
    frame[at] ^= 1 << r.below(8);
    if r.below(3) != 0 {
        if r.below(2) == 0 {
            set_tcp_checksum(frame);
        }
        set_ip_checksum(frame, IP);
    }
}
