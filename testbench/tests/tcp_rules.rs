//! TCP as seen from the wire: RFC 9293 section 3.10.7.4, RFC 5961, RFC 5681, RFC 6582, RFC 6298.

use ironwarp_proto::abi::completion::Status;
use ironwarp_proto::abi::context::{Context, Mode, QpState, SAVE_STATE, STATE_WORDS, StateWords};
use ironwarp_proto::abi::doorbell::qp as doorbell;
use ironwarp_proto::abi::event::{ErrorCause, EventKind};
use ironwarp_proto::abi::field::load;
use ironwarp_proto::abi::regs::{self, Command, CommandStatus, Counter};
use ironwarp_proto::ddp::{QN_READ, QN_SEND};
use ironwarp_proto::mpa::stream::Fpdu;
use ironwarp_proto::pins::Nanos;
use ironwarp_proto::rdmap::Opcode;
use ironwarp_proto::seq::Seq;
use ironwarp_proto::wire::tcp::TcpFlags;
use ironwarp_testbench::rig::Rig;
use ironwarp_testbench::scene::*;

const MS: Nanos = 1_000_000;
const SECOND: Nanos = 1000 * MS;
const ACK: TcpFlags = TcpFlags::ACK;
const PUSH: TcpFlags = TcpFlags(TcpFlags::ACK.0 | TcpFlags::PSH.0);

/// A connection with `window` bytes of receive window.
fn with_window(window: u32) -> Scene {
    let rcv_adv = context().rcv_nxt.wrapping_add(window);
    Scene::with(Context { rcv_wnd: window, rcv_adv, rcv_wscale: 0, ..context() })
}

fn offset(seq: Seq, by: i64) -> Seq {
    Seq(seq.0.wrapping_add(by as u32))
}

/// A Write of 8 bytes into [`STAG`], 28 bytes long as an FPDU.
fn small_write(scene: &Scene, ahead: u32, value: u8) -> Vec<u8> {
    scene.peer.fpdu_ahead(ahead, &ulpdu(tagged(Opcode::Write, STAG, BASE, true), &[value; 8]))
}

fn payload_len(sent: &[Sent]) -> usize {
    sent.iter().map(|sent| sent.payload.len()).sum()
}

fn has_fin(sent: &[Sent]) -> bool {
    sent.iter().any(|sent| sent.tcp.flags.contains(TcpFlags::FIN))
}

#[test]
fn segments_are_accepted_by_table_6_of_rfc_9293() {
    const W: i64 = 1000;
    let table = [
        // Window, offset from RCV.NXT, length, acceptable.
        (0, 0, 0, true),
        (0, 1, 0, false),
        (0, -1, 0, false),
        (0, 1, 1, false),
        (0, -1, 1, false),
        (W, -1, 0, false),
        (W, 0, 0, true),
        (W, 1, 0, true),
        (W, W - 1, 0, true),
        (W, W, 0, false),
        (W, -1, 1, false),
        (W, -28, 28, false),
        (W, -1, 2, true),
        (W, 0, 1, true),
        (W, W - 1, 1, true),
        (W, W - 1, 28, true),
        (W, W, 1, false),
        (W, 1 << 31, 1, false),
    ];
    for (window, at, len, acceptable) in table {
        let case = format!("window {window}, offset {at}, length {len}");
        let mut scene = with_window(window as u32);
        scene.post(send_inline(b"acknowledged only if acceptable"));
        scene.hear();
        let next = scene.peer.snd;
        let payload = [0, 100, 3, 4].iter().cycle().take(len).copied().collect::<Vec<u8>>();
        let (seq, ack) = (offset(next, at), scene.peer.rcv);
        scene.segment(seq, ack, ACK, &payload);
        assert_eq!(scene.rig.completions(CQ, true).len(), usize::from(acceptable), "{case}");
        let answer = scene.hear();
        if !acceptable {
            assert_eq!(answer.len(), 1, "{case}: answered by an ACK");
            assert_eq!((answer[0].tcp.ack, answer[0].tcp.flags), (next, ACK), "{case}");
        } else if len == 0 {
            assert!(answer.is_empty(), "{case}");
        }
        assert_eq!(scene.rig.state(QP).state, QpState::Running, "{case}");
    }
}

#[test]
fn the_ack_of_a_segment_that_a_zero_window_refuses_still_counts() {
    let mut scene = with_window(0);
    scene.post(send_inline(b"x"));
    scene.hear();
    let fpdu = small_write(&scene, 0, 1);
    scene.segment(scene.peer.snd, scene.peer.rcv, PUSH, &fpdu);
    assert_eq!(scene.rig.completions(CQ, true).len(), 1);
    assert_eq!(scene.bytes(0, 8), [0; 8], "the data does not");
    assert_eq!(scene.hear().len(), 1, "and is answered");
}

