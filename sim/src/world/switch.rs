//! The learning Ethernet segment between the nodes.

use std::collections::HashMap;

/// Bytes of an Ethernet address.
const ADDR: usize = 6;
/// Most addresses remembered, so that a device that makes up addresses cannot fill the memory.
const MAX_ADDRS: usize = 4096;

/// Where frames go.
#[derive(Default)]
pub(super) struct Switch {
    nodes: HashMap<[u8; ADDR], usize>,
}

fn addr(frame: &[u8], at: usize) -> Option<[u8; ADDR]> {
    frame.get(at..at + ADDR)?.try_into().ok()
}

impl Switch {
    /// Remember where the source of a frame is. A group address is no source.
    pub(super) fn learn(&mut self, node: usize, frame: &[u8]) {
        if let Some(source) = addr(frame, ADDR).filter(|source| source[0] & 1 == 0)
            && (self.nodes.len() < MAX_ADDRS || self.nodes.contains_key(&source))
        {
            self.nodes.insert(source, node);
        }
    }

    /// The one node that a frame is for; `None` means all but the sender.
    pub(super) fn find(&self, frame: &[u8]) -> Option<usize> {
        self.nodes.get(&addr(frame, 0)?).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded_and_known_addresses_can_still_move() {
        let mut switch = Switch::default();
        let mut frame = [0; 14];
        for n in 0..2 * MAX_ADDRS as u32 {
            frame[8..12].copy_from_slice(&n.to_be_bytes());
            switch.learn(1, &frame);
        }
        assert_eq!(switch.nodes.len(), MAX_ADDRS);
        frame[8..12].fill(0);
        switch.learn(2, &frame);
        assert_eq!(switch.find(&[0; 14]), Some(2));
    }

    #[test]
    fn group_addresses_and_stumps_are_not_learnt() {
        let mut switch = Switch::default();
        switch.learn(1, &[0xff; 14]);
        switch.learn(1, &[0; 11]);
        assert!(switch.nodes.is_empty());
        assert_eq!(switch.find(&[0; 3]), None);
    }
}
