//! When to stop: a signal, or a time limit.

use crate::cmd::options::CommandError;
use ironwarp_driver::transport::Wait;
use ironwarp_driver::verbs::Context;
use ironwarp_proto::pins::Nanos;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A flag that SIGINT and SIGTERM raise. A second one ends the process at once.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Raised by signals from now on.
    pub fn on_signals() -> std::io::Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal finds the flag still down.
            signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&flag))?;
            signal_hook::flag::register(signal, Arc::clone(&flag))?;
        }
        Ok(Self(flag))
    }

    /// Raise it.
    pub fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was raised.
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// How long to wait for things to happen.
#[derive(Debug, Clone, Default)]
pub struct Patience {
    /// Ends every wait.
    pub stop: Stop,
    /// Time of the device at which waiting ends; `None`: never.
    pub deadline: Option<Nanos>,
}

impl Patience {
    /// Let something happen. An error when nothing can any more, or when it is time to stop.
    pub fn wait(&self, context: &Context) -> Result<(), CommandError> {
        if self.stop.is_raised() {
            return Err(CommandError::Interrupted);
        }
        if self.deadline.is_some_and(|deadline| context.now() >= deadline) {
            return Err(CommandError::TimeLimit);
        }
        match context.wait(self.deadline)? {
            Wait::Idle => Err(CommandError::Failed("nothing happens any more, and work is left".into())),
            Wait::Progress | Wait::Deadline => Ok(()),
        }
    }

    /// Poll, waiting between, until `poll` has something.
    pub fn wait_for<T>(
        &self,
        context: &Context,
        mut poll: impl FnMut() -> Result<Option<T>, CommandError>,
    ) -> Result<T, CommandError> {
        loop {
            if let Some(value) = poll()? {
                return Ok(value);
            }
            self.wait(context)?;
        }
    }
}
