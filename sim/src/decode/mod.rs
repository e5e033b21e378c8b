//! Reading captures of iWARP traffic: what two peers said to each other, FPDU by FPDU.
//!
//! `packets` takes frames out of a file, `link` the IPv4 packet out of a frame, `follow` puts the TCP segments of
//! one direction in order, `search` finds MPA in a stream, and [`Decoder`] puts them together into [`Event`]s.

mod decoder;
mod event;
mod follow;
mod link;
mod packets;
mod search;

pub use decoder::Decoder;
pub use event::{Detail, Event, Segment};
pub use follow::Stamp;
pub use packets::{CaptureError, Frame, Frames};

use std::path::Path;
use std::time::Duration;

/// All that a capture file holds.
#[derive(Debug, Default)]
pub struct Decoded {
    /// MPA frames and FPDUs, in the order of the frames that complete them.
    pub events: Vec<Event>,
    /// Frames in the file.
    pub frames: u64,
    /// What the reader should know: the file is cut off, or holds frames that are not understood.
    pub warning: Option<String>,
}

/// Decodes a capture file. A file that begins as a capture but breaks off or goes wrong is decoded up to there, with a
/// warning.
pub fn decode_file(path: &Path) -> Result<Decoded, CaptureError> {
    let mut decoder = Decoder::new();
    let (mut events, mut warnings) = (Vec::new(), Vec::new());
    for frame in Frames::open(path)? {
        match frame {
            Ok(frame) => {
                events.extend(decoder.frame_on(frame.link, Duration::from_nanos(frame.time), &frame.bytes));
            }
            Err(error) => {
                warnings.push(format!("{error} (behind frame {})", decoder.frames()));
                break;
            }
        }
    }
    let (frames, unknown) = (decoder.frames(), decoder.unknown_links());
    if unknown > 0 {
        warnings.push(format!("{unknown} frames of link types that are not understood"));
    }
    events.extend(decoder.finish());
    events.sort_by_key(|event| event.stamp.frame);
    let warning = (!warnings.is_empty()).then(|| warnings.join("; "));
    Ok(Decoded { events, frames, warning })
}
