//! A GMII PHY with a cable: frames to bytes and back, one each cycle of 125 MHz.

use super::rmii::{Sent, fcs};
use std::collections::VecDeque;

/// Bytes of silence between two frames.
pub const GMII_GAP: u64 = 12;
/// Shortest frame without FCS, bytes: shorter ones are padded.
const SHORTEST: usize = 60;

/// A cycle of the receive pins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Received {
    /// RXD.
    pub byte: u8,
    /// RX_DV.
    pub valid: bool,
    /// RX_ER.
    pub error: bool,
}

/// The PHY.
#[derive(Debug, Clone, Default)]
pub struct GmiiPhy {
    receive: VecDeque<Received>,
    bytes: Vec<u8>,
    error: bool,
    silence: u64,
    sent: VecDeque<Sent>,
}

impl GmiiPhy {
    /// A frame arrives: padded, with its FCS.
    pub fn deliver(&mut self, frame: &[u8]) {
        let mut bytes = frame.to_vec();
        bytes.resize(bytes.len().max(SHORTEST), 0);
        bytes.extend(fcs(&bytes));
        self.deliver_raw(&bytes, 7, None);
    }

    /// These bytes arrive, whatever they are, behind so many 55s and a D5; RX_ER stands with the byte `error`.
    pub fn deliver_raw(&mut self, bytes: &[u8], preamble: usize, error: Option<usize>) {
        let cycle = |byte: u8| Received { byte, valid: true, error: false };
        self.receive.extend(std::iter::repeat_n(cycle(0x55), preamble));
        self.receive.push_back(cycle(0xd5));
        let data = bytes.iter().enumerate();
        self.receive.extend(data.map(|(at, byte)| Received { error: error == Some(at), ..cycle(*byte) }));
        self.receive.extend(std::iter::repeat_n(Received::default(), GMII_GAP as usize));
    }

    /// These cycles come.
    pub fn deliver_cycles(&mut self, cycles: impl IntoIterator<Item = Received>) {
        self.receive.extend(cycles);
    }

    /// The receive pins in this cycle.
    pub fn drive(&mut self) -> Received {
        self.receive.pop_front().unwrap_or_default()
    }

    /// The transmit pins in this cycle.
    pub fn look(&mut self, txd: u8, tx_en: bool, tx_er: bool) {
        if tx_en {
            self.bytes.push(txd);
            self.error |= tx_er;
            return;
        }
        if self.bytes.is_empty() {
            self.silence += 1;
            return;
        }
        let all = std::mem::take(&mut self.bytes);
        let gap = std::mem::replace(&mut self.silence, 1);
        let framed = all.len() > 8 && all[..7] == [0x55; 7] && all[7] == 0xd5;
        let mut bytes = all.get(8..).unwrap_or_default().to_vec();
        let field = bytes.split_off(bytes.len().saturating_sub(4));
        let good = framed && !std::mem::take(&mut self.error) && field == fcs(&bytes);
        self.sent.push_back(Sent { bytes, good, gap });
    }

    /// The next frame that the device has sent.
    pub fn take(&mut self) -> Option<Sent> {
        self.sent.pop_front()
    }
}
