//! MPA receive: in-order bytes of the stream to FPDUs (RFC 5044 sections 4 to 6).

use super::{Rdma, Stop};
use crate::model::core::Core;
use ironwarp_proto::abi::regs::Counter;
use ironwarp_proto::crc;
use ironwarp_proto::mpa::fpdu::{CRC_LEN, LENGTH_LEN, fpdu_len};
use ironwarp_proto::mpa::stream::FpduCrc;
use ironwarp_proto::terminate::TerminateError;

impl Rdma {
    /// Take bytes that TCP delivers, cut anywhere. After an error nothing more is looked at.
    pub fn receive(&mut self, core: &mut Core, mut bytes: &[u8]) -> Result<(), Stop> {
        if !self.markers_rx && self.deframer.pending() == 0 {
            // The usual case: segments hold whole FPDUs. Nothing is copied.
            while let Some((fpdu, behind)) = whole_fpdu(bytes) {
                bytes = behind;
                self.take_whole(core, fpdu)?;
                if !self.is_running() {
                    return Ok(());
                }
            }
        }
        if bytes.is_empty() {
            return Ok(());
        }
        for fpdu in self.deframer.push(bytes) {
            if !self.markers_rx {
                core.host.count(Counter::UnalignedFpdus);
            }
            if fpdu.crc == FpduCrc::Bad {
                return Err(self.crc_error(core));
            }
            if fpdu.marker_mismatch.is_some() {
                core.host.count(Counter::MarkerErrors);
                return Err(self.error(TerminateError::MpaMarkerMismatch, None));
            }
            self.take(core, &fpdu.ulpdu)?;
            if !self.is_running() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn take_whole(&mut self, core: &mut Core, fpdu: &[u8]) -> Result<(), Stop> {
        let (covered, field) = fpdu.split_at(fpdu.len() - CRC_LEN);
        if self.crc && crc::to_wire(crc::fpdu_crc(covered)) != field {
            return Err(self.crc_error(core));
        }
        let length = usize::from(u16::from_be_bytes([covered[0], covered[1]]));
        self.take(core, &covered[LENGTH_LEN..LENGTH_LEN + length])
    }

    fn take(&mut self, core: &mut Core, ulpdu: &[u8]) -> Result<(), Stop> {
        core.host.count(Counter::RxFpdus);
        self.hold = false;
        self.deliver(core, ulpdu)
    }

    fn crc_error(&mut self, core: &mut Core) -> Stop {
        core.host.count(Counter::CrcErrors);
        self.error(TerminateError::MpaCrc, None)
    }
}

/// The FPDU at the start of `bytes`, if all of it is there, and what follows.
fn whole_fpdu(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = bytes.first_chunk::<LENGTH_LEN>()?;
    bytes.split_at_checked(fpdu_len(u16::from_be_bytes(*length)) as usize)
}
