//! The blocks joined.

mod core;

pub use core::Core;
