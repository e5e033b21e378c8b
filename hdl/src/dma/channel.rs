//! The channels to host memory (docs/microarchitecture.md section 8).
//!
//! ```text
//!              address 64, words 12, request
//!  ReadMaster --------------------------------> ReadSlave
//!             <-------------------------------- accept
//!             <-- data 32, last, error, valid
//!              ready -------------------------->
//!
//!              address 64, words 12, request
//!  WriteMaster -------------------------------> WriteSlave
//!             <-------------------------------- accept
//!              data 32, strobes 4, last, valid
//!             -------------------------------->
//!             <-- ready
//!             <-- answered, failed
//! ```
//!
//! * A command passes in a cycle in which `request` and `accept` are both set, a word in one in which `valid` and
//!   `ready` are; until then they stay as they are. `request` and `valid` do not wait for the other side.
//! * Addresses are in bytes, multiples of four. `words` is 1 to 1024; a burst does not cross 4 KiB.
//! * Data comes in the order of the commands and has all its words, `last` with the last of each burst, also
//!   when a read fails: `error` stands with the words that could not be read, whose value means nothing.
//! * Words to write may be offered before their command has passed. Bit i of `strobes` says that the byte in bits 8i+7:8i
//!   is to be written. Each burst is answered once, in order: `answered`, with `failed` if it was not written.
//! * Commands do not wait for the data or the answer of those before.

// The derived `join` has no documentation.
#![expect(missing_docs)]

use crate::fb::FB;
use rust_hdl::prelude::*;

/// The end of a read channel that asks.
#[derive(Clone, Debug, Default, LogicInterface)]
#[join = "ReadSlave"]
pub struct ReadMaster {
    /// Where, in bytes.
    pub address: Signal<Out, FB<64>>,
    /// How many words.
    pub words: Signal<Out, FB<12>>,
    /// There is a command.
    pub request: Signal<Out, Bit>,
    /// It is taken.
    pub accept: Signal<In, Bit>,
    /// A word, the byte at the lowest address lowest.
    pub data: Signal<In, FB<32>>,
    /// The burst ends.
    pub last: Signal<In, Bit>,
    /// The word could not be read.
    pub error: Signal<In, Bit>,
    /// There is a word.
    pub valid: Signal<In, Bit>,
    /// It is taken.
    pub ready: Signal<Out, Bit>,
}

/// The end of a read channel that answers.
#[derive(Clone, Debug, Default, LogicInterface)]
#[join = "ReadMaster"]
pub struct ReadSlave {
    /// Where, in bytes.
    pub address: Signal<In, FB<64>>,
    /// How many words.
    pub words: Signal<In, FB<12>>,
    /// There is a command.
    pub request: Signal<In, Bit>,
    /// It is taken.
    pub accept: Signal<Out, Bit>,
    /// A word, the byte at the lowest address lowest.
    pub data: Signal<Out, FB<32>>,
    /// The burst ends.
    pub last: Signal<Out, Bit>,
    /// The word could not be read.
    pub error: Signal<Out, Bit>,
    /// There is a word.
    pub valid: Signal<Out, Bit>,
    /// It is taken.
    pub ready: Signal<In, Bit>,
}

/// The end of a write channel that writes.
#[derive(Clone, Debug, Default, LogicInterface)]
#[join = "WriteSlave"]
pub struct WriteMaster {
    /// Where, in bytes.
    pub address: Signal<Out, FB<64>>,
    /// How many words.
    pub words: Signal<Out, FB<12>>,
    /// There is a command.
    pub request: Signal<Out, Bit>,
    /// It is taken.
    pub accept: Signal<In, Bit>,
    /// A word, the byte for the lowest address lowest.
    pub data: Signal<Out, FB<32>>,
    /// Its bytes that are to be written.
    pub strobes: Signal<Out, FB<4>>,
    /// The burst ends.
    pub last: Signal<Out, Bit>,
    /// There is a word.
    pub valid: Signal<Out, Bit>,
    /// It is taken.
    pub ready: Signal<In, Bit>,
    /// The oldest burst that had no answer yet is done.
    pub answered: Signal<In, Bit>,
    /// With `answered`: it was not written.
    pub failed: Signal<In, Bit>,
}

/// The end of a write channel that is written to.
#[derive(Clone, Debug, Default, LogicInterface)]
#[join = "WriteMaster"]
pub struct WriteSlave {
    /// Where, in bytes.
    pub address: Signal<In, FB<64>>,
    /// How many words.
    pub words: Signal<In, FB<12>>,
    /// There is a command.
    pub request: Signal<In, Bit>,
    /// It is taken.
    pub accept: Signal<Out, Bit>,
    /// A word, the byte for the lowest address lowest.
    pub data: Signal<In, FB<32>>,
    /// Its bytes that are to be written.
    pub strobes: Signal<In, FB<4>>,
    /// The burst ends.
    pub last: Signal<In, Bit>,
    /// There is a word.
    pub valid: Signal<In, Bit>,
    /// It is taken.
    pub ready: Signal<Out, Bit>,
    /// The oldest burst that had no answer yet is done.
    pub answered: Signal<Out, Bit>,
    /// With `answered`: it was not written.
    pub failed: Signal<Out, Bit>,
}
