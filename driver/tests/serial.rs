//! The serial transport against boards of all kinds, and the link alone in its own time.

use ironwarp_driver::transport::serial::{Link, Patience, SerialError};
use ironwarp_driver::transport::{HostMemory, Serial, Service, Transport, TransportError, Wait};
use ironwarp_proto::bridge::{Deframer, MAX_FRAME, Raw, ToDevice, VERSION};
use ironwarp_proto::pins::Nanos;
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

fn frame(kind: u8, number: u8, irq: bool, words: &[u32]) -> Vec<u8> {
    Raw { kind, irq, number, words: words.to_vec() }.encode()
}

/// What the host has sent: frames with their numbers.
fn sent(deframer: &mut Deframer, bytes: &[u8]) -> Vec<(ToDevice, u8)> {
    deframer.extend(bytes);
    std::iter::from_fn(|| deframer.next_frame())
        .map(|raw| (ToDevice::decode(&raw).expect("a frame of the host"), raw.number))
        .collect()
}

const PATIENCE: Patience = Patience { answer: 200, silence: 100, hello: 1_000, end: 20_000 };

struct Bench {
    link: Link,
    memory: Arc<HostMemory>,
    deframer: Deframer,
}

impl Bench {
    fn closed() -> Self {
        let memory = HostMemory::below_4g();
        Self { link: Link::new(memory.clone(), PATIENCE, 3, 0), memory, deframer: Deframer::default() }
    }

    fn open() -> Self {
        let mut bench = Self::closed();
        assert_eq!(bench.sent(), [(ToDevice::Hello, 3)]);
        bench.link.input(1, &frame(1, 3, false, &[u32::from(VERSION)]));
        assert!(bench.link.is_open());
        bench
    }

    fn sent(&mut self) -> Vec<(ToDevice, u8)> {
        let bytes = self.link.take_output();
        sent(&mut self.deframer, &bytes)
    }

    /// The device says this, the host answers that.
    fn says(&mut self, bytes: &[u8]) -> Vec<(ToDevice, u8)> {
        self.link.input(2, bytes);
        self.sent()
    }
}

#[test]
fn hello_comes_first_and_only_its_answer_counts() {
    let mut bench = Bench::closed();
    let output = bench.link.take_output();
    assert_eq!(output[..MAX_FRAME], [0; MAX_FRAME]);
    assert_eq!(sent(&mut bench.deframer, &output), [(ToDevice::Hello, 3)]);
    bench.link.read(0, 8);
    // Leftovers of another session.
    assert_eq!(bench.says(&frame(3, 0, false, &[0x1000, 1])), []);
    assert_eq!(bench.says(&frame(7, 0, false, &[])), []);
    assert_eq!(bench.says(&frame(1, 4, false, &[1])), []);
    assert!(!bench.link.is_open());
    bench.link.advance(1_000);
    assert_eq!(bench.sent(), [(ToDevice::Hello, 3)]);
    let next = bench.says(&frame(1, 3, false, &[u32::from(VERSION)]));
    assert_eq!(next, [(ToDevice::RegisterRead { offset: 8 }, 4)]);
}

#[test]
fn register_accesses_are_in_order_one_at_a_time_and_repeated_until_they_are_answered() {
    let mut bench = Bench::open();
    bench.link.write(2, 0x1004, 7);
    let ticket = bench.link.read(2, 0x20);
    let write = (ToDevice::RegisterWrite { offset: 0x1004, value: 7 }, 4);
    assert_eq!(bench.sent(), std::slice::from_ref(&write));
    bench.link.advance(2 + PATIENCE.silence);
    assert_eq!(bench.sent(), [(ToDevice::Poll, 0)]);
    bench.link.advance(2 + PATIENCE.answer);
    assert!(bench.sent().contains(&write));
    assert_eq!(bench.link.counters().repeated, 1);
    // The answer to another one is none.
    assert_eq!(bench.says(&frame(2, 3, false, &[])), []);
    assert_eq!(bench.says(&frame(2, 4, false, &[])), [(ToDevice::RegisterRead { offset: 0x20 }, 5)]);
    assert_eq!(bench.says(&frame(2, 4, false, &[])), [], "a repeated answer");
    assert_eq!(bench.link.take_answer(ticket), None);
    assert_eq!(bench.says(&frame(2, 5, false, &[0xabcd])), []);
    assert_eq!(bench.link.take_answer(ticket), Some(0xabcd));
    assert_eq!(bench.link.waiting(), 0);
}

