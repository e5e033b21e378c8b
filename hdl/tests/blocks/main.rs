//! Every block against plain Rust and against its own Verilog.

mod common;
mod crc32c;
mod fifo;
mod lint;
mod markers;
mod ram;
mod receive;
mod rotator;
mod sequencer;
mod transmit;
mod trap;
mod window;
