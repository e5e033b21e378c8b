//! Small reads (docs/microarchitecture.md section 5): words of host memory to the sequencer.

use super::command::{address, words};
use ironwarp_proto::pins::Dma;

/// Words of a command.
pub fn length(first: u32) -> Option<usize> {
    matches!(first, 1..=64).then_some(3)
}

/// The reply: status, then, if that is good, the words. Address bits 1:0 are ignored.
pub fn read(command: &[u32], dma: &dyn Dma) -> Vec<u32> {
    let from = address(command[1] & !3, command[2]);
    let mut data = vec![0; 4 * command[0] as usize];
    match dma.read(from, &mut data) {
        Ok(()) => std::iter::once(0).chain(words(&data)).collect(),
        Err(_) => vec![1],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulated::memory::Memory;

    #[test]
    fn words_come_behind_a_good_status() {
        let memory = Memory::new(0x10_0000_1000, 16);
        memory.write(0x10_0000_1004, &[1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
        assert_eq!(read(&[2, 0x1004, 0x10], &memory), [0, 0x0403_0201, 0x0807_0605]);
        assert_eq!(read(&[2, 0x100c, 0x10], &memory), [1]);
        assert_eq!(read(&[1, 0x1007, 0x10], &memory), [0, 0x0403_0201]);
        assert_eq!([0, 1, 64, 65].map(length), [None, Some(3), Some(3), None]);
    }
}
