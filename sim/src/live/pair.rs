//! Two NICs of this process, each on an Ethernet of its own: whoever waits for one of them drives both.

use super::nic::{NAP, Nic};
use super::port;
use ironwarp_driver::transport::{Fabric, Step};
use ironwarp_proto::pins::Nanos;
use std::time::Duration;

/// Nodes 0 and 1.
pub struct Pair([Nic; 2]);

impl Pair {
    /// Put them together; they have one clock then.
    pub fn new([left, mut right]: [Nic; 2]) -> Self {
        right.share_clock(&left);
        Self([left, right])
    }

    /// Do what both have to do; whether there was anything.
    fn work(&mut self) -> bool {
        let [left, right] = &mut self.0;
        left.work() | right.work()
    }
}

impl Fabric for Pair {
    fn read32(&mut self, node: usize, offset: u32) -> u32 {
        self.0[node].read32(0, offset)
    }
    fn write32(&mut self, node: usize, offset: u32, value: u32) {
        self.0[node].write32(0, offset, value);
    }
    fn interrupt(&self, node: usize) -> bool {
        self.0[node].interrupt(0)
    }
    fn now(&self) -> Nanos {
        self.0[0].now()
    }
    fn step(&mut self, limit: Option<Nanos>) -> Step {
        if self.work() {
            return Step::Event;
        }
        let until = self.0.iter().filter_map(Nic::next_event).chain(limit).min();
        let left = until.map(|at| Duration::from_nanos(at.saturating_sub(self.now())));
        let ports = self.0.each_ref().map(Nic::port);
        port::wait(&ports, &[], left.map_or(NAP, |left| left.min(NAP)));
        if self.work() {
            return Step::Event;
        }
        let reached = limit.is_some_and(|limit| limit <= self.now());
        if reached { Step::Limit } else { Step::Event }
    }
}
