//! The host ABI: what one side writes the other reads, and nothing that stands in memory makes a decoder panic.

use ironwarp_proto::abi::completion::{Completion, Status};
use ironwarp_proto::abi::context::{
    Context, ErrorRecord, MSS_RANGE, MULPDU_RANGE, Mode, QpState, RECORD_BYTES, STATE_WORDS, StateWords,
    StreamStatus, TERMINATE_MAX, WORDS, decode_template, encode_template,
};
use ironwarp_proto::abi::event::{Event, EventKind, FlushCursors};
use ironwarp_proto::abi::field::{bytes_of, load};
use ironwarp_proto::abi::queue::{CqEntry, SrqEntry};
use ironwarp_proto::abi::raw::RawHeader;
use ironwarp_proto::abi::receive_entry::{self, ReceiveEntry};
use ironwarp_proto::abi::region::{Region, index_of};
use ironwarp_proto::abi::regs::{Command, CommandStatus};
use ironwarp_proto::abi::send_entry::{
    AtomicOperands, BadSendEntry, INLINE_MAX, Opcode, Payload, SGES_MAX, SendEntry, Sge,
};
use ironwarp_proto::abi::window;
use proptest::prelude::*;

fn sge() -> impl Strategy<Value = Sge> {
    // Lengths whose sums stay below 2^32.
    (any::<u64>(), 0u32..1 << 29, any::<u32>()).prop_map(|(to, length, lkey)| Sge { to, length, lkey })
}

/// Entries that a driver may write.
fn send_entry() -> impl Strategy<Value = SendEntry> {
    let opcode = prop::sample::select(Opcode::ALL).prop_map(|(opcode, _)| opcode);
    let sges = prop::collection::vec(sge(), SGES_MAX);
    let inline = prop::option::of(prop::collection::vec(any::<u8>(), 0..=INLINE_MAX));
    let rest = (any::<u16>(), any::<u32>(), any::<u64>(), any::<u8>(), any::<[u8; 8]>(), any::<[u64; 4]>());
    (opcode, any::<(bool, bool)>(), sges, 0..=SGES_MAX, inline, rest).prop_map(
        |(
            opcode,
            (signalled, fence),
            mut sges,
            count,
            inline,
            (index, stag, to, access, immediate, operands),
        )| {
            let one = opcode.is_read()
                || opcode.is_atomic()
                || matches!(opcode, Opcode::BindWindow | Opcode::FastRegister);
            sges.truncate(if opcode.has_payload() { count } else { usize::from(one) });
            let payload = match inline {
                Some(bytes) if opcode.has_payload() => Payload::Inline(bytes),
                _ => Payload::Sges(sges),
            };
            let [add_or_swap, add_or_swap_mask, compare, compare_mask] = operands;
            let operands = AtomicOperands { add_or_swap, add_or_swap_mask, compare, compare_mask };
            let atomic = if opcode.is_atomic() { operands } else { AtomicOperands::default() };
            SendEntry { opcode, signalled, fence, index, stag, to, access, immediate, payload, atomic }
        },
    )
}

fn context() -> impl Strategy<Value = Context> {
    let flags = any::<[bool; 6]>();
    let small = (0u8..=14, 0u8..=14, 0u8..=14, 0u8..=14, any::<u8>(), any::<u8>(), any::<u8>());
    let halves = (any::<[u16; 5]>(), prop::option::of(any::<u16>()), MSS_RANGE, MULPDU_RANGE);
    (flags, small, halves, any::<[u64; 4]>(), any::<[u32; 5]>()).prop_map(
        |(flags, small, (halves, srq, mss, mulpdu), wide, words)| Context {
            mode: if flags[0] { Mode::Rdma } else { Mode::Stream },
            markers_tx: flags[1],
            markers_rx: flags[2],
            crc: flags[3],
            hold: flags[4],
            atomics: flags[5],
            snd_wscale: small.0,
            rcv_wscale: small.1,
            sq_log2: small.2,
            rq_log2: small.3,
            ird: small.4,
            ord: small.5,
            keepalive_probes: small.6,
            pd: halves[0],
            scq: halves[1],
            rcq: halves[2],
            keepalive: halves[3],
            srq,
            mss,
            mulpdu,
            sq_base: wide[0],
            rq_base: wide[1],
            staging: wide[2],
            save: wide[3],
            rcv_nxt: words[0],
            rcv_wnd: words[1],
            snd_nxt: words[2],
            snd_wnd: words[3],
            rcv_adv: words[4],
        },
    )
}

