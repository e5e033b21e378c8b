//! The frames of the serial bridge between a host and a device on a board (docs/bridge.md).
//!
//! ```text
//!  byte   0     1                          2        3 ..             3 + 4n
//!       +----+---------------------------+--------+----------------+-------+-------+
//!       | A5 | 2:0 kind 3 irq 7:4 number | n      | n 32-bit words | CRC low, high |
//!       +----+---------------------------+--------+----------------+-------+-------+
//! ```
//!
//! Words are little-endian. The CRC is CRC-16/X-25 (reflected polynomial 8408, all ones in and out) over everything between the
//! sync byte and itself. Bit 3 is the level of the interrupt in frames of the device, 0 in those of the host.

use thiserror::Error;

/// The first byte of every frame.
pub const SYNC: u8 = 0xa5;
/// Version of the protocol: what the device answers to a hello in bits 15:0.
pub const VERSION: u16 = 1;
/// Bytes around the payload.
pub const OVERHEAD: usize = 5;
/// Most words in a payload.
pub const MAX_WORDS: usize = 64;
/// Most bytes in a frame. So many zeros end any frame that the other side believes itself to be in.
pub const MAX_FRAME: usize = OVERHEAD + 4 * MAX_WORDS;
/// Words of a read that one answer carries: a burst is asked for in pieces of so many, the last may be shorter.
pub const READ_WORDS: usize = 64;
/// Most words that one write carries, behind two of header.
pub const WRITE_WORDS: usize = MAX_WORDS - 2;
/// Most words of a burst.
pub const BURST_WORDS: usize = 1024;
/// Bytes of register space that the bridge reaches.
pub const REGISTERS: u32 = 1 << 24;
/// Bits a second, unless something else is said.
pub const BAUD: u32 = 12_000_000;
/// Frames of a kind are numbered modulo this.
pub const NUMBERS: u8 = 16;

/// What is wrong with bytes that should be a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BridgeError {
    /// Not all of it is there.
    #[error("the frame is not complete: {have} of {need} bytes")]
    Short {
        /// Bytes there.
        have: usize,
        /// Bytes needed, as far as that is known.
        need: usize,
    },
    /// It does not begin like one.
    #[error("byte {0:#04x} begins no frame: it must be 0xa5")]
    Sync(u8),
    /// No frame is so long.
    #[error("a frame of {0} words: at most {MAX_WORDS} are allowed")]
    Length(u8),
    /// It was damaged.
    #[error("CRC {found:#06x} in a frame whose CRC is {computed:#06x}")]
    Crc {
        /// In the frame.
        found: u16,
        /// Of the frame.
        computed: u16,
    },
    /// A kind that this direction does not have, or one with the wrong number of words.
    #[error("a frame of kind {kind} with {words} words means nothing in this direction")]
    Meaning {
        /// Bits 2:0.
        kind: u8,
        /// Words.
        words: usize,
    },
    /// A read or write that leaves its burst, or a burst that is none.
    #[error("{words} words at word {position} of a burst of at most {BURST_WORDS} at {address:#x}")]
    Burst {
        /// Of the burst, bytes.
        address: u32,
        /// Words in front of these.
        position: usize,
        /// Words.
        words: usize,
    },
}

/// CRC-16/X-25.
pub fn crc16(bytes: &[u8]) -> u16 {
    !bytes.iter().fold(0xffff, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte), |crc, _| crc >> 1 ^ if crc & 1 == 1 { 0x8408 } else { 0 })
    })
}

/// A frame of either direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raw {
    /// 0 to 7.
    pub kind: u8,
    /// Interrupt level, from the device.
    pub irq: bool,
    /// 0 to 15.
    pub number: u8,
    /// Payload.
    pub words: Vec<u32>,
}

impl Raw {
    /// As bytes.
    ///
    /// # Panics
    /// If there are more than [`MAX_WORDS`] words: the callers of this module have fewer.
    pub fn encode(&self) -> Vec<u8> {
        assert!(self.words.len() <= MAX_WORDS, "{} words in a frame", self.words.len());
        let head = self.kind & 7 | u8::from(self.irq) << 3 | self.number << 4;
        let mut bytes = vec![SYNC, head, self.words.len() as u8];
        bytes.extend(self.words.iter().flat_map(|word| word.to_le_bytes()));
        let crc = crc16(&bytes[1..]);
        bytes.extend(crc.to_le_bytes());
        bytes
    }

