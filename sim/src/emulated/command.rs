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
    whole: Delayed<Vec<u32>>,
}

impl Commands {
    /// Of an engine with this format.
    pub fn new(length: Length) -> Self {
        Self { length, partial: Vec::new(), need: 0, whole: Delayed::default() }
    }

    /// The next word; `None` if it begins no command, else whether it completes one.
    pub fn push(&mut self, word: u32) -> Option<bool> {
        if self.partial.is_empty() {
            self.need = (self.length)(word)?;
        }
        self.partial.push(word);
        Some(self.partial.len() == self.need)
    }

    /// The command that the last word has completed.
    pub fn complete(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.partial)
    }

    /// Keep a command until cycle `at`.
    pub fn defer(&mut self, at: u64, command: Vec<u32>) {
        self.whole.push(at, command);
    }

    /// The commands kept.
    pub fn deferred(&mut self) -> &mut Delayed<Vec<u32>> {
        &mut self.whole
    }

    /// When the first of them is due.
    pub fn next(&self) -> Option<u64> {
        self.whole.next()
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

/// Things in order that are there from a cycle on.
#[derive(Debug)]
pub struct Delayed<T>(VecDeque<(u64, T)>);

impl<T> Default for Delayed<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> Delayed<T> {
    /// Behind the others, and not before them.
    pub fn push(&mut self, at: u64, item: T) {
        self.0.push_back((at, item));
    }
    /// The first, if it is there at cycle `now`.
    pub fn pop(&mut self, now: u64) -> Option<T> {
        if self.next()? <= now { self.0.pop_front().map(|(_, item)| item) } else { None }
    }
    /// When the first is there.
    pub fn next(&self) -> Option<u64> {
        self.0.front().map(|(at, _)| *at)
    }
    /// Whether the first is there.
    pub fn is_ready(&self, now: u64) -> bool {
        self.next().is_some_and(|at| at <= now)
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
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