proptest! {
    #[test]
    fn send_entries_survive_the_ring(entry in send_entry()) {
        let words = entry.encode();
        prop_assert_eq!(words.len(), 16 * usize::from(entry.slots()));
        prop_assert_eq!(SendEntry::has_second_slot(&words[..16]), entry.slots() == 2);
        let fetched = SendEntry::words(&bytes_of(&words));
        prop_assert_eq!(SendEntry::decode(&fetched[..words.len()], entry.index), Ok(entry.clone()));
        let other = entry.index.wrapping_add(1);
        prop_assert_eq!(
            SendEntry::decode(&fetched[..words.len()], other),
            Err(BadSendEntry::Index { index: other, found: entry.index })
        );
    }

    #[test]
    fn receive_entries_survive_the_ring(index: u16, sges in prop::collection::vec(sge(), 0..=receive_entry::SGES_MAX)) {
        let entry = ReceiveEntry { index, sges };
        prop_assert_eq!(ReceiveEntry::decode(&entry.encode(), index), Some(entry.clone()));
        prop_assert_eq!(ReceiveEntry::decode(&entry.encode(), index.wrapping_sub(1)), None);
    }

    #[test]
    fn completions_survive_the_ring(
        qp: u16, opcode: u8, flags: [bool; 2], invalidated: Option<u32>, immediate: Option<[u8; 8]>,
        length: u32, index: u16, status in 0usize..Status::ALL.len(), phase: bool,
    ) {
        let status = Status::ALL[status].0;
        let [solicited, srq] = flags;
        let completion = Completion { qp, opcode, solicited, invalidated, immediate, srq, length, index, status };
        let words = completion.encode(phase);
        prop_assert!(Completion::is_valid(words[7], phase) && !Completion::is_valid(words[7], !phase));
        prop_assert_eq!(Completion::decode(&words), completion);
    }

    #[test]
    fn events_survive_the_ring(
        kind in 0usize..EventKind::ALL.len(), code: u8, object: u16, params: [u32; 2], sequence: u16, phase: bool,
    ) {
        let event = Event { kind: EventKind::ALL[kind].0, code, object, params };
        let words = event.encode(sequence, phase);
        prop_assert!(Event::is_valid(words[3], phase) && !Event::is_valid(words[3], !phase));
        prop_assert_eq!(Event::decode(&words), Some(event));
    }

    #[test]
    fn contexts_and_states_survive_the_window(context in context(), state in 0u8..6, halves: [u16; 3],
        flags: [bool; 2], srq_open: Option<u16>, words: [u32; 8], cause: u8, headers: [u8; 27],
    ) {
        prop_assert_eq!(Context::decode(&context.encode()), Some(context));
        let states = [QpState::Inactive, QpState::Activated, QpState::Running, QpState::Error, QpState::Terminating, QpState::Quiesced];
        let flush = FlushCursors { sq_done: halves[0], rq_done: halves[1], srq_open };
        prop_assert_eq!(FlushCursors::decode(&flush.encode()), flush);
        let [snd_una, snd_nxt, rcv_nxt, rcv_adv, snd_wnd, cwnd, srtt, retransmits] = words;
        let state = StateWords {
            state: states[usize::from(state)], cause, peer_closed: flags[0], fin_acked: flags[1], diverted: halves[2],
            flush, snd_una, snd_nxt, rcv_nxt, rcv_adv, snd_wnd, cwnd, srtt, retransmits,
        };
        prop_assert_eq!(StateWords::decode(&state.encode()), state);
        let mut template = [0; 54];
        template[..27].copy_from_slice(&headers);
        prop_assert_eq!(decode_template(&encode_template(&template)), template);
    }

    #[test]
    fn error_records_survive_the_save_area(
        error in (0u8..16, 0u8..16, any::<u8>()), length: u16, tagged: bool, atomic: bool,
        ddp: Option<[u8; 18]>, rdmap: Option<[u8; 52]>, terminate in prop::collection::vec(any::<u8>(), 0..=TERMINATE_MAX),
    ) {
        // The lengths of the headers follow from their first bytes.
        let ddp = ddp.map(|mut header| {
            header[0] = header[0] & 0x7f | u8::from(tagged) << 7;
            header[1] = header[1] & 0xf0 | if atomic { 10 } else { 1 };
            (length, header[..if tagged { 14 } else { 18 }].to_vec())
        });
        let kept = if atomic && ddp.is_some() { 52 } else { 28 };
        let rdmap = rdmap.map(|header| header[..kept].to_vec());
        for record in [ErrorRecord::Detected { error, ddp, rdmap }, ErrorRecord::Received(terminate)] {
            let bytes: [u8; RECORD_BYTES] = record.encode().try_into().expect("size of a record");
            prop_assert_eq!(ErrorRecord::decode(&bytes), Some(record));
        }
    }

    #[test]
    fn table_entries_survive_the_window(
        flags: [bool; 4], access: u8, halves: [u16; 2], length in 0u64..1 << 48, wide: [u64; 2], stag: u32, log2: u8,
    ) {
        let region = Region {
            valid: flags[0], window: flags[1], allocated: flags[2], scoped: flags[3], access, pd: halves[0], length, qp: halves[1],
            base: wide[0], host: wide[1], stag,
        };
        prop_assert_eq!(Region::decode(&region.encode()), region);
        prop_assert!(index_of(stag, 8) < 256);
        let cq = CqEntry { base: wide[0], log2 };
        prop_assert_eq!(CqEntry::decode(&cq.encode()), cq);
        let srq = SrqEntry { ring: wide[0], table: wide[1], log2, pd: halves[0] };
        prop_assert_eq!(SrqEntry::decode(&srq.encode()), srq);
    }

    #[test]
    fn raw_headers_and_stream_status_survive(
        length: u16, flags: [bool; 3], diverted: Option<(u16, u16)>, phase: bool, words: [u32; 3], closed: bool,
    ) {
        let header = RawHeader { length, checksum_ok: flags[0], truncated: flags[1], inject: flags[2], diverted };
        let encoded = header.encode(phase);
        prop_assert!(RawHeader::is_valid(encoded[0], phase) && !RawHeader::is_valid(encoded[0], !phase));
        prop_assert_eq!(RawHeader::decode(&encoded), header);
        let [received, acked, sequence] = words;
        let status = StreamStatus { received, acked, closed, sequence };
        prop_assert_eq!(StreamStatus::decode(&status.encode()), status);
    }

    /// Memory is hostile: any words decode to something or to nothing.
    #[test]
    fn any_words_are_decoded_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), index: u16) {
        let words: [u32; 32] = load(&bytes);
        let _ = SendEntry::decode(&words, index);
        let _ = SendEntry::decode(&words[..16], words[0].to_le_bytes()[2].into());
        let _ = SendEntry::decode(&[], index);
        let _ = ReceiveEntry::decode(&load(&bytes), index);
        let _ = Completion::decode(&load(&bytes));
        let _ = Event::decode(&load(&bytes));
        let _ = Context::decode(&load::<WORDS>(&bytes));
        let _ = StateWords::decode(&load::<STATE_WORDS>(&bytes));
        let mut record = [0; RECORD_BYTES];
        record.iter_mut().zip(&bytes).for_each(|(to, from)| *to = *from);
        let _ = ErrorRecord::decode(&record);
    }
}

#[test]
fn codes_are_found_again() {
    for (command, _) in Command::ALL {
        assert_eq!(Command::from_code(*command as u8), Some(*command));
    }
    for (status, _) in CommandStatus::ALL {
        assert_eq!(CommandStatus::from_code(*status as u8), Some(*status));
    }
    for (table, _) in window::Table::ALL {
        assert_eq!(window::split(window::address(*table, 0x1234, 5)), (*table as u8, 0x1234, 5));
        assert_eq!(window::Table::from_code(*table as u8), Some(*table));
    }
    assert_eq!((Command::from_code(0), window::Table::from_code(99)), (None, None));
}
