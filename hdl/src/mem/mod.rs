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