#[test]
fn only_the_exact_rst_resets() {
    for at in [1, 2, 999, -1, 1000, 1 << 31] {
        let mut scene = with_window(1000);
        let seq = offset(scene.peer.snd, at);
        scene.segment(seq, scene.peer.rcv, TcpFlags::RST, &[]);
        let answer = scene.hear();
        let in_window = (1..1000).contains(&at);
        assert_eq!(
            answer.len(),
            usize::from(in_window),
            "{at}: challenge ACK in the window, silence outside"
        );
        if let Some(challenge) = answer.first() {
            assert_eq!((challenge.tcp.ack, challenge.tcp.seq), (scene.peer.snd, scene.peer.rcv));
        }
        assert_eq!(scene.errors(), [], "{at}");
    }
    for flags in [TcpFlags::RST, TcpFlags(TcpFlags::RST.0 | ACK.0)] {
        let mut scene = with_window(1000);
        scene.post(write_from(0, 3000));
        scene.hear();
        scene.segment(scene.peer.snd, scene.peer.rcv, flags, &[]);
        assert_eq!(scene.errors().iter().map(|error| error.0).collect::<Vec<_>>(), [ErrorCause::Reset]);
        assert!(scene.hear_after(100 * SECOND).is_empty(), "silence");
        scene.segment(scene.peer.snd, scene.peer.rcv, flags, &[]);
        assert_eq!(scene.errors(), [], "one event");
    }
}

#[test]
fn a_syn_anywhere_is_answered_by_a_challenge_ack() {
    for at in [-1000, -1, 0, 1, 999, 1000, 1 << 31] {
        for flags in [TcpFlags::SYN, TcpFlags(TcpFlags::SYN.0 | ACK.0)] {
            let mut scene = with_window(1000);
            let seq = offset(scene.peer.snd, at);
            scene.segment(seq, scene.peer.rcv, flags, &[]);
            let answer = scene.hear();
            assert_eq!(answer.len(), 1, "{at}");
            assert_eq!((answer[0].tcp.ack, answer[0].tcp.flags), (scene.peer.snd, ACK));
            assert_eq!((scene.errors(), scene.rig.state(QP).state), (vec![], QpState::Running));
        }
    }
}

#[test]
fn an_ack_must_be_between_una_minus_the_window_and_max() {
    // (ACK field relative to SND.MAX, acceptable)
    for (at, acceptable) in
        [(0, true), (-1, true), (-60_032, true), (-60_033, false), (1, false), (1 << 30, false)]
    {
        let mut scene = Scene::model();
        scene.post(send_inline(b"12345678"));
        scene.hear();
        let ack = offset(scene.peer.rcv, at);
        let fpdu = small_write(&scene, 0, 9);
        scene.segment(scene.peer.snd, ack, PUSH, &fpdu);
        let placed = scene.bytes(0, 8) == [9; 8];
        assert_eq!(placed, acceptable, "{at}: data of a segment with an impossible ACK is dropped");
        assert_eq!(scene.rig.counter(Counter::ChallengeAcks), u32::from(!acceptable), "{at}");
        assert_eq!(scene.hear().len(), 1, "{at}");
    }
}

#[test]
fn a_segment_without_ack_is_dropped() {
    let mut scene = Scene::model();
    let fpdu = small_write(&scene, 0, 9);
    scene.segment(scene.peer.snd, scene.peer.rcv, TcpFlags(0), &fpdu);
    assert_eq!((scene.bytes(0, 8), scene.hear().len()), (vec![0; 8], 0));
}

#[test]
fn challenge_acks_have_a_budget_of_their_connection() {
    let mut scene = Scene::model();
    let mut other = Peer::connect(&mut scene.rig, QP + 1, PORT + 1, context());
    let flood = |scene: &mut Scene| {
        let mut answers = 0;
        for _ in 0..100 {
            scene.segment(scene.peer.snd, scene.peer.rcv, TcpFlags::SYN, &[]);
            answers += scene.hear().len();
        }
        answers
    };
    let first = flood(&mut scene);
    assert!((1..100).contains(&first), "{first} of 100");
    scene.swap(&mut other);
    assert_eq!(
        flood(&mut scene),
        first,
        "another connection has its own: a common one would be a side channel"
    );
    scene.hear_after(60 * SECOND);
    assert_eq!(flood(&mut scene), first, "and it is renewed");
}

#[test]
fn each_out_of_order_segment_is_answered_at_once_by_a_duplicate_ack() {
    let mut scene = Scene::model();
    let fpdus: Vec<_> = (0..4).map(|n| small_write(&scene, n * 28, n as u8 + 1)).collect();
    let start = scene.peer.snd;
    for (n, fpdu) in (0..).zip(&fpdus).skip(1) {
        scene.segment(start + n * 28, scene.peer.rcv, ACK, fpdu);
        let answer = scene.hear();
        assert_eq!(answer.iter().map(|sent| sent.tcp.ack).collect::<Vec<_>>(), [start], "{n}");
    }
    assert_eq!((scene.bytes(0, 8), scene.rig.counter(Counter::OutOfOrder)), (vec![0; 8], 3));
    for (n, fpdu) in (0..).zip(&fpdus) {
        scene.segment(start + n * 28, scene.peer.rcv, PUSH, fpdu);
        assert_eq!(
            (scene.bytes(0, 8), scene.hear()[0].tcp.ack),
            (vec![n as u8 + 1; 8], start + (n + 1) * 28)
        );
    }
}

