//! The vfio-user server against a foreign client (crate vfio_user), and against clients that mean no good.

mod common;

use common::{Folder, PATIENCE, until};
use ironwarp_driver::transport::DeviceName;
use ironwarp_driver::transport::mapping::Mapping;
use ironwarp_driver::transport::vfio_user::wire::{
    BAR0_REGION, CONFIG_REGION, Command, HEADER, Header, Reader, access, dma_range, flags, irq, send, u32_at,
    version, words,
};
use ironwarp_proto::abi::doorbell::Pages;
use ironwarp_proto::abi::{DEVICE_ID, regs};
use ironwarp_proto::pins::{Device, Dma, Frame, Nanos};
use ironwarp_sim::model::{Model, ModelConfig};
use ironwarp_sim::vfio_user::{DmaSpace, Host, ServerError};
use ironwarp_sim::world::World;
use rand::rngs::SmallRng;
use rand::{Rng, RngCore, SeedableRng};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

const IOVA: u64 = 0x1_0000_0000;

/// A device that does a DMA access when register 0x800 (read) or 0x804 (write) is written with the distance from `IOVA`;
/// register 0x808 then reads 0 if it was refused, else the byte read plus 256. The interrupt follows register 0x80c.
struct Prober {
    memory: Arc<DmaSpace>,
    result: u32,
    level: bool,
    resets: u32,
}

const PAGES: Pages = Pages { first: 0x1000, log2_size: 8, qps: 1, cqs: 1, srqs: 1 };

impl Device for Prober {
    fn read32(&mut self, _: Nanos, offset: u32) -> u32 {
        match offset {
            regs::ID => DEVICE_ID,
            regs::DOORBELLS => PAGES.register(),
            0x808 => self.result,
            0x810 => self.resets,
            _ => 0,
        }
    }
    fn write32(&mut self, _: Nanos, offset: u32, value: u32) {
        let (addr, mut byte) = (IOVA + u64::from(value), [0]);
        match offset {
            0x800 => self.result = self.memory.read(addr, &mut byte).map_or(0, |()| 256 + u32::from(byte[0])),
            0x804 => self.result = self.memory.write(addr, &[0x5a]).map_or(0, |()| 256),
            0x80c => self.level = value != 0,
            regs::CTRL => (self.resets, self.level) = (self.resets + 1, false),
            _ => {}
        }
    }
    fn receive(&mut self, _: Nanos, _: &[u8]) {}
    fn transmit(&mut self, _: Nanos) -> Option<Frame> {
        None
    }
    fn advance(&mut self, _: Nanos) {}
    fn next_event(&self) -> Option<Nanos> {
        None
    }
    fn interrupt(&self) -> bool {
        self.level
    }
}

/// A device served by a thread.
struct Served {
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
    path: PathBuf,
    memory: Arc<DmaSpace>,
    _folder: Folder,
}

impl Served {
    fn new(name: &str, device: fn(Arc<DmaSpace>) -> Box<dyn Device>) -> Self {
        let folder = Folder::new(name);
        let path = folder.path("device");
        let mut host = Host::new(World::new(1));
        let memory = Mutex::new(None);
        let add = host.add(&path, "device", |space| {
            *memory.lock().unwrap() = Some(space.clone());
            Ok::<_, ServerError>(device(space))
        });
        add.unwrap();
        let (stop, stopped) = UnixStream::pair().unwrap();
        let thread = std::thread::spawn(move || host.run(stopped.as_fd()).unwrap());
        let memory = memory.into_inner().unwrap().unwrap();
        Self { stop: Some(stop), thread: Some(thread), path, memory, _folder: folder }
    }
    fn prober(name: &str) -> Self {
        Self::new(name, |memory| Box::new(Prober { memory, result: 0, level: false, resets: 0 }))
    }
    fn client(&self) -> vfio_user::Client {
        vfio_user::Client::new(&self.path).unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || ended.is_some_and(|end| end.is_ok()));
    }
}

fn read(client: &mut vfio_user::Client, region: u32, offset: u64) -> u32 {
    let mut word = [0; 4];
    client.region_read(region, offset, &mut word).unwrap();
    u32::from_le_bytes(word)
}

fn write(client: &mut vfio_user::Client, region: u32, offset: u64, value: u32) {
    client.region_write(region, offset, &value.to_le_bytes()).unwrap();
}

