//! A NIC in one process, its driver in another one, peers in further ones, on Unix sockets.

use ironwarp_testbench::live::process::Running;
use ironwarp_testbench::live::siw::{self, Guest};
use ironwarp_testbench::live::{Scratch, with_retries};
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, Instant};

/// Long enough for anything here on a busy machine.
const LIMIT: Duration = Duration::from_secs(40);
/// Of the end that is not the default one.
const MAC: &str = "02:1a:ce:00:00:02";

fn ironwarp(args: &[&str]) -> Running {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ironwarp-under-test"));
    Running::start(command.args(args).env_remove("IRONWARP_DEVICE").env_remove("RUST_LOG"))
}

/// A wire between two ports, and sockets of devices, in a folder of their own.
struct Wire(Scratch);

impl Wire {
    fn new() -> Self {
        Self(Scratch::new())
    }
    fn path(&self, name: &str) -> String {
        self.0.path(name).display().to_string()
    }
    /// Port 0 or 1.
    fn ether(&self, port: usize) -> String {
        let ends = [self.path("a"), self.path("b")];
        format!("unix:{},{}", ends[port], ends[1 - port])
    }
    fn device(&self, port: usize) -> String {
        format!("vfio-user:{}", self.path(["left", "right"][port]))
    }
    /// A NIC at that port for a driver in another process.
    fn nic(&self, port: usize) -> Running {
        let socket = self.path(["left", "right"][port]);
        let stats = self.path(["left.stats", "right.stats"][port]);
        let mut nic =
            ironwarp(&["nic", "--ether", &self.ether(port), "--vfio-user", &socket, "--stats", &stats]);
        nic.wait_line("nic: vfio-user:", LIMIT).unwrap();
        nic
    }
    /// A value of the NIC's statistics.
    fn stat(&self, port: usize, name: &str) -> u64 {
        let mut text = String::new();
        let mut socket = UnixStream::connect(self.path(["left.stats", "right.stats"][port])).unwrap();
        socket.read_to_string(&mut text).unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    }
}

const SERVE: [&str; 3] = ["rping", "--listen", "10.9.0.2:7174"];
const PING: [&str; 10] = [
    "rping",
    "--connect",
    "10.9.0.2:7174",
    "--ip",
    "10.9.0.1",
    "--verify",
    "--count",
    "20",
    "--size",
    "5000",
];
const VERIFIED: &str = "rping: 20 pings of 5000 bytes verified";

fn listening(args: &[&str]) -> Running {
    let mut server = ironwarp(&[&SERVE[..], &["--mac", MAC], args].concat());
    server.wait_line("listening", LIMIT).unwrap();
    server
}

/// Both processes end in order, and every ping was verified.
fn assert_pinged(mut server: Running, mut client: Running) {
    let said = client.succeed(LIMIT).unwrap();
    assert!(said.contains(&VERIFIED.to_string()), "{said:?}");
    let said = server.succeed(LIMIT).unwrap();
    assert!(said.contains(&"rping: 20 pings served".to_string()), "{said:?}");
}

#[test]
fn drivers_come_and_go_at_a_nic_that_has_a_peer_on_a_socket() {
    let wire = Wire::new();
    let nic = wire.nic(0);
    for round in 1..=3 {
        let server = listening(&["--ether", &wire.ether(1)]);
        let client = ironwarp(&[&PING[..], &["--device", &wire.device(0)]].concat());
        assert_pinged(server, client);
        // A ping takes eight frames and more.
        assert!(wire.stat(0, "port.sent_frames") > round * 20 * 4);
        assert_eq!(wire.stat(0, "port.errors"), 0);
    }
    drop(nic);
}

#[test]
fn a_server_answers_from_a_device_elsewhere() {
    let wire = Wire::new();
    let nic = wire.nic(1);
    let server = listening(&["--device", &wire.device(1)]);
    assert_eq!(wire.stat(1, "vfio_user.clients"), 1);
    let client = ironwarp(&[&PING[..], &["--ether", &wire.ether(0)]].concat());
    assert_pinged(server, client);
    drop(nic);
}

#[test]
fn two_nics_and_two_drivers_are_four_processes() {
    let wire = Wire::new();
    let nics = [wire.nic(0), wire.nic(1)];
    let server = listening(&["--device", &wire.device(1)]);
    let client = ironwarp(&[&PING[..], &["--device", &wire.device(0)]].concat());
    assert_pinged(server, client);
    drop(nics);
}

#[test]
fn the_demo_and_both_ends_of_rping_and_perf_run_on_two_nics_of_other_processes() {
    let wire = Wire::new();
    let nics = [wire.nic(0), wire.nic(1)];
    let devices = format!("{},{}", wire.device(0), wire.device(1));
    let said = ironwarp(&["demo", "--rounds", "8", "--device", &devices]).succeed(LIMIT).unwrap();
    let last = said.iter().rfind(|line| line.starts_with("demo: ")).expect("a summary");
    assert!(last.ends_with(" operations verified, 0 errors") && !last.starts_with("demo: 0 "), "{last}");
    let args = ["rping", "--verify", "--count", "20", "--size", "5000", "--device", &devices];
    let said = ironwarp(&args).succeed(LIMIT).unwrap();
    assert!(said.contains(&VERIFIED.to_string()), "{said:?}");
    for operation in ["write", "send", "read", "atomic"] {
        let args =
            ["perf", operation, "--bidir", "--size", "4096", "--iterations", "300", "--device", &devices];
        let said = ironwarp(&args).succeed(LIMIT).unwrap();
        let messages = said.iter().find(|line| line.contains("  messages")).expect("a report");
        assert_eq!(messages.split_whitespace().nth(1), Some("600"), "{said:?}");
    }
    drop(nics);
}