#[test]
fn only_the_newest_index_of_a_queue_goes_over_the_line() {
    let mut bench = Bench::open();
    let at = |offset, value| (ToDevice::RegisterWrite { offset, value }, 0);
    // The first leaves at once; of the others the newest of a run to the same index doorbell. Other doorbells and registers are no indices.
    for (offset, value) in [
        (0x1000, 1),
        (0x1000, 2),
        (0x1000, 3),
        (0x2000, 1),
        (0x1000, 4),
        (0x1004, 1),
        (0x1004, 2),
        (0x40, 1),
        (0x40, 2),
    ] {
        bench.link.write(2, offset, value);
    }
    let mut seen = bench.sent();
    for number in 4.. {
        let next = bench.says(&frame(2, number % 16, false, &[]));
        seen.extend(next);
        if bench.link.waiting() == 0 {
            break;
        }
    }
    let seen: Vec<_> = seen.into_iter().map(|(access, _)| (access, 0)).collect();
    assert_eq!(
        seen,
        [
            at(0x1000, 1),
            at(0x1000, 3),
            at(0x2000, 1),
            at(0x1000, 4),
            at(0x1004, 1),
            at(0x1004, 2),
            at(0x40, 1),
            at(0x40, 2)
        ]
    );
}

#[test]
fn memory_is_served_where_it_is_registered_and_nowhere_else() {
    let mut bench = Bench::open();
    let buffer = bench.memory.alloc(300).unwrap();
    let at = buffer.addr() as u32;
    assert!(buffer.write(0, &(0..=255).collect::<Vec<u8>>()));
    let answer = bench.says(&frame(3, 0, false, &[at, 65]));
    let ToDevice::Data(words) = &answer[0].0 else { panic!("{answer:?}") };
    assert_eq!((words.len(), words[1], answer[0].1), (64, 0x0706_0504, 0));
    let answer = bench.says(&frame(3, 1, false, &[at, 65 | 1 << 11]));
    assert!(matches!(&answer[0], (ToDevice::Data(words), 1) if words.len() == 1), "{answer:?}");
    // The write's first word loses its low bytes, the last its high ones.
    let write = frame(4, 0, false, &[at, 0b1000 | 0b0011 << 4 | 10 << 8, 0x0403_0201, 0x0807_0605]);
    assert_eq!(bench.says(&write), [(ToDevice::Written, 0)]);
    let mut bytes = [0; 8];
    assert!(buffer.read(32, &mut bytes));
    assert_eq!(bytes, [32, 33, 34, 4, 5, 6, 38, 39]);
    // Repeated, it is answered and not done again.
    assert!(buffer.write(32, &[9; 8]));
    assert_eq!(bench.says(&write), [(ToDevice::Written, 0)]);
    assert!(buffer.read(32, &mut bytes));
    assert_eq!((bytes, bench.link.counters().duplicates), ([9; 8], 1));
    // Outside: refused, told, counted.
    assert_eq!(bench.says(&frame(3, 2, false, &[at + 4096, 1])), [(ToDevice::ReadFailed, 2)]);
    assert_eq!(bench.says(&frame(4, 1, false, &[at - 4, 0xff | 1 << 8, 5])), [(ToDevice::WriteFailed, 1)]);
    assert_eq!(bench.link.counters().refused, 2);
    assert_eq!(bench.link.last_fault().map(|fault| fault.addr), Some(u64::from(at) - 4));
    drop(buffer);
    assert_eq!(bench.says(&frame(3, 3, false, &[at, 1])), [(ToDevice::ReadFailed, 3)]);
    // What makes no sense is counted and not answered.
    assert_eq!(bench.says(&frame(3, 4, false, &[at, 2000])), []);
    assert_eq!(bench.says(&frame(5, 4, false, &[])), []);
    assert_eq!(bench.link.counters().senseless, 2);
}

