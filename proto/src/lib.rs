//! Ironwarp wire formats and host ABI: the single source of every opcode, header, register and queue layout.
//!
//! Nothing here has state or does input and output: types, checked parsing, emission.
#![forbid(unsafe_code)]

pub mod abi;
pub mod pins;
pub mod seq;
