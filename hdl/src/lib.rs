//! The Ironwarp RTL: the device as RustHDL blocks.
//!
//! A block is a Rust struct whose `update` is at the same time what the simulator runs and what becomes Verilog.
//! Each is in a file of its own that begins with a block diagram, the interface and the theory of operation; its
//! tests are in `tests/blocks/`, where it is compared with plain Rust and with its own Verilog under Verilator.
//!
//! * [`fb`]: the bit vectors
//! * [`stream`]: the stream between blocks
//! * [`outside`]: the other end of the pins of a board, for benches and simulations
//! * [`ports`]: the ports of any block, for benches and tools
//! * [`flow`]: Verilog, and what synthesis and placement say about it
//! * [`mem`]: RAM and FIFO
//! * [`mac`]: the pins of an Ethernet PHY; [`rx`]: frames in; [`dma`]: host memory
//! * [`bridge`]: the serial line to a host
//! * [`crc`], [`align`], [`seq`], [`mpa`]: what they are made of
//! * [`predict`]: the most frequent cases without the sequencer
//!
//! One clock, called `clock` everywhere, rising edge; registers start as zero; there is no reset here.

pub mod align;
pub mod bridge;
pub mod crc;
pub mod dma;
pub mod fb;
pub mod flow;
pub mod host;
pub mod mac;
pub mod mem;
pub mod mpa;
pub mod outside;
pub mod ports;
pub mod predict;
pub mod rx;
pub mod seq;
pub mod stream;
pub mod top;
pub mod tx;
