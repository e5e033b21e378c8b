//! A simulated world: devices on a learning Ethernet segment, and the only clock they know.
//!
//! Every node has one port, and its [`Link`] is what the node sends into; behind it the segment passes frames on at once.
//! The sender's rate, delay and faults are thus those of the path. Two nodes are on a cable: what one sends, the other
//! gets. Among more, a frame goes to the node at which its destination was last seen as a source, or to all others.
//!
//! One [`step`](Fabric::step) handles one event, and of those due at the same time the first in this order:
//! 1. the arrival of a frame, in the order in which the frames were passed on;
//! 2. the end of a link's holding a frame back, by node number;
//! 3. a device's timer, by node number;
//! 4. a round of transmissions, in which every device that may have something to send and whose wire is free is asked for
//!    one frame, by node number.
//!
//! So a device has seen all that arrives at an instant before it sends at that instant, and none can keep the others from
//! sending. Only devices that something was done to (a register write, a frame, a timer) are asked, until they have nothing.

mod switch;
#[cfg(test)]
mod tests;

use crate::link::{Delivery, Link, LinkConfig, LinkError, LinkStats};
use crate::pcap::{CaptureError, PcapWriter};
use ironwarp_driver::transport::{Fabric, Step};
use ironwarp_proto::pins::{Device, Frame, Nanos};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use switch::Switch;
use thiserror::Error;

/// Shortest frame a device may send: the Ethernet header, bytes.
const MIN_FRAME: usize = 14;
/// Longest frame a device may send unless told otherwise, bytes: a payload of 9000, its header, FCS and a VLAN tag.
const MAX_FRAME: usize = 9018 + 4;

/// Sees the time, the node and the bytes of each frame sent.
pub type Tap = Box<dyn FnMut(Nanos, usize, &[u8]) + Send>;
/// Replaces each frame sent (time, node, frame) by any number of frames, each with an extra delay in nanoseconds.
pub type Intercept = Box<dyn FnMut(Nanos, usize, Frame) -> Vec<(Nanos, Frame)> + Send>;

/// Why the world could not do what it was asked.
#[derive(Debug, Error)]
pub enum WorldError {
    /// The node number is out of range.
    #[error("there is no node {node}: the world has {nodes}, numbered from 0")]
    NoNode {
        /// Number asked for.
        node: usize,
        /// Number of nodes.
        nodes: usize,
    },
    /// The link settings make no sense.
    #[error("link of node {node}: {source}")]
    Link {
        /// Number of the node.
        node: usize,
        /// What is wrong with them.
        source: LinkError,
    },
}

/// What a node has sent and got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NodeStats {
    /// Frames sent and what happened to them.
    pub sent: LinkStats,
    /// Frames dropped instead of sent because their length was out of range.
    pub bad_length: u64,
    /// Frames delivered to the device.
    pub received: u64,
    /// Bytes of these frames.
    pub received_bytes: u64,
}

struct Node {
    name: String,
    device: Box<dyn Device>,
    link: Link,
    /// Number of its interface in the capture.
    interface: u32,
    /// Whether the device may have something to send.
    touched: bool,
    /// When the device wants [`Device::advance`]; read again only after something was done to it.
    timer: Option<Nanos>,
    /// The next timer is not before this: a device that is never content with the time cannot stop it.
    timer_from: Nanos,
    bad_length: u64,
    received: u64,
    received_bytes: u64,
}

impl Node {
    fn touch(&mut self) {
        self.touched = true;
        self.read_timer();
    }

    fn read_timer(&mut self) {
        // The end of time is a timer that is not set.
        let timer = self.device.next_event().filter(|at| *at < Nanos::MAX);
        self.timer = timer.map(|at| at.max(self.timer_from));
    }

    fn receive(&mut self, now: Nanos, frame: &[u8]) {
        self.received += 1;
        self.received_bytes += frame.len() as u64;
        self.device.receive(now, frame);
        self.touch();
    }
}

/// A frame in flight. Field order is event order; `sequence` is unique.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Arrival {
    at: Nanos,
    sequence: u64,
    route: Route,
    frame: Frame,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Route {
    /// Sent by this node; the segment finds out whom it is for.
    From(usize),
    /// To this node.
    To(usize),
}

/// What is due. The order is that of events at the same time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Arrival,
    Release(usize),
    Timer(usize),
    Transmit,
}

/// Devices, their links, and simulated time. Two worlds of the same seed that are treated alike do the same.
pub struct World {
    seed: u64,
    now: Nanos,
    nodes: Vec<Node>,
    switch: Switch,
    arrivals: BinaryHeap<Reverse<Arrival>>,
    sequence: u64,
    max_frame: usize,
    capture: Option<PcapWriter>,
    tap: Option<Tap>,
    intercept: Option<Intercept>,
    /// Deliveries just made by a link; kept for its memory.
    deliveries: Vec<Delivery>,
}

