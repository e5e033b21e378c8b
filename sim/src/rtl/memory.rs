//! Host memory behind the channels of the core: latency, order, faults.

use super::pins::{ReadIn, ReadOut, WriteIn, WriteOut};
use ironwarp_proto::pins::Dma;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::collections::VecDeque;

/// How fast host memory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DmaTiming {
    /// Cycles from a command to its first word, and from a write's last word to its answer.
    pub latency: u64,
    /// Up to as many more, at random; if not 0, every channel also holds its words back at random.
    pub jitter: u64,
    /// Seed of the randomness.
    pub seed: u64,
}

/// The whims of one channel.
struct Whims {
    timing: DmaTiming,
    random: SmallRng,
    /// The channel holds everything back for so many cycles.
    stall: u64,
}

impl Whims {
    /// Cycles in which it goes on between two stalls, about.
    const RUN: u32 = 12;

    fn new(timing: DmaTiming, channel: u64) -> Self {
        let random = SmallRng::seed_from_u64(timing.seed ^ channel << 32);
        Self { timing, random, stall: 0 }
    }

    /// When what begins in cycle `now` is done.
    fn due(&mut self, now: u64) -> u64 {
        let more = if self.timing.jitter == 0 { 0 } else { self.random.random_range(0..=self.timing.jitter) };
        now + 1 + self.timing.latency + more
    }

    /// Whether the channel does nothing in this cycle.
    fn stalls(&mut self) -> bool {
        if self.timing.jitter == 0 {
            return false;
        }
        if self.stall == 0 && self.random.random_range(0..Self::RUN) == 0 {
            self.stall = self.random.random_range(1..=self.timing.jitter);
        }
        let stalls = self.stall > 0;
        self.stall = self.stall.saturating_sub(1);
        stalls
    }
}

/// A burst under way.
struct Burst {
    due: u64,
    address: u64,
    words: usize,
    /// What was read when the first word was due.
    data: Option<Vec<u8>>,
    failed: bool,
    at: usize,
}

/// One read channel. A burst is read when its first word comes.
pub struct ReadChannel {
    whims: Whims,
    bursts: VecDeque<Burst>,
    /// A word that was shown and not taken stays.
    shown: bool,
}

impl ReadChannel {
    /// Channel number `channel` of a memory.
    pub fn new(timing: DmaTiming, channel: u64) -> Self {
        Self { whims: Whims::new(timing, channel), bursts: VecDeque::new(), shown: false }
    }

    /// What the core sees in cycle `now`.
    pub fn drive(&mut self, now: u64, dma: &dyn Dma) -> ReadIn {
        let stalls = self.whims.stalls();
        let mut pins = ReadIn { accept: !stalls && self.bursts.len() < 4, ..ReadIn::default() };
        if stalls && !self.shown {
            return pins;
        }
        let Some(burst) = self.bursts.front_mut().filter(|burst| burst.due <= now) else { return pins };
        if burst.data.is_none() {
            let mut data = vec![0; burst.words * 4];
            burst.failed = dma.read(burst.address, &mut data).is_err() && !whole_words(burst, dma, &mut data);
            burst.data = Some(data);
        }
        let at = burst.at * 4;
        let word = burst.data.as_deref().and_then(|data| data.get(at..at + 4)?.try_into().ok());
        pins.valid = true;
        pins.data = u32::from_le_bytes(word.unwrap_or_default());
        pins.last = burst.at + 1 == burst.words;
        pins.error = burst.failed;
        pins
    }

    /// The cycle ends: what was taken?
    pub fn take(&mut self, now: u64, pins: &ReadIn, out: &ReadOut) {
        self.shown = pins.valid && !out.ready;
        if pins.valid && out.ready {
            if let Some(burst) = self.bursts.front_mut() {
                burst.at += 1;
            }
            if pins.last {
                self.bursts.pop_front();
            }
        }
        if pins.accept && out.request {
            let (address, words) = (out.address, usize::from(out.words));
            let due = self.whims.due(now);
            self.bursts.push_back(Burst { due, address, words, data: None, failed: false, at: 0 });
        }
    }

