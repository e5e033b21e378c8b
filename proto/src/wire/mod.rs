//! The protocols below MPA: Ethernet, ARP, IPv4, ICMP echo and TCP.
//!
//! Each module has one header type with a `parse` that checks everything the header alone can show, and an
//! `emit` that appends the header to a buffer. Numbers are in host order in the types, in network order in bytes.

pub mod arp;
pub mod checksum;
pub mod eth;
pub mod icmp;
pub mod ipv4;
pub mod tcp;

use thiserror::Error;

/// Why bytes are not the header they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum WireError {
    /// Fewer bytes than the header, or than the length it claims.
    #[error("{what}: {need} bytes needed, {have} there")]
    Truncated {
        /// Which header or part.
        what: &'static str,
        /// Bytes needed.
        need: usize,
        /// Bytes there.
        have: usize,
    },
    /// A field with a value that cannot be worked with.
    #[error("{what} is {value:#x}")]
    BadField {
        /// Which field.
        what: &'static str,
        /// What it holds.
        value: u64,
    },
    /// A checksum that does not match.
    #[error("{what} checksum is wrong")]
    BadChecksum {
        /// Whose checksum.
        what: &'static str,
    },
}

/// Splits off the fixed part of a header.
pub(crate) fn split<'a, const N: usize>(
    what: &'static str,
    bytes: &'a [u8],
) -> Result<(&'a [u8; N], &'a [u8]), WireError> {
    bytes.split_first_chunk().ok_or(WireError::Truncated { what, need: N, have: bytes.len() })
}

/// `N` bytes of a header at `at`. Both are constants at every call, within an array of checked size.
pub(crate) fn field<const N: usize>(header: &[u8], at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&header[at..at + N]);
    bytes
}

/// The big-endian 16-bit number at `at`.
pub(crate) fn be16(header: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(field(header, at))
}

/// The big-endian 32-bit number at `at`.
pub(crate) fn be32(header: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(field(header, at))
}

/// The big-endian 64-bit number at `at`.
pub(crate) fn be64(header: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(field(header, at))
}