#[test]
fn overlaps_are_trimmed_on_the_left_and_answered_at_once() {
    for overlap in 1..=28 {
        let mut scene = Scene::model();
        let (first, second) = (small_write(&scene, 0, 1), small_write(&scene, 28, 2));
        let start = scene.peer.snd;
        scene.segment(start, scene.peer.rcv, PUSH, &first);
        scene.hear();
        let joined = [&first[28 - overlap..], &second[..]].concat();
        scene.segment(start + (28 - overlap as u32), scene.peer.rcv, ACK, &joined);
        assert_eq!((scene.bytes(0, 8), scene.hear()[0].tcp.ack), (vec![2; 8], start + 56), "{overlap}");
        scene.segment(start, scene.peer.rcv, ACK, &[first, second].concat());
        assert_eq!(scene.hear()[0].tcp.ack, start + 56, "{overlap}: an old segment is answered too");
        assert_eq!(scene.rig.counter(Counter::RxFpdus), 2, "{overlap}: and delivered once");
    }
}

#[test]
fn what_passes_the_window_is_cut_and_its_fin_too() {
    let mut scene = with_window(40);
    let start = scene.peer.snd;
    let both = [small_write(&scene, 0, 1), small_write(&scene, 28, 2)].concat();
    scene.segment(start, scene.peer.rcv, TcpFlags(PUSH.0 | TcpFlags::FIN.0), &both);
    assert_eq!((scene.bytes(0, 8), scene.hear()[0].tcp.ack), (vec![1; 8], start + 40));
    assert_eq!(scene.rig.events(), []);
    scene.segment(start + 40, scene.peer.rcv, TcpFlags(PUSH.0 | TcpFlags::FIN.0), &both[40..]);
    assert_eq!((scene.bytes(0, 8), scene.hear()[0].tcp.ack), (vec![2; 8], start + 57));
    assert_eq!(
        scene.rig.events().iter().map(|event| event.kind).collect::<Vec<_>>(),
        [EventKind::PeerClosed]
    );
}

#[test]
fn fin_counts_when_everything_before_it_has_come() {
    let mut scene = Scene::model();
    let start = scene.peer.snd;
    let fpdu = small_write(&scene, 0, 7);
    scene.segment(start + 28, scene.peer.rcv, TcpFlags(ACK.0 | TcpFlags::FIN.0), &[]);
    assert_eq!((scene.rig.events(), scene.hear()[0].tcp.ack), (vec![], start));
    scene.segment(start, scene.peer.rcv, PUSH, &fpdu);
    assert_eq!((scene.rig.events(), scene.hear()[0].tcp.ack), (vec![], start + 28));
    for retransmitted in 0..3 {
        scene.segment(start + 28, scene.peer.rcv, TcpFlags(ACK.0 | TcpFlags::FIN.0), &[]);
        assert_eq!(scene.hear()[0].tcp.ack, start + 29);
        assert_eq!(scene.rig.events().len(), usize::from(retransmitted == 0), "told once");
    }
    scene.segment(start + 29, scene.peer.rcv, PUSH, &fpdu);
    assert_eq!(scene.hear()[0].tcp.ack, start + 29, "nothing follows a FIN");
    assert_eq!(scene.rig.counter(Counter::RxFpdus), 1);
}

#[test]
fn fin_tells_what_it_cut() {
    // (bytes of an FPDU in front of it, message open, Read open)
    for (cut, message, read) in
        [(0, false, false), (5, false, false), (0, true, false), (0, false, true), (5, true, true)]
    {
        let mut scene = Scene::model();
        scene.post_receive(0, 64);
        if read {
            scene.post(read_into(0, 8));
            scene.pump();
        }
        if message {
            scene.send_ddp(untagged(Opcode::Send, QN_SEND, 1, 0, false), b"part");
        }
        let fpdu = small_write(&scene, 0, 1);
        scene.send_as(TcpFlags(ACK.0 | TcpFlags::FIN.0), &fpdu[..cut]);
        let events = scene.rig.events();
        let expected = u8::from(cut > 0) | u8::from(message) << 1 | u8::from(read) << 2;
        assert_eq!(
            events.iter().map(|event| (event.kind, event.code)).collect::<Vec<_>>(),
            [(EventKind::PeerClosed, expected)]
        );
    }
}

#[test]
fn our_fin_is_retransmitted_whatever_comes_behind_it() {
    let mut scene = Scene::model();
    scene.post(send_inline(b"last"));
    scene.ring(doorbell::FIN, 0);
    assert!(has_fin(&scene.lose()));
    // Too late to be answered, and no reason to forget the FIN.
    scene.send_ddp(untagged(Opcode::ReadRequest, QN_READ, 1, 0, true), &read_request(0, 8));
    scene.post(send_inline(b"too late"));
    let (sent, fpdus) = scene.pump_after(3 * SECOND);
    assert!(has_fin(&sent));
    assert_eq!(segments(&fpdus).len(), 1, "nothing follows a FIN");
    assert_eq!(scene.rig.events().iter().map(|event| event.kind).collect::<Vec<_>>(), [EventKind::FinAcked]);
}

