//! What a core does with its cycles, seen at its pins.

use super::pins::{Inputs, Outputs, READERS};
use ironwarp_micro::asm::Program;
use ironwarp_proto::abi::doorbell::{Page, Pages, qp};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Words of a completion in host memory: a write burst of this size tells one.
const COMPLETION_WORDS: u16 = 8;
/// Samples of a latency that are kept.
const SAMPLES: usize = 1 << 16;
/// Cycles without an instruction that a branch and a table read may take between them: more, and the sequencer stands still.
const MOVING: u32 = 2;
/// Steps of a sample that are kept.
const STEPS: usize = 256;

/// Cycles of a ready/valid stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flow {
    /// A word moved.
    pub busy: u64,
    /// A word waited for the other side.
    pub stalled: u64,
}

impl Flow {
    fn cycle(&mut self, valid: bool, ready: bool) {
        self.busy += u64::from(valid && ready);
        self.stalled += u64::from(valid && !ready);
    }
}

/// The streams at a core's pins, in the order of [`Profile::flows`].
pub const FLOWS: [&str; 14] = [
    "frames in",
    "frames out",
    "host requests",
    "host answers",
    "walker reads",
    "walker data",
    "writer reads",
    "writer data",
    "small reads",
    "small data",
    "payload reads",
    "payload data",
    "writes",
    "write data",
];

/// Cycles between two things, each time they happen; what the core waited for host memory is left out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Latency {
    samples: Vec<u32>,
    /// The last one, step by step: who was busy, and how many cycles.
    steps: Vec<(&'static str, u32)>,
}

impl Latency {
    fn add(&mut self, cycles: u64, steps: Vec<(&'static str, u32)>) {
        if self.samples.len() < SAMPLES {
            self.samples.push(u32::try_from(cycles).unwrap_or(u32::MAX));
        }
        self.steps = steps;
    }

    /// Samples.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// No sample.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// Least, median and most cycles.
    pub fn spread(&self) -> Option<[u32; 3]> {
        let mut sorted = self.samples.clone();
        sorted.sort_unstable();
        Some([*sorted.first()?, sorted[sorted.len() / 2], *sorted.last()?])
    }

    /// What the last sample consisted of, in order: routines of the program, [`MEMORY`] and [`ENGINES`], with their cycles.
    pub fn steps(&self) -> &[(&'static str, u32)] {
        &self.steps
    }
}

/// In [`Latency::steps`]: host memory was waited for; these cycles do not count.
pub const MEMORY: &str = "(host memory)";
/// In [`Latency::steps`]: the sequencer had nothing to do.
pub const ENGINES: &str = "(engines)";

/// Where the cycles of a device went.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Profile {
    /// Cycles simulated; those in which nothing can happen are skipped.
    pub cycles: u64,
    /// Instructions that the sequencer completed.
    pub instructions: u64,
    /// Cycles in which it waited for something to do.
    pub waiting: u64,
    /// Its other cycles, by the routine it was in.
    pub routines: BTreeMap<&'static str, u64>,
    /// Streams, as [`FLOWS`] names them.
    pub flows: [Flow; FLOWS.len()],
    /// From a send queue's doorbell to the first word of the next frame.
    pub doorbell_to_wire: Latency,
    /// From the last word of a frame to that of the next completion.
    pub frame_to_completion: Latency,
}

/// Something that has begun: when, how long memory was waited for since, and who was busy.
#[derive(Debug)]
struct Span {
    since: u64,
    waited: u64,
    steps: Vec<(&'static str, u32)>,
}

impl Span {
    fn step(&mut self, who: &'static str) {
        let full = self.steps.len() == STEPS;
        match self.steps.last_mut() {
            Some((last, cycles)) if *last == who => *cycles += 1,
            _ if full => {}
            _ => self.steps.push((who, 1)),
        }
    }
}

/// Watches the pins of one core.
#[derive(Debug)]
pub(super) struct Profiler {
    program: Arc<Program>,
    pages: Pages,
    routine: &'static str,
    now: u64,
    /// Read bursts under way.
    bursts: [u32; READERS],
    /// Cycles in which memory kept the core waiting.
    waited: u64,
    doorbell: Option<Span>,
    frame: Option<Span>,
    /// Words of the write bursts whose last word has not come.
    writes: VecDeque<u16>,
    /// Write bursts that memory has and has not answered.
    unanswered: u32,
    /// Cycles since the last instruction.
    still: u32,
}

impl Profiler {
    /// For a core with this program and these doorbells.
    pub fn new(program: Arc<Program>, pages: Pages) -> Self {
        Self {
            program,
            pages,
            routine: "",
            now: 0,
            bursts: [0; READERS],
            waited: 0,
            doorbell: None,
            frame: None,
            writes: VecDeque::new(),
            unanswered: 0,
            still: 0,
        }
    }

