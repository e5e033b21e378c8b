//! vfio-user messages on a Unix stream socket: what client and server share (protocol version 0.0, as QEMU 10.1 speaks it).
//!
//! Every message is a header of 16 bytes and a body; file descriptors travel with the first byte. All fields are
//! little-endian, as on every machine that QEMU runs this on.

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// Length of the header, bytes.
pub const HEADER: usize = 16;
/// Most bytes of a register access, and what the version message says so.
pub const TRANSFER_MAX: usize = 1 << 20;
/// Longest message taken.
pub const MESSAGE_MAX: usize = TRANSFER_MAX + 4096;
/// Most file descriptors of a message.
pub const FDS_MAX: usize = 16;

/// Index of BAR 0 among the regions.
pub const BAR0_REGION: u32 = 0;
/// Index of configuration space among the regions.
pub const CONFIG_REGION: u32 = 7;
/// Index of MSI-X among the interrupts.
pub const MSIX_IRQ: u32 = 2;

/// Commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
#[allow(missing_docs, reason = "the names of the specification")]
pub enum Command {
    Version = 1,
    DmaMap = 2,
    DmaUnmap = 3,
    DeviceInfo = 4,
    RegionInfo = 5,
    IrqInfo = 7,
    SetIrqs = 8,
    RegionRead = 9,
    RegionWrite = 10,
    Reset = 13,
}

impl Command {
    /// The command with this code.
    pub fn from_code(code: u16) -> Option<Self> {
        use Command::*;
        let all = [
            Version,
            DmaMap,
            DmaUnmap,
            DeviceInfo,
            RegionInfo,
            IrqInfo,
            SetIrqs,
            RegionRead,
            RegionWrite,
            Reset,
        ];
        all.into_iter().find(|command| *command as u16 == code)
    }
}

/// Header flags.
pub mod flags {
    /// It is a reply; without it, a command.
    pub const REPLY: u32 = 1;
    /// The sender wants no reply.
    pub const NO_REPLY: u32 = 1 << 4;
    /// A reply that tells of a failure: `error` is an errno.
    pub const ERROR: u32 = 1 << 5;
}

/// DMA_MAP flags.
pub mod dma {
    /// The device may read.
    pub const READ: u32 = 1;
    /// The device may write.
    pub const WRITE: u32 = 2;
    /// DMA_UNMAP: everything.
    pub const UNMAP_ALL: u32 = 2;
}

/// SET_IRQS flags.
pub mod irq {
    /// No data.
    pub const DATA_NONE: u32 = 1;
    /// A file descriptor for each vector.
    pub const DATA_EVENTFD: u32 = 1 << 2;
    /// Set, or fire, the trigger.
    pub const ACTION_TRIGGER: u32 = 1 << 5;
}

/// Fixed part of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Header {
    /// Number that the reply repeats.
    pub id: u16,
    /// Command.
    pub command: u16,
    /// Length of header and body, bytes.
    pub size: u32,
    /// [`flags`].
    pub flags: u32,
    /// errno of a failure.
    pub error: u32,
}

impl Header {
    /// As bytes.
    pub fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[0..2].copy_from_slice(&self.id.to_le_bytes());
        bytes[2..4].copy_from_slice(&self.command.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.size.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.flags.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.error.to_le_bytes());
        bytes
    }
    /// From bytes.
    pub fn decode(bytes: &[u8; HEADER]) -> Self {
        let half = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let word = |at: usize| u32::from(half(at)) | u32::from(half(at + 2)) << 16;
        Self { id: half(0), command: half(2), size: word(4), flags: word(8), error: word(12) }
    }
    /// Whether it has all of these [`flags`].
    pub fn has(&self, flags: u32) -> bool {
        self.flags & flags == flags
    }
}

/// A message with what came with it.
#[derive(Debug)]
pub struct Message {
    /// Fixed part.
    pub header: Header,
    /// What follows.
    pub body: Vec<u8>,
    /// File descriptors, at most [`FDS_MAX`].
    pub fds: Vec<OwnedFd>,
}

