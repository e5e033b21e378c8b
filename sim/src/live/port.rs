//! An Ethernet port: a wire with a short queue in front of it, and counters.

use super::ether::{Ether, FRAME_MAX, OpenError, Wire, is_absent};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// How long a frame waits for a reader that does not read before it is lost.
const PATIENCE: Duration = Duration::from_millis(200);
/// Pause before a full wire is tried again. (A datagram socket cannot say when the other end has room.)
pub const RETRY: Duration = Duration::from_micros(100);

/// Frames that may wait for the wire.
const QUEUE_MAX: usize = 1024;

/// What has gone through a port since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PortStats {
    /// Frames sent.
    pub sent: u64,
    /// Their bytes, without FCS.
    pub sent_bytes: u64,
    /// Frames received.
    pub received: u64,
    /// Their bytes, without FCS.
    pub received_bytes: u64,
    /// Frames to send that were lost because nobody was at the other end.
    pub absent: u64,
    /// Frames to send that were lost because the other end did not read.
    pub overflow: u64,
    /// Other errors of the system, in either direction.
    pub errors: u64,
}

/// One open port.
pub struct Port {
    ether: Ether,
    wire: Box<dyn Wire>,
    queue: VecDeque<(Instant, Vec<u8>)>,
    buffer: Vec<u8>,
    stats: PortStats,
}

impl Port {
    /// Open it.
    pub fn open(ether: &Ether) -> Result<Self, OpenError> {
        Ok(Self {
            ether: ether.clone(),
            wire: ether.open()?,
            queue: VecDeque::new(),
            buffer: vec![0; FRAME_MAX],
            stats: PortStats::default(),
        })
    }

    /// Where it leads.
    pub fn ether(&self) -> &Ether {
        &self.ether
    }

    /// What has gone through.
    pub fn stats(&self) -> PortStats {
        self.stats
    }

    /// Frames that wait for the wire.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Send a frame, as soon as the wire takes it.
    pub fn send(&mut self, frame: Vec<u8>) {
        if self.queue.len() < QUEUE_MAX {
            self.queue.push_back((Instant::now(), frame));
        } else {
            self.stats.overflow += 1;
        }
        self.flush();
    }

    /// Send what waits, as far as the wire takes it.
    pub fn flush(&mut self) {
        while let Some((since, frame)) = self.queue.front() {
            match self.wire.send(frame) {
                Ok(()) => {
                    self.stats.sent += 1;
                    self.stats.sent_bytes += frame.len() as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if is_full(&error) => {
                    if since.elapsed() < PATIENCE {
                        return;
                    }
                    self.stats.overflow += 1;
                }
                Err(error) if is_absent(&error) => self.stats.absent += 1,
                Err(error) => self.fault(&error),
            }
            self.queue.pop_front();
        }
    }

    /// The next frame, if one is there.
    pub fn receive(&mut self) -> Option<&[u8]> {
        loop {
            match self.wire.receive(&mut self.buffer) {
                Ok(len) => {
                    self.stats.received += 1;
                    self.stats.received_bytes += len as u64;
                    return Some(&self.buffer[..len]);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                // A datagram sent earlier found nobody: the next call may have a frame.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => self.stats.absent += 1,
                Err(error) => {
                    self.fault(&error);
                    return None;
                }
            }
        }
    }

    fn fault(&mut self, error: &io::Error) {
        if self.stats.errors == 0 {
            tracing::warn!(ether = %self.ether, %error, "a frame is lost; further errors are only counted");
        }
        self.stats.errors += 1;
    }
}

/// Whether the wire takes no frame now. ENOBUFS is what some kernels say of a full queue.
fn is_full(error: &io::Error) -> bool {
    error.kind() == ErrorKind::WouldBlock || error.raw_os_error() == Some(Errno::NOBUFS.raw_os_error())
}

/// Wait until one of `ports` has a frame or one of `others` has input, or for `longest`; whether one of `others` has. A port with
/// frames that wait is tried again soon.
pub fn wait(ports: &[&Port], others: &[BorrowedFd<'_>], longest: Duration) -> bool {
    let longest = if ports.iter().any(|port| port.queued() > 0) { longest.min(RETRY) } else { longest };
    let wires = ports.iter().map(|port| port.wire.as_fd());
    let mut fds: Vec<_> =
        wires.chain(others.iter().copied()).map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
    let timeout = Timespec { tv_sec: longest.as_secs() as i64, tv_nsec: longest.subsec_nanos().into() };
    let polled = poll(&mut fds, Some(&timeout));
    // A wire that is broken, such as a TAP interface that was taken away, is "ready" for ever.
    let faults = PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL;
    let (wires, others) = fds.split_at(ports.len());
    let called = others.iter().any(|fd| !fd.revents().is_empty());
    let broken = !called && wires.iter().any(|fd| fd.revents().intersects(faults));
    if broken || polled.is_err_and(|errno| errno != Errno::INTR) {
        std::thread::sleep(longest.min(Duration::from_millis(1)));
    }
    called
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two ports that lead to one another, in a directory of their own.
    fn pair(test: &str) -> [Port; 2] {
        let directory = std::env::temp_dir().join(format!("ironwarp-port-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let [a, b] = ["a", "b"].map(|name| directory.join(name));
        let open = |local: &std::path::Path, remote: &std::path::Path| {
            Port::open(&Ether::Unix { local: local.into(), remote: remote.into() }).unwrap()
        };
        [open(&a, &b), open(&b, &a)]
    }

    #[test]
    fn frames_pass_whole_and_in_order_even_when_the_reader_is_late() {
        let [mut a, mut b] = pair("order");
        // More than a socket's queue holds.
        for n in 0..40u8 {
            a.send(vec![n; 1 + usize::from(n)]);
        }
        assert!(a.queued() > 0, "the wire is full");
        for n in 0..40u8 {
            while b.receive().is_none_or(|frame| {
                assert_eq!(frame, vec![n; 1 + usize::from(n)]);
                false
            }) {
                a.flush();
            }
            a.flush();
        }
        assert_eq!((a.stats().sent, b.stats().received, a.stats().overflow), (40, 40, 0));
    }

    #[test]
    fn frames_for_nobody_are_lost_and_counted() {
        let [mut a, b] = pair("absent");
        drop(b);
        a.send(vec![1; 60]);
        assert_eq!((a.stats().absent, a.stats().sent, a.queued()), (1, 0, 0));
    }

    #[test]
    fn a_socket_left_behind_is_replaced_but_a_file_is_not() {
        let directory = std::env::temp_dir().join(format!("ironwarp-port-stale-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let (stale, file) = (directory.join("stale"), directory.join("file"));
        drop(std::os::unix::net::UnixDatagram::bind(&stale).unwrap());
        let open = |local| Port::open(&Ether::Unix { local, remote: "nobody".into() });
        let port = open(stale.clone()).unwrap();
        assert!(open(stale.clone()).is_err(), "a socket in use is not taken away");
        drop(port);
        assert!(!stale.exists());
        std::fs::write(&file, "precious").unwrap();
        assert!(open(file.clone()).is_err());
        assert_eq!(std::fs::read(&file).unwrap(), b"precious");
    }
}
