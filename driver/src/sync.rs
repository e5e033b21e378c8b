//! Locking.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Lock `mutex`. This crate does not panic; if a caller's code did while it was held, the state is still whole.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