#[test]
fn a_shut_window_is_probed_for_ever_and_opens() {
    let mut scene = Scene::model();
    scene.ack(scene.peer.rcv, 0);
    assert!(scene.memory.write(0, &pattern(3000, 1)));
    scene.post(write_from(0, 3000));
    assert!(scene.hear().is_empty(), "nothing passes a shut window");
    let start = scene.peer.rcv;
    let (mut last, mut gaps) = (scene.rig.now, Vec::new());
    for probes in 0..20 {
        loop {
            let at = scene.rig.device.next_event().expect("a probe is due");
            let sent = scene.lose_until(at);
            if !sent.is_empty() {
                assert!(payload_len(&sent) == 1 && sent[0].tcp.seq == start, "probe {probes}: one byte");
                break;
            }
        }
        gaps.push(scene.rig.now - last);
        last = scene.rig.now;
        scene.peer.rcv = start;
        scene.ack(start, 0);
    }
    assert!(gaps.windows(2).all(|pair| pair[1] >= pair[0]), "further and further apart: {gaps:?}");
    assert!(gaps[5] >= 8 * gaps[0] && gaps[19] <= 120 * SECOND, "{gaps:?}");
    assert_eq!(scene.errors(), [], "a peer that answers is alive");
    scene.peer.deframer = ironwarp_proto::mpa::stream::Deframer::new(false, true);
    scene.ack(start, 60_000);
    let (_, fpdus) = scene.pump();
    assert_eq!(segments(&fpdus).iter().map(|(_, payload)| payload.len()).sum::<usize>(), 3000);
    assert_eq!(scene.rig.completions(CQ, true).len(), 1);
}

#[test]
fn a_probe_that_is_taken_byte_by_byte_ends_in_the_same_stream() {
    let mut scene = Scene::model();
    scene.ack(scene.peer.rcv, 0);
    assert!(scene.memory.write(0, &pattern(200, 1)));
    scene.post(write_from(0, 200));
    scene.peer.window = 0;
    let mut fpdus = Vec::new();
    for _ in 0..10 {
        fpdus.extend(scene.pump_after(70 * SECOND).1);
    }
    let start = Seq(context().snd_nxt);
    assert!((8..30).contains(&scene.peer.rcv.diff(start)), "{}", scene.peer.rcv.diff(start));
    scene.ack(scene.peer.rcv, 60_000);
    fpdus.extend(scene.pump_after(SECOND).1);
    assert_eq!(segments(&fpdus)[0].1, pattern(200, 1));
}

#[test]
fn a_window_for_ever_below_one_fpdu_does_not_stall() {
    let mut scene = Scene::model();
    scene.peer.window = 600;
    scene.ack(scene.peer.rcv, 600);
    assert!(scene.memory.write(0, &pattern(20_000, 1)));
    scene.post(write_from(0, 20_000));
    let (mut got, mut waited) = (Vec::new(), 0);
    while got.len() < 20_000 {
        let (sent, fpdus) = scene.pump_after(SECOND);
        waited += 1;
        assert!(sent.iter().all(|sent| sent.payload.len() <= 600));
        got.extend(segments(&fpdus).into_iter().flat_map(|(_, payload)| payload));
        assert!(waited < 120, "{} bytes after {waited} s", got.len());
    }
    assert_eq!(got, pattern(20_000, 1));
}

#[test]
fn a_shrunk_window_does_not_lose_what_was_in_flight() {
    for window in [0, 1, 700, 2000] {
        let mut scene = Scene::model();
        assert!(scene.memory.write(0, &pattern(8000, 1)));
        scene.post(write_from(0, 8000));
        scene.lose();
        scene.ack(scene.peer.rcv, window);
        for _ in 0..5 {
            let limit = usize::from(window).max(1);
            let una = scene.peer.rcv;
            for sent in scene.lose_after(3 * SECOND) {
                let end = sent.tcp.seq.diff(una) as usize + sent.payload.len();
                assert!(end <= limit, "window {window}: {end} bytes from the left edge");
            }
            let una = scene.peer.rcv;
            scene.ack(una, window);
        }
        scene.ack(scene.peer.rcv, 60_000);
        let mut fpdus = Vec::new();
        for _ in 0..100 {
            fpdus.extend(scene.pump_after(SECOND).1);
        }
        let got: Vec<u8> = segments(&fpdus).into_iter().flat_map(|(_, payload)| payload).collect();
        assert_eq!(got, pattern(8000, 1), "window {window}");
        assert_eq!(scene.errors(), []);
    }
}

#[test]
fn only_a_newer_segment_updates_the_window() {
    let mut scene = Scene::model();
    let (snd, rcv) = (scene.peer.snd, scene.peer.rcv);
    let fpdus = [small_write(&scene, 0, 1), small_write(&scene, 28, 2)];
    let window = |scene: &mut Scene| scene.rig.state(QP).snd_wnd;
    scene.peer.window = 1000;
    scene.segment(snd, rcv, PUSH, &fpdus[0]);
    assert_eq!(window(&mut scene), 1000, "newer SEG.SEQ or the first");
    scene.peer.window = 2000;
    scene.segment(snd + 28, rcv, PUSH, &fpdus[1]);
    assert_eq!(window(&mut scene), 2000);
    scene.peer.window = 3000;
    // Overtaken on the way, with data in the window's left part: acceptable in part, but old.
    scene.segment(snd + 27, rcv, ACK, &[&fpdus[0][27..], &fpdus[1][..], &[0]].concat());
    assert_eq!(window(&mut scene), 2000, "WL1: an older SEG.SEQ changes nothing");
    scene.post(send_inline(b"x"));
    scene.hear();
    let acked = scene.peer.rcv;
    scene.peer.window = 4000;
    scene.segment(snd + 57, acked, ACK, &[]);
    assert_eq!(window(&mut scene), 4000, "newer ACK");
    scene.peer.window = 5000;
    scene.segment(snd + 57, rcv, ACK, &[]);
    assert_eq!(window(&mut scene), 4000, "WL2: an older ACK changes nothing");
}

