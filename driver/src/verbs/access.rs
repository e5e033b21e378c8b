//! Rights of a region or window.

use crate::error::Error;
use ironwarp_proto::abi::region::access;
use std::ops::{BitOr, BitOrAssign};

/// What a region or window may be used for. Local reading is always allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Access(u8);

impl Access {
    /// Only as the source of own Sends and Writes.
    pub const LOCAL_READ: Access = Access(0);
    /// As receive buffer, or as the sink of an own Read or atomic.
    pub const LOCAL_WRITE: Access = Access(access::LOCAL_WRITE);
    /// The peer may read it.
    pub const REMOTE_READ: Access = Access(access::REMOTE_READ);
    /// The peer may write it.
    pub const REMOTE_WRITE: Access = Access(access::REMOTE_WRITE);
    /// The peer may use atomic operations on it (RFC 7306).
    pub const REMOTE_ATOMIC: Access = Access(access::REMOTE_ATOMIC);
    /// Memory windows may be bound to it.
    pub const BIND: Access = Access(access::BIND);

    /// Whether all rights of `other` are among these.
    pub fn contains(self, other: Access) -> bool {
        self.0 & other.0 == other.0
    }
    /// As the device's entries have it.
    pub fn bits(self) -> u8 {
        self.0
    }
    /// Whether the peer may change the bytes.
    pub(crate) fn remote_change(self) -> bool {
        self.0 & (access::REMOTE_WRITE | access::REMOTE_ATOMIC) != 0
    }
    /// Remote write and atomics need local write, as everywhere in RDMA.
    pub(crate) fn check_region(self) -> Result<(), Error> {
        if self.remote_change() && !self.contains(Self::LOCAL_WRITE) {
            return Err(Error::Access("REMOTE_WRITE and REMOTE_ATOMIC need LOCAL_WRITE too"));
        }
        Ok(())
    }
    /// A window has remote rights only.
    pub(crate) fn check_window(self) -> Result<(), Error> {
        if self.0 & !access::REMOTE != 0 {
            return Err(Error::Access("a window has REMOTE_READ, REMOTE_WRITE and REMOTE_ATOMIC only"));
        }
        Ok(())
    }
}

impl BitOr for Access {
    type Output = Access;
    fn bitor(self, other: Access) -> Access {
        Access(self.0 | other.0)
    }
}

impl BitOrAssign for Access {
    fn bitor_assign(&mut self, other: Access) {
        self.0 |= other.0;
    }
}
