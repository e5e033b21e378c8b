//! Bursts through host memory: what is asked for, and where the address ends up.

use crate::common::coverage::{Situation, now};
use crate::common::{Bench, check_synthesis, random};
use ironwarp_hdl::dma::Bursts;
use ironwarp_hdl::fb::FB;
use proptest::prelude::*;

/// A command of the channel: address and words.
type Command = (u64, u64);

/// Bursts for these bytes.
fn golden(mut address: u64, bytes: u64) -> Vec<Command> {
    let mut words = (address % 4 + bytes).div_ceil(4);
    address &= !3;
    let mut bursts = vec![];
    while words > 0 {
        let burst = words.min((4096 - address % 4096) / 4);
        bursts.push((address, burst));
        (address, words) = (address.wrapping_add(4 * burst), words - burst);
    }
    bursts
}

/// An address as a narrow device gives it: bit 32 says that it is beyond, and stays.
fn narrow(address: u64, beyond: &mut bool) -> u64 {
    *beyond |= address >> 32 != 0;
    address & 0xffff_ffff | u64::from(*beyond) << 32
}

/// Stretches at random, of one another's ends or from anywhere, near the ends of pages and of 4 GiB too.
fn run(bench: &mut Bench<Bursts>, seed: u64, is_narrow: bool, stretches: usize) {
    let mut r = random(seed);
    bench.cycle(|u| u.reset.next = true, |_| ());
    bench.cycle(|u| u.reset.next = false, |_| ());
    let mut address: Option<u64> = None;
    let mut beyond = false;
    for _ in 0..stretches {
        let start = match address {
            Some(address) if r.below(3) != 0 => address,
            _ => {
                let high = [0, 0, 1, 0xffff_ffff, r.word()][r.below(5)];
                let low =
                    [r.word(), r.word() | 0xfff, 0xffff_ffff][r.below(3)].wrapping_sub(r.below(9) as u32);
                for (is_high, word) in [(false, low), (true, high)] {
                    let set = |u: &mut Bursts| {
                        u.word.next = FB::new(word.into());
                        (u.set_low.next, u.set_high.next) = (!is_high, is_high);
                    };
                    bench.cycle(set, |_| ());
                }
                bench.fall(|u| (u.set_low.next, u.set_high.next) = (false, false));
                beyond = high != 0;
                u64::from(high) << 32 | u64::from(low)
            }
        };
        let bytes = [1 + r.below(9), 1 + r.below(9000), 4096 * (1 + r.below(3)), 0x3fffc][r.below(4)] as u64;
        let (silent, pace) = (r.below(4) == 0, 1 + r.below(4));
        let drive = |u: &mut Bursts| {
            u.start.next = true;
            u.bytes.next = FB::new(bytes);
            u.silent.next = silent;
        };
        bench.cycle(drive, |_| ());
        let mut seen: Vec<Command> = vec![];
        let mut busy = true;
        while busy {
            let accept = r.below(pace) == 0;
            let drive = |u: &mut Bursts| {
                u.start.next = false;
                u.bytes.next = FB::new(7);
                u.silent.next = !silent;
                u.accept.next = accept;
            };
            let see = |u: &Bursts| {
                let command = (u.channel_address.val().get(), u.channel_words.val().get());
                (u.busy.val(), (u.request.val() && accept).then_some(command))
            };
            let command;
            (busy, command) = bench.cycle(drive, see);
            seen.extend(command);
        }
        let mut expected = if silent { vec![] } else { golden(start, bytes) };
        let behind = start.wrapping_add(bytes);
        if is_narrow {
            for (address, _) in &mut expected {
                *address = narrow(*address, &mut beyond);
            }
        }
        assert_eq!(seen, expected, "{bytes} bytes from {start:#x}");
        assert_eq!(bench.block.low.val().get(), behind % (1 << 18), "{bytes} bytes from {start:#x}");
        address = Some(if is_narrow { narrow(behind, &mut beyond) } else { behind });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn they_pass_every_word_once_and_no_page_boundary(seed: u64) {
        run(&mut Bench::new(Bursts::default(), |u| &mut u.clock), seed, false, 40);
    }
    #[test]
    fn narrow_ones_never_come_back_from_beyond(seed: u64) {
        run(&mut Bench::new(Bursts::default().narrow(), |u| &mut u.clock), seed, true, 40);
    }
}

fn taken(u: &Bursts) -> bool {
    u.request.val() && u.accept.val()
}

/// Shown in docs/coverage.md.
pub const SITUATIONS: &[Situation<Bursts>] = &[
    now("a burst of a whole page", |u| taken(u) && u.channel_words.val().get() == 1024),
    now("a burst of one word", |u| taken(u) && u.channel_words.val().get() == 1),
    now("a burst that ends with its page", |u| {
        let end = u.channel_address.val().get().wrapping_add(4 * u.channel_words.val().get());
        taken(u) && end.is_multiple_of(4096)
    }),
    now("a burst that ends within its page", |u| {
        let end = u.channel_address.val().get().wrapping_add(4 * u.channel_words.val().get());
        taken(u) && !end.is_multiple_of(4096)
    }),
    now("a burst waits", |u| u.request.val() && !u.accept.val()),
    now("a burst that begins with its page", |u| {
        taken(u) && u.channel_address.val().get().is_multiple_of(4096)
    }),
    now("a stretch begins at an odd byte", |u| u.start.val() && !u.busy.val() && u.low.val().get() % 4 != 0),
    now("a silent stretch", |u| u.start.val() && !u.busy.val() && u.silent.val()),
    now("beyond 4 GiB", |u| taken(u) && u.channel_address.val().get() >> 32 != 0),
    now("a burst at a multiple of 4 GiB", |u| taken(u) && u.channel_address.val().get() as u32 == 0),
];

#[test]
fn every_situation_occurs() {
    let mut bench = Bench::new(Bursts::default(), |u| &mut u.clock).covering(SITUATIONS);
    run(&mut bench, 5, false, 500);
    bench.check_coverage();
}

#[test]
fn like_its_verilog() {
    for (name, is_narrow) in [("bursts", false), ("bursts-narrow", true)] {
        let block = if is_narrow { Bursts::default().narrow() } else { Bursts::default() };
        let Some(mut bench) = Bench::with_verilog(name, block, |u| &mut u.clock) else { return };
        run(&mut bench, 5, is_narrow, 500);
        println!("{name}: {} cycles, 0 mismatches", bench.cycles());
    }
}

#[test]
fn synthesises() {
    check_synthesis("bursts", Bursts::default());
    check_synthesis("bursts-narrow", Bursts::default().narrow());
}
