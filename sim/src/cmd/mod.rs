//! The subcommands of `ironwarp`, one a file.

pub mod decode;
