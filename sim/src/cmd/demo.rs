//! `ironwarp demo`: two RNICs do everything there is, and every byte is checked.

use super::options::{CommandError, DeviceOptions, RunOptions};
use crate::engine::Engine;
use crate::exercise::{Exercise, Kind, MAX_MESSAGE, Prepared, Round, Tally, memory_for};
use crate::lab::{self, Lab};
use crate::limit::Traffic;
use crate::link::LinkConfig;
use crate::live::{self, Ether, HostConfig};
use crate::size::Size;
use indicatif::{ProgressBar, ProgressStyle};
use ironwarp_proto::abi::regs::Counter;
use ironwarp_proto::wire::eth::MacAddr;
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;

/// Rate of the link, bit/s.
const RATE: u64 = 1_000_000_000;

/// Two RNICs on a 1 Gb/s link do every verb in both directions, each verified byte for byte,
/// on a clean link and on one that loses, duplicates, corrupts and reorders; or between two devices elsewhere (--device A,B), or on two Ethernets.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Rounds of operations on each link; 400 with the model, fewer with slower engines.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: Option<u64>,
    /// Largest message, bytes; 4 MiB, and 4096 with the RTL in RustHDL's simulation.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..=MAX_MESSAGE as i64))]
    max_message: Option<u32>,
    /// One JSON object in place of the tables.
    #[arg(long)]
    json: bool,
    /// Ethernet of the first RNIC, and given again, of the second: both are in this process, and what is between the two is
    /// elsewhere. `unix:LOCAL,REMOTE`, `tap:NAME` or `udp:LOCAL,REMOTE`.
    #[arg(long, value_name = "ETHER")]
    ether: Vec<Ether>,
    /// MAC addresses of the two; 02:1a:ce:00:00:01 and :02.
    #[arg(long, value_name = "MAC", requires = "ether")]
    mac: Vec<MacAddr>,
    /// IPv4 addresses of the two; 10.77.0.1 and .2.
    #[arg(long, value_name = "IP", requires = "ether")]
    ip: Vec<Ipv4Addr>,
    #[command(flatten)]
    pub(super) device: DeviceOptions,
    #[command(flatten)]
    pub(super) run: RunOptions,
}

/// What one link saw.
#[derive(Debug, Serialize)]
struct Report {
    link: String,
    operations: u64,
    payload_bytes: u64,
    /// Time of the device: simulated, or that of the clock for devices elsewhere, whose link is not known.
    sim_seconds: f64,
    goodput_bps: f64,
    limit_bps: Option<f64>,
    ratio_to_limit: Option<f64>,
    retransmissions: u64,
    frames: u64,
    frames_lost: u64,
    frames_reordered: u64,
    by_operation: BTreeMap<String, Tally>,
    /// Operations that the devices do not offer.
    not_offered: Vec<String>,
    errors: Vec<String>,
}

/// All links.
#[derive(Debug, Serialize)]
struct Summary {
    runs: Vec<Report>,
    operations: u64,
    errors: usize,
}

impl Args {
    /// The RNICs of both --ether; none if there are none.
    fn ethers(&self) -> Result<Option<[HostConfig; 2]>, CommandError> {
        if self.ether.is_empty() {
            return Ok(None);
        }
        let failed = |text: String| Err(CommandError::Failed(text));
        let counts = [("--ether", self.ether.len()), ("--mac", self.mac.len()), ("--ip", self.ip.len())];
        if let Some((option, count)) = counts.into_iter().find(|(_, count)| ![0, 2].contains(count)) {
            return failed(format!("{option} is given {count} times; there are two RNICs: give it twice"));
        }
        if self.device.pair()?.is_some() {
            return failed(
                "the Ethernet of devices elsewhere is chosen where they are: leave out --ether".into(),
            );
        }
        let config = |node: usize| {
            let mac = self.mac.get(node).copied().unwrap_or(MacAddr([2, 0x1a, 0xce, 0, 0, 1 + node as u8]));
            let ip = self.ip.get(node).copied().unwrap_or(lab::address(node));
            let config = HostConfig::new(self.ether[node].clone(), mac, ip).with(&self.run)?;
            // One file has the frames of one: what the first sends and receives.
            Ok::<_, CommandError>(HostConfig { pcap: config.pcap.filter(|_| node == 0), ..config })
        };
        Ok(Some([config(0)?, config(1)?]))
    }

