//! The host's side of the registers.

mod requests;
mod wishbone;

pub use requests::Requests;
pub use wishbone::Wishbone;
