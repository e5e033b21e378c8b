//! Checks over streams of bytes.

mod bytes;
mod crc32c;

pub use bytes::Crc32cBytes;
pub use crc32c::Crc32c;