#[test]
fn small_openings_of_the_window_are_not_filled() {
    let mut scene = Scene::model();
    scene.post(write_from(0, 20_000));
    scene.ack(scene.peer.rcv, 1460);
    assert_eq!(payload_len(&scene.hear()), 1460);
    for opening in [100, 200, 400, 800, 1200] {
        let all = scene.peer.rcv;
        scene.ack(all - (1460 - opening), 1460);
        assert!(scene.hear().is_empty(), "{opening} bytes");
    }
    scene.ack(scene.peer.rcv, 1460);
    assert_eq!(payload_len(&scene.hear()), 1460);
}

#[test]
fn every_second_segment_is_acknowledged_and_a_lone_one_within_the_delay() {
    let mut scene = Scene::model();
    let start = scene.peer.snd;
    for n in 1..=6 {
        let fpdu = small_write(&scene, 0, n);
        scene.send_as(ACK, &fpdu);
        let acks: Vec<_> = scene.hear().iter().map(|sent| sent.tcp.ack.diff(start)).collect();
        assert_eq!(acks, if n % 2 == 0 { vec![28 * i32::from(n)] } else { vec![] });
    }
    let fpdu = small_write(&scene, 0, 7);
    scene.send_as(ACK, &fpdu);
    assert!(scene.hear_after(30 * MS).is_empty());
    let sent = scene.hear_after(20 * MS);
    assert_eq!(sent.iter().map(|sent| sent.tcp.ack).collect::<Vec<_>>(), [scene.peer.snd]);
    assert!(scene.hear_after(10 * SECOND).is_empty(), "once");
}

#[test]
fn a_pushed_segment_is_acknowledged_at_once_in_rdma_mode() {
    let mut scene = Scene::model();
    let fpdu = small_write(&scene, 0, 1);
    scene.send_as(PUSH, &fpdu);
    assert_eq!(scene.hear().iter().map(|sent| sent.tcp.ack).collect::<Vec<_>>(), [scene.peer.snd]);
}

#[test]
fn data_carries_the_ack() {
    let mut scene = Scene::model();
    let fpdu = small_write(&scene, 0, 1);
    scene.send_as(ACK, &fpdu);
    scene.post(send_inline(b"x"));
    let sent = scene.hear();
    assert_eq!((sent.len(), sent[0].tcp.ack), (1, scene.peer.snd));
    let acked = scene.peer.rcv;
    scene.ack(acked, 60_000);
    assert!(scene.hear_after(SECOND).is_empty(), "no ACK is left over");
}

/// Times of all frames until the device gives up; nothing is answered.
fn send_times(scene: &mut Scene, most: usize) -> Vec<Nanos> {
    let mut times = Vec::new();
    while times.len() < most {
        let Some(at) = scene.rig.device.next_event() else { break };
        if !scene.lose_until(at).is_empty() {
            times.push(scene.rig.now);
        }
    }
    times
}

/// Milliseconds from `start` to `times`; a device may count time in steps of 1024 ns.
fn since(start: Nanos, times: &[Nanos]) -> Vec<Nanos> {
    times.iter().map(|at| (at - start + MS / 2) / MS).collect()
}

#[test]
fn the_retransmission_timer_backs_off_and_gives_up() {
    let mut scene = Scene::model();
    // 200 ms least RTO, 40 ms delayed ACK, 10 segments, 6 retransmissions, most is 200 ms << 5.
    scene.rig.write(regs::TCPCFG, 200 | 40 << 12 | 10 << 20 | 6 << 24 | 5 << 28);
    scene.post(send_inline(b"nobody hears this"));
    assert_eq!(scene.lose().len(), 1);
    let times = send_times(&mut scene, 100);
    let gaps: Vec<_> = [0].iter().chain(&times).zip(&times).map(|(a, b)| (b - a) / MS).collect();
    assert_eq!(gaps, [1000, 2000, 4000, 6400, 6400, 6400], "RFC 6298 5.5 and 2.5");
    assert_eq!(scene.errors().iter().map(|error| error.0).collect::<Vec<_>>(), [ErrorCause::RetryExceeded]);
    assert_eq!(scene.rig.completions(CQ, true), []);
    assert!(scene.hear_after(1000 * SECOND).is_empty());
}

#[test]
fn the_time_out_stays_backed_off_until_a_new_sample() {
    let mut scene = Scene::model();
    // One sample of 100 ms: RTO 300 ms.
    scene.post(send_inline(b"sample"));
    scene.hear();
    scene.rig.elapse(100 * MS);
    scene.ack(scene.peer.rcv, 60_000);
    scene.post(send_inline(b"lost twice"));
    let sent = scene.rig.now;
    scene.lose();
    let times = send_times(&mut scene, 2);
    assert_eq!(since(sent, &times), [300, 900]);
    // Its ACK says nothing about the round trip (Karn): the next segment still waits 1200 ms.
    scene.peer.rcv += 28;
    let len =
        scene.peer.fpdu_ahead(0, &ulpdu(untagged(Opcode::Send, 0, 2, 0, true), b"lost twice")).len() as u32;
    scene.peer.rcv = scene.peer.rcv - 28 + len;
    scene.ack(scene.peer.rcv, 60_000);
    scene.post(send_inline(b"next"));
    let sent = scene.rig.now;
    scene.lose();
    assert_eq!(since(sent, &send_times(&mut scene, 1)), [1200]);
}

