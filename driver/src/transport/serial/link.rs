//! The host's end of the serial bridge without the serial port: bytes and time in, bytes out (docs/bridge.md).

use ironwarp_proto::bridge::{
    BridgeError, Deframer, FromDevice, MAX_FRAME, NUMBERS, ToDevice, VERSION, runs,
};
use ironwarp_proto::pins::{Dma, DmaFault, Nanos};
use std::collections::VecDeque;
use std::sync::Arc;
use thiserror::Error;

/// Why a device behind a serial line cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SerialError {
    /// Nothing comes back.
    #[error(
        "nothing answers at the other end: is the board powered and programmed, and is this its second port (channel B)?"
    )]
    Silent,
    /// Something comes back, but no frames.
    #[error("{0} bytes came and none of it is a frame: is the rate right, and is this an Ironwarp board?")]
    Garbage(u64),
    /// Another protocol.
    #[error(
        "the board speaks version {0} of the bridge protocol, this driver {VERSION}: use an image and a driver of the same release"
    )]
    Version(u16),
    /// It has answered before.
    #[error("the board does not answer any more ({0} ms)")]
    Lost(u64),
    /// It has been reset.
    #[error("the board was reset or lost power; open it again")]
    Restarted,
    /// The port.
    #[error("the serial port failed: {0}; was the board unplugged?")]
    Port(String),
}

/// Offset of the first doorbell page, and the size of one.
const DOORBELLS: u32 = 0x1000;

/// How long the host waits for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For an ANSWER before the register access is repeated, ns.
    pub answer: Nanos,
    /// Without a frame before POLL, ns.
    pub silence: Nanos,
    /// Between two HELLOs, ns.
    pub hello: Nanos,
    /// Until the device counts as gone, ns.
    pub end: Nanos,
}

impl Patience {
    /// For a line at this rate.
    pub fn at(baud: u32) -> Self {
        // A byte takes ten bits.
        let frame = MAX_FRAME as u64 * 10 * 1_000_000_000 / u64::from(baud.max(1));
        let silence = (10 * frame).max(10_000_000);
        Self {
            answer: 2 * silence,
            silence,
            hello: (10 * silence).max(100_000_000),
            end: (200 * silence).max(2_000_000_000),
        }
    }

    /// So many times as patient: for a device that is simulated slower than it is.
    #[must_use]
    pub fn times(self, factor: u64) -> Self {
        let Self { answer, silence, hello, end } = self;
        Self { answer: answer * factor, silence: silence * factor, hello: hello * factor, end: end * factor }
    }
}

/// A register access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Read { offset: u32, ticket: u64 },
    Write { offset: u32, value: u32 },
}

/// Whether this is the first doorbell of a page, which carries an absolute index. Pages are larger than all doorbells together.
fn is_index(offset: u32) -> bool {
    offset >= DOORBELLS && offset.is_multiple_of(DOORBELLS)
}

/// What the link has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinkCounters {
    /// Frames sent.
    pub sent: u64,
    /// Frames received.
    pub received: u64,
    /// Register accesses sent again.
    pub repeated: u64,
    /// POLLs because of silence or damage.
    pub polls: u64,
    /// Bytes received that were part of no frame.
    pub garbage: u64,
    /// Frames that made no sense.
    pub senseless: u64,
    /// Reads and writes that were refused because they were not of registered memory.
    pub refused: u64,
    /// Writes that came again and were not executed again.
    pub duplicates: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// HELLO has been sent.
    Opening,
    Open,
    Gone(SerialError),
}

/// One end of the line.
pub struct Link {
    dma: Arc<dyn Dma>,
    patience: Patience,
    state: State,
    deframer: Deframer,
    out: Vec<u8>,
    /// Register accesses that wait, the first of which has been sent if `sent_at` is set.
    queue: VecDeque<Access>,
    number: u8,
    sent_at: Option<Nanos>,
    answers: VecDeque<(u64, u32)>,
    tickets: u64,
    /// The last WRITE and what was answered.
    last_write: Option<(u8, ToDevice)>,
    irq: bool,
    interrupts: bool,
    began: Nanos,
    hello_at: Nanos,
    heard_at: Nanos,
    polled_at: Nanos,
    /// Something was damaged.
    damaged: bool,
    polls_in_vain: u32,
    counters: LinkCounters,
    last_fault: Option<DmaFault>,
}

impl Link {
    /// A link that says HELLO to a device and serves its reads and writes from `dma`. `number` should differ from that of the
    /// last link on this line.
    pub fn new(dma: Arc<dyn Dma>, patience: Patience, number: u8, now: Nanos) -> Self {
        let mut link = Self {
            dma,
            patience,
            state: State::Opening,
            deframer: Deframer::default(),
            out: Vec::new(),
            queue: VecDeque::new(),
            number: number % NUMBERS,
            sent_at: None,
            answers: VecDeque::new(),
            tickets: 0,
            last_write: None,
            irq: false,
            interrupts: false,
            began: now,
            hello_at: now,
            heard_at: now,
            polled_at: now,
            damaged: false,
            polls_in_vain: 0,
            counters: LinkCounters::default(),
            last_fault: None,
        };
        link.hello(now);
        link
    }