    /// The frame at the beginning of `bytes`, and its length in bytes.
    pub fn decode(bytes: &[u8]) -> Result<(Self, usize), BridgeError> {
        let have = bytes.len();
        let short = |need| BridgeError::Short { have, need };
        let first = *bytes.first().ok_or(short(OVERHEAD))?;
        if first != SYNC {
            return Err(BridgeError::Sync(first));
        }
        let (head, count) = match bytes {
            [_, head, count, ..] => (*head, *count),
            _ => return Err(short(OVERHEAD)),
        };
        if usize::from(count) > MAX_WORDS {
            return Err(BridgeError::Length(count));
        }
        let end = 3 + 4 * usize::from(count);
        let frame = bytes.get(..end + 2).ok_or(short(end + 2))?;
        let found = u16::from_le_bytes([frame[end], frame[end + 1]]);
        let computed = crc16(&frame[1..end]);
        if found != computed {
            return Err(BridgeError::Crc { found, computed });
        }
        let words =
            frame[3..end].chunks_exact(4).map(|w| u32::from_le_bytes([w[0], w[1], w[2], w[3]])).collect();
        let raw = Raw { kind: head & 7, irq: head & 8 != 0, number: head >> 4, words };
        Ok((raw, end + 2))
    }
}

/// What the host sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToDevice {
    /// Reset the device and everything about this link.
    Hello,
    /// Tell the state, and ask again for what is open.
    Poll,
    /// Read the register at a byte offset.
    RegisterRead {
        /// Multiple of 4, below 2^24.
        offset: u32,
    },
    /// Write a register or doorbell.
    RegisterWrite {
        /// Multiple of 4, below 2^24.
        offset: u32,
        /// What to write.
        value: u32,
    },
    /// Words for the read of this number.
    Data(Vec<u32>),
    /// The burst of the read of this number cannot be read.
    ReadFailed,
    /// The write of this number is done.
    Written,
    /// The write of this number was refused.
    WriteFailed,
}

/// What the device sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromDevice {
    /// Answer to a hello, whose number it has: the device has been reset.
    Hello {
        /// Version of the protocol.
        version: u16,
    },
    /// The level of the interrupt has changed, or the host has polled.
    Status,
    /// The register access of this number is done; with the value if it was a read.
    Answer(Option<u32>),
    /// Words `position` .. `position` + [`READ_WORDS`], or to the end, of a burst are wanted.
    Read(Burst),
    /// Words of a burst.
    Write {
        /// Address in bytes of the first.
        address: u32,
        /// Bytes of the first word to write: bit i for bits 8i+7:8i.
        first: u8,
        /// The same of the last word; if there is one word, both count.
        last: u8,
        /// What to write.
        words: Vec<u32>,
    },
    /// The device has been reset, and nobody has said hello since.
    Fresh,
}

/// What a read asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Burst {
    /// Address in bytes of the first word wanted.
    pub address: u32,
    /// Words wanted.
    pub words: usize,
}

impl ToDevice {
    /// As a frame of this number.
    pub fn encode(&self, number: u8) -> Vec<u8> {
        let (kind, words) = match self {
            Self::Poll => (0, vec![]),
            Self::Hello => (1, vec![]),
            Self::RegisterRead { offset } => (2, vec![offset & 0xff_fffc, 0]),
            Self::RegisterWrite { offset, value } => (2, vec![offset & 0xff_fffc | 1, *value]),
            Self::Data(words) => (3, words.clone()),
            Self::ReadFailed => (4, vec![]),
            Self::Written => (5, vec![]),
            Self::WriteFailed => (6, vec![]),
        };
        Raw { kind, irq: false, number: number % NUMBERS, words }.encode()
    }

    /// The meaning of a frame.
    pub fn decode(raw: &Raw) -> Result<Self, BridgeError> {
        Ok(match (raw.kind, &raw.words[..]) {
            (0, []) => Self::Poll,
            (1, []) => Self::Hello,
            (2, [head, value]) => {
                let offset = head & 0xff_fffc;
                if head & 1 == 1 {
                    Self::RegisterWrite { offset, value: *value }
                } else {
                    Self::RegisterRead { offset }
                }
            }
            (3, words) if !words.is_empty() => Self::Data(words.to_vec()),
            (4, []) => Self::ReadFailed,
            (5, []) => Self::Written,
            (6, []) => Self::WriteFailed,
            (kind, words) => return Err(BridgeError::Meaning { kind, words: words.len() }),
        })
    }
}

