//! Linux's software iWARP in a small guest, started by `siw-peer` (see `docs/interop.md`).

use super::process::Running;
use super::{Scratch, find_program, is_executable, note};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a guest may take to boot.
const BOOT: Duration = Duration::from_secs(40);

/// Where `siw-peer` is: `$IRONWARP_SIW_PEER`, on the `PATH`, or beside the workspace. Without one it is noted that `test` is skipped.
pub fn find(test: &str) -> Option<PathBuf> {
    let named = std::env::var_os("IRONWARP_SIW_PEER").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/peer/siw-peer");
    let found = match named {
        Some(path) => Some(path).filter(|path| is_executable(path)),
        None => find_program("siw-peer").or_else(|| Some(beside).filter(|path| is_executable(path))),
    };
    if found.is_none() {
        note(&format!(
            "{test} is skipped: no siw-peer; build it as docs/interop.md says and set IRONWARP_SIW_PEER"
        ));
    }
    found
}

/// What a guest is to be.
#[derive(Debug, Clone)]
pub struct Guest<'a> {
    /// Parameters of the driver.
    pub siw: &'a [&'a str],
    /// MTU, bytes.
    pub mtu: u16,
    /// It is ready when something listens at this port.
    pub ready_port: Option<u16>,
    /// Shell script that it runs.
    pub script: &'a str,
    /// Time limit, boot included.
    pub seconds: u32,
}

impl Default for Guest<'_> {
    fn default() -> Self {
        Self { siw: &[], mtu: 1500, ready_port: None, script: "", seconds: 60 }
    }
}

/// One guest at a time: siw's responder stalls more often on a busy machine.
static ALONE: Mutex<()> = Mutex::new(());

/// A guest that runs, at 10.7.0.2. Fields are dropped in order: the next guest boots when this one has gone.
pub struct Peer {
    running: Running,
    scratch: Scratch,
    _alone: MutexGuard<'static, ()>,
}

impl Guest<'_> {
    /// Boot it with `siw-peer`.
    pub fn boot(&self, tool: &Path) -> Peer {
        // A test that failed with a guest has left nothing behind.
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let scratch = Scratch::new();
        let mut command = Command::new(tool);
        command.arg("--local").arg(scratch.path("g")).arg("--remote").arg(scratch.path("m"));
        command.arg("--mtu").arg(self.mtu.to_string()).arg("--timeout").arg(self.seconds.to_string());
        for parameter in self.siw {
            command.args(["--siw", parameter]);
        }
        if let Some(port) = self.ready_port {
            command.arg("--ready-port").arg(port.to_string());
        }
        command.arg("--").arg(self.script);
        Peer { running: Running::start(&mut command), scratch, _alone: alone }
    }
}

impl Peer {
    /// Ethernet of the NIC that is to be the guest's neighbour.
    pub fn ether(&self) -> String {
        format!("unix:{},{}", self.scratch.path("m").display(), self.scratch.path("g").display())
    }

    /// A name in a directory that goes with the guest.
    pub fn path(&self, name: &str) -> PathBuf {
        self.scratch.path(name)
    }

    /// Wait until its script runs or its server listens.
    pub fn ready(&mut self) -> Result<(), String> {
        self.running.wait_line("READY", BOOT).map(|_| ())
    }

    /// Wait for a line of its programs.
    pub fn wait_line(&mut self, text: &str, limit: Duration) -> Result<String, String> {
        self.running.wait_line(text, limit)
    }

    /// Wait for its end with status 0; returns what its programs have said.
    pub fn succeed(mut self, limit: Duration) -> Result<Vec<String>, String> {
        self.running.succeed(limit)
    }
}
