//! What flows from stage to stage of the transmit engine: bytes, and marks between them.
//!
//! | kind | item | data |
//! |---|---|---|
//! | 0 | DATA: `count` bytes of the frame, 1 to 4, above `lead` that are none | the bytes |
//! | 1, 2, 3 | BEGIN: a frame | C0, C1, C2 of the command |
//! | 4 | FPDU: an FPDU begins | - |
//! | 5 | CLOSE: it ends | - |
//! | 6 | END: the frame ends; `count` bit 0: drop it, bit 1: its payload could not be read | - |
//! | 7 | MPA: four bytes of the MPA stream, subject to SKIP and STOP | the bytes |
//!
//! What stands beside the bytes of a DATA item means nothing.
//!
//! `valid` and `ready` are as in a stream.

#![expect(missing_docs)]

use crate::fb::FB;
use rust_hdl::prelude::*;

/// The end that drives items.
#[derive(Clone, Debug, Default, LogicInterface)]
#[join = "ItemIn"]
pub struct ItemOut {
    /// Bytes or parameters.
    pub data: Signal<Out, FB<32>>,
    /// What it is.
    pub kind: Signal<Out, FB<3>>,
    /// Bytes of a DATA item, flags of END.
    pub count: Signal<Out, FB<3>>,
    /// Bytes below those of a DATA item.
    pub lead: Signal<Out, FB<2>>,
    /// There is an item.
    pub valid: Signal<Out, Bit>,
    /// It is taken.
    pub ready: Signal<In, Bit>,
}

/// The end that takes items.
#[derive(Clone, Debug, Default, LogicInterface)]
#[join = "ItemOut"]
pub struct ItemIn {
    /// Bytes or parameters.
    pub data: Signal<In, FB<32>>,
    /// What it is.
    pub kind: Signal<In, FB<3>>,
    /// Bytes of a DATA item, flags of END.
    pub count: Signal<In, FB<3>>,
    /// Bytes below those of a DATA item.
    pub lead: Signal<In, FB<2>>,
    /// There is an item.
    pub valid: Signal<In, Bit>,
    /// It is taken.
    pub ready: Signal<Out, Bit>,
}
