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
            burst.failed = dma.read(burst.address, &mut data).is_err();
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

#[cfg(test)]
mod tests {
    use super::*;
    use ironwarp_driver::transport::HostMemory;
    use ironwarp_proto::pins::DmaFault;
    use std::sync::Mutex;

    const AT_ONCE: DmaTiming = DmaTiming { latency: 0, jitter: 0, seed: 0 };

    /// Refuses one access, once, and lets all others through.
    struct Once(Mutex<usize>);

    impl Once {
        /// Refuse the one behind `count`.
        fn after(count: usize) -> Self {
            Self(Mutex::new(count))
        }
        fn judge(&self, addr: u64, len: usize) -> Result<(), DmaFault> {
            let mut left = self.0.lock().unwrap();
            let refused = *left == 0;
            *left = left.wrapping_sub(1);
            if refused { Err(DmaFault { addr, len }) } else { Ok(()) }
        }
    }

    impl Dma for Once {
        fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), DmaFault> {
            self.judge(addr, buf.len())
        }
        fn write(&self, addr: u64, data: &[u8]) -> Result<(), DmaFault> {
            self.judge(addr, data.len())
        }
    }

    /// The words of bursts of `words` words at these addresses, and whether each is in error.
    fn read(dma: &dyn Dma, addresses: &[u64], words: u16) -> Vec<(u32, bool)> {
        let mut channel = ReadChannel::new(AT_ONCE, 0);
        let mut commands = addresses.iter().copied();
        let mut out = ReadOut { ready: true, request: true, words, address: commands.next().unwrap() };
        let mut found = Vec::new();
        for now in 0..100 {
            let pins = channel.drive(now, dma);
            channel.take(now, &pins, &out);
            if pins.accept && out.request {
                out.address = commands.next().unwrap_or_else(|| {
                    out.request = false;
                    0
                });
            }
            if pins.valid {
                found.push((pins.data, pins.error));
            }
        }
        assert!(channel.is_idle());
        found
    }

    #[test]
    fn a_burst_that_is_refused_once_has_failed() {
        for refused in 0..3 {
            let found = read(&Once::after(refused), &[0, 100, 200], 3);
            let expected: Vec<_> = (0..9).map(|word| (0, word / 3 == refused)).collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn memory_is_read_to_the_end_of_its_last_word() {
        let memory = HostMemory::new();
        let block = memory.alloc(5).unwrap();
        assert!(block.write(0, &[1, 2, 3, 4, 5]));
        assert_eq!(read(&*memory, &[block.addr()], 2), [(0x0403_0201, false), (5, false)]);
        assert!(read(&*memory, &[block.addr()], 3).iter().all(|(_, error)| *error));
    }

    #[test]
    fn a_write_fails_if_one_of_its_runs_does() {
        // Two runs of bytes.
        let words = [(0x0403_0201, 0b0011), (0x0807_0605, 0b1100)];
        assert!(store(0, &words, &Once::after(2)));
        for refused in 0..2 {
            assert!(!store(0, &words, &Once::after(refused)));
        }
    }
}
