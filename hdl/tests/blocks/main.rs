//! Every block against plain Rust and against its own Verilog.

mod arbiter;
mod bursts;
mod chain;
mod common;
mod coverage;
mod crc32c;
mod failures;
mod fetch;
mod fifo;
mod flash;
mod latency;
mod lint;
mod markers;
mod packets;
mod ram;
mod reader;
mod receive;
mod requests;
mod rotator;
mod sequencer;
mod transmit;
mod trap;
mod walk;
mod window;
mod wishbone;
mod writer;
