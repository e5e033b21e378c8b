//! The latencies that the blocks document, in cycles with nothing in the way.

use crate::common::Bench;
use crate::receive::frames;
use ironwarp_hdl::dma::{Bursts, Fetch, Reader, Writer};
use ironwarp_hdl::fb::FB;
use ironwarp_hdl::mem::Packets;
use ironwarp_hdl::mpa::Walk;
use ironwarp_hdl::rx::Receive;
use rust_hdl::prelude::Block;

/// Drives cycle 0, 1, ... until something is seen; the number of that cycle.
fn cycles<U: Block>(bench: &mut Bench<U>, drive: impl Fn(&mut U, usize), seen: impl Fn(&U) -> bool) -> usize {
    for cycle in 0..1000 {
        bench.fall(|u| drive(u, cycle));
        let found = seen(&bench.block);
        bench.rise();
        if found {
            return cycle;
        }
    }
    panic!("nothing seen");
}

/// The word of a command for a cycle.
fn word(words: &[u32], cycle: usize) -> (FB<32>, bool) {
    (FB::new(words.get(cycle).copied().unwrap_or(0).into()), cycle < words.len())
}

#[test]
fn bursts_ask_after_2_cycles() {
    let mut bench = Bench::new(Bursts::default(), |u| &mut u.clock);
    let drive = |u: &mut Bursts, cycle| {
        u.start.next = cycle == 0;
        u.bytes.next = FB::new(20);
    };
    assert_eq!(cycles(&mut bench, drive, |u| u.request.val()), 2);
}

#[test]
fn packets_come_out_after_2_cycles() {
    let mut bench = Bench::new(Packets::<5, 20, 9>::default(), |u| &mut u.clock);
    let drive = |u: &mut Packets<5, 20, 9>, cycle| u.commit.next = FB::new(u64::from(cycle == 0));
    assert_eq!(cycles(&mut bench, drive, |u| u.valid.val()), 2);
}

#[test]
fn ring_bytes_come_out_after_3_cycles_whatever_the_lane() {
    for (address, lane) in [(0, 0), (3, 0), (2, 1), (1, 2)] {
        let mut bench = Bench::new(Fetch::<8>::default(), |u| &mut u.clock);
        bench.cycle(|u| (u.word.next, u.set_low.next) = (FB::new(address), true), |_| ());
        let drive = |u: &mut Fetch<8>, cycle| {
            u.set_low.next = false;
            u.start.next = cycle == 0;
            u.lane.next = FB::new(lane);
            u.bytes.next = FB::new(100);
        };
        assert_eq!(cycles(&mut bench, drive, |u| u.downstream.valid.val()), 3);
    }
}

#[test]
fn the_reader_replies_7_cycles_behind_the_command_if_memory_is_there_at_once() {
    let mut bench = Bench::new(Reader::default(), |u| &mut u.clock);
    // Room in the reply queue is known a cycle after power-up.
    bench.cycle(|_| (), |_| ());
    let drive = |u: &mut Reader, cycle| {
        (u.command.next, u.command_valid.next) = word(&[1, 0, 0], cycle);
        u.channel.accept.next = true;
        u.channel.valid.next = cycle >= 6;
    };
    assert_eq!(cycles(&mut bench, drive, |u| u.channel.request.val()), 5);
    let mut bench = Bench::new(Reader::default(), |u| &mut u.clock);
    bench.cycle(|_| (), |_| ());
    assert_eq!(cycles(&mut bench, drive, |u| u.valid.val()), 2 + 7);
}

#[test]
fn the_walker_answers_7_cycles_behind_an_empty_command() {
    let mut bench = Bench::new(Walk::<8>::default(), |u| &mut u.clock);
    bench.cycle(|_| (), |_| ());
    let drive = |u: &mut Walk<8>, cycle| (u.command.next, u.command_valid.next) = word(&[0; 4], cycle);
    assert_eq!(cycles(&mut bench, drive, |u| u.valid.val()), 3 + 7);
}

#[test]
fn the_writer_has_data_5_cycles_behind_the_command() {
    let mut bench = Bench::new(Writer::<8>::default(), |u| &mut u.clock);
    let drive = |u: &mut Writer<8>, cycle| {
        (u.command.next, u.command_valid.next) = word(&[1 | 100 << 16, 0, 0, 0], cycle);
    };
    assert_eq!(cycles(&mut bench, drive, |u| u.channel.valid.val()), 3 + 5);
}

#[test]
fn a_short_descriptor_comes_6_cycles_behind_its_frame() {
    let mut bench = Bench::new(Receive::<8, 7>::default(), |u| &mut u.clock);
    bench.cycle(|_| (), |_| ());
    let frame = [&[0, 0], &frames::arp()[..], &[0, 0]].concat();
    let words: Vec<u32> = frame.chunks_exact(4).map(|w| u32::from_le_bytes(w.try_into().unwrap())).collect();
    let drive = |u: &mut Receive<8, 7>, cycle| {
        (u.upstream.data.next, u.upstream.valid.next) = word(&words, cycle);
        u.upstream.first.next = cycle == 0;
        u.upstream.last.next = cycle + 1 == words.len();
    };
    // Class 1, which has no D2; a segment's comes a cycle later.
    assert_eq!(cycles(&mut bench, drive, |u| u.valid.val()), words.len() - 1 + 6);
}

#[test]
fn an_fpdu_costs_the_walker_4_cycles_beyond_its_words() {
    // FPDUs without ULPDU and CRC are zeros: two words each.
    let until_end = |fpdus: usize| {
        let mut bench = Bench::new(Walk::<8>::default(), |u| &mut u.clock);
        bench.cycle(|_| (), |_| ());
        let drive = |u: &mut Walk<8>, cycle| {
            (u.command.next, u.command_valid.next) = word(&[(8 * fpdus as u32) << 16, 0, 0, 0], cycle);
            u.ready.next = true;
        };
        cycles(&mut bench, drive, |u| u.valid.val() && u.first.val() && u.word.val().get() == 4)
    };
    assert_eq!(until_end(11) - until_end(1), 10 * (2 + 4));
}
