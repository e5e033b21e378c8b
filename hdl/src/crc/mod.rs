//! Checks over streams of bytes.

mod crc32c;

pub use crc32c::Crc32c;
