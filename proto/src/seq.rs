//! TCP sequence number arithmetic modulo 2^32 (RFC 9293 section 3.4).

use std::ops::{Add, AddAssign, Sub};

/// A TCP sequence number. Only differences below 2^31 are meaningful.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Seq(pub u32);

impl Seq {
    /// `self - other` as a signed distance: positive when `self` is later.
    pub fn diff(self, other: Seq) -> i32 {
        self.0.wrapping_sub(other.0) as i32
    }
    /// `self < other`.
    pub fn before(self, other: Seq) -> bool {
        self.diff(other) < 0
    }
    /// `self > other`.
    pub fn after(self, other: Seq) -> bool {
        self.diff(other) > 0
    }
    /// The later of two.
    pub fn max(self, other: Seq) -> Seq {
        if self.before(other) { other } else { self }
    }
    /// The earlier of two.
    pub fn min(self, other: Seq) -> Seq {
        if other.before(self) { other } else { self }
    }
}

impl Add<u32> for Seq {
    type Output = Seq;
    fn add(self, rhs: u32) -> Seq {
        Seq(self.0.wrapping_add(rhs))
    }
}

impl Sub<u32> for Seq {
    type Output = Seq;
    fn sub(self, rhs: u32) -> Seq {
        Seq(self.0.wrapping_sub(rhs))
    }
}

impl AddAssign<u32> for Seq {
    fn add_assign(&mut self, rhs: u32) {
        *self = *self + rhs;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_survives_the_wrap() {
        let a = Seq(u32::MAX - 1);
        let b = a + 3;
        assert_eq!(b, Seq(1));
        assert!(a.before(b) && b.after(a));
        assert_eq!(b.diff(a), 3);
        assert_eq!(a.max(b), b);
        assert_eq!(a.min(b), a);
        assert_eq!(b - 3, a);
    }
}