    /// Nothing is under way.
    pub fn is_idle(&self) -> bool {
        self.bursts.is_empty()
    }
}

/// The device reads whole words, and memory may begin or end inside the first or last: it is then read byte by byte there.
/// `false` if a word is not there at all.
fn whole_words(burst: &Burst, dma: &dyn Dma, data: &mut [u8]) -> bool {
    let last = burst.words - 1;
    for (word, bytes) in data.chunks_exact_mut(4).enumerate() {
        let address = burst.address.wrapping_add(4 * word as u64);
        if dma.read(address, bytes).is_ok() {
            continue;
        }
        if word != 0 && word != last {
            return false;
        }
        let mut any = false;
        for (byte, at) in bytes.iter_mut().zip(0..) {
            any |= dma.read(address.wrapping_add(at), std::slice::from_mut(byte)).is_ok();
        }
        if !any {
            return false;
        }
    }
    true
}

/// The write channel. What a burst writes is there when it is answered, at the latest moment that the rules allow.
pub struct WriteChannel {
    whims: Whims,
    commands: VecDeque<(u64, usize)>,
    data: Vec<(u32, u8)>,
    answers: VecDeque<Written>,
}

/// A burst that has come and is not answered.
struct Written {
    due: u64,
    address: u64,
    words: Vec<(u32, u8)>,
}

impl WriteChannel {
    /// Channel number `channel` of a memory.
    pub fn new(timing: DmaTiming, channel: u64) -> Self {
        let whims = Whims::new(timing, channel);
        Self { whims, commands: VecDeque::new(), data: Vec::new(), answers: VecDeque::new() }
    }

    /// What the core sees in cycle `now`.
    pub fn drive(&mut self, now: u64, dma: &dyn Dma) -> WriteIn {
        let stalls = self.whims.stalls();
        let done = !stalls && self.answers.front().is_some_and(|written| written.due <= now);
        let failed = done
            && self.answers.pop_front().is_some_and(|written| !store(written.address, &written.words, dma));
        WriteIn { accept: !stalls && self.commands.len() < 4, ready: !stalls, answered: done, failed }
    }

    /// The cycle ends: what was taken?
    pub fn take(&mut self, now: u64, pins: &WriteIn, out: &WriteOut) {
        if pins.accept && out.request {
            self.commands.push_back((out.address, usize::from(out.words)));
        }
        if pins.ready && out.valid {
            self.data.push((out.data, out.strobes));
        }
        if let Some((address, words)) = self.commands.front().copied()
            && self.data.len() >= words
        {
            self.commands.pop_front();
            let words = self.data.drain(..words).collect();
            let due = self.whims.due(now);
            self.answers.push_back(Written { due, address, words });
        }
    }

    /// Nothing is under way.
    pub fn is_idle(&self) -> bool {
        self.commands.is_empty() && self.data.is_empty() && self.answers.is_empty()
    }
}

/// Write the bytes whose strobes are set; `false` if that failed.
fn store(address: u64, burst: &[(u32, u8)], dma: &dyn Dma) -> bool {
    let mut good = true;
    let mut run: Option<(u64, Vec<u8>)> = None;
    for (word, (data, strobes)) in burst.iter().enumerate() {
        for (lane, byte) in data.to_le_bytes().into_iter().enumerate() {
            if strobes >> lane & 1 != 0 {
                let at = address.wrapping_add((4 * word + lane) as u64);
                run.get_or_insert_with(|| (at, Vec::new())).1.push(byte);
            } else if let Some((at, bytes)) = run.take() {
                good &= dma.write(at, &bytes).is_ok();
            }
        }
    }
    if let Some((at, bytes)) = run {
        good &= dma.write(at, &bytes).is_ok();
    }
    good
}
