//! FPDUs in the byte stream: RFC 5044 with any cut, with and without markers and CRCs.

use ironwarp_proto::abi::completion::Status;
use ironwarp_proto::abi::context::Context;
use ironwarp_proto::abi::event::ErrorCause;
use ironwarp_proto::abi::regs::Counter;
use ironwarp_proto::abi::send_entry::SendEntry;
use ironwarp_proto::ddp::QN_SEND;
use ironwarp_proto::mpa::fpdu::{MAX_ULPDU, mulpdu};
use ironwarp_proto::mpa::stream::{Deframer, Fpdu};
use ironwarp_proto::rdmap::Opcode;
use ironwarp_testbench::scene::*;

/// Every combination of markers received and CRC.
fn settings() -> impl Iterator<Item = Context> {
    (0..4).map(|n| Context { markers_rx: n & 1 != 0, crc: n & 2 != 0, ..context() })
}

/// The ULPDUs of a few messages of odd sizes and what they leave in memory.
fn messages() -> (Vec<Vec<u8>>, Vec<u8>) {
    let (data, mut image) = (pattern(700, 1), vec![0; 2000]);
    let mut list = Vec::new();
    for (at, len) in [(0, 1), (100, 33), (200, 0), (300, 500), (900, 2)] {
        list.push(ulpdu(tagged(Opcode::Write, STAG, BASE + at as u64, true), &data[..len]));
        image[at..at + len].copy_from_slice(&data[..len]);
    }
    for (msn, len) in [(1, 5), (2, 0), (3, 64)] {
        list.push(ulpdu(untagged(Opcode::Send, QN_SEND, msn, 0, true), &data[..len]));
        image[1000 + 100 * msn as usize..][..len].copy_from_slice(&data[..len]);
    }
    (list, image)
}

/// The stream of these ULPDUs.
fn stream(scene: &Scene, ulpdus: &[Vec<u8>]) -> Vec<u8> {
    ulpdus.iter().fold(Vec::new(), |mut all, ulpdu| {
        all.extend(scene.peer.fpdu_ahead(all.len() as u32, ulpdu));
        all
    })
}

/// Send the messages in pieces that `cuts` gives the lengths of.
fn check_cut(context: Context, cut: impl Fn(usize) -> Vec<usize>, name: &str) {
    let mut scene = Scene::with(context);
    for n in 1..=3 {
        scene.post_receive(1000 + 100 * n, 64);
    }
    let (list, image) = messages();
    let bytes = stream(&scene, &list);
    let mut rest = &bytes[..];
    for len in cut(bytes.len()) {
        let (now, later) = rest.split_at(len.min(rest.len()));
        scene.send(now);
        rest = later;
    }
    scene.send(rest);
    assert!(scene.bytes(0, 2000) == image, "{name}");
    let done: Vec<_> =
        scene.rig.completions(CQ, true).iter().map(|done| (done.status, done.length)).collect();
    assert_eq!(done, [(Status::Ok, 5), (Status::Ok, 0), (Status::Ok, 64)], "{name}");
    assert_eq!((scene.errors(), scene.rig.counter(Counter::RxFpdus)), (vec![], list.len() as u32), "{name}");
}

#[test]
fn the_stream_may_be_cut_at_every_byte() {
    for context in settings() {
        let scene = Scene::with(context);
        let len = stream(&scene, &messages().0).len();
        for cut in 0..=len {
            check_cut(context, |_| vec![cut], &format!("cut at {cut}"));
        }
        for size in [1, 2, 3, 5, 7, 13, 64, 511, 512, 513] {
            check_cut(context, |len| vec![size; len / size], &format!("pieces of {size}"));
        }
    }
}

#[test]
fn several_fpdus_may_come_in_one_segment() {
    for context in settings() {
        check_cut(context, |_| vec![], "packed");
    }
}

#[test]
fn markers_are_found_at_every_phase_and_across_the_sequence_wrap() {
    for start in [0u32, u32::MAX - 20_000, u32::MAX - 511, 1 << 31] {
        let rcv_adv = start.wrapping_add(60_000);
        let mut scene = Scene::with(Context { markers_rx: true, rcv_nxt: start, rcv_adv, ..context() });
        // 128 phases, since FPDUs are multiples of four: each length moves on by another one.
        for n in 0..400u32 {
            let data = pattern(n as usize * 7 % 1200 + 1, n as u8);
            scene.send_ddp(tagged(Opcode::Write, STAG, BASE, true), &data);
            assert!(scene.bytes(0, data.len()) == data, "{start} {n}");
            scene.hear();
        }
        assert_eq!((scene.errors(), scene.rig.counter(Counter::MarkerErrors)), (vec![], 0));
    }
}

#[test]
fn markers_are_sent_at_every_phase_and_across_the_sequence_wrap() {
    for start in [0u32, u32::MAX - 20_000, u32::MAX - 511, 1 << 31] {
        let mut scene = Scene::with(Context { markers_tx: true, snd_nxt: start, mulpdu: 1442, ..context() });
        let data = pattern(1300, 5);
        assert!(scene.memory.write(0, &data));
        for n in 0..400u32 {
            let len = n * 7 % 1200 + 1;
            scene.rig.post_send(QP, &write_from(0, len));
            let (sent, fpdus) = scene.pump();
            assert!(sent.iter().all(|sent| sent.payload.len() <= 1460));
            // The reference deframer has checked markers and CRC.
            let got = segments(&fpdus);
            assert!(got.len() == 1 && got[0].1 == data[..len as usize], "{start} {n}");
        }
    }
}

