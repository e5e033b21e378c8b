//! Segments, walks and a writer around the prediction of what comes, against the golden functions.

use crate::common::coverage::{Situation, now, told};
use crate::common::{Bench, Random, check_synthesis, random};
use ironwarp_hdl::fb::FB;
use ironwarp_hdl::predict::PredictReceive;
use ironwarp_proto::mpa::fpdu::fpdu_len;
use ironwarp_sim::emulated::predict::{self as golden, SCRIPT};
use proptest::prelude::*;
use std::collections::VecDeque;

/// Control fields of a Send's only segment.
const SEND_LAST: u32 = 0x4341;
const ACK: u32 = 0x10;
const PSH: u32 = 0x08;

/// A word of a descriptor as the parser writes it, and what it commits.
#[derive(Debug, Clone, Copy)]
struct Told {
    slot: usize,
    data: u32,
    commit: u32,
}

/// What the walker finds.
#[derive(Debug, Clone)]
struct Packet {
    /// What is committed.
    words: Vec<u32>,
    /// What is written from slot 4 on.
    shown: Vec<u32>,
}

/// The payload of the segment, and its packets.
#[derive(Debug, Clone, Default)]
struct Plan {
    bytes: u32,
    packets: Vec<Packet>,
}

/// A script as the program makes it, or any words.
fn some_script(r: &mut Random) -> [u32; SCRIPT] {
    let mut script = [(); SCRIPT].map(|()| r.word());
    if r.below(8) != 0 {
        let (limit, crc, is_ack) = (50 + r.below(1500) as u32, r.word() & 1, u32::from(r.below(4) == 0));
        script[6] = limit | crc << 16 | is_ack << 17;
        script[8] &= 0xffff;
    }
    script
}

/// An FPDU as packet: with this code, at that place of the stretch.
fn packet(code: u32, at: u32, length: u32, ulpdu: Option<u32>, shown: &[u32]) -> Packet {
    let most = match (code, shown.first()) {
        (0, Some(first)) if first >> 23 & 1 != 0 => 4,
        (0, _) => (ulpdu.map_or(0, |ulpdu| (ulpdu + 5) / 4) as usize).min(18),
        _ => 0,
    };
    let known = ulpdu.map_or(0, |ulpdu| 1 << 4 | ulpdu << 16);
    let mut words = vec![code | known | (4 + most as u32) << 8, at, length, 0];
    words.extend(&shown[..most.min(shown.len())]);
    Packet { words, shown: shown.to_vec() }
}

/// The words of an FPDU that the walker writes, rather those of the Send that is expected.
fn some_fpdu(r: &mut Random, script: &[u32; SCRIPT], ulpdu: u32) -> Vec<u32> {
    let mut words = [(); 18].map(|()| r.word());
    words[0] = u32::from((ulpdu as u16).swap_bytes()) | SEND_LAST << 16;
    words[2..5].copy_from_slice(&[0, script[5], 0]);
    if r.below(5) == 0 {
        match r.below(4) {
            0 => words[0] ^= 1 << (16 + r.below(16)),
            field => words[1 + field] ^= 1 << r.below(32),
        }
    }
    words[..(fpdu_len(ulpdu as u16) / 4).min(18) as usize].to_vec()
}

