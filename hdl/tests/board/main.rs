//! What is around the core on a board: each block against plain Rust and against its own Verilog, as in `blocks`.

mod bridge;
// The other benches use the rest of it.
#[expect(dead_code, unused_imports)]
#[path = "../blocks/common/mod.rs"]
mod common;
mod coverage;
mod ethernet;
mod gigabit;
mod pins;
