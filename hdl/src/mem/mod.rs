//! Memories.

mod fifo;
mod flash;
mod packets;
mod ram;

pub use fifo::Fifo;
pub use flash::{FLASH_BASE, FLASH_EACH, FLASH_FIRST, FLASH_NEXT, Flash, flash_image};
pub use packets::{Packets, StoreMaster, StoreSlave};
pub use ram::Ram;

use rust_hdl::prelude::{Clock, In, Signal};
use std::fmt::Write;

/// Verilog's `initial` for a memory called `mem`: none if it starts as zeros.
fn initial(words: &[u64], bits: usize) -> String {
    if words.iter().all(|word| *word == 0) {
        return String::new();
    }
    let mut text = String::from("initial begin\n");
    for (i, word) in words.iter().enumerate() {
        // Writing to a String does not fail.
        let _ = writeln!(text, "   mem[{i}] = {bits}'h{word:x};");
    }
    text + "end\n"
}

/// Whether the clock rises in this pass of the simulation.
fn rises(clock: &Signal<In, Clock>) -> bool {
    clock.pos_edge()
}

/// Verilog that reads a memory into a register with every edge, or with those at which `enable` is set. A word that is being
/// written reads as its complement where SYNTHESIS is not defined, as in our own simulation: synthesis may make of it what it likes.
pub(crate) fn read(
    register: &str,
    [memory, address]: [&str; 2],
    enable: Option<&str>,
    [write, write_address]: [&str; 2],
) -> String {
    let when = enable.map(|enable| format!("if ({enable}) ")).unwrap_or_default();
    format!(
        "\
always @(posedge clock)
`ifdef SYNTHESIS
   {when}{register} <= {memory}[{address}];
`else
   {when}{register} <= {write} && {write_address} == {address} ? ~{memory}[{address}] : {memory}[{address}];
`endif"
    )
}
