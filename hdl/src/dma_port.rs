//! A read channel of the DMA port (docs/microarchitecture.md section 8).
//!
//! * A command asks for `words` words, 1 to 1024, from a word-aligned address; it does not cross 4 KiB.
//! * The words come in order; `last` stands with the last one. `error` with any of them: the memory could not be read.

#![expect(missing_docs)]

use crate::fb::FB;
use rust_hdl::prelude::*;

/// The end that asks.
#[derive(Clone, Debug, Default, LogicInterface)]
#[join = "ReadServer"]
pub struct ReadClient {
    /// Address, bytes 31:0; bits 1:0 are 0.
    pub address_low: Signal<Out, FB<32>>,
    /// Address, bits 63:32.
    pub address_high: Signal<Out, FB<32>>,
    /// Words wanted.
    pub words: Signal<Out, FB<11>>,
    /// There is a command.
    pub valid: Signal<Out, Bit>,
    /// It is taken.
    pub ready: Signal<In, Bit>,
    /// A word.
    pub data: Signal<In, FB<32>>,
    /// The last of a command.
    pub last: Signal<In, Bit>,
    /// The memory could not be read.
    pub error: Signal<In, Bit>,
    /// There is a word.
    pub data_valid: Signal<In, Bit>,
    /// It is taken.
    pub data_ready: Signal<Out, Bit>,
}

/// The end that reads memory.
#[derive(Clone, Debug, Default, LogicInterface)]
#[join = "ReadClient"]
pub struct ReadServer {
    /// Address, bytes 31:0; bits 1:0 are 0.
    pub address_low: Signal<In, FB<32>>,
    /// Address, bits 63:32.
    pub address_high: Signal<In, FB<32>>,
    /// Words wanted.
    pub words: Signal<In, FB<11>>,
    /// There is a command.
    pub valid: Signal<In, Bit>,
    /// It is taken.
    pub ready: Signal<Out, Bit>,
    /// A word.
    pub data: Signal<Out, FB<32>>,
    /// The last of a command.
    pub last: Signal<Out, Bit>,
    /// The memory could not be read.
    pub error: Signal<Out, Bit>,
    /// There is a word.
    pub data_valid: Signal<Out, Bit>,
    /// It is taken.
    pub data_ready: Signal<In, Bit>,
}
