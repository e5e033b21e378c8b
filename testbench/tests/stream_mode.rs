//! Stream mode: plain TCP between byte rings.

use ironwarp_proto::abi::context::{Context, Mode, StreamStatus};
use ironwarp_proto::abi::doorbell::{STREAM_ARM_RX, STREAM_ARM_TX, qp as doorbell};
use ironwarp_proto::abi::event::{ErrorCause, EventKind};
use ironwarp_proto::abi::field::load;
use ironwarp_proto::abi::regs::Counter;
use ironwarp_proto::pins::Nanos;
use ironwarp_proto::seq::Seq;
use ironwarp_proto::wire::tcp::TcpFlags;
use ironwarp_testbench::scene::*;

const SECOND: Nanos = 1_000_000_000;
const RING: usize = 4096;

/// A connection with rings of 4 KiB.
fn scene() -> Scene {
    let rcv_adv = context().rcv_nxt.wrapping_add(RING as u32);
    Scene::with(Context { mode: Mode::Stream, sq_log2: 12, rq_log2: 12, rcv_adv, rcv_wscale: 0, ..context() })
}

fn status(scene: &Scene) -> StreamStatus {
    let mut bytes = [0; StreamStatus::SIZE];
    assert!(scene.rig.qp_memory(QP).staging.read(0, &mut bytes));
    StreamStatus::decode(&load(&bytes))
}

/// Put bytes into the send ring behind `written`; the new count.
fn write(scene: &mut Scene, written: u32, bytes: &[u8]) -> u32 {
    for (n, byte) in (0..).zip(bytes) {
        let at = written.wrapping_add(n) as usize % RING;
        assert!(scene.rig.qp_memory(QP).sq.write(at, &[*byte]));
    }
    let end = written.wrapping_add(bytes.len() as u32);
    scene.ring(doorbell::STREAM_SEND, end);
    end
}

/// Bytes of the receive ring.
fn read(scene: &Scene, from: u32, len: usize) -> Vec<u8> {
    (0..len)
        .map(|n| {
            let mut byte = [0];
            let at = from.wrapping_add(n as u32) as usize % RING;
            assert!(scene.rig.qp_memory(QP).rq.read(at, &mut byte));
            byte[0]
        })
        .collect()
}

/// What the device sends now, in order; acknowledged.
fn collect(scene: &mut Scene, time: Nanos) -> Vec<u8> {
    let start = scene.peer.rcv;
    let (sent, _) = scene.pump_after(time);
    let len = scene.peer.rcv.diff(start) as usize;
    let mut bytes = vec![0; len];
    for segment in sent {
        let at = segment.tcp.seq.diff(start);
        for (n, byte) in (at..).zip(segment.payload) {
            if let Some(to) = usize::try_from(n).ok().and_then(|n| bytes.get_mut(n)) {
                *to = byte;
            }
        }
    }
    bytes
}

fn kinds(scene: &mut Scene) -> Vec<EventKind> {
    scene.rig.events().iter().map(|event| event.kind).collect()
}

fn window(sent: &[Sent]) -> Option<u16> {
    sent.last().map(|sent| sent.tcp.window)
}

#[test]
fn bytes_go_out_in_order_around_the_ring_whatever_their_cut() {
    let data = pattern(50_000, 1);
    let (mut scene, mut written, mut got) = (scene(), 0, Vec::new());
    let mut at = 0;
    for size in (1..).map(|n: usize| n * 389 % 4000 + 1) {
        let free = RING - (written - status(&scene).acked) as usize;
        let len = size.min(free).min(data.len() - at);
        written = write(&mut scene, written, &data[at..at + len]);
        at += len;
        got.extend(collect(&mut scene, 0));
        if at == data.len() {
            break;
        }
    }
    got.extend(collect(&mut scene, SECOND));
    assert!(got == data, "{} of {} bytes", got.len(), data.len());
    assert_eq!(status(&scene).acked, 50_000);
}

#[test]
fn bytes_come_in_in_order_around_the_ring_whatever_their_cut() {
    let data = pattern(50_000, 2);
    let (mut scene, mut taken, mut at) = (scene(), 0u32, 0);
    for size in (1..).map(|n: usize| n * 613 % 1460 + 1) {
        let len = size.min(data.len() - at);
        scene.send(&data[at..at + len]);
        at += len;
        let received = status(&scene).received;
        assert_eq!(received as usize, at);
        let got = read(&scene, taken, (received - taken) as usize);
        assert!(got == data[taken as usize..received as usize]);
        taken = received;
        scene.ring(doorbell::STREAM_CONSUMED, taken);
        scene.hear();
        if at == data.len() {
            break;
        }
    }
}

