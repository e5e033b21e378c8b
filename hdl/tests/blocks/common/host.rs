//! Host memory at the other end of the channels: slow, with pages that are not there, and particular about the rules.

use super::{Random, random};
use ironwarp_hdl::dma::{ReadMaster, WriteMaster};
use ironwarp_hdl::fb::FB;
use std::collections::{BTreeSet, HashMap, VecDeque};

const PAGE: u64 = 4096;

/// Bytes by address. What was never written is a function of the address.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    bytes: HashMap<u64, u8>,
    /// Numbers of pages that cannot be accessed.
    missing: BTreeSet<u64>,
}

impl Memory {
    /// Makes the page around `address` one that is not there.
    pub fn remove_page(&mut self, address: u64) {
        self.missing.insert(address / PAGE);
    }

    /// Whether there is memory.
    pub fn is_there(&self, address: u64) -> bool {
        !self.missing.contains(&(address / PAGE))
    }

    /// The byte at an address.
    pub fn byte(&self, address: u64) -> u8 {
        self.bytes.get(&address).copied().unwrap_or((address ^ address >> 8) as u8)
    }

    /// Writes bytes.
    pub fn write(&mut self, address: u64, bytes: &[u8]) {
        self.bytes.extend((address..).zip(bytes.iter().copied()));
    }

    /// Reads bytes.
    pub fn read(&self, address: u64, count: usize) -> Vec<u8> {
        (address..).take(count).map(|at| self.byte(at)).collect()
    }

    /// All bytes ever written.
    pub fn written(&self) -> impl Iterator<Item = (u64, u8)> {
        self.bytes.iter().map(|(address, byte)| (*address, *byte))
    }
}

/// A command as the rules want it.
fn check_command(address: u64, words: u64) {
    assert!(address.is_multiple_of(4), "{address:#x}");
    assert!((1..=1024).contains(&words), "{words} words");
    assert_eq!(address / PAGE, (address + 4 * words - 1) / PAGE, "{words} words at {address:#x}");
}

/// Answers a read channel.
pub struct Reads {
    random: Random,
    /// One in so many cycles something happens.
    pace: usize,
    words: VecDeque<(u64, bool)>,
    offered: Option<(u64, bool)>,
    waiting: Option<(u64, u64)>,
    accepts: bool,
}

impl Reads {
    /// At a pace.
    pub fn new(seed: u64, pace: usize) -> Self {
        Reads {
            random: random(seed ^ 0x5eed),
            pace,
            words: VecDeque::new(),
            offered: None,
            waiting: None,
            accepts: false,
        }
    }

    /// Drives the inputs of the port for this cycle.
    pub fn drive(&mut self, port: &mut ReadMaster, memory: &Memory) {
        self.accepts = self.random.below(self.pace) == 0 && self.words.len() < 3000;
        port.accept.next = self.accepts;
        if self.offered.is_none() && self.random.below(self.pace) == 0 {
            self.offered = self.words.pop_front();
        }
        port.valid.next = self.offered.is_some();
        let noise = self.random.word();
        let (data, last, error) = match self.offered {
            Some((address, last)) if memory.is_there(address) => {
                (u32::from_le_bytes(memory.read(address, 4).try_into().unwrap()), last, false)
            }
            Some((_, last)) => (noise, last, true),
            None => (noise, noise & 1 != 0, noise & 2 != 0),
        };
        port.data.next = FB::new(data.into());
        port.last.next = last;
        port.error.next = error;
    }

    /// The settled cycle.
    pub fn look(&mut self, port: &ReadMaster) {
        let command = port.request.val().then(|| (port.address.val().get(), port.words.val().get()));
        if self.waiting.is_some() {
            assert_eq!(command, self.waiting, "a command changed before it was taken");
        }
        self.waiting = command.filter(|_| !self.accepts);
        if let Some((address, words)) = command.filter(|_| self.accepts) {
            check_command(address, words);
            self.words.extend((0..words).map(|i| (address + 4 * i, i + 1 == words)));
        }
        if self.offered.is_some() && port.ready.val() {
            self.offered = None;
        }
    }

    /// Nothing was asked for that has not been taken.
    pub fn is_quiet(&self) -> bool {
        self.words.is_empty() && self.offered.is_none() && self.waiting.is_none()
    }
}

