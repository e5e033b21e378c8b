//! `ironwarp decode`: prints the iWARP traffic of a capture.

use crate::decode::{CaptureError, Decoded, Detail, decode_file};
use ironwarp_proto::mpa::stream::FpduCrc;
use std::collections::BTreeMap;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::PathBuf;
use thiserror::Error;

/// Decode the iWARP traffic of a pcap or pcapng capture.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The capture.
    pub file: PathBuf,
    /// One JSON object a line, in place of text and summary.
    #[arg(long)]
    pub json: bool,
}

/// Why there is no decode.
#[derive(Debug, Error)]
pub enum DecodeError {
    /// The file.
    #[error("{}: {source}", file.display())]
    Capture {
        /// Which file.
        file: PathBuf,
        /// What is wrong with it.
        source: CaptureError,
    },
    /// The output.
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
}

/// Runs the command. A capture that is cut off is printed as far as it goes, with a warning on standard error.
pub fn run(args: &Args) -> Result<(), DecodeError> {
    let decoded =
        decode_file(&args.file).map_err(|source| DecodeError::Capture { file: args.file.clone(), source })?;
    let mut out = BufWriter::new(io::stdout().lock());
    let written = if args.json { json(&decoded, &mut out) } else { text(&decoded, &mut out) };
    match written.and_then(|()| out.flush()) {
        // Whoever reads has seen enough.
        Err(e) if e.kind() == ErrorKind::BrokenPipe => {}
        other => other?,
    }
    if let Some(warning) = &decoded.warning {
        eprintln!("warning: {}: {warning}", args.file.display());
    }
    Ok(())
}

fn json(decoded: &Decoded, out: &mut impl Write) -> io::Result<()> {
    for event in &decoded.events {
        serde_json::to_writer(&mut *out, event)?;
        writeln!(out)?;
    }
    Ok(())
}

fn text(decoded: &Decoded, out: &mut impl Write) -> io::Result<()> {
    let (mut kinds, mut crcs, mut payload) = (BTreeMap::new(), BTreeMap::new(), 0);
    for event in &decoded.events {
        writeln!(out, "{event}")?;
        *kinds.entry(event.kind()).or_insert(0u64) += 1;
        if let Detail::Segment(segment) = &event.detail {
            let crc = match segment.crc {
                FpduCrc::Good => "good",
                FpduCrc::Bad => "bad",
                FpduCrc::None => "none",
            };
            *crcs.entry(crc).or_insert(0u64) += 1;
            payload += segment.payload.len() as u64;
        }
    }
    let list = |counts: BTreeMap<&str, u64>| {
        counts.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
    };
    writeln!(out, "{} frames, {} events: {}", decoded.frames, decoded.events.len(), list(kinds))?;
    if !crcs.is_empty() {
        writeln!(out, "{payload} bytes behind DDP headers; CRC: {}", list(crcs))?;
    }
    Ok(())
}