    /// What an engine does in a minute or two at most.
    fn rounds(&self) -> u64 {
        self.rounds.unwrap_or(match self.run.engine {
            engine if engine.is_rtl() && self.run.config == Size::Small => 2,
            Engine::Model => 400,
            Engine::Micro | Engine::Timed => 40,
            Engine::RtlVerilated | Engine::RtlVerilatedSettled => 8,
            Engine::Rtl | Engine::RtlSettled | Engine::RtlGates | Engine::RtlCompared => 2,
        })
    }

    /// Round number `round`: mostly many small and middle-sized messages, now and then the largest.
    fn round(&self, round: u64) -> Round {
        let round = self.usual_round(round);
        let limit = self.max_message.map_or(MAX_MESSAGE, |limit| limit as usize);
        Round { max_message: round.max_message.min(limit), ..round }
    }

    fn usual_round(&self, round: u64) -> Round {
        let native = matches!(
            self.run.engine,
            Engine::Rtl | Engine::RtlSettled | Engine::RtlGates | Engine::RtlCompared
        );
        // A small one waits for its program most of the time.
        if native || self.run.engine.is_rtl() && self.run.config == Size::Small {
            return Round { operations: 8, max_message: 4096 };
        }
        match round % 4 {
            3 => Round { operations: 4, max_message: MAX_MESSAGE },
            1 => Round { operations: 12, max_message: 4096 },
            _ => Round { operations: 12, max_message: 256 << 10 },
        }
    }
}

/// Run the command; wrong results make it fail.
pub fn run(args: &Args) -> Result<(), CommandError> {
    let mut captures = Vec::new();
    let (runs, bar) = match (args.ethers()?, args.device.pair()?) {
        (Some(hosts), _) => {
            let bar = progress(args, 1);
            let link = hosts.each_ref().map(|host| host.ether.to_string()).join(" and ");
            let lab = Lab::of_hosts(live::open_pair(hosts.each_ref())?);
            (vec![one(args, lab, link, &bar)?], bar)
        }
        (None, Some(names)) => {
            let bar = progress(args, 1);
            let link = names.map(ToString::to_string).join(" and ");
            (vec![one(args, args.run.lab_on(names)?, link, &bar)?], bar)
        }
        (None, None) => simulated(args, &mut captures)?,
    };
    bar.finish_and_clear();
    let operations = runs.iter().map(|run| run.operations).sum();
    let errors: usize = runs.iter().map(|run| run.errors.len()).sum();
    let summary = Summary { runs, operations, errors };
    if args.json {
        println!("{}", serde_json::to_string(&summary).map_err(std::io::Error::other)?);
    } else {
        summary.runs.iter().for_each(print);
        for capture in captures {
            println!("every frame is in {}", capture.display());
        }
        println!("demo: {operations} operations verified, {errors} errors");
    }
    if errors == 0 { Ok(()) } else { Err(CommandError::Failed(format!("{errors} results were wrong"))) }
}

/// Between models in this process, on a link with faults and on one without.
fn simulated(args: &Args, captures: &mut Vec<PathBuf>) -> Result<(Vec<Report>, ProgressBar), CommandError> {
    let links = [
        ("clean", LinkConfig::default()),
        (
            "1 % lost, 1 % duplicated, 1 % corrupted, 2 % reordered",
            LinkConfig { loss: 0.01, duplicate: 0.01, corrupt: 0.01, reorder: 0.02, ..LinkConfig::default() },
        ),
    ];
    let (bar, mut runs) = (progress(args, links.len() as u64), Vec::new());
    for (index, (name, link)) in links.into_iter().enumerate() {
        bar.set_message(name);
        let mut options = args.run.clone();
        // One capture a link: the second gets a name of its own.
        if index > 0 {
            options.pcap = options.pcap.map(|path| path.with_extension("lossy.pcapng"));
            options.vcd = options.vcd.map(|path| path.with_extension("lossy.vcd"));
        }
        captures.extend(options.pcap.clone());
        let lab = options.lab(LinkConfig { rate_bps: Some(RATE), ..link })?;
        runs.push(one(args, lab, format!("1 Gb/s link, {name}"), &bar)?);
    }
    Ok((runs, bar))
}

