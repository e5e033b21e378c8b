//! Waiting on real time: interrupts and software timers of all real devices of this process.

use super::{Service, TransportError, Wait};
use crate::sync::lock;
use ironwarp_proto::pins::Nanos;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, OnceLock, Weak};
use std::time::Instant;

/// Longest sleep, ns. What one thread waits for may be found by another one's service call, which wakes nobody else.
const NAP: Nanos = 10_000_000;

/// Software of one device and the time it wants to be called at.
#[derive(Default)]
struct Software {
    service: Option<Weak<dyn Service>>,
    at: Option<Nanos>,
}

/// One device: its interrupt, its life line and its software.
pub struct Member {
    /// Eventfd, not blocking, signalled by the device.
    irq: OwnedFd,
    /// Hangs up when the device is gone.
    life: Option<OwnedFd>,
    gone: OnceLock<String>,
    software: Mutex<Software>,
}

impl Member {
    /// A device that signals `irq`; `life` hangs up when it is gone.
    pub fn new(irq: OwnedFd, life: Option<OwnedFd>) -> Arc<Self> {
        Arc::new(Self { irq, life, gone: OnceLock::new(), software: Mutex::default() })
    }
    /// The device is gone, because of `reason`; the first one is kept.
    pub fn lose(&self, reason: impl Into<String>) -> TransportError {
        TransportError::Gone(self.gone.get_or_init(|| reason.into()).clone())
    }
    /// An error if the device is gone.
    pub fn check(&self) -> Result<(), TransportError> {
        self.gone.get().map_or(Ok(()), |reason| Err(TransportError::Gone(reason.clone())))
    }
    /// Name the software.
    pub fn attach(&self, service: Weak<dyn Service>) {
        lock(&self.software).service = Some(service);
    }
    fn at(&self) -> Option<Nanos> {
        lock(&self.software).at
    }
    fn set_at(&self, at: Nanos) {
        let software = &mut lock(&self.software);
        software.at = Some(software.at.map_or(at, |old| old.min(at)));
    }
    fn serve(&self) {
        let service = {
            let mut software = lock(&self.software);
            software.at = None;
            software.service.as_ref().and_then(Weak::upgrade)
        };
        // No lock is held here: the service accesses the device and may schedule itself.
        if self.gone.get().is_none()
            && let Some(at) = service.and_then(|service| service.service())
        {
            self.set_at(at);
        }
    }
}

/// Eventfd that does not block.
pub fn event() -> io::Result<OwnedFd> {
    Ok(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)
}

/// Take the signal out of an eventfd; whether there was one.
fn drain(event: &OwnedFd) -> bool {
    rustix::io::read(event, &mut [0; 8]).is_ok()
}

/// Devices that are served by whoever waits for any of them.
pub struct Reactor {
    start: Instant,
    /// Wakes those who sleep when a timer is set.
    wake: OwnedFd,
    sleepers: AtomicUsize,
    members: Mutex<Vec<Weak<Member>>>,
}

impl Reactor {
    /// An empty one.
    pub fn new() -> io::Result<Self> {
        let (wake, sleepers) = (event()?, AtomicUsize::new(0));
        Ok(Self { start: Instant::now(), wake, sleepers, members: Mutex::default() })
    }