#[test]
fn fpdus_that_wait_are_packed_into_one_segment_and_none_is_cut() {
    for markers_tx in [false, true] {
        let mut scene =
            Scene::with(Context { markers_tx, mulpdu: mulpdu(1460, markers_tx) as u16, ..context() });
        for n in 0..60 {
            scene.rig.post_send(QP, &write_from(0, n * 5));
        }
        let (sent, fpdus) = scene.pump();
        let data: Vec<_> = sent.iter().filter(|sent| !sent.payload.is_empty()).collect();
        assert_eq!(fpdus.len(), 60);
        assert!(data.len() < 12, "{} segments", data.len());
        let mut alone = Deframer::new(markers_tx, true);
        for segment in data {
            assert!(segment.payload.len() <= 1460 && !alone.push(&segment.payload).is_empty());
            assert_eq!(alone.pending(), 0, "a segment holds whole FPDUs");
        }
    }
}

#[test]
fn no_ulpdu_is_longer_than_mulpdu() {
    for markers_tx in [false, true] {
        for mss in [200, 536, 1460, 4000, 8960] {
            let largest = mulpdu(mss, markers_tx);
            let context = Context { mss: mss as u16, mulpdu: largest as u16, markers_tx, ..context() };
            let mut scene = Scene::with(context);
            let data = pattern(30_000, 3);
            assert!(scene.memory.write(0, &data));
            scene.rig.post_send(QP, &write_from(0, 30_000));
            scene
                .rig
                .post_send(QP, &SendEntry { payload: write_from(0, 30_000).payload, ..send_inline(b"") });
            let (sent, fpdus) = scene.pump();
            assert!(sent.iter().all(|sent| sent.payload.len() <= mss as usize));
            assert!(fpdus.iter().all(|fpdu: &Fpdu| fpdu.ulpdu.len() <= largest as usize));
            let longest = fpdus.iter().map(|fpdu| fpdu.ulpdu.len()).max();
            assert_eq!(longest, Some(largest as usize), "and they are as long as they may be");
            let got: Vec<u8> = segments(&fpdus).into_iter().flat_map(|(_, payload)| payload).collect();
            assert!(got == [&data[..], &data[..]].concat(), "{mss} {markers_tx}");
        }
    }
}

#[test]
fn the_largest_fpdus_are_taken_in_parts() {
    for markers_rx in [false, true] {
        for len in [MAX_ULPDU as usize, MAX_ULPDU as usize - 1] {
            let rcv_adv = context().rcv_nxt.wrapping_add(262_144);
            let mut scene = Scene::with(Context { markers_rx, rcv_adv, ..context() });
            let data = pattern(len - 14, 7);
            let fpdu = scene.fpdu(&ulpdu(tagged(Opcode::Write, STAG, BASE, true), &data));
            for part in fpdu.chunks(1460) {
                assert!(scene.bytes(0, 4) == [0; 4], "nothing is placed before the CRC is seen");
                scene.send(part);
                scene.hear();
            }
            assert!(scene.bytes(0, data.len()) == data && scene.errors().is_empty(), "{markers_rx} {len}");
        }
    }
}

#[test]
fn a_flipped_bit_is_never_delivered_wherever_the_fpdu_is_cut() {
    for markers_rx in [false, true] {
        let scene = Scene::with(Context { markers_rx, ..context() });
        let len = scene.fpdu(&ulpdu(tagged(Opcode::Write, STAG, BASE, true), &[5; 21])).len();
        for at in 0..len {
            for (bit, cut) in [(0, 0), (3, 5), (7, len - 1), (5, at)] {
                let mut scene = Scene::with(Context { markers_rx, ..context() });
                let mut fpdu = scene.fpdu(&ulpdu(tagged(Opcode::Write, STAG, BASE, true), &[5; 21]));
                fpdu[at] ^= 1 << bit;
                scene.send(&fpdu[..cut]);
                scene.send(&fpdu[cut..]);
                // Good ones behind it, enough to complete whatever length the bad one claims.
                for _ in 0..50 {
                    scene.send_ddp(tagged(Opcode::Write, STAG, BASE + 100, true), &[6; 1400]);
                    scene.hear();
                }
                let causes: Vec<_> = scene.errors().into_iter().map(|error| error.0).collect();
                assert_eq!(causes, [ErrorCause::Detected], "byte {at}");
                assert!(scene.image().iter().all(|byte| *byte == 0), "byte {at} bit {bit} cut {cut}");
            }
        }
    }
}

#[test]
fn without_crc_the_field_is_zero_when_sent_and_ignored_when_received() {
    let mut scene = Scene::with(Context { crc: false, ..context() });
    for field in [[0; 4], [1, 2, 3, 4], [0xff; 4]] {
        let mut fpdu = scene.fpdu(&ulpdu(tagged(Opcode::Write, STAG, BASE, true), &field));
        let at = fpdu.len() - 4;
        fpdu[at..].copy_from_slice(&field);
        for part in fpdu.chunks(15) {
            scene.send(part);
        }
        assert_eq!(scene.bytes(0, 4), field);
    }
    scene.post(send_inline(b"no CRC"));
    let (sent, fpdus) = scene.pump();
    let payload = &sent.iter().find(|sent| !sent.payload.is_empty()).unwrap().payload;
    assert_eq!(payload[payload.len() - 4..], [0; 4]);
    assert_eq!(segments(&fpdus)[0].1, b"no CRC");
}

#[test]
fn nothing_behind_a_bad_fpdu_in_the_same_segment_is_looked_at() {
    for context in settings().filter(|context| context.crc) {
        let mut scene = Scene::with(context);
        let (list, _) = messages();
        let mut bytes = stream(&scene, &list);
        let first = scene.fpdu(&list[0]).len();
        bytes[first - 1] ^= 1;
        scene.send(&bytes);
        assert!(scene.image().iter().all(|byte| *byte == 0));
        assert_eq!(scene.rig.completions(CQ, true), []);
    }
}
