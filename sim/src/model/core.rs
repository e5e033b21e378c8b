//! What all connections of a device share.

use super::config::{ModelConfig, Timing};
use super::cq::CqTable;
use super::host::Host;
use super::region::RegionTable;
use super::srq::Srq;
use ironwarp_proto::pins::Dma;
use std::sync::Arc;

/// Host access and tables.
pub struct Core {
    /// DMA, events, raw frames, counters.
    pub host: Host,
    /// STags.
    pub regions: RegionTable,
    /// Completion queues.
    pub cqs: CqTable,
    /// Shared receive queues.
    pub srqs: Vec<Srq>,
    /// TCP timing.
    pub timing: Timing,
}

impl Core {
    /// Power-up state.
    pub fn new(config: &ModelConfig, timing: Timing, dma: Arc<dyn Dma>) -> Self {
        Self {
            host: Host::new(dma, timing.tick),
            regions: RegionTable::new(config.log2_regions),
            cqs: CqTable::new(config.log2_cqs),
            srqs: vec![Srq::default(); 1 << config.log2_srqs],
            timing,
        }
    }
}
