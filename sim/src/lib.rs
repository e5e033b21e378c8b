//! Ironwarp golden model, links and the `ironwarp` command.
#![forbid(unsafe_code)]

pub mod cmd;
pub mod decode;