#[test]
fn the_window_follows_the_ring_and_nothing_passes_it() {
    let mut scene = scene();
    let data = pattern(6000, 3);
    for part in data.chunks(1000) {
        scene.send(part);
    }
    let sent = scene.hear();
    assert_eq!(
        (window(&sent), sent.last().unwrap().tcp.ack),
        (Some(0), Seq(context().rcv_nxt) + RING as u32)
    );
    assert_eq!(status(&scene).received as usize, RING);
    assert!(read(&scene, 0, RING) == data[..RING]);
    scene.peer.snd = Seq(context().rcv_nxt) + RING as u32;
    // A probe is refused and answered.
    scene.send(&data[RING..RING + 1]);
    scene.peer.snd = scene.peer.snd - 1;
    assert_eq!(window(&scene.hear()), Some(0));
    // Small openings are not told (RFC 9293 3.8.6.2.2), a large one is, at once.
    scene.ring(doorbell::STREAM_CONSUMED, 100);
    assert!(scene.hear_after(SECOND).is_empty(), "silly window");
    scene.ring(doorbell::STREAM_CONSUMED, 1459);
    assert!(scene.hear_after(SECOND).is_empty(), "one byte less than a segment");
    scene.ring(doorbell::STREAM_CONSUMED, 1460);
    assert_eq!(window(&scene.hear()), Some(1460));
    scene.send(&data[RING..]);
    assert!(read(&scene, RING as u32, 1460) == data[RING..RING + 1460]);
}

#[test]
fn the_right_edge_never_moves_left() {
    let mut scene = scene();
    let mut edge = Seq(context().rcv_nxt);
    let mut taken = 0u32;
    for n in 0..300usize {
        scene.send(&pattern(n * 37 % 400, n as u8));
        if n % 3 == 0 {
            taken = status(&scene).received.wrapping_sub(n as u32 % 50).max(taken);
            scene.ring(doorbell::STREAM_CONSUMED, taken);
        }
        for sent in scene.hear_after(SECOND / 20) {
            let now = sent.tcp.ack + u32::from(sent.tcp.window);
            assert!(!now.before(edge), "{n}: from {edge:?} to {now:?}");
            assert!(
                now.diff(Seq(context().rcv_nxt)) as u32 <= taken + RING as u32,
                "{n}: more than the ring holds"
            );
            edge = now;
        }
        let room = edge.diff(scene.peer.snd);
        if room < 400 {
            taken = status(&scene).received;
            scene.ring(doorbell::STREAM_CONSUMED, taken);
            scene.hear();
        }
    }
}

#[test]
fn the_sender_avoids_silly_segments() {
    let mut scene = scene();
    scene.ack(scene.peer.rcv, 1000);
    write(&mut scene, 0, &pattern(4000, 1));
    assert!(scene.hear().is_empty(), "less than a segment and less than half of the largest window");
    let sent = scene.hear_after(2 * SECOND);
    assert_eq!(sent.first().map(|sent| sent.payload.len()), Some(1000), "until the persist timer says so");
}

#[test]
fn an_armed_stream_tells_once_and_at_once_if_the_status_is_newer() {
    let mut scene = scene();
    let arm = |scene: &mut Scene, bits| {
        let seen = status(scene).sequence & 0xffff;
        scene.ring(doorbell::STREAM_ARM, seen | bits);
    };
    arm(&mut scene, STREAM_ARM_RX);
    assert_eq!(kinds(&mut scene), []);
    scene.send(b"one");
    scene.send(b"two");
    assert_eq!(kinds(&mut scene), [EventKind::Stream]);
    scene.ring(doorbell::STREAM_ARM, (status(&scene).sequence - 1) & 0xffff | STREAM_ARM_RX);
    assert_eq!(kinds(&mut scene), [EventKind::Stream], "there is more than was seen");
    arm(&mut scene, STREAM_ARM_TX);
    scene.send(b"three");
    assert_eq!(kinds(&mut scene), [], "armed for freed space only");
    write(&mut scene, 0, b"out");
    collect(&mut scene, 0);
    assert_eq!(kinds(&mut scene), [EventKind::Stream]);
    arm(&mut scene, STREAM_ARM_RX);
    scene.send_flags(TcpFlags::FIN);
    assert_eq!(kinds(&mut scene), [EventKind::PeerClosed, EventKind::Stream]);
    assert!(status(&scene).closed);
}

