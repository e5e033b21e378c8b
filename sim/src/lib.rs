//! Ironwarp golden model.
pub mod model;
