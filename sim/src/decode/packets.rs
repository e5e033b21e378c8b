//! Frames out of capture files: pcap (both byte orders, micro- and nanoseconds) and pcapng.
//!
//! Of pcapng only the raw blocks are taken from the `pcap-file` crate: it reads time stamps without their resolution.

use pcap_file::pcap::PcapReader;
use pcap_file::pcapng::PcapNgReader;
use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionOption;
use pcap_file::pcapng::blocks::{ENHANCED_PACKET_BLOCK, PACKET_BLOCK, SIMPLE_PACKET_BLOCK};
use pcap_file::{Endianness, PcapError, TsResolution};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek};
use std::path::Path;
use thiserror::Error;

/// The block type every pcapng file begins with, the same in both byte orders.
const PCAPNG_MAGIC: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

/// A captured frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Nanoseconds since 1970 (or whatever the capturing clock began with).
    pub time: u64,
    /// The link type number of the tcpdump registry.
    pub link: u32,
    /// The bytes captured, perhaps not all there were.
    pub bytes: Vec<u8>,
}

/// Why a capture cannot be read, or not to its end.
#[derive(Debug, Error)]
pub enum CaptureError {
    /// No such file, or no right to read it.
    #[error("cannot read it: {0}")]
    Io(#[from] io::Error),
    /// It does not begin as a capture does.
    #[error("not a pcap or pcapng capture")]
    NotACapture,
    /// It ends inside a frame.
    #[error("the file is cut off inside a frame")]
    CutOff,
    /// It goes wrong in the middle.
    #[error("the file is damaged: {0}")]
    Damaged(String),
}

enum Source {
    Pcap(PcapReader<File>),
    PcapNg(PcapNgReader<File>),
}

/// Reads the frames of a capture file, one after the other.
pub struct Frames {
    source: Source,
    /// Time of the frame before, for blocks without one.
    time: u64,
}

impl Frames {
    /// Opens a file and reads its header.
    pub fn open(path: &Path) -> Result<Frames, CaptureError> {
        let mut file = File::open(path)?;
        let mut magic = [0; 4];
        file.read_exact(&mut magic).map_err(|e| match e.kind() {
            ErrorKind::UnexpectedEof => CaptureError::NotACapture,
            _ => CaptureError::Io(e),
        })?;
        file.rewind()?;
        let not_a_capture = |_| CaptureError::NotACapture;
        let source = if magic == PCAPNG_MAGIC {
            Source::PcapNg(PcapNgReader::new(file).map_err(not_a_capture)?)
        } else {
            Source::Pcap(PcapReader::new(file).map_err(not_a_capture)?)
        };
        Ok(Frames { source, time: 0 })
    }
}

impl Iterator for Frames {
    type Item = Result<Frame, CaptureError>;

    fn next(&mut self) -> Option<Result<Frame, CaptureError>> {
        let frame = match &mut self.source {
            Source::Pcap(reader) => next_of_pcap(reader),
            Source::PcapNg(reader) => next_of_pcapng(reader, self.time),
        };
        if let Some(Ok(frame)) = &frame {
            self.time = frame.time;
        }
        frame.map(|result| result.map_err(broken))
    }
}

/// What a mistake behind the header means.
fn broken(error: PcapError) -> CaptureError {
    match error {
        PcapError::IoError(e) if e.kind() == ErrorKind::UnexpectedEof => CaptureError::CutOff,
        PcapError::IoError(e) => CaptureError::Io(e),
        other => CaptureError::Damaged(other.to_string()),
    }
}

fn next_of_pcap(reader: &mut PcapReader<File>) -> Option<Result<Frame, PcapError>> {
    let header = reader.header();
    let unit = if header.ts_resolution == TsResolution::MicroSecond { 1000 } else { 1 };
    // Raw: the crate refuses frames longer than the snap length, though some tools write them.
    let packet = reader.next_raw_packet()?;
    Some(packet.map(|packet| Frame {
        time: u64::from(packet.ts_sec) * 1_000_000_000 + u64::from(packet.ts_frac) * unit,
        link: u32::from(header.datalink) & 0xffff,
        bytes: packet.data.into_owned(),
    }))
}

fn next_of_pcapng(reader: &mut PcapNgReader<File>, last: u64) -> Option<Result<Frame, PcapError>> {
    loop {
        let (kind, body) = match reader.next_raw_block()? {
            Ok(block) => (block.type_, block.body.into_owned()),
            Err(error) => return Some(Err(error)),
        };
        let big = reader.section().endianness == Endianness::Big;
        let word = |at: usize| {
            let bytes = body.get(at..at + 4)?.try_into().ok()?;
            Some(if big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
        };
        // Interface, time in units of that interface, length and place of the bytes.
        let parts = || match kind {
            ENHANCED_PACKET_BLOCK => Some((word(0)?, Some((word(4)?, word(8)?)), word(12)?, 20)),
            PACKET_BLOCK => {
                let interface = if big { word(0)? >> 16 } else { word(0)? & 0xffff };
                Some((interface, Some((word(4)?, word(8)?)), word(12)?, 20))
            }
            SIMPLE_PACKET_BLOCK => Some((0, None, word(0)?, 4)),
            _ => None,
        };
        if ![ENHANCED_PACKET_BLOCK, PACKET_BLOCK, SIMPLE_PACKET_BLOCK].contains(&kind) {
            continue;
        }
        let Some((interface, time, length, at)) = parts() else {
            return Some(Err(PcapError::InvalidField("packet block too short")));
        };
        let Some(interface) = reader.interfaces().get(interface as usize) else {
            return Some(Err(PcapError::InvalidInterfaceId(interface)));
        };
        let resolution = interface.options.iter().find_map(|option| match option {
            InterfaceDescriptionOption::IfTsResol(value) => Some(*value),
            _ => None,
        });
        // A simple packet block has no captured length of its own.
        let length = match kind {
            SIMPLE_PACKET_BLOCK if interface.snaplen > 0 => length.min(interface.snaplen),
            _ => length,
        };
        let Some(bytes) = body.get(at..).and_then(|data| data.get(..length as usize)) else {
            return Some(Err(PcapError::InvalidField("packet longer than its block")));
        };
        let time = time.map_or(last, |(high, low)| {
            nanoseconds(u64::from(high) << 32 | u64::from(low), resolution.unwrap_or(6))
        });
        let link = u32::from(interface.linktype);
        return Some(Ok(Frame { time, link, bytes: bytes.to_vec() }));
    }
}

/// A pcapng time in units of 10^-n or (with the high bit) 2^-n seconds.
fn nanoseconds(units: u64, resolution: u8) -> u64 {
    let exponent = u32::from(resolution & 0x7f);
    let per_second =
        if resolution & 0x80 != 0 { 1u128.checked_shl(exponent) } else { 10u128.checked_pow(exponent) };
    let time = u128::from(units) * 1_000_000_000 / per_second.unwrap_or(u128::MAX).max(1);
    u64::try_from(time).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::nanoseconds;

    #[test]
    fn resolutions() {
        assert_eq!(nanoseconds(1_500_000, 6), 1_500_000_000);
        assert_eq!(nanoseconds(7, 9), 7);
        assert_eq!(nanoseconds(3, 0x81), 1_500_000_000);
        for resolution in 0..=255 {
            let _ = nanoseconds(u64::MAX, resolution);
        }
    }
}