/// A word of a body; `None` behind its end.
pub fn u32_at(body: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(body.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// A double word of a body; `None` behind its end.
pub fn u64_at(body: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(body.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

/// A body of 32-bit words.
pub fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Body of RegionRead and RegionWrite, without data.
pub fn access(offset: u64, region: u32, count: u32) -> Vec<u8> {
    words(&[offset as u32, (offset >> 32) as u32, region, count])
}

/// Body of DmaMap (with the offset in the file) or DmaUnmap (without).
pub fn dma_range(flags: u32, file_offset: Option<u64>, addr: u64, len: u64) -> Vec<u8> {
    let longs: Vec<u64> = file_offset.into_iter().chain([addr, len]).collect();
    let argsz = 8 + 8 * longs.len() as u32;
    let mut body = words(&[argsz, flags]);
    body.extend(longs.iter().flat_map(|long| long.to_le_bytes()));
    body
}

/// Body of Version: 0.0 and the limits of this end.
pub fn version() -> Vec<u8> {
    let limits =
        format!(r#"{{"capabilities":{{"max_msg_fds":{FDS_MAX},"max_data_xfer_size":{TRANSFER_MAX}}}}}"#);
    let mut body = words(&[0]);
    body.extend_from_slice(limits.as_bytes());
    body.push(0);
    body
}

/// Puts messages together from what a socket has.
#[derive(Default)]
pub struct Reader {
    bytes: Vec<u8>,
    fds: Vec<OwnedFd>,
}

fn bad(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

impl Reader {
    /// The next message; `None` if the rest of it has not come yet (sockets that do not block, or time out). The end of the
    /// stream is [`ErrorKind::UnexpectedEof`]; after any error the stream is of no use.
    pub fn read(&mut self, socket: &UnixStream) -> io::Result<Option<Message>> {
        loop {
            let header = self.bytes.first_chunk::<HEADER>().map(Header::decode);
            // Never more than the message at hand: the next one's descriptors would be taken for this one's.
            let size = header.map_or(HEADER, |header| header.size as usize);
            if !(HEADER..=MESSAGE_MAX).contains(&size) {
                return Err(bad("a message has an impossible length"));
            }
            if let Some(header) = header
                && self.bytes.len() == size
            {
                let body = self.bytes.split_off(HEADER);
                self.bytes.clear();
                return Ok(Some(Message { header, body, fds: std::mem::take(&mut self.fds) }));
            }
            if !self.fill(socket, size)? {
                return Ok(None);
            }
        }
    }

    /// Take what the socket has, up to `size` bytes in all; `false` if it has nothing.
    fn fill(&mut self, socket: &UnixStream, size: usize) -> io::Result<bool> {
        // A hostile length costs no memory before the bytes come.
        let mut chunk = [0; 4096];
        let wanted = (size - self.bytes.len()).min(chunk.len());
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut chunk[..wanted])];
        let got = match recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Ok(got) => got,
            Err(error) => {
                let error = io::Error::from(error);
                let later = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
                return match error.kind() {
                    _ if later => Ok(false),
                    ErrorKind::Interrupted => Ok(true),
                    _ => Err(error),
                };
            }
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                self.fds.extend(fds);
            }
        }
        if got.flags.contains(ReturnFlags::CTRUNC) || self.fds.len() > FDS_MAX {
            return Err(bad("a message has more than 16 file descriptors"));
        }
        if got.bytes == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.bytes.extend_from_slice(&chunk[..got.bytes]);
        Ok(true)
    }
}

/// Send a message whole. On a socket that does not block, one that does not fit is an error.
pub fn send(socket: &UnixStream, header: Header, body: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    if fds.len() > FDS_MAX {
        return Err(bad("more than 16 file descriptors"));
    }
    let size = HEADER + body.len();
    let head = Header { size: size as u32, ..header }.encode();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut sent = 0;
    while sent < size {
        let mut control = SendAncillaryBuffer::new(&mut space);
        if sent == 0 && !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(bad("more than 16 file descriptors"));
        }
        let parts = if sent < HEADER {
            [IoSlice::new(&head[sent..]), IoSlice::new(body)]
        } else {
            [IoSlice::new(&body[sent - HEADER..]), IoSlice::new(&[])]
        };
        match sendmsg(socket, &parts, &mut control, SendFlags::NOSIGNAL) {
            Ok(count) => sent += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsFd;

    #[test]
    fn messages_keep_their_own_descriptors() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let header = |id| Header { id, command: Command::DmaMap as u16, ..Header::default() };
        send(&ours, header(1), &[1; 5000], &[]).unwrap();
        send(&ours, header(2), &[2; 3], &[ours.as_fd(), ours.as_fd()]).unwrap();
        send(&ours, header(3), &[], &[]).unwrap();
        let mut reader = Reader::default();
        let mut next = || reader.read(&theirs).unwrap().unwrap();
        let all = [next(), next(), next()];
        assert_eq!(all.each_ref().map(|message| message.header.id), [1, 2, 3]);
        assert_eq!(all.each_ref().map(|message| message.fds.len()), [0, 2, 0]);
        assert_eq!(all.map(|message| message.body), [vec![1; 5000], vec![2; 3], vec![]]);
        theirs.set_nonblocking(true).unwrap();
        assert!(reader.read(&theirs).unwrap().is_none());
    }

    #[test]
    fn impossible_messages_are_errors() {
        for size in [0, 15, MESSAGE_MAX as u32 + 1, u32::MAX] {
            let (mut ours, theirs) = UnixStream::pair().unwrap();
            ours.write_all(&Header { size, ..Header::default() }.encode()).unwrap();
            assert_eq!(Reader::default().read(&theirs).unwrap_err().kind(), ErrorKind::InvalidData, "{size}");
        }
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        ours.write_all(&[0; 7]).unwrap();
        drop(ours);
        assert_eq!(Reader::default().read(&theirs).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        let (ours, _theirs) = UnixStream::pair().unwrap();
        assert!(send(&ours, Header::default(), &[], &[ours.as_fd(); 17]).is_err());
    }
}
