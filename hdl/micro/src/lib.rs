//! The sequencer of the Ironwarp RTL: instruction set, assembler, interpreter, and the device's program.
//!
//! docs/microarchitecture.md describes the machine and the engines around it.

pub mod asm;
pub mod coverage;
pub mod interp;
pub mod isa;
pub mod layout;
pub mod program;
