//! `ironwarp perf device`: how long software and device take to reach one another.

use crate::cmd::options::{CommandError, DeviceOptions};
use crate::open_transport;
use ironwarp_driver::hw::{EventQueue, Hw, HwError};
use ironwarp_driver::transport::{DeviceName, Service, Transport};
use ironwarp_proto::abi::completion;
use ironwarp_proto::abi::doorbell::{ARM_ANY, Page, cq};
use ironwarp_proto::abi::queue::CqEntry;
use ironwarp_proto::abi::regs;
use ironwarp_proto::pins::Nanos;
use serde::Serialize;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

/// Round trips before the first that counts.
const WARM_UP: u64 = 100;
/// A device that takes longer is taken for dead.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is reported, times in nanoseconds.
#[derive(Debug, Serialize)]
struct Report {
    device: String,
    iterations: u64,
    register_read: Latency,
    doorbell_posted: Latency,
    doorbell_to_event: Latency,
    doorbell_to_interrupt: Latency,
}

/// Of many measurements, ns.
#[derive(Debug, Serialize)]
struct Latency {
    min: u64,
    p50: u64,
    p99: u64,
    mean: u64,
}

impl Latency {
    fn of(mut times: Vec<u64>) -> Self {
        times.sort_unstable();
        let at = |share: usize| times.get((times.len().max(1) - 1) * share / 100).copied().unwrap_or(0);
        let mean = times.iter().sum::<u64>() / times.len().max(1) as u64;
        Self { min: at(0), p50: at(50), p99: at(99), mean }
    }
}

/// The device's event queue, read here or by the service routine.
struct Probe {
    hw: Hw,
    events: Mutex<EventQueue>,
    taken: Mutex<u64>,
}

impl Probe {
    /// Take one event, if there is one, and tell the device.
    fn take(&self) -> Result<bool, HwError> {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        if events.take().is_none() {
            return Ok(false);
        }
        events.acknowledge(&self.hw)?;
        *self.taken.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Ok(true)
    }
    fn taken(&self) -> u64 {
        *self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// A doorbell that the device answers with an event: the completion index in it is never the device's.
    fn ring(&self) -> Result<(), HwError> {
        self.hw.ring(Page::Cq(0), cq::ARM, ARM_ANY | 1)
    }
    /// Ring, and wait by `wait` until the event was taken.
    fn answer(&self, wait: impl Fn() -> Result<(), HwError>) -> Result<(), HwError> {
        let (before, start) = (self.taken(), Instant::now());
        self.ring()?;
        while self.taken() == before {
            wait()?;
            if start.elapsed() > PATIENCE {
                return Err(HwError::Hung("an armed completion queue"));
            }
        }
        Ok(())
    }
}

impl Service for Probe {
    fn service(&self) -> Option<Nanos> {
        if let Err(error) = self.take() {
            tracing::error!(%error, "event queue");
        }
        None
    }
}

/// Run the command.
pub fn run(devices: &DeviceOptions, iterations: u64, json: bool) -> Result<(), CommandError> {
    let name = devices.one()?;
    let transport = open_transport(&name)?;
    let report = measure(&name, transport, iterations).map_err(ironwarp_driver::Error::from)?;
    if json {
        println!("{}", serde_json::to_string(&report).map_err(std::io::Error::other)?);
        return Ok(());
    }
    println!("{name}, {iterations} of each, microseconds");
    println!("  {:<34} {:>9} {:>9} {:>9} {:>9}", "", "min", "median", "99 %", "mean");
    for (what, latency) in [
        ("register read, round trip", &report.register_read),
        ("doorbell, time of the writer", &report.doorbell_posted),
        ("doorbell to event in memory", &report.doorbell_to_event),
        ("doorbell to interrupt served", &report.doorbell_to_interrupt),
    ] {
        let [min, p50, p99, mean] =
            [latency.min, latency.p50, latency.p99, latency.mean].map(|ns| ns as f64 / 1000.0);
        println!("  {what:<34} {min:>9.2} {p50:>9.2} {p99:>9.2} {mean:>9.2}");
    }
    Ok(())
}

fn measure(name: &DeviceName, transport: Arc<dyn Transport>, iterations: u64) -> Result<Report, HwError> {
    let ring = transport.alloc(completion::SIZE << 4)?;
    let hw = Hw::open(transport.clone())?;
    let events = EventQueue::start(&hw, 8)?;
    hw.start_cq(0, &CqEntry { base: ring.addr(), log2: 4 })?;
    let probe = Arc::new(Probe { hw, events: Mutex::new(events), taken: Mutex::new(0) });
    let register_read = repeat(iterations, || probe.hw.read(regs::ID).map(drop))?;
    // The consumer index it has: the device has nothing to do for it.
    let doorbell_posted = repeat(iterations, || probe.hw.ring(Page::Cq(0), cq::CONSUMER, 0))?;
    probe.hw.read(regs::ID)?;
    let doorbell_to_event = repeat(iterations, || {
        probe.answer(|| {
            // Time stands still in a simulated world in which nobody waits.
            if !probe.take()? && name.is_simulated() {
                transport.wait(None)?;
            }
            Ok(())
        })
    })?;
    let service: Weak<Probe> = Arc::downgrade(&probe);
    transport.attach(service);
    probe.hw.write(regs::EQ_CTRL, 1)?;
    let doorbell_to_interrupt =
        repeat(iterations, || probe.answer(|| Ok(transport.wait(None).map(drop)?)))?;
    // It must forget the rings before they are freed.
    probe.hw.soft_reset()?;
    Ok(Report {
        device: name.to_string(),
        iterations,
        register_read,
        doorbell_posted,
        doorbell_to_event,
        doorbell_to_interrupt,
    })
}

fn repeat(iterations: u64, mut run: impl FnMut() -> Result<(), HwError>) -> Result<Latency, HwError> {
    let mut times = Vec::new();
    for round in 0..iterations + WARM_UP {
        let start = Instant::now();
        run()?;
        let time = start.elapsed().as_nanos() as u64;
        if round >= WARM_UP {
            times.push(time);
        }
    }
    Ok(Latency::of(times))
}
