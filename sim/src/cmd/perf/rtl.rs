//! What `perf` tells of the RTL: cycles.

use crate::engine::Watch;
use crate::rtl::{FLOWS, Latency, Profile};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::PoisonError;

/// Routines that are printed: those that take most.
const ROUTINES: usize = 24;

/// Count from here on.
pub fn start(watch: &Watch) {
    *watch.profile.lock().unwrap_or_else(PoisonError::into_inner) = Profile::default();
}

fn seen(watch: &Watch) -> Profile {
    watch.profile.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// A stream's share of the cycles.
#[derive(Debug, Serialize)]
struct Stream {
    busy: f64,
    stalled: f64,
}

/// Cycles between two things, without those in which host memory was waited for.
#[derive(Debug, Serialize)]
struct Cycles {
    samples: usize,
    least: u32,
    median: u32,
    most: u32,
    /// The last one, step by step.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    steps: Vec<(&'static str, u32)>,
}

impl Cycles {
    fn new(latency: &Latency, details: bool) -> Option<Self> {
        let [least, median, most] = latency.spread()?;
        let steps = if details { latency.steps().to_vec() } else { Vec::new() };
        Some(Self { samples: latency.len(), least, median, most, steps })
    }
}

/// How long a device takes for what it was asked or told.
#[derive(Debug, Serialize)]
struct Latencies {
    /// Doorbell of a send queue to first word of the next frame.
    doorbell_to_wire: Option<Cycles>,
    /// Last word of a frame to last word of the next completion (of a message that is not itself 32 bytes long).
    frame_to_completion: Option<Cycles>,
}

impl Latencies {
    fn new(profile: &Profile, details: bool) -> Self {
        Self {
            doorbell_to_wire: Cycles::new(&profile.doorbell_to_wire, details),
            frame_to_completion: Cycles::new(&profile.frame_to_completion, details),
        }
    }

    /// As text; `when` they were measured.
    fn print(&self, when: &str) {
        let latencies = [
            ("doorbell to first word on the wire", &self.doorbell_to_wire),
            ("last word received to completion", &self.frame_to_completion),
        ];
        for (what, cycles) in latencies {
            if let Some(Cycles { samples, least, median, most, steps }) = cycles {
                let what = format!("{what}, {when}");
                println!(
                    "        {what:<46} {least} / {median} / {most} cycles (least, median, most of {samples}), host memory's left out"
                );
                if !steps.is_empty() {
                    let steps: Vec<_> = steps.iter().map(|(who, cycles)| format!("{who} {cycles}")).collect();
                    println!("          the last one: {}", steps.join(", "));
                }
            }
        }
    }
}

/// One device.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Cycles in which something could happen; the others are not simulated.
    simulated_cycles: u64,
    instructions: u64,
    /// Cycles in which the sequencer had something to do.
    sequencer_busy: u64,
    /// During the transfer: the device may still be busy with the message before.
    #[serde(flatten)]
    under_load: Latencies,
    /// Of single messages, with everything at rest before each.
    at_rest: Option<Latencies>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    streams: BTreeMap<&'static str, Stream>,
    /// Cycles of each routine.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    routines: BTreeMap<&'static str, u64>,
}

impl Report {
    /// What was seen since [`start`]; with `details` of streams and routines.
    pub fn new(watch: &Watch, details: bool) -> Self {
        let profile = seen(watch);
        let share = |cycles: u64| cycles as f64 / profile.cycles.max(1) as f64;
        let streams = FLOWS
            .iter()
            .zip(profile.flows)
            .filter(|_| details)
            .map(|(name, flow)| (*name, Stream { busy: share(flow.busy), stalled: share(flow.stalled) }));
        Self {
            simulated_cycles: profile.cycles,
            instructions: profile.instructions,
            sequencer_busy: profile.cycles - profile.waiting,
            under_load: Latencies::new(&profile, details),
            at_rest: None,
            streams: streams.collect(),
            routines: if details { profile.routines } else { BTreeMap::new() },
        }
    }

    /// What was seen since [`start`] was of single messages at rest.
    pub fn add_rest(&mut self, watch: &Watch, details: bool) {
        self.at_rest = Some(Latencies::new(&seen(watch), details));
    }

    /// Cycles simulated.
    pub fn cycles(&self) -> u64 {
        self.simulated_cycles
    }

    /// As text.
    pub fn print(&self, name: &str, messages: u64) {
        println!(
            "  {name:<5} device      {:.0} cycles a message, sequencer busy in {:.0} of them",
            self.simulated_cycles as f64 / messages as f64,
            self.sequencer_busy as f64 / messages as f64
        );
        self.under_load.print("under load");
        if let Some(at_rest) = &self.at_rest {
            at_rest.print("at rest");
        }
        for (stream, Stream { busy, stalled }) in &self.streams {
            println!("        {stream:<16} busy {:6.2} %  stalled {:6.2} %", 100.0 * busy, 100.0 * stalled);
        }
        let mut routines: Vec<_> = self.routines.iter().collect();
        routines.sort_by_key(|(_, cycles)| std::cmp::Reverse(**cycles));
        for (routine, cycles) in routines.into_iter().take(ROUTINES) {
            println!("        {routine:<20} {:8.1} cycles a message", *cycles as f64 / messages as f64);
        }
    }
}
