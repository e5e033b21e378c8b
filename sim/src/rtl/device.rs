//! The RTL core as a device: its environment, cycle by cycle.

use super::memory::{DmaTiming, ReadChannel, WriteChannel};
use super::pins::{Inputs, Outputs, READERS, Request, Rtl, Word};
use super::profile::{Profile, Profiler};
use super::waves::{Waves, WavesConfig, WavesError};
use ironwarp_micro::asm::Program;
use ironwarp_proto::abi::doorbell::Pages;
use ironwarp_proto::abi::regs;
use ironwarp_proto::pins::{Device, Dma, Frame, Nanos};
use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// Nanoseconds in a unit of the core's time, log2.
const LOG2_UNIT: u32 = 10;
/// Bytes in front of a frame inside the core.
const PAD: usize = 2;
/// Cycles in which nothing moves before the core counts as idle: more than any pipeline is long.
const QUIET: u32 = 24;
/// Cycles without an end after which the core is taken to hang.
const MOST_CYCLES: u64 = 3_000_000;
/// Frames that the MAC holds for the wire, besides the one on it. A MAC that holds more makes acknowledgments wait behind data.
const MAC_FRAMES: usize = 1;
/// Cycles between two looks of the world at a device that is busy.
const SLICE: u64 = 16;
/// A host that has taken an interrupt is left alone so long, nanoseconds: its writes need time to lower the line.
const HOLD_OFF: Nanos = 4_000;

/// How time goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// The core has all the cycles it wants between two instants, as if its clock were infinitely fast.
    Settled,
    /// Cycles take time.
    Clocked {
        /// Picoseconds.
        period_ps: u64,
    },
}

impl Pace {
    /// Picoseconds of a cycle in waveforms.
    fn period_ps(self) -> u64 {
        match self {
            Pace::Settled => 1000,
            Pace::Clocked { period_ps } => period_ps,
        }
    }
}

/// Parameters of the environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RtlConfig {
    /// Time.
    pub pace: Pace,
    /// Host memory.
    pub dma: DmaTiming,
    /// Where its doorbells are.
    pub pages: Pages,
}

/// The device.
pub struct RtlDevice {
    rtl: Box<dyn Rtl>,
    program: Arc<Program>,
    config: RtlConfig,
    dma: Arc<dyn Dma>,
    cycle: u64,
    now: Nanos,
    reads: [ReadChannel; READERS],
    write: WriteChannel,
    /// Words to the core.
    line: VecDeque<Word>,
    requests: VecDeque<Request>,
    answers: VecDeque<u32>,
    /// Bytes of the frame that is coming out.
    partial: Vec<u8>,
    frames: VecDeque<Frame>,
    interrupt: bool,
    /// No interrupt is told before.
    quiet_until: Cell<Nanos>,
    alarm: Option<u32>,
    quiet: u32,
    last_pc: u16,
    dead: bool,
    profiler: Profiler,
    profile: Arc<Mutex<Profile>>,
    waves: Option<Waves>,
}

impl RtlDevice {
    /// A device after reset: the program has booted. It tells what it does in `profile`, and draws `waves`.
    pub fn new(
        mut rtl: Box<dyn Rtl>,
        program: Arc<Program>,
        config: RtlConfig,
        dma: Arc<dyn Dma>,
        profile: Arc<Mutex<Profile>>,
        waves: Option<&WavesConfig>,
    ) -> Result<Self, WavesError> {
        let waves = waves.map(|waves| Waves::open(waves, config.pace.period_ps(), &mut *rtl)).transpose()?;
        let mut device = Self {
            rtl,
            profiler: Profiler::new(Arc::clone(&program), config.pages),
            profile,
            waves,
            program,
            config,
            dma,
            cycle: 0,
            now: 0,
            reads: std::array::from_fn(|channel| ReadChannel::new(config.dma, channel as u64)),
            write: WriteChannel::new(config.dma, READERS as u64),
            line: VecDeque::new(),
            requests: VecDeque::new(),
            answers: VecDeque::new(),
            partial: Vec::new(),
            frames: VecDeque::new(),
            interrupt: false,
            quiet_until: Cell::new(0),
            alarm: None,
            quiet: 0,
            last_pc: 0,
            dead: false,
        };
        for _ in 0..4 {
            device.rtl.settle(&Inputs { reset: true, ..Inputs::default() });
            device.rtl.rise();
        }
        device.settle(false);
        Ok(device)
    }

