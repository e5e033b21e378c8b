//! The RTL as an engine: the core of `ironwarp-hdl`, clocked cycle by cycle, with memory, host and wire around it.
//!
//! ```text
//!  Device calls --> RtlDevice --> Inputs --> Rtl (Native | Verilated) --> Outputs
//!                      ^                                                    |
//!                      +---- memory channels, frames, answers <-------------+
//! ```

mod compare;
mod device;
mod gates;
mod memory;
pub mod native;
pub mod pins;
mod profile;
mod stored;
pub mod verilated;
mod waves;

pub use compare::{Compared, Comparison};
pub use device::{Pace, RtlConfig, RtlDevice};
pub use gates::gates;
pub use memory::DmaTiming;
pub use profile::{ENGINES, FLOWS, Flow, Latency, MEMORY, Profile};
pub use stored::Stored;
pub use waves::{WavesConfig, WavesError};
