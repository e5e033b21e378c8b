//! `ironwarp perf`: throughput of one operation between two hosts, and the latency of a device.

mod device;
mod remote;
mod rest;
mod rtl;

use super::end::EndOptions;
use super::options::{CommandError, DeviceOptions, LinkOptions, RunOptions, peak_rss_bytes};
use crate::emulated::{Cause, Meter, Spent};
use crate::engine::Engine;
use crate::lab::{Lab, NAMES};
use crate::limit::Traffic;
use clap::ValueEnum;
use ironwarp_driver::transport::Wait;
use ironwarp_driver::verbs::{
    Access, CompletionQueue, Context, Data, MemoryRegion, QpConfig, QpState, QueuePair, ReceiveRequest,
    RemoteAddress, SendRequest, WcOpcode, WcStatus,
};
use ironwarp_proto::abi::regs::Counter;
use ironwarp_proto::abi::send_entry::INLINE_MAX;
use ironwarp_proto::rdmap::AtomicRequest;
use serde::Serialize;
use std::collections::HashMap;
use std::time::Instant;

/// The operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Operation {
    /// RDMA Write.
    Write,
    /// Send into posted receives.
    Send,
    /// RDMA Read.
    Read,
    /// Atomic FetchAdd, 8 bytes.
    Atomic,
    /// Latency of registers, doorbells and interrupt; takes --device and --iterations.
    Device,
}

/// Measure the throughput of one operation, or how far away a device is. Without --listen and --connect both hosts are in this
/// process.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The operation.
    #[arg(value_enum)]
    op: Operation,
    /// Message size, bytes; atomics have 8.
    #[arg(long, default_value_t = 65_536, value_parser = clap::value_parser!(u32).range(0..=1 << 30))]
    size: u32,
    /// Messages of each queue pair in each direction.
    #[arg(long, default_value_t = 4000, value_parser = clap::value_parser!(u64).range(1..))]
    iterations: u64,
    /// Queue pairs (connections).
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=60))]
    qps: u32,
    /// Messages outstanding on each queue pair (perftest's --tx-depth).
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=128))]
    depth: u32,
    /// Every Nth message is signalled, and the last (perftest's --cq-mod); at most the depth. Without it: half of the depth,
    /// so that a completion makes room before the queue is empty.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    signal_every: Option<u32>,
    /// Messages posted with one doorbell (perftest's --post_list); at most the depth.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=128))]
    post_list: u32,
    /// Writes and Sends of up to so many bytes carry them in the request (perftest's --inline_size, there 0 for bandwidth).
    #[arg(long, value_name = "BYTES", default_value_t = INLINE_MAX as u32, value_parser = clap::value_parser!(u32).range(0..=INLINE_MAX as i64))]
    inline: u32,
    /// Both hosts send.
    #[arg(long)]
    bidir: bool,
    /// Engines rtl: also what each stream and each routine of the program took.
    #[arg(long)]
    profile: bool,
    /// One JSON object in place of text.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    end: EndOptions,
    #[command(flatten)]
    pub(super) device: DeviceOptions,
    #[command(flatten)]
    link: LinkOptions,
    #[command(flatten)]
    pub(super) run: RunOptions,
}

impl Args {
    /// From one signalled message to the next. With more than the depth nothing would ever complete.
    fn signal_every(&self) -> u32 {
        self.signal_every.unwrap_or(self.depth / 2).clamp(1, self.depth)
    }
    fn post_list(&self) -> u32 {
        self.post_list.min(self.depth)
    }
    fn is_inline(&self, size: u32) -> bool {
        matches!(self.op, Operation::Write | Operation::Send) && size <= self.inline
    }
}

/// What was measured.
#[derive(Debug, Serialize)]
struct Report {
    op: String,
    engine: String,
    size: u32,
    messages: u64,
    /// Messages outstanding, from one signalled message to the next, and in one doorbell, on each queue pair.
    depth: u32,
    signal_every: u32,
    post_list: u32,
    /// Whether the payload was in the requests.
    inline: bool,
    payload_bytes: u64,
    wall_seconds: f64,
    sim_seconds: f64,
    goodput_bps: f64,
    link_bps: Option<u64>,
    limit_bps: Option<f64>,
    ratio_to_limit: Option<f64>,
    messages_per_second: f64,
    retransmissions: u64,
    peak_rss_bytes: u64,
    /// Size of the devices, if they are here.
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<&'static str>,
    /// What the simulation of the RTL did.
    #[serde(skip_serializing_if = "Option::is_none")]
    simulation: Option<Simulation>,
    /// Of the left and the right device, if they have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    sequencer: Option<[Sequencer; 2]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rtl: Option<[rtl::Report; 2]>,
}