impl FromDevice {
    /// The meaning of a frame.
    pub fn decode(raw: &Raw) -> Result<Self, BridgeError> {
        Ok(match (raw.kind, &raw.words[..]) {
            (0, []) => Self::Status,
            (1, [word]) => Self::Hello { version: *word as u16 },
            (2, []) => Self::Answer(None),
            (2, [value]) => Self::Answer(Some(*value)),
            (3, [address, meta]) => {
                let (total, chunk) = ((meta & 0x7ff) as usize, (meta >> 11 & 15) as usize);
                let position = chunk * READ_WORDS;
                let words = total.saturating_sub(position).min(READ_WORDS);
                let burst = BridgeError::Burst { address: *address, position, words };
                if total > BURST_WORDS || words == 0 {
                    return Err(burst);
                }
                let address = address.checked_add(4 * position as u32).ok_or(burst)?;
                Self::Read(Burst { address, words })
            }
            (4, [address, meta, words @ ..]) if !words.is_empty() => {
                let end = (meta >> 8 & 0x7ff) as usize;
                let burst = BridgeError::Burst { address: *address, position: end, words: words.len() };
                let position = end.checked_sub(words.len()).ok_or(burst)?;
                let address = address.checked_add(4 * position as u32).filter(|_| end <= BURST_WORDS);
                Self::Write {
                    address: address.ok_or(burst)?,
                    first: (meta & 15) as u8,
                    last: (meta >> 4 & 15) as u8,
                    words: words.to_vec(),
                }
            }
            (7, []) => Self::Fresh,
            (kind, words) => return Err(BridgeError::Meaning { kind, words: words.len() }),
        })
    }
}

/// The bytes of a write that are to be stored, as runs of neighbours.
pub fn runs(address: u32, first: u8, last: u8, words: &[u32]) -> Vec<(u32, Vec<u8>)> {
    let mut runs: Vec<(u32, Vec<u8>)> = Vec::new();
    for (index, word) in words.iter().enumerate() {
        let at_first = if index == 0 { first } else { 15 };
        let strobes = at_first & if index + 1 == words.len() { last } else { 15 };
        for (lane, byte) in (0u32..).zip(word.to_le_bytes()) {
            if strobes >> lane & 1 == 0 {
                continue;
            }
            let at = address.wrapping_add(4 * index as u32 + lane);
            match runs.last_mut() {
                Some((start, bytes)) if start.wrapping_add(bytes.len() as u32) == at => bytes.push(byte),
                _ => runs.push((at, vec![byte])),
            }
        }
    }
    runs
}

/// Finds frames in a stream of bytes with anything between them.
#[derive(Debug, Clone, Default)]
pub struct Deframer {
    bytes: Vec<u8>,
    /// Bytes that were part of no frame.
    garbage: u64,
}

impl Deframer {
    /// More bytes have come.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole frame. A false beginning costs one byte, not the frames behind it.
    pub fn next_frame(&mut self) -> Option<Raw> {
        let mut at = 0;
        let found = loop {
            match Raw::decode(&self.bytes[at..]) {
                Ok((raw, len)) => {
                    at += len;
                    break Some(raw);
                }
                Err(BridgeError::Short { .. }) => break None,
                Err(_) => {
                    at += 1;
                    self.garbage += 1;
                }
            }
        };
        self.bytes.drain(..at);
        found
    }

    /// What is there is the beginning of nothing: look behind its first byte. For when the line has been silent for so long that
    /// the rest of the frame will not come.
    pub fn give_up(&mut self) {
        if !self.bytes.is_empty() {
            self.bytes.remove(0);
            self.garbage += 1;
        }
    }

