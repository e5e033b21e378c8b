//! An Ethernet switch that learns where stations are, with links that have faults.

use super::ether::{Ether, OpenError};
use super::port::{self, Port, PortStats};
use crate::link::{Delivery, Fate, Link, LinkConfig, LinkError, LinkStats};
use crate::pcap::{CaptureError, PcapWriter};
use ironwarp_proto::pins::{Frame, Nanos};
use ironwarp_proto::wire::eth::MacAddr;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::{Duration, Instant};
use thiserror::Error;

/// Stations remembered; beyond, frames for new ones are flooded.
const STATIONS_MAX: usize = 1024;
/// How long a station that says nothing is remembered.
const LIFETIME: Nanos = 300_000_000_000;
/// Longest queue in front of a link with a rate, as time on the wire. A frame that finds it full is lost.
const QUEUE: Nanos = 50_000_000;
/// Frames taken from one port before the others have their turn.
const BURST: usize = 16;
/// Shortest frame that has addresses, bytes.
const ADDRESSES: usize = 12;

/// Why a switch cannot be made.
#[derive(Debug, Error)]
pub enum SwitchError {
    /// A port.
    #[error(transparent)]
    Port(#[from] OpenError),
    /// The links.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// One port leads nowhere.
    #[error("a switch needs at least two ports, {0} given: repeat --port")]
    TooFew(usize),
}

/// Counters of the switch itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SwitchStats {
    /// Frames sent to all ports, because they are for a group or for a station not known yet.
    pub flooded: u64,
    /// Frames for a station on the port that they came from.
    pub filtered: u64,
    /// Frames too short to have addresses, or from a group address.
    pub malformed: u64,
    /// Frames that found the queue of a link full.
    pub queue_full: u64,
}

/// A frame that is to leave a port at some time.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Leaving {
    at: Nanos,
    /// In the order of arrival, at the same time.
    order: u64,
    port: usize,
    frame: Frame,
}

/// The switch. Between each ordered pair of ports there is a link with a fate of its own.
pub struct Switch {
    ports: Vec<Port>,
    links: Vec<Link>,
    stations: BTreeMap<[u8; 6], (usize, Nanos)>,
    leaving: BinaryHeap<Reverse<Leaving>>,
    order: u64,
    stats: SwitchStats,
    start: Instant,
    capture: Option<PcapWriter>,
}

impl Switch {
    /// Open the ports and connect each with each by a link of `config`. The same seed gives the same fates.
    pub fn open(ethers: &[Ether], config: LinkConfig, seed: u64) -> Result<Self, SwitchError> {
        if ethers.len() < 2 {
            return Err(SwitchError::TooFew(ethers.len()));
        }
        let ports = ethers.iter().map(Port::open).collect::<Result<Vec<_>, _>>()?;
        let pairs = (ports.len() * ports.len()) as u64;
        let link = |pair: u64| Link::new(config, seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(pair));
        Ok(Self {
            links: (0..pairs).map(link).collect::<Result<_, _>>()?,
            ports,
            stations: BTreeMap::new(),
            leaving: BinaryHeap::new(),
            order: 0,
            stats: SwitchStats::default(),
            start: Instant::now(),
            capture: None,
        })
    }

    /// Record every frame as it comes in, with what then happens to it.
    pub fn capture(&mut self, mut writer: PcapWriter) {
        for port in &self.ports {
            writer.add_interface(&port.ether().to_string());
        }
        self.capture = Some(writer);
    }

    /// End the recording; tells whether it is complete.
    pub fn finish_capture(&mut self) -> Result<(), CaptureError> {
        self.capture.take().map_or(Ok(()), PcapWriter::finish)
    }

    /// Counters of the switch itself.
    pub fn stats(&self) -> SwitchStats {
        self.stats
    }

    /// The ports and what has gone through them.
    pub fn ports(&self) -> impl Iterator<Item = (&Ether, PortStats)> {
        self.ports.iter().map(|port| (port.ether(), port.stats()))
    }

    /// The links that were used: from, to, and what has gone over them.
    pub fn links(&self) -> impl Iterator<Item = (usize, usize, LinkStats)> {
        let count = self.ports.len();
        let link = move |(index, link): (usize, &Link)| (index / count, index % count, link.stats());
        self.links.iter().enumerate().map(link).filter(|(_, _, stats)| stats.frames > 0)
    }

    fn now(&self) -> Nanos {
        self.start.elapsed().as_nanos() as Nanos
    }