    /// The device has answered HELLO.
    pub fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// Why it cannot be used any more.
    pub fn error(&self) -> Option<&SerialError> {
        match &self.state {
            State::Gone(error) => Some(error),
            _ => None,
        }
    }

    /// Use it no more. The first reason stays.
    pub fn lose(&mut self, error: SerialError) {
        if self.error().is_none() {
            self.state = State::Gone(error);
        }
    }

    /// What it has seen.
    pub fn counters(&self) -> LinkCounters {
        LinkCounters { garbage: self.deframer.garbage(), ..self.counters }
    }

    /// The last access of the device that was refused.
    pub fn last_fault(&self) -> Option<DmaFault> {
        self.last_fault
    }

    /// Level of the interrupt, as last told.
    pub fn irq(&self) -> bool {
        self.irq
    }

    /// Whether the interrupt was told to be high since the last call.
    pub fn take_interrupt(&mut self) -> bool {
        std::mem::take(&mut self.interrupts)
    }

    /// Bytes for the line.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    /// Register accesses that are not answered.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Ask for a register; the ticket is for [`take_answer`](Self::take_answer).
    pub fn read(&mut self, now: Nanos, offset: u32) -> u64 {
        self.tickets += 1;
        self.queue.push_back(Access::Read { offset, ticket: self.tickets });
        self.next_access(now);
        self.tickets
    }

    /// Write a register.
    pub fn write(&mut self, now: Nanos, offset: u32, value: u32) {
        let has_left = self.queue.len() <= usize::from(self.sent_at.is_some());
        match self.queue.back_mut() {
            // A newer index of the same queue says all that the older one says, which has not left yet.
            Some(Access::Write { offset: of, value: old })
                if *of == offset && is_index(offset) && !has_left =>
            {
                *old = value;
            }
            _ => self.queue.push_back(Access::Write { offset, value }),
        }
        self.next_access(now);
    }

    /// The value of a register that was asked for.
    pub fn take_answer(&mut self, ticket: u64) -> Option<u32> {
        let at = self.answers.iter().position(|(of, _)| *of == ticket)?;
        self.answers.remove(at).map(|(_, value)| value)
    }

    /// Bytes have come.
    pub fn input(&mut self, now: Nanos, bytes: &[u8]) {
        let before = self.deframer.garbage();
        self.deframer.extend(bytes);
        while let Some(raw) = self.deframer.next_frame() {
            self.counters.received += 1;
            match FromDevice::decode(&raw) {
                Ok(frame) => self.take(now, raw.number, raw.irq, frame),
                Err(error) => self.senseless(&error),
            }
        }
        // While opening there is garbage of the time before.
        self.damaged |= self.is_open() && self.deframer.garbage() != before;
        self.advance(now);
    }

    /// Time goes on.
    pub fn advance(&mut self, now: Nanos) {
        match self.state {
            State::Opening => {
                if now >= self.began + self.patience.end {
                    let garbage = self.deframer.garbage();
                    self.lose(if garbage > 0 { SerialError::Garbage(garbage) } else { SerialError::Silent });
                } else if now >= self.hello_at + self.patience.hello {
                    self.hello(now);
                }
            }
            State::Open => {
                let silent = now.saturating_sub(self.heard_at);
                if silent >= self.patience.end {
                    self.lose(SerialError::Lost(silent / 1_000_000));
                    return;
                }
                if self.sent_at.is_some_and(|at| now >= at + self.patience.answer) {
                    self.counters.repeated += 1;
                    self.flush();
                    self.send_access(now);
                }
                let quiet = self.heard_at.max(self.polled_at) + self.patience.silence;
                if now >= quiet || (self.damaged && now >= self.polled_at + self.patience.silence / 4) {
                    // The rest of a frame will not come any more.
                    if self.deframer.is_inside() && now >= self.heard_at + self.patience.silence {
                        self.deframer.give_up();
                    }
                    self.damaged = false;
                    self.polled_at = now;
                    self.counters.polls += 1;
                    self.polls_in_vain += 1;
                    if self.polls_in_vain.is_multiple_of(2) {
                        self.flush();
                    }
                    self.send(&ToDevice::Poll, 0);
                }
            }
            State::Gone(_) => {}
        }
    }

