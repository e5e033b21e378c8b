//! The RTL as an engine: the core of `ironwarp-hdl`, clocked cycle by cycle, with memory, host and wire around it.
//!
//! ```text
//!  Device calls --> RtlDevice --> Inputs --> Rtl (Native | Verilated) --> Outputs
//!                      ^                                                    |
//!                      +---- memory channels, frames, answers <-------------+
//! ```

mod compare;
mod device;
mod memory;
mod metered;
pub mod native;
pub mod pins;
mod stored;
pub mod verilated;

pub use compare::{Compared, Comparison};
pub use device::{Pace, RtlConfig, RtlDevice};
pub use metered::Metered;
pub use stored::Stored;
