//! What a device can do.

use super::HwError;
use ironwarp_proto::abi::doorbell::Pages;
use ironwarp_proto::abi::regs::features;
use ironwarp_proto::abi::{receive_entry, send_entry};

/// What a device can do, as its registers say and as this driver and the ABI allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceAttributes {
    /// ABI version: major 31:16, minor 15:0.
    pub version: u32,
    /// Bits of [`features`].
    pub features: u32,
    /// Queue pairs.
    pub max_qp: u32,
    /// Regions and windows.
    pub max_mr: u32,
    /// log2 of the regions and windows.
    pub mr_log2: u8,
    /// Completion queues.
    pub max_cq: u32,
    /// Shared receive queues.
    pub max_srq: u32,
    /// Entries of a ring.
    pub max_queue_depth: u32,
    /// Reads and atomics that a QP accepts at once (IRD).
    pub max_ird: u8,
    /// Reads and atomics that a QP has outstanding at once (ORD).
    pub max_ord: u8,
    /// SGEs of a send request.
    pub max_send_sge: usize,
    /// SGEs of a receive request.
    pub max_recv_sge: usize,
    /// Inline bytes of a send request.
    pub max_inline: usize,
    /// Largest MSS that connections should offer.
    pub max_mss: u16,
    /// Largest receive window that connections should offer, bytes.
    pub max_window: u32,
    /// Core clock, kHz.
    pub clock_khz: u32,
    /// Where the doorbells are.
    pub pages: Pages,
}

impl DeviceAttributes {
    /// From the registers `VERSION`, `FEATURES`, `LIMITS0` to `LIMITS2`, `DOORBELLS` and `CLOCK`.
    pub(super) fn from_registers(
        version: u32,
        features: u32,
        limits: [u32; 3],
        doorbells: u32,
        clock_khz: u32,
    ) -> Result<Self, HwError> {
        let bad = |register, value| HwError::BadRegister { register, value };
        let pages = Pages::from_registers(doorbells, limits[0]).ok_or(bad("DOORBELLS/LIMITS0", doorbells))?;
        let mr_log2 = limits[0].to_le_bytes()[1];
        if mr_log2 > 16 {
            return Err(bad("LIMITS0", limits[0]));
        }
        if clock_khz == 0 {
            return Err(bad("CLOCK", clock_khz));
        }
        let [max_ird, max_ord, sges, inline] = limits[1].to_le_bytes();
        let (mss, window) = (limits[2] as u16, limits[2] >> 16);
        // Less than two segments, or segments too small for an FPDU of any use (RFC 5044 section 4.5), would make a mockery of TCP.
        if (mss != 0 && mss < 128) || (window != 0 && window < 2 * u32::from(mss)) {
            return Err(bad("LIMITS2", limits[2]));
        }
        Ok(Self {
            version,
            features,
            max_qp: pages.qps,
            max_mr: 1 << mr_log2,
            mr_log2,
            max_cq: pages.cqs,
            max_srq: if features & features::SRQ != 0 { pages.srqs } else { 0 },
            max_queue_depth: 1 << ironwarp_proto::abi::queue::LOG2_MAX,
            max_ird,
            max_ord,
            max_send_sge: usize::from(sges).min(send_entry::SGES_MAX),
            max_recv_sge: usize::from(sges).min(receive_entry::SGES_MAX),
            max_inline: usize::from(inline).min(send_entry::INLINE_MAX),
            max_mss: if mss == 0 { u16::MAX } else { mss },
            max_window: if window == 0 { u32::MAX } else { window },
            clock_khz,
            pages,
        })
    }

    /// Whether the device has all of these [`features`].
    pub fn has(&self, features: u32) -> bool {
        self.features & features == features
    }
}