#[test]
fn memory_that_ends_inside_a_word_is_read_to_its_end() {
    let mut bench = Bench::open();
    let buffer = bench.memory.alloc(6).unwrap();
    assert!(buffer.write(0, &[1, 2, 3, 4, 5, 6]));
    let at = buffer.addr() as u32;
    assert_eq!(bench.says(&frame(3, 0, false, &[at, 2])), [(ToDevice::Data(vec![0x0403_0201, 0x0605]), 0)]);
    assert_eq!(bench.says(&frame(3, 1, false, &[at, 3])), [(ToDevice::ReadFailed, 1)]);
}

#[test]
fn the_interrupt_is_told_with_any_frame_as_long_as_it_is_high() {
    let mut bench = Bench::open();
    assert!(!bench.link.take_interrupt());
    bench.says(&frame(2, 9, true, &[]));
    assert!(bench.link.take_interrupt() && bench.link.irq());
    assert!(!bench.link.take_interrupt(), "once a frame");
    // Another event while the first one is being handled: the level does not change.
    let buffer = bench.memory.alloc(8).unwrap();
    bench.says(&frame(4, 0, true, &[buffer.addr() as u32, 0x1ff, 7]));
    assert!(bench.link.take_interrupt(), "it is not an edge");
    bench.says(&frame(0, 9, true, &[]));
    assert!(bench.link.take_interrupt());
    bench.says(&frame(0, 9, false, &[]));
    assert!(!bench.link.take_interrupt() && !bench.link.irq());
}

#[test]
fn damage_is_asked_about_soon_and_silence_ends_the_link() {
    let mut bench = Bench::open();
    let mut damaged = frame(0, 0, false, &[]);
    damaged[3] ^= 1;
    bench.link.input(2, &damaged);
    assert!(bench.link.next_event().unwrap() < 2 + PATIENCE.silence);
    bench.link.advance(bench.link.next_event().unwrap());
    assert_eq!(bench.sent(), [(ToDevice::Poll, 0)]);
    // Half a frame, and nothing more: what follows it is found all the same.
    bench.link.input(40, &[0xa5, 3, 60]);
    bench.link.advance(200);
    bench.link.input(201, &frame(0, 0, true, &[]));
    assert!(bench.link.take_interrupt());
    let mut now = 201;
    while bench.link.error().is_none() {
        now = bench.link.next_event().unwrap().max(now + 1);
        bench.link.advance(now);
    }
    assert!(matches!(bench.link.error(), Some(SerialError::Lost(_))) && now >= PATIENCE.end);
    assert_eq!(bench.link.next_event(), None);
}

#[test]
fn what_is_no_board_is_named() {
    let mut silent = Bench::closed();
    silent.link.advance(PATIENCE.end);
    assert_eq!(silent.link.error(), Some(&SerialError::Silent));
    let mut noise = Bench::closed();
    noise.link.input(5, &[1; 40]);
    noise.link.advance(PATIENCE.end);
    assert_eq!(noise.link.error(), Some(&SerialError::Garbage(40)));
    let mut new = Bench::closed();
    new.link.input(5, &frame(1, 3, false, &[2]));
    assert_eq!(new.link.error(), Some(&SerialError::Version(2)));
    let mut fresh = Bench::open();
    fresh.says(&frame(7, 3, false, &[]));
    assert_eq!(fresh.link.error(), Some(&SerialError::Restarted));
}

/// A board in software: registers that keep what is written, and a doorbell at 0x1000 that copies memory.
struct Board {
    stream: UnixStream,
    registers: BTreeMap<u32, u32>,
    deframer: Deframer,
    /// Frames of the host that are overheard.
    deaf: usize,
    /// After so many frames it hangs up.
    left: usize,
}

impl Board {
    fn start(deaf: usize, left: usize) -> (UnixStream, JoinHandle<BTreeMap<u32, u32>>) {
        let (host, stream) = UnixStream::pair().unwrap();
        let mut board =
            Board { stream, registers: BTreeMap::new(), deframer: Deframer::default(), deaf, left };
        (host, std::thread::spawn(move || board.run()))
    }

