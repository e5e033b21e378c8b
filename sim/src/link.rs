//! One direction of an Ethernet link: its rate, its delay and its faults.

mod config;
#[cfg(test)]
mod tests;

pub use config::{LinkConfig, LinkError};

use ironwarp_proto::pins::{Frame, Nanos};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::fmt;

/// Shortest frame on the wire without FCS, bytes; a MAC pads what is shorter.
const MIN_FRAME: usize = 60;
/// FCS, preamble with start delimiter, and interframe gap, bytes.
const OVERHEAD: u64 = 4 + 8 + 12;
/// Nanoseconds in a second.
const SECOND: u128 = 1_000_000_000;

/// Bits of wire time that a frame of `frame_len` bytes (without FCS) takes, with padding, FCS, preamble and gap.
pub fn wire_time_bits(frame_len: usize) -> u64 {
    (frame_len.max(MIN_FRAME) as u64).saturating_add(OVERHEAD).saturating_mul(8)
}

/// Ethernet header, bytes.
const HEADER: usize = 14;

/// Whether a layer above Ethernet protects the content. ARP and the Ethernet header have nothing but the FCS: behind it, a
/// flipped bit is a wrong neighbour that nobody can notice, not an impairment to be survived.
fn is_checked(frame: &[u8]) -> bool {
    frame.get(12..HEADER) != Some(&[0x08, 0x06])
}

/// What the link does to one frame. A lost frame suffers nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fate {
    /// It never arrives.
    pub lost: bool,
    /// One bit is flipped.
    pub corrupted: bool,
    /// It arrives twice.
    pub duplicated: bool,
    /// It is held back. If it is duplicated too, only one of the two is.
    pub reordered: bool,
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults = [
            (self.lost, "lost"),
            (self.corrupted, "corrupted"),
            (self.duplicated, "duplicated"),
            (self.reordered, "reordered"),
        ];
        let mut separator = "";
        for (_, name) in faults.iter().filter(|(happens, _)| *happens) {
            write!(f, "{separator}{name}")?;
            separator = ", ";
        }
        Ok(())
    }
}

/// What has gone over a link since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinkStats {
    /// Frames put on the wire.
    pub frames: u64,
    /// Bytes of these frames, without padding and FCS.
    pub bytes: u64,
    /// Frames lost.
    pub lost: u64,
    /// Frames delivered twice.
    pub duplicated: u64,
    /// Frames held back.
    pub reordered: u64,
    /// Frames delivered with a flipped bit.
    pub corrupted: u64,
    /// Time for which the wire was occupied, nanoseconds; by the time passed, this is the utilisation.
    pub busy_ns: u64,
}

/// A frame on its way and the time at which it arrives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Arrival, nanoseconds.
    pub at: Nanos,
    /// The frame as it arrives.
    pub frame: Frame,
}

/// A frame held back for others to overtake.
struct Held {
    frame: Frame,
    overtakers: u32,
    deadline: Nanos,
}

/// One direction of a link. It is driven with explicit time and random only by its seed.
///
/// The sender looks at [`free_at`](Link::free_at) before it sends: the wire is the only queue there is.
/// Whoever drives the link calls [`release`](Link::release) when [`next_release`](Link::next_release) has come.
pub struct Link {
    config: LinkConfig,
    rng: SmallRng,
    free_at: Nanos,
    /// Fraction of a nanosecond by which the last frame ended after `free_at`, in units of 1 / rate.
    remainder: u128,
    held: Vec<Held>,
    next_release: Option<Nanos>,
    stats: LinkStats,
}

impl Link {
    /// A free link.
    pub fn new(config: LinkConfig, seed: u64) -> Result<Self, LinkError> {
        config.validate()?;
        Ok(Self::with_valid(config, seed))
    }

    /// An unlimited, perfect link with the default delay.
    pub fn perfect(seed: u64) -> Self {
        Self::with_valid(LinkConfig::default(), seed)
    }

    fn with_valid(config: LinkConfig, seed: u64) -> Self {
        Self {
            config,
            rng: SmallRng::seed_from_u64(seed),
            free_at: 0,
            remainder: 0,
            held: Vec::new(),
            next_release: None,
            stats: LinkStats::default(),
        }
    }

    /// Change the link from the next frame on. Frames on their way are not touched, so those sent after the delay
    /// was lowered may overtake them.
    pub fn set_config(&mut self, config: LinkConfig) -> Result<(), LinkError> {
        config.validate()?;
        self.config = config;
        // Its unit is that of the old rate.
        self.remainder = 0;
        Ok(())
    }

    /// The present settings.
    pub fn config(&self) -> &LinkConfig {
        &self.config
    }

    /// What has gone over the link so far.
    pub fn stats(&self) -> LinkStats {
        self.stats
    }

