//! Entries of a send queue behind random doorbells, against the golden function.

use crate::common::coverage::{Situation, now, told};
use crate::common::{Bench, Commands, Random, check_synthesis, random};
use ironwarp_hdl::fb::FB;
use ironwarp_hdl::predict::PredictSend;
use ironwarp_sim::emulated::predict::{self as golden, ENTRY, SCRIPT};
use proptest::prelude::*;

/// Word 0 of a signalled inline Write, without its index.
const INLINE_WRITE: u32 = 5 | 1 << 9 | 1 << 11;
const SIGNALLED: u32 = 1 << 9;

/// What memory has where the script says, and which words cannot be read.
#[derive(Debug, Clone)]
struct Entry {
    words: [u32; ENTRY],
    bad: [bool; ENTRY],
}

impl Entry {
    fn failed(&self) -> Option<usize> {
        self.bad.iter().position(|bad| *bad)
    }

    /// What the reader says of it.
    fn reply(&self) -> Vec<u32> {
        if self.failed().is_some() { vec![1] } else { [&[0], &self.words[..]].concat() }
    }
}

/// A script as the program makes it, or any words.
fn some_script(r: &mut Random) -> [u32; SCRIPT] {
    let mut script = [(); SCRIPT].map(|()| r.word());
    script[22] &= 0xff_ffff;
    if r.below(8) != 0 {
        let index = if r.below(4) == 0 { 0xffff } else { r.word() & 0xffff };
        script[0] = ENTRY as u32;
        script[11] &= 0x00ff_ffff;
        script[22] &= 0xff_f000;
        script[23] = INLINE_WRITE | index << 16;
    }
    script
}

fn some_length(r: &mut Random) -> u32 {
    match r.below(10) {
        0 => 33 + r.below(300) as u32,
        1 => [33, 0x100, 0x108, 0x120, 0x1_0008, 0x8000_0000][r.below(6)],
        2 => r.word(),
        _ => r.below(33) as u32,
    }
}

fn some_entry(r: &mut Random, script: &[u32; SCRIPT]) -> Entry {
    let mut words = [(); ENTRY].map(|()| r.word());
    let write = script[23];
    words[0] = match r.below(8) {
        0..3 => write,
        3..6 => write ^ 4,
        6 => write ^ 1 << r.below(32),
        _ => r.word(),
    };
    if r.below(2) == 0 {
        words[0] &= !SIGNALLED;
    }
    words[1] = some_length(r);
    let mut bad = [false; ENTRY];
    if r.below(4) == 0 {
        let at = r.below(ENTRY);
        let last = if r.below(2) == 0 { at } else { ENTRY - 1 };
        bad[at..=last].fill(true);
    }
    Entry { words, bad }
}

/// What happens beside the entry.
#[derive(Debug, Clone, Copy, Default)]
struct Event {
    script: Option<u32>,
    disarm: bool,
    door: Option<(u32, u32)>,
    clear: bool,
}

/// The block between the small reader, memory and the transmit engine.
struct Rig<'a> {
    bench: &'a mut Bench<PredictSend>,
    r: Random,
    seed: u64,
    pace: usize,
    entry: Entry,
    asked: Vec<u32>,
    seen: usize,
    reply: Option<Commands>,
    told: Vec<u32>,
    /// A word that was shown and not taken: to the reader, to the transmit engine.
    held: [Option<u32>; 2],
}

