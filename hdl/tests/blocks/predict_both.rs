//! A doorbell and a segment that were both expected: of two that come at once, one is left to the program.

use crate::common::{Bench, Memory, Packet, Reads, Source, Writes};
use ironwarp_hdl::fb::FB;
use ironwarp_hdl::top::Core;
use ironwarp_micro::isa::{Instruction, Op, Operand, Word};
use ironwarp_micro::layout::port::{self, cond, predicted};
use ironwarp_proto::seq::Seq;
use ironwarp_proto::wire::eth::{ETHERTYPE_IPV4, EthHeader, MacAddr};
use ironwarp_proto::wire::ipv4::{Ipv4Header, PROTOCOL_TCP};
use ironwarp_proto::wire::tcp::{TcpFlags, TcpHeader, TcpOptions};

/// A core with a short program of its own.
type Tiny = Core<10, 9, 10, 9, 9, 7, 10, 1>;

const MAC: [u8; 6] = [2, 0x13, 0x24, 0x35, 0x46, 0x57];
const ENDS: [[u8; 4]; 2] = [[10, 0, 0, 1], [10, 0, 0, 2]];
const PORTS: [u16; 2] = [0x1234, 0x5678];
const NUMBERS: [u32; 2] = [0x0102_0304, 0x0506_0708];
/// Where the entry is, and where the completion goes.
const ENTRY: u64 = 0x10_0000;
const COMPLETION: u32 = 0x20_0000;
/// A signalled inline Write with index 0.
const WRITE: u32 = 5 | 1 << 9 | 1 << 11;
const DOORBELL: u32 = 0x1000;

/// `port` = value.
fn put(port: Word, value: u32) -> [Instruction; 3] {
    let (high, low) = (Word::global(1), Word::global(2));
    let sum = Instruction::Alu { op: Op::Or, d: port.0, a: high, b: Operand::Word(low) };
    [Instruction::Ldih(high, (value >> 16) as u16), Instruction::Ldi(low, value as u16), sum]
}

/// Says both scripts, sleeps, and answers what PREDICTED says.
fn program() -> Vec<u32> {
    let header = [[0; 4], [40 << 24, 0, 0, 0], [0; 4]].concat();
    let mut send = vec![16, ENTRY as u32, 0, 1, 0, 0xffff << 16, 2 | 14 << 8];
    send.extend(header);
    send.extend([0, 0, 0, DOORBELL, WRITE]);
    let [source, destination] = ENDS.map(u32::from_le_bytes);
    let ports = u32::from(PORTS[0].swap_bytes()) | u32::from(PORTS[1].swap_bytes()) << 16;
    let mut receive = vec![source, destination, ports, NUMBERS[0], NUMBERS[1], 0, 1 << 17, 0, 0, 0, 0, 0];
    receive.extend([5, 2 | 8 << 8, COMPLETION, 0]);
    receive.extend([7; 8]);
    assert_eq!((send.len(), receive.len()), (24, 24));
    let mac = MAC.map(u32::from);
    let mut program = vec![];
    program.extend(put(port::MAC0, u32::from_le_bytes(MAC[..4].try_into().unwrap())));
    program.extend(put(port::MAC1, mac[4] | mac[5] << 8 | 1 << 17));
    send.into_iter().for_each(|word| program.extend(put(port::EXPECT_SEND, word)));
    receive.into_iter().for_each(|word| program.extend(put(port::EXPECT_RECEIVE, word)));
    program.push(Instruction::Wait(1 << cond::RXD | 1 << cond::HOST));
    let b = Operand::Word(port::PREDICTED);
    program.push(Instruction::Alu { op: Op::Mov, d: port::HOSTR.0, a: Word::global(0), b });
    program.push(Instruction::Jmp(program.len() as u16));
    program.into_iter().map(Instruction::encode).collect()
}

/// The ACK that is expected, pad bytes in front.
fn ack() -> Vec<u8> {
    let mut frame = vec![0; 2];
    EthHeader { dst: MacAddr(MAC), src: MacAddr([4; 6]), ethertype: ETHERTYPE_IPV4 }.emit(&mut frame);
    let [src, dst] = ENDS.map(Into::into);
    let ip = Ipv4Header {
        src,
        dst,
        protocol: PROTOCOL_TCP,
        ttl: 64,
        id: 1,
        dscp_ecn: 0,
        dont_fragment: true,
        more_fragments: false,
        fragment_offset: 0,
        header_len: 20,
        total_len: 40,
    };
    ip.emit(20, &mut frame);
    let tcp = TcpHeader {
        src_port: PORTS[0],
        dst_port: PORTS[1],
        seq: Seq(NUMBERS[0]),
        ack: Seq(NUMBERS[1]),
        flags: TcpFlags::ACK,
        window: 1000,
        urgent: 0,
        options: TcpOptions::default(),
        header_len: 20,
    };
    tcp.emit(src, dst, &[], &mut frame);
    frame
}

/// What PREDICTED says when the doorbell comes so many cycles after the frame.
fn outcome(bench: &mut Bench<Tiny>, delay: u64) -> u32 {
    let mut memory = Memory::default();
    memory.write(ENTRY, &[WRITE, 8].map(u32::to_le_bytes).concat());
    let (mut reads, mut writes, mut line) = (Reads::new(1, 1), Writes::new(1, 1), Source::default());
    bench.cycle(|u| u.reset.next = true, |_| ());
    let (mut asleep, mut begin) = (0, None);
    loop {
        let now = bench.cycles();
        let rings = begin.is_some_and(|begin| now - begin == delay);
        if asleep == 8 && begin.is_none() {
            begin = Some(now);
            line.push(&Packet { bytes: ack(), err: false }, 0, 0, 0);
        }
        bench.fall(|u| {
            u.reset.next = false;
            u.pace.next = true;
            u.answer_ready.next = true;
            line.drive(&mut u.line, true);
            reads.drive(&mut u.small_channel, &memory);
            writes.drive(&mut u.write_channel);
            u.host_write.next = true;
            u.host_offset.next = FB::new(DOORBELL.into());
            u.host_data.next = FB::new(1);
            u.host_valid.next = rings;
        });
        let u = &bench.block;
        line.look(&u.line);
        reads.look(&u.small_channel);
        writes.look(&u.write_channel, &mut memory);
        asleep = if u.resting.val() { asleep + 1 } else { 0 };
        let answer = u.answer_valid.val().then(|| u.answer.val().get() as u32);
        bench.rise();
        if let Some(answer) = answer {
            return answer;
        }
        assert!(bench.cycles() < 1_000_000 && begin.is_none_or(|begin| now - begin < 1000), "stuck");
    }
}

#[test]
fn only_one_of_two_that_come_at_once() {
    let core = Tiny::new(&program(), 1518, 3, 12);
    let mut bench = Bench::new(core, |u| &mut u.clock);
    let both = 1 << predicted::PLACED | 1 << predicted::COMPLETED;
    let said: Vec<u32> = (14..34).map(|delay| outcome(&mut bench, delay) & 7).collect();
    assert!(said.iter().all(|said| *said == 1 << predicted::SENT || *said == both), "{said:?}");
    // The doorbell was first, and it was last.
    assert!(said.first() != said.last(), "{said:?}");
}
