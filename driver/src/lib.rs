//! Ironwarp userspace driver.
