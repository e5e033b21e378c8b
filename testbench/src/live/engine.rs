//! Engines of live tests: each test runs on the model and on the RTL.
//!
//! The RTL is its Verilog, compiled by Verilator, with a clock as fast as this machine runs it ([`Engine::RtlVerilatedSettled`]): the
//! peer's time is real, and the RTL's own would be slower by orders of magnitude.

use super::{find_program, note};
use ironwarp_driver::transport::HostMemory;
pub use ironwarp_sim::engine::Engine;
use ironwarp_sim::model::ModelConfig;
use std::sync::Once;

/// The RTL for real time, if it can be had here; else it is noted that `test` is skipped.
///
/// # Panics
/// If Verilator is there, but does not compile the RTL.
pub fn rtl(test: &str) -> Option<Engine> {
    if find_program("verilator").is_none() {
        note(&format!("{test} is skipped on the RTL: no verilator (Debian: verilator)"));
        return None;
    }
    // The first device of a machine is compiled, which takes longer than a peer waits.
    static COMPILED: Once = Once::new();
    COMPILED.call_once(|| {
        let device = Engine::RtlVerilatedSettled.device(&ModelConfig::default(), HostMemory::new());
        drop(device.unwrap_or_else(|error| panic!("{error}")));
    });
    Some(Engine::RtlVerilatedSettled)
}

/// Define, for each of these functions of an [`Engine`], a test on the model and one on the RTL.
#[macro_export]
macro_rules! on_model_and_rtl {
    ($($test:ident),+ $(,)?) => {
        mod model {
            $(#[test]
            fn $test() {
                super::$test($crate::live::engine::Engine::Model);
            })+
        }
        mod rtl {
            $(#[test]
            fn $test() {
                if let Some(engine) = $crate::live::engine::rtl(stringify!($test)) {
                    super::$test(engine);
                }
            })+
        }
    };
}
