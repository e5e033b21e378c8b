//! Which instructions of the program runs have executed: with `IRONWARP_COVERAGE=FILE` each device that is dropped
//! appends its counts.

use ironwarp_micro::asm::Program;
use ironwarp_micro::interp::Machine;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;

/// Append the counts of a machine, one line: a checksum of the program, then `pc:executed:taken` of each instruction
/// that was executed. One write, so that lines of processes do not mix.
pub fn record(program: &Program, machine: &Machine) {
    let Some(path) = std::env::var_os("IRONWARP_COVERAGE") else { return };
    let mut line = format!("{:08x}", checksum(program));
    for (pc, [executed, taken]) in machine.executed.iter().enumerate().filter(|(_, count)| count[0] > 0) {
        let _ = write!(line, " {pc}:{executed}:{taken}");
    }
    line.push('\n');
    let file = OpenOptions::new().create(true).append(true).open(&path);
    if let Err(error) = file.and_then(|mut file| file.write_all(line.as_bytes())) {
        tracing::error!("cannot write instruction coverage to {}: {error}", path.display());
    }
}

/// What tells programs apart.
pub fn checksum(program: &Program) -> u32 {
    let bytes: Vec<u8> = program.words.iter().flat_map(|word| word.to_le_bytes()).collect();
    ironwarp_proto::crc::fpdu_crc(&bytes)
}
