//! The writer (docs/microarchitecture.md section 4): everything that goes to host memory, in order.

use super::command::{address, bytes};
use super::rx::Receiver;
use ironwarp_proto::mpa::marker::{INTERVAL, MARKER_LEN};
use ironwarp_proto::pins::Dma;
use std::collections::BTreeSet;

/// Operations.
mod op {
    pub const PLACE: u32 = 1;
    pub const WORDS: u32 = 2;
    pub const FREE: u32 = 3;
    pub const IRQ: u32 = 4;
    pub const TAG: u32 = 5;
}

/// Words of a command.
pub fn length(first: u32) -> Option<usize> {
    let host = first >> 6 & 1 != 0;
    match first & 15 {
        op::PLACE => Some(if host { 6 } else { 4 }),
        op::WORDS => match first >> 8 & 0xff {
            count @ 1..=32 => Some(3 + count as usize),
            _ => None,
        },
        op::FREE | op::IRQ | op::TAG => Some(1),
        _ => None,
    }
}

/// Where the next byte of a PLACE comes from.
#[derive(Debug, Clone, Copy, Default)]
struct Source {
    host: bool,
    address: u64,
    to_marker: u32,
}

/// Its state between commands.
#[derive(Debug, Default)]
pub struct Writer {
    source: Source,
    tag: u8,
    /// Tags of writes that failed and were not told of.
    errors: BTreeSet<u8>,
    /// The interrupt line.
    pub interrupt: bool,
}

impl Writer {
    /// Whether an error is pending.
    pub fn has_error(&self) -> bool {
        !self.errors.is_empty()
    }
    /// Port DRAIN.
    pub fn drain(&mut self) -> u32 {
        self.errors.pop_first().map_or(0, |tag| 1 | u32::from(tag) << 16)
    }
    /// Port WERR.
    pub fn pending(&mut self) -> u32 {
        self.errors.pop_first().map_or(0, |tag| 1 << 31 | 1 | u32::from(tag) << 16)
    }

    /// Execute a command.
    pub fn execute(&mut self, command: &[u32], receiver: &mut Receiver, dma: &dyn Dma) {
        let first = command[0];
        match first & 15 {
            op::PLACE => {
                let (len, markers) = ((first >> 16) as usize, first >> 4 & 1 != 0);
                if first >> 5 & 1 == 0 {
                    let host = first >> 6 & 1 != 0;
                    let to_marker = command[1] >> 16;
                    let ring = u64::from(command[1] & 0xffff);
                    let address = if host { address(command[4], command[5]) } else { ring };
                    self.source = Source { host, address, to_marker };
                }
                let data = self.take(len, markers, receiver, dma);
                self.write(address(command[2], command[3]), data, dma);
            }
            op::WORDS => self.write(address(command[1], command[2]), Some(bytes(&command[3..])), dma),
            op::FREE => receiver.free((first >> 16) as usize),
            op::IRQ => self.interrupt = first >> 8 & 1 != 0,
            _ => self.tag = (first >> 16) as u8,
        }
    }

    fn write(&mut self, to: u64, data: Option<Vec<u8>>, dma: &dyn Dma) {
        let good = data.is_some_and(|data| data.is_empty() || dma.write(to, &data).is_ok());
        if !good {
            self.errors.insert(self.tag);
        }
    }