    /// The time from which on the wire takes the next frame, nanoseconds.
    pub fn free_at(&self) -> Nanos {
        self.free_at
    }

    /// Put a frame on the wire; what arrives from it, or because of it, is appended to `out`.
    pub fn send(&mut self, now: Nanos, frame: Frame, out: &mut Vec<Delivery>) -> Fate {
        let arrival = self.occupy(now, frame.len());
        let fate = self.draw(&frame);
        self.pass(arrival, frame, fate, out);
        fate
    }

    /// First part of [`send`](Link::send): take the wire for a frame of `frame_len` bytes as soon as it is free.
    /// Returns the time at which an untroubled frame arrives.
    pub fn occupy(&mut self, now: Nanos, frame_len: usize) -> Nanos {
        if now > self.free_at {
            self.free_at = now;
            self.remainder = 0;
        }
        if let Some(rate) = self.config.rate_bps {
            // Carrying the remainder keeps the long-run rate exact.
            let scaled = u128::from(wire_time_bits(frame_len)) * SECOND + self.remainder;
            let rate = u128::from(rate);
            self.remainder = scaled % rate;
            let time = Nanos::try_from(scaled / rate).unwrap_or(Nanos::MAX);
            self.free_at = self.free_at.saturating_add(time);
            self.stats.busy_ns = self.stats.busy_ns.saturating_add(time);
        }
        self.stats.frames += 1;
        self.stats.bytes += frame_len as u64;
        self.free_at.saturating_add(self.config.delay)
    }

    /// Second part of [`send`](Link::send): draw what happens to the next frame.
    pub fn draw(&mut self, frame: &[u8]) -> Fate {
        let LinkConfig { loss, corrupt, duplicate, reorder, .. } = self.config;
        if self.chance(loss) {
            return Fate { lost: true, ..Fate::default() };
        }
        Fate {
            lost: false,
            corrupted: is_checked(frame) && self.chance(corrupt),
            duplicated: self.chance(duplicate),
            reordered: self.chance(reorder),
        }
    }

    /// Third part of [`send`](Link::send): let `fate` happen to a frame that is to arrive at `arrival`.
    pub fn pass(&mut self, arrival: Nanos, mut frame: Frame, fate: Fate, out: &mut Vec<Delivery>) {
        self.stats.lost += u64::from(fate.lost);
        if fate.lost {
            return;
        }
        self.stats.corrupted += u64::from(fate.corrupted);
        self.stats.duplicated += u64::from(fate.duplicated);
        self.stats.reordered += u64::from(fate.reordered);
        if fate.corrupted {
            self.flip_a_bit(&mut frame);
        }
        if fate.duplicated {
            out.push(Delivery { at: arrival, frame: frame.clone() });
        }
        if !fate.reordered {
            out.push(Delivery { at: arrival, frame });
            self.overtake(arrival, out);
            return;
        }
        if fate.duplicated {
            self.overtake(arrival, out);
        }
        let deadline = arrival.saturating_add(self.config.reorder_delay);
        let overtakers = self.rng.random_range(1..=self.config.reorder_by.max(1));
        self.held.push(Held { frame, overtakers, deadline });
        self.next_release = Some(self.next_release.map_or(deadline, |at| at.min(deadline)));
    }

    /// The time at which a frame that nothing has overtaken must go on all the same, if one is held back.
    pub fn next_release(&self) -> Option<Nanos> {
        self.next_release
    }

    /// Let the frames go on whose time has come; they are appended to `out`.
    pub fn release(&mut self, now: Nanos, out: &mut Vec<Delivery>) {
        let due = self.held.extract_if(.., |held| held.deadline <= now);
        out.extend(due.map(|held| Delivery { at: held.deadline, frame: held.frame }));
        self.find_next_release();
    }

    /// A frame that arrives at `arrival` overtakes all that are held back.
    fn overtake(&mut self, arrival: Nanos, out: &mut Vec<Delivery>) {
        if self.held.is_empty() {
            return;
        }
        let done = self.held.extract_if(.., |held| {
            held.overtakers = held.overtakers.saturating_sub(1);
            held.overtakers == 0
        });
        out.extend(done.map(|held| Delivery { at: held.deadline.min(arrival), frame: held.frame }));
        self.find_next_release();
    }

    fn find_next_release(&mut self) {
        self.next_release = self.held.iter().map(|held| held.deadline).min();
    }

    fn flip_a_bit(&mut self, frame: &mut Frame) {
        let header = if frame.len() > HEADER { HEADER } else { 0 };
        if !frame.is_empty() {
            let at = self.rng.random_range(header..frame.len());
            frame[at] ^= 1 << self.rng.random_range(0..8);
        }
    }

    fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.rng.random_bool(probability)
    }
}
