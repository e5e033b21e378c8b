//! Prediction (docs/microarchitecture.md section 9): what the gates do of what the program has said it expects.
//!
//! Scripts are those of `hdl/src/predict/send.rs` and `receive.rs`.

use super::rx::class;
use ironwarp_proto::abi::send_entry::{INLINE_MAX, Opcode};
use ironwarp_proto::ddp::{TAGGED_LEN, UNTAGGED_LEN};
use ironwarp_proto::mpa::fpdu::{LENGTH_LEN, fpdu_len};

/// END of a frame that is dropped.
const DROP: u32 = 0x17;
/// Words of a script.
pub const SCRIPT: usize = 24;
/// Words of a send entry that are read.
pub const ENTRY: usize = 16;
/// Bits of an entry's word 0.
const SIGNALLED: u32 = 1 << 9;
/// Where the payload of a segment without TCP options begins, pad included.
const PAYLOAD: u32 = 56;
/// TCP flags: ACK, beside which PSH may stand.
const ACK: u32 = 0x10;
const PSH: u32 = 0x08;
/// Control fields of a Send's only segment, above its length field.
const SEND_LAST: u32 = 0x4341;

/// A script in the making, or whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Script(Vec<u32>);

impl Script {
    /// The next word.
    pub fn push(&mut self, word: u32) {
        self.0.push(word);
    }
    /// All of it, if it is whole.
    pub fn armed(&self) -> Option<&[u32; SCRIPT]> {
        self.0.as_slice().try_into().ok()
    }
}

/// Whether a write of the host is the doorbell that a script waits for.
pub fn rings(script: &[u32; SCRIPT], offset: u32, value: u32) -> bool {
    offset == script[22] && value & 0xffff == (script[23] >> 16).wrapping_add(1) & 0xffff
}

/// A message that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// It is a Send, else a Write.
    pub is_send: bool,
    /// It is signalled.
    pub signalled: bool,
    /// Bytes of its FPDU.
    pub fpdu: u32,
    /// Bytes of its payload.
    pub payload: u32,
}

impl Sent {
    /// As PREDICTED says it.
    pub fn outcome(self) -> u32 {
        use ironwarp_micro::layout::port::predicted::{IS_SEND, SENT, SIGNALLED};
        let flags = 1 << SENT | u32::from(self.is_send) << IS_SEND | u32::from(self.signalled) << SIGNALLED;
        flags | self.fpdu << 8 | self.payload << 16
    }
}

/// What the transmit engine is told when it has rung and the entry has these words, of which `failed` was the first that could not be read, and what is sent
/// if anything is.
pub fn send(script: &[u32; SCRIPT], entry: &[u32; ENTRY], failed: Option<usize>) -> (Vec<u32>, Option<Sent>) {
    let mut told = script[3..11].to_vec();
    let (head, length) = (entry[0] | SIGNALLED, entry[1]);
    let is_write = head == script[23];
    let is_send = head == script[23] ^ Opcode::Write as u32 ^ Opcode::Send as u32;
    let may = (is_write || is_send) && length <= INLINE_MAX as u32 && failed.is_none_or(|word| word > 1);
    if !may {
        // HEADER gets all its words, whatever they are.
        told.extend(&script[11..21]);
        told.push(DROP);
        return (told, None);
    }
    let header = if is_write { TAGGED_LEN } else { UNTAGGED_LEN } as u32;
    let fpdu = fpdu_len((header + length) as u16);
    told.push(script[11].wrapping_add(fpdu << 24));
    told.extend(&script[12..21]);
    let ulpdu = (header + length) << 8;
    if is_write {
        told.extend([3 | 4 << 8, 0x40c1_0000 | ulpdu]);
        told.extend([entry[2], entry[4], entry[3]].map(u32::swap_bytes));
    } else {
        told.extend([3 | 5 << 8, SEND_LAST << 16 | ulpdu, 0, 0, script[21], 0]);
    }
    if length > 0 {
        told.push(4 | length << 8);
        told.extend(&entry[8..8 + length.div_ceil(4) as usize]);
    }
    let sent = Sent { is_send, signalled: entry[0] & SIGNALLED != 0, fpdu, payload: length };
    told.extend([6, if failed.is_some() { DROP } else { 7 }]);
    (told, failed.is_none().then_some(sent))
}

/// Whether an ACK is expected, and no Send.
pub fn is_ack(script: &[u32; SCRIPT]) -> bool {
    script[6] >> 17 & 1 != 0
}

/// The stretch that is walked if a descriptor is that of the segment that a script waits for: its ring byte address and length.
pub fn segment(script: &[u32; SCRIPT], descriptor: &[u32]) -> Option<(u32, u32)> {
    let &[d0, d1, d2, ref rest @ ..] = descriptor else { return None };
    let [compared @ .., last] = rest else { return None };
    let fits = d0 & 0x1f == class::SEGMENT
        && d2 & 0xffff == PAYLOAD
        && *compared == script[..5]
        && last & 0xff & !PSH == ACK
        && (!is_ack(script) || d2 >> 16 == 0);
    fits.then_some((4 * (d1 & 0xffff) + PAYLOAD, d2 >> 16))
}

/// What the writer is told to complete what the ACK that was expected acknowledges.
pub fn acknowledged(script: &[u32; SCRIPT]) -> &[u32] {
    &script[12..]
}

/// What the writer is told when the walk over `bytes` bytes at ring byte address `at` has begun with `packet`: to place the payload, and to complete the receive.
pub fn receive(script: &[u32; SCRIPT], at: u32, bytes: u32, packet: &[u32]) -> Option<[Vec<u32>; 2]> {
    let &[r0, _, _, _, w0, _, w2, w3, w4, ..] = packet else { return None };
    let ulpdu = (w0 as u16).swap_bytes();
    let payload = u32::from(ulpdu).checked_sub(UNTAGGED_LEN as u32).filter(|bytes| *bytes > 0)?;
    let fits = r0 & 15 == 0
        && fpdu_len(ulpdu) == bytes
        && u32::from(ulpdu) <= script[6] & 0xffff
        && w0 >> 16 == SEND_LAST
        && (w2, w3, w4) == (0, script[5], 0);
    if !fits {
        return None;
    }
    let mut words = script[7..].to_vec();
    words[1] |= payload << 16;
    words[2] = (at + (LENGTH_LEN + UNTAGGED_LEN) as u32) & 0xffff;
    words[10] = payload;
    let completion = words.split_off(5);
    Some([words, completion])
}
