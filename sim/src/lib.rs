//! Ironwarp in software: the golden model of the device, links that join devices, and the `ironwarp` command.

pub mod board;
pub mod cmd;
pub mod decode;
mod device;
pub mod emulated;
pub mod engine;
pub mod exercise;
pub mod hardware;
pub mod lab;
pub mod limit;
pub mod link;
pub mod live;
pub mod model;
pub mod pcap;
pub mod rtl;
pub mod serve;
pub mod size;
pub mod vfio_user;
pub mod world;

pub use device::{OpenDeviceError, engine as engine_of, open_device, open_transport};