/// Answers a write channel.
pub struct Writes {
    random: Random,
    pace: usize,
    commands: VecDeque<(u64, u64)>,
    words: VecDeque<(u32, u8, bool)>,
    answers: VecDeque<bool>,
    waiting: Option<(u64, u64)>,
    offered: Option<(u32, u8, bool)>,
    accepts: bool,
    takes: bool,
    answered: bool,
}

impl Writes {
    /// At a pace.
    pub fn new(seed: u64, pace: usize) -> Self {
        Writes {
            random: random(seed ^ 0xd00d),
            pace,
            commands: VecDeque::new(),
            words: VecDeque::new(),
            answers: VecDeque::new(),
            waiting: None,
            offered: None,
            accepts: false,
            takes: false,
            answered: false,
        }
    }

    /// Drives the inputs of the port for this cycle.
    pub fn drive(&mut self, port: &mut WriteMaster) {
        self.accepts = self.random.below(self.pace) == 0;
        self.takes = self.random.below(self.pace) == 0;
        port.accept.next = self.accepts;
        port.ready.next = self.takes;
        self.answered = !self.answers.is_empty() && self.random.below(4 * self.pace) == 0;
        port.answered.next = self.answered;
        // Noise where there is no answer.
        port.failed.next = self.answers.front().copied().filter(|_| self.answered).unwrap_or(true);
    }

    /// The settled cycle.
    pub fn look(&mut self, port: &WriteMaster, memory: &mut Memory) {
        let command = port.request.val().then(|| (port.address.val().get(), port.words.val().get()));
        if self.waiting.is_some() {
            assert_eq!(command, self.waiting, "a command changed before it was taken");
        }
        self.waiting = command.filter(|_| !self.accepts);
        if let Some((address, words)) = command.filter(|_| self.accepts) {
            check_command(address, words);
            self.commands.push_back((address, words));
        }
        let (data, strobes) = (port.data.val().get() as u32, port.strobes.val().get() as u8);
        let word = port.valid.val().then(|| (data, strobes, port.last.val()));
        if self.offered.is_some() {
            assert_eq!(word, self.offered, "a word changed before it was taken");
        }
        self.offered = word.filter(|_| !self.takes);
        self.words.extend(word.filter(|_| self.takes));
        if self.answered {
            self.answers.pop_front();
        }
        while let Some((address, words)) = self.commands.front().copied() {
            if self.words.len() < words as usize {
                break;
            }
            self.commands.pop_front();
            self.answers.push_back(!memory.is_there(address));
            for (i, (data, strobes, last)) in self.words.drain(..words as usize).enumerate() {
                assert_eq!(last, i + 1 == words as usize, "word {i} of {words}");
                for (lane, byte) in data.to_le_bytes().into_iter().enumerate() {
                    if strobes >> lane & 1 != 0 && memory.is_there(address) {
                        memory.write(address + 4 * i as u64 + lane as u64, &[byte]);
                    }
                }
            }
        }
    }

    /// Everything is answered.
    pub fn is_quiet(&self) -> bool {
        self.commands.is_empty()
            && self.words.is_empty()
            && self.answers.is_empty()
            && self.waiting.is_none()
            && self.offered.is_none()
    }
}

/// Offers the words of commands, and noise where there is none.
pub struct Commands {
    random: Random,
    pace: usize,
    words: VecDeque<u32>,
    offered: bool,
}

impl Commands {
    /// At a pace.
    pub fn new(seed: u64, pace: usize, words: impl IntoIterator<Item = u32>) -> Self {
        Commands { random: random(seed ^ 0xc0de), pace, words: words.into_iter().collect(), offered: false }
    }

    /// The word for this cycle, and whether there is one.
    pub fn offer(&mut self) -> (FB<32>, bool) {
        self.offered = !self.words.is_empty() && (self.offered || self.random.below(self.pace) == 0);
        let noise = self.random.word();
        let word = if self.offered { self.words[0] } else { noise };
        (FB::new(word.into()), self.offered)
    }

    /// The settled cycle.
    pub fn look(&mut self, ready: bool) {
        if self.offered && ready {
            self.words.pop_front();
            self.offered = false;
        }
    }

    /// All words have been taken.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }
}