/// How fast the RTL was simulated, both devices together.
#[derive(Debug, Serialize)]
struct Simulation {
    /// Cycles simulated. Those in which nothing could happen are not.
    simulated_cycles: u64,
    cycles_per_second: f64,
}

/// What a device's sequencer did, in cycles.
#[derive(Debug, Serialize)]
struct Sequencer {
    cycles_per_message: f64,
    /// Share of the simulated time in which it did not wait.
    busy: f64,
    frames_received: u64,
    cycles_per_frame_received: f64,
    frames_sent: u64,
    cycles_per_frame_sent: f64,
    register_writes: u64,
    cycles_per_register_write: f64,
}

impl Sequencer {
    fn new(before: &Meter, after: &Meter, messages: u64, seconds: f64, clock_khz: u32) -> Self {
        let cycles = (after.cycles() - before.cycles()) as f64;
        let clock = 1000.0 * f64::from(clock_khz);
        let spent = |cause| after.spent(cause) - before.spent(cause);
        let per = |spent: Spent| spent.cycles as f64 / spent.runs.max(1) as f64;
        let (received, sent, writes) = (spent(Cause::Receive), spent(Cause::Transmit), spent(Cause::Write));
        Self {
            cycles_per_message: cycles / messages as f64,
            busy: cycles / (seconds * clock),
            frames_received: received.runs,
            cycles_per_frame_received: per(received),
            frames_sent: sent.runs,
            cycles_per_frame_sent: per(sent),
            register_writes: writes.runs,
            cycles_per_register_write: per(writes),
        }
    }
}

/// One host's part: its connections and the work of each.
struct Side {
    cq: CompletionQueue,
    region: MemoryRegion,
    qps: Vec<QueuePair>,
    /// Place of a queue pair in `qps`, by number.
    places: HashMap<u32, usize>,
    posted: Vec<u64>,
    done: Vec<u64>,
    /// Messages received.
    received: u64,
}

/// The other host's memory, as requests name it.
struct Peer {
    source: RemoteAddress,
    sink: RemoteAddress,
}

impl Peer {
    /// Its region is at `region`.
    fn new(region: RemoteAddress, size: u32) -> Self {
        Self { source: region, sink: RemoteAddress { to: region.to + slot(size) as u64, ..region } }
    }
}

