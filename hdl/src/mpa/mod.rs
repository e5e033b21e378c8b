//! MPA framing (RFC 5044).

mod markers;

pub use markers::Markers;
