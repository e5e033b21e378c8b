//! Terminate messages: RFC 5040 section 4.8 with the error numbers of RFC 5041 section 7.2, RFC 5044 section 8 and
//! RFC 6581 section 8, as registered by RFC 6580. (RFC 7306 adds no numbers: section 8.2 reuses RFC 5040's.)

use crate::ddp::{TAGGED_LEN, UNTAGGED_LEN};
use crate::rdmap::{Opcode, RdmapError};
use crate::wire::be16;
use std::fmt;

/// What went wrong, as a Terminate says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TerminateError {
    /// RDMAP: local catastrophic error; its error code means nothing and is not kept.
    RdmapLocalCatastrophic,
    /// RDMAP remote protection: invalid STag.
    RdmapInvalidStag,
    /// RDMAP remote protection: outside the buffer.
    RdmapBounds,
    /// RDMAP remote protection: the buffer does not allow this access.
    RdmapAccessRights,
    /// RDMAP remote protection: the STag is not for this stream.
    RdmapStagNotAssociated,
    /// RDMAP remote protection: the tagged offset wraps.
    RdmapToWrap,
    /// RDMAP remote protection: the STag cannot be invalidated.
    RdmapCannotInvalidate,
    /// RDMAP remote protection: unspecified.
    RdmapProtectionUnspecified,
    /// RDMAP remote operation: wrong RDMAP version.
    RdmapInvalidVersion,
    /// RDMAP remote operation: unexpected opcode.
    RdmapUnexpectedOpcode,
    /// RDMAP remote operation: catastrophic error of this stream; also a misaligned atomic (RFC 7306 section 8.2).
    RdmapStreamCatastrophic,
    /// RDMAP remote operation: catastrophic error of the RNIC.
    RdmapGlobalCatastrophic,
    /// RDMAP remote operation: the STag cannot be invalidated.
    RdmapOperationCannotInvalidate,
    /// RDMAP remote operation: unspecified.
    RdmapOperationUnspecified,
    /// DDP: local catastrophic error.
    DdpLocalCatastrophic,
    /// DDP tagged buffer: invalid STag.
    DdpInvalidStag,
    /// DDP tagged buffer: outside the buffer.
    DdpBounds,
    /// DDP tagged buffer: the STag is not for this stream.
    DdpStagNotAssociated,
    /// DDP tagged buffer: the tagged offset wraps.
    DdpToWrap,
    /// DDP tagged buffer: wrong DDP version.
    DdpTaggedInvalidVersion,
    /// DDP untagged buffer: no such queue.
    DdpInvalidQn,
    /// DDP untagged buffer: no buffer for this sequence number.
    DdpNoBuffer,
    /// DDP untagged buffer: a sequence number out of range.
    DdpMsnRange,
    /// DDP untagged buffer: invalid message offset.
    DdpInvalidMo,
    /// DDP untagged buffer: longer than the buffer.
    DdpTooLong,
    /// DDP untagged buffer: wrong DDP version.
    DdpUntaggedInvalidVersion,
    /// DDP: the type reserved for the layer below, with its code.
    DdpReservedForLlp(u8),
    /// MPA: TCP connection closed, terminated or lost.
    MpaConnectionLost,
    /// MPA: wrong CRC.
    MpaCrc,
    /// MPA: marker and ULPDU length disagree on where an FPDU begins.
    MpaMarkerMismatch,
    /// MPA: invalid Request or Reply frame.
    MpaInvalidFrame,
    /// MPA set-up: local catastrophic error (RFC 6581).
    MpaLocalCatastrophic,
    /// MPA set-up: insufficient IRD resources (RFC 6581).
    MpaInsufficientIrd,
    /// MPA set-up: no matching RTR option (RFC 6581).
    MpaNoMatchingRtr,
    /// Numbers nobody has registered.
    Unknown {
        /// Layer, 4 bits.
        layer: u8,
        /// Error type, 4 bits.
        etype: u8,
        /// Error code.
        code: u8,
    },
}

use TerminateError as E;

