//! How often a cache in front of the program would miss: `IRONWARP_CACHE=1` tells, for several sizes, when a device is dropped.

use ironwarp_hdl::mem::{FLASH_EACH, FLASH_FIRST, FLASH_NEXT};
use std::fmt::Write;

/// A direct-mapped cache of instructions.
struct Cache {
    words: usize,
    line: usize,
    /// Which line of the program each holds.
    lines: Vec<usize>,
    misses: u64,
    /// The line that was filled last, and cycles of all fills.
    last: usize,
    cycles: u64,
}

/// Several of them, that see the same instructions.
pub struct Caches {
    caches: Vec<Cache>,
    instructions: u64,
}

impl Caches {
    /// If the variable asks for them.
    pub fn from_env() -> Option<Self> {
        std::env::var_os("IRONWARP_CACHE").filter(|value| value != "0")?;
        let sizes = [256, 512, 1024, 2048].into_iter().flat_map(|words| [4, 8, 16].map(|line| (words, line)));
        let cache = |(words, line)| Cache {
            words,
            line,
            lines: vec![usize::MAX; words / line],
            misses: 0,
            last: 0,
            cycles: 0,
        };
        Some(Self { caches: sizes.map(cache).collect(), instructions: 0 })
    }

    /// The instruction at `pc` is executed.
    pub fn fetch(&mut self, pc: usize) {
        self.instructions += 1;
        for cache in &mut self.caches {
            let line = pc / cache.line;
            let at = line % cache.lines.len();
            if cache.lines[at] != line {
                cache.lines[at] = line;
                cache.misses += 1;
                let first = if line == cache.last + 1 { FLASH_NEXT } else { FLASH_FIRST };
                cache.last = line;
                // The words, and a cycle before and behind.
                cache.cycles += u64::from(first + FLASH_EACH * (cache.line as u32 - 1) + 2);
            }
        }
    }

    /// What they saw: a line a cache.
    pub fn report(&self) -> String {
        let mut text = format!("{} instructions\n", self.instructions);
        let all = self.instructions.max(1) as f64;
        for Cache { words, line, misses, cycles, .. } in &self.caches {
            // Writing to a String does not fail.
            let _ = writeln!(
                text,
                "  {words:4} words in lines of {line:2}: {:6.2} % hits, {:6.1} cycles of filling an instruction",
                100.0 * (1.0 - *misses as f64 / all),
                *cycles as f64 / all
            );
        }
        text
    }
}
