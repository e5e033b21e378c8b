//! Every block against plain Rust and against its own Verilog.

mod common;
mod crc32c;
mod fifo;
mod lint;
mod markers;
mod ram;
mod reader;
mod receive;
mod rotator;
mod trap;
mod walk;
mod window;
mod writer;
