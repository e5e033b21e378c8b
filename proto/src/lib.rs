//! Ironwarp wire formats and host ABI: the single source of every opcode, header, register and queue layout.
//!
//! Nothing here has state or does input and output: types, checked parsing, emission. (The one exception is
//! [`mpa::stream::Deframer`], which remembers the part of an FPDU that has come so far.)
#![forbid(unsafe_code)]

pub mod abi;
pub mod bridge;
pub mod crc;
pub mod ddp;
pub mod mpa;
pub mod pins;
pub mod rdmap;
pub mod seq;
pub mod terminate;
pub mod wire;
