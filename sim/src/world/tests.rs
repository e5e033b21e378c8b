use super::*;
use ironwarp_driver::transport::{HostMemory, InProcess, Transport, Wait};
use proptest::prelude::*;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

/// What a test sees of, and puts into, its device.
#[derive(Default)]
struct Inner {
    queue: VecDeque<Frame>,
    received: Vec<(Nanos, Frame)>,
    advanced: Vec<Nanos>,
    asked: u64,
    next_event: Option<Nanos>,
    /// Frames still to send back.
    echoes: u32,
}

/// A device that sends what is queued, and sends back what it gets. A write to offset 0 queues that many frames.
#[derive(Clone, Default)]
struct Probe(Arc<Mutex<Inner>>);

impl Probe {
    fn queue(&self, frame: Frame) {
        self.0.lock().unwrap().queue.push_back(frame);
    }
    fn received(&self) -> Vec<(Nanos, Frame)> {
        self.0.lock().unwrap().received.clone()
    }
    fn asked(&self) -> u64 {
        self.0.lock().unwrap().asked
    }
    fn echo(self, echoes: u32) -> Self {
        self.0.lock().unwrap().echoes = echoes;
        self
    }
}

impl Device for Probe {
    fn read32(&mut self, _: Nanos, offset: u32) -> u32 {
        offset
    }
    fn write32(&mut self, _: Nanos, offset: u32, value: u32) {
        if offset == 0 {
            (0..value).for_each(|n| self.queue(frame(1, 0, n)));
        }
    }
    fn receive(&mut self, now: Nanos, frame: &[u8]) {
        let mut inner = self.0.lock().unwrap();
        inner.received.push((now, frame.to_vec()));
        if inner.echoes > 0 {
            inner.echoes -= 1;
            inner.queue.push_back(frame.to_vec());
        }
    }
    fn transmit(&mut self, _: Nanos) -> Option<Frame> {
        let mut inner = self.0.lock().unwrap();
        inner.asked += 1;
        inner.queue.pop_front()
    }
    fn advance(&mut self, now: Nanos) {
        self.0.lock().unwrap().advanced.push(now);
    }
    fn next_event(&self) -> Option<Nanos> {
        self.0.lock().unwrap().next_event
    }
    fn interrupt(&self) -> bool {
        !self.0.lock().unwrap().received.is_empty()
    }
}

/// A frame between stations that carries a number.
fn frame(to: u8, from: u8, n: u32) -> Frame {
    let mut frame = vec![2, 0, 0, 0, 0, to, 2, 0, 0, 0, 0, from, 0x88, 0xb5];
    frame.extend(n.to_be_bytes());
    frame.resize(60, 0);
    frame
}

fn world(nodes: usize, seed: u64) -> (World, Vec<Probe>) {
    let mut world = World::new(seed);
    let probes = vec![(); nodes].into_iter().map(|()| Probe::default()).collect::<Vec<_>>();
    for (n, probe) in probes.iter().enumerate() {
        assert_eq!(world.add_node(Box::new(probe.clone()), &format!("node{n}")), n);
    }
    while world.step(None) == Step::Event {}
    (world, probes)
}

/// Step until nothing is left; checks that time never goes back.
fn finish(world: &mut World) {
    let mut now = world.now();
    while world.step(None) == Step::Event {
        assert!(world.now() >= now);
        now = world.now();
    }
}

