//! Ironwarp golden model.