impl World {
    /// A world without nodes at time 0; `seed` decides all faults of its links.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            now: 0,
            nodes: Vec::new(),
            switch: Switch::default(),
            arrivals: BinaryHeap::new(),
            sequence: 0,
            max_frame: MAX_FRAME,
            capture: None,
            tap: None,
            intercept: None,
            deliveries: Vec::new(),
        }
    }

    /// Add a device behind a perfect link; returns the number of its node, counted from 0.
    pub fn add_node(&mut self, device: Box<dyn Device>, name: &str) -> usize {
        let number = self.nodes.len();
        // An odd multiplier keeps the seeds of all links apart.
        let seed = self.seed ^ (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut node = Node {
            name: name.into(),
            device,
            link: Link::perfect(seed),
            interface: self.capture.as_mut().map_or(0, |capture| capture.add_interface(name)),
            touched: false,
            timer: None,
            timer_from: 0,
            bad_length: 0,
            received: 0,
            received_bytes: 0,
        };
        node.touch();
        self.nodes.push(node);
        number
    }

    /// Set what happens to frames that a node sends from now on.
    pub fn set_link(&mut self, node: usize, config: LinkConfig) -> Result<(), WorldError> {
        let nodes = self.nodes.len();
        let entry = self.nodes.get_mut(node).ok_or(WorldError::NoNode { node, nodes })?;
        entry.link.set_config(config).map_err(|source| WorldError::Link { node, source })
    }

    /// Set what happens to all frames from now on, whoever sends them.
    pub fn connect(&mut self, config: LinkConfig) -> Result<(), WorldError> {
        (0..self.nodes.len()).try_for_each(|node| self.set_link(node, config))
    }

    /// Set the longest frame a device may send, bytes without FCS; 9022 at first.
    pub fn set_max_frame(&mut self, len: usize) {
        self.max_frame = len;
    }

    /// Record every frame from now on as its sender put it on the wire, with what then happened to it as a comment.
    pub fn capture(&mut self, mut writer: PcapWriter) {
        for node in &mut self.nodes {
            node.interface = writer.add_interface(&node.name);
        }
        self.capture = Some(writer);
    }

    /// End the capture, if there is one, and tell whether it is complete.
    pub fn finish_capture(&mut self) -> Result<(), CaptureError> {
        self.capture.take().map_or(Ok(()), PcapWriter::finish)
    }

    /// Call `tap` for every frame sent from now on.
    pub fn tap(&mut self, tap: impl FnMut(Nanos, usize, &[u8]) + Send + 'static) {
        self.tap = Some(Box::new(tap));
    }

    /// Let `intercept` replace every frame sent from now on. What it lets through is then subject to the link as usual.
    pub fn intercept(
        &mut self,
        intercept: impl FnMut(Nanos, usize, Frame) -> Vec<(Nanos, Frame)> + Send + 'static,
    ) {
        self.intercept = Some(Box::new(intercept));
    }

    /// Let a frame of any length arrive at a node now.
    pub fn inject(&mut self, node: usize, frame: Frame) -> Result<(), WorldError> {
        let nodes = self.nodes.len();
        if node >= nodes {
            return Err(WorldError::NoNode { node, nodes });
        }
        self.arrive(self.now, Route::To(node), frame);
        Ok(())
    }

    /// What a node has sent and got so far.
    pub fn stats(&self, node: usize) -> Option<NodeStats> {
        self.nodes.get(node).map(|node| NodeStats {
            sent: node.link.stats(),
            bad_length: node.bad_length,
            received: node.received,
            received_bytes: node.received_bytes,
        })
    }

    /// Time of the next event, for those who pace the world by a clock.
    pub fn next_event(&self) -> Option<Nanos> {
        self.next().map(|(at, _)| at)
    }

    /// The next event and its time.
    fn next(&self) -> Option<(Nanos, Due)> {
        let mut next = self.arrivals.peek().map(|Reverse(arrival)| (arrival.at, Due::Arrival));
        let mut offer = |at: Nanos, due| {
            let offered = (at.max(self.now), due);
            next = Some(next.map_or(offered, |best| best.min(offered)));
        };
        for (number, node) in self.nodes.iter().enumerate() {
            if let Some(at) = node.link.next_release() {
                offer(at, Due::Release(number));
            }
            if let Some(at) = node.timer {
                offer(at, Due::Timer(number));
            }
            if node.touched {
                offer(node.link.free_at(), Due::Transmit);
            }
        }
        next
    }

    fn handle(&mut self, due: Due) {
        match due {
            Due::Arrival => {
                if let Some(Reverse(arrival)) = self.arrivals.pop() {
                    self.deliver(arrival.route, &arrival.frame);
                }
            }
            Due::Release(number) => {
                if let Some(node) = self.nodes.get_mut(number) {
                    node.link.release(self.now, &mut self.deliveries);
                    self.pass_on(number);
                }
            }
            Due::Timer(number) => {
                if let Some(node) = self.nodes.get_mut(number) {
                    node.device.advance(self.now);
                    node.timer_from = self.now.saturating_add(1);
                    node.touch();
                }
            }
            Due::Transmit => {
                for number in 0..self.nodes.len() {
                    self.transmit(number);
                }
            }
        }
    }

    /// Ask a node for one frame, if there may be one and the wire is free.
    fn transmit(&mut self, number: usize) {
        let now = self.now;
        let cable = self.is_cable();
        let Some(node) = self.nodes.get_mut(number) else { return };
        if !node.touched || node.link.free_at() > now {
            return;
        }
        let frame = node.device.transmit(now);
        node.read_timer();
        // It stays touched until it has nothing more.
        node.touched = frame.is_some();
        let Some(frame) = frame else { return };
        if frame.len() < MIN_FRAME || frame.len() > self.max_frame {
            node.bad_length += 1;
            return;
        }
        if !cable {
            self.switch.learn(number, &frame);
        }
        if let Some(tap) = &mut self.tap {
            tap(now, number, &frame);
        }
        let arrival = node.link.occupy(now, frame.len());
        let fate = node.link.draw(&frame);
        if let Some(capture) = &mut self.capture {
            capture.frame(now, node.interface, &frame, &fate.to_string());
        }
        match &mut self.intercept {
            None => node.link.pass(arrival, frame, fate, &mut self.deliveries),
            Some(intercept) => {
                for (extra, frame) in intercept(now, number, frame) {
                    node.link.pass(arrival.saturating_add(extra), frame, fate, &mut self.deliveries);
                }
            }
        }
        self.pass_on(number);
    }

    /// Put what the link of a node has let through in flight.
    fn pass_on(&mut self, from: usize) {
        let mut deliveries = std::mem::take(&mut self.deliveries);
        for Delivery { at, frame } in deliveries.drain(..) {
            self.arrive(at, Route::From(from), frame);
        }
        self.deliveries = deliveries;
    }

    fn arrive(&mut self, at: Nanos, route: Route, frame: Frame) {
        let arrival = Arrival { at: at.max(self.now), sequence: self.sequence, route, frame };
        self.sequence += 1;
        self.arrivals.push(Reverse(arrival));
    }

    fn deliver(&mut self, route: Route, frame: &[u8]) {
        let (from, to) = match route {
            Route::To(node) => (None, Some(node)),
            Route::From(node) if self.is_cable() => (Some(node), None),
            Route::From(node) => (Some(node), self.switch.find(frame)),
        };
        for (number, node) in self.nodes.iter_mut().enumerate() {
            if from != Some(number) && to.is_none_or(|to| to == number) {
                node.receive(self.now, frame);
            }
        }
    }

    /// Whether there is just one other node, which gets everything.
    fn is_cable(&self) -> bool {
        self.nodes.len() <= 2
    }
}