fn some_plan(r: &mut Random, script: &[u32; SCRIPT]) -> Plan {
    if golden::is_ack(script) {
        return Plan { bytes: if r.below(4) == 0 { r.word() & 0xffff } else { 0 }, packets: vec![] };
    }
    let limit = script[6] & 0xffff;
    let ulpdu = match r.below(8) {
        0 => r.below(24) as u32,
        1 => (limit + r.below(3) as u32).saturating_sub(1).min(30_000),
        2 => r.below(30_000) as u32,
        _ => 18 + r.below(200) as u32,
    };
    let shown = some_fpdu(r, script, ulpdu);
    let fpdu = fpdu_len(ulpdu as u16);
    let last = |code, at, length| packet(code, at, length, None, &[]);
    match r.below(12) {
        0 => Plan { bytes: fpdu, packets: vec![packet(1, 0, fpdu, Some(ulpdu), &shown)] },
        1 => Plan { bytes: fpdu, packets: vec![packet(2, 0, fpdu, Some(ulpdu), &shown)] },
        2 => {
            let bytes = 1 + r.below(fpdu as usize - 1) as u32;
            let shown = &shown[..(bytes.div_ceil(4) as usize).min(shown.len())];
            let known = (bytes > 1).then_some(ulpdu);
            Plan { bytes, packets: vec![packet(3, 0, bytes, known, shown)] }
        }
        3 => {
            let bytes = fpdu + 1 + r.below(20) as u32;
            let packets =
                vec![packet(0, 0, fpdu, Some(ulpdu), &shown), packet(3, fpdu, bytes - fpdu, None, &[0])];
            Plan { bytes, packets }
        }
        4 => {
            let second = 18 + r.below(40) as u32;
            let length = fpdu_len(second as u16);
            let more = some_fpdu(r, script, second);
            let packets = vec![
                packet(0, 0, fpdu, Some(ulpdu), &shown),
                packet(0, fpdu, length, Some(second), &more),
                last(4, fpdu + length, 0),
            ];
            Plan { bytes: fpdu + length, packets }
        }
        5 => Plan { bytes: 0, packets: vec![last(4, 0, 0)] },
        _ => Plan { bytes: fpdu, packets: vec![packet(0, 0, fpdu, Some(ulpdu), &shown), last(4, fpdu, 0)] },
    }
}

/// The descriptor of the segment that is expected.
fn expected(r: &mut Random, script: &[u32; SCRIPT], bytes: u32) -> [u32; 9] {
    let mut words = [(); 9].map(|()| r.word());
    words[0] &= !0xff;
    words[1] &= 0xffff_3fff;
    words[2] = 56 | bytes << 16;
    words[3..8].copy_from_slice(&script[..5]);
    words[8] = words[8] & !0xff | ACK | if r.below(2) == 0 { PSH } else { 0 };
    words
}

/// The words of a descriptor in the order of the parser.
fn in_order(words: [u32; 9]) -> Vec<Told> {
    let slots = [3, 4, 5, 6, 7, 8, 0, 1, 2];
    slots.map(|slot| Told { slot, data: words[slot], commit: if slot == 2 { 9 } else { 0 } }).to_vec()
}

/// A frame: the one that is expected, one that differs, one that the parser drops, one that is no segment.
fn some_frame(r: &mut Random, script: &[u32; SCRIPT], bytes: u32) -> Vec<Told> {
    let mut words = expected(r, script, bytes);
    match r.below(12) {
        0 => words[3 + r.below(5)] ^= 1 << r.below(32),
        1 => words[8] ^= [1, 2, 4, 0x10, 0x20, 0x40, 0x80][r.below(7)],
        2 => words[0] ^= 1 << r.below(5),
        3 => words[2] = words[2] & 0xffff_0000 | [60, 64, 96, 52][r.below(4)],
        4 => {
            let mut told = in_order(words);
            told.truncate(1 + r.below(8));
            return told;
        }
        5 => {
            let mut told = in_order(words);
            told.truncate(r.below(7));
            told.push(Told { slot: 0, data: words[0] | (1 + r.below(5) as u32), commit: 0 });
            told.push(Told { slot: 1, data: words[1], commit: 2 });
            return told;
        }
        _ => (),
    }
    in_order(words)
}

/// What happens beside parser, walker and writer.
#[derive(Debug, Clone, Copy, Default)]
struct Event {
    script: Option<u32>,
    disarm: bool,
    clear: bool,
}

/// What is being acted on: the walk, if there is one.
type Acting = Option<(u32, u32)>;