/// What a DMA access of the prober gave.
fn probe(client: &mut vfio_user::Client, register: u64, distance: u32) -> Option<u8> {
    write(client, BAR0_REGION, register, distance);
    let result = read(client, BAR0_REGION, 0x808);
    (result != 0).then_some(result as u8)
}

#[test]
fn a_foreign_client_finds_a_pci_device() {
    let served = Served::prober("foreign");
    let mut client = served.client();
    assert_eq!(read(&mut client, CONFIG_REGION, 0), 0x4957_1234);
    assert_eq!(read(&mut client, BAR0_REGION, 0), DEVICE_ID);
    let sizes: Vec<u64> = (0..9).map(|index| client.region(index).unwrap().size).collect();
    assert_eq!(sizes, [8192, 0, 4096, 0, 0, 0, 0, 256, 0]);
    let counts: Vec<u32> = (0..5).map(|index| client.get_irq_info(index).unwrap().count).collect();
    assert_eq!(counts, [0, 0, 1, 0, 0]);
    // Parts of registers are read, as a guest's byte accesses are.
    let mut bytes = [0; 3];
    client.region_read(BAR0_REGION, 1, &mut bytes).unwrap();
    assert_eq!(bytes, DEVICE_ID.to_le_bytes()[1..]);
}

#[test]
fn the_device_reaches_what_is_mapped_until_it_is_unmapped() {
    let served = Served::prober("iova");
    let mut client = served.client();
    let (memory, file) = Mapping::memfd(8192).unwrap();
    assert!(memory.write(4096 + 7, &[0xa5]));
    client.dma_map(4096, IOVA, 4096, file.as_raw_fd()).unwrap();
    assert_eq!(probe(&mut client, 0x800, 7), None, "bus mastering is off");
    write(&mut client, CONFIG_REGION, 4, 6);
    assert_eq!(probe(&mut client, 0x800, 7), Some(0xa5));
    assert_eq!(probe(&mut client, 0x804, 9), Some(0));
    assert_eq!(probe(&mut client, 0x800, 4096), None, "behind the mapping");
    client.dma_unmap(IOVA, 4096).unwrap();
    assert_eq!(probe(&mut client, 0x804, 10), None);
    let mut found = [0; 3];
    assert!(memory.read(4096 + 9, &mut found));
    assert_eq!(found, [0x5a, 0, 0], "the write behind the unmapping touched nothing");
}

#[test]
fn interrupts_are_told_once_and_again_when_something_is_left() {
    let served = Served::prober("msix");
    let mut client = served.client();
    let event = eventfd(0, EventfdFlags::NONBLOCK).unwrap();
    client.set_irqs(2, irq::DATA_EVENTFD | irq::ACTION_TRIGGER, 0, 1, &[event.as_raw_fd()]).unwrap();
    let count = || {
        let mut count = [0; 8];
        rustix::io::read(&event, &mut count).map_or(0, |_| u64::from_le_bytes(count))
    };
    assert_eq!(count(), 0);
    write(&mut client, BAR0_REGION, 0x80c, 1);
    until("the interrupt", || count() == 1);
    // A register access between: the line is looked at after each batch.
    for _ in 0..3 {
        read(&mut client, BAR0_REGION, 0);
    }
    assert_eq!(count(), 0, "a level that stays is told once");
    write(&mut client, BAR0_REGION, regs::EQ_CONSUMER.into(), 1);
    until("the interrupt that was left", || count() == 1);
    client.set_irqs(2, irq::DATA_NONE | irq::ACTION_TRIGGER, 0, 0, &[]).unwrap();
    write(&mut client, BAR0_REGION, 0x80c, 0);
    write(&mut client, BAR0_REGION, 0x80c, 1);
    read(&mut client, BAR0_REGION, 0);
    read(&mut client, BAR0_REGION, 0);
    assert_eq!(count(), 0, "a vector that was taken back is not told");
}

#[test]
fn both_ways_of_reset_put_the_device_back_and_keep_the_mappings() {
    let served = Served::prober("reset");
    let mut client = served.client();
    let (_memory, file) = Mapping::memfd(4096).unwrap();
    client.dma_map(0, IOVA, 4096, file.as_raw_fd()).unwrap();
    for resets in 1..=2 {
        write(&mut client, CONFIG_REGION, 4, 6);
        assert!(probe(&mut client, 0x800, 0).is_some());
        if resets == 1 {
            client.reset().unwrap();
        } else {
            // Function-level reset: bit 15 of device control.
            client.region_write(CONFIG_REGION, 0x48, &[0, 0x80]).unwrap();
        }
        assert_eq!(read(&mut client, BAR0_REGION, 0x810), resets);
        assert_eq!(read(&mut client, CONFIG_REGION, 4) & 0xffff, 0);
        assert!(probe(&mut client, 0x800, 0).is_none());
    }
    write(&mut client, CONFIG_REGION, 4, 6);
    assert!(probe(&mut client, 0x800, 0).is_some());
}

