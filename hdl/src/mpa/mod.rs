//! MPA framing (RFC 5044).

mod markers;
mod walk;

pub use markers::Markers;
pub use walk::Walk;