/// Run the command.
pub fn run(args: &Args) -> Result<(), CommandError> {
    if args.op == Operation::Device {
        return device::run(&args.device, args.iterations, args.json);
    }
    let size = if args.op == Operation::Atomic { 8 } else { args.size };
    if let Some(role) = args.end.role()? {
        return remote::run(args, size, role);
    }
    let (lab, engine) = match args.device.pair()? {
        None => (args.run.lab(args.link.link())?, args.run.engine.name().to_string()),
        Some(_) if args.link.rate.bps().is_some() => {
            return Err(CommandError::Failed(
                "the link between devices elsewhere is not made here: leave out --link".into(),
            ));
        }
        Some(names) => (args.run.lab_on(names)?, names.map(ToString::to_string).join(" and ")),
    };
    let side = |node: usize| Side::new(&lab.hosts[node], node, args, size);
    let mut bench = Bench { args, size, sides: [side(0)?, side(1)?] };
    bench.connect(&lab)?;
    let before = retransmissions(&lab)?;
    let meters = lab.watches.each_ref().map(|watch| watch.meter.as_ref().clone());
    lab.watches.iter().for_each(rtl::start);
    let (wall, start) = (Instant::now(), lab.hosts[0].now());
    bench.transfer(&lab)?;
    let (wall_seconds, sim_nanos) = (wall.elapsed().as_secs_f64(), lab.hosts[0].now() - start);
    bench.verify()?;
    let after = lab.watches.each_ref().map(|watch| watch.meter.as_ref().clone());
    let engine_here = !lab.is_live();
    let mut profiles = (engine_here && args.run.engine.is_rtl())
        .then(|| lab.watches.each_ref().map(|watch| rtl::Report::new(watch, args.profile)));
    let retransmissions = retransmissions(&lab)? - before;
    if let Some(profiles) = &mut profiles {
        bench.send_at_rest(&lab)?;
        for (profile, watch) in profiles.iter_mut().zip(&lab.watches) {
            profile.add_rest(watch, args.profile);
        }
    }
    lab.world().finish_capture()?;
    let directions = 1 + u64::from(args.bidir);
    let messages = args.iterations * u64::from(args.qps) * directions;
    let link_bps = args.link.rate.bps();
    let sim_seconds = sim_nanos as f64 / 1e9;
    let seconds = if link_bps.is_some() { sim_seconds } else { wall_seconds };
    let payload_bytes = messages * u64::from(size);
    let goodput_bps = payload_bytes as f64 * 8.0 / seconds;
    let limit_bps = link_bps.map(|rate| limit(args, size) * rate as f64 * directions as f64);
    let clock_khz = args.run.device()?.clock_khz;
    let report = Report {
        op: format!("{:?}", args.op).to_lowercase(),
        engine,
        size,
        messages,
        depth: args.depth,
        signal_every: args.signal_every(),
        post_list: args.post_list(),
        inline: args.is_inline(size),
        payload_bytes,
        wall_seconds,
        sim_seconds,
        goodput_bps,
        link_bps,
        limit_bps,
        ratio_to_limit: limit_bps.filter(|limit| *limit > 0.0).map(|limit| goodput_bps / limit),
        messages_per_second: messages as f64 / seconds,
        retransmissions,
        peak_rss_bytes: peak_rss_bytes(),
        config: engine_here.then(|| args.run.config.name()),
        simulation: profiles.as_ref().map(|profiles| {
            let simulated_cycles = profiles.iter().map(rtl::Report::cycles).sum();
            Simulation { simulated_cycles, cycles_per_second: simulated_cycles as f64 / wall_seconds }
        }),
        rtl: profiles,
        sequencer: (engine_here && matches!(args.run.engine, Engine::Micro | Engine::Timed)).then(|| {
            [0, 1].map(|node| Sequencer::new(&meters[node], &after[node], messages, sim_seconds, clock_khz))
        }),
    };
    if args.json {
        let text = serde_json::to_string(&report).map_err(std::io::Error::other)?;
        println!("{text}");
    } else {
        print(&report);
    }
    Ok(())
}

/// Share of the link that payload can have in one direction.
fn limit(args: &Args, size: u32) -> f64 {
    let (message, tagged) = match args.op {
        Operation::Write | Operation::Read => (size, true),
        Operation::Send => (size, false),
        // The requests are what fills the link.
        Operation::Atomic | Operation::Device => (AtomicRequest::LEN as u32, false),
    };
    let traffic = Traffic { message, tagged, mtu: args.run.mtu, markers: args.run.markers.is_on() };
    f64::from(size) * 8.0 / traffic.bits_per_message()
}

fn retransmissions(lab: &Lab) -> Result<u64, CommandError> {
    let mut sum = 0;
    for host in &lab.hosts {
        sum += host.counters()?.get(Counter::Retransmits);
    }
    Ok(sum)
}

impl Side {
    /// That of host `node`.
    fn new(context: &Context, node: usize, args: &Args, size: u32) -> Result<Self, CommandError> {
        let pd = context.alloc_pd()?;
        let outstanding = args.qps * args.depth;
        let cq = context.create_cq((4 * outstanding).clamp(16, 16_384))?;
        let rights = Access::LOCAL_WRITE | Access::REMOTE_READ | Access::REMOTE_WRITE | Access::REMOTE_ATOMIC;
        // Source, then sink.
        let region = pd.register(2 * slot(size), rights)?;
        region.write(0, &pattern(size, node))?;
        let mut qps = Vec::new();
        for _ in 0..args.qps {
            // An atomic takes two slots, and the RTR message of the set-up one until the first completion.
            let config = QpConfig::new(&cq, &cq).depths(4 * args.depth, 2 * args.depth);
            qps.push(pd.create_qp(&config)?);
        }
        let places = qps.iter().enumerate().map(|(place, qp)| (qp.number(), place)).collect();
        let (posted, done) = (vec![0; qps.len()], vec![0; qps.len()]);
        Ok(Self { cq, region, qps, places, posted, done, received: 0 })
    }

    fn post_receive(&self, place: usize, size: u32) -> Result<(), CommandError> {
        let sge = self.region.sge(slot(size), size as usize)?;
        Ok(self.qps[place].post_receive(&ReceiveRequest::new(0, [sge]))?)
    }