#[test]
fn a_client_that_goes_takes_everything_with_it() {
    let served = Served::prober("goes");
    let (_memory, file) = Mapping::memfd(4096).unwrap();
    for resets in 0..3 {
        let mut client = served.client();
        assert_eq!(read(&mut client, BAR0_REGION, 0x810), resets, "reset once for each client that went");
        assert_eq!(served.memory.windows(), 0);
        client.dma_map(0, IOVA, 4096, file.as_raw_fd()).unwrap();
        write(&mut client, CONFIG_REGION, 4, 6);
        assert!(probe(&mut client, 0x800, 0).is_some());
        assert_eq!(served.memory.windows(), 1);
        drop(client);
        until("the release", || served.memory.windows() == 0);
        assert!(served.memory.read(IOVA, &mut [0]).is_err());
    }
}

/// A raw connection that has agreed on the version.
fn raw(path: &Path) -> UnixStream {
    let socket = UnixStream::connect(path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(call(&socket, Command::Version as u16, &version(), &[]), Ok(version()));
    socket
}

/// Send a command; the reply's body or errno.
fn call(socket: &UnixStream, command: u16, body: &[u8], fds: &[BorrowedFd]) -> Result<Vec<u8>, Errno> {
    let header = Header { id: 9, command, ..Header::default() };
    send(socket, header, body, fds).unwrap();
    let reply = Reader::default().read(socket).unwrap().expect("an answer");
    assert_eq!((reply.header.id, reply.header.command), (9, command));
    assert!(reply.header.has(flags::REPLY));
    if reply.header.has(flags::ERROR) {
        Err(Errno::from_raw_os_error(reply.header.error as i32))
    } else {
        Ok(reply.body)
    }
}

#[test]
fn senseless_commands_are_refused_and_the_client_goes_on() {
    let served = Served::prober("senseless");
    let socket = raw(&served.path);
    let (_memory, file) = Mapping::memfd(4096).unwrap();
    let pipe = rustix::pipe::pipe().unwrap().1;
    let (read, write, set) =
        (Command::RegionRead as u16, Command::RegionWrite as u16, Command::SetIrqs as u16);
    let trigger = irq::DATA_EVENTFD | irq::ACTION_TRIGGER;
    let cases: Vec<(u16, Vec<u8>, Vec<BorrowedFd>, Errno)> = vec![
        (0, vec![], vec![], Errno::NOTSUP),
        (11, vec![0; 64], vec![], Errno::NOTSUP),
        (999, vec![], vec![], Errno::NOTSUP),
        (read, access(0, 0, u32::MAX), vec![], Errno::INVAL),
        (read, access(0, 0, 0), vec![], Errno::INVAL),
        (read, access(8190, 0, 4), vec![], Errno::INVAL),
        (read, access(u64::MAX, 0, 4), vec![], Errno::INVAL),
        (read, access(0, 1, 4), vec![], Errno::INVAL),
        (read, access(0, 9, 4), vec![], Errno::INVAL),
        (read, access(253, CONFIG_REGION, 4), vec![], Errno::INVAL),
        (read, vec![0; 15], vec![], Errno::INVAL),
        (write, access(0x800, 0, 4), vec![], Errno::INVAL),
        (write, [access(0x801, 0, 4), vec![0; 4]].concat(), vec![], Errno::INVAL),
        (write, [access(0x800, 0, 2), vec![0; 2]].concat(), vec![], Errno::INVAL),
        (Command::RegionInfo as u16, words(&[32, 0, 9, 0, 0, 0, 0, 0]), vec![], Errno::INVAL),
        (Command::IrqInfo as u16, words(&[16, 0, 5, 0]), vec![], Errno::INVAL),
        (set, words(&[20, trigger, 2, 0, 1]), vec![pipe.as_fd()], Errno::INVAL),
        (set, words(&[20, trigger, 2, 1, 1]), vec![], Errno::INVAL),
        (set, words(&[20, trigger, 2, 1, u32::MAX]), vec![], Errno::INVAL),
        (set, words(&[20, trigger, 9, 0, 1]), vec![], Errno::INVAL),
        (set, words(&[20]), vec![], Errno::INVAL),
        (Command::DmaMap as u16, dma_range(3, Some(0), IOVA, 0), vec![file.as_fd()], Errno::INVAL),
        (Command::DmaMap as u16, dma_range(3, Some(1), IOVA, 4096), vec![file.as_fd()], Errno::INVAL),
        (Command::DmaMap as u16, dma_range(3, Some(0), IOVA, 4096), vec![pipe.as_fd()], Errno::PERM),
        (Command::DmaMap as u16, dma_range(3, Some(0), IOVA, 4096), vec![file.as_fd(); 2], Errno::INVAL),
        (Command::DmaMap as u16, vec![], vec![file.as_fd()], Errno::INVAL),
        (Command::Version as u16, words(&[1]), vec![], Errno::NOTSUP),
    ];
    for (command, body, fds, errno) in cases {
        assert_eq!(call(&socket, command, &body, &fds), Err(errno), "{command} {body:x?}");
    }
    let reply = call(&socket, read, &access(0, 0, 4), &[]).unwrap();
    assert_eq!(u32_at(&reply, 16), Some(DEVICE_ID));
    assert_eq!(served.memory.windows(), 0);
}

#[test]
fn clients_that_break_the_protocol_are_dropped_and_the_next_one_is_served() {
    let served = Served::prober("hostile");
    let reset = |header: Header| -> Vec<u8> { header.encode().to_vec() };
    let good = Header { command: Command::Reset as u16, size: HEADER as u32, ..Header::default() };
    let attacks: Vec<Vec<u8>> = vec![
        vec![0; 64],
        vec![0xff; 4096],
        reset(Header { size: 15, ..good }),
        reset(Header { size: u32::MAX, ..good }),
        reset(Header { flags: flags::REPLY, ..good }),
    ];
    for attack in attacks {
        let mut socket = raw(&served.path);
        socket.write_all(&attack).unwrap();
        let end = Reader::default().read(&socket).map(|message| message.is_some());
        assert!(end.is_err(), "{attack:x?}: {end:?}");
        assert_eq!(read(&mut served.client(), BAR0_REGION, 0), DEVICE_ID);
    }
    // One that never reads what it asks for.
    let socket = raw(&served.path);
    socket.set_nonblocking(true).unwrap();
    let body = access(0, BAR0_REGION, 4096);
    let header = Header { command: Command::RegionRead as u16, ..Header::default() };
    until("its end", || {
        let sent = send(&socket, header, &body, &[]);
        sent.is_err_and(|error| error.kind() != std::io::ErrorKind::WouldBlock)
    });
    assert_eq!(read(&mut served.client(), BAR0_REGION, 0), DEVICE_ID);
    // One that stops in the middle of a message holds up nobody but itself.
    let mut half = raw(&served.path);
    half.write_all(&good.encode()[..7]).unwrap();
    let name: DeviceName = format!("vfio-user:{}", served.path.display()).parse().unwrap();
    let error = name.open().err().expect("the device is in use").to_string();
    assert!(error.contains("is it in use?"), "{error}");
    drop(half);
    assert_eq!(read(&mut served.client(), BAR0_REGION, 0), DEVICE_ID);
}

#[test]
fn random_messages_never_harm_a_model() {
    let served = Served::new("fuzz", |memory| Box::new(Model::new(ModelConfig::default(), memory)));
    let mut rng = SmallRng::seed_from_u64(7);
    let (_memory, file) = Mapping::memfd(1 << 20).unwrap();
    let mut answered = 0;
    for _ in 0..40 {
        let socket = raw(&served.path);
        for _ in 0..100 {
            let command = rng.random_range(1..15u16);
            let mut body = vec![0; rng.random_range(0..64)];
            rng.fill_bytes(&mut body);
            // Mostly small numbers: those are what checks are passed with.
            for byte in &mut body {
                match rng.random_range(0..4) {
                    0 => {}
                    1 => *byte = 4,
                    _ => *byte = 0,
                }
            }
            let fds = [file.as_fd(), file.as_fd()];
            let reply = call(&socket, command, &body, &fds[..rng.random_range(0..=2)]);
            answered += u32::from(reply.is_ok());
        }
    }
    assert!(answered > 100, "only {answered} of 4000 were answered with success");
    let name: DeviceName = format!("vfio-user:{}", served.path.display()).parse().unwrap();
    assert_eq!(name.open().unwrap().read32(regs::ID), Ok(DEVICE_ID));
}
