//! [`FB`]: up to 64 bits in a machine word.
//!
//! RustHDL's own `Bits<N>` is a 32-byte enum that goes through vectors and big integers; `FB<N>` is a `u64`.
//! The kernel macro looks at the names of methods only, so the Verilog is the same, and simulation is several
//! times faster. RAM and FIFO addresses of the stock widgets remain `Bits`: [`FB::to_bits`].
//!
//! Arithmetic is modulo 2^N. What Verilog would do differently (literals are 32 bits wide there) the types
//! cannot forbid; `tests/blocks/lint.rs` does.

use rust_hdl::prelude::{Bits, Synth, TypeDescriptor, TypeKind, VCDValue, VerilogLiteral};
use std::ops::{Add, BitAnd, BitOr, BitXor, Not, Shl, Shr, Sub};

/// `N` bits, 1 to 64; those above are always zero.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Hash)]
pub struct FB<const N: usize>(u64);

impl<const N: usize> FB<N> {
    /// All bits set.
    pub const MASK: u64 = {
        assert!(N >= 1 && N <= 64, "FB has 1 to 64 bits");
        u64::MAX >> (64 - N)
    };

    /// The number `x`, which must fit (checked in builds with debug assertions; cut otherwise, as in Verilog).
    pub fn new(x: u64) -> Self {
        debug_assert!(x <= Self::MASK, "{x:#x} does not fit {N} bits");
        Self::cut(x)
    }

    /// The low `N` bits of `x`.
    pub fn cut(x: u64) -> Self {
        FB(x & Self::MASK)
    }

    /// As a number.
    pub fn get(self) -> u64 {
        self.0
    }

    /// Bit `i`.
    pub fn get_bit(self, i: usize) -> bool {
        debug_assert!(i < N, "bit {i} of {N}");
        self.0 >> i & 1 == 1
    }

    /// `M` bits from bit `i` up.
    pub fn get_bits<const M: usize>(self, i: usize) -> FB<M> {
        debug_assert!(i + M <= N, "bits {i}..{} of {N}", i + M);
        FB::cut(self.0 >> i)
    }

    /// With bit `i` replaced.
    pub fn replace_bit(self, i: usize, bit: bool) -> Self {
        debug_assert!(i < N, "bit {i} of {N}");
        FB(self.0 & !(1 << i) | u64::from(bit) << i)
    }

    /// Whether any bit is set.
    pub fn any(self) -> bool {
        self.0 != 0
    }

    /// Whether all bits are set.
    pub fn all(self) -> bool {
        self.0 == Self::MASK
    }

    /// Parity: whether the number of set bits is odd.
    pub fn xor(self) -> bool {
        self.0.count_ones() % 2 == 1
    }

    /// As an index.
    pub fn index(self) -> usize {
        self.0 as usize
    }

    /// As the stock type, for ports of stock widgets.
    pub fn to_bits(self) -> Bits<N> {
        self.0.into()
    }
}

/// The low `M` bits, or zeros above: Verilog's `(x) & mask`.
pub fn bit_cast<const M: usize, const N: usize>(x: FB<N>) -> FB<M> {
    FB::cut(x.0)
}

/// A literal with a width.
pub fn bits<const N: usize>(x: u64) -> FB<N> {
    FB::new(x)
}

impl<const N: usize> From<u64> for FB<N> {
    fn from(x: u64) -> Self {
        FB::new(x)
    }
}

impl From<bool> for FB<1> {
    fn from(x: bool) -> Self {
        FB(u64::from(x))
    }
}

impl<const N: usize> From<FB<N>> for Bits<N> {
    fn from(x: FB<N>) -> Self {
        x.to_bits()
    }
}

impl<const N: usize> From<Bits<N>> for FB<N> {
    fn from(x: Bits<N>) -> Self {
        FB::new(x.into())
    }
}

impl<const N: usize> PartialEq<u64> for FB<N> {
    fn eq(&self, other: &u64) -> bool {
        self.0 == *other
    }
}

impl<const N: usize> PartialOrd<u64> for FB<N> {
    fn partial_cmp(&self, other: &u64) -> Option<std::cmp::Ordering> {
        self.0.partial_cmp(other)
    }
}

impl<const N: usize> Not for FB<N> {
    type Output = Self;
    fn not(self) -> Self {
        FB::cut(!self.0)
    }
}

/// An operator between two `FB`s and between an `FB` and a literal.
macro_rules! operator {
    ($operator:ident, $method:ident, $on_words:expr) => {
        impl<const N: usize> $operator for FB<N> {
            type Output = Self;
            fn $method(self, rhs: Self) -> Self {
                FB::cut($on_words(self.0, rhs.0))
            }
        }
        impl<const N: usize> $operator<u64> for FB<N> {
            type Output = Self;
            fn $method(self, rhs: u64) -> Self {
                self.$method(FB::<N>::new(rhs))
            }
        }
    };
}
operator!(Add, add, u64::wrapping_add);
operator!(Sub, sub, u64::wrapping_sub);
operator!(BitAnd, bitand, u64::bitand);
operator!(BitOr, bitor, u64::bitor);
operator!(BitXor, bitxor, u64::bitxor);

