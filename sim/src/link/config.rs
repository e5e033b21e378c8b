//! What one direction of a link does to frames.

use ironwarp_proto::pins::Nanos;
use thiserror::Error;

/// Rate, delay and faults of one direction of a link. Probabilities are per frame, 0.0 to 1.0.
///
/// A bit error on the wire itself needs no setting of its own: the Ethernet FCS turns it into a loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinkConfig {
    /// Bits per second on the wire; without it a frame takes no time.
    pub rate_bps: Option<u64>,
    /// Time from the end of a frame's slot on the wire to its arrival, nanoseconds.
    pub delay: Nanos,
    /// Probability that a frame is lost.
    pub loss: f64,
    /// Probability that a frame arrives twice.
    pub duplicate: f64,
    /// Probability that a frame is held back for later ones to overtake.
    pub reorder: f64,
    /// Probability that one bit of a frame behind the Ethernet header is flipped behind the FCS check, as in the memory of a
    /// switch: only the checks of the layers above can notice. ARP, which has none, is spared.
    pub corrupt: f64,
    /// Most frames that overtake one that is held back; the number is drawn from 1 to this.
    pub reorder_by: u32,
    /// Longest time a frame is held back beyond its due arrival, nanoseconds.
    pub reorder_delay: Nanos,
}

impl Default for LinkConfig {
    /// Unlimited and perfect. The delay is 1 µs rather than 0, so that an exchange of frames always moves time on.
    fn default() -> Self {
        Self {
            rate_bps: None,
            delay: 1_000,
            loss: 0.0,
            duplicate: 0.0,
            reorder: 0.0,
            corrupt: 0.0,
            reorder_by: 3,
            reorder_delay: 10_000,
        }
    }
}

/// Why a [`LinkConfig`] makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
pub enum LinkError {
    /// Not a probability.
    #[error("{name} is {value}: give a probability from 0.0 to 1.0")]
    Probability {
        /// Field of [`LinkConfig`].
        name: &'static str,
        /// What it was set to.
        value: f64,
    },
    /// No frame would ever leave.
    #[error("a rate of 0 bit/s never sends a frame: give at least 1, or no rate for an unlimited link")]
    ZeroRate,
    /// Reordering without room for a later frame to overtake.
    #[error("reordering with {name} = 0 lets no frame overtake: give at least 1")]
    ReorderZero {
        /// Field of [`LinkConfig`].
        name: &'static str,
    },
}

impl LinkConfig {
    /// Check that every field makes sense.
    pub fn validate(&self) -> Result<(), LinkError> {
        let probabilities = [
            ("loss", self.loss),
            ("duplicate", self.duplicate),
            ("reorder", self.reorder),
            ("corrupt", self.corrupt),
        ];
        // A NaN is in no range, so it is refused too.
        if let Some((name, value)) = probabilities.into_iter().find(|(_, p)| !(0.0..=1.0).contains(p)) {
            return Err(LinkError::Probability { name, value });
        }
        if self.rate_bps == Some(0) {
            return Err(LinkError::ZeroRate);
        }
        if self.reorder > 0.0 && self.reorder_by == 0 {
            return Err(LinkError::ReorderZero { name: "reorder_by" });
        }
        if self.reorder > 0.0 && self.reorder_delay == 0 {
            return Err(LinkError::ReorderZero { name: "reorder_delay" });
        }
        Ok(())
    }
}