/// The block between parser, walker and writer.
struct Rig<'a> {
    bench: &'a mut Bench<PredictReceive>,
    r: Random,
    pace: usize,
    script: [u32; SCRIPT],
    given: usize,
    armed: bool,
    /// The descriptor under way began when the script was armed.
    opened: bool,
    told: VecDeque<Told>,
    descriptor: [u32; 9],
    plan: Plan,
    /// Since the descriptor was complete.
    acting: Option<Acting>,
    /// Words of the walker's command, and one that was shown and not taken.
    command: Vec<u32>,
    held: Option<u32>,
    /// The walk: words as they are written; the last of a packet commits it.
    found: VecDeque<(usize, u32, Option<Vec<u32>>)>,
    /// Packets, the first perhaps in part.
    packets: VecDeque<VecDeque<u32>>,
    begun: bool,
    /// The writer's queue: memory, end, what was committed.
    memory: [u32; 128],
    tail: usize,
    commits: Vec<Vec<u32>>,
    /// Cycles until the writer is quiet, and a write has failed.
    settles: usize,
    failed: bool,
}

impl<'a> Rig<'a> {
    fn new(bench: &'a mut Bench<PredictReceive>, seed: u64, pace: usize) -> Self {
        bench.cycle(|u| u.reset.next = true, |_| ());
        Rig {
            bench,
            r: random(seed),
            pace,
            script: [0; SCRIPT],
            given: 0,
            armed: false,
            opened: false,
            told: VecDeque::new(),
            descriptor: [0; 9],
            plan: Plan::default(),
            acting: None,
            command: vec![],
            held: None,
            found: VecDeque::new(),
            packets: VecDeque::new(),
            begun: false,
            memory: [0; 128],
            tail: 0,
            commits: vec![],
            settles: 0,
            failed: false,
        }
    }

    fn may(&mut self) -> bool {
        self.r.below(self.pace) == 0
    }

    fn tell(&mut self, name: &str, happened: bool) {
        self.bench.tell(name, happened);
    }

    /// Everything that changes the inputs in a cycle, and what it leads to.
    fn step(&mut self, event: Event) {
        let noise = [(); 4].map(|()| self.r.word());
        let told = if self.may() { self.told.pop_front() } else { None };
        let walk_ready = self.found.is_empty() && self.may();
        let found = if self.may() { self.found.pop_front() } else { None };
        // Others walk too, when nothing is acted on.
        let is_other = !self.bench.block.busy.val() && self.may();
        let (waits, first) =
            (self.packets.len() > usize::from(self.begun), !self.begun || self.packets.is_empty());
        let offers = !self.packets.is_empty() && self.may();
        let quiet = self.settles == 0;
        let failed = if quiet { self.failed } else { noise[3] & 1 != 0 };
        self.bench.fall(|u| {
            u.reset.next = false;
            u.script.next = FB::new(event.script.unwrap_or(noise[0]).into());
            u.script_write.next = event.script.is_some();
            u.disarm.next = event.disarm;
            u.clear.next = event.clear;
            u.told_slot.next = FB::new(told.map_or(u64::from(noise[1] & 127), |told| told.slot as u64));
            u.told_data.next = FB::new(told.map_or(noise[2], |told| told.data).into());
            u.told_write.next = told.is_some();
            u.told_commit.next = FB::new(told.map_or(0, |told| told.commit).into());
            u.walk_ready.next = walk_ready;
            u.found_slot.next =
                FB::new(found.as_ref().map_or(u64::from(noise[3] & 15), |found| found.0 as u64));
            u.found_data.next = FB::new(found.as_ref().map_or(noise[0], |found| found.1).into());
            u.found_write.next = found.is_some() || is_other;
            u.packet_waits.next = waits;
            u.packet_first.next = first;
            u.quiet.next = quiet;
            u.failed.next = failed;
        });
        let u = &self.bench.block;
        let (busy, takes) = (u.busy.val(), u.packet_ready.val() && offers);
        let word = u.walk_valid.val().then_some(u.walk_word.val().get() as u32);
        let write = u.write_enable.val().then(|| (u.write_slot.val().index(), u.write_data.val().get()));
        let commit = u.write_commit.val().index();
        let outcome = (u.placed.val(), u.completed.val());
        self.bench.rise();
        assert!(!event.disarm || !busy);
        assert!(busy || (word.is_none() && write.is_none() && commit == 0), "{event:x?}");
        if let (Some(acting), false) = (self.acting, busy) {
            self.acting = None;
            self.finish(acting, outcome);
        }
        assert_eq!(busy, self.acting.is_some(), "{event:x?} {told:x?}");

        // The walker.
        assert!(self.held.is_none() || self.held == word, "a word changed before it was taken");
        self.held = word.filter(|_| !walk_ready);
        if let Some(word) = word.filter(|_| walk_ready) {
            self.command.push(word);
            if self.command.len() == 4 {
                self.walk();
            }
        }
        if takes {
            self.begun = true;
            let packet = self.packets.front_mut().expect("one is offered");
            packet.pop_front();
            if packet.is_empty() {
                self.packets.pop_front();
                self.begun = false;
            }
        }
        if let Some(packet) = found.and_then(|found| found.2) {
            self.packets.push_back(packet.into());
        }

        // The writer.
        self.settles = self.settles.saturating_sub(1);
        if let Some((slot, data)) = write {
            self.memory[(self.tail + slot) % 128] = data as u32;
        }
        if commit > 0 {
            assert!(self.commits.len() < 2);
            let words = (self.tail..self.tail + commit).map(|at| self.memory[at % 128]).collect();
            self.commits.push(words);
            self.tail += commit;
            self.settles = 1 + self.r.below(8 * self.pace);
            self.failed |= commit == 5 && self.r.below(6) == 0;
        }

        // Script and descriptor.
        let was_armed = self.armed;
        if event.script.is_some() {
            self.given += 1;
            self.armed |= self.given == SCRIPT;
        }
        if event.disarm {
            (self.given, self.armed, self.opened) = (0, false, false);
        }
        let Some(Told { slot, data, commit }) = told else { return };
        self.descriptor[slot] = data;
        if slot == 3 {
            self.opened = self.armed;
        }
        if commit != 9 {
            return;
        }
        let walk = golden::segment(&self.script, &self.descriptor);
        let may = was_armed && event.clear && !event.disarm;
        let fits = self.opened && walk.is_some();
        self.tell("it comes when others wait", was_armed && fits && !event.clear);
        self.tell("it comes in the cycle that forgets it", was_armed && walk.is_some() && event.disarm);
        self.tell("it began before the script was whole", may && !self.opened && walk.is_some());
        self.tell("another segment", may && walk.is_none());
        if may && fits {
            self.armed = false;
            self.begin(walk);
        }
    }

