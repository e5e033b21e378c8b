//! Small Writes, many of them: how many a second, and that all of them arrive whatever the link does.

use ironwarp_driver::transport::Wait;
use ironwarp_driver::verbs::{
    Access, CompletionQueue, Data, MemoryRegion, QpConfig, QueuePair, SendRequest, WcStatus,
};
use ironwarp_proto::abi::regs::Counter;
use ironwarp_sim::engine::Engine;
use ironwarp_sim::lab::{Connection, Lab, LabConfig};
use ironwarp_sim::link::LinkConfig;
use ironwarp_sim::model::ModelConfig;

/// Bytes of the sink for each message.
const SLOT: usize = 32;

struct End {
    cq: CompletionQueue,
    qp: QueuePair,
    region: MemoryRegion,
}

struct Bench {
    lab: Lab,
    ends: [End; 2],
}

impl Bench {
    fn new(engine: Engine, link: LinkConfig, messages: usize) -> Self {
        let config =
            LabConfig { link, mtu: 1500, seed: 5, engine, device: ModelConfig::default(), waves: None };
        let lab = Lab::new(&config, None).unwrap();
        let ends = [0, 1].map(|node| {
            let pd = lab.hosts[node].alloc_pd().unwrap();
            let cq = lab.hosts[node].create_cq(512).unwrap();
            let qp = pd.create_qp(&QpConfig::new(&cq, &cq).depths(256, 16)).unwrap();
            let rights = Access::LOCAL_WRITE | Access::REMOTE_READ | Access::REMOTE_WRITE;
            End { cq, qp, region: pd.register(messages * SLOT, rights).unwrap() }
        });
        lab.connect([&ends[0].qp, &ends[1].qp], &Connection { crc: true, markers: false }).unwrap();
        Self { lab, ends }
    }

    /// Post these on the left, up to 128 at a time, and see all of them complete. Every `every`th is signalled, and the last.
    fn transfer(&self, requests: &[SendRequest], every: usize) {
        let (mut posted, mut done) = (0, 0);
        while done < requests.len() {
            while let Some(completion) = self.ends[0].cq.poll() {
                assert_eq!(completion.status, WcStatus::Ok, "{completion:?}");
                assert!(completion.wr_id as usize >= done, "completions are in order");
                done = completion.wr_id as usize + 1;
            }
            while posted < requests.len() && posted - done < 128 {
                let mut request = requests[posted].clone();
                request.wr_id = posted as u64;
                posted += 1;
                if posted % every != 0 && posted != requests.len() {
                    request = request.unsignalled();
                }
                self.ends[0].qp.post_send(&request).unwrap();
            }
            if done < requests.len() {
                assert_eq!(self.lab.hosts[0].wait(None).unwrap(), Wait::Progress, "{done} of {posted}");
            }
        }
    }

    /// Wait until the last byte of the right's memory is there: a Write is complete when the peer's TCP has its bytes, not its memory (RFC 5040 section 5.5).
    fn arrive(&self, messages: usize, last: &[u8]) {
        let mut found = vec![0; last.len()];
        let at = (messages - 1) * SLOT;
        loop {
            self.ends[1].region.read(at, &mut found).unwrap();
            if found == last {
                return;
            }
            assert_eq!(self.lab.hosts[1].wait(None).unwrap(), Wait::Progress, "the last message is missing");
        }
    }

    fn counter(&self, node: usize, counter: Counter) -> u64 {
        self.lab.hosts[node].counters().unwrap().get(counter)
    }
}

#[test]
fn more_than_a_million_small_writes_a_second() {
    const MESSAGES: usize = 4000;
    let link = LinkConfig { rate_bps: Some(1_000_000_000), delay: 1000, ..LinkConfig::default() };
    let bench = Bench::new(Engine::Timed, link, MESSAGES);
    let requests: Vec<_> = (0..MESSAGES)
        .map(|n| {
            let remote = bench.ends[1].region.remote(n * SLOT).unwrap();
            SendRequest::write(0, Data::inline(&(n as u64).to_le_bytes()), remote)
        })
        .collect();
    let before = bench.lab.watches.each_ref().map(|watch| watch.meter.cycles());
    let (start, frames) = (bench.lab.hosts[0].now(), bench.counter(0, Counter::TxFrames));
    bench.transfer(&requests, 64);
    let rate = MESSAGES as f64 * 1e9 / (bench.lab.hosts[0].now() - start) as f64;
    let frames = bench.counter(0, Counter::TxFrames) - frames;
    let spent = [0, 1].map(|node| (bench.lab.watches[node].meter.cycles() - before[node]) / MESSAGES as u64);
    println!("{rate:.0} a second in {frames} frames, {spent:?} cycles each");
    assert!(rate > 1_100_000.0, "{rate:.0} a second");
    assert!(spent.iter().all(|cycles| *cycles <= 50), "{spent:?} cycles a message");
    assert!(frames as usize <= MESSAGES / 25, "{frames} frames");
    bench.arrive(MESSAGES, &(MESSAGES as u64 - 1).to_le_bytes());
    let mut sink = vec![0; MESSAGES * SLOT];
    bench.ends[1].region.read(0, &mut sink).unwrap();
    for (n, slot) in sink.chunks(SLOT).enumerate() {
        assert_eq!(slot[..8], (n as u64).to_le_bytes(), "message {n}");
    }
}

/// Runs of one length, broken by other lengths, Writes that gather, and Reads, on a link that loses, swaps, repeats and breaks frames.
#[test]
fn every_byte_of_runs_arrives_on_a_bad_link() {
    const MESSAGES: usize = 3000;
    let link = LinkConfig {
        loss: 0.02,
        duplicate: 0.01,
        reorder: 0.01,
        corrupt: 0.01,
        delay: 1000,
        rate_bps: Some(1_000_000_000),
        ..LinkConfig::default()
    };
    let bench = Bench::new(Engine::Micro, link, MESSAGES);
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let source: Vec<u8> = (0..MESSAGES * SLOT).map(|_| random(256) as u8).collect();
    bench.ends[0].region.write(0, &source).unwrap();
    let (mut requests, mut expected, mut len) = (Vec::new(), vec![0; MESSAGES * SLOT], 8);
    for n in 0..MESSAGES {
        let at = n * SLOT;
        if random(40) == 0 {
            len = random(SLOT as u64 + 1) as usize;
        }
        let (own, remote) = (&bench.ends[0].region, bench.ends[1].region.remote(at).unwrap());
        let bytes = &source[at..at + len];
        requests.push(match random(60) {
            0 => SendRequest::read(0, own.sge(at, 0).unwrap(), remote),
            1 => SendRequest::write(0, own.sge(at, len).unwrap(), remote),
            2 => SendRequest::write(0, Data::inline(bytes), remote).fenced(),
            _ => SendRequest::write(0, Data::inline(bytes), remote),
        });
        if !matches!(requests[n].operation, ironwarp_driver::verbs::Operation::Read { .. }) {
            expected[at..at + len].copy_from_slice(bytes);
        }
    }
    for every in [1, 7, 100] {
        bench.ends[1].region.write(0, &vec![0; MESSAGES * SLOT]).unwrap();
        bench.transfer(&requests, every);
        let mut sink = vec![0; MESSAGES * SLOT];
        bench.ends[1].region.read(0, &mut sink).unwrap();
        let wrong =
            sink.chunks(SLOT).zip(expected.chunks(SLOT)).position(|(sink, expected)| sink != expected);
        assert_eq!(wrong, None, "the first message that did not arrive, every {every}th signalled");
    }
    assert!(bench.counter(0, Counter::Retransmits) > 20, "frames were sent again");
}
