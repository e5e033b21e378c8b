//! The host's side of the registers.

mod requests;

pub use requests::Requests;
