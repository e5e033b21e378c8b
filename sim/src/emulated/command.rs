//! Command words of an engine: collected into whole commands.

use std::collections::VecDeque;

/// Words of the command whose first word is this; `None` if there is no such command.
pub type Length = fn(u32) -> Option<usize>;

/// Takes words one by one, gives commands.
#[derive(Debug)]
pub struct Commands {
    length: Length,
    partial: Vec<u32>,
    need: usize,
    whole: VecDeque<Vec<u32>>,
}

impl Commands {
    /// Of an engine with this format.
    pub fn new(length: Length) -> Self {
        Self { length, partial: Vec::new(), need: 0, whole: VecDeque::new() }
    }

    /// The next word; `false` if it begins no command. True with the command it completes.
    pub fn push(&mut self, word: u32) -> bool {
        if self.partial.is_empty() {
            let Some(need) = (self.length)(word) else { return false };
            self.need = need;
        }
        self.partial.push(word);
        if self.partial.len() == self.need {
            self.whole.push_back(std::mem::take(&mut self.partial));
        }
        true
    }

    /// The next command.
    pub fn pop(&mut self) -> Option<Vec<u32>> {
        self.whole.pop_front()
    }

    /// The command that the last word completed.
    pub fn completed(&self) -> Option<&[u32]> {
        self.whole.back().filter(|_| self.partial.is_empty()).map(Vec::as_slice)
    }

    /// Whether no command waits.
    pub fn is_empty(&self) -> bool {
        self.whole.is_empty()
    }

    /// Words of a command that is not complete.
    pub fn unfinished(&self) -> &[u32] {
        &self.partial
    }
}

/// A 64-bit address of two words.
pub fn address(low: u32, high: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

/// Bytes of stream words: the first byte is the lowest.
pub fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Stream words of bytes, filled up with zeros.
pub fn words(bytes: &[u8]) -> Vec<u32> {
    let word = |chunk: &[u8]| {
        let mut word = [0; 4];
        word[..chunk.len()].copy_from_slice(chunk);
        u32::from_le_bytes(word)
    };
    bytes.chunks(4).map(word).collect()
}
