use super::Used;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use thiserror::Error;

/// Why there is no result of a tool.
#[derive(Debug, Error)]
pub enum FlowError {
    /// It is not on PATH.
    #[error("{tool} is not installed: apt-get install {package}")]
    Missing {
        /// Its name.
        tool: String,
        /// The Debian package it comes in.
        package: &'static str,
    },
    /// It could not be started for another reason.
    #[error("{tool} cannot be started: {source}")]
    Start {
        /// Its name.
        tool: String,
        /// Why.
        source: std::io::Error,
    },
    /// It says that something is wrong.
    #[error("{tool} failed ({status}):\n{log}")]
    Failed {
        /// Its name.
        tool: String,
        /// How it ended.
        status: std::process::ExitStatus,
        /// The end of what it printed.
        log: String,
    },
    /// It ended well, but its report lacks something; its version may be one that prints it differently.
    #[error("{tool} printed no {what}: is this version of it known to work (docs/area.md)?")]
    Report {
        /// Its name.
        tool: &'static str,
        /// What was looked for.
        what: String,
    },
    /// Nothing says how fast a clock must be.
    #[error("clock `{net}` has no target: add `set_frequency {net} MHZ` to the constraints")]
    NoTarget {
        /// Its net.
        net: String,
    },
    /// A clock misses its target.
    #[error(
        "clock `{net}` runs at {mhz:.2} MHz, not at {target_mhz:.2} MHz: another --seed may do, the critical path is in nextpnr.log"
    )]
    TooSlow {
        /// Its net.
        net: String,
        /// After routing.
        mhz: f64,
        /// Wanted.
        target_mhz: f64,
    },
    /// The part does not have so much.
    #[error("it does not fit the part: {}; the table of blocks says where they are", list(over))]
    TooLarge {
        /// Of what.
        over: Vec<Used>,
    },
    /// The part is too full.
    #[error(
        "{used} of {available} logic cells are used, more than {percent} %: see the table of blocks in hierarchy.txt"
    )]
    TooFull {
        /// Logic cells.
        used: usize,
        /// Of the part.
        available: usize,
        /// Most that may be used.
        percent: usize,
    },
    /// A file of its input or output.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

fn list(used: &[Used]) -> String {
    used.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The lines of a failed tool's output that are shown: errors come last.
const LINES_SHOWN: usize = 25;

/// Runs a tool in a folder. What it printed, or what to do about it.
pub fn run(folder: &Path, tool: &str, arguments: &[&str]) -> Result<String, FlowError> {
    let output = Command::new(tool).args(arguments).current_dir(folder).output().map_err(|source| {
        let tool = tool.to_owned();
        match source.kind() {
            ErrorKind::NotFound => FlowError::Missing { package: package(&tool), tool },
            _ => FlowError::Start { tool, source },
        }
    })?;
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        return Ok(text.into_owned());
    }
    let lines: Vec<&str> = text.lines().collect();
    let log = lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n");
    Err(FlowError::Failed { tool: tool.to_owned(), status: output.status, log })
}

/// The Debian package of a tool.
fn package(tool: &str) -> &'static str {
    match tool {
        "yosys" => "yosys",
        "nextpnr-ice40" => "nextpnr-ice40",
        "verilator" => "verilator",
        _ => "fpga-icestorm",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_tool_names_its_package() {
        let error = run(Path::new("."), "icepack-of-another-name", &[]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "icepack-of-another-name is not installed: apt-get install fpga-icestorm"
        );
    }

    #[test]
    fn a_failing_tool_shows_the_end_of_its_log() {
        let script = "for i in $(seq 40); do echo line $i; done; echo broken >&2; exit 3";
        let error = run(Path::new("."), "sh", &["-c", script]).unwrap_err().to_string();
        assert!(error.starts_with("sh failed (exit status: 3):\nline 17\n"), "{error}");
        assert!(error.ends_with("line 40\nbroken"), "{error}");
    }
}