    /// That of this process.
    pub fn process() -> Result<&'static Reactor, TransportError> {
        static PROCESS: LazyLock<Result<Reactor, String>> =
            LazyLock::new(|| Reactor::new().map_err(|error| error.to_string()));
        PROCESS.as_ref().map_err(|reason| TransportError::Gone(format!("no eventfd: {reason}")))
    }

    /// Serve this device too, as long as it lives.
    pub fn join(&self, member: &Arc<Member>) {
        let mut members = lock(&self.members);
        members.retain(|member| member.strong_count() > 0);
        members.push(Arc::downgrade(member));
    }

    /// Time since the first device was opened, ns.
    pub fn now(&self) -> Nanos {
        self.start.elapsed().as_nanos() as Nanos
    }

    /// Call the software of `member` at `at`.
    pub fn schedule(&self, member: &Member, at: Nanos) {
        member.set_at(at);
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            // A counter that is full wakes as well.
            let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
        }
    }

    /// Wait for an interrupt or a timer of any device, and serve those that are due.
    pub fn wait(&self, own: &Member, deadline: Option<Nanos>) -> Result<Wait, TransportError> {
        own.check()?;
        let members: Vec<Arc<Member>> = lock(&self.members).iter().filter_map(Weak::upgrade).collect();
        // From here on whoever sets a timer wakes us, or we see it.
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        let happened = self.sleep(&members, deadline);
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
        let happened = happened.map_err(|error| own.lose(format!("cannot wait for it: {error}")))?;
        own.check()?;
        let reached = deadline.is_some_and(|deadline| self.now() >= deadline);
        Ok(if happened || !reached { Wait::Progress } else { Wait::Deadline })
    }

    /// Sleep until something is due, and serve it; whether there was anything.
    fn sleep(&self, members: &[Arc<Member>], deadline: Option<Nanos>) -> io::Result<bool> {
        let now = self.now();
        let timer = members.iter().filter_map(|member| member.at()).min();
        let until = [deadline, timer, Some(now + NAP)].into_iter().flatten().min().unwrap_or(now);
        let left = until.saturating_sub(now);
        let timeout =
            Timespec { tv_sec: (left / 1_000_000_000) as i64, tv_nsec: (left % 1_000_000_000) as i64 };
        let mut fds = vec![PollFd::new(&self.wake, PollFlags::IN)];
        for member in members {
            fds.push(PollFd::new(&member.irq, PollFlags::IN));
            let life = member.life.as_ref().filter(|_| member.gone.get().is_none());
            fds.extend(life.map(|life| PollFd::new(life, PollFlags::RDHUP)));
        }
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let hang_up = PollFlags::HUP | PollFlags::RDHUP | PollFlags::ERR;
        let lost = fds.iter().skip(1).any(|fd| fd.revents().intersects(hang_up));
        drop(fds);
        let mut happened = drain(&self.wake);
        for member in members {
            if lost && member.has_hung_up() {
                member.lose("its server has closed the connection, or died");
                happened = true;
                continue;
            }
            let due = member.at().is_some_and(|at| at <= self.now());
            if drain(&member.irq) || due {
                member.serve();
                happened = true;
            }
        }
        Ok(happened)
    }
}

impl Member {
    fn has_hung_up(&self) -> bool {
        let Some(life) = &self.life else { return false };
        let mut fds = [PollFd::new(life, PollFlags::RDHUP)];
        let polled = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        polled.is_ok_and(|count| count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    struct Counter(AtomicUsize);
    impl Service for Counter {
        fn service(&self) -> Option<Nanos> {
            self.0.fetch_add(1, Ordering::SeqCst);
            None
        }
    }

    fn served() -> (Reactor, Arc<Member>, Arc<Counter>, OwnedFd, UnixStream) {
        let reactor = Reactor::new().unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let irq = event().unwrap();
        let member = Member::new(irq.try_clone().unwrap(), Some(ours.into()));
        let counter = Arc::new(Counter(AtomicUsize::new(0)));
        let service: Weak<Counter> = Arc::downgrade(&counter);
        member.attach(service);
        reactor.join(&member);
        (reactor, member, counter, irq, theirs)
    }

    #[test]
    fn an_interrupt_is_served_by_whoever_waits() {
        let (reactor, _first, first, irq, _life) = served();
        let other = Member::new(event().unwrap(), None);
        reactor.join(&other);
        rustix::io::write(&irq, &1u64.to_ne_bytes()).unwrap();
        assert_eq!(reactor.wait(&other, None), Ok(Wait::Progress));
        assert_eq!(first.0.load(Ordering::SeqCst), 1);
        let now = reactor.now();
        assert_eq!(reactor.wait(&other, Some(now)), Ok(Wait::Deadline), "a signal is served once");
        assert_eq!(first.0.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_timer_set_by_another_thread_is_served() {
        let (reactor, member, counter, _irq, _life) = served();
        std::thread::scope(|scope| {
            scope.spawn(|| reactor.schedule(&member, reactor.now()));
            while counter.0.load(Ordering::SeqCst) == 0 {
                reactor.wait(&member, None).unwrap();
            }
        });
    }

    #[test]
    fn a_device_that_is_gone_is_an_error_and_the_others_go_on() {
        let (reactor, member, counter, irq, life) = served();
        drop(life);
        let error = loop {
            if let Err(error) = reactor.wait(&member, None) {
                break error;
            }
        };
        assert!(matches!(&error, TransportError::Gone(why) if why.contains("closed")), "{error}");
        assert_eq!(reactor.wait(&member, None), Err(error));
        rustix::io::write(&irq, &1u64.to_ne_bytes()).unwrap();
        let other = Member::new(event().unwrap(), None);
        reactor.join(&other);
        assert!(reactor.wait(&other, Some(reactor.now())).is_ok());
        assert_eq!(counter.0.load(Ordering::SeqCst), 0, "nobody touches a device that is gone");
    }
}
