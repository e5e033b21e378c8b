//! Ironwarp golden model.

pub mod link;
pub mod pcap;
pub mod world;