    fn run(&mut self) -> BTreeMap<u32, u32> {
        let mut bytes = [0; 1000];
        loop {
            let count = match self.stream.read(&mut bytes) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
                Err(error) => panic!("{error}"),
            };
            for (frame, number) in sent(&mut self.deframer, &bytes[..count]) {
                if self.deaf > 0 && frame != ToDevice::Hello {
                    self.deaf -= 1;
                    continue;
                }
                if self.left == 0 {
                    return std::mem::take(&mut self.registers);
                }
                self.left -= 1;
                self.hear(frame, number);
            }
        }
        std::mem::take(&mut self.registers)
    }

    fn say(&mut self, bytes: &[u8]) {
        // The host may be gone.
        let _ = self.stream.write_all(bytes);
    }

    fn hear(&mut self, heard: ToDevice, number: u8) {
        match heard {
            ToDevice::Hello => self.say(&frame(1, number, false, &[u32::from(VERSION)])),
            ToDevice::Poll => self.say(&frame(0, 0, false, &[])),
            ToDevice::RegisterRead { offset } => {
                let value = self.registers.get(&offset).copied().unwrap_or_default();
                self.say(&frame(2, number, false, &[value]));
            }
            ToDevice::RegisterWrite { offset, value } => {
                self.registers.insert(offset, value);
                self.say(&frame(2, number, false, &[]));
                if offset == 0x1000 {
                    self.say(&frame(3, 0, false, &[value, 2]));
                }
            }
            ToDevice::Data(words) => {
                let from = self.registers[&0x1000];
                self.say(&frame(4, 0, false, &[from + 8, 0xff | 2 << 8, words[0], words[1]]));
            }
            ToDevice::Written => self.say(&frame(0, 0, true, &[])),
            ToDevice::ReadFailed | ToDevice::WriteFailed => self.say(&frame(0, 0, false, &[])),
        }
    }
}

/// Milliseconds instead of what is right for 12 Mbaud and USB, and no end of patience.
fn patience() -> Patience {
    Patience { answer: 5_000_000, silence: 5_000_000, hello: 20_000_000, end: 60_000_000_000 }
}

struct Counter(AtomicUsize);
impl Service for Counter {
    fn service(&self) -> Option<Nanos> {
        self.0.fetch_add(1, Ordering::SeqCst);
        None
    }
}

#[test]
fn registers_memory_and_interrupt_over_a_socket() {
    let (socket, board) = Board::start(3, usize::MAX);
    let serial = Serial::over(socket.into(), "serial:test", patience()).unwrap();
    let counter = Arc::new(Counter(AtomicUsize::new(0)));
    let service: Arc<dyn Service> = counter.clone();
    serial.attach(Arc::downgrade(&service));
    for value in 0..100 {
        serial.write32(0x40, value).unwrap();
        assert_eq!(serial.read32(0x40).unwrap(), value);
    }
    let buffer = serial.alloc(16).unwrap();
    assert!(buffer.addr() + 16 < 1 << 32);
    assert!(buffer.write(0, b"copy me!"));
    serial.write32(0x1000, buffer.addr() as u32).unwrap();
    while counter.0.load(Ordering::SeqCst) == 0 {
        assert_ne!(serial.wait(None).unwrap(), Wait::Idle);
    }
    let mut copy = [0; 8];
    assert!(buffer.read(8, &mut copy));
    assert_eq!(&copy, b"copy me!");
    assert!(matches!(serial.read32(2), Err(TransportError::Refused(why)) if why.contains("0x2")));
    assert!(matches!(serial.write32(1 << 24, 0), Err(TransportError::Refused(_))));
    let counters = serial.counters();
    assert!(counters.repeated + counters.polls > 0, "{counters:?}");
    drop(serial);
    assert_eq!(board.join().unwrap()[&0x40], 99);
}

#[test]
fn a_board_that_is_unplugged_is_gone_for_everybody() {
    let (socket, board) = Board::start(0, 20);
    let serial = Serial::over(socket.into(), "serial:test", patience()).unwrap();
    let error = loop {
        if let Err(error) = serial.read32(4) {
            break error;
        }
    };
    board.join().unwrap();
    assert!(matches!(&error, TransportError::Gone(why) if why.contains("unplugged")), "{error}");
    assert_eq!(serial.write32(4, 1), Err(error.clone()));
    assert_eq!(serial.wait(None), Err(error));
}

#[test]
fn a_port_that_is_none_is_refused_with_its_name() {
    let error = Serial::open("/dev/does-not-exist", 12_000_000).err().expect("an error");
    assert!(error.to_string().contains("/dev/does-not-exist"), "{error}");
    assert!(error.to_string().contains("plugged in"), "{error}");
}
