//! Host memory behind the channels of the core: latency, order, faults.

use super::pins::{ReadIn, ReadOut, WriteIn, WriteOut};
use ironwarp_proto::pins::Dma;
use std::collections::VecDeque;

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

/// One read channel. A burst is read when its first word comes: `latency` cycles after its command.
#[derive(Default)]
pub struct ReadChannel {
    bursts: VecDeque<Burst>,
}

impl ReadChannel {
    /// What the core sees in cycle `now`.
    pub fn drive(&mut self, now: u64, dma: &dyn Dma) -> ReadIn {
        let mut pins = ReadIn { accept: self.bursts.len() < 4, ..ReadIn::default() };
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
    pub fn take(&mut self, now: u64, latency: u64, pins: &ReadIn, out: &ReadOut) {
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
            self.bursts.push_back(Burst {
                due: now + 1 + latency,
                address,
                words,
                data: None,
                failed: false,
                at: 0,
            });
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

/// The write channel. A burst is written when its last word has come, and answered `latency` cycles later.
#[derive(Default)]
pub struct WriteChannel {
    commands: VecDeque<(u64, usize)>,
    data: Vec<(u32, u8)>,
    answers: VecDeque<(u64, bool)>,
}

impl WriteChannel {
    /// What the core sees in cycle `now`.
    pub fn drive(&self, now: u64) -> WriteIn {
        let answer = self.answers.front().filter(|(due, _)| *due <= now);
        WriteIn {
            accept: self.commands.len() < 4,
            ready: true,
            answered: answer.is_some(),
            failed: answer.is_some_and(|(_, failed)| *failed),
        }
    }

    /// The cycle ends: what was taken?
    pub fn take(&mut self, now: u64, latency: u64, pins: &WriteIn, out: &WriteOut, dma: &dyn Dma) {
        if pins.answered {
            self.answers.pop_front();
        }
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
            let burst: Vec<_> = self.data.drain(..words).collect();
            self.answers.push_back((now + 1 + latency, !store(address, &burst, dma)));
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
