//! System tests of Ironwarp: benches on which a device is exercised at its pins, and the tests in `tests/`.

pub mod live;
pub mod replay;
pub mod rig;
pub mod scene;
pub mod spy;