    /// Receives for twice the messages that are outstanding, if the operation takes any.
    fn post_receives(&self, args: &Args, size: u32, place: usize) -> Result<(), CommandError> {
        let count = if args.op == Operation::Send { 2 * args.depth } else { 0 };
        (0..count).try_for_each(|_| self.post_receive(place, size))
    }

    /// Message `wr_id`, signalled.
    fn request(&self, args: &Args, size: u32, wr_id: u64, peer: &Peer) -> Result<SendRequest, CommandError> {
        let (source, sink) = (0, slot(size));
        let sge = |offset| self.region.sge(offset, size as usize);
        let payload = || -> Result<Data, ironwarp_driver::Error> {
            if !args.is_inline(size) {
                return sge(source).map(Data::from);
            }
            let mut bytes = vec![0; size as usize];
            self.region.read(source, &mut bytes)?;
            Ok(Data::inline(&bytes))
        };
        Ok(match args.op {
            Operation::Write => SendRequest::write(wr_id, payload()?, peer.sink),
            Operation::Send => SendRequest::send(wr_id, payload()?),
            Operation::Read => SendRequest::read(wr_id, sge(sink)?, peer.source),
            Operation::Atomic | Operation::Device => {
                SendRequest::fetch_add(wr_id, sge(sink)?, peer.source, 1)
            }
        })
    }

    /// Post what may be outstanding; whether everything is done.
    fn send_more(&mut self, args: &Args, size: u32, peer: &Peer) -> Result<bool, CommandError> {
        let (total, depth) = (args.iterations, u64::from(args.depth));
        let (list, every) = (u64::from(args.post_list()), u64::from(args.signal_every()));
        let is_signalled = |number: u64| number == total || number.is_multiple_of(every);
        for place in 0..self.qps.len() {
            loop {
                let first = self.posted[place];
                let end = (first + list).min(total);
                if first == end || end - self.done[place] > depth {
                    break;
                }
                let requests = (first..end)
                    .map(|id| {
                        let request = self.request(args, size, id, peer)?;
                        Ok(if is_signalled(id + 1) { request } else { request.unsignalled() })
                    })
                    .collect::<Result<Vec<_>, CommandError>>()?;
                self.qps[place].post_send_many(&requests).map_err(|partial| partial.error)?;
                self.posted[place] = end;
            }
        }
        Ok(self.done.iter().all(|done| *done == total))
    }

    /// Take what has completed; whether anything has.
    fn reap(&mut self, size: u32) -> Result<bool, CommandError> {
        let mut reaped = false;
        while let Some(completion) = self.cq.poll() {
            reaped = true;
            match completion.status {
                WcStatus::Ok => {}
                // The receives that are left when the peer has closed.
                WcStatus::Flushed if completion.opcode == WcOpcode::Receive => continue,
                _ => return Err(CommandError::Failed(format!("a request failed: {completion:?}"))),
            }
            let Some(place) = self.places.get(&completion.qp).copied() else { continue };
            if completion.opcode == WcOpcode::Receive {
                self.received += 1;
                if self.qps[place].state() == QpState::Rts {
                    self.post_receive(place, size)?;
                }
            } else {
                // What was posted before it is complete too.
                self.done[place] = completion.wr_id + 1;
            }
        }
        Ok(reaped)
    }

    /// The last message that arrived is what host `from` has sent.
    fn verify(&self, size: u32, from: usize) -> Result<(), CommandError> {
        let mut found = vec![0; size as usize];
        self.region.read(slot(size), &mut found)?;
        if found == pattern(size, from)[..size as usize] {
            Ok(())
        } else {
            Err(CommandError::Failed("the bytes received are not those sent".into()))
        }
    }
}

/// What host `node` sends.
fn pattern(size: u32, node: usize) -> Vec<u8> {
    (0..slot(size)).map(|i| (i % 251) as u8 ^ node as u8).collect()
}

/// Bytes kept for a message: whole 8-byte words, at least one.
fn slot(size: u32) -> usize {
    (size as usize).max(1).next_multiple_of(8)
}

struct Bench<'a> {
    args: &'a Args,
    size: u32,
    sides: [Side; 2],
}