impl Rig<'_> {
    fn may(&mut self) -> bool {
        self.r.below(self.pace) == 0
    }

    /// The next doorbell: nothing is asked or told for it yet.
    fn renew(&mut self, entry: Entry) {
        self.entry = entry;
        self.asked.clear();
        self.seen = 0;
        self.reply = None;
        self.told.clear();
    }

    /// A cycle. What the block shows in it: busy, outcome.
    fn step(&mut self, event: Event) -> (bool, u32) {
        let noise = [(); 4].map(|()| self.r.word());
        let (takes_read, takes_tx) = (self.may(), self.may());
        let busy = self.bench.block.busy.val();
        // While nothing is asked for, words of others pass.
        let here = if self.asked.len() == 3 { self.seen < ENTRY && self.may() } else { !busy && self.may() };
        let (data, error) = match (self.asked.len(), self.seen) {
            (3, at @ 0..ENTRY) if here => (self.entry.words[at], self.entry.bad[at]),
            _ => (noise[0], noise[1] & 1 != 0),
        };
        let (reply, is_reply) =
            self.reply.as_mut().map_or((FB::new(noise[2].into()), false), Commands::offer);
        let (offset, value) = event.door.unwrap_or((noise[3] & 0xff_ffff, noise[2]));
        self.bench.fall(|u| {
            u.reset.next = false;
            u.script.next = FB::new(event.script.unwrap_or(noise[1]).into());
            u.script_write.next = event.script.is_some();
            u.disarm.next = event.disarm;
            u.door_offset.next = FB::new(offset.into());
            u.door_data.next = FB::new(value.into());
            u.door_rings.next = event.door.is_some();
            u.clear.next = event.clear;
            u.read_ready.next = takes_read;
            u.tx_ready.next = takes_tx;
            u.seen_data.next = FB::new(data.into());
            u.seen_error.next = error;
            u.seen_passes.next = here;
            (u.reply_word.next, u.reply_valid.next) = (reply, is_reply);
        });
        let u = &self.bench.block;
        let shown = (u.busy.val(), u.outcome.val().get() as u32);
        assert_eq!(u.fired.val(), shown.1 & 1 != 0);
        let streams = [
            (u.read_valid.val(), u.read_word.val(), takes_read),
            (u.tx_valid.val(), u.tx_word.val(), takes_tx),
        ];
        if let Some(reply) = &mut self.reply {
            reply.look(u.reply_ready.val());
        }
        if here && self.asked.len() == 3 {
            self.seen += 1;
            if self.seen == ENTRY {
                self.reply = Some(Commands::new(self.seed, self.pace, self.entry.reply()));
            }
        }
        for ((valid, word, ready), (held, taken)) in
            streams.into_iter().zip(self.held.iter_mut().zip([&mut self.asked, &mut self.told]))
        {
            let word = valid.then_some(word.get() as u32);
            assert!(held.is_none() || *held == word, "a word changed before it was taken");
            *held = word.filter(|_| !ready);
            taken.extend(word.filter(|_| ready));
        }
        self.bench.rise();
        shown
    }

    /// A cycle in which nothing is under way, and nothing may be said.
    fn idle(&mut self, event: Event, outcome: u32) {
        assert_eq!(self.step(event), (false, outcome), "{event:x?}");
        assert_eq!(self.held, [None; 2]);
        assert!(self.told.is_empty() && self.asked.is_empty());
    }

    fn tell(&mut self, name: &str, happened: bool) {
        self.bench.tell(name, happened);
    }

    /// The doorbell that the script waits for, or one that is like it.
    fn some_door(&mut self, script: &[u32; SCRIPT]) -> Option<(u32, u32)> {
        let (page, index) = (script[22], (script[23] >> 16).wrapping_add(1) & 0xffff);
        match self.r.below(8) {
            0..4 => None,
            // Only 16 bits of a doorbell count.
            4 | 5 => Some((page, index | if self.r.below(4) == 0 { self.r.word() << 16 } else { 0 })),
            6 => Some((page ^ 1 << self.r.below(24), index)),
            _ => Some((page, index ^ 1 << self.r.below(16))),
        }
    }

    /// A script, perhaps not all of it, and what comes then until it is used up or nothing more comes.
    fn round(&mut self) {
        let script = some_script(&mut self.r);
        let entry = some_entry(&mut self.r, &script);
        self.renew(entry);
        let before = self.bench.block.outcome.val().get() as u32;
        let door = self.some_door(&script);
        self.idle(Event { disarm: true, door, clear: true, script: None }, before);
        let words = if self.r.below(6) == 0 { self.r.below(SCRIPT) } else { SCRIPT };
        for word in &script[..words] {
            while self.r.below(self.pace) != 0 {
                let door = self.some_door(&script);
                self.tell("a doorbell before the script is whole", door.is_some());
                self.idle(Event { door, clear: true, ..Event::default() }, 0);
            }
            self.idle(Event { script: Some(*word), ..Event::default() }, 0);
        }
        let mut armed = words == SCRIPT;
        for _ in 0..self.r.below(24) {
            let event = Event {
                door: self.some_door(&script),
                clear: self.r.below(4) != 0,
                disarm: self.r.below(40) == 0,
                script: None,
            };
            let rings = event.door.is_some_and(|(offset, value)| golden::rings(&script, offset, value));
            self.tell("its doorbell, when another request waits", armed && rings && !event.clear);
            self.tell(
                "its doorbell in the cycle that forgets it",
                armed && rings && event.clear && event.disarm,
            );
            self.tell("another doorbell", armed && event.door.is_some() && event.clear && !rings);
            if armed && rings && event.clear && !event.disarm {
                self.tell("the index wraps", script[23] >> 16 == 0xffff);
                assert_eq!(self.step(event), (false, 0));
                return self.message(&script);
            }
            self.idle(event, 0);
            armed &= !event.disarm;
        }
    }

    /// The doorbell has rung.
    fn message(&mut self, script: &[u32; SCRIPT]) {
        let begin = self.bench.cycles();
        let outcome = loop {
            assert!(self.bench.cycles() - begin < 5_000, "stuck after {:x?}", self.told);
            let event = Event { door: self.some_door(script), clear: true, ..Event::default() };
            let (busy, outcome) = self.step(event);
            if !busy {
                break outcome;
            }
        };
        let entry = self.entry.clone();
        assert_eq!(self.asked, script[..3]);
        assert!(self.reply.as_ref().is_some_and(Commands::is_empty), "something is left of the reply");
        let failed = entry.failed();
        let (told, sent) = golden::send(script, &entry.words, failed);
        // An error behind word 1 may be known when the frame is judged, or only when it ends: it is dropped in both cases.
        let early = golden::send(script, &entry.words, failed.map(|_| 0)).0;
        if self.told.len() == early.len() && sent.is_none() {
            // A header that goes nowhere has any length.
            self.told[8] = self.told[8] & 0xff_ffff | early[8] & 0xff00_0000;
        }
        assert!(self.told == told || self.told == early, "{:x?}\nnot {told:x?}\nfor {entry:x?}", self.told);
        assert_eq!(outcome, sent.map_or(0, golden::Sent::outcome), "{entry:x?}");
        self.report(&entry, sent, told != early && self.told == early);
        // Nothing more: the script is used up.
        self.renew(entry);
        for _ in 0..self.r.below(12) {
            let event = Event { door: self.some_door(script), clear: true, ..Event::default() };
            self.idle(event, outcome);
        }
    }

    /// What it was, for the counters.
    fn report(&mut self, entry: &Entry, sent: Option<golden::Sent>, early: bool) {
        if let Some(sent) = sent {
            self.tell("an inline Write is sent", !sent.is_send);
            self.tell("an inline Send is sent", sent.is_send);
            self.tell("one that is not signalled", !sent.signalled);
            self.tell("one without payload", sent.payload == 0);
            self.tell("one of 32 bytes", sent.payload == 32);
            self.tell("one that is padded", !sent.payload.is_multiple_of(4));
            return;
        }
        match entry.failed() {
            None => {
                let fits = entry.words[1] <= 32;
                self.tell("an entry of more than 32 bytes", !fits);
                self.tell("an entry of more than 32 bytes whose last byte of length says less", {
                    !fits && entry.words[1] & 0xff <= 32
                });
                self.tell("an entry that is something else", fits);
            }
            Some(0 | 1) => self.tell("an entry that cannot be read", true),
            Some(_) => {
                self.tell("its end cannot be read: known before the headers", early);
                self.tell("its end cannot be read: the frame is dropped when all is said", !early);
            }
        }
    }
}