    /// A send queue's index doorbell.
    fn is_send_doorbell(&self, offset: u32) -> bool {
        matches!(self.pages.decode(offset), Some((Page::Qp(_), qp::SQ_PRODUCER)))
    }

    /// One cycle.
    pub fn cycle(&mut self, inputs: &Inputs, out: &Outputs, profile: &mut Profile) {
        profile.cycles += 1;
        self.now += 1;
        let now = self.now;
        self.still += 1;
        if let Some(pc) = out.retired {
            self.still = 0;
            profile.instructions += 1;
            self.routine = self.program.place(pc.into()).0;
        }
        if out.resting {
            profile.waiting += 1;
        } else {
            *profile.routines.entry(self.routine).or_default() += 1;
        }

        let mut flows = profile.flows.iter_mut();
        let mut flow = |valid, ready| {
            if let Some(flow) = flows.next() {
                flow.cycle(valid, ready);
            }
        };
        flow(inputs.line.valid, out.line_ready);
        flow(out.mac.valid, inputs.mac_ready);
        flow(inputs.host.valid, out.host_ready);
        flow(out.answer.is_some(), inputs.answer_ready);
        for (pins, channel) in inputs.reads.iter().zip(&out.reads) {
            flow(channel.request, pins.accept);
            flow(pins.valid, channel.ready);
        }
        flow(out.write.request, inputs.write.accept);
        flow(out.write.valid, inputs.write.ready);

        let mut waits = false;
        for ((bursts, pins), channel) in self.bursts.iter_mut().zip(&inputs.reads).zip(&out.reads) {
            waits |= *bursts > 0 && !pins.valid;
            *bursts += u32::from(channel.request && pins.accept);
            *bursts -= u32::from(pins.valid && channel.ready && pins.last).min(*bursts);
        }
        // The sequencer stands still, and all that is under way is an answer to a write.
        waits |= self.unanswered > 0
            && self.writes.is_empty()
            && self.still > MOVING
            && !out.resting
            && !out.write.valid;
        self.unanswered -= u32::from(inputs.write.answered).min(self.unanswered);
        self.waited += u64::from(waits);
        let busy = match (waits, out.resting) {
            (true, _) => MEMORY,
            (_, true) => ENGINES,
            _ => self.routine,
        };
        for span in [&mut self.doorbell, &mut self.frame].into_iter().flatten() {
            span.step(busy);
        }
        let waited = self.waited;
        let span = || Span { since: now, waited, steps: Vec::new() };
        let length = |start: &Span| now - start.since - (waited - start.waited);

        if out.mac.valid
            && out.mac.first
            && inputs.mac_ready
            && let Some(start) = self.doorbell.take()
        {
            profile.doorbell_to_wire.add(length(&start), start.steps);
        }
        if inputs.host.valid
            && inputs.host.write
            && out.host_ready
            && self.is_send_doorbell(inputs.host.offset)
        {
            self.doorbell.get_or_insert_with(span);
        }
        if out.write.request && inputs.write.accept {
            self.writes.push_back(out.write.words);
        }
        if out.write.valid && inputs.write.ready && out.write.last {
            self.unanswered += 1;
            let words = self.writes.pop_front();
            if words == Some(COMPLETION_WORDS)
                && let Some(start) = self.frame.take()
            {
                profile.frame_to_completion.add(length(&start), start.steps);
            }
        }
        if inputs.line.valid && out.line_ready && inputs.line.last {
            self.frame = Some(span());
        }
    }
}