/// Ten full segments in flight, none of them seen by the peer.
fn ten_in_flight() -> (Scene, Vec<Sent>) {
    let mut scene = Scene::model();
    assert!(scene.memory.write(0, &pattern(60_000, 1)));
    scene.post(write_from(0, 60_000));
    let sent = scene.lose();
    assert_eq!(sent.len(), 10, "initial window");
    (scene, sent)
}

#[test]
fn three_duplicate_acks_retransmit_one_segment_and_partial_acks_the_next() {
    let (mut scene, sent) = ten_in_flight();
    let start = scene.peer.rcv;
    let highest = sent[9].tcp.seq;
    // Segments 0 and 4 are lost.
    let mut new = 0;
    for n in 1..=3 {
        scene.ack(start, 60_000);
        let answer = scene.lose();
        if n < 3 {
            new += answer.len();
            assert!(answer.iter().all(|sent| sent.tcp.seq.after(start)), "limited transmit");
        } else {
            assert_eq!(answer.iter().filter(|sent| sent.tcp.seq == start).count(), 1, "fast retransmit");
            let mut others = answer.iter().filter(|sent| sent.tcp.seq != start);
            assert!(others.all(|sent| sent.tcp.seq.after(highest)), "and of that segment only");
        }
    }
    assert_eq!(new, 2, "RFC 5681 3.2 step 1");
    assert_eq!(scene.rig.counter(Counter::FastRetransmits), 1);
    let partial = sent[4].tcp.seq;
    scene.ack(partial, 60_000);
    let answer = scene.lose();
    assert_eq!(answer.iter().filter(|sent| sent.tcp.seq == partial).count(), 1, "NewReno: partial ACK");
    assert_eq!(scene.rig.counter(Counter::Timeouts), 0);
    let cwnd = scene.rig.state(QP).cwnd;
    let all = Seq(scene.rig.state(QP).snd_nxt);
    scene.ack(all, 60_000);
    let after = scene.rig.state(QP).cwnd;
    assert!(after <= cwnd.max(6 * 1460) && after >= 2 * 1460, "deflated: {after}");
    assert_eq!(scene.rig.counter(Counter::FastRetransmits), 1);
}

#[test]
fn what_is_no_duplicate_ack_does_not_count_as_one() {
    let (mut scene, _) = ten_in_flight();
    let start = scene.peer.rcv;
    for n in 0..6 {
        // The window differs, or the segment carries data.
        scene.ack(start, 50_000 + n);
        let fpdu = small_write(&scene, 0, 1);
        scene.send_as(PUSH, &fpdu);
    }
    assert_eq!(scene.rig.counter(Counter::FastRetransmits), 0);
}

#[test]
fn slow_start_adds_a_segment_for_each_ack_and_a_time_out_starts_it_again() {
    let (mut scene, sent) = ten_in_flight();
    for next in &sent[1..] {
        scene.ack(next.tcp.seq, 60_000);
        assert_eq!(scene.lose().len(), 2, "one that left the network, one for growth");
    }
    let (flight_end, una) = (Seq(scene.rig.state(QP).snd_nxt), sent[9].tcp.seq);
    let flight = flight_end.diff(una) as u32;
    let timeouts = scene.rig.counter(Counter::Timeouts);
    assert_eq!(send_times(&mut scene, 1).len(), 1);
    assert_eq!(scene.rig.counter(Counter::Timeouts), timeouts + 1);
    assert_eq!(scene.rig.state(QP).cwnd, 1460, "loss window");
    // Half of the flight by slow start, then a segment a window.
    let mut ack = una;
    let mut grown = Vec::new();
    while ack.before(flight_end) {
        ack = (ack + 1460).min(flight_end);
        scene.ack(ack, 60_000);
        scene.lose();
        grown.push(scene.rig.state(QP).cwnd);
    }
    let threshold = (flight / 2).div_ceil(1460) * 1460;
    assert_eq!(grown[0], 2 * 1460);
    assert!(grown.windows(2).all(|pair| pair[1] - pair[0] <= 1460));
    let top = *grown.last().unwrap();
    assert!(top >= threshold && top <= threshold + 3 * 1460, "{top} with {threshold}");
}

#[test]
fn a_silent_peer_is_probed_by_keep_alives() {
    // 64 ms * 10 idle, three probes.
    let mut scene = Scene::with(Context { keepalive: 10, keepalive_probes: 3, ..context() });
    for _ in 0..5 {
        let probe = scene.hear_after(640 * MS);
        assert_eq!(probe.len(), 1);
        assert_eq!((probe[0].tcp.seq, probe[0].payload.len()), (scene.peer.rcv - 1, 0));
        scene.send_flags(ACK);
    }
    let times = send_times(&mut scene, 10);
    let times: Vec<_> = times.iter().map(|at| (at - 5 * 640 * MS) / MS).collect();
    assert_eq!(times, [640, 1280, 1920]);
    assert_eq!(scene.errors().iter().map(|error| error.0).collect::<Vec<_>>(), [ErrorCause::RetryExceeded]);
}

#[test]
fn a_keep_alive_of_the_peer_is_answered() {
    let mut scene = Scene::model();
    scene.segment(scene.peer.snd - 1, scene.peer.rcv, ACK, &[]);
    assert_eq!(scene.hear().iter().map(|sent| sent.tcp.ack).collect::<Vec<_>>(), [scene.peer.snd]);
}

/// A small deterministic generator.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % u64::from(below)) as u32
    }
}

