//! Instruction coverage of the device's program: merges what devices have appended to the file that `IRONWARP_COVERAGE` named.
//!
//! ```text
//! IRONWARP_ENGINE=micro IRONWARP_COVERAGE=/tmp/coverage cargo test -p ironwarp-testbench -p ironwarp-sim
//! cargo run -p ironwarp-micro --example coverage -- /tmp/coverage
//! cargo run -p ironwarp-micro --example coverage -- /tmp/coverage profile
//! ```

use ironwarp_micro::coverage::Coverage;
use ironwarp_micro::layout::Sizes;
use ironwarp_micro::program::assemble;
use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader};

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("give the file that IRONWARP_COVERAGE named")?;
    let program = assemble(&Sizes::FULL)?;
    let mut coverage = Coverage::new(&program);
    let (mut added, mut others) = (0, 0);
    for line in BufReader::new(File::open(path)?).lines() {
        let known = coverage.add_line(&line?);
        added += usize::from(known);
        others += usize::from(!known);
    }
    let profile = std::env::args().nth(2).is_some_and(|what| what == "profile");
    print!("{}", if profile { coverage.profile(&program) } else { coverage.report(&program) });
    println!("{added} devices; {others} more ran other programs");
    Ok(())
}
