//! Completion channels: one place to wait for several completion queues.

use super::CompletionQueue;
use super::cq::CqInner;
use super::device::Device;
use crate::error::Error;
use crate::sync::lock;
use ironwarp_proto::pins::Nanos;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, Weak};

/// Queues that have something, in the order in which they told so.
#[derive(Default)]
pub(super) struct ChannelInner(Mutex<VecDeque<Weak<CqInner>>>);

impl ChannelInner {
    pub(super) fn push(&self, cq: &Arc<CqInner>) {
        lock(&self.0).push_back(Arc::downgrade(cq));
    }
}

/// Collects the events of armed completion queues.
///
/// An event disarms its queue: arm it again, then poll it until it is empty, then wait.
#[derive(Clone)]
pub struct CompletionChannel {
    pub(super) device: Arc<Device>,
    pub(super) inner: Arc<ChannelInner>,
}

impl CompletionChannel {
    pub(super) fn new(device: &Arc<Device>) -> Self {
        Self { device: Arc::clone(device), inner: Arc::default() }
    }

    /// The next queue that has something, if any.
    pub fn try_next(&self) -> Option<CompletionQueue> {
        let mut queues = lock(&self.inner.0);
        std::iter::from_fn(|| queues.pop_front()).find_map(|cq| CompletionQueue::upgrade(&cq))
    }

    /// The next queue that has something, waiting for it until `deadline`.
    pub fn wait(&self, deadline: Option<Nanos>) -> Result<CompletionQueue, Error> {
        self.device.wait_for(deadline, || Ok(self.try_next()))
    }
}
