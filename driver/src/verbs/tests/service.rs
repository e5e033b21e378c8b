//! Bring-up, raw frames and counters.

use super::*;
use crate::error::Error;
use crate::hw::{ConnectionNotice, HwError, OutFrame, RawHandler, TcpTiming};
use crate::sync::lock;
use ironwarp_proto::abi::raw::RawHeader;
use ironwarp_proto::abi::regs::Counter;
use ironwarp_proto::pins::Nanos;
use std::collections::VecDeque;
use std::sync::Mutex;

#[test]
fn bring_up_follows_the_contract() {
    let (fake, _context) = open();
    let writes = fake.set(|state| std::mem::take(&mut state.writes));
    let offsets: Vec<u32> = writes.iter().map(|write| write.0).collect();
    use regs::*;
    let expected = [
        CTRL,
        MAC_LO,
        MAC_HI,
        TICK,
        TCPCFG,
        EQ_BASE_LO,
        EQ_BASE_HI,
        EQ_LOG2,
        RAWRX_BASE_LO,
        RAWRX_BASE_HI,
        RAWRX_LOG2,
        RAWTX_BASE_LO,
        RAWTX_BASE_HI,
        RAWTX_LOG2,
        EQ_CTRL,
        CTRL,
    ];
    assert_eq!(offsets, expected);
    let value = |at: usize| writes[at].1;
    assert_eq!(value(0), ctrl::SOFT_RESET);
    assert_eq!((value(1), value(2), value(3)), (0x0000_0002, 0x0100, 62_500));
    assert_eq!(value(4), 200 | 40 << 12 | 10 << 20 | 8 << 24 | 8 << 28);
    assert_eq!((value(6), value(15)), (1, ctrl::RX_ENABLE | ctrl::TX_ENABLE), "addresses are above 4 GiB");
    drop(_context);
    assert_eq!(fake.set(|state| state.writes.last().copied()), Some((CTRL, ctrl::SOFT_RESET)));
}

#[test]
fn other_devices_are_refused() {
    let with = |register, value| {
        let fake = Fake::new();
        fake.set(|state| state.registers.insert(register, value));
        Context::open(fake, ContextConfig::default()).map(drop).unwrap_err()
    };
    assert_eq!(with(regs::ID, u32::MAX), HwError::NotIronwarp(u32::MAX).into());
    assert_eq!(with(regs::VERSION, 0x0002_0000), HwError::Version(0x0002_0000).into());
    // Two segments do not fit the window.
    let window = 1000 << 16 | 512;
    for (register, value) in [
        (regs::DOORBELLS, u32::MAX),
        (regs::LIMITS0, u32::MAX),
        (regs::CLOCK, 0),
        (regs::LIMITS2, window),
        (regs::LIMITS2, 60),
    ] {
        assert!(matches!(with(register, value), Error::Hw(HwError::BadRegister { .. })), "{register:#x}");
    }
    let open = |config| Context::open(Fake::new(), config).map(drop).unwrap_err();
    let timing = TcpTiming { min_rto: 5_000_000_000, ..TcpTiming::default() };
    assert!(matches!(open(ContextConfig::default().timing(timing)), Error::Hw(HwError::Timing { .. })));
    assert!(matches!(open(ContextConfig::default().mtu(100)), Error::OutOfRange { .. }));
}

#[test]
fn a_device_that_stays_busy_is_given_up() {
    let fake = Fake::new();
    let context = Context::open(fake.clone(), ContextConfig::default()).unwrap();
    // Read as a register, the status never becomes idle.
    struct Busy(Arc<Fake>);
    impl Transport for Busy {
        fn read32(&self, offset: u32) -> Result<u32, crate::transport::TransportError> {
            if offset == regs::CMD_STAT { Ok(1 << 31) } else { self.0.read32(offset) }
        }
        fn write32(&self, offset: u32, value: u32) -> Result<(), crate::transport::TransportError> {
            self.0.write32(offset, value)
        }
        fn alloc(&self, len: usize) -> Result<crate::transport::DmaBuffer, crate::transport::TransportError> {
            self.0.alloc(len)
        }
        fn now(&self) -> Nanos {
            0
        }
        fn wait(
            &self,
            deadline: Option<Nanos>,
        ) -> Result<crate::transport::Wait, crate::transport::TransportError> {
            self.0.wait(deadline)
        }
        fn attach(&self, service: std::sync::Weak<dyn crate::transport::Service>) {
            self.0.attach(service);
        }
        fn schedule(&self, at: Nanos) {
            self.0.schedule(at);
        }
    }
    drop(context);
    let context = Context::open(Arc::new(Busy(fake)), ContextConfig::default()).unwrap();
    assert!(matches!(context.create_cq(4), Err(Error::Hw(HwError::Hung(_)))));
}

