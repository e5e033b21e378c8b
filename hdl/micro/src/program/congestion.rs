//! Congestion control and RTT (RFC 5681, 6582, 6298).

use crate::asm::Asm;
use crate::layout::Sizes;

/// Define the routines.
pub fn define(_p: &mut Asm, _sizes: &Sizes) {}
