//! Network namespaces: a host of its own for a test, with the network stack of this kernel.

use super::{find_program, note};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;

/// A network namespace.
pub struct NetNs {
    name: String,
}

impl NetNs {
    /// A new one, or `None`, with a note that `test` is skipped, where that is not possible.
    pub fn new(test: &str) -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let why = if !rustix::process::geteuid().is_root() {
            "network namespaces and TAP take root"
        } else if find_program("ip").is_none() {
            "there is no 'ip' (Debian: iproute2)"
        } else if File::options().read(true).write(true).open("/dev/net/tun").is_err() {
            "/dev/net/tun cannot be opened"
        } else {
            let name = format!("iw-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
            let made = Command::new("ip").args(["netns", "add", &name]).output();
            if made.is_ok_and(|output| output.status.success()) {
                let namespace = Self { name };
                namespace.ip("link set lo up");
                return Some(namespace);
            }
            "no network namespace can be made here"
        };
        note(&format!("{test} is skipped: {why}"));
        None
    }

    /// A command that runs inside.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// `ip` with these words, inside.
    ///
    /// # Panics
    /// If it fails.
    pub fn ip(&self, words: &str) {
        let output = self.command("ip").args(words.split_whitespace()).output().expect("ip runs");
        assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Give the interface an address, and switch it on.
    pub fn configure(&self, interface: &str, address: &str, mtu: u16) {
        self.ip(&format!("link set {interface} mtu {mtu}"));
        self.ip(&format!("addr add {address} dev {interface}"));
        self.ip(&format!("link set {interface} up"));
    }

    /// Run `work` in a thread whose sockets are inside.
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        let path = format!("/run/netns/{}", self.name);
        std::thread::spawn(move || {
            let namespace = File::open(path).expect("the namespace is there");
            let kind = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(namespace.as_fd(), kind).expect("root may enter a namespace");
            work()
        })
    }
}

impl Drop for NetNs {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).output();
    }
}
