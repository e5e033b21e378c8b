//! An RMII PHY with a cable: frames to di-bits and back, a pair each cycle of the 50 MHz reference.

use std::collections::VecDeque;

/// Di-bits of silence between two frames: 96 bits.
pub const GAP: u64 = 48;
/// Shortest frame without FCS, bytes: shorter ones are padded.
const SHORTEST: usize = 60;

/// The FCS of a frame as it goes over the wire (IEEE 802.3 3.2.9), a bit at a time.
pub fn fcs(frame: &[u8]) -> [u8; 4] {
    let crc = frame.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 })
    });
    (!crc).to_le_bytes()
}

/// How a frame is presented to the receive pins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// 01 di-bits in front of the 11: 31, less what was lost.
    pub preamble: usize,
    /// 00 di-bits in front of those, with CRS_DV.
    pub carrier: usize,
    /// Nibbles at the end during which CRS_DV toggles.
    pub toggles: usize,
    /// Di-bits behind the last byte.
    pub dribble: usize,
}

impl Default for Shape {
    fn default() -> Self {
        Shape { preamble: 31, carrier: 5, toggles: 3, dribble: 0 }
    }
}

/// A frame that the device has sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// Without FCS, with padding.
    pub bytes: Vec<u8>,
    /// Preamble and SFD were right, and so was the FCS.
    pub good: bool,
    /// Cycles of silence in front of it.
    pub gap: u64,
}

/// The PHY.
#[derive(Debug, Clone, Default)]
pub struct Phy {
    /// Di-bit and CRS_DV of the cycles to come.
    receive: VecDeque<(u8, bool)>,
    /// Di-bits of the frame that is being sent.
    pairs: Vec<u8>,
    silence: u64,
    sent: VecDeque<Sent>,
}

impl Phy {
    /// A frame arrives: padded, with its FCS.
    pub fn deliver(&mut self, frame: &[u8]) {
        let mut bytes = frame.to_vec();
        bytes.resize(bytes.len().max(SHORTEST), 0);
        bytes.extend(fcs(&bytes));
        self.deliver_raw(&bytes, Shape::default());
    }

    /// These bytes arrive, whatever they are.
    pub fn deliver_raw(&mut self, bytes: &[u8], shape: Shape) {
        self.receive.extend(std::iter::repeat_n((0, true), shape.carrier));
        self.receive.extend(std::iter::repeat_n((1, true), shape.preamble));
        self.receive.push_back((3, true));
        let mut pairs: Vec<u8> =
            bytes.iter().flat_map(|byte| [0, 2, 4, 6].map(|shift| byte >> shift & 3)).collect();
        pairs.extend(std::iter::repeat_n(2, shape.dribble));
        let steady = pairs.len().saturating_sub(2 * shape.toggles);
        // From where it toggles, CRS_DV is low with the first di-bit of each nibble.
        let valid = |at: usize| at < steady || (at - steady) % 2 == 1;
        self.receive.extend(pairs.iter().enumerate().map(|(at, pair)| (*pair, valid(at))));
        self.receive.extend(std::iter::repeat_n((0, false), GAP as usize));
    }

    /// Nothing is arriving.
    pub fn is_idle(&self) -> bool {
        self.receive.is_empty()
    }

    /// Di-bit and CRS_DV of this cycle.
    pub fn drive(&mut self) -> (u8, bool) {
        self.receive.pop_front().unwrap_or((0, false))
    }

    /// The transmit pins in this cycle.
    pub fn look(&mut self, txd: u8, tx_en: bool) {
        if tx_en {
            self.pairs.push(txd & 3);
            return;
        }
        if self.pairs.is_empty() {
            self.silence += 1;
            return;
        }
        let pairs = std::mem::take(&mut self.pairs);
        let gap = std::mem::replace(&mut self.silence, 1);
        let framed = pairs.len() > 32 && pairs[..31].iter().all(|pair| *pair == 1) && pairs[31] == 3;
        let data = pairs.get(32..).unwrap_or_default();
        let mut bytes: Vec<u8> = data
            .chunks_exact(4)
            .map(|four| four.iter().rev().fold(0, |byte, pair| byte << 2 | pair))
            .collect();
        let field = bytes.split_off(bytes.len().saturating_sub(4));
        let good = framed && data.len() % 4 == 0 && field == fcs(&bytes);
        self.sent.push_back(Sent { bytes, good, gap });
    }

    /// The next frame that the device has sent.
    pub fn take(&mut self) -> Option<Sent> {
        self.sent.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fcs_is_crc_32() {
        assert_eq!(fcs(b"123456789"), 0xcbf4_3926u32.to_le_bytes());
    }

    #[test]
    fn a_frame_comes_back() {
        let mut phy = Phy::default();
        let frame: Vec<u8> = (0..99).collect();
        phy.deliver_raw(&[&frame[..], &fcs(&frame)].concat(), Shape { carrier: 0, ..Shape::default() });
        let mut pairs = Vec::new();
        while !phy.is_idle() {
            pairs.push(phy.drive());
        }
        for (pair, _) in &pairs[..pairs.len() - GAP as usize] {
            phy.look(*pair, true);
        }
        phy.look(0, false);
        assert_eq!(phy.take(), Some(Sent { bytes: frame, good: true, gap: 0 }));
    }
}
