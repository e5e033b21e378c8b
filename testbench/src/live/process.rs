//! Other processes, whose output is read line by line and which do not outlive their guard.

use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// How long a process may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);
/// Pause between looks at whether a process has ended.
const LOOK: Duration = Duration::from_millis(5);

/// A running process.
pub struct Running {
    name: String,
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Running {
    /// Start `command`; its standard output and error are read here.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(command: &mut Command) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        let (sender, lines) = channel();
        read_lines(child.stdout.take().expect("piped"), sender.clone());
        read_lines(child.stderr.take().expect("piped"), sender);
        Self { name, child, lines, seen: Vec::new() }
    }

    /// Wait for a line that holds `text`.
    pub fn wait_line(&mut self, text: &str, limit: Duration) -> Result<String, String> {
        let end = Instant::now() + limit;
        if let Some(line) = self.seen.iter().find(|line| line.contains(text)) {
            return Ok(line.clone());
        }
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(text) {
                        return Ok(line);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    return Err(format!("{} did not say '{text}' in {limit:?}: {:#?}", self.name, self.seen));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(format!("{} ended without saying '{text}': {:#?}", self.name, self.seen));
                }
            }
        }
    }

    /// Ask it to end.
    pub fn terminate(&self) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    /// End it at once, by SIGKILL.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Wait for its end; returns its status and all it has said.
    pub fn wait(&mut self, limit: Duration) -> Result<(ExitStatus, Vec<String>), String> {
        let end = Instant::now() + limit;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => {
                    // Both readers end with the process, unless a child of it has the pipes.
                    while let Ok(line) = self.lines.recv_timeout(Duration::from_millis(200)) {
                        self.seen.push(line);
                    }
                    return Ok((status, std::mem::take(&mut self.seen)));
                }
                Ok(None) if Instant::now() < end => {}
                other => {
                    self.seen.extend(self.lines.try_iter());
                    return Err(format!(
                        "{} has not ended in {limit:?} ({other:?}): {:#?}",
                        self.name, self.seen
                    ));
                }
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Wait for its end, which must be a success; returns all it has said.
    pub fn succeed(&mut self, limit: Duration) -> Result<Vec<String>, String> {
        let (status, lines) = self.wait(limit)?;
        if status.success() {
            Ok(lines)
        } else {
            Err(format!("{} ended with {status}: {lines:#?}", self.name))
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.terminate();
            if self.wait(GRACE).is_err() {
                let _ = self.child.kill();
                let _ = self.child.wait();
            }
        }
    }
}

fn read_lines(stream: impl Read + Send + 'static, sender: Sender<String>) {
    std::thread::spawn(move || {
        let mut lines = BufReader::new(stream);
        let mut line = Vec::new();
        while matches!(lines.read_until(b'\n', &mut line), Ok(1..)) {
            let text = String::from_utf8_lossy(&line).trim_end().to_string();
            line.clear();
            if sender.send(text).is_err() {
                break;
            }
        }
    });
}