    /// Cycles simulated.
    pub fn cycles(&self) -> u64 {
        self.cycle
    }

    /// One cycle.
    fn step(&mut self, pace: bool) -> Outputs {
        let now = self.cycle;
        let dma = Arc::clone(&self.dma);
        let mut inputs = Inputs {
            mac_ready: self.is_settled() || self.frames.len() < MAC_FRAMES,
            pace,
            now: (self.now >> LOG2_UNIT) as u32,
            answer_ready: true,
            write: self.write.drive(now, &*dma),
            ..Inputs::default()
        };
        for (pins, channel) in inputs.reads.iter_mut().zip(&mut self.reads) {
            *pins = channel.drive(now, &*dma);
        }
        inputs.line = self.line.front().copied().unwrap_or_default();
        inputs.host = self.requests.front().copied().unwrap_or_default();
        let out = self.rtl.settle(&inputs);
        if let Some(waves) = &self.waves {
            waves.low(now, &mut *self.rtl);
        }
        self.profiler.cycle(&inputs, &out, &mut self.profile.lock().unwrap_or_else(PoisonError::into_inner));
        let mut moved = out.mac.valid || out.answer.is_some() || !out.waiting;
        if inputs.line.valid {
            moved = true;
            if out.line_ready {
                self.line.pop_front();
            }
        }
        if inputs.host.valid {
            moved = true;
            if out.host_ready {
                self.requests.pop_front();
            }
        }
        self.answers.extend(out.answer);
        if out.mac.valid && inputs.mac_ready {
            let bytes = out.mac.data.to_le_bytes();
            self.partial.extend(&bytes[..4 - usize::from(out.mac.empty & 3)]);
            if out.mac.last {
                let frame = std::mem::take(&mut self.partial);
                self.frames.push_back(frame.get(PAD..).unwrap_or_default().to_vec());
            }
        }
        for ((channel, pins), reads) in self.reads.iter_mut().zip(&inputs.reads).zip(&out.reads) {
            channel.take(now, pins, reads);
            moved |= !channel.is_idle();
        }
        self.write.take(now, &inputs.write, &out.write);
        moved |= !self.write.is_idle();
        self.interrupt = out.interrupt;
        self.alarm = out.alarm;
        if let Some(pc) = out.retired {
            self.last_pc = pc;
        }
        self.quiet = if moved { 0 } else { self.quiet + 1 };
        self.rtl.rise();
        if let Some(waves) = &self.waves {
            waves.high(now, &mut *self.rtl);
        }
        self.cycle += 1;
        out
    }

    fn is_quiet(&self) -> bool {
        self.quiet >= QUIET
    }

    /// Run until nothing moves.
    fn settle(&mut self, mut pace: bool) {
        self.quiet = 0;
        let end = self.cycle + MOST_CYCLES;
        while !self.is_quiet() && !self.dead {
            let out = self.step(pace);
            // One frame a turn.
            pace &= !out.sending;
            if self.cycle > end {
                self.stand_still();
            }
        }
    }

    fn stand_still(&mut self) {
        let (routine, offset) = self.program.place(self.last_pc.into());
        let why = format!("the core does not come to rest; it is in '{routine}' + {offset}");
        tracing::error!("{why}");
        if !tracing::dispatcher::has_been_set() {
            eprintln!("{why}");
        }
        self.dead = true;
    }

