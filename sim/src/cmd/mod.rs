//! The subcommands of `ironwarp`, one a file.

pub mod decode;
pub mod demo;
pub mod options;
pub mod perf;
pub mod registers;
pub mod rping;
pub mod vfio_user;