/// So many scripts.
fn run(bench: &mut Bench<PredictSend>, seed: u64, count: usize, pace: usize) {
    let mut r = random(seed);
    bench.cycle(|u| u.reset.next = true, |_| ());
    let entry = some_entry(&mut r, &[0; SCRIPT]);
    let mut rig = Rig {
        bench,
        r,
        seed,
        pace,
        entry,
        asked: vec![],
        seen: 0,
        reply: None,
        told: vec![],
        held: [None; 2],
    };
    for _ in 0..count {
        rig.round();
    }
}

fn bench() -> Bench<PredictSend> {
    Bench::new(PredictSend::default(), |u| &mut u.clock)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn says_what_the_golden_function_says(seed: u64, count in 1usize..20, pace in 1usize..5) {
        run(&mut bench(), seed, count, pace);
    }
}

/// Every length there is, both opcodes, signalled or not.
#[test]
fn every_length() {
    let mut bench = bench();
    bench.cycle(|u| u.reset.next = true, |_| ());
    let mut r = random(7);
    for length in 0..=34 {
        for (flip, keep) in [(0, !0), (0, !SIGNALLED), (4, !0), (4, !SIGNALLED)] {
            let mut script = some_script(&mut r);
            script[23] = INLINE_WRITE | r.word() << 16;
            let mut words = [(); ENTRY].map(|()| r.word());
            words[..2].copy_from_slice(&[(script[23] ^ flip) & keep, length]);
            once(&mut bench, &script, Entry { words, bad: [false; ENTRY] });
        }
    }
}