#[test]
fn steps_stop_at_the_limit_and_idle_without_one() {
    let (mut world, probes) = world(2, 1);
    assert_eq!((world.step(None), world.now()), (Step::Idle, 0));
    assert_eq!((world.step(Some(500)), world.now()), (Step::Limit, 500));
    assert_eq!((world.step(Some(400)), world.now()), (Step::Limit, 500), "time never goes back");

    world.write32(0, 0, 1);
    assert_eq!(world.step(Some(400)), Step::Limit, "due at 500, later than the limit");
    assert_eq!((world.step(Some(500)), world.now()), (Step::Event, 500), "it sends");
    assert_eq!((world.step(Some(500)), world.now()), (Step::Event, 500), "it has nothing more");
    assert_eq!((world.step(Some(1_499)), world.now()), (Step::Limit, 1_499));
    assert!(!world.interrupt(1));
    assert_eq!((world.step(Some(1_500)), world.now()), (Step::Event, 1_500));
    assert!(world.interrupt(1));
    assert_eq!(probes[1].received(), [(1_500, frame(1, 0, 0))]);
    finish(&mut world);
    assert_eq!(world.step(None), Step::Idle);
}

#[test]
fn devices_are_asked_only_after_something_was_done_to_them() {
    let (mut world, probes) = world(2, 1);
    let asked = probes[0].asked();
    (0..10).for_each(|_| assert_eq!(world.read32(0, 12), 12));
    assert_eq!(world.step(Some(100)), Step::Limit, "polling a register does not hold up time");
    assert_eq!(probes[0].asked(), asked);
    world.write32(0, 0, 3);
    finish(&mut world);
    assert_eq!(probes[0].asked(), asked + 4);
    assert_eq!(probes[1].received().len(), 3);
}

#[test]
fn the_rate_holds_the_sender_back() {
    let (mut world, probes) = world(2, 1);
    world.connect(LinkConfig { rate_bps: Some(1_000_000_000), delay: 0, ..LinkConfig::default() }).unwrap();
    world.write32(0, 0, 3);
    finish(&mut world);
    let times: Vec<_> = probes[1].received().iter().map(|(at, _)| *at).collect();
    assert_eq!(times, [672, 2 * 672, 3 * 672]);
    assert_eq!(world.stats(0).unwrap().sent.busy_ns, 3 * 672);
}

#[test]
fn echoes_go_back_and_forth() {
    let mut world = World::new(1);
    let (a, b) = (Probe::default().echo(100), Probe::default().echo(100));
    world.add_node(Box::new(a.clone()), "a");
    world.add_node(Box::new(b.clone()), "b");
    a.queue(frame(1, 0, 7));
    finish(&mut world);
    let expected = |first: Nanos, n: u64| (0..n).map(|i| first + 2_000 * i).collect::<Vec<_>>();
    let times = |probe: &Probe| probe.received().iter().map(|(at, _)| *at).collect::<Vec<_>>();
    assert_eq!(times(&b), expected(1_000, 101));
    assert_eq!(times(&a), expected(2_000, 100));
    assert!(b.received().iter().all(|(_, got)| *got == frame(1, 0, 7)));
}

#[test]
fn three_nodes_learn_where_stations_are() {
    let (mut world, probes) = world(3, 1);
    let mut send = |node: usize, frame: Frame| {
        let before: Vec<_> = probes.iter().map(|probe| probe.received().len()).collect();
        probes[node].queue(frame);
        world.write32(node, 4, 0);
        finish(&mut world);
        let got = probes.iter().zip(before).map(|(probe, before)| probe.received().len() - before);
        got.collect::<Vec<_>>()
    };
    assert_eq!(send(0, frame(1, 0, 0)), [0, 1, 1], "unknown: to all others");
    assert_eq!(send(1, frame(0, 1, 0)), [1, 0, 0], "learnt");
    assert_eq!(send(0, frame(1, 0, 0)), [0, 1, 0], "learnt from the answer");
    assert_eq!(send(2, frame(2, 2, 0)), [0, 0, 0], "to the sender itself: filtered");
    assert_eq!(send(2, [vec![0xff; 6], frame(0, 2, 0)[6..].to_vec()].concat()), [1, 1, 0], "broadcast");
    assert_eq!(send(1, frame(0, 2, 0)), [1, 0, 0], "station 2 has moved to node 1");
    assert_eq!(send(0, frame(2, 0, 0)), [0, 1, 0]);
}