/// A bar on standard error, if that is a terminal.
fn progress(args: &Args, links: u64) -> ProgressBar {
    let bar = if args.json { ProgressBar::hidden() } else { ProgressBar::new(links * args.rounds()) };
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} rounds, {msg}");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn one(args: &Args, lab: Lab, link: String, bar: &ProgressBar) -> Result<Report, CommandError> {
    let options = &args.run;
    let memory = memory_for(MAX_MESSAGE);
    let sides = [Prepared::new(&lab, 0, memory)?, Prepared::new(&lab, 1, memory)?];
    lab.connect([sides[0].qp(), sides[1].qp()], &options.connection())?;
    let [left, right] = sides;
    let mut exercise = Exercise::new(left, right, options.seed);
    let start = lab.hosts[0].now();
    for round in 0..args.rounds() {
        exercise.round(&lab, args.round(round))?;
        bar.inc(1);
    }
    exercise.compare_all()?;
    let sim_seconds = (lab.hosts[0].now() - start) as f64 / 1e9;
    let report = report(&lab, link, options, &mut exercise, sim_seconds)?;
    exercise.finish(&lab)?;
    lab.world().finish_capture()?;
    Ok(report)
}

fn report(
    lab: &Lab,
    link: String,
    options: &RunOptions,
    exercise: &mut Exercise,
    sim_seconds: f64,
) -> Result<Report, CommandError> {
    let traffic =
        Traffic { message: 1 << 30, tagged: true, mtu: options.mtu, markers: options.markers.is_on() };
    let share = f64::from(traffic.message) * 8.0 / traffic.bits_per_message();
    let payload_bytes = exercise.bytes();
    let limit_bps = (!lab.is_live()).then_some(2.0 * share * RATE as f64);
    let goodput_bps = payload_bytes as f64 * 8.0 / sim_seconds;
    let (mut retransmissions, mut frames) = (0, 0);
    for host in &lab.hosts {
        let counters = host.counters()?;
        retransmissions += counters.get(Counter::Retransmits);
        frames += counters.get(Counter::TxFrames);
    }
    let world = lab.world();
    let stats = [0, 1].map(|node| world.stats(node).unwrap_or_default().sent);
    let sum = |field: fn(&crate::link::LinkStats) -> u64| stats.iter().map(field).sum();
    let names = Kind::ALL.iter().filter_map(|kind| Some((format!("{kind:?}"), *exercise.score.get(kind)?)));
    Ok(Report {
        link,
        operations: exercise.verified(),
        payload_bytes,
        sim_seconds,
        goodput_bps,
        limit_bps,
        ratio_to_limit: limit_bps.map(|limit| goodput_bps / limit),
        retransmissions,
        frames,
        frames_lost: sum(|link| link.lost),
        frames_reordered: sum(|link| link.reordered),
        by_operation: names.collect(),
        not_offered: Kind::ALL
            .iter()
            .filter(|kind| !exercise.offers(**kind))
            .map(|kind| format!("{kind:?}"))
            .collect(),
        errors: std::mem::take(&mut exercise.errors),
    })
}

fn print(report: &Report) {
    println!("{}", report.link);
    println!("  {:<24} {:>10} {:>14} {:>10}", "operation", "verified", "bytes", "largest");
    for (name, tally) in &report.by_operation {
        println!("  {name:<24} {:>10} {:>14} {:>10}", tally.operations, tally.bytes, tally.largest);
    }
    println!("  {:<24} {:>10} {:>14}", "all", report.operations, report.payload_bytes);
    let share = report.ratio_to_limit.map(|ratio| format!(" = {:.1} % of the limit", 100.0 * ratio));
    let (goodput, share) = (report.goodput_bps / 1e6, share.unwrap_or_default());
    println!("  {:.3} s, goodput {goodput:.1} Mbit/s both ways{share}", report.sim_seconds);
    if !report.not_offered.is_empty() {
        println!("  skipped, since the devices do not offer them: {}", report.not_offered.join(", "));
    }
    // What happened on a link elsewhere is not known here.
    let faults = format!("{} lost, {} reordered, ", report.frames_lost, report.frames_reordered);
    let faults = if report.limit_bps.is_some() { faults } else { String::new() };
    println!("  {} frames, {faults}{} segments retransmitted", report.frames, report.retransmissions);
    for error in report.errors.iter().take(10) {
        println!("  WRONG: {error}");
    }
    println!();
}