    /// Let time go on to `now`.
    fn reach(&mut self, now: Nanos) {
        match self.config.pace {
            Pace::Settled => self.now = self.now.max(now),
            Pace::Clocked { period_ps } => {
                while self.now < now && !self.dead {
                    if self.is_quiet() && self.alarm_at().is_none_or(|alarm| alarm > self.now) {
                        // Nothing happens: those cycles need not be looked at.
                        let until = self.alarm_at().map_or(now, |alarm| alarm.min(now));
                        self.cycle += until.saturating_sub(self.now) * 1000 / period_ps;
                        self.now = until;
                        // An alarm that is due wakes it, also if it is due just now.
                        if self.alarm_at().is_some_and(|alarm| alarm <= until) {
                            self.quiet = 0;
                        }
                        continue;
                    }
                    self.step(true);
                    self.now = self.now.max(self.cycle * period_ps / 1000);
                }
            }
        }
    }

    fn alarm_at(&self) -> Option<Nanos> {
        let alarm = self.alarm?;
        let ahead = alarm.wrapping_sub((self.now >> LOG2_UNIT) as u32) as i32;
        let unit = (self.now >> LOG2_UNIT).saturating_add_signed(ahead.into());
        Some((unit << LOG2_UNIT).max(self.now))
    }

    fn is_settled(&self) -> bool {
        self.config.pace == Pace::Settled
    }
}

impl Device for RtlDevice {
    fn read32(&mut self, now: Nanos, offset: u32) -> u32 {
        self.reach(now);
        self.requests.push_back(Request { valid: true, write: false, offset: offset & 0xff_ffff, data: 0 });
        let end = self.cycle + MOST_CYCLES;
        while self.answers.is_empty() && !self.dead {
            self.step(!self.is_settled());
            if self.cycle > end {
                self.stand_still();
            }
        }
        if self.is_settled() {
            self.settle(false);
        }
        // As a bus without a device.
        self.answers.pop_front().unwrap_or(u32::MAX)
    }

    fn write32(&mut self, now: Nanos, offset: u32, value: u32) {
        self.reach(now);
        let offset = offset & 0xff_ffff;
        self.requests.push_back(Request { valid: true, write: true, offset, data: value });
        self.quiet = 0;
        if self.is_settled() {
            // Raw frames are taken out of their ring at once.
            self.settle(offset == regs::RAWTX_PRODUCER);
        }
    }

    fn receive(&mut self, now: Nanos, frame: &[u8]) {
        self.reach(now);
        let mut bytes = vec![0; PAD];
        bytes.extend(frame);
        let count = bytes.len().div_ceil(4);
        self.line.extend(bytes.chunks(4).enumerate().map(|(index, chunk)| {
            let mut word = [0; 4];
            word[..chunk.len()].copy_from_slice(chunk);
            Word {
                valid: true,
                data: u32::from_le_bytes(word),
                first: index == 0,
                last: index + 1 == count,
                empty: (4 - chunk.len()) as u8,
                err: false,
            }
        }));
        self.quiet = 0;
        if self.is_settled() {
            self.settle(false);
        }
    }

    fn transmit(&mut self, now: Nanos) -> Option<Frame> {
        self.reach(now);
        if self.is_settled() && self.frames.is_empty() {
            self.settle(true);
        }
        self.frames.pop_front().filter(|_| !self.dead)
    }

    fn advance(&mut self, now: Nanos) {
        self.reach(now);
        if self.is_settled() {
            self.settle(false);
        }
    }

    fn next_event(&self) -> Option<Nanos> {
        if self.dead {
            return None;
        }
        let next = match self.config.pace {
            Pace::Clocked { period_ps } if !self.is_quiet() => {
                Some(self.now + (SLICE * period_ps / 1000).max(1))
            }
            _ => self.alarm_at(),
        };
        let held = self.interrupt && self.quiet_until.get() > self.now;
        [next, held.then_some(self.quiet_until.get())].into_iter().flatten().min()
    }

    fn interrupt(&self) -> bool {
        let level = self.interrupt && !self.dead;
        if self.is_settled() {
            return level;
        }
        let heard = level && self.now >= self.quiet_until.get();
        if heard {
            self.quiet_until.set(self.now + HOLD_OFF);
        }
        heard
    }
}
