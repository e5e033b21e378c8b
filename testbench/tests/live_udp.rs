//! NICs in processes of their own whose Ethernet is UDP.

use ironwarp_proto::wire::arp::{ArpOp, ArpPacket};
use ironwarp_proto::wire::eth::{ETHERTYPE_ARP, EthHeader, MacAddr};
use ironwarp_testbench::live::Scratch;
use ironwarp_testbench::live::engine::Engine;
use ironwarp_testbench::live::process::Running;
use ironwarp_testbench::on_model_and_rtl;
use std::io::Read;
use std::net::UdpSocket;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

on_model_and_rtl!(two_nics_ping_over_udp, a_foreign_datagram_is_no_frame);

/// Safety net of everything that a test waits for.
const LIMIT: Duration = Duration::from_secs(60);

fn ironwarp(engine: Engine, args: &[&str]) -> Running {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ironwarp-under-test"));
    command.args(args).args(["--engine", engine.name()]).env_remove("IRONWARP_DEVICE");
    Running::start(&mut command)
}

/// A socket at a free port of this host.
fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    socket
}

fn address(socket: &UdpSocket) -> String {
    socket.local_addr().unwrap().to_string()
}

fn two_nics_ping_over_udp(engine: Engine) {
    let [left, right] = {
        let sockets = [socket(), socket()];
        sockets.each_ref().map(address)
    };
    let ether = [format!("udp:{left},{right}"), format!("udp:{right},{left}")];
    let mac = "02:1a:ce:00:00:02";
    let mut server =
        ironwarp(engine, &["rping", "--listen", "10.9.0.2:7174", "--mac", mac, "--ether", &ether[1]]);
    server.wait_line("listening", LIMIT).unwrap();
    let ping = ["rping", "--connect", "10.9.0.2:7174", "--ip", "10.9.0.1", "--ether", &ether[0]];
    let size = ["--verify", "--count", "10", "--size", "5000"];
    let said = ironwarp(engine, &[&ping[..], &size].concat()).succeed(LIMIT).unwrap();
    assert!(said.contains(&"rping: 10 pings of 5000 bytes verified".to_string()), "{said:?}");
    let said = server.succeed(LIMIT).unwrap();
    assert!(said.contains(&"rping: 10 pings served".to_string()), "{said:?}");
}

/// "Who has 10.9.0.1?", asked by this address.
fn question(mac: MacAddr) -> Vec<u8> {
    let mut frame = Vec::new();
    let broadcast = MacAddr([0xff; 6]);
    EthHeader { dst: broadcast, src: mac, ethertype: ETHERTYPE_ARP }.emit(&mut frame);
    let [own, asked] = [[10, 9, 0, 2], [10, 9, 0, 1]].map(Into::into);
    let zero = MacAddr([0; 6]);
    let packet =
        ArpPacket { op: ArpOp::Request, sender_mac: mac, sender_ip: own, target_mac: zero, target_ip: asked };
    packet.emit(&mut frame);
    frame
}

fn a_foreign_datagram_is_no_frame(engine: Engine) {
    let (peer, foreign, nic_address) = (socket(), socket(), address(&socket()));
    let scratch = Scratch::new();
    let stats = scratch.path("stats");
    let ether = format!("udp:{nic_address},{}", address(&peer));
    let words = ["nic", "--ether", &ether, "--ip", "10.9.0.1", "--stats", stats.to_str().unwrap()];
    let mut nic = ironwarp(engine, &words);
    nic.wait_line("nic: ", LIMIT).unwrap();
    let mac = MacAddr([2, 0, 0, 0, 0, 9]);
    foreign.send_to(&question(mac), &nic_address).unwrap();
    peer.send_to(&question(mac), &nic_address).unwrap();
    let mut buffer = [0; 2048];
    let (len, from) = peer.recv_from(&mut buffer).unwrap();
    assert_eq!(from.to_string(), nic_address);
    let (header, payload) = EthHeader::parse(&buffer[..len]).unwrap();
    let answer = ArpPacket::parse(payload).unwrap();
    assert_eq!((header.dst, answer.op, answer.target_mac), (mac, ArpOp::Reply, mac));
    // The foreign one came before, and was neither counted nor answered.
    let mut text = String::new();
    UnixStream::connect(&stats).unwrap().read_to_string(&mut text).unwrap();
    assert!(text.contains("port.received_frames 1\n") && text.contains("port.sent_frames 1\n"), "{text}");
    foreign.set_nonblocking(true).unwrap();
    let nothing = foreign.recv_from(&mut buffer).unwrap_err();
    assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);
}