/// Send `len` bytes over a link that loses segments and cuts them at any byte, with changes of MSS on the way.
fn lossy(context: Context, seed: u64, modify: bool) {
    let mut scene = Scene::with(context);
    let len = 40_000;
    let data = pattern(len, seed as u8);
    assert!(scene.memory.write(0, &data));
    for at in (0..len).step_by(10_000) {
        scene.post(write_from(at as u64, 10_000));
        scene.post(send_inline(b"between"));
    }
    let (mut dice, mut fpdus): (Dice, Vec<Fpdu>) = (Dice(seed), Vec::new());
    for round in 0.. {
        assert!(round < 4000, "no progress with seed {seed}");
        let mut frames = scene.rig.frames();
        if frames.is_empty() {
            let Some(at) = scene.rig.device.next_event() else { break };
            frames = scene.rig.elapse(at - scene.rig.now);
        }
        for frame in frames {
            let sent = parse(&frame);
            // The link passes the first bytes only, all, or none.
            let keep = match dice.roll(4) {
                0 => 0,
                1 => dice.roll(sent.payload.len() as u32 + 1) as usize,
                _ => sent.payload.len(),
            };
            let cut = Sent { payload: sent.payload[..keep].to_vec(), ..sent };
            scene.receive_part(&cut, &mut fpdus);
            scene.ack(scene.peer.rcv, context.snd_wnd as u16);
        }
        if modify && dice.roll(8) == 0 {
            let mss = 100 + dice.roll(1361);
            let mulpdu = ironwarp_proto::mpa::fpdu::mulpdu(mss, context.markers_tx);
            assert_eq!(scene.rig.command(Command::Modify, QP, mss | mulpdu << 16), CommandStatus::Ok);
        }
    }
    let (mut writes, mut sends) = (Vec::new(), 0);
    for (header, payload) in segments(&fpdus) {
        if header.is_tagged() {
            writes.extend(payload);
        } else {
            sends += 1;
        }
    }
    assert_eq!((writes == data, sends), (true, len / 10_000));
    let done = scene.rig.completions(CQ, true);
    assert!(done.len() == 2 * len / 10_000 && done.iter().all(|done| done.status == Status::Ok));
}

#[test]
fn what_is_sent_again_is_byte_identical_wherever_the_link_cuts_it() {
    for seed in 0..20 {
        lossy(context(), seed, false);
    }
}

#[test]
fn what_is_sent_again_is_byte_identical_across_changes_of_mss_and_with_markers() {
    for seed in 0..20 {
        for markers_tx in [false, true] {
            lossy(Context { markers_tx, mulpdu: 1442, ..context() }, seed, true);
        }
    }
}

#[test]
fn sequence_numbers_wrap_everywhere() {
    for back in [0, 1, 3, 28, 100, 1459, 1460, 20_000] {
        for wrap in [0, 1 << 31] {
            let snd_nxt = u32::wrapping_sub(wrap, back);
            let rcv_nxt = snd_nxt;
            let rcv_adv = rcv_nxt.wrapping_add(60_000);
            lossy(
                Context { snd_nxt, rcv_nxt, rcv_adv, markers_tx: true, mulpdu: 1442, ..context() },
                5,
                false,
            );
            let mut scene = Scene::with(Context { snd_nxt, rcv_nxt, rcv_adv, ..context() });
            for n in 0..40 {
                let fpdu = scene.fpdu(&ulpdu(tagged(Opcode::Write, STAG, BASE, true), &pattern(1000, n)));
                scene.send(&fpdu);
                assert_eq!(
                    (scene.bytes(0, 1000), scene.pump().0[0].tcp.ack),
                    (pattern(1000, n), scene.peer.snd)
                );
            }
        }
    }
}

#[test]
fn segments_smaller_than_the_smallest_fpdu_need_no_timer() {
    // RFC 5044 4.5: MULPDU is 128 even if EMSS is less, and FPDUs are cut.
    let mut scene = Scene::with(Context { mss: 100, mulpdu: 128, ..context() });
    assert!(scene.memory.write(0, &pattern(2000, 1)));
    scene.post(write_from(0, 2000));
    let (sent, fpdus) = scene.pump();
    assert!(sent.iter().all(|sent| sent.payload.len() <= 100));
    let got: Vec<u8> = segments(&fpdus).into_iter().flat_map(|(_, payload)| payload).collect();
    assert!(got == pattern(2000, 1), "{} bytes came", got.len());
}

#[test]
fn a_responder_sends_no_fpdu_before_it_has_received_one() {
    let mut scene = Scene::with(Context { hold: true, ..context() });
    scene.post(send_inline(b"held"));
    assert!(scene.hear_after(100 * SECOND).is_empty());
    let fpdu = small_write(&scene, 0, 1);
    scene.send(&fpdu[..27]);
    assert_eq!(payload_len(&scene.hear()), 0, "part of an FPDU");
    scene.send(&fpdu[27..]);
    let (_, fpdus) = scene.pump();
    assert_eq!(segments(&fpdus)[0].1, b"held");
}

