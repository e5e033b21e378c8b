//! Moving bytes to where they are wanted.

mod rotator;
mod serial;

pub use rotator::Rotator;
pub use serial::SerialRotator;