    /// Move what can be moved, waiting for it at most `longest`.
    pub fn step(&mut self, longest: Duration) {
        let mut moved = false;
        for from in 0..self.ports.len() {
            self.ports[from].flush();
            for _ in 0..BURST {
                let Some(frame) = self.ports[from].receive().map(<[u8]>::to_vec) else { break };
                self.forward(from, frame);
                moved = true;
            }
        }
        self.release();
        moved |= self.deliver();
        if moved {
            return;
        }
        let now = self.now();
        let releases = self.links.iter().filter_map(Link::next_release).min();
        let next = [releases, self.leaving.peek().map(|Reverse(next)| next.at)].into_iter().flatten().min();
        let sleep = next.map_or(longest, |at| Duration::from_nanos(at.saturating_sub(now)).min(longest));
        if !sleep.is_zero() {
            port::wait(&self.ports.iter().collect::<Vec<_>>(), &[], sleep);
        }
    }

    /// Decide where a frame goes, and put it on the links that lead there.
    fn forward(&mut self, from: usize, frame: Frame) {
        let now = self.now();
        let (Some(to), Some(source)) = (address(&frame, 0), address(&frame, 6)) else {
            self.stats.malformed += 1;
            return;
        };
        if MacAddr(source).is_multicast() {
            self.stats.malformed += 1;
            return;
        }
        self.learn(now, source, from);
        let known = self.stations.get(&to).filter(|(_, until)| *until > now).map(|(port, _)| *port);
        let comment = match known {
            Some(port) if port == from => {
                self.stats.filtered += 1;
                "filtered".into()
            }
            Some(port) => self.put(now, from, port, frame.clone()),
            None => {
                self.stats.flooded += 1;
                let others = (0..self.ports.len()).filter(|port| *port != from);
                let fates: Vec<_> = others
                    .map(|port| self.put(now, from, port, frame.clone()))
                    .filter(|fate| !fate.is_empty())
                    .collect();
                fates.join("; ")
            }
        };
        if let Some(capture) = &mut self.capture {
            capture.frame(now, from as u32, &frame, &comment);
        }
    }

    fn learn(&mut self, now: Nanos, station: [u8; 6], port: usize) {
        if self.stations.len() >= STATIONS_MAX && !self.stations.contains_key(&station) {
            self.stations.retain(|_, (_, until)| *until > now);
            if self.stations.len() >= STATIONS_MAX {
                return;
            }
        }
        self.stations.insert(station, (port, now.saturating_add(LIFETIME)));
    }

    /// Put a frame on a link; tells what happens to it, nothing if it arrives untroubled.
    fn put(&mut self, now: Nanos, from: usize, to: usize, frame: Frame) -> String {
        let index = from * self.ports.len() + to;
        let link = &mut self.links[index];
        if link.free_at().saturating_sub(now) > QUEUE {
            self.stats.queue_full += 1;
            return "queue full".into();
        }
        let mut arriving = Vec::new();
        let fate = link.send(now, frame, &mut arriving);
        self.schedule(to, arriving);
        if fate == Fate::default() { String::new() } else { fate.to_string() }
    }

    /// Let frames go on that were held back and that nothing has overtaken.
    fn release(&mut self) {
        let now = self.now();
        for index in 0..self.links.len() {
            let mut arriving = Vec::new();
            if self.links[index].next_release().is_some_and(|at| at <= now) {
                self.links[index].release(now, &mut arriving);
            }
            self.schedule(index % self.ports.len(), arriving);
        }
    }

    fn schedule(&mut self, port: usize, arriving: Vec<Delivery>) {
        for Delivery { at, frame } in arriving {
            self.leaving.push(Reverse(Leaving { at, order: self.order, port, frame }));
            self.order += 1;
        }
    }

    /// Send what has arrived at the far end of its link; whether there was anything.
    fn deliver(&mut self) -> bool {
        let now = self.now();
        let mut any = false;
        while self.leaving.peek().is_some_and(|Reverse(next)| next.at <= now) {
            let Some(Reverse(next)) = self.leaving.pop() else { break };
            self.ports[next.port].send(next.frame);
            any = true;
        }
        any
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        if let Err(error) = self.finish_capture() {
            tracing::warn!(%error, "capture");
        }
    }
}

/// The address at `offset` of a frame.
fn address(frame: &[u8], offset: usize) -> Option<[u8; 6]> {
    frame.get(..ADDRESSES)?.get(offset..offset + 6)?.try_into().ok()
}