#[test]
fn no_frame_is_lost_or_reordered_by_the_hand_off() {
    // `wire` frames come before each of the four steps, in every combination of 0, 1 and 2.
    for case in 0..81 {
        let counts = [case % 3, case / 3 % 3, case / 9 % 3, case / 27];
        let mut scene = Scene::furnished(Rig::device(), context());
        let (mut sent, mut kept) = (0u8, Vec::new());
        let mut arrive = |scene: &mut Scene, count| {
            for _ in 0..count {
                sent += 1;
                let header = tagged(Opcode::Write, STAG, BASE + u64::from(sent), true);
                scene.send_ddp(header, &[sent]);
            }
        };
        arrive(&mut scene, counts[0]);
        kept.extend(scene.rig.raw_frames());
        scene.activate();
        arrive(&mut scene, counts[1]);
        let mut seen = 0;
        let mut again = 0;
        loop {
            kept.extend(scene.rig.raw_frames());
            for (header, frame) in kept.drain(..) {
                if let Some((qp, count)) = header.diverted {
                    assert_eq!((qp, count), (QP, seen + 1));
                    seen = count;
                }
                scene.rig.raw_send(&frame, true);
            }
            if again < 1 {
                arrive(&mut scene, counts[2]);
            }
            match scene.rig.command(Command::Go, QP, seen.into()) {
                CommandStatus::Ok => break,
                status => assert_eq!(status, CommandStatus::Again),
            }
            again += 1;
            assert!(again < 3, "{counts:?}");
        }
        assert_eq!(again > 0, counts[2] > 0, "{counts:?}: AGAIN when and only when frames came meanwhile");
        arrive(&mut scene, counts[3]);
        let total = counts.iter().sum::<usize>();
        let placed = scene.bytes(1, 8);
        let expected: Vec<u8> = (1..=8).map(|n| if usize::from(n) <= total { n } else { 0 }).collect();
        assert_eq!(placed, expected, "{counts:?}");
        assert_eq!(scene.rig.counter(Counter::OutOfOrder), 0, "{counts:?}");
        assert_eq!(scene.rig.command(Command::Go, QP, 0), CommandStatus::BadState);
    }
}

#[test]
fn nothing_leaves_between_activate_and_go() {
    let mut scene = Scene::activated(context());
    scene.post(send_inline(b"x"));
    let frame = {
        let fpdu = small_write(&scene, 0, 3);
        scene.frame_at(scene.peer.snd, PUSH, &fpdu)
    };
    scene.rig.raw_send(&frame, true);
    assert_eq!((scene.bytes(0, 8), scene.hear_after(5 * SECOND).len()), (vec![3; 8], 0));
    assert_eq!(scene.rig.command(Command::Go, QP, 0), CommandStatus::Ok);
    assert_eq!(scene.hear().len(), 1);
}

#[test]
fn stream_mode_delays_the_ack_of_pushed_data() {
    let rcv_adv = context().rcv_nxt.wrapping_add(65_535);
    let mut scene = Scene::with(Context { mode: Mode::Stream, rcv_adv, ..context() });
    scene.send(b"pushed");
    assert!(scene.hear().is_empty());
    assert_eq!(scene.hear_after(50 * MS).len(), 1);
}

#[test]
fn urgent_data_is_data() {
    let mut scene = Scene::model();
    let fpdu = small_write(&scene, 0, 4);
    scene.send_as(TcpFlags(PUSH.0 | TcpFlags::URG.0), &fpdu);
    assert_eq!(scene.bytes(0, 8), [4; 8]);
}

#[test]
fn a_quiesced_connection_is_handed_back_and_its_frames_go_to_software() {
    let mut scene = Scene::model();
    scene.post(send_inline(b"not acknowledged"));
    scene.lose();
    let fpdu = small_write(&scene, 0, 4);
    scene.send(&fpdu);
    let before = scene.rig.state(QP);
    assert_eq!(scene.rig.command(Command::Quiesce, QP, 0), CommandStatus::Ok);
    assert_eq!(scene.rig.events().iter().map(|event| event.kind).collect::<Vec<_>>(), [EventKind::Quiesced]);
    let mut bytes = [0; 4 * STATE_WORDS];
    assert!(scene.rig.qp_memory(QP).save.read(SAVE_STATE, &mut bytes));
    let saved = StateWords::decode(&load(&bytes));
    assert_eq!(saved, StateWords { state: QpState::Quiesced, ..before });
    assert_eq!((saved.snd_una, saved.rcv_nxt), (context().snd_nxt, scene.peer.snd.0));
    assert!(scene.hear_after(10 * SECOND).is_empty());
    scene.send(&fpdu);
    assert_eq!(scene.rig.raw_frames().len(), 1);
    // The same connection may come back.
    scene.activate();
    assert_eq!(scene.rig.command(Command::Go, QP, 0), CommandStatus::Ok);
}

#[test]
fn a_reset_queue_pair_forgets_everything_in_any_state() {
    for stop in [None, Some(TcpFlags::RST), Some(TcpFlags::FIN)] {
        let mut scene = Scene::model();
        scene.post(write_from(0, 8000));
        if let Some(flags) = stop {
            scene.segment(scene.peer.snd, scene.peer.rcv, TcpFlags(flags.0 | ACK.0), &[]);
        }
        assert_eq!(scene.rig.command(Command::Reset, QP, 0), CommandStatus::Ok);
        assert_eq!(scene.rig.state(QP).state, QpState::Inactive);
        assert!(scene.hear_after(100 * SECOND).is_empty());
        scene.ring(doorbell::SQ_PRODUCER, 3);
        scene.send_flags(ACK);
        assert_eq!(scene.rig.raw_frames().len(), 1);
        scene.activate();
    }
}
