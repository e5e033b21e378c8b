//! Moving bytes to where they are wanted.

mod rotator;

pub use rotator::Rotator;