/// Registers of a node that does not exist read as all ones, like those of a PCI device that is gone; writes are lost.
impl Fabric for World {
    fn read32(&mut self, node: usize, offset: u32) -> u32 {
        let Some(node) = self.nodes.get_mut(node) else { return u32::MAX };
        let value = node.device.read32(self.now, offset);
        // A read can clear what a timer waits for. It gives no reason to send: if it did, software that polls a register
        // would hold up time.
        node.read_timer();
        value
    }

    fn write32(&mut self, node: usize, offset: u32, value: u32) {
        if let Some(node) = self.nodes.get_mut(node) {
            node.device.write32(self.now, offset, value);
            node.touch();
        }
    }

    fn interrupt(&self, node: usize) -> bool {
        self.nodes.get(node).is_some_and(|node| node.device.interrupt())
    }

    fn now(&self) -> Nanos {
        self.now
    }

    fn step(&mut self, limit: Option<Nanos>) -> Step {
        match (self.next(), limit) {
            (Some((at, due)), limit) if limit.is_none_or(|limit| at <= limit) => {
                self.now = at;
                self.handle(due);
                Step::Event
            }
            (_, Some(limit)) => {
                self.now = self.now.max(limit);
                Step::Limit
            }
            (_, None) => Step::Idle,
        }
    }
}
