//! Ironwarp in software: the golden model of the device, links that join devices, and the `ironwarp` command.

pub mod link;
pub mod model;
pub mod pcap;
pub mod world;