    /// The segment is acted on from the next cycle.
    fn begin(&mut self, walk: Acting) {
        self.acting = Some(walk);
        self.commits.clear();
        self.command.clear();
        // The writer may still wait for answers, one of which may be bad.
        self.settles = self.r.below(3) * self.r.below(8);
        self.failed = self.r.below(10) == 0;
    }

    /// The walker has its command.
    fn walk(&mut self) {
        for packet in &self.plan.packets {
            let shown = packet.shown.iter().enumerate().map(|(n, word)| (4 + n, *word, None));
            self.found.extend(shown);
            let results = packet.words[..4].iter().enumerate();
            let whole = |n| (n == 3).then(|| packet.words.clone());
            self.found.extend(results.map(|(n, word)| (n, *word, whole(n))));
        }
    }

    /// It is not busy any more: was all as it should be?
    fn finish(&mut self, walk: Acting, outcome: (bool, bool)) {
        let script = self.script;
        let (at, bytes) = walk.expect("a segment");
        if golden::is_ack(&script) {
            assert!(self.command.is_empty());
            let words = golden::acknowledged(&script).to_vec();
            let wanted = if self.failed { vec![] } else { vec![words] };
            assert_eq!(self.commits, wanted);
            // Without its completion nothing was written: the program does all of it.
            assert_eq!(outcome, (!self.failed, !self.failed));
            self.tell("an ACK completes a message", !self.failed);
            self.tell("an ACK, and a write has failed before", self.failed);
            return;
        }
        assert!(self.found.is_empty() && self.packets.is_empty(), "something is left of the walk");
        assert_eq!(self.command, [bytes << 16 | (script[6] >> 16 & 1) << 1, at, 0, 0]);
        self.command.clear();
        let first = &self.plan.packets[0];
        let mut wanted = golden::receive(&script, at, bytes, &first.words).map_or(vec![], Vec::from);
        let is_placed = !wanted.is_empty();
        if self.failed {
            wanted.truncate(1);
        }
        assert_eq!(self.commits, wanted, "{:x?}", self.plan);
        assert_eq!(outcome, (is_placed, is_placed && !self.failed));
        self.report(is_placed);
    }

