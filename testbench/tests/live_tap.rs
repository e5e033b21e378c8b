//! The NIC beside the network stack of this kernel, in a namespace of its own, over TAP.

use ironwarp_driver::stream;
use ironwarp_proto::wire::eth::MacAddr;
use ironwarp_proto::wire::icmp::IcmpEcho;
use ironwarp_sim::live::{Host, HostConfig};
use ironwarp_testbench::live::engine::Engine;
use ironwarp_testbench::live::netns::NetNs;
use ironwarp_testbench::live::process::Running;
use ironwarp_testbench::live::{Scratch, find_program, note, tshark};
use ironwarp_testbench::on_model_and_rtl;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, ipproto, sockopt};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream};
use std::time::Duration;

on_model_and_rtl!(
    the_host_pings_the_nic,
    curl_fetches_a_file_and_the_nic_leaves_nothing_behind,
    bytes_come_back_through_a_switch_that_loses_reorders_and_duplicates,
    storms_of_connections_leave_the_nic_whole,
    the_nic_connects_to_the_host_and_moves_bytes_both_ways,
);

const NIC: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const HOST: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
const ECHO: SocketAddrV4 = SocketAddrV4::new(NIC, 7);
/// Safety net of everything that a test waits for.
const LIMIT: Duration = Duration::from_secs(120);

/// As much as the engine does in some seconds: the RTL is simulated.
fn by_engine<T>(engine: Engine, model: T, rtl: T) -> T {
    if engine == Engine::Model { model } else { rtl }
}

fn ironwarp(namespace: &NetNs, args: &[&str]) -> Running {
    Running::start(namespace.command(env!("CARGO_BIN_EXE_ironwarp-under-test")).args(args))
}

/// A NIC on the interface `iw0` of the namespace.
fn nic(namespace: &NetNs, engine: Engine, args: &[&str]) -> Running {
    let fixed = ["nic", "--ether", "tap:iw0", "--ip", "10.9.0.1", "--engine", engine.name()];
    let mut nic = ironwarp(namespace, &[&fixed, args].concat());
    nic.wait_line("nic: ", LIMIT).unwrap();
    namespace.configure("iw0", "10.9.0.2/24", 1500);
    nic
}

/// Ask it to stop; returns its last words.
fn stop(mut nic: Running) -> Vec<String> {
    nic.terminate();
    nic.succeed(LIMIT).unwrap()
}

/// A number of the statistics.
fn counted(said: &[String], name: &str) -> u64 {
    let line = said.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {said:#?}")).parse().unwrap()
}

/// Bytes without a short period.
fn pattern(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut word = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..len.div_ceil(8)).flat_map(|_| word()).take(len).collect()
}

const MAC: &str = "02:1a:ce:00:00:01";

fn the_host_pings_the_nic(engine: Engine) {
    let Some(namespace) = NetNs::new("the_host_pings_the_nic") else { return };
    let scratch = Scratch::new();
    let capture = scratch.path("ping.pcapng");
    let nic = nic(&namespace, engine, &["--pcap", capture.to_str().unwrap()]);
    let pinged = namespace.run(|| {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::ICMP)).unwrap();
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(LIMIT)).unwrap();
        for (seq, len) in [0, 1, 56, 1471, 1472].into_iter().enumerate() {
            let data = pattern(len);
            let echo = IcmpEcho { reply: false, id: 77, seq: seq as u16, data: &data };
            let mut request = Vec::new();
            echo.emit(&mut request);
            rustix::net::sendto(&socket, &request, SendFlags::empty(), &SocketAddrV4::new(NIC, 0)).unwrap();
            let mut packet = vec![0; 2048];
            let (count, _) = rustix::net::recv(&socket, packet.as_mut_slice(), RecvFlags::empty()).unwrap();
            // Behind the IPv4 header.
            let reply = IcmpEcho::parse(&packet[20..count]).unwrap();
            assert_eq!(reply, IcmpEcho { reply: true, ..echo });
        }
    });
    pinged.join().unwrap();
    let said = stop(nic);
    assert!(counted(&said, "port.received_frames") >= 5);
    tshark::is_content(&capture, MAC);
}

