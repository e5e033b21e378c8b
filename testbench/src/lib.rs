//! Ironwarp system tests.
