//! Doorbell pages: one page a QP, then one a CQ, then one a SRQ. Write only.
//!
//! The page size (4 KiB, or 256 B in small devices) and the first page's offset are in the `DOORBELLS` register.

use super::regs::Register;

macro_rules! doorbells {
    ($table:ident: $($name:ident = $offset:literal, $doc:literal;)*) => {
        $(#[doc = $doc] pub const $name: u32 = $offset;)*
        /// The doorbells of such a page.
        pub const $table: &[Register] =
            &[$(Register { offset: $offset, name: stringify!($name), access: "W", doc: $doc }),*];
    };
}

/// Doorbells of a QP's page.
pub mod qp {
    use super::Register;
    doorbells! { DOORBELLS:
        SQ_PRODUCER = 0x00, "Index behind the last posted send entry, 16 bits.";
        RQ_PRODUCER = 0x04, "Index behind the last posted receive entry, 16 bits.";
        STREAM_SEND = 0x08, "Stream mode: bytes written to the send ring since the start, modulo 2^32.";
        STREAM_CONSUMED = 0x0C, "Stream mode: bytes taken from the receive ring since the start, modulo 2^32.";
        TERMINATE = 0x10, "Send the Terminate in the save area, then nothing but retransmissions and FIN.";
        STREAM_ARM = 0x14, "Stream mode: status sequence seen 15:0, bit 16 receive, bit 17 send: one STREAM event when data or FIN came, or send space was freed; at once if the status is newer.";
        FIN = 0x18, "Send FIN behind everything posted so far.";
    }
}

/// Doorbells of a CQ's page.
pub mod cq {
    use super::Register;
    doorbells! { DOORBELLS:
        CONSUMER = 0x00, "Index of the first completion not yet taken, 16 bits.";
        ARM = 0x04, "Consumer index seen 15:0, bit 16 any completion, bit 17 solicited or error only: one CQ_READY event; at once if the producer is ahead.";
    }
}

/// Doorbells of a SRQ's page.
pub mod srq {
    use super::Register;
    doorbells! { DOORBELLS:
        PRODUCER = 0x00, "Index behind the last posted ring word, 16 bits.";
        LIMIT = 0x04, "Raise one SRQ_LIMIT event when fewer than this many entries are left; 0 disarms.";
    }
}

/// `ARM` of a CQ: any completion.
pub const ARM_ANY: u32 = 1 << 16;
/// `ARM` of a CQ: solicited completions and errors only.
pub const ARM_SOLICITED: u32 = 1 << 17;
/// `STREAM_ARM`: data or FIN received.
pub const STREAM_ARM_RX: u32 = 1 << 16;
/// `STREAM_ARM`: send ring space freed.
pub const STREAM_ARM_TX: u32 = 1 << 17;

/// Where the pages of a device are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pages {
    /// Byte offset of the first page in BAR 0.
    pub first: u32,
    /// log2 of the page size in bytes.
    pub log2_size: u8,
    /// Number of QPs.
    pub qps: u32,
    /// Number of CQs.
    pub cqs: u32,
    /// Number of SRQs.
    pub srqs: u32,
}

/// A page's owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// A queue pair.
    Qp(u16),
    /// A completion queue.
    Cq(u16),
    /// A shared receive queue.
    Srq(u16),
}

impl Pages {
    /// From the registers `DOORBELLS` and `LIMITS0`; `None` if they make no sense.
    pub fn from_registers(doorbells: u32, limits0: u32) -> Option<Self> {
        let log2 = |byte: usize| limits0.to_le_bytes()[byte];
        let count = |byte: usize| (log2(byte) <= 15).then(|| 1u32 << log2(byte));
        let log2_size = doorbells as u8;
        let first = (doorbells >> 8).checked_mul(256)?;
        let pages = Self { first, log2_size, qps: count(0)?, cqs: count(2)?, srqs: count(3)? };
        let end = u64::from(first) + (u64::from(pages.qps + pages.cqs + pages.srqs) << log2_size.min(31));
        ((8..=16).contains(&log2_size) && end <= 1 << 31).then_some(pages)
    }
    /// The `DOORBELLS` register.
    pub fn register(&self) -> u32 {
        (self.first / 256) << 8 | u32::from(self.log2_size)
    }
    /// Byte offset in BAR 0 of doorbell `doorbell` of `page`.
    pub fn offset(&self, page: Page, doorbell: u32) -> u32 {
        let index = match page {
            Page::Qp(n) => u32::from(n),
            Page::Cq(n) => self.qps + u32::from(n),
            Page::Srq(n) => self.qps + self.cqs + u32::from(n),
        };
        self.first + (index << self.log2_size) + doorbell
    }
    /// The page and doorbell at a byte offset in BAR 0.
    pub fn decode(&self, offset: u32) -> Option<(Page, u32)> {
        let relative = offset.checked_sub(self.first)?;
        let index = relative >> self.log2_size;
        let doorbell = relative & ((1 << self.log2_size) - 1);
        let page = if index < self.qps {
            Page::Qp(index as u16)
        } else if index < self.qps + self.cqs {
            Page::Cq((index - self.qps) as u16)
        } else if index < self.qps + self.cqs + self.srqs {
            Page::Srq((index - self.qps - self.cqs) as u16)
        } else {
            return None;
        };
        Some((page, doorbell))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_found_where_they_are_put() {
        let pages = Pages { first: 0x1000, log2_size: 12, qps: 64, cqs: 128, srqs: 16 };
        let limits0 = u32::from_le_bytes([6, 8, 7, 4]);
        assert_eq!(Pages::from_registers(pages.register(), limits0), Some(pages));
        for page in [Page::Qp(0), Page::Qp(63), Page::Cq(0), Page::Cq(127), Page::Srq(0), Page::Srq(15)] {
            assert_eq!(pages.decode(pages.offset(page, 8)), Some((page, 8)));
        }
        assert_eq!(pages.decode(0xfff), None);
        assert_eq!(pages.decode(0x1000 + 4096 * (64 + 128 + 16)), None);
        assert_eq!(Pages::from_registers(0, limits0), None);
        assert_eq!(Pages::from_registers(u32::MAX, u32::MAX), None);
    }
}