impl Bench<'_> {
    fn connect(&mut self, lab: &Lab) -> Result<(), CommandError> {
        for place in 0..self.args.qps as usize {
            for side in &self.sides {
                side.post_receives(self.args, self.size, place)?;
            }
            let qps = [&self.sides[0].qps[place], &self.sides[1].qps[place]];
            lab.connect(qps, &self.args.run.connection())?;
        }
        Ok(())
    }

    /// Hosts that send: the first so many.
    fn senders(&self) -> usize {
        1 + usize::from(self.args.bidir)
    }

    /// For each host, the other one's memory.
    fn peers(&self) -> Result<[Peer; 2], CommandError> {
        let peer =
            |node: usize| Ok::<_, CommandError>(Peer::new(self.sides[node].region.remote(0)?, self.size));
        Ok([peer(1)?, peer(0)?])
    }

    fn transfer(&mut self, lab: &Lab) -> Result<(), CommandError> {
        let (args, size, peers) = (self.args, self.size, self.peers()?);
        let senders = self.senders();
        self.until(lab, |sides| {
            let mut finished = true;
            for (side, peer) in sides.iter_mut().zip(&peers).take(senders) {
                finished &= side.send_more(args, size, peer)?;
            }
            Ok(finished)
        })
    }

    /// Take what completes, and let time pass, until the sides are `finished`.
    fn until(
        &mut self,
        lab: &Lab,
        mut finished: impl FnMut(&mut [Side; 2]) -> Result<bool, CommandError>,
    ) -> Result<(), CommandError> {
        let mut moved = lab.hosts[0].now();
        loop {
            if self.reap()? {
                moved = lab.hosts[0].now();
            }
            if finished(&mut self.sides)? {
                return Ok(());
            }
            if lab.wait(moved, &[&self.sides[0].cq, &self.sides[1].cq])? == Wait::Idle {
                return Err(CommandError::Failed(
                    "nothing happens any more, and messages are missing".into(),
                ));
            }
        }
    }

    /// Take what has completed; whether anything has. Receivers come first: a sender never finds fewer buffers than it has
    /// messages outstanding.
    fn reap(&mut self) -> Result<bool, CommandError> {
        let mut reaped = false;
        for side in self.sides.iter_mut().rev() {
            reaped |= side.reap(self.size)?;
        }
        Ok(reaped)
    }

    /// The last message of each direction arrived as it was sent.
    fn verify(&self) -> Result<(), CommandError> {
        for me in 0..self.senders() {
            let peer = 1 - me;
            match self.args.op {
                Operation::Write | Operation::Send => self.sides[peer].verify(self.size, me)?,
                Operation::Read => self.sides[me].verify(self.size, peer)?,
                Operation::Atomic | Operation::Device => {}
            }
        }
        Ok(())
    }
}

fn print(report: &Report) {
    let config = report.config.map(|config| format!(", {config} devices")).unwrap_or_default();
    println!("{} of {} bytes, engine {}{config}", report.op, report.size, report.engine);
    println!("  messages          {} ({:.0} a second)", report.messages, report.messages_per_second);
    println!(
        "  posted            {} at once, {} outstanding, every {}th signalled{}",
        report.post_list,
        report.depth,
        report.signal_every,
        if report.inline { ", inline" } else { "" }
    );
    println!("  goodput           {:.3} Gbit/s", report.goodput_bps / 1e9);
    if let (Some(limit), Some(ratio)) = (report.limit_bps, report.ratio_to_limit) {
        println!("  limit of the link {:.3} Gbit/s, reached {:.2} %", limit / 1e9, 100.0 * ratio);
    }
    println!(
        "  time              {:.3} s on the link, {:.3} s here",
        report.sim_seconds, report.wall_seconds
    );
    println!("  retransmissions   {}", report.retransmissions);
    println!("  memory            {} MB at most", report.peak_rss_bytes / 1_000_000);
    for (name, rtl) in NAMES.iter().zip(report.rtl.iter().flatten()) {
        rtl.print(name, report.messages);
    }
    if let Some(simulation) = &report.simulation {
        println!(
            "  simulated cycles  {} of two devices, {:.0} a second",
            simulation.simulated_cycles, simulation.cycles_per_second
        );
    }
    for (name, sequencer) in NAMES.iter().zip(report.sequencer.iter().flatten()) {
        println!(
            "  {name:<5} sequencer   {:.0} cycles a message, busy {:.1} %",
            sequencer.cycles_per_message,
            100.0 * sequencer.busy
        );
        if sequencer.frames_received > 0 {
            println!(
                "                    {:.0} a frame received, {:.0} a frame sent, {:.0} a register write",
                sequencer.cycles_per_frame_received,
                sequencer.cycles_per_frame_sent,
                sequencer.cycles_per_register_write
            );
        }
    }
}