#[derive(Default)]
struct Seen {
    frames: Vec<Vec<u8>>,
    out: VecDeque<OutFrame>,
}

#[derive(Clone, Default)]
struct Echo(Arc<Mutex<Seen>>);

impl RawHandler for Echo {
    fn receive(&mut self, _: Nanos, _: &RawHeader, frame: &[u8]) {
        lock(&self.0).frames.push(frame.to_vec());
    }
    fn connection(&mut self, _: Nanos, _: ConnectionNotice) {}
    fn poll(&mut self, now: Nanos) -> Option<Nanos> {
        Some(now + 1_000_000)
    }
    fn next_frame(&mut self) -> Option<OutFrame> {
        lock(&self.0).out.pop_front()
    }
}

#[test]
fn raw_frames_pass_both_ways_around_the_ring() {
    let (fake, context) = open();
    let echo = Echo::default();
    context.set_raw_handler(Box::new(echo.clone()));
    for round in 0..200u8 {
        let frame = vec![round; 60 + usize::from(round)];
        let header = RawHeader { length: frame.len() as u16, ..RawHeader::default() };
        fake.frame(header, &frame);
        lock(&echo.0).out.push_back(OutFrame { bytes: frame.clone(), inject: round % 2 == 0 });
        assert_eq!(fake.serve(), Some(1_000_000));
        assert_eq!(lock(&echo.0).frames.pop(), Some(frame.clone()));
        assert_eq!(fake.set(|state| state.sent.pop()), Some((round % 2 == 0, frame)));
        let told = fake.set(|state| state.registers.get(&regs::RAWRX_CONSUMER).copied());
        assert_eq!(told, Some(u32::from(round) + 1));
    }
    // A length beyond the slot is the device's mistake.
    fake.frame(RawHeader { length: u16::MAX, ..RawHeader::default() }, &[1]);
    fake.serve();
    assert_eq!(
        lock(&echo.0).frames.pop().map(|frame| frame.len()),
        Some(ironwarp_proto::abi::raw::FRAME_MAX)
    );
}

#[test]
fn a_full_transmit_ring_loses_nothing() {
    let (fake, context) = open();
    let echo = Echo::default();
    context.set_raw_handler(Box::new(echo.clone()));
    fake.set(|state| state.transmit_stuck = true);
    let frame = |number: u16| OutFrame { bytes: number.to_le_bytes().to_vec(), inject: false };
    lock(&echo.0).out.extend((0..100).map(frame));
    let retry = fake.serve().unwrap();
    assert!(retry < 1_000_000, "look again soon");
    assert_eq!(lock(&echo.0).out.len(), 100 - 64 - 1);
    fake.serve();
    fake.set(|state| state.transmit_stuck = false);
    while fake.serve() != Some(1_000_000) {}
    let sent: Vec<_> = fake.set(|state| state.sent.iter().map(|sent| sent.1.clone()).collect());
    assert_eq!(sent, (0..100).map(|number| frame(number).bytes).collect::<Vec<_>>());
}

#[test]
fn counters_go_beyond_32_bits() {
    let (fake, context) = open();
    let offset = Counter::BytesPlaced.offset();
    for value in [u32::MAX - 1, 3, 2] {
        fake.set(|state| state.registers.insert(offset, value));
        context.counters().unwrap();
    }
    let counters = context.counters().unwrap();
    assert_eq!(counters.get(Counter::BytesPlaced), (1 << 32) * 2 + 2);
    assert_eq!(
        counters.iter().find(|counter| counter.0 == "bytes_placed"),
        Some(("bytes_placed", (1 << 32) * 2 + 2))
    );
}
