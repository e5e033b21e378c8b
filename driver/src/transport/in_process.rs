//! A device simulated in this process.

use super::{DmaBuffer, HostMemory, Service, Transport, TransportError, Wait};
use ironwarp_proto::pins::Nanos;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// What one step of a simulated world did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// An event was handled; time may have moved up to it.
    Event,
    /// Nothing was due before the limit; time now stands at the limit.
    Limit,
    /// Nothing is pending and no limit was given.
    Idle,
}

/// A simulated world of devices, links and time, reached by node number.
pub trait Fabric: Send {
    /// Register read of one device.
    fn read32(&mut self, node: usize, offset: u32) -> u32;
    /// Register write of one device.
    fn write32(&mut self, node: usize, offset: u32, value: u32);
    /// Interrupt line of one device.
    fn interrupt(&self, node: usize) -> bool;
    /// Simulated time.
    fn now(&self) -> Nanos;
    /// Handle the next pending event that is not later than `limit`.
    fn step(&mut self, limit: Option<Nanos>) -> Step;
}

/// Software of one node and the time it wants to be called at.
#[derive(Default)]
struct Software {
    service: Option<Weak<dyn Service>>,
    at: Option<Nanos>,
}

struct Shared {
    fabric: Arc<Mutex<dyn Fabric>>,
    software: Mutex<Vec<Software>>,
}

/// The transport to one node of a [`Fabric`].
pub struct InProcess {
    shared: Arc<Shared>,
    memory: Arc<HostMemory>,
    node: usize,
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl InProcess {
    /// One transport a node; `memories[node]` is the host memory given to the device of that node.
    pub fn attach_all(fabric: Arc<Mutex<dyn Fabric>>, memories: Vec<Arc<HostMemory>>) -> Vec<Arc<InProcess>> {
        let software = memories.iter().map(|_| Software::default()).collect();
        let shared = Arc::new(Shared { fabric, software: Mutex::new(software) });
        let node = |(node, memory)| Arc::new(InProcess { shared: Arc::clone(&shared), memory, node });
        memories.into_iter().enumerate().map(node).collect()
    }
}

impl Shared {
    /// Call every service whose device interrupts or whose time has come; says whether there was one.
    fn serve(&self) -> bool {
        let mut served = false;
        let nodes = lock(&self.software).len();
        for node in 0..nodes {
            let (interrupt, now) = {
                let fabric = lock(&self.fabric);
                (fabric.interrupt(node), fabric.now())
            };
            let due = {
                let mut software = lock(&self.software);
                let entry = &mut software[node];
                if interrupt || entry.at.is_some_and(|at| at <= now) {
                    entry.at = None;
                    entry.service.as_ref().and_then(Weak::upgrade)
                } else {
                    None
                }
            };
            // No lock is held here: the service reads registers and may schedule itself.
            if let Some(service) = due {
                if let Some(at) = service.service() {
                    self.schedule(node, at);
                }
                served = true;
            }
        }
        served
    }

    fn schedule(&self, node: usize, at: Nanos) {
        let entry = &mut lock(&self.software)[node];
        entry.at = Some(entry.at.map_or(at, |old| old.min(at)));
    }
}

impl Transport for InProcess {
    fn read32(&self, offset: u32) -> Result<u32, TransportError> {
        Ok(lock(&self.shared.fabric).read32(self.node, offset))
    }
    fn write32(&self, offset: u32, value: u32) -> Result<(), TransportError> {
        lock(&self.shared.fabric).write32(self.node, offset, value);
        Ok(())
    }
    fn alloc(&self, len: usize) -> Result<DmaBuffer, TransportError> {
        self.memory.alloc(len)
    }
    fn now(&self) -> Nanos {
        lock(&self.shared.fabric).now()
    }
    fn wait(&self, deadline: Option<Nanos>) -> Result<Wait, TransportError> {
        if self.shared.serve() {
            return Ok(Wait::Progress);
        }
        let software = lock(&self.shared.software).iter().filter_map(|entry| entry.at).min();
        let limit = [deadline, software].into_iter().flatten().min();
        let step = lock(&self.shared.fabric).step(limit);
        self.shared.serve();
        let reached = deadline.is_some_and(|deadline| self.now() >= deadline);
        Ok(match step {
            Step::Idle => Wait::Idle,
            Step::Limit if reached => Wait::Deadline,
            Step::Event | Step::Limit => Wait::Progress,
        })
    }
    fn attach(&self, service: Weak<dyn Service>) {
        lock(&self.shared.software)[self.node].service = Some(service);
    }
    fn schedule(&self, at: Nanos) {
        self.shared.schedule(self.node, at);
    }
}
