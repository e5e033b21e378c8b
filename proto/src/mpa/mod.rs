//! MPA, Marker PDU Aligned framing for TCP (RFC 5044), with the enhanced connection set-up of RFC 6581.

pub mod connect;
pub mod fpdu;
pub mod marker;
pub mod stream;