/// Every registered error with layer, type and code, and its name. RFC 6580 registers RDMAP's local catastrophic
/// error, and DDP's type for the LLP, with any code.
const REGISTRY: [(TerminateError, u8, u8, u8, &str); 33] = [
    (E::RdmapLocalCatastrophic, 0, 0, 0x00, "RDMAP: local catastrophic error"),
    (E::RdmapInvalidStag, 0, 1, 0x00, "RDMAP remote protection error: invalid STag"),
    (E::RdmapBounds, 0, 1, 0x01, "RDMAP remote protection error: base or bounds violation"),
    (E::RdmapAccessRights, 0, 1, 0x02, "RDMAP remote protection error: access rights violation"),
    (E::RdmapStagNotAssociated, 0, 1, 0x03, "RDMAP remote protection error: STag not associated with stream"),
    (E::RdmapToWrap, 0, 1, 0x04, "RDMAP remote protection error: TO wrap"),
    (E::RdmapCannotInvalidate, 0, 1, 0x09, "RDMAP remote protection error: STag cannot be invalidated"),
    (E::RdmapProtectionUnspecified, 0, 1, 0xff, "RDMAP remote protection error: unspecified"),
    (E::RdmapInvalidVersion, 0, 2, 0x05, "RDMAP remote operation error: invalid RDMAP version"),
    (E::RdmapUnexpectedOpcode, 0, 2, 0x06, "RDMAP remote operation error: unexpected opcode"),
    (
        E::RdmapStreamCatastrophic,
        0,
        2,
        0x07,
        "RDMAP remote operation error: catastrophic error of the stream",
    ),
    (E::RdmapGlobalCatastrophic, 0, 2, 0x08, "RDMAP remote operation error: global catastrophic error"),
    (
        E::RdmapOperationCannotInvalidate,
        0,
        2,
        0x09,
        "RDMAP remote operation error: STag cannot be invalidated",
    ),
    (E::RdmapOperationUnspecified, 0, 2, 0xff, "RDMAP remote operation error: unspecified"),
    (E::DdpLocalCatastrophic, 1, 0, 0x00, "DDP: local catastrophic error"),
    (E::DdpInvalidStag, 1, 1, 0x00, "DDP tagged buffer error: invalid STag"),
    (E::DdpBounds, 1, 1, 0x01, "DDP tagged buffer error: base or bounds violation"),
    (E::DdpStagNotAssociated, 1, 1, 0x02, "DDP tagged buffer error: STag not associated with stream"),
    (E::DdpToWrap, 1, 1, 0x03, "DDP tagged buffer error: TO wrap"),
    (E::DdpTaggedInvalidVersion, 1, 1, 0x04, "DDP tagged buffer error: invalid DDP version"),
    (E::DdpInvalidQn, 1, 2, 0x01, "DDP untagged buffer error: invalid queue number"),
    (E::DdpNoBuffer, 1, 2, 0x02, "DDP untagged buffer error: invalid MSN, no buffer available"),
    (E::DdpMsnRange, 1, 2, 0x03, "DDP untagged buffer error: invalid MSN, range is not valid"),
    (E::DdpInvalidMo, 1, 2, 0x04, "DDP untagged buffer error: invalid message offset"),
    (E::DdpTooLong, 1, 2, 0x05, "DDP untagged buffer error: message too long for buffer"),
    (E::DdpUntaggedInvalidVersion, 1, 2, 0x06, "DDP untagged buffer error: invalid DDP version"),
    (E::MpaConnectionLost, 2, 0, 0x01, "MPA: TCP connection closed, terminated or lost"),
    (E::MpaCrc, 2, 0, 0x02, "MPA: CRC error"),
    (E::MpaMarkerMismatch, 2, 0, 0x03, "MPA: marker and ULPDU length mismatch"),
    (E::MpaInvalidFrame, 2, 0, 0x04, "MPA: invalid Request or Reply frame"),
    (E::MpaLocalCatastrophic, 2, 0, 0x05, "MPA: local catastrophic error"),
    (E::MpaInsufficientIrd, 2, 0, 0x06, "MPA: insufficient IRD resources"),
    (E::MpaNoMatchingRtr, 2, 0, 0x07, "MPA: no matching RTR option"),
];