    /// When [`advance`](Self::advance) has something to do.
    pub fn next_event(&self) -> Option<Nanos> {
        match self.state {
            State::Opening => Some((self.hello_at + self.patience.hello).min(self.began + self.patience.end)),
            State::Open => {
                let poll = if self.damaged {
                    self.polled_at + self.patience.silence / 4
                } else {
                    self.heard_at.max(self.polled_at) + self.patience.silence
                };
                let again = self.sent_at.map(|at| at + self.patience.answer);
                Some(again.map_or(poll, |again| again.min(poll)))
            }
            State::Gone(_) => None,
        }
    }

    fn send(&mut self, frame: &ToDevice, number: u8) {
        self.counters.sent += 1;
        self.out.extend(frame.encode(number));
    }

    /// As many zeros as the longest frame has bytes end any frame that the device believes to be in.
    fn flush(&mut self) {
        self.out.resize(self.out.len() + MAX_FRAME, 0);
    }

    fn hello(&mut self, now: Nanos) {
        self.hello_at = now;
        self.flush();
        self.send(&ToDevice::Hello, self.number);
    }

    fn next_access(&mut self, now: Nanos) {
        if self.is_open() && self.sent_at.is_none() && !self.queue.is_empty() {
            self.number = (self.number + 1) % NUMBERS;
            self.send_access(now);
        }
    }

    fn send_access(&mut self, now: Nanos) {
        let frame = match self.queue.front() {
            Some(&Access::Read { offset, .. }) => ToDevice::RegisterRead { offset },
            Some(&Access::Write { offset, value }) => ToDevice::RegisterWrite { offset, value },
            None => return,
        };
        self.sent_at = Some(now);
        self.send(&frame, self.number);
    }

    fn senseless(&mut self, error: &BridgeError) {
        self.counters.senseless += 1;
        tracing::warn!(%error, "a frame of the board makes no sense");
    }

    fn take(&mut self, now: Nanos, number: u8, irq: bool, frame: FromDevice) {
        if self.state == State::Opening {
            if let FromDevice::Hello { version } = frame
                && number == self.number
            {
                if version == VERSION {
                    self.state = State::Open;
                    self.heard_at = now;
                    self.polled_at = now;
                    self.irq = irq;
                    self.next_access(now);
                } else {
                    self.lose(SerialError::Version(version));
                }
            }
            return;
        }
        self.heard_at = now;
        self.polls_in_vain = 0;
        // A level: as long as it is high there is, or will be, something that software does not know. An event that comes while it is high
        // makes no edge, but its own WRITE says so.
        self.interrupts |= irq;
        self.irq = irq;
        match frame {
            FromDevice::Status => {}
            // A repetition of the one that has opened the link.
            FromDevice::Hello { .. } => {}
            FromDevice::Answer(value) => self.answered(now, number, value),
            FromDevice::Read(burst) => {
                let answer = self.read_memory(burst.address, burst.words);
                self.send(&answer, number);
            }
            FromDevice::Write { address, first, last, words } => {
                let answer = match &self.last_write {
                    Some((of, answer)) if *of == number => {
                        self.counters.duplicates += 1;
                        answer.clone()
                    }
                    _ => self.write_memory(&runs(address, first, last, &words)),
                };
                self.send(&answer, number);
                self.last_write = Some((number, answer));
            }
            FromDevice::Fresh => self.lose(SerialError::Restarted),
        }
    }

    fn answered(&mut self, now: Nanos, number: u8, value: Option<u32>) {
        if self.sent_at.is_none() || number != self.number {
            return;
        }
        match (self.queue.front().copied(), value) {
            (Some(Access::Read { ticket, .. }), Some(value)) => self.answers.push_back((ticket, value)),
            (Some(Access::Write { .. }), None) => {}
            _ => {
                return self
                    .senseless(&BridgeError::Meaning { kind: 2, words: usize::from(value.is_some()) });
            }
        }
        self.queue.pop_front();
        self.sent_at = None;
        self.next_access(now);
    }

    fn refuse(&mut self, fault: DmaFault, what: &str) {
        self.counters.refused += 1;
        self.last_fault = Some(fault);
        tracing::warn!("the board wants to {what} memory that is not registered: {fault}");
    }

    fn read_memory(&mut self, address: u32, words: usize) -> ToDevice {
        let mut bytes = vec![0; 4 * words];
        if let Err(fault) = self.dma.read(address.into(), &mut bytes) {
            self.refuse(fault, "read");
            return ToDevice::ReadFailed;
        }
        ToDevice::Data(
            bytes
                .chunks_exact(4)
                .map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
                .collect(),
        )
    }

    fn write_memory(&mut self, runs: &[(u32, Vec<u8>)]) -> ToDevice {
        for (address, bytes) in runs {
            if let Err(fault) = self.dma.write((*address).into(), bytes) {
                self.refuse(fault, "write");
                return ToDevice::WriteFailed;
            }
        }
        ToDevice::Written
    }
}
