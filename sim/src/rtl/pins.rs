//! The pins of the RTL core, cycle by cycle.

use super::waves::WavesError;
use std::path::Path;

/// A read channel, as the core sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReadIn {
    /// The command is taken.
    pub accept: bool,
    /// There is a word.
    pub valid: bool,
    /// The word.
    pub data: u32,
    /// The burst ends.
    pub last: bool,
    /// It could not be read.
    pub error: bool,
}

/// A read channel, as memory sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReadOut {
    /// There is a command.
    pub request: bool,
    /// Where, bytes.
    pub address: u64,
    /// How many words.
    pub words: u16,
    /// The word is taken.
    pub ready: bool,
}

/// The write channel, as the core sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WriteIn {
    /// The command is taken.
    pub accept: bool,
    /// The word is taken.
    pub ready: bool,
    /// A burst has its answer.
    pub answered: bool,
    /// It failed.
    pub failed: bool,
}

/// The write channel, as memory sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WriteOut {
    /// There is a command.
    pub request: bool,
    /// Where, bytes.
    pub address: u64,
    /// How many words.
    pub words: u16,
    /// There is a word.
    pub valid: bool,
    /// The word.
    pub data: u32,
    /// Bytes to write.
    pub strobes: u8,
    /// The burst ends.
    pub last: bool,
}

/// A word of a frame stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Word {
    /// There is a word.
    pub valid: bool,
    /// Four bytes.
    pub data: u32,
    /// The frame begins.
    pub first: bool,
    /// The frame ends.
    pub last: bool,
    /// Bytes at the high end that are none.
    pub empty: u8,
    /// Drop the frame.
    pub err: bool,
}

/// A request of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Request {
    /// There is one.
    pub valid: bool,
    /// It is a write.
    pub write: bool,
    /// Byte offset.
    pub offset: u32,
    /// What to write.
    pub data: u32,
}

/// Read channels of the core, in this order everywhere.
pub const READERS: usize = 4;

/// What goes into the core in a cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Inputs {
    /// Reset.
    pub reset: bool,
    /// From the wire.
    pub line: Word,
    /// The wire takes a word.
    pub mac_ready: bool,
    /// The transmitter may build a frame.
    pub pace: bool,
    /// Time, units of 1024 ns.
    pub now: u32,
    /// Host request.
    pub host: Request,
    /// The host takes an answer.
    pub answer_ready: bool,
    /// Walker, writer's source, small reads, transmit.
    pub reads: [ReadIn; READERS],
    /// Writer.
    pub write: WriteIn,
    /// A word of the program.
    pub fill: Option<u32>,
}

/// What comes out of the core in a cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outputs {
    /// The wire's word is taken.
    pub line_ready: bool,
    /// To the wire.
    pub mac: Word,
    /// The request is taken.
    pub host_ready: bool,
    /// Answer to a read.
    pub answer: Option<u32>,
    /// Interrupt.
    pub interrupt: bool,
    /// Nothing to do.
    pub waiting: bool,
    /// The sequencer has nothing to do.
    pub resting: bool,
    /// A frame is being built.
    pub sending: bool,
    /// When to be woken.
    pub alarm: Option<u32>,
    /// Address of the instruction that is complete.
    pub retired: Option<u16>,
    /// Read channels.
    pub reads: [ReadOut; READERS],
    /// Write channel.
    pub write: WriteOut,
    /// Words of the program are wanted, from this one on.
    pub fill: Option<u16>,
}

/// A core that can be clocked.
pub trait Rtl: Send {
    /// The clock is low, the inputs are these: what are the outputs?
    fn settle(&mut self, inputs: &Inputs) -> Outputs;
    /// The clock rises.
    fn rise(&mut self);
    /// Write waveforms to this file from now on, whenever [`dump`](Rtl::dump) says so.
    fn trace(&mut self, path: &Path) -> Result<(), WavesError>;
    /// Write what every signal is now, `ps` picoseconds after the start.
    fn dump(&mut self, ps: u64);
}