#[test]
fn the_status_is_written_behind_the_data_as_one_write() {
    let mut scene = scene();
    scene.rig.dma.log();
    scene.send(&[1; 100]);
    let writes: Vec<_> = scene.rig.dma.log().into_iter().filter(|access| access.write).collect();
    let memory = scene.rig.qp_memory(QP);
    assert_eq!(writes.len(), 2);
    assert_eq!((writes[0].addr, writes[0].len), (memory.rq.addr(), 100));
    assert_eq!((writes[1].addr, writes[1].len), (memory.staging.addr(), StreamStatus::SIZE));
}

#[test]
fn fin_goes_behind_all_bytes_and_later_ones_are_never_sent() {
    let mut scene = scene();
    let written = write(&mut scene, 0, &pattern(3000, 1));
    scene.ring(doorbell::FIN, 0);
    scene.lose();
    write(&mut scene, written, b"too late");
    scene.lose_after(5 * SECOND);
    let start = scene.peer.rcv;
    let got = collect(&mut scene, 20 * SECOND);
    assert_eq!(scene.peer.rcv.diff(start), 3001);
    assert!(got[..3000] == pattern(3000, 1));
    assert_eq!(kinds(&mut scene), [EventKind::FinAcked]);
    assert_eq!(status(&scene).acked, 3000, "FIN is not a byte");
}

#[test]
fn both_directions_close_apart() {
    let mut scene = scene();
    scene.send_as(TcpFlags::ACK | TcpFlags::FIN, b"last words");
    assert_eq!((kinds(&mut scene), status(&scene).received), (vec![EventKind::PeerClosed], 10));
    assert_eq!(scene.hear().last().map(|sent| sent.tcp.ack), Some(scene.peer.snd));
    let mut written = 0;
    for n in 0..5 {
        written = write(&mut scene, written, &pattern(1000, n));
        assert_eq!(collect(&mut scene, SECOND), pattern(1000, n), "our direction is still open");
    }
    scene.ring(doorbell::FIN, 0);
    collect(&mut scene, 0);
    assert_eq!(kinds(&mut scene), [EventKind::FinAcked]);
}

#[test]
fn stale_offsets_are_ignored_and_impossible_ones_stop() {
    let ring = RING as u32;
    for (name, value, stops) in [
        (doorbell::STREAM_SEND, 0, false),
        (doorbell::STREAM_SEND, 500, false),
        (doorbell::STREAM_SEND, 1000 + ring, false),
        (doorbell::STREAM_SEND, 1001 + ring, true),
        (doorbell::STREAM_SEND, 1 << 31, true),
        (doorbell::STREAM_CONSUMED, 0, false),
        (doorbell::STREAM_CONSUMED, 200, false),
        (doorbell::STREAM_CONSUMED, 201, true),
        (doorbell::STREAM_CONSUMED, 1 << 31, true),
    ] {
        let mut scene = scene();
        write(&mut scene, 0, &pattern(1000, 1));
        collect(&mut scene, 0);
        scene.send(&[1; 200]);
        scene.ring(doorbell::STREAM_CONSUMED, 100);
        scene.ring(name, value);
        let errors: Vec<_> = scene.errors().into_iter().map(|error| error.0).collect();
        assert_eq!(errors, if stops { vec![ErrorCause::Doorbell] } else { vec![] }, "{name:#x} {value}");
    }
}

#[test]
fn a_fault_of_the_receive_ring_is_fatal_and_nothing_is_acknowledged() {
    let mut scene = scene();
    let at = scene.rig.qp_memory(QP).rq.addr();
    scene.rig.dma.refuse(at + 150..at + 151);
    scene.send(&[1; 100]);
    let good = scene.peer.snd;
    scene.send(&[2; 100]);
    assert_eq!(scene.errors().into_iter().map(|error| error.0).collect::<Vec<_>>(), [ErrorCause::Fatal]);
    assert!(scene.hear().iter().all(|sent| !sent.tcp.ack.after(good)));
}

