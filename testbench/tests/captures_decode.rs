//! The decoder against captures of Linux siw, each with a decode by a program that shares no code with ours.

use ironwarp_sim::decode::{Decoder, Frame, Frames, decode_file};
use ironwarp_testbench::replay::captures;
use serde_json::Value;
use std::fs;
use std::time::Duration;

const KINDS: [(&str, &str); 12] = [
    ("Write", "Write"),
    ("ReadRequest", "ReadReq"),
    ("ReadResponse", "ReadResp"),
    ("Send", "Send"),
    ("SendInv", "SendInv"),
    ("SendSE", "SendSE"),
    ("SendSEInv", "SendSEInv"),
    ("Terminate", "Terminate"),
    ("Immediate", "Imm"),
    ("ImmediateSE", "ImmSE"),
    ("AtomicRequest", "AtomicReq"),
    ("AtomicResponse", "AtomicResp"),
];

/// A JSON object of ours as the other decoder would write it, the time left out.
fn line(event: &Value) -> String {
    let number = |key: &str| event[key].as_u64().unwrap_or_else(|| panic!("{key} in {event}"));
    let text = |key: &str| event[key].as_str().unwrap_or_else(|| panic!("{key} in {event}"));
    let flag = |key: &str, bit: u64| if event[key].as_bool().unwrap_or(false) { bit } else { 0 };
    let ends = format!("{}>{}", number("src_port"), number("dst_port"));
    if let Some(which) = text("kind").strip_prefix("MpaRe") {
        let flags = flag("markers", 0x80)
            | flag("crc_flag", 0x40)
            | flag("reject", 0x20)
            | flag("enhanced", 0x10)
            | event["reserved"].as_u64().unwrap_or(0);
        let letter = if which == "quest" { 'q' } else { 'p' };
        let data = text("private_data");
        let length = data.len() / 2;
        assert!(event.get("crc").is_none());
        return format!(
            "{ends} MPA{letter} flags={flags:02x} rev={} pd({length})={data}",
            number("revision")
        );
    }
    let opcode = KINDS.iter().position(|(ours, _)| *ours == text("kind")).unwrap();
    let tagged = event.get("stag").is_some() && opcode != 10;
    let last = if event["last"].as_bool().unwrap() { " L" } else { "" };
    let mut out = format!("{ends} {}{last} ", KINDS[opcode].1);
    if tagged {
        out += &format!("T stag={:08x} to={:x} len={}", number("stag"), number("to"), number("len"));
    } else {
        let (qn, msn, mo, len) = (number("qn"), number("msn"), number("mo"), number("len"));
        let inv = event["inv_stag"].as_u64().unwrap_or(0);
        out += &format!("U qn={qn} msn={msn} mo={mo} inv={inv:08x} len={len}");
    }
    if text("kind") == "ReadRequest" {
        let (sink, sink_to) = (number("sink_stag"), number("sink_to"));
        let (src, src_to) = (number("src_stag"), number("src_to"));
        out += &format!(" sink={sink:08x}/{sink_to:x} size={} src={src:08x}/{src_to:x}", number("size"));
    }
    if text("kind") == "Terminate" {
        let (control, rest) = text("raw").split_at(8);
        let word = u32::from_str_radix(control, 16).unwrap();
        let (m, d, r) = (word >> 15 & 1, word >> 14 & 1, word >> 13 & 1);
        let (layer, etype, code) = (number("layer"), number("etype"), number("code"));
        out += &format!(" raw={word:08x} RFC:layer={layer} etype={etype} ecode={code:02x} M={m} D={d} R={r}");
        out += &format!(
            " SIW:layer={},etype={},mdr={:x} rest={rest}",
            word >> 24 & 15,
            word >> 28,
            word >> 8 & 7
        );
    }
    let ddp = 1 | if tagged { 0x80 } else { 0 } | if last.is_empty() { 0 } else { 0x40 };
    let ulpdu = number("ulpdu_len");
    let pad = (2 + ulpdu).next_multiple_of(4) - 2 - ulpdu;
    let crc = match text("crc") {
        "good" => "crcLE",
        "none" => "zero",
        _ => "BAD",
    };
    format!("{out} ctrl={ddp:02x}{:02x} ulpdu={ulpdu} pad={pad} {crc}", 0x40 | opcode)
}

/// The other decoder also shows the bytes of pads that are not zero (`pad=2!0102`) and of wrong CRCs (`BAD:01020304`).
fn without_extras(line: &str) -> String {
    let word = |word: &str| match word.split_once(['!', ':']) {
        Some((kept, _)) if word.starts_with("pad=") || word.starts_with("BAD:") => kept.to_owned(),
        _ => word.to_owned(),
    };
    line.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

#[test]
fn every_capture_as_the_other_decoder_sees_it() {
    for path in captures() {
        let decoded = decode_file(&path).unwrap();
        assert_eq!(decoded.warning, None);
        let events: Vec<Value> = decoded.events.iter().map(|e| serde_json::to_value(e).unwrap()).collect();
        let start = events.first().map_or(0.0, |event| event["time"].as_f64().unwrap());
        let mut ours = events.iter();
        let theirs = fs::read_to_string(path.with_extension("fpdu.txt")).unwrap();
        for expected in theirs.lines() {
            let (time, rest) = expected.trim_start().split_once(' ').unwrap();
            // The other decoder also lists the end of connections, and closes with a count.
            if time == "CRC" || rest.ends_with(" FIN") || rest.ends_with(" RST") {
                continue;
            }
            let rest = without_extras(rest);
            let event = ours.next().unwrap_or_else(|| panic!("{path:?}: {expected} is missing"));
            assert_eq!(line(event), rest, "{path:?}");
            assert_eq!(format!("{:.6}", event["time"].as_f64().unwrap() - start), time, "{path:?}");
        }
        assert_eq!(ours.next(), None, "{path:?}");
    }
}

#[test]
fn captures_without_their_beginning() {
    for path in captures() {
        let frames: Vec<Frame> = Frames::open(&path).unwrap().map(Result::unwrap).collect();
        let whole = decode_file(&path).unwrap().events;
        // Behind the first MPA Reply.
        let reply = whole.iter().find(|event| event.kind() == "MpaReply");
        let skip = reply.map_or(0, |event| event.stamp.frame);
        let mut decoder = Decoder::new();
        let mut events = Vec::new();
        for frame in &frames[skip as usize..] {
            events.extend(decoder.frame_on(frame.link, Duration::from_nanos(frame.time), &frame.bytes));
        }
        events.extend(decoder.finish());
        events.sort_by_key(|event| event.stamp.frame);
        let expected: Vec<_> = whole.iter().filter(|event| event.stamp.frame > skip).collect();
        // One or two FPDUs without CRC prove nothing.
        if expected.len() > 2 || !events.is_empty() {
            assert_eq!(events.len(), expected.len(), "{path:?}");
        }
        for (event, expected) in events.iter().zip(expected) {
            assert_eq!(event.stamp.frame + skip, expected.stamp.frame, "{path:?}");
            assert_eq!(event.kind(), expected.kind(), "{path:?}");
        }
    }
}
