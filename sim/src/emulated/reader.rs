//! Small reads (docs/microarchitecture.md section 5): words of host memory to the sequencer.

use super::command::{address, words};
use ironwarp_proto::pins::Dma;

/// Most words of a reply.
const MOST: u32 = 64;

/// Of each 16 words these are in the reply.
fn mask(first: u32) -> u32 {
    if first >> 16 == 0 { 0xffff } else { first >> 16 }
}

/// Words of memory that a command asks for.
pub fn asked(first: u32) -> u32 {
    first & 0xffff
}

/// Words of a command.
pub fn length(first: u32) -> Option<usize> {
    let (asked, mask) = (asked(first), mask(first));
    let kept = asked / 16 * mask.count_ones() + (mask & ((1 << (asked % 16)) - 1)).count_ones();
    (matches!(asked, 1..=256) && kept <= MOST).then_some(3)
}

/// The reply: status, then, if that is good, the words. Address bits 1:0 are ignored.
pub fn read(command: &[u32], dma: &dyn Dma) -> Vec<u32> {
    let from = address(command[1] & !3, command[2]);
    let mut data = vec![0; 4 * asked(command[0]) as usize];
    let kept = |n: usize| mask(command[0]) >> (n % 16) & 1 != 0;
    let kept = |data: &[u8]| {
        words(data).into_iter().enumerate().filter(|(n, _)| kept(*n)).map(|(_, word)| word).collect()
    };
    match dma.read(from, &mut data) {
        Ok(()) => [vec![0], kept(&data)].concat(),
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
        assert_eq!(read(&[4 | 5 << 16, 0x1000, 0x10], &memory), [0, 0, 0x0807_0605]);
        assert_eq!([0, 1, 64, 65].map(length), [None, Some(3), Some(3), None]);
        let four = 0x8101 << 16;
        assert_eq!([256 | 0xf << 16, 256 | 0x1f << 16, 257 | four].map(length), [Some(3), None, None]);
    }
}
