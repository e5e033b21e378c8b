//! Fields of word-structured layouts: one declaration serves the codec, the documentation and the hardware.

/// A bit field of a structure made of 32-bit words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Name in documents.
    pub name: &'static str,
    /// Word that holds its least significant bit.
    pub word: usize,
    /// Lowest bit in that word.
    pub lsb: u32,
    /// Width in bits, 1..=64; a field wider than 32 starts at bit 0 and goes on in the next word.
    pub width: u32,
    /// What it means, with units.
    pub doc: &'static str,
}

impl Field {
    /// Declare a field.
    pub const fn new(name: &'static str, word: usize, lsb: u32, width: u32, doc: &'static str) -> Self {
        assert!(width >= 1 && (lsb + width <= 32 || (lsb == 0 && width <= 64)));
        Self { name, word, lsb, width, doc }
    }
    /// Largest value that the field holds.
    pub const fn max(&self) -> u64 {
        if self.width == 64 { u64::MAX } else { (1 << self.width) - 1 }
    }
    /// Value of the field; words that `words` lacks read as 0.
    pub fn get(&self, words: &[u32]) -> u64 {
        let word = |index: usize| u64::from(words.get(index).copied().unwrap_or(0));
        let high = if self.width > 32 { word(self.word + 1) << 32 } else { 0 };
        ((high | word(self.word)) >> self.lsb) & self.max()
    }
    /// Value of a field of at most 32 bits.
    pub fn get32(&self, words: &[u32]) -> u32 {
        self.get(words) as u32
    }
    /// Value of a field of at most 16 bits.
    pub fn get16(&self, words: &[u32]) -> u16 {
        self.get(words) as u16
    }
    /// Whether the field is not zero.
    pub fn is_set(&self, words: &[u32]) -> bool {
        self.get(words) != 0
    }
    /// Store `value`, cut to the field's width.
    pub fn set(&self, words: &mut [u32], value: impl Into<u64>) {
        let value = value.into() & self.max();
        let mask = self.max() << self.lsb;
        let bits = value << self.lsb;
        words[self.word] = words[self.word] & !(mask as u32) | bits as u32;
        if self.width > 32 {
            let (mask, bits) = ((mask >> 32) as u32, (bits >> 32) as u32);
            words[self.word + 1] = words[self.word + 1] & !mask | bits;
        }
    }
}

/// A structure of words and its fields.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// Heading in documents.
    pub name: &'static str,
    /// Size in 32-bit words.
    pub words: usize,
    /// What it is and who writes it.
    pub doc: &'static str,
    /// Its fields in order.
    pub fields: &'static [Field],
}

/// Words of `bytes`, little-endian; a last partial word is filled with zeros.
pub fn words_of(bytes: &[u8]) -> Vec<u32> {
    let word = |chunk: &[u8]| {
        let mut padded = [0; 4];
        padded[..chunk.len()].copy_from_slice(chunk);
        u32::from_le_bytes(padded)
    };
    bytes.chunks(4).map(word).collect()
}

/// The `N` words of a structure fetched from memory as `bytes`; missing ones are 0.
pub fn load<const N: usize>(bytes: &[u8]) -> [u32; N] {
    let mut words = [0; N];
    for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(4)) {
        *word = u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]);
    }
    words
}

/// The bytes of `words` as they stand in memory.
pub fn bytes_of(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_do_not_touch_their_neighbours() {
        let middle = Field::new("middle", 1, 4, 8, "");
        let wide = Field::new("wide", 2, 0, 48, "");
        let mut words = [u32::MAX; 4];
        middle.set(&mut words, 0u32);
        assert_eq!(words, [u32::MAX, 0xffff_f00f, u32::MAX, u32::MAX]);
        wide.set(&mut words, 0x1234_5678_9abcu64);
        assert_eq!(words[2..], [0x5678_9abc, 0xffff_1234]);
        assert_eq!((middle.get(&words), wide.get(&words)), (0, 0x1234_5678_9abc));
        middle.set(&mut words, 0xfffu32);
        assert_eq!(middle.get(&words), 0xff, "values are cut to the width");
        assert_eq!(load::<4>(&bytes_of(&words)), words);
        assert_eq!(words_of(&[1, 0, 0, 0, 2]), [1, 2]);
    }
}
