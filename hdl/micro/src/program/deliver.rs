//! DDP and RDMAP rules for FPDUs that came (RFC 5041, 5040, 7306).

use crate::asm::Asm;
use crate::layout::Sizes;
use crate::layout::g::*;

/// Define the routines.
pub fn define(p: &mut Asm, _sizes: &Sizes) {
    p.routine("post_receive", |p| p.mov(R0, 0));
}
