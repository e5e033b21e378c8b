//! The device at its pins, against a scripted peer: every operation once, in both directions.

use ironwarp_proto::abi::completion::{Completion, OPCODE_RECEIVE, Status};
use ironwarp_proto::abi::receive_entry::ReceiveEntry;
use ironwarp_proto::abi::send_entry::{AtomicOperands, Opcode as Verb, Payload, SendEntry};
use ironwarp_proto::ddp::{QN_ATOMIC, QN_READ, QN_SEND};
use ironwarp_proto::rdmap::{AtomicRequest, AtomicResponse, Opcode, ReadRequest};
use ironwarp_testbench::scene::{BASE, CQ, QP, STAG, Scene, pattern, segments, sge, tagged, untagged};

fn only(completions: &[Completion]) -> Completion {
    assert_eq!(completions.len(), 1, "{completions:?}");
    completions[0]
}

#[test]
fn write_out_is_cut_into_fpdus_and_completes_on_the_ack() {
    let mut scene = Scene::model();
    let data = pattern(4000, 1);
    assert!(scene.memory.write(3, &data));
    let mut entry = SendEntry::new(Verb::Write);
    (entry.signalled, entry.stag, entry.to) = (true, 0x1234, 0x9_0000_0001);
    entry.payload = Payload::Sges(vec![sge(3, 1000), sge(1003, 3000)]);
    scene.rig.post_send(QP, &entry);
    assert!(scene.rig.completions(CQ, true).is_empty());
    let (sent, fpdus) = scene.pump();
    assert!(sent.iter().all(|sent| sent.payload.len() <= 1460));
    let fpdus = segments(&fpdus);
    let lens: Vec<usize> = fpdus.iter().map(|(_, payload)| payload.len()).collect();
    assert_eq!(lens, [1440, 1440, 1120]);
    assert_eq!(fpdus[1].0, tagged(Opcode::Write, 0x1234, 0x9_0000_0001 + 1440, false));
    assert_eq!(fpdus[2].0, tagged(Opcode::Write, 0x1234, 0x9_0000_0001 + 2880, true));
    let got: Vec<u8> = fpdus.into_iter().flat_map(|(_, payload)| payload).collect();
    assert_eq!(got, data);
    let done = only(&scene.rig.completions(CQ, true));
    assert_eq!((done.status, done.opcode, done.length, done.index), (Status::Ok, Verb::Write as u8, 4000, 0));
}

#[test]
fn write_in_is_placed() {
    let mut scene = Scene::model();
    let data = pattern(1440, 7);
    scene.send_ddp(tagged(Opcode::Write, STAG, BASE + 5, false), &data);
    scene.send_ddp(tagged(Opcode::Write, STAG, BASE + 1445, true), &data[..33]);
    let mut got = vec![0; 1473];
    assert!(scene.memory.read(5, &mut got));
    assert_eq!((&got[..1440], &got[1440..]), (&data[..], &data[..33]));
    assert!(scene.rig.events().is_empty() && scene.rig.completions(CQ, true).is_empty());
}

#[test]
fn send_both_ways_with_every_flavour() {
    let mut scene = Scene::model();
    for (opcode, verb) in [
        (Opcode::Send, Verb::Send),
        (Opcode::SendSolicited, Verb::SendSolicited),
        (Opcode::ImmediateData, Verb::Immediate),
        (Opcode::ImmediateDataSolicited, Verb::ImmediateSolicited),
    ] {
        let immediate = matches!(verb, Verb::Immediate | Verb::ImmediateSolicited);
        let mut entry = SendEntry::new(verb);
        (entry.signalled, entry.immediate) = (true, *b"immediat");
        if !immediate {
            entry.payload = Payload::Inline(b"inline!".to_vec());
        }
        let index = scene.rig.post_send(QP, &entry);
        let (_, fpdus) = scene.pump();
        let (header, payload) = segments(&fpdus).remove(0);
        assert_eq!(header, untagged(opcode, QN_SEND, u32::from(index) + 1, 0, true));
        assert_eq!(payload, if immediate { b"immediat".to_vec() } else { b"inline!".to_vec() });
        assert_eq!(only(&scene.rig.completions(CQ, true)).status, Status::Ok);
        // And the same message back.
        let receive = ReceiveEntry { index: 0, sges: vec![sge(0, 3), sge(100, 60)] };
        let posted = scene.rig.post_receive(QP, &receive);
        scene.send_ddp(header, &payload);
        let done = only(&scene.rig.completions(CQ, true));
        assert_eq!((done.status, done.opcode, done.index), (Status::Ok, OPCODE_RECEIVE, posted));
        assert_eq!(done.length as usize, payload.len());
        assert_eq!(done.solicited, matches!(verb, Verb::SendSolicited | Verb::ImmediateSolicited));
        if immediate {
            assert_eq!(done.immediate, Some(*b"immediat"));
        } else {
            let (mut a, mut b) = ([0; 3], [0; 4]);
            assert!(scene.memory.read(0, &mut a) && scene.memory.read(100, &mut b));
            assert_eq!([&a[..], &b[..]].concat(), b"inline!");
        }
    }
}