impl TerminateError {
    /// The error of the three numbers of a Terminate Control field.
    pub fn from_wire(layer: u8, etype: u8, code: u8) -> TerminateError {
        match (layer, etype) {
            (0, 0) => E::RdmapLocalCatastrophic,
            (1, 3) => E::DdpReservedForLlp(code),
            _ => REGISTRY
                .iter()
                .find(|entry| (entry.1, entry.2, entry.3) == (layer, etype, code))
                .map_or(E::Unknown { layer, etype, code }, |entry| entry.0),
        }
    }

    /// Layer, type and code.
    pub fn to_wire(self) -> (u8, u8, u8) {
        match self {
            E::DdpReservedForLlp(code) => (1, 3, code),
            E::Unknown { layer, etype, code } => (layer, etype, code),
            _ => self.entry().map_or((0, 0, 0), |entry| (entry.1, entry.2, entry.3)),
        }
    }

    fn entry(self) -> Option<&'static (TerminateError, u8, u8, u8, &'static str)> {
        REGISTRY.iter().find(|entry| entry.0 == self)
    }
}

impl fmt::Display for TerminateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            E::DdpReservedForLlp(code) => write!(f, "DDP: lower layer error {code:#04x}"),
            E::Unknown { layer, etype, code } => {
                write!(f, "unknown error: layer {layer:#x}, type {etype:#x}, code {code:#04x}")
            }
            _ => f.write_str(self.entry().map_or("", |entry| entry.4)),
        }
    }
}

/// Which headers of the offending message a Terminate carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Headers {
    /// DDP segment length and DDP header (bits M and D).
    pub ddp: bool,
    /// RDMAP header (bit R).
    pub rdmap: bool,
}

/// The headers that go with an error in a message with `opcode`, by RFC 5040 figure 10; `None` when no message (or
/// none that can be named) is to blame. Only an RDMA Read Request has an RDMAP header to return: for atomics RFC 7306
/// section 8.1 rules it out.
pub fn headers_for(error: TerminateError, opcode: Option<Opcode>) -> Headers {
    let (layer, etype, _) = error.to_wire();
    match (layer, etype) {
        // Section 4.8: no DDP header with a Local Catastrophic Error, DDP's own included.
        (_, 0) => Headers::default(),
        (0, 1) => Headers { ddp: opcode.is_some(), rdmap: opcode == Some(Opcode::ReadRequest) },
        (0 | 1, _) => Headers { ddp: opcode.is_some(), rdmap: false },
        _ => Headers::default(),
    }
}

/// A Terminate message. The header bits M, D and R are set for what is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terminate {
    /// What went wrong.
    pub error: TerminateError,
    /// Length in bytes of the offending DDP segment (M).
    pub segment_len: Option<u16>,
    /// The DDP header of the offending segment, 14 or 18 bytes as they came (D); empty if none.
    pub ddp_header: Vec<u8>,
    /// The RDMAP header of the offending message, 28 bytes of an RDMA Read Request (R); empty if none.
    pub rdmap_header: Vec<u8>,
}

impl Terminate {
    /// Bytes of the control word in front.
    pub const CONTROL_LEN: usize = 4;

    const M: u8 = 0x80;
    const D: u8 = 0x40;
    const R: u8 = 0x20;

    /// Reads a Terminate. Peers differ in what they send, so what the bits promise and the bytes do not hold is taken
    /// as absent; only the control word must be there.
    pub fn parse(bytes: &[u8]) -> Result<Terminate, RdmapError> {
        let Some((control, mut rest)) = bytes.split_first_chunk::<{ Self::CONTROL_LEN }>() else {
            return Err(RdmapError::Truncated {
                what: "Terminate",
                need: Self::CONTROL_LEN,
                have: bytes.len(),
            });
        };
        let has = |bit| control[2] & bit != 0;
        let mut segment_len = None;
        // The length field is also there, if not valid, when only a DDP header follows (section 4.8).
        if has(Self::M) || has(Self::D) {
            let (field, behind) = rest.split_at(rest.len().min(2));
            segment_len = (has(Self::M) && field.len() == 2).then(|| be16(field, 0));
            rest = behind;
        }
        let mut ddp_header = Vec::new();
        if has(Self::D) {
            let tagged = rest.first().is_some_and(|control| control & 0x80 != 0);
            let len = if tagged { TAGGED_LEN } else { UNTAGGED_LEN };
            let (header, behind) = rest.split_at(rest.len().min(len));
            ddp_header = header.to_vec();
            rest = behind;
        }
        let rdmap_header = if has(Self::R) { rest.to_vec() } else { Vec::new() };
        let error = TerminateError::from_wire(control[0] >> 4, control[0] & 0x0f, control[1]);
        Ok(Terminate { error, segment_len, ddp_header, rdmap_header })
    }

