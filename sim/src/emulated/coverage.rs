//! With `IRONWARP_COVERAGE=FILE` each device that is dropped appends which instructions it has executed.

use ironwarp_micro::asm::Program;
use ironwarp_micro::coverage::Coverage;
use ironwarp_micro::interp::Machine;
use std::fs::OpenOptions;
use std::io::Write;

/// Append the counts of a machine. One write, so that lines of threads and processes do not mix.
pub fn record(program: &Program, machine: &Machine) {
    let Some(path) = std::env::var_os("IRONWARP_COVERAGE") else { return };
    let mut coverage = Coverage::new(program);
    coverage.add(machine);
    let line = coverage.line() + "\n";
    let file = OpenOptions::new().create(true).append(true).open(&path);
    if let Err(error) = file.and_then(|mut file| file.write_all(line.as_bytes())) {
        tracing::error!("cannot write instruction coverage to {}: {error}", path.display());
    }
}
