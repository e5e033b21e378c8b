//! What all objects of a context share.

use super::ContextConfig;
use super::cq::CqInner;
use super::service::Routine;
use super::srq::SrqInner;
use crate::cm;
use crate::error::Error;
use crate::hw::{ConnectionNotice, CounterExtender, Hw, IdPool, StagPool};
use crate::sync::lock;
use crate::transport::Wait;
use ironwarp_proto::abi::event::Event;
use ironwarp_proto::abi::queue::LOG2_MAX;
use ironwarp_proto::abi::regs::features;
use ironwarp_proto::pins::Nanos;
use rand::SeedableRng;
use rand::rngs::{SmallRng, StdRng};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, Weak};

/// Whoever uses a QP number: gets the events of that QP. After lost events it gets those that the QP's state tells, so an
/// event may come twice.
pub(crate) trait EventSink: Send + Sync {
    /// Handle an event. Called from the service routine; must not wait.
    fn event(&self, event: &Event);
}

/// Who gets the events of an object, by number.
#[derive(Default)]
pub(super) struct Objects {
    pub(super) qps: BTreeMap<u16, Weak<dyn EventSink>>,
    pub(super) cqs: BTreeMap<u16, Weak<CqInner>>,
    pub(super) srqs: BTreeMap<u16, Weak<SrqInner>>,
}

/// One device in use.
///
/// Order of locks: `routine`, then a queue pair's machine, then a completion queue, then a work queue, then the others,
/// each of which is held for a moment only.
pub(crate) struct Device {
    pub(crate) hw: Hw,
    pub(crate) config: ContextConfig,
    /// Seed of everything random.
    pub(crate) seed: u64,
    pub(super) routine: Mutex<Routine>,
    pub(super) pd_ids: Mutex<IdPool>,
    pub(super) qp_ids: Mutex<IdPool>,
    pub(super) cq_ids: Mutex<IdPool>,
    pub(super) srq_ids: Mutex<IdPool>,
    pub(super) stags: Mutex<StagPool>,
    pub(super) objects: Mutex<Objects>,
    pub(super) notices: Mutex<VecDeque<ConnectionNotice>>,
    pub(super) counters: CounterExtender,
    manager: cm::Shared,
}

impl Device {
    pub(super) fn new(hw: Hw, config: ContextConfig, routine: Routine) -> Self {
        let seed = config.seed.unwrap_or_else(|| rand::Rng::random(&mut SmallRng::from_os_rng()));
        let stags = config.seed.map_or_else(StdRng::from_os_rng, StdRng::seed_from_u64);
        let attributes = *hw.attributes();
        let ids = |what, limit| Mutex::new(IdPool::new(what, limit));
        let manager = cm::start(&config, &attributes);
        Self {
            hw,
            config,
            seed,
            routine: Mutex::new(routine),
            pd_ids: ids("protection domains", 1 << 16),
            qp_ids: ids("queue pairs", attributes.max_qp),
            cq_ids: ids("completion queues", attributes.max_cq),
            srq_ids: ids("shared receive queues", attributes.max_srq),
            stags: Mutex::new(StagPool::new(attributes.mr_log2, stags)),
            objects: Mutex::default(),
            notices: Mutex::default(),
            counters: CounterExtender::default(),
            manager,
        }
    }

    /// log2 of the ring that holds `depth` entries, and at least `2^least`.
    pub(super) fn ring_log2(&self, what: &'static str, depth: u32, least: u8) -> Result<u8, Error> {
        let max = 1u32 << LOG2_MAX;
        if !(1..=max).contains(&depth) {
            return Err(Error::range(what, depth, format_args!("1..={max}")));
        }
        Ok((depth.next_power_of_two().trailing_zeros() as u8).max(least))
    }

    /// Windows and fast regions are one feature.
    pub(super) fn need_windows(&self) -> Result<(), Error> {
        let has = self.hw.attributes().has(features::WINDOWS);
        if has { Ok(()) } else { Err(Error::Unsupported("memory windows and fast registration")) }
    }

    /// A connection goes back to software: the service routine hands it over, soon.
    pub(crate) fn notify(&self, notice: ConnectionNotice) {
        lock(&self.notices).push_back(notice);
        self.kick();
    }

    /// Who manages the connections.
    pub(crate) fn manager(&self) -> &cm::Shared {
        &self.manager
    }

    /// Time, ns.
    pub(crate) fn now(&self) -> Nanos {
        self.hw.transport().now()
    }

    /// Have the service routine called soon.
    pub(crate) fn kick(&self) {
        let transport = self.hw.transport();
        transport.schedule(transport.now());
    }

    /// Poll, waiting between, until `poll` has something or `deadline` has come. No lock may be held.
    pub(crate) fn wait_for<T>(
        &self,
        deadline: Option<Nanos>,
        mut poll: impl FnMut() -> Result<Option<T>, Error>,
    ) -> Result<T, Error> {
        loop {
            if let Some(value) = poll()? {
                return Ok(value);
            }
            let end = match self.hw.transport().wait(deadline)? {
                Wait::Progress => continue,
                Wait::Deadline => Error::TimedOut,
                Wait::Idle => Error::Idle,
            };
            return poll()?.ok_or(end);
        }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // The rings of events and raw frames are freed next: the device must have forgotten them.
        if let Err(error) = self.hw.soft_reset() {
            tracing::debug!(%error, "device not reset on closing");
        }
    }
}

/// A QP number in use. It is free again when this is dropped, which must be after RESET.
pub(crate) struct QpNumber {
    device: Arc<Device>,
    number: u16,
    lost: bool,
}

impl QpNumber {
    /// A number that is not in use.
    pub(crate) fn take(device: &Arc<Device>) -> Result<Self, Error> {
        let number = lock(&device.qp_ids).take()?;
        Ok(Self { device: Arc::clone(device), number, lost: false })
    }
    /// The number.
    pub(crate) fn get(&self) -> u16 {
        self.number
    }
    /// Name who gets the events.
    pub(crate) fn deliver_to(&self, sink: Weak<dyn EventSink>) {
        lock(&self.device.objects).qps.insert(self.number, sink);
    }
    /// RESET failed: never use the number again.
    pub(crate) fn lose(&mut self) {
        self.lost = true;
    }
}

impl Drop for QpNumber {
    fn drop(&mut self) {
        lock(&self.device.objects).qps.remove(&self.number);
        if !self.lost {
            lock(&self.device.qp_ids).give(self.number);
        }
    }
}