/// Send the bytes `range` of `data`, wherever the stream stands.
fn send_range(scene: &mut Scene, data: &[u8], range: std::ops::Range<usize>) {
    let (seq, ack) = (Seq(context().rcv_nxt) + range.start as u32, scene.peer.rcv);
    scene.segment(seq, ack, TcpFlags::ACK, &data[range]);
}

#[test]
fn bytes_behind_a_gap_are_kept_and_acknowledged_when_it_fills() {
    let (mut scene, data) = (scene(), pattern(4000, 4));
    let start = Seq(context().rcv_nxt);
    send_range(&mut scene, &data, 500..1000);
    assert_eq!(scene.hear().last().unwrap().tcp.ack, start, "a duplicate ACK at once");
    send_range(&mut scene, &data, 1000..2000);
    assert_eq!(scene.hear().last().unwrap().tcp.ack, start);
    send_range(&mut scene, &data, 3000..3500);
    assert_eq!((scene.hear().last().unwrap().tcp.ack, status(&scene).received), (start, 0));
    send_range(&mut scene, &data, 0..500);
    assert_eq!(scene.hear().last().unwrap().tcp.ack, start + 2000, "the first gap is full, at once");
    assert_eq!(status(&scene).received, 2000);
    send_range(&mut scene, &data, 2000..3000);
    assert_eq!(scene.hear().last().unwrap().tcp.ack, start + 3500, "and the second");
    send_range(&mut scene, &data, 3500..4000);
    scene.hear();
    assert_eq!(status(&scene).received, 4000);
    assert!(read(&scene, 0, 4000) == data);
    assert_eq!(scene.rig.counter(Counter::OutOfOrder), 0);
}

#[test]
fn runs_behind_too_many_gaps_are_dropped_and_come_again() {
    let (mut scene, data) = (scene(), pattern(4000, 6));
    for n in (0..10).rev() {
        send_range(&mut scene, &data, 400 * n + 100..400 * n + 200);
    }
    assert!(scene.rig.counter(Counter::OutOfOrder) > 0);
    for at in (0..4000).step_by(100) {
        send_range(&mut scene, &data, at..at + 100);
    }
    scene.hear();
    assert_eq!(status(&scene).received, 4000);
    assert!(read(&scene, 0, 4000) == data);
}

#[test]
fn a_run_behind_a_gap_stays_within_the_window_and_its_fin_comes_again() {
    let (mut scene, data) = (scene(), pattern(RING, 5));
    let (start, ack) = (Seq(context().rcv_nxt), scene.peer.rcv);
    let mut longer = data[2000..].to_vec();
    longer.extend([0xee; 500]);
    scene.segment(start + 2000, ack, TcpFlags::ACK, &longer);
    assert!(read(&scene, 0, 2000) == vec![0; 2000], "what passes the window would be the start of the ring");
    send_range(&mut scene, &data, 0..2000);
    assert_eq!(
        (scene.hear().last().unwrap().tcp.ack, status(&scene).received),
        (start + RING as u32, RING as u32)
    );
    assert!(read(&scene, 0, RING) == data);

    let (mut scene, ack) = (self::scene(), scene.peer.rcv);
    scene.segment(start + 10, ack, TcpFlags::ACK | TcpFlags::FIN, &data[10..20]);
    send_range(&mut scene, &data, 0..10);
    assert_eq!((scene.hear().last().unwrap().tcp.ack, status(&scene).closed), (start + 20, false));
    scene.segment(start + 10, ack, TcpFlags::ACK | TcpFlags::FIN, &data[10..20]);
    assert_eq!((scene.hear().last().unwrap().tcp.ack, status(&scene).closed), (start + 21, true));
}

#[test]
fn whatever_the_order_of_segments_the_bytes_end_where_they_belong() {
    for seed in 0..50u32 {
        let (mut scene, data) = (scene(), pattern(RING, seed as u8));
        let mut state = seed.wrapping_mul(2_654_435_761) | 1;
        let mut random = |below: u32| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            (state % below) as usize
        };
        let mut rounds = 0;
        while (status(&scene).received as usize) < RING {
            // Mostly near the next byte expected, overlapping at will.
            let from = (status(&scene).received as usize + random(900)).saturating_sub(300).min(RING - 1);
            let to = (from + 1 + random(700)).min(RING);
            send_range(&mut scene, &data, from..to);
            rounds += 1;
            assert!(rounds < 1000, "seed {seed} makes no progress");
        }
        assert!(read(&scene, 0, RING) == data, "seed {seed}");
    }
}