    /// The next bytes of the source without markers; `None` if host memory could not be read.
    fn take(&mut self, len: usize, markers: bool, receiver: &Receiver, dma: &dyn Dma) -> Option<Vec<u8>> {
        let mut data = Vec::with_capacity(len);
        while data.len() < len {
            let mut piece = len - data.len();
            if markers {
                if self.source.to_marker == 0 {
                    self.source.address = self.source.address.wrapping_add(MARKER_LEN as u64);
                    self.source.to_marker = INTERVAL - MARKER_LEN as u32;
                }
                piece = piece.min(self.source.to_marker as usize);
                self.source.to_marker -= piece as u32;
            }
            if self.source.host {
                let mut bytes = vec![0; piece];
                dma.read(self.source.address, &mut bytes).ok()?;
                data.extend(bytes);
            } else {
                data.extend(receiver.bytes(self.source.address as usize, piece));
            }
            self.source.address = self.source.address.wrapping_add(piece as u64);
        }
        Some(data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulated::memory::Memory;
    use ironwarp_proto::mpa::marker::{MarkerPhase, emit};
    use proptest::prelude::*;

    fn receiver_with(bytes: &[u8]) -> Receiver {
        let mut receiver = Receiver::new(12);
        receiver.set_mac(1, 1 << 17);
        // Any frame for another station, promiscuous: it stands in the ring as it is, from byte 2 on.
        receiver.set_mac(1, 1 << 16 | 1 << 17);
        receiver.frame(&[&[2; 14], bytes].concat());
        assert!(receiver.has_descriptor());
        receiver
    }

    proptest! {
        #[test]
        fn place_leaves_markers_out(
            ulpdu in prop::collection::vec(any::<u8>(), 4..3000), start in 0u32..128, cut: usize, to in 0u64..64, host: bool,
        ) {
            let phase = MarkerPhase::at(512 - u64::from(start) * 4);
            let mut stream = Vec::new();
            emit(&[&ulpdu], true, phase, &mut stream).unwrap();
            let memory = Memory::new(0x1000, 8192);
            memory.write(0x2000, &stream).unwrap();
            let mut receiver = receiver_with(&stream);
            let mut writer = Writer::default();
            // The payload behind the length field, in two pieces: the second goes on behind the first.
            let lead = if start == 0 { 6 } else { 2 };
            let to_marker = if start == 0 { 506 } else { start * 4 - 2 };
            let cut = cut % (ulpdu.len() + 1);
            let c0 = |len: usize| op::PLACE | 1 << 4 | u32::from(host) << 6 | (len as u32) << 16;
            let from = [(16 + lead) | (to_marker << 16), 0x1000 + to as u32, 0, 0x2000 + lead, 0];
            let words = length(c0(0)).unwrap() - 1;
            let execute = |writer: &mut Writer, receiver: &mut Receiver, c0: u32, rest: [u32; 5]| {
                let command: Vec<u32> = std::iter::once(c0).chain(rest).take(words + 1).collect();
                writer.execute(&command, receiver, &memory);
            };
            execute(&mut writer, &mut receiver, c0(cut), from);
            let next = [0, 0x1000 + to as u32 + cut as u32, 0, 0, 0];
            execute(&mut writer, &mut receiver, c0(ulpdu.len() - cut) | 1 << 5, next);
            prop_assert_eq!(memory.bytes(0x1000 + to, ulpdu.len()), ulpdu);
            prop_assert_eq!(writer.drain(), 0);
        }
    }

    #[test]
    fn every_tag_that_fails_is_told_once() {
        let memory = Memory::new(0x1000, 16);
        let (mut writer, mut receiver) = (Writer::default(), Receiver::new(6));
        for tag in [7u32, 8, 7] {
            writer.execute(&[op::TAG | tag << 16], &mut receiver, &memory);
            writer.execute(&[op::WORDS | 1 << 8, 0x2000, 0, 1], &mut receiver, &memory);
            writer.execute(&[op::WORDS | 1 << 8, 0x1001 + tag, 0, tag], &mut receiver, &memory);
        }
        assert!(writer.has_error());
        assert_eq!(writer.pending(), 1 << 31 | 1 | 7 << 16);
        assert_eq!((writer.drain(), writer.drain()), (1 | 8 << 16, 0));
        assert_eq!(memory.bytes(0x1008, 5), [7, 0, 0, 0, 0]);
        writer.execute(&[op::IRQ | 1 << 8], &mut receiver, &memory);
        assert!(writer.interrupt);
        assert_eq!([0, 6, 2, 2 | 33 << 8].map(length), [None; 4]);
    }
}