/// A shift by a number of any width; zero when shifted out, as in Verilog.
macro_rules! shift {
    ($operator:ident, $method:ident, $by_words:expr) => {
        impl<const N: usize> $operator<u64> for FB<N> {
            type Output = Self;
            fn $method(self, by: u64) -> Self {
                if by < 64 { FB::cut($by_words(self.0, by)) } else { FB(0) }
            }
        }
        impl<const N: usize, const M: usize> $operator<FB<M>> for FB<N> {
            type Output = Self;
            fn $method(self, by: FB<M>) -> Self {
                self.$method(by.0)
            }
        }
    };
}
shift!(Shl, shl, |x: u64, by: u64| x << by);
shift!(Shr, shr, |x: u64, by: u64| x >> by);

impl<const N: usize> Synth for FB<N> {
    const BITS: usize = N;

    // The name of the stock type: it shows in wave files only.
    fn descriptor() -> TypeDescriptor {
        TypeDescriptor { name: format!("Bits::<{N}>"), kind: TypeKind::Bits(N) }
    }

    fn vcd(self) -> VCDValue {
        self.to_bits().into()
    }

    fn verilog(self) -> VerilogLiteral {
        self.to_bits().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Every operation on `N` bits against the same on u128 and a remainder.
    fn agrees<const N: usize>(x: u64, y: u64, by: u64, bit: usize) {
        let modulus = 1u128 << N;
        let (x, y) = ((u128::from(x) % modulus) as u64, (u128::from(y) % modulus) as u64);
        let (a, b) = (FB::<N>::new(x), FB::<N>::new(y));
        let cut = |v: u128| (v % modulus) as u64;
        let (wx, wy) = (u128::from(x), u128::from(y));
        assert_eq!((a + b).get(), cut(wx + wy));
        assert_eq!((a - b).get(), cut(modulus + wx - wy));
        assert_eq!((a & b).get(), x & y);
        assert_eq!((a | b).get(), x | y);
        assert_eq!((a ^ b).get(), x ^ y);
        assert_eq!(a + b, a + y);
        assert_eq!(a - b, a - y);
        assert_eq!((!a).get(), cut(modulus - 1 - wx));
        let (left, right) = if by < 64 { (cut(wx << by), cut(wx >> by)) } else { (0, 0) };
        assert_eq!((a << by).get(), left);
        assert_eq!((a >> by).get(), right);
        assert_eq!(a << FB::<7>::cut(by), a << (by % 128));
        assert_eq!(a >> FB::<7>::cut(by), a >> (by % 128));
        let bit = bit % N;
        assert_eq!(a.get_bit(bit), x >> bit & 1 == 1);
        for value in [false, true] {
            let changed = a.replace_bit(bit, value);
            assert_eq!(changed.get_bit(bit), value);
            assert_eq!((changed ^ a).get() & !(1 << bit), 0);
        }
        assert_eq!((a.any(), a.all()), (x != 0, wx == modulus - 1));
        assert_eq!(a.xor(), (0..N).filter(|i| a.get_bit(*i)).count() % 2 == 1);
        assert_eq!(a.cmp(&b), x.cmp(&y));
        assert_eq!((a == y, a < y), (x == y, x < y));
        assert_eq!(a.get_bits::<1>(bit).get() == 1, a.get_bit(bit));
        assert_eq!(bit_cast::<64, N>(a).get(), x);
        assert_eq!(bit_cast::<5, N>(a).get(), x & 0x1f);
        // The stock type agrees, there and back.
        assert_eq!(FB::<N>::from(a.to_bits() + b.to_bits()), a + b);
        assert_eq!(format!("{:x}", a.verilog()), format!("{:x}", Bits::<N>::from(x).verilog()));
    }

    proptest! {
        #[test]
        fn like_numbers(x: u64, y: u64, by in 0u64..200, bit: usize) {
            agrees::<1>(x, y, by, bit);
            agrees::<2>(x, y, by, bit);
            agrees::<7>(x, y, by, bit);
            agrees::<31>(x, y, by, bit);
            agrees::<32>(x, y, by, bit);
            agrees::<33>(x, y, by, bit);
            agrees::<63>(x, y, by, bit);
            agrees::<64>(x, y, by, bit);
        }
    }

    #[test]
    fn edges() {
        assert_eq!(FB::<64>::MASK, u64::MAX);
        assert_eq!(FB::<1>::MASK, 1);
        assert_eq!(FB::<8>::new(0xff) + 1, FB::new(0));
        assert_eq!(FB::<8>::new(0) - 1, FB::new(0xff));
        assert_eq!(FB::<32>::new(0x8421_0000).get_bits::<8>(24), FB::new(0x84));
        assert_eq!(bits::<4>(9), FB::new(9));
        assert_eq!(FB::<1>::from(true), FB::new(1));
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "does not fit")]
    fn a_literal_must_fit() {
        let _ = FB::<8>::from(256u64);
    }
}
