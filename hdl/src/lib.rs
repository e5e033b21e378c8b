//! The Ironwarp RTL: the device as RustHDL blocks.
//!
//! A block is a Rust struct whose `update` is at the same time what the simulator runs and what becomes Verilog.
//! Each is in a file of its own that begins with a block diagram, the interface and the theory of operation; its
//! tests are in `tests/blocks/`, where it is compared with plain Rust and with its own Verilog under Verilator.
//!
//! * [`fb`]: the bit vectors
//! * [`stream`]: the stream between blocks
//! * [`ports`]: the ports of any block, for benches and tools
//! * [`flow`]: Verilog, and what synthesis and placement say about it
//! * [`mem`]: RAM and FIFO
//! * [`rx`]: frames in; [`dma`]: host memory
//! * [`crc`], [`align`], [`seq`], [`mpa`]: what they are made of
//!
//! One clock, called `clock` everywhere, rising edge; registers start as zero; there is no reset here.

pub mod align;
pub mod crc;
pub mod dma;
pub mod fb;
pub mod flow;
pub mod host;
pub mod mem;
pub mod mpa;
pub mod ports;
pub mod rx;
pub mod seq;
pub mod stream;
pub mod top;
pub mod tx;