    /// Bytes of a frame that has not ended.
    pub fn is_inside(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// Bytes so far that were part of no frame.
    pub fn garbage(&self) -> u64 {
        self.garbage
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_crc_is_x25() {
        assert_eq!(crc16(b"123456789"), 0x906e);
        assert_eq!(crc16(&[]), 0);
    }

    #[test]
    fn frames_are_these_bytes() {
        let bytes = ToDevice::RegisterWrite { offset: 0x1004, value: 0x0403_0201 }.encode(3);
        assert_eq!(bytes[..11], [0xa5, 0x32, 2, 0x05, 0x10, 0, 0, 1, 2, 3, 4]);
        assert_eq!(bytes.len(), 13);
        assert_eq!(ToDevice::Poll.encode(0)[..3], [0xa5, 0, 0]);
    }

    #[test]
    fn bursts_are_checked() {
        let read = |address, meta| {
            FromDevice::decode(&Raw { kind: 3, irq: false, number: 0, words: vec![address, meta] })
        };
        assert_eq!(read(0x1000, 1024 | 15 << 11), Ok(FromDevice::Read(Burst { address: 0x1f00, words: 64 })));
        assert_eq!(read(8, 65 | 1 << 11), Ok(FromDevice::Read(Burst { address: 0x108, words: 1 })));
        for (address, meta) in [(0, 0), (0, 1025), (0, 64 | 1 << 11), (0xffff_ff00, 200 | 1 << 11)] {
            assert!(matches!(read(address, meta), Err(BridgeError::Burst { .. })), "{address:x} {meta:x}");
        }
        let write = |meta, count: usize| {
            let mut words = vec![0x100, meta];
            words.extend((0..count as u32).map(|word| word * 3));
            FromDevice::decode(&Raw { kind: 4, irq: false, number: 0, words })
        };
        assert!(matches!(write(0xff | 62 << 8, 62), Ok(FromDevice::Write { address: 0x100, .. })));
        assert!(matches!(write(0xff | 70 << 8, 8), Ok(FromDevice::Write { address: 0x1f8, .. })));
        assert!(matches!(write(0xff | 7 << 8, 8), Err(BridgeError::Burst { .. })));
        assert!(matches!(write(0xff | 1025 << 8, 8), Err(BridgeError::Burst { .. })));
        assert!(matches!(write(0xff, 0), Err(BridgeError::Meaning { .. })));
    }

    #[test]
    fn strobes_cut_runs() {
        assert_eq!(
            runs(0x10, 0b1100, 0b0001, &[0x0403_0201, 0x0807_0605, 0x0c0b_0a09]),
            [(0x12, vec![3, 4, 5, 6, 7, 8, 9])]
        );
        assert_eq!(runs(0, 0b0101, 0b0111, &[0x0403_0201]), [(0, vec![1]), (2, vec![3])]);
        assert_eq!(runs(0, 0, 0, &[1, 2]), []);
    }

    fn to_device() -> impl Strategy<Value = ToDevice> {
        let offset = (0u32..1 << 22).prop_map(|offset| offset << 2);
        prop_oneof![
            Just(ToDevice::Poll),
            Just(ToDevice::Hello),
            Just(ToDevice::ReadFailed),
            Just(ToDevice::Written),
            Just(ToDevice::WriteFailed),
            offset.clone().prop_map(|offset| ToDevice::RegisterRead { offset }),
            (offset, any::<u32>()).prop_map(|(offset, value)| ToDevice::RegisterWrite { offset, value }),
            prop::collection::vec(any::<u32>(), 1..=MAX_WORDS).prop_map(ToDevice::Data),
        ]
    }

    proptest! {
        #[test]
        fn frames_come_back_from_among_garbage(
            frames in prop::collection::vec((to_device(), 0..NUMBERS), 1..8),
            noise in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 8),
            piece in 1..40usize,
        ) {
            let mut bytes = Vec::new();
            for ((frame, number), noise) in frames.iter().zip(&noise) {
                bytes.extend(noise.iter().filter(|byte| **byte != SYNC));
                bytes.extend(frame.encode(*number));
            }
            let (mut deframer, mut found) = (Deframer::default(), Vec::new());
            for piece in bytes.chunks(piece) {
                deframer.extend(piece);
                while let Some(raw) = deframer.next_frame() {
                    found.push((ToDevice::decode(&raw).unwrap(), raw.number));
                }
            }
            prop_assert_eq!(found, frames);
        }

        #[test]
        fn a_damaged_frame_is_none_and_the_next_is_found(
            frame in to_device(), at: prop::sample::Index, bit in 0..8u32,
        ) {
            let mut bytes = frame.encode(5);
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let mut deframer = Deframer::default();
            deframer.extend(&bytes);
            deframer.extend(&[0; MAX_FRAME]);
            deframer.extend(&ToDevice::Poll.encode(9));
            let mut found = Vec::new();
            while let Some(raw) = deframer.next_frame() {
                found.push(raw);
            }
            prop_assert_eq!(found, [Raw { kind: 0, irq: false, number: 9, words: vec![] }]);
        }

        #[test]
        fn anything_is_decoded_or_refused(bytes: Vec<u8>) {
            let _ = Raw::decode(&bytes);
            let mut deframer = Deframer::default();
            deframer.extend(&bytes);
            while let Some(raw) = deframer.next_frame() {
                let _ = FromDevice::decode(&raw);
            }
        }
    }
}
