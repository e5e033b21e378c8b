//! Size and timing of a model device.

use ironwarp_proto::abi::doorbell::Pages;
use ironwarp_proto::abi::regs::{features, tcpcfg};
use ironwarp_proto::pins::Nanos;

/// Build-time sizes of a device, as its `FEATURES`, `LIMITS` and `DOORBELLS` registers tell them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelConfig {
    /// log2 of the number of QPs.
    pub log2_qps: u8,
    /// log2 of the number of region entries.
    pub log2_regions: u8,
    /// log2 of the number of CQs.
    pub log2_cqs: u8,
    /// log2 of the number of SRQs.
    pub log2_srqs: u8,
    /// Largest IRD of a QP.
    pub ird: u8,
    /// Largest ORD of a QP.
    pub ord: u8,
    /// Largest MSS that connections should offer, bytes; 0: any.
    pub mss: u16,
    /// Largest receive window that they should offer, bytes; 0: any.
    pub window: u16,
    /// `FEATURES` register.
    pub features: u32,
    /// Core clock, kHz.
    pub clock_khz: u32,
    /// Nanoseconds from a DMA command to its first word, and from a write to its answer. Only engines with a time of their own look at it.
    pub dma_latency_ns: u32,
    /// Largest random addition to it; if it is not 0, each channel also stalls at random. Only the RTL looks at it.
    pub dma_jitter_ns: u32,
    /// Seed of that.
    pub dma_seed: u64,
}

impl Default for ModelConfig {
    /// The `full` device.
    fn default() -> Self {
        Self::FULL
    }
}

/// MPA markers and RFC 7306.
const RDMA: u32 = features::MARKERS | features::ATOMICS | features::IMMEDIATE;

impl ModelConfig {
    /// 64 QPs, 256 regions, everything on, 62.5 MHz.
    pub const FULL: ModelConfig = ModelConfig {
        log2_qps: 6,
        log2_regions: 8,
        log2_cqs: 7,
        log2_srqs: 4,
        ird: 16,
        ord: 16,
        mss: 0,
        window: 0,
        features: RDMA | features::STREAM | features::SRQ | features::WINDOWS,
        clock_khz: 62_500,
        dma_latency_ns: 500,
        dma_jitter_ns: 0,
        dma_seed: 0,
    };

    /// 4 QPs, 16 regions, 8 CQs; no stream mode, no SRQs; 31.25 MHz.
    pub const SMALL: ModelConfig = ModelConfig {
        log2_qps: 2,
        log2_regions: 4,
        log2_cqs: 3,
        log2_srqs: 0,
        ird: 2,
        ord: 2,
        mss: 512,
        window: 1024,
        features: RDMA | features::WINDOWS,
        clock_khz: 31_250,
        dma_latency_ns: 500,
        dma_jitter_ns: 0,
        dma_seed: 0,
    };

    /// Doorbell pages: 4 KiB each, behind the register page.
    pub fn pages(&self) -> Pages {
        Pages {
            first: 0x1000,
            log2_size: 12,
            qps: 1 << self.log2_qps,
            cqs: 1 << self.log2_cqs,
            srqs: 1 << self.log2_srqs,
        }
    }
}

/// TCP timing, as set through `TICK` and `TCPCFG`. All times in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Length of a timer tick.
    pub tick: Nanos,
    /// Smallest retransmission time-out.
    pub min_rto: Nanos,
    /// Largest retransmission time-out.
    pub max_rto: Nanos,
    /// Longest delay of an ACK.
    pub delayed_ack: Nanos,
    /// Initial congestion window, segments.
    pub initial_window: u32,
    /// Retransmissions of one segment before the connection is given up.
    pub retries: u32,
}

/// Reset value of `TCPCFG`: 200 ms minimum RTO (Linux's), 40 ms delayed ACK, 10 segments, 12 retries, at most 2^8
/// times the minimum (51.2 s).
pub const TCPCFG_RESET: u32 = 200 | 40 << 12 | 10 << 20 | 12 << 24 | 8 << 28;

impl Timing {
    /// From the registers; a zero tick counts as one cycle.
    pub fn from_registers(clock_khz: u32, tick_cycles: u32, tcp: u32) -> Self {
        let tick = (u64::from(tick_cycles.max(1)) * 1_000_000 / u64::from(clock_khz.max(1))).max(1);
        let field = |field: ironwarp_proto::abi::Field| field.get(&[tcp]);
        let min_rto = tick * field(tcpcfg::MIN_RTO).max(1);
        Self {
            tick,
            min_rto,
            max_rto: min_rto << field(tcpcfg::MAX_RTO_SHIFT),
            delayed_ack: tick * field(tcpcfg::DELAYED_ACK),
            initial_window: (field(tcpcfg::INITIAL_WINDOW) as u32).max(1),
            retries: field(tcpcfg::RETRIES) as u32,
        }
    }
}
