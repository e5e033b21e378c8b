use crate::common::coverage::{Situation, now, then};
use crate::common::{Bench, check_synthesis, random};
use ironwarp_hdl::fb::FB;
use ironwarp_hdl::mem::Ram;

const WORDS: usize = 16;

/// What the ports say in a cycle.
fn step(bench: &mut Bench<Ram<4, 20>>, write: Option<(usize, u64)>, read: usize) -> u64 {
    let drive = |u: &mut Ram<4, 20>| {
        let (address, word) = write.unwrap_or((read, 0xfffff));
        u.write_enable.next = write.is_some();
        u.write_address.next = FB::new(address as u64);
        u.data_in.next = FB::new(word);
        u.read_address.next = FB::new(read as u64);
    };
    bench.cycle(drive, |u| u.data_out.val().get())
}

/// Random reads and writes against a vector.
fn run(bench: &mut Bench<Ram<4, 20>>, mut words: Vec<u64>, cycles: usize) {
    let mut random = random(7);
    let mut expected = 0;
    for _ in 0..cycles {
        let (address, word) = (random.below(WORDS), u64::from(random.word() >> 12));
        let write = (random.below(2) == 0).then_some((address, word));
        // Often the address that is being written.
        let read = if random.below(3) == 0 { address } else { random.below(WORDS) };
        assert_eq!(step(bench, write, read), expected);
        // A word that is being written means nothing: simulation gives the complement of the old one.
        let collides = write.is_some_and(|(address, _)| address == read);
        expected = if collides { words[read] ^ 0xfffff } else { words[read] };
        if let Some((address, word)) = write {
            words[address] = word;
        }
    }
}

#[test]
fn a_read_gives_what_was_written_but_not_in_its_cycle() {
    run(&mut Bench::new(Ram::default(), |u| &mut u.clock), vec![0; WORDS], 10_000);
}

#[test]
fn contents_are_there_at_the_start() {
    let contents: Vec<u64> = (0..10).map(|i| i * 0x1111).collect();
    let mut words = contents.clone();
    words.resize(WORDS, 0);
    let mut bench = Bench::new(Ram::new(&contents), |u| &mut u.clock);
    for (i, word) in words.iter().enumerate() {
        step(&mut bench, None, i);
        assert_eq!(step(&mut bench, None, i), *word);
    }
}

/// Shown in docs/coverage.md.
pub const SITUATIONS: &[Situation<Ram<4, 20>>] = &[
    now("a word is read while it is written", |u| {
        u.write_enable.val() && u.write_address.val() == u.read_address.val()
    }),
    then(
        "a word is read that was written in the cycle before",
        |u| u.write_enable.val(),
        |u| !u.write_enable.val(),
    ),
    now("the first word is written", |u| u.write_enable.val() && u.write_address.val().get() == 0),
    now("the last word is written", |u| u.write_enable.val() && u.write_address.val().get() == 15),
];

#[test]
fn every_situation_occurs() {
    let mut bench = Bench::new(Ram::default(), |u| &mut u.clock).covering(SITUATIONS);
    run(&mut bench, vec![0; WORDS], 2000);
    bench.check_coverage();
}

#[test]
fn like_its_verilog() {
    let contents: Vec<u64> = (0..WORDS as u64).map(|i| i * 0x1357).collect();
    for (name, contents) in [("ram", vec![]), ("ram-contents", contents)] {
        let Some(mut bench) = Bench::with_verilog(name, Ram::new(&contents), |u| &mut u.clock) else {
            return;
        };
        let mut words = contents;
        words.resize(WORDS, 0);
        run(&mut bench, words, 30_000);
        println!("{name}: {} cycles, 0 mismatches", bench.cycles());
    }
}

#[test]
fn synthesises() {
    check_synthesis("ram", Ram::<13, 32>::default());
    check_synthesis("ram-contents", Ram::<4, 20>::new(&[1, 2, 3]));
}