#[test]
fn frames_of_bad_length_are_counted_and_dropped() {
    let (mut world, probes) = world(2, 1);
    world.set_max_frame(100);
    for len in [0, 13, 14, 100, 101] {
        probes[0].queue(vec![2; len]);
    }
    world.write32(0, 4, 0);
    finish(&mut world);
    assert_eq!(probes[1].received().iter().map(|(_, frame)| frame.len()).collect::<Vec<_>>(), [14, 100]);
    let (sent, got) = (world.stats(0).unwrap(), world.stats(1).unwrap());
    assert_eq!((sent.bad_length, sent.sent.frames, sent.sent.bytes), (3, 2, 114));
    assert_eq!((got.received, got.received_bytes), (2, 114));
}

#[test]
fn timers_come_in_time_and_cannot_stop_it() {
    let (mut world, probes) = world(2, 1);
    probes[0].0.lock().unwrap().next_event = Some(700);
    world.read32(0, 0);
    assert_eq!((world.step(Some(699)), world.now()), (Step::Limit, 699));
    // The device goes on asking for a time that has passed.
    for _ in 0..6 {
        assert_eq!(world.step(Some(1_000)), Step::Event);
    }
    assert_eq!(probes[0].0.lock().unwrap().advanced, [700, 701, 702]);
    probes[0].0.lock().unwrap().next_event = Some(Nanos::MAX);
    finish(&mut world);
    assert!(world.now() < 1_000, "the end of time never comes");
}