/// A script and its doorbell, at once and without stalls. Cycles from the doorbell to the last command word.
fn once(bench: &mut Bench<PredictSend>, script: &[u32; SCRIPT], entry: Entry) -> u64 {
    let mut rig = Rig {
        bench,
        r: random(1),
        seed: 1,
        pace: 1,
        entry,
        asked: vec![],
        seen: 0,
        reply: None,
        told: vec![],
        held: [None; 2],
    };
    rig.step(Event { disarm: true, ..Event::default() });
    for word in script {
        rig.idle(Event { script: Some(*word), ..Event::default() }, 0);
    }
    let rung = rig.bench.cycles();
    let door = Some((script[22], (script[23] >> 16).wrapping_add(1) & 0xffff));
    assert_eq!(rig.step(Event { door, clear: true, ..Event::default() }), (false, 0));
    let count = golden::send(script, &rig.entry.words, None).0.len();
    while rig.told.len() < count {
        assert!(rig.bench.cycles() - rung < 1000, "stuck after {:x?}", rig.told);
        rig.step(Event::default());
    }
    let latency = rig.bench.cycles() - 1 - rung;
    rig.message(script);
    latency
}

#[test]
fn an_eight_byte_write_takes_as_many_cycles_as_documented() {
    let mut bench = bench();
    bench.cycle(|u| u.reset.next = true, |_| ());
    let mut script = [0; SCRIPT];
    script[23] = INLINE_WRITE;
    let mut words = [0; ENTRY];
    words[..2].copy_from_slice(&[INLINE_WRITE, 8]);
    assert_eq!(once(&mut bench, &script, Entry { words, bad: [false; ENTRY] }), 33);
}

/// Shown in docs/coverage.md.
pub const SITUATIONS: &[Situation<PredictSend>] = &[
    now("the reader does not take its command", |u| u.read_valid.val() && !u.read_ready.val()),
    now("the transmit engine does not take a word", |u| u.tx_valid.val() && !u.tx_ready.val()),
    now("the entry is late", |u| {
        u.busy.val() && !u.read_valid.val() && !u.tx_valid.val() && !u.seen_passes.val()
    }),
    now("a word of the entry passes while a word is said", |u| {
        u.seen_passes.val() && u.tx_valid.val() && u.tx_ready.val()
    }),
    now("a word that is not there", |u| u.busy.val() && u.seen_passes.val() && u.seen_error.val()),
    now("a word of another read", |u| !u.busy.val() && u.seen_passes.val()),
    now("the reply waits for nothing", |u| u.reply_valid.val() && u.reply_ready.val() && u.tx_valid.val()),
    now("a doorbell while one is acted on", |u| u.busy.val() && u.door_rings.val()),
    now("a doorbell when a frame was sent", |u| u.fired.val() && u.door_rings.val()),
    now("a result is forgotten", |u| u.fired.val() && u.disarm.val()),
    told("a doorbell before the script is whole"),
    told("its doorbell, when another request waits"),
    told("its doorbell in the cycle that forgets it"),
    told("another doorbell"),
    told("the index wraps"),
    told("an inline Write is sent"),
    told("an inline Send is sent"),
    told("one that is not signalled"),
    told("one without payload"),
    told("one of 32 bytes"),
    told("one that is padded"),
    told("an entry of more than 32 bytes"),
    told("an entry of more than 32 bytes whose last byte of length says less"),
    told("an entry that is something else"),
    told("an entry that cannot be read"),
    told("its end cannot be read: known before the headers"),
    told("its end cannot be read: the frame is dropped when all is said"),
];

#[test]
fn every_situation_occurs() {
    let mut bench = bench().covering(SITUATIONS);
    for seed in 0..24 {
        run(&mut bench, seed, 30, 1 + seed as usize % 4);
    }
    bench.check_coverage();
}

#[test]
fn like_its_verilog() {
    let Some(mut bench) = Bench::with_verilog("predict-send", PredictSend::default(), |u| &mut u.clock)
    else {
        return;
    };
    let mut seed = 100;
    while bench.cycles() < 30_000 {
        seed += 1;
        run(&mut bench, seed, 30, 1 + seed as usize % 4);
    }
    println!("predict-send: {} cycles, 0 mismatches", bench.cycles());
}

#[test]
fn synthesises() {
    check_synthesis("predict-send", PredictSend::default());
}
