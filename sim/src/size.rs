//! The two sizes of a device.

use crate::model::ModelConfig;
use clap::ValueEnum;
use thiserror::Error;

/// Size of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Size {
    /// 4 QPs, 16 regions; no stream mode, no shared receive queues; 31.25 MHz. It fits the smallest board.
    Small,
    /// 64 QPs, 256 regions, everything on, 62.5 MHz.
    #[default]
    Full,
}

/// Name of the variable that chooses the size of the device in tests.
pub const VARIABLE: &str = "IRONWARP_CONFIG";

/// There is no such size.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{VARIABLE} is '{0}'; give small or full")]
pub struct UnknownSize(String);

impl Size {
    /// What the variable says; full if it is not set.
    pub fn from_env() -> Result<Self, UnknownSize> {
        match std::env::var_os(VARIABLE) {
            None => Ok(Size::default()),
            Some(text) => {
                let text = text.to_string_lossy();
                Size::from_str(&text, true).map_err(|_| UnknownSize(text.into()))
            }
        }
    }

    /// A device of this size.
    pub fn device(self) -> ModelConfig {
        match self {
            Size::Small => ModelConfig::SMALL,
            Size::Full => ModelConfig::FULL,
        }
    }

    /// Largest IP MTU that its buffers hold, bytes.
    pub fn max_mtu(self) -> u16 {
        match self {
            Size::Small => 1500,
            Size::Full => 9000,
        }
    }

    /// Name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Size::Small => "small",
            Size::Full => "full",
        }
    }
}
