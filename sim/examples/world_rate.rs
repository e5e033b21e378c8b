//! Frames per second of wall time that a world carries between trivial devices, and a capture to look at.
//!
//! `cargo run --release -p ironwarp-sim --example world_rate [FILE.pcapng]`

use ironwarp_driver::transport::{Fabric, Step};
use ironwarp_proto::pins::{Device, Frame, Nanos};
use ironwarp_sim::link::LinkConfig;
use ironwarp_sim::pcap::PcapWriter;
use ironwarp_sim::world::World;
use std::error::Error;
use std::time::Instant;

/// Answers every frame with one of its own.
struct Echo {
    pending: u32,
    len: usize,
}

impl Device for Echo {
    fn read32(&mut self, _: Nanos, _: u32) -> u32 {
        0
    }
    fn write32(&mut self, _: Nanos, _: u32, _: u32) {}
    fn receive(&mut self, _: Nanos, _: &[u8]) {
        self.pending += 1;
    }
    fn transmit(&mut self, _: Nanos) -> Option<Frame> {
        self.pending = self.pending.checked_sub(1)?;
        Some(vec![2; self.len])
    }
    fn advance(&mut self, _: Nanos) {}
    fn next_event(&self) -> Option<Nanos> {
        None
    }
    fn interrupt(&self) -> bool {
        false
    }
}

fn world(nodes: usize, len: usize, config: LinkConfig) -> Result<World, Box<dyn Error>> {
    let mut world = World::new(1);
    for n in 0..nodes {
        world.add_node(Box::new(Echo { pending: 32, len }), &format!("node{n}"));
    }
    world.connect(config)?;
    Ok(world)
}

fn main() -> Result<(), Box<dyn Error>> {
    let perfect = LinkConfig::default();
    let faulty = LinkConfig { loss: 1e-5, duplicate: 1e-5, reorder: 0.01, corrupt: 0.01, ..perfect };
    let fast = LinkConfig { rate_bps: Some(100_000_000_000), ..perfect };
    for (name, config) in [("unlimited", perfect), ("100 Gb/s", fast), ("faulty", faulty)] {
        for len in [60, 1514] {
            let mut world = world(2, len, config)?;
            let start = Instant::now();
            for _ in 0..4_000_000 {
                world.step(None);
            }
            let frames: u64 =
                (0..2).filter_map(|node| world.stats(node)).map(|stats| stats.sent.frames).sum();
            let rate = frames as f64 / start.elapsed().as_secs_f64();
            println!("{name:>10}, {len:4} bytes: {rate:9.0} frames/s");
        }
    }
    if let Some(path) = std::env::args().nth(1) {
        let mut world = world(2, 100, LinkConfig { loss: 0.05, corrupt: 0.1, duplicate: 0.1, ..fast })?;
        world.capture(PcapWriter::create(path)?);
        while world.step(Some(20_000)) == Step::Event {}
        world.finish_capture()?;
    }
    Ok(())
}