    /// What it was, for the counters.
    fn report(&mut self, is_placed: bool) {
        let (script, plan) = (self.script, self.plan.clone());
        let first = &plan.packets[0].words;
        self.tell("a Send is placed and completed", is_placed && !self.failed);
        self.tell("a Send is placed, and the write fails", is_placed && self.failed);
        self.tell("it has padding", is_placed && !(first[0] >> 16).is_multiple_of(4));
        self.tell("it is as long as may be", is_placed && first[0] >> 16 == script[6] & 0xffff);
        let code = first[0] & 15;
        for (n, name) in [(1, "a bad CRC"), (2, "a bad marker"), (3, "part of an FPDU"), (4, "no payload")] {
            self.tell(name, code == n);
        }
        if code != 0 {
            return;
        }
        let ulpdu = first[0] >> 16;
        let fills = first[2] == plan.bytes;
        let goes_on = plan.packets[1].words[0] & 15;
        self.tell("two FPDUs", goes_on == 0);
        self.tell("an FPDU and part of another", goes_on == 3);
        self.tell("an FPDU without payload", fills && ulpdu == 18);
        self.tell("an FPDU shorter than a header", fills && ulpdu < 18);
        self.tell("an FPDU longer than may be", fills && ulpdu > script[6] & 0xffff);
        let Some(fields) = first.get(4..9) else { return };
        let is_wrong = [fields[0] >> 16 != SEND_LAST, fields[2] != 0, fields[3] != script[5], fields[4] != 0];
        let names = ["another opcode", "another queue", "another MSN", "another offset"];
        for (name, wrong) in names.into_iter().zip(is_wrong) {
            self.tell(name, fills && wrong);
        }
    }

    /// A script, perhaps not all of it, and what comes then until nothing comes any more.
    fn round(&mut self) {
        self.step(Event { disarm: true, clear: true, script: None });
        self.script = some_script(&mut self.r);
        self.plan = some_plan(&mut self.r, &self.script);
        let words = if self.r.below(8) == 0 { self.r.below(SCRIPT) } else { SCRIPT };
        let early = self.r.below(3) == 0;
        if early {
            self.frames(3);
        }
        for word in self.script.into_iter().take(words) {
            while self.r.below(self.pace) != 0 {
                self.step(Event { clear: true, ..Event::default() });
            }
            self.step(Event { script: Some(word), clear: true, disarm: false });
        }
        self.frames(4);
        let begin = self.bench.cycles();
        while !self.told.is_empty() || self.acting.is_some() {
            assert!(self.bench.cycles() - begin < 20_000, "stuck in {:x?}", self.plan);
            if self.acting.is_some() && self.told.is_empty() && self.r.below(8) == 0 {
                self.frames(1);
            }
            let busy = self.bench.block.busy.val();
            let event = Event {
                clear: self.r.below(5) != 0,
                disarm: !busy && self.acting.is_none() && self.r.below(80) == 0,
                script: None,
            };
            self.step(event);
        }
    }

    fn frames(&mut self, most: usize) {
        for _ in 0..=self.r.below(most) {
            let frame = some_frame(&mut self.r, &self.script, self.plan.bytes);
            self.told.extend(frame);
        }
    }
}

/// So many scripts.
fn run(bench: &mut Bench<PredictReceive>, seed: u64, count: usize, pace: usize) {
    let mut rig = Rig::new(bench, seed, pace);
    for _ in 0..count {
        rig.round();
    }
}

fn bench() -> Bench<PredictReceive> {
    Bench::new(PredictReceive::default(), |u| &mut u.clock)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn does_what_the_golden_functions_say(seed: u64, count in 1usize..20, pace in 1usize..5) {
        run(&mut bench(), seed, count, pace);
    }
}

