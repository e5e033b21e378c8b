//! Captures that Wireshark reads: pcapng with nanosecond timestamps and one interface a node.

use ironwarp_proto::pins::Nanos;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::{DataLink, Endianness, PcapError, PcapResult};
use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use thiserror::Error;

/// Why a capture is missing or incomplete.
#[derive(Debug, Error)]
pub enum CaptureError {
    /// The file could not be made.
    #[error("cannot create capture file {}: {source}; check that its directory exists and is writable", path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Writing failed; the capture ends before the frame that was not written.
    #[error("the capture is incomplete, writing it failed: {0}; check the space left on the device")]
    Write(#[source] io::Error),
}

type Stream = Box<dyn Write + Send>;

/// Writes frames to a pcapng stream. The first error ends the capture, never the run: [`finish`](Self::finish) tells it.
pub struct PcapWriter {
    out: Result<PcapNgWriter<Stream>, PcapError>,
    interfaces: u32,
}

impl PcapWriter {
    /// Capture to a new file; one that is there already is replaced.
    pub fn create(path: impl AsRef<Path>) -> Result<Self, CaptureError> {
        let path = path.as_ref();
        let file = File::create(path).map_err(|source| CaptureError::Create { path: path.into(), source })?;
        Ok(Self::new(BufWriter::with_capacity(1 << 18, file)))
    }

    /// Capture to any stream.
    pub fn new(stream: impl Write + Send + 'static) -> Self {
        let section = SectionHeaderBlock {
            endianness: Endianness::Little,
            options: vec![SectionHeaderOption::UserApplication(Cow::Borrowed("ironwarp"))],
            ..SectionHeaderBlock::default()
        };
        let stream: Stream = Box::new(stream);
        Self { out: PcapNgWriter::with_section_header(stream, section), interfaces: 0 }
    }

    /// Add an interface; returns its number, counted from 0.
    pub fn add_interface(&mut self, name: &str) -> u32 {
        let interface = InterfaceDescriptionBlock {
            linktype: DataLink::ETHERNET,
            snaplen: 0,
            options: vec![
                InterfaceDescriptionOption::IfName(Cow::Owned(name.into())),
                InterfaceDescriptionOption::IfTsResol(9),
            ],
        };
        self.write(|out| out.write_pcapng_block(interface));
        self.interfaces += 1;
        self.interfaces - 1
    }

    /// Record a frame sent by an interface at `now`, with a comment unless that is empty.
    pub fn frame(&mut self, now: Nanos, interface: u32, frame: &[u8], comment: &str) {
        let comment = Some(comment).filter(|comment| !comment.is_empty());
        let packet = EnhancedPacketBlock {
            interface_id: interface,
            timestamp: Duration::from_nanos(now),
            original_len: u32::try_from(frame.len()).unwrap_or(u32::MAX),
            data: Cow::Borrowed(frame),
            options: comment.map(|text| EnhancedPacketOption::Comment(text.into())).into_iter().collect(),
        };
        self.write(|out| out.write_pcapng_block(packet));
    }

    /// Write out what is buffered, and tell the first error there was, if any.
    pub fn finish(self) -> Result<(), CaptureError> {
        let flushed = self.out.and_then(|mut out| out.get_mut().flush().map_err(PcapError::IoError));
        flushed.map_err(|error| match error {
            // The library says "reading" of any I/O error.
            PcapError::IoError(error) => CaptureError::Write(error),
            error => CaptureError::Write(io::Error::other(error)),
        })
    }

    fn write(&mut self, write: impl FnOnce(&mut PcapNgWriter<Stream>) -> PcapResult<usize>) {
        if let Ok(out) = &mut self.out
            && let Err(error) = write(out)
        {
            self.out = Err(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pcap_file::pcapng::{Block, PcapNgReader};
    use std::sync::{Arc, Mutex};

    /// A stream that takes `room` bytes and then fails.
    #[derive(Clone)]
    struct Small {
        bytes: Arc<Mutex<Vec<u8>>>,
        room: usize,
    }

    impl Write for Small {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            let mut bytes = self.bytes.lock().unwrap();
            if bytes.len() + data.len() > self.room {
                return Err(io::Error::other("full"));
            }
            bytes.extend_from_slice(data);
            Ok(data.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn frames_read_back_with_time_interface_and_comment() {
        let stream = Small { bytes: Arc::default(), room: usize::MAX };
        let mut pcap = PcapWriter::new(stream.clone());
        assert_eq!((pcap.add_interface("a"), pcap.add_interface("b")), (0, 1));
        let late = 5_000_000_123;
        pcap.frame(7, 0, &[1; 61], "");
        pcap.frame(late, 1, &[2; 64], "lost");
        pcap.finish().unwrap();

        let bytes = stream.bytes.lock().unwrap().clone();
        let mut reader = PcapNgReader::new(bytes.as_slice()).unwrap();
        let mut packets = Vec::new();
        while let Some(block) = reader.next_block() {
            if let Block::EnhancedPacket(packet) = block.unwrap().into_owned() {
                packets.push(packet);
            }
        }
        let names = reader.interfaces().iter().map(|interface| interface.options[0].clone());
        let expected = ["a", "b"].map(|name| InterfaceDescriptionOption::IfName(Cow::Borrowed(name)));
        assert_eq!(names.collect::<Vec<_>>(), expected);
        assert_eq!(packets.len(), 2);
        assert_eq!((packets[0].interface_id, packets[0].timestamp), (0, Duration::from_nanos(7)));
        assert_eq!((packets[0].data.as_ref(), packets[0].options.len()), ([1; 61].as_slice(), 0));
        assert_eq!((packets[1].interface_id, packets[1].timestamp), (1, Duration::from_nanos(late)));
        assert_eq!(packets[1].options, [EnhancedPacketOption::Comment(Cow::Borrowed("lost"))]);
    }

    #[test]
    fn the_first_error_is_kept_and_told() {
        for room in [0, 50, 150, 200] {
            let mut pcap = PcapWriter::new(Small { bytes: Arc::default(), room });
            let interface = pcap.add_interface("a");
            for now in 0..10 {
                pcap.frame(now, interface, &[0; 60], "");
            }
            let error = pcap.finish().unwrap_err().to_string();
            assert!(error.contains("incomplete"), "{error}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_made_is_named() {
        let error = PcapWriter::create("/nowhere/at/all.pcapng").err().unwrap().to_string();
        assert!(error.contains("/nowhere/at/all.pcapng") && error.contains("directory"), "{error}");
    }
}
