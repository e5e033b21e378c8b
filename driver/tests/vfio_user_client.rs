//! The vfio-user client against servers that answer nonsense: errors that say so, never a panic, never a hang.

use ironwarp_driver::transport::vfio_user::wire::{Command, Header, Message, Reader, flags, send, words};
use ironwarp_driver::transport::{DeviceName, Transport, TransportError, VfioUser, Wait};
use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

/// What a server does with a message instead of answering it well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Well,
    Garbage,
    WrongId,
    WrongCommand,
    NotAReply,
    Refusal(u32),
    Empty,
    Huge,
    Close,
}

const BAD: [Answer; 8] = [
    Answer::Garbage,
    Answer::WrongId,
    Answer::WrongCommand,
    Answer::NotAReply,
    Answer::Refusal(22),
    Answer::Refusal(u32::MAX),
    Answer::Huge,
    Answer::Close,
];

/// The answer of a server that knows how: a device whose BAR is 8 KiB and whose registers all read 7.
fn well(message: &Message) -> Vec<u8> {
    match Command::from_code(message.header.command) {
        Some(Command::Version) => words(&[0]),
        Some(Command::RegionInfo) => words(&[32, 3, 0, 0, 8192, 0, 0, 0]),
        Some(Command::IrqInfo) => words(&[16, 9, 2, 1]),
        Some(Command::RegionRead) => [message.body.clone(), words(&[7])].concat(),
        Some(Command::RegionWrite) => message.body[..16].to_vec(),
        _ => Vec::new(),
    }
}

/// Answer one client, each message as `choose` says by its number.
fn serve(mut socket: UnixStream, choose: impl Fn(usize, &Message) -> Answer) {
    let mut reader = Reader::default();
    for number in 0.. {
        let Ok(Some(message)) = reader.read(&socket) else { return };
        let answer = choose(number, &message);
        let (mut header, mut body) = (Header { flags: flags::REPLY, ..message.header }, well(&message));
        match answer {
            Answer::Well if message.header.has(flags::NO_REPLY) => continue,
            Answer::Well => {}
            Answer::Garbage => {
                let _ = socket.write_all(&[0xa5; 64]);
                continue;
            }
            Answer::WrongId => header.id ^= 1,
            Answer::WrongCommand => header.command ^= 1,
            Answer::NotAReply => header.flags = 0,
            Answer::Refusal(error) => {
                (header.flags, header.error, body) = (flags::REPLY | flags::ERROR, error, Vec::new());
            }
            Answer::Empty => body.clear(),
            Answer::Huge => {
                let _ = socket.write_all(&Header { size: u32::MAX, ..header }.encode());
                continue;
            }
            Answer::Close => return,
        }
        if send(&socket, header, &body, &[]).is_err() {
            return;
        }
    }
}

struct Server {
    path: PathBuf,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn new(name: &str, choose: impl Fn(usize, &Message) -> Answer + Send + 'static) -> Self {
        let path = std::env::temp_dir().join(format!("ironwarp-{name}-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let thread = std::thread::spawn(move || {
            let (socket, _) = listener.accept().unwrap();
            serve(socket, choose);
        });
        Self { path, thread: Some(thread) }
    }
    fn open(&self) -> Result<Arc<dyn Transport>, TransportError> {
        DeviceName::VfioUser(self.path.clone()).open()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
        let joined = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || joined.is_some_and(|joined| joined.is_ok()));
    }
}

/// Messages of a whole set-up.
const SET_UP: usize = 7;

#[test]
fn a_set_up_that_goes_wrong_anywhere_is_an_error() {
    for number in 0..SET_UP {
        for answer in BAD {
            let server = Server::new("setup", move |at, _| if at == number { answer } else { Answer::Well });
            let error = server.open().err().unwrap_or_else(|| panic!("{answer:?} to message {number}"));
            let text = error.to_string();
            assert!(matches!(&error, TransportError::Open { .. }) && text.contains("vfio-user:"), "{text}");
        }
    }
    let server = Server::new("well", |_, _| Answer::Well);
    assert_eq!(server.open().unwrap().read32(0), Ok(7), "a server that answers well is believed");
}

#[test]
fn replies_too_short_for_what_they_must_say_are_errors() {
    // Version, region, vectors, command register.
    for number in [0, 2, 3, 4] {
        let server =
            Server::new("short", move |at, _| if at == number { Answer::Empty } else { Answer::Well });
        assert!(matches!(server.open(), Err(TransportError::Open { .. })), "{number}");
    }
}

#[test]
fn a_device_that_breaks_later_is_gone_for_good() {
    for answer in BAD.into_iter().chain([Answer::Empty]) {
        let server = Server::new("later", move |at, message| {
            let read = message.header.command == Command::RegionRead as u16;
            if at >= SET_UP && read { answer } else { Answer::Well }
        });
        let device = server.open().unwrap();
        let buffer = device.alloc(5000).unwrap();
        assert!(buffer.write(4999, &[1]) && !buffer.write(5000, &[1]));
        let error = device.read32(0).unwrap_err();
        if matches!(answer, Answer::Refusal(_)) {
            assert!(matches!(error, TransportError::Refused(_)), "{error}");
            assert!(device.write32(4, 1).is_ok(), "a refusal harms nothing else");
        } else {
            assert!(matches!(error, TransportError::Gone(_)), "{answer:?}: {error}");
            for later in [device.write32(4, 1), device.wait(None).map(drop), device.alloc(1).map(drop)] {
                assert_eq!(later, Err(error.clone()));
            }
        }
        drop(buffer);
    }
}

#[test]
fn memory_that_the_server_refuses_is_an_error_and_the_device_goes_on() {
    let server =
        Server::new("refused", |at, _| if at == SET_UP { Answer::Refusal(28) } else { Answer::Well });
    let device = server.open().unwrap();
    let error = device.alloc(4096).unwrap_err();
    assert!(matches!(&error, TransportError::NoMemory { len: 4096, .. }), "{error}");
    assert!(error.to_string().contains("No space left"), "{error}");
    assert!(matches!(device.alloc(0), Err(TransportError::NoMemory { len: 0, .. })));
    assert!(device.alloc(usize::MAX).is_err());
    let buffers = [device.alloc(1).unwrap(), device.alloc(1).unwrap()];
    assert!(buffers[0].addr().is_multiple_of(4096) && buffers[0].addr() != buffers[1].addr());
    assert!(matches!(device.read32(8192), Err(TransportError::Refused(_))), "outside of the BAR");
    let now = device.now();
    assert_eq!(device.wait(Some(now)), Ok(Wait::Deadline));
}

#[test]
fn a_server_that_closes_is_noticed_by_those_who_wait() {
    let server = Server::new("closes", |at, _| if at == SET_UP { Answer::Close } else { Answer::Well });
    let device = VfioUser::open(&server.path).unwrap();
    // A posted write: nothing tells the writer.
    let _ = device.write32(4, 1);
    let error = loop {
        if let Err(error) = device.wait(None) {
            break error;
        }
    };
    assert!(error.to_string().contains("closed the connection, or died"), "{error}");
}
