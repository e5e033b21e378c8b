//! The host's end of a UART: 8 bits, no parity, 1 stop bit.

use std::collections::VecDeque;

/// A UART that is looked at from time to time, a few times a bit.
#[derive(Debug, Clone)]
pub struct Line {
    bit_ps: u64,
    sending: VecDeque<u8>,
    /// Byte on the line, and when its start bit began.
    out: Option<(u8, u64)>,
    /// When the start bit of the byte coming in was seen.
    start: Option<u64>,
    bits: u32,
    count: u32,
    was_high: bool,
    received: Vec<u8>,
    broken: u64,
    /// The line is held low until then.
    break_until: u64,
}

impl Line {
    /// At this rate.
    pub fn new(baud: u64) -> Self {
        Line {
            bit_ps: 1_000_000_000_000 / baud,
            sending: VecDeque::new(),
            out: None,
            start: None,
            bits: 0,
            count: 0,
            was_high: false,
            received: Vec::new(),
            broken: 0,
            break_until: 0,
        }
    }

    /// Sends these bytes when those before have gone.
    pub fn send(&mut self, bytes: &[u8]) {
        self.sending.extend(bytes);
    }

    /// Holds the line low until `ps`, whatever is on it.
    pub fn break_until(&mut self, ps: u64) {
        self.break_until = ps;
    }

    /// Nothing is to be sent or on the line.
    pub fn is_idle(&self) -> bool {
        self.sending.is_empty() && self.out.is_none()
    }

    /// Nothing is being received.
    pub fn is_quiet(&self) -> bool {
        self.start.is_none()
    }

    /// The level to the device at `now`.
    pub fn drive(&mut self, now: u64) -> bool {
        let level = loop {
            let Some((byte, start)) = self.out else {
                let Some(byte) = self.sending.pop_front() else { break true };
                self.out = Some((byte, now));
                break false;
            };
            match (now - start) / self.bit_ps {
                0 => break false,
                bit @ 1..=8 => break byte >> (bit - 1) & 1 == 1,
                9 => break true,
                // The next one begins where this one ends.
                _ => {
                    let next = start + 10 * self.bit_ps;
                    self.out = self.sending.pop_front().map(|byte| (byte, next));
                }
            }
        };
        level && now >= self.break_until
    }

    /// The level from the device at `now`.
    pub fn look(&mut self, now: u64, level: bool) {
        match self.start {
            None => {
                if self.was_high && !level {
                    self.start = Some(now);
                    (self.bits, self.count) = (0, 0);
                }
            }
            Some(start) => {
                // The middle of bit `count`; 0 is the start bit, 9 the stop bit.
                if now >= start + self.bit_ps / 2 + u64::from(self.count) * self.bit_ps {
                    self.bits |= u32::from(level) << self.count;
                    self.count += 1;
                    if self.count == 10 {
                        self.start = None;
                        if self.bits & 0x201 == 0x200 {
                            self.received.push((self.bits >> 1) as u8);
                        } else {
                            self.broken += 1;
                        }
                    }
                }
            }
        }
        self.was_high = level;
    }

    /// The bytes that have come since the last call.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.received)
    }

    /// Bytes that came without start or stop bit.
    pub fn broken(&self) -> u64 {
        self.broken
    }
}