/// Cycles from the commit of the descriptor to that of the completion, without stalls: the words of the FPDU follow the walker's command, the writer is quiet in
/// the cycle but one behind its command.
#[test]
fn eight_bytes_take_as_many_cycles_as_documented() {
    let mut bench = bench();
    let mut rig = Rig::new(&mut bench, 1, 1);
    let mut script = [0; SCRIPT];
    script[6] = 100;
    let shown = [u32::from(26u16.swap_bytes()) | SEND_LAST << 16, 0, 0, 0, 0, 1, 2, 3];
    let packets = vec![packet(0, 0, 32, Some(26), &shown), packet(4, 32, 0, None, &[])];
    (rig.script, rig.plan) = (script, Plan { bytes: 32, packets });
    for word in script {
        rig.step(Event { script: Some(word), ..Event::default() });
    }
    rig.told.extend(in_order([0, 0, 56 | 32 << 16, 0, 0, 0, 0, 0, ACK]));
    let event = Event { clear: true, ..Event::default() };
    while rig.acting.is_none() {
        rig.step(event);
    }
    (rig.settles, rig.failed) = (0, false);
    let begin = rig.bench.cycles();
    while rig.commits.len() < 2 {
        rig.step(event);
        // As fast as can be.
        rig.settles = rig.settles.min(1);
        assert!(rig.bench.cycles() - begin < 100);
    }
    assert_eq!(rig.bench.cycles() - begin, 22);
}

/// Shown in docs/coverage.md.
pub const SITUATIONS: &[Situation<PredictReceive>] = &[
    now("the walker does not take a word", |u| u.walk_valid.val() && !u.walk_ready.val()),
    now("the walk is late", |u| u.busy.val() && !u.walk_ready.val() && !u.found_write.val()),
    now("the writer is not quiet", |u| u.busy.val() && !u.quiet.val()),
    now("a packet is dropped", |u| u.packet_ready.val() && u.packet_waits.val()),
    now("a packet under way is dropped", |u| u.packet_ready.val() && !u.packet_first.val()),
    now("a walk of others", |u| !u.busy.val() && u.found_write.val()),
    now("a descriptor while one is acted on", |u| u.busy.val() && u.told_commit.val() == 9),
    now("a descriptor of two words", |u| !u.busy.val() && u.told_commit.val() == 2),
    now("a result is forgotten", |u| u.placed.val() && u.disarm.val()),
    told("it comes when others wait"),
    told("it comes in the cycle that forgets it"),
    told("it began before the script was whole"),
    told("another segment"),
    told("an ACK completes a message"),
    told("an ACK, and a write has failed before"),
    told("a Send is placed and completed"),
    told("a Send is placed, and the write fails"),
    told("it has padding"),
    told("it is as long as may be"),
    told("a bad CRC"),
    told("a bad marker"),
    told("part of an FPDU"),
    told("no payload"),
    told("two FPDUs"),
    told("an FPDU and part of another"),
    told("an FPDU without payload"),
    told("an FPDU shorter than a header"),
    told("an FPDU longer than may be"),
    told("another opcode"),
    told("another queue"),
    told("another MSN"),
    told("another offset"),
];

#[test]
fn every_situation_occurs() {
    let mut bench = bench().covering(SITUATIONS);
    for seed in 0..40 {
        run(&mut bench, seed, 40, 1 + seed as usize % 4);
    }
    bench.check_coverage();
}

#[test]
fn like_its_verilog() {
    let Some(mut bench) = Bench::with_verilog("predict-receive", PredictReceive::default(), |u| &mut u.clock)
    else {
        return;
    };
    let mut seed = 100;
    while bench.cycles() < 30_000 {
        seed += 1;
        run(&mut bench, seed, 40, 1 + seed as usize % 4);
    }
    println!("predict-receive: {} cycles, 0 mismatches", bench.cycles());
}

#[test]
fn synthesises() {
    check_synthesis("predict-receive", PredictReceive::default());
}
