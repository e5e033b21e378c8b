//! What tests of devices in other processes share.
#![allow(dead_code, reason = "each test file uses its part")]

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Long enough for anything that is to happen; a test that waits longer has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A folder of its own for a test, gone with it. Socket paths are short, so it is not below the target folder.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ironwarp-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).expect("a folder for sockets");
        Self(path)
    }
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
    /// Names of what is in it.
    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).expect("the folder is there");
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Wait until `done`.
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "{what} never came");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A process that is killed with the test.
pub struct Process(pub Child);

impl Process {
    pub fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).spawn().expect("the command starts"))
    }
    pub fn kill(mut self) {
        self.0.kill().expect("it was alive");
        self.0.wait().expect("it is ours");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The `ironwarp` command.
pub fn ironwarp(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ironwarp"));
    command.args(args).env_remove("IRONWARP_DEVICE").env_remove("RUST_LOG");
    command
}

/// Two models on two sockets of `folder`, listening.
pub fn serve_two(folder: &Folder) -> (Process, String) {
    serve_two_of("model", folder)
}

/// Two devices of this engine on two sockets of `folder`, listening.
pub fn serve_two_of(engine: &str, folder: &Folder) -> (Process, String) {
    let [left, right] = ["left", "right"].map(|name| folder.path(name).display().to_string());
    let args = ["vfio-user", "--engine", engine, "--socket", &left, "--peer", &right];
    let mut process = Process::start(ironwarp(&args).stdout(Stdio::piped()).stderr(Stdio::null()));
    // It names each socket when it listens.
    let lines = BufReader::new(process.0.stdout.take().expect("piped")).lines();
    assert_eq!(lines.take(2).map_while(Result::ok).count(), 2, "the server listens");
    (process, format!("vfio-user:{left},vfio-user:{right}"))
}

/// Open descriptors of a process, and mappings of shared memory.
pub fn resources(process: &Process) -> (usize, usize) {
    let proc = PathBuf::from(format!("/proc/{}", process.0.id()));
    let fds = std::fs::read_dir(proc.join("fd")).map_or(0, Iterator::count);
    let maps = std::fs::read_to_string(proc.join("maps")).unwrap_or_default();
    (fds, maps.lines().filter(|line| line.contains("memfd:")).count())
}