#[test]
fn everything_at_an_instant_arrives_before_anything_is_sent() {
    let (mut world, probes) = world(2, 1);
    probes[1].0.lock().unwrap().echoes = 10;
    for n in 0..5 {
        world.inject(1, frame(1, 0, n)).unwrap();
    }
    let order = Arc::new(Mutex::new(Vec::new()));
    let (seen, receiver) = (Arc::clone(&order), probes[1].clone());
    world.tap(move |now, node, _| seen.lock().unwrap().push((now, node, receiver.received().len())));
    finish(&mut world);
    assert_eq!(*order.lock().unwrap(), vec![(0, 1, 5); 5]);
    let numbers = probes[0].received().into_iter().map(|(_, frame)| frame[17]);
    assert_eq!(numbers.collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
}

#[test]
fn software_reaches_its_device_through_the_transport() {
    let (world, probes) = world(2, 1);
    let memories = vec![HostMemory::new(), HostMemory::new()];
    let transports = InProcess::attach_all(Arc::new(Mutex::new(world)), memories);
    transports[0].write32(0, 1).unwrap();
    while transports[1].wait(Some(1_500)).unwrap() != Wait::Deadline {
        assert_eq!(transports[1].read32(8), Ok(8), "polling");
    }
    assert_eq!(probes[1].received(), [(1_000, frame(1, 0, 0))]);
    assert_eq!((transports[0].now(), transports[0].wait(None)), (1_500, Ok(Wait::Idle)));
}

#[test]
fn scripts_replace_frames_in_flight() {
    let (mut world, probes) = world(2, 1);
    world.intercept(|_, _, frame| match frame[17] {
        0 => vec![],
        1 => vec![(0, frame.clone()), (50, frame)],
        _ => vec![(0, vec![9; 14])],
    });
    world.write32(0, 0, 3);
    finish(&mut world);
    let expected = [(1_000, frame(1, 0, 1)), (1_000, vec![9; 14]), (1_050, frame(1, 0, 1))];
    assert_eq!(probes[1].received(), expected);
}

#[test]
fn links_change_at_any_time_and_bad_settings_are_refused() {
    let (mut world, probes) = world(2, 1);
    world.set_link(0, LinkConfig { loss: 1.0, ..LinkConfig::default() }).unwrap();
    world.write32(0, 0, 5);
    finish(&mut world);
    assert_eq!((probes[1].received().len(), world.stats(0).unwrap().sent.lost), (0, 5));
    world.set_link(0, LinkConfig::default()).unwrap();
    world.write32(0, 0, 5);
    finish(&mut world);
    assert_eq!(probes[1].received().len(), 5);
    let error = world.set_link(1, LinkConfig { loss: 2.0, ..LinkConfig::default() }).unwrap_err();
    assert_eq!(error.to_string(), "link of node 1: loss is 2: give a probability from 0.0 to 1.0");
}

#[test]
fn nodes_that_do_not_exist_are_told_or_ignored() {
    let (mut world, _) = world(2, 1);
    assert_eq!(world.read32(2, 0), u32::MAX);
    world.write32(2, 0, 1);
    assert!(!world.interrupt(usize::MAX) && world.stats(2).is_none());
    assert!(world.inject(2, vec![]).is_err());
    let error = world.set_link(2, LinkConfig::default()).unwrap_err();
    assert_eq!(error.to_string(), "there is no node 2: the world has 2, numbered from 0");
    let mut empty = World::new(1);
    assert_eq!((empty.step(None), empty.step(Some(3)), empty.now()), (Step::Idle, Step::Limit, 3));
    empty.add_node(Box::new(Probe::default()), "alone");
    empty.write32(0, 0, 3);
    finish(&mut empty);
    assert_eq!(empty.stats(0).unwrap().sent.frames, 3);
}

type Sent = Vec<(Nanos, usize, Frame)>;

/// Two nodes that echo over links with every fault; returns all that was sent and the statistics.
fn storm(seed: u64, config: LinkConfig) -> (Sent, Vec<NodeStats>, Vec<Probe>) {
    let (mut world, probes) = world(2, seed);
    world.connect(config).unwrap();
    let log = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&log);
    world.tap(move |now, node, frame| seen.lock().unwrap().push((now, node, frame.to_vec())));
    for (n, probe) in probes.iter().enumerate() {
        probe.0.lock().unwrap().echoes = 200;
        world.write32(n, 0, 20);
    }
    finish(&mut world);
    let sent = log.lock().unwrap().clone();
    (sent, (0..2).filter_map(|node| world.stats(node)).collect(), probes)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_seed_decides_everything(
        seed: u64,
        rate_bps in proptest::option::of(1_000_000u64..100_000_000_000),
        delay in 0..10_000u64,
        loss in 0.0..0.3f64,
        duplicate in 0.0..0.3f64,
        reorder in 0.0..0.9f64,
        corrupt in 0.0..0.3f64,
    ) {
        let config = LinkConfig { rate_bps, delay, loss, duplicate, reorder, corrupt, ..LinkConfig::default() };
        let (sent, stats, probes) = storm(seed, config);
        let again = storm(seed, config);
        prop_assert_eq!(&sent, &again.0);
        prop_assert_eq!(&stats, &again.1);
        for (from, to) in [(0, 1), (1, 0)] {
            let link: LinkStats = stats[from].sent;
            prop_assert_eq!(link.frames - link.lost + link.duplicated, stats[to].received);
            let received = probes[to].received();
            prop_assert_eq!(received.len() as u64, stats[to].received);
            prop_assert!(received.is_sorted_by_key(|(at, _)| *at));
        }
        prop_assert!(sent.is_sorted_by_key(|(at, _, _)| *at));
    }
}

#[test]
fn another_seed_is_another_world() {
    let config = LinkConfig { loss: 0.1, ..LinkConfig::default() };
    assert_ne!(storm(1, config).1, storm(2, config).1);
}

#[test]
fn both_directions_of_a_link_have_faults_of_their_own() {
    let config = LinkConfig { corrupt: 1.0, ..LinkConfig::default() };
    let (_, _, probes) = storm(1, config);
    assert_ne!(probes[0].received()[..20], probes[1].received()[..20]);
}