    /// Appends the message.
    pub fn emit(&self, out: &mut Vec<u8>) {
        let (layer, etype, code) = self.error.to_wire();
        let bit = |set, mask| if set { mask } else { 0 };
        let bits = bit(self.segment_len.is_some(), Self::M)
            | bit(!self.ddp_header.is_empty(), Self::D)
            | bit(!self.rdmap_header.is_empty(), Self::R);
        out.extend([layer << 4 | etype & 0x0f, code, bits, 0]);
        if bits & (Self::M | Self::D) != 0 {
            out.extend(self.segment_len.unwrap_or(0).to_be_bytes());
        }
        out.extend(&self.ddp_header);
        out.extend(&self.rdmap_header);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_number_round_trips() {
        for layer in 0..16 {
            for etype in 0..16 {
                for code in 0..=255 {
                    let error = TerminateError::from_wire(layer, etype, code);
                    let code = if (layer, etype) == (0, 0) { 0 } else { code };
                    assert_eq!(error.to_wire(), (layer, etype, code));
                    assert!(!error.to_string().is_empty());
                }
            }
        }
        for (at, entry) in REGISTRY.iter().enumerate() {
            assert_eq!(TerminateError::from_wire(entry.1, entry.2, entry.3), entry.0);
            assert!(REGISTRY[..at].iter().all(|other| other.0 != entry.0 && other.4 != entry.4));
        }
    }

    #[test]
    fn headers_by_figure_10() {
        let of = |error, opcode| {
            let headers = headers_for(error, opcode);
            (headers.ddp, headers.rdmap)
        };
        let read = Some(Opcode::ReadRequest);
        assert_eq!(of(E::RdmapLocalCatastrophic, read), (false, false));
        assert_eq!(of(E::RdmapBounds, read), (true, true));
        assert_eq!(of(E::RdmapCannotInvalidate, Some(Opcode::SendInvalidate)), (true, false));
        assert_eq!(of(E::RdmapBounds, Some(Opcode::AtomicRequest)), (true, false));
        assert_eq!(of(E::RdmapUnexpectedOpcode, read), (true, false));
        assert_eq!(of(E::RdmapUnexpectedOpcode, None), (false, false));
        assert_eq!(of(E::DdpInvalidStag, Some(Opcode::Write)), (true, false));
        assert_eq!(of(E::DdpLocalCatastrophic, Some(Opcode::Write)), (false, false));
        assert_eq!(of(E::MpaCrc, read), (false, false));
    }

    fn terminate() -> impl Strategy<Value = Terminate> {
        let ddp = prop_oneof![
            Just(Vec::new()),
            prop::collection::vec(0x80u8..=0xff, TAGGED_LEN),
            prop::collection::vec(0u8..0x80, UNTAGGED_LEN),
        ];
        let rdmap = prop_oneof![Just(Vec::new()), prop::collection::vec(any::<u8>(), 28)];
        (0u8..16, 0u8..16, any::<(u8, Option<u16>)>(), ddp, rdmap).prop_map(
            |(layer, etype, (code, segment_len), ddp_header, rdmap_header)| Terminate {
                error: TerminateError::from_wire(layer, etype, code),
                segment_len,
                ddp_header,
                rdmap_header,
            },
        )
    }

    proptest! {
        #[test]
        fn round_trip(terminate in terminate()) {
            let mut bytes = Vec::new();
            terminate.emit(&mut bytes);
            prop_assert_eq!(Terminate::parse(&bytes), Ok(terminate));
        }

        #[test]
        fn hostile(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            match Terminate::parse(&bytes) {
                Ok(terminate) => {
                    let mut again = Vec::new();
                    terminate.emit(&mut again);
                    prop_assert_eq!(Terminate::parse(&again), Ok(terminate));
                }
                Err(_) => prop_assert!(bytes.len() < Terminate::CONTROL_LEN),
            }
        }
    }
}
