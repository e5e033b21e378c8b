//! The 32-bit stream between blocks.
//!
//! ```text
//!            data 32, first, last, empty 2, err, valid
//!  StreamOut ------------------------------------------> StreamIn
//!            <------------------------------------------
//!                              ready
//! ```
//!
//! * A word passes in a cycle in which `valid` and `ready` are both set at the rising edge.
//! * Once `valid` is set, it and the word stay until the word has passed. `valid` does not wait for `ready`.
//! * The byte that comes first on the wire is bits 7:0, the next bits 15:8, and so on.
//! * Words form packets: `first` stands with the first word, `last` with the last; both with a single one.
//!   A packet has at least one byte.
//! * `empty` counts the bytes at the high end of the last word that do not belong to the packet; their value is
//!   undefined. It is 0 with every other word.
//! * `err` stands with the last word of a packet that is to be dropped, and with no other.
//!
//! Siblings: `StreamOut::join(&mut self.a.downstream, &mut self.b.upstream)`. From a block's own port to that of
//! a child: `StreamIn::link(&mut self.upstream, &mut self.child.upstream)`, likewise `StreamOut`.

// The derived `join` has no documentation.
#![expect(missing_docs)]

use crate::fb::FB;
use rust_hdl::prelude::*;

/// The end of a stream that drives the words.
#[derive(Clone, Debug, Default, LogicInterface)]
#[join = "StreamIn"]
pub struct StreamOut {
    /// Four bytes, the first on the wire lowest.
    pub data: Signal<Out, FB<32>>,
    /// There is a word.
    pub valid: Signal<Out, Bit>,
    /// The word is taken, if there is one.
    pub ready: Signal<In, Bit>,
    /// A packet begins.
    pub first: Signal<Out, Bit>,
    /// A packet ends.
    pub last: Signal<Out, Bit>,
    /// Bytes of the last word, from the high end, that are not of the packet.
    pub empty: Signal<Out, FB<2>>,
    /// With `last`: drop the packet.
    pub err: Signal<Out, Bit>,
}

/// The end of a stream that takes the words.
#[derive(Clone, Debug, Default, LogicInterface)]
#[join = "StreamOut"]
pub struct StreamIn {
    /// Four bytes, the first on the wire lowest.
    pub data: Signal<In, FB<32>>,
    /// There is a word.
    pub valid: Signal<In, Bit>,
    /// The word is taken, if there is one.
    pub ready: Signal<Out, Bit>,
    /// A packet begins.
    pub first: Signal<In, Bit>,
    /// A packet ends.
    pub last: Signal<In, Bit>,
    /// Bytes of the last word, from the high end, that are not of the packet.
    pub empty: Signal<In, FB<2>>,
    /// With `last`: drop the packet.
    pub err: Signal<In, Bit>,
}