#[test]
fn read_out_places_the_response_and_completes_in_order() {
    let mut scene = Scene::model();
    let mut read = SendEntry::new(Verb::Read);
    (read.signalled, read.stag, read.to) = (true, 0x77, 0x5000);
    read.payload = Payload::Sges(vec![sge(16, 2000)]);
    scene.rig.post_send(QP, &read);
    let mut write = SendEntry::new(Verb::Write);
    (write.signalled, write.stag) = (true, 0x77);
    write.payload = Payload::Inline(vec![1; 8]);
    scene.rig.post_send(QP, &write);
    let (_, fpdus) = scene.pump();
    let sent = segments(&fpdus);
    assert_eq!(sent[0].0, untagged(Opcode::ReadRequest, QN_READ, 1, 0, true));
    let request = ReadRequest::parse(&sent[0].1).unwrap();
    assert_eq!((request.sink_stag, request.sink_to, request.size), (STAG, BASE + 16, 2000));
    assert_eq!((request.source_stag, request.source_to), (0x77, 0x5000));
    assert!(scene.rig.completions(CQ, true).is_empty(), "the Write waits for the Read in front of it");
    let data = pattern(2000, 3);
    scene.send_ddp(tagged(Opcode::ReadResponse, STAG, BASE + 16, false), &data[..1440]);
    scene.send_ddp(tagged(Opcode::ReadResponse, STAG, BASE + 16 + 1440, true), &data[1440..]);
    let done: Vec<u8> = scene.rig.completions(CQ, true).iter().map(|done| done.opcode).collect();
    assert_eq!(done, [Verb::Read as u8, Verb::Write as u8]);
    let mut got = vec![0; 2000];
    assert!(scene.memory.read(16, &mut got));
    assert_eq!(got, data);
}

#[test]
fn read_in_is_answered_from_memory() {
    let mut scene = Scene::model();
    let data = pattern(3000, 9);
    assert!(scene.memory.write(7, &data));
    let mut bytes = Vec::new();
    ReadRequest { sink_stag: 0xabc, sink_to: 0x33, size: 3000, source_stag: STAG, source_to: BASE + 7 }
        .emit(&mut bytes);
    scene.send_ddp(untagged(Opcode::ReadRequest, QN_READ, 1, 0, true), &bytes);
    let (_, fpdus) = scene.pump();
    let sent = segments(&fpdus);
    assert_eq!(sent.last().unwrap().0, tagged(Opcode::ReadResponse, 0xabc, 0x33 + 2880, true));
    assert_eq!(sent.into_iter().flat_map(|(_, payload)| payload).collect::<Vec<_>>(), data);
}

#[test]
fn atomics_both_ways() {
    let mut scene = Scene::model();
    assert!(scene.memory.write(64, &40u64.to_le_bytes()));
    let mut bytes = Vec::new();
    AtomicRequest {
        opcode: 0,
        request_id: 99,
        stag: STAG,
        to: BASE + 64,
        add_or_swap: 2,
        add_or_swap_mask: 0,
        compare: 0,
        compare_mask: u64::MAX,
    }
    .emit(&mut bytes);
    scene.send_ddp(untagged(Opcode::AtomicRequest, QN_READ, 1, 0, true), &bytes);
    let (_, fpdus) = scene.pump();
    let (header, payload) = segments(&fpdus).remove(0);
    assert_eq!(header, untagged(Opcode::AtomicResponse, QN_ATOMIC, 1, 0, true));
    assert_eq!(AtomicResponse::parse(&payload).unwrap(), AtomicResponse { request_id: 99, original: 40 });
    let mut value = [0; 8];
    assert!(scene.memory.read(64, &mut value));
    assert_eq!(u64::from_le_bytes(value), 42);

    let mut entry = SendEntry::new(Verb::CompareSwap);
    (entry.signalled, entry.stag, entry.to) = (true, 0x55, 0x40);
    entry.payload = Payload::Sges(vec![sge(8, 8)]);
    entry.atomic = AtomicOperands { add_or_swap: 1, add_or_swap_mask: 2, compare: 3, compare_mask: 4 };
    scene.rig.post_send(QP, &entry);
    let (_, fpdus) = scene.pump();
    let (_, payload) = segments(&fpdus).remove(0);
    let request = AtomicRequest::parse(&payload).unwrap();
    assert_eq!((request.opcode, request.stag, request.to), (2, 0x55, 0x40));
    assert_eq!((request.add_or_swap, request.add_or_swap_mask), (1, 2));
    assert_eq!((request.compare, request.compare_mask), (3, 4));
    let mut bytes = Vec::new();
    AtomicResponse { request_id: request.request_id, original: 0x1122 }.emit(&mut bytes);
    scene.send_ddp(untagged(Opcode::AtomicResponse, QN_ATOMIC, 1, 0, true), &bytes);
    assert_eq!(only(&scene.rig.completions(CQ, true)).opcode, Verb::CompareSwap as u8);
    assert!(scene.memory.read(8, &mut value));
    assert_eq!(u64::from_le_bytes(value), 0x1122);
}