fn curl_fetches_a_file_and_the_nic_leaves_nothing_behind(engine: Engine) {
    let test = "curl_fetches_a_file_and_the_nic_leaves_nothing_behind";
    let Some(namespace) = NetNs::new(test) else { return };
    if find_program("curl").is_none() {
        return note(&format!("{test} is skipped: no curl"));
    }
    let scratch = Scratch::new();
    let (capture, stats, www) = (scratch.path("curl.pcapng"), scratch.path("stats"), scratch.path("www"));
    std::fs::create_dir(&www).unwrap();
    let file = pattern(by_engine(engine, 3_000_001, 300_001));
    std::fs::write(www.join("big"), &file).unwrap();
    let service = format!("http:80,{}", www.display());
    let (capture_name, stats_name) = (capture.to_str().unwrap(), stats.to_str().unwrap());
    let nic = nic(&namespace, engine, &["--serve", &service, "--pcap", capture_name, "--stats", stats_name]);
    let curl = |url: &str| {
        let output =
            namespace.command("curl").args(["-s", "-m", "90", "-w", "%{http_code}", url]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let (body, code) = output.stdout.split_at(output.stdout.len() - 3);
        (body.to_vec(), String::from_utf8_lossy(code).into_owned())
    };
    let (body, code) = curl("http://10.9.0.1/big");
    assert!(code == "200" && body == file, "{code}, {} bytes", body.len());
    assert_eq!(curl("http://10.9.0.1/none").1, "404");
    // Whoever connects to the socket gets the statistics.
    let mut text = String::new();
    std::os::unix::net::UnixStream::connect(&stats).unwrap().read_to_string(&mut text).unwrap();
    let lines: Vec<_> = text.lines().map(String::from).collect();
    assert_eq!(counted(&lines, &format!("serve.{service}.accepted")), 2);
    assert!(counted(&lines, "port.sent_bytes") > file.len() as u64);
    stop(nic);
    assert!(!stats.exists(), "the socket is removed");
    let links = namespace.command("ip").args(["-o", "link"]).output().unwrap();
    assert!(!String::from_utf8_lossy(&links.stdout).contains("iw0"), "the interface is gone");
    tshark::is_content(&capture, MAC);
}

/// Send `data` to the echo service of a NIC that `engine` plays, and read it back meanwhile.
fn echo(engine: Engine, data: Vec<u8>) {
    let mut stream = TcpStream::connect(ECHO).unwrap();
    if engine != Engine::Model {
        // A slow reader: on a busy machine what waits in front of it is lost after 200 ms. When all has been sent and much of it was
        // lost, Linux has nothing new to time, and each timeout is twice the last.
        sockopt::set_socket_send_buffer_size(&stream, 32 << 10).unwrap();
    }
    for set in [TcpStream::set_read_timeout, TcpStream::set_write_timeout] {
        set(&stream, Some(LIMIT)).unwrap();
    }
    let mut writer = stream.try_clone().unwrap();
    let sent = data.clone();
    let writing = std::thread::spawn(move || {
        writer.write_all(&sent).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut at = 0;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count = stream.read(&mut buffer).unwrap();
        if count == 0 {
            break;
        }
        assert!(buffer[..count] == data[at..at + count], "other bytes came back at {at}");
        at += count;
    }
    assert_eq!(at, data.len());
    writing.join().unwrap();
}

fn bytes_come_back_through_a_switch_that_loses_reorders_and_duplicates(engine: Engine) {
    let Some(namespace) = NetNs::new("bytes_come_back_through_a_switch") else { return };
    let scratch = Scratch::new();
    let [a, b] = ["a", "b"].map(|name| scratch.path(name).display().to_string());
    let port = format!("unix:{b},{a}");
    // Of a hundred times the frames, fewer need be lost.
    let loss = by_engine(engine, "0.1%", "0.5%");
    let faults = ["--loss", loss, "--reorder", "1%", "--duplicate", "1%", "--seed", "7"];
    let ports = ["switch", "--port", &port, "--port", "tap:iw0"];
    let mut switch = ironwarp(&namespace, &[&ports[..], &faults].concat());
    switch.wait_line("switch: ", LIMIT).unwrap();
    namespace.configure("iw0", "10.9.0.2/24", 1500);
    let ether = format!("unix:{a},{b}");
    let capture = scratch.path("sent.pcapng");
    let words =
        ["nic", "--ether", &ether, "--ip", "10.9.0.1", "--engine", engine.name(), "--serve", "echo:7"];
    // The record of a hundred mebibytes would be long; the other tests look at the model's frames.
    let record = ["--pcap", capture.to_str().unwrap()];
    let mut nic = ironwarp(&namespace, &[&words[..], by_engine(engine, &[], &record)].concat());
    nic.wait_line("nic: ", LIMIT).unwrap();
    let bytes = by_engine(engine, 100 << 20, 2 << 20);
    namespace.run(move || echo(engine, pattern(bytes))).join().unwrap();
    let said = stop(nic);
    assert_eq!(counted(&said, "serve.echo:7.finished"), 1, "{said:#?}");
    assert!(
        counted(&said, "device.retransmits") > 0 && counted(&said, "device.duplicate_acks") > 0,
        "{said:#?}"
    );
    let said = stop(switch);
    for fault in [" 0 lost, 0 reordered", " 0 duplicated"] {
        let links: Vec<_> = said.iter().filter(|line| line.starts_with("link ")).collect();
        assert!(links.len() == 2 && links.iter().all(|line| !line.contains(fault)), "{said:#?}");
    }
    if engine != Engine::Model {
        tshark::is_content(&capture, MAC);
    }
}

fn storms_of_connections_leave_the_nic_whole(engine: Engine) {
    let Some(namespace) = NetNs::new("storms_of_connections_leave_the_nic_whole") else { return };
    let scratch = Scratch::new();
    let capture = scratch.path("storm.pcapng");
    let nic = nic(&namespace, engine, &["--serve", "echo:7", "--pcap", capture.to_str().unwrap()]);
    let rounds = by_engine(engine, 150, 15);
    let stormed = namespace.run(move || {
        for round in 0..rounds {
            // Closed at once; closed with an answer under way; reset.
            drop(TcpStream::connect(ECHO).unwrap());
            let mut unread = TcpStream::connect(ECHO).unwrap();
            unread.write_all(&pattern(1 + round * 97)).unwrap();
            drop(unread);
            let reset = TcpStream::connect(ECHO).unwrap();
            (&reset).write_all(b"never read").unwrap();
            sockopt::set_socket_linger(&reset, Some(Duration::ZERO)).unwrap();
            drop(reset);
            let refused = TcpStream::connect(SocketAddrV4::new(NIC, 9)).unwrap_err();
            assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        }
        // At once, as many as there are queue pairs.
        let streams: Vec<_> = (0..60).map(|_| TcpStream::connect(ECHO).unwrap()).collect();
        drop(streams);
        echo(engine, pattern(100_000));
    });
    stormed.join().unwrap();
    let said = stop(nic);
    let (accepted, open) = (counted(&said, "serve.echo:7.accepted"), counted(&said, "serve.echo:7.open"));
    assert!(accepted > rounds as u64 && open == 0, "{said:#?}");
    tshark::is_content(&capture, MAC);
}

fn the_nic_connects_to_the_host_and_moves_bytes_both_ways(engine: Engine) {
    let Some(namespace) = NetNs::new("the_nic_connects_to_the_host_and_moves_bytes_both_ways") else {
        return;
    };
    let config = HostConfig::new("tap:iw0".parse().unwrap(), MacAddr([2, 0x1a, 0xce, 0, 0, 1]), NIC);
    let config = HostConfig { engine, ..config };
    // The interface comes to be in the namespace of the thread that opens it.
    let host = namespace.run(move || Host::open(&config).unwrap()).join().unwrap();
    namespace.configure("iw0", "10.9.0.2/24", 1500);
    let listener = namespace.run(|| TcpListener::bind((HOST, 5001)).unwrap()).join().unwrap();
    let unit = by_engine(engine, 1 << 20, 1 << 17);
    let (upwards, downwards) = (pattern(3 * unit), pattern(2 * unit + 1));
    let (expected, answer) = (upwards.clone(), downwards.clone());
    let peer = namespace.run(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let mut received = Vec::new();
        stream.read_to_end(&mut received).unwrap();
        assert!(received == expected, "{} bytes", received.len());
        stream.write_all(&answer).unwrap();
    });
    let mut stream = stream::TcpStream::connect(&host.context, SocketAddrV4::new(HOST, 5001)).unwrap();
    stream.set_read_timeout(Some(LIMIT));
    stream.set_write_timeout(Some(LIMIT));
    stream.write_all(&upwards).unwrap();
    stream.shutdown_write().unwrap();
    let mut received = Vec::new();
    stream.read_to_end(&mut received).unwrap();
    assert!(received == downwards, "{} bytes", received.len());
    peer.join().unwrap();
    let refused = stream::TcpStream::connect(&host.context, SocketAddrV4::new(HOST, 5002)).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
}
