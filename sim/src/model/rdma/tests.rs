//! What takes too long to reach at the pins.

use super::{Rdma, Target};
use crate::model::config::{ModelConfig, TCPCFG_RESET, Timing};
use crate::model::core::Core;
use ironwarp_proto::abi::context::Context;
use ironwarp_proto::ddp::{DdpHeader, QN_READ};
use ironwarp_proto::pins::{Dma, DmaFault};
use ironwarp_proto::rdmap::{Opcode, ReadRequest, control};
use std::sync::Arc;

/// No memory at all.
struct Nothing;

impl Dma for Nothing {
    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), DmaFault> {
        Err(DmaFault { addr, len: buf.len() })
    }
    fn write(&self, addr: u64, data: &[u8]) -> Result<(), DmaFault> {
        Err(DmaFault { addr, len: data.len() })
    }
}

/// RFC 5041 section 4.3: 0 follows 0xFFFFFFFF, in both directions.
#[test]
fn message_sequence_numbers_wrap_to_zero() {
    let config = ModelConfig::default();
    let timing = Timing::from_registers(config.clock_khz, config.clock_khz, TCPCFG_RESET);
    let mut core = Core::new(&config, timing, Arc::new(Nothing));
    let mut rdma = Rdma::new(&Context { ird: 8, mulpdu: 1454, ..Context::default() }, 0);
    rdma.next_msn = [u32::MAX; 4];
    rdma.expected_msn = [u32::MAX; 4];
    for msn in [u32::MAX, 0, 1] {
        for qn in 0..4 {
            let target = rdma.untagged(qn, 0);
            assert!(matches!(target, Target::Untagged { msn: sent, .. } if sent == msn));
        }
        let mut ulpdu = Vec::new();
        DdpHeader::Untagged {
            last: true,
            version: 1,
            rdmap_control: control(Opcode::ReadRequest),
            inv_stag: 0,
            qn: QN_READ,
            msn,
            mo: 0,
        }
        .emit(&mut ulpdu);
        ReadRequest { sink_stag: 0, sink_to: 0, size: 0, source_stag: 0, source_to: 0 }.emit(&mut ulpdu);
        rdma.deliver(&mut core, &ulpdu).unwrap();
    }
}