#[test]
fn a_nic_that_is_stopped_takes_its_sockets_with_it_and_its_driver_is_told() {
    let wire = Wire::new();
    let mut nic = wire.nic(1);
    let mut server = listening(&["--device", &wire.device(1)]);
    nic.terminate();
    let said = nic.succeed(LIMIT).unwrap();
    assert!(said.contains(&"nic: stopped".to_string()) && said.contains(&"vfio_user.clients 1".to_string()));
    let (status, said) = server.wait(LIMIT).unwrap();
    assert!(!status.success() && said.iter().any(|line| line.contains("the device is gone")), "{said:?}");
    for name in ["b", "right", "right.stats"] {
        assert!(!wire.0.path(name).exists(), "{name}");
    }
}

#[test]
fn the_death_of_a_nic_or_a_driver_is_told_and_the_next_one_works() {
    let wire = Wire::new();
    let mut nic = wire.nic(1);
    let mut server = listening(&["--device", &wire.device(1)]);
    nic.kill();
    let (status, said) = server.wait(LIMIT).unwrap();
    assert!(!status.success() && said.iter().any(|line| line.contains("the device is gone")), "{said:?}");
    // The sockets that the dead one has left are no obstacle.
    let nic = wire.nic(1);
    let mut server = listening(&["--device", &wire.device(1)]);
    server.kill();
    let end = Instant::now() + LIMIT;
    while wire.stat(1, "vfio_user.clients") != 0 {
        assert!(Instant::now() < end, "the driver's death was not noticed");
        std::thread::sleep(Duration::from_millis(5));
    }
    let server = listening(&["--device", &wire.device(1)]);
    let client = ironwarp(&[&PING[..], &["--ether", &wire.ether(0)]].concat());
    assert_pinged(server, client);
    drop(nic);
}

#[test]
fn what_does_not_go_together_is_refused_with_advice() {
    let wire = Wire::new();
    let (ether, socket, device) = (wire.ether(0), wire.path("left"), wire.device(0));
    let nic = ["nic", "--ether", &ether, "--vfio-user", &socket];
    let ping = ["rping", "--connect", "10.9.0.2:7174", "--ip", "10.9.0.1"];
    let cases = [
        ([&nic[..], &["--serve", "echo:7"]].concat(), "--serve echo:7 needs a driver here"),
        ([&nic[..], &["--ip", "10.9.0.1"]].concat(), "cannot be used with"),
        ([&nic[..], &["--mtu", "9000"]].concat(), "cannot be used with"),
        ([&nic[..3], &[]].concat(), "--ip <IP>"),
        ([&ping[..], &["--ether", &ether, "--device", &device]].concat(), "leave out --ether"),
        ([&ping[..], &["--device", &device, "--pcap", "x"]].concat(), "leave out --pcap"),
        ([&ping[..], &["--device", &device, "--engine", "micro"]].concat(), "leave out --engine"),
        ([&ping[..], &["--device", &device]].concat(), "is the server started?"),
        (ping.to_vec(), "--ether is missing"),
        (vec!["rping", "--device", &device], "two are needed"),
        (vec!["perf", "write", "--link", "1g", "--device", "vfio-user:a,vfio-user:b"], "leave out --link"),
    ];
    for (args, advice) in cases {
        let (status, said) = ironwarp(&args).wait(LIMIT).unwrap();
        assert!(!status.success() && said.iter().any(|line| line.contains(advice)), "{args:?}: {said:#?}");
    }
    let first = wire.nic(0);
    let args = ["nic", "--ether", &wire.ether(1), "--vfio-user", &socket];
    let (status, said) = ironwarp(&args).wait(LIMIT).unwrap();
    assert!(
        !status.success() && said.iter().any(|line| line.contains("another process listens")),
        "{said:?}"
    );
    drop(first);
}

#[test]
fn linux_siw_pings_a_driver_whose_nic_is_another_process() {
    const PINGS: &str = "rping: 10 pings served";
    let Some(tool) = siw::find("linux_siw_pings_a_driver_whose_nic_is_another_process") else { return };
    with_retries("siw and vfio-user", 3, || {
        let script = "timeout 20 rping -c -V -a 10.7.0.1 -C 10 -S 4096";
        let mut peer = Guest { siw: &["mpa_crc_required=1"], script, ..Guest::default() }.boot(&tool);
        let socket = peer.path("nic").display().to_string();
        let mut nic = ironwarp(&["nic", "--ether", &peer.ether(), "--vfio-user", &socket]);
        nic.wait_line("nic: vfio-user:", LIMIT)?;
        let device = format!("vfio-user:{socket}");
        let args = ["rping", "--listen", "10.7.0.1:7174", "--timeout", "35", "--device", &device];
        let mut server = ironwarp(&args);
        server.wait_line("listening", LIMIT)?;
        peer.ready()?;
        let served = server.succeed(LIMIT)?;
        assert!(served.contains(&PINGS.to_string()), "{served:?}");
        peer.succeed(LIMIT).map(|_| ())
    });
}
