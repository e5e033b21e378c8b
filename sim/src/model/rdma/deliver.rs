//! DDP and RDMAP receive: what each segment may do, and doing it.
//!
//! Checks come in the order of the protocols' layers, and the first failure wins: DDP version, RDMAP version, queue,
//! opcode, sequence, place, rights (RFC 5041 section 7, RFC 5040 section 7, RFC 7306 section 8).

use super::{Expected, OpenReceive, Rdma, Response, Stop};
use crate::model::core::Core;
use crate::model::region::{Asker, Refusal};
use crate::model::srq::NoEntry;
use ironwarp_proto::abi::completion::{Completion, Status};
use ironwarp_proto::abi::context::ErrorRecord;
use ironwarp_proto::abi::event::ErrorCause;
use ironwarp_proto::abi::receive_entry::{self, ReceiveEntry};
use ironwarp_proto::abi::region::access;
use ironwarp_proto::abi::regs::Counter;
use ironwarp_proto::abi::send_entry::Sge;
use ironwarp_proto::ddp::{self, DdpHeader, QN_ATOMIC, QN_SEND, QN_TERMINATE};
use ironwarp_proto::rdmap::{
    self, AtomicOp, AtomicRequest, AtomicResponse, ImmediateData, Opcode, ReadRequest,
};
use ironwarp_proto::terminate::{TerminateError as E, headers_for};

/// Longest payload of a Terminate that is kept.
const TERMINATE_KEPT: usize = ironwarp_proto::abi::context::TERMINATE_MAX;

/// The untagged part of a header.
#[derive(Clone, Copy)]
struct Untagged {
    last: bool,
    qn: u32,
    msn: u32,
    mo: u32,
    inv_stag: u32,
}

/// A segment under examination.
#[derive(Clone, Copy)]
struct Segment<'a> {
    ulpdu: &'a [u8],
    payload: &'a [u8],
    opcode: Option<Opcode>,
}

impl Rdma {
    /// The stop for an error found in `segment`, or in none that can be named.
    pub(super) fn error(&self, error: E, segment: Option<&[u8]>) -> Stop {
        let parsed = segment.and_then(|ulpdu| Some((ulpdu, DdpHeader::parse(ulpdu).ok()?.0)));
        let opcode = parsed.and_then(|(_, header)| {
            Opcode::try_from(rdmap::opcode_of(header.rdmap_control())).ok().or(Some(Opcode::Send))
        });
        let wanted = headers_for(error, opcode);
        let ddp = parsed
            .filter(|_| wanted.ddp)
            .map(|(ulpdu, header)| (ulpdu.len() as u16, ulpdu[..header.header_len()].to_vec()));
        let rdmap = parsed
            .filter(|_| wanted.rdmap)
            .and_then(|(ulpdu, header)| ulpdu.get(header.header_len()..)?.get(..ReadRequest::LEN))
            .map(<[u8]>::to_vec);
        let record = ErrorRecord::Detected { error: error.to_wire(), ddp, rdmap };
        Stop { cause: ErrorCause::Detected, record: Some(record) }
    }

    /// The stop for a fault of our own: entries, regions or memory that software got wrong.
    pub(super) fn own_error(&self) -> Stop {
        self.error(E::RdmapLocalCatastrophic, None)
    }

    /// Deliver one DDP segment whose CRC is right.
    pub(super) fn deliver(&mut self, core: &mut Core, ulpdu: &[u8]) -> Result<(), Stop> {
        // A length below the header's own is a length field that cannot be trusted (field bug: siw's underflow).
        let Ok((header, payload)) = DdpHeader::parse(ulpdu) else {
            return Err(self.error(E::MpaMarkerMismatch, None));
        };
        let opcode = Opcode::try_from(rdmap::opcode_of(header.rdmap_control())).ok();
        let segment = Segment { ulpdu, payload, opcode };
        let fail = |this: &Self, error| Err(this.error(error, Some(ulpdu)));
        if header.version() != ddp::VERSION {
            let tagged = header.is_tagged();
            return fail(
                self,
                if tagged { E::DdpTaggedInvalidVersion } else { E::DdpUntaggedInvalidVersion },
            );
        }
        if let DdpHeader::Untagged { qn, .. } = header
            && !(qn <= QN_TERMINATE || (qn == QN_ATOMIC && self.atomics))
        {
            return fail(self, E::DdpInvalidQn);
        }
        if rdmap::version_of(header.rdmap_control()) != rdmap::VERSION {
            return fail(self, E::RdmapInvalidVersion);
        }
        match header {
            DdpHeader::Tagged { stag, to, last, .. } => match opcode {
                Some(Opcode::Write) => self.place_write(core, &segment, stag, to),
                Some(Opcode::ReadResponse) => self.place_read_response(core, &segment, stag, to, last),
                _ => fail(self, E::RdmapUnexpectedOpcode),
            },
            DdpHeader::Untagged { last, qn, msn, mo, inv_stag, .. } => {
                let untagged = Untagged { last, qn, msn, mo, inv_stag };
                self.deliver_untagged(core, &segment, &untagged)
            }
        }
    }

    fn deliver_untagged(
        &mut self,
        core: &mut Core,
        segment: &Segment,
        header: &Untagged,
    ) -> Result<(), Stop> {
        let atomic = matches!(segment.opcode, Some(Opcode::AtomicRequest | Opcode::AtomicResponse));
        let known = segment.opcode.filter(|opcode| {
            !opcode.is_tagged() && opcode.queue_number() == Some(header.qn) && (self.atomics || !atomic)
        });
        let Some(opcode) = known else {
            return Err(self.error(E::RdmapUnexpectedOpcode, Some(segment.ulpdu)));
        };
        let fail = |this: &Self, error| Err(this.error(error, Some(segment.ulpdu)));
        if header.qn == QN_TERMINATE {
            return Err(self.terminated(segment.payload));
        }
        if header.msn != self.expected_msn[header.qn as usize] {
            return fail(self, E::DdpMsnRange);
        }
        if opcode.is_send() {
            return self.deliver_send(core, segment, header, opcode);
        }
        // What remains is a message of fixed size in one segment.
        if self.open.is_some() && header.qn == QN_SEND {
            return fail(self, E::RdmapUnexpectedOpcode);
        }
        if header.mo != 0 {
            return fail(self, E::DdpInvalidMo);
        }
        let size = match opcode {
            Opcode::ReadRequest => ReadRequest::LEN,
            Opcode::AtomicRequest => AtomicRequest::LEN,
            Opcode::AtomicResponse => AtomicResponse::LEN,
            _ => ImmediateData::LEN,
        };
        if segment.payload.len() > size {
            return fail(self, E::DdpTooLong);
        }
        if segment.payload.len() < size || !header.last {
            return fail(self, E::RdmapOperationUnspecified);
        }
        match opcode {
            Opcode::ReadRequest => self.accept_read(core, segment, header.msn),
            Opcode::AtomicRequest => self.accept_atomic(core, segment),
            Opcode::AtomicResponse => self.finish_atomic(core, segment),
            _ => self.deliver_immediate(core, segment, opcode),
        }?;
        let msn = &mut self.expected_msn[header.qn as usize];
        *msn = msn.wrapping_add(1);
        Ok(())
    }

    fn place_write(&mut self, core: &mut Core, segment: &Segment, stag: u32, to: u64) -> Result<(), Stop> {
        // RFC 5041 section 5.2: STag and TO of a zero-length segment are not examined.
        let Ok(len @ 1..) = u32::try_from(segment.payload.len()) else { return Ok(()) };
        let place = core.regions.remote(stag, self.asker, to, len, access::REMOTE_WRITE);
        let place = place.map_err(|refusal| self.error(ddp_error(refusal), Some(segment.ulpdu)))?;
        self.place(core, place, segment.payload)
    }

    fn place(&self, core: &mut Core, place: u64, payload: &[u8]) -> Result<(), Stop> {
        core.host.write(place, payload).map_err(|_| self.own_error())?;
        core.host.add(Counter::BytesPlaced, payload.len() as u32);
        Ok(())
    }

    /// Each segment is compared with what our own request asked for, never with what the packet says.
    fn place_read_response(
        &mut self,
        core: &mut Core,
        segment: &Segment,
        stag: u32,
        to: u64,
        last: bool,
    ) -> Result<(), Stop> {
        let fail = |this: &Self, error| Err(this.error(error, Some(segment.ulpdu)));
        let len = segment.payload.len() as u32;
        let Some(Expected::Read { work, stag: sink, next_to, remaining, invalidate }) =
            self.reads.front_mut()
        else {
            return fail(self, E::RdmapUnexpectedOpcode);
        };
        let (work, sink, next, left, invalidate) = (*work, *sink, *next_to, *remaining, *invalidate);
        if len > 0 || left > 0 {
            if stag != sink {
                return fail(self, E::DdpInvalidStag);
            }
            if to != next || len > left {
                return fail(self, E::DdpBounds);
            }
        }
        if last != (len == left) {
            return fail(self, E::RdmapOperationUnspecified);
        }
        if len > 0 {
            *next_to = next.wrapping_add(u64::from(len));
            *remaining = left - len;
            let place = core.regions.local(sink, self.asker, to, len, access::LOCAL_WRITE);
            let place = place.map_err(|refusal| self.error(ddp_error(refusal), Some(segment.ulpdu)))?;
            self.place(core, place, segment.payload)?;
        }
        if last {
            self.reads.pop_front();
            let revoked = !invalidate || core.regions.invalidate(sink, self.asker);
            self.finish_work(core, work, if revoked { Status::Ok } else { Status::Bind });
            if !revoked {
                return Err(self.own_error());
            }
        }
        Ok(())
    }

    fn deliver_send(
        &mut self,
        core: &mut Core,
        segment: &Segment,
        header: &Untagged,
        opcode: Opcode,
    ) -> Result<(), Stop> {
        let fail = |this: &Self, error| Err(this.error(error, Some(segment.ulpdu)));
        let received = self.open.as_ref().map_or(0, |open| open.received);
        if header.mo != received {
            return fail(self, E::DdpInvalidMo);
        }
        if self.open.is_none() {
            self.open = Some(self.take_receive_entry(core, segment)?);
        }
        let Some(open) = &self.open else { return Err(self.own_error()) };
        let len = segment.payload.len() as u32;
        let room = open.entry.length().unwrap_or(0);
        let index = open.index;
        if len > room - received.min(room) {
            self.fail_receive(core, index, Status::Length);
            return fail(self, E::DdpTooLong);
        }
        if !scatter(core, open.owner, &open.entry.sges, received, segment.payload) {
            self.fail_receive(core, index, Status::LocalProtection);
            return Err(self.own_error());
        }
        if let Some(open) = &mut self.open {
            open.received = received + len;
        }
        if !header.last {
            return Ok(());
        }
        let invalidated = if opcode.invalidates() {
            if !core.regions.invalidate(header.inv_stag, self.asker) {
                return fail(self, E::RdmapCannotInvalidate);
            }
            Some(header.inv_stag)
        } else {
            None
        };
        self.expected_msn[QN_SEND as usize] = header.msn.wrapping_add(1);
        let completion = Completion {
            solicited: opcode.is_solicited(),
            invalidated,
            length: received + len,
            ..receive_completion(index, Status::Ok)
        };
        self.complete_receive(core, completion)
    }

    fn deliver_immediate(&mut self, core: &mut Core, segment: &Segment, opcode: Opcode) -> Result<(), Stop> {
        let Ok(ImmediateData(data)) = ImmediateData::parse(segment.payload) else {
            return Err(self.error(E::RdmapOperationUnspecified, Some(segment.ulpdu)));
        };
        let open = self.take_receive_entry(core, segment)?;
        let completion = Completion {
            solicited: opcode.is_solicited(),
            immediate: Some(data),
            length: ImmediateData::LEN as u32,
            ..receive_completion(open.index, Status::Ok)
        };
        self.open = Some(open);
        self.complete_receive(core, completion)
    }

    fn take_receive_entry(&mut self, core: &mut Core, segment: &Segment) -> Result<OpenReceive, Stop> {
        let mut owner = self.asker;
        let taken = match self.srq {
            Some(number) => match core.srqs.get_mut(usize::from(number)) {
                Some(srq) => {
                    owner.pd = srq.pd();
                    srq.take(&mut core.host, number)
                }
                None => Err(NoEntry::Bad),
            },
            None => self.next_receive_entry(core),
        };
        match taken {
            Ok((index, entry)) => Ok(OpenReceive { entry, owner, index, received: 0 }),
            Err(NoEntry::Empty) => Err(self.error(E::DdpNoBuffer, Some(segment.ulpdu))),
            Err(NoEntry::Bad) => Err(self.own_error()),
        }
    }

    /// The entry at the head of the queue; its completion moves the head.
    fn next_receive_entry(&mut self, core: &mut Core) -> Result<(u16, ReceiveEntry), NoEntry> {
        if self.rq.filled() == 0 {
            return Err(NoEntry::Empty);
        }
        let index = self.rq.consumer;
        let slot = self.rq.slot(index, receive_entry::SIZE);
        let words = core.host.words::<16>(slot).map_err(|_| NoEntry::Bad)?;
        let entry = ReceiveEntry::decode(&words, index).ok_or(NoEntry::Bad)?;
        Ok((index, entry))
    }

    /// Complete the open receive with an error.
    fn fail_receive(&mut self, core: &mut Core, index: u16, status: Status) {
        // The connection stops for that error, whether or not there is room to tell.
        let _ = self.complete_receive(core, receive_completion(index, status));
    }

    fn accept_read(&mut self, core: &mut Core, segment: &Segment, msn: u32) -> Result<(), Stop> {
        let fail = |this: &Self, error| Err(this.error(error, Some(segment.ulpdu)));
        let Ok(request) = ReadRequest::parse(segment.payload) else {
            return fail(self, E::RdmapOperationUnspecified);
        };
        if self.responses.len() >= self.ird {
            return fail(self, E::DdpNoBuffer);
        }
        if request.size > 0 {
            let (stag, to) = (request.source_stag, request.source_to);
            let checked = core.regions.remote(stag, self.asker, to, request.size, access::REMOTE_READ);
            checked.map_err(|refusal| self.error(rdmap_error(refusal), Some(segment.ulpdu)))?;
        }
        self.responses.push_back(Response::Read { msn, request });
        Ok(())
    }

    /// Executed as it is delivered, in order: atomic among all connections of the device (RFC 7306 section 5.3).
    fn accept_atomic(&mut self, core: &mut Core, segment: &Segment) -> Result<(), Stop> {
        let fail = |this: &Self, error| Err(this.error(error, Some(segment.ulpdu)));
        let Ok(request) = AtomicRequest::parse(segment.payload) else {
            return fail(self, E::RdmapOperationUnspecified);
        };
        let Some(operation) = request.op() else {
            return fail(self, E::RdmapUnexpectedOpcode);
        };
        if self.responses.len() >= self.ird {
            return fail(self, E::DdpNoBuffer);
        }
        let checked = core.regions.remote(request.stag, self.asker, request.to, 8, access::REMOTE_ATOMIC);
        let place = checked.map_err(|refusal| self.error(rdmap_error(refusal), Some(segment.ulpdu)))?;
        if !place.is_multiple_of(8) {
            return fail(self, E::RdmapStreamCatastrophic);
        }
        let mut bytes = [0; 8];
        core.host.read(place, &mut bytes).map_err(|_| self.own_error())?;
        // Values are in the host's byte order, which the ABI defines as little-endian.
        let original = u64::from_le_bytes(bytes);
        let (value, mask) = (request.add_or_swap, request.add_or_swap_mask);
        let new = match operation {
            AtomicOp::FetchAdd => rdmap::fetch_add(original, value, mask),
            AtomicOp::CmpSwap => {
                rdmap::compare_swap(original, request.compare, request.compare_mask, value, mask)
            }
        };
        if new != original {
            core.host.write(place, &new.to_le_bytes()).map_err(|_| self.own_error())?;
        }
        self.responses.push_back(Response::Atomic { request_id: request.request_id, original });
        Ok(())
    }

    fn finish_atomic(&mut self, core: &mut Core, segment: &Segment) -> Result<(), Stop> {
        let fail = |this: &Self, error| Err(this.error(error, Some(segment.ulpdu)));
        let Ok(response) = AtomicResponse::parse(segment.payload) else {
            return fail(self, E::RdmapOperationUnspecified);
        };
        let (work, result) = match self.reads.front() {
            Some(Expected::Atomic { work, request_id, result }) if *request_id == response.request_id => {
                (*work, *result)
            }
            _ => return fail(self, E::RdmapUnexpectedOpcode),
        };
        self.reads.pop_front();
        let stored = scatter(core, self.asker, &[result], 0, &response.original.to_le_bytes());
        self.finish_work(core, work, if stored { Status::Ok } else { Status::LocalProtection });
        if stored { Ok(()) } else { Err(self.own_error()) }
    }

    fn terminated(&self, payload: &[u8]) -> Stop {
        let header = payload[..payload.len().min(TERMINATE_KEPT)].to_vec();
        Stop { cause: ErrorCause::TerminateReceived, record: Some(ErrorRecord::Received(header)) }
    }
}

/// Write `payload` to the buffer described by `sges`, from byte `offset` on.
fn scatter(core: &mut Core, owner: Asker, sges: &[Sge], offset: u32, payload: &[u8]) -> bool {
    let (mut skip, mut rest) = (offset, payload);
    for sge in sges {
        let room = sge.length.saturating_sub(skip);
        let (now, later) = rest.split_at(rest.len().min(room as usize));
        if !now.is_empty() {
            let to = sge.to.wrapping_add(u64::from(skip));
            let place = core.regions.local(sge.lkey, owner, to, now.len() as u32, access::LOCAL_WRITE);
            let placed = place.is_ok_and(|place| core.host.write(place, now).is_ok());
            if !placed {
                return false;
            }
            core.host.add(Counter::BytesPlaced, now.len() as u32);
        }
        skip = skip.saturating_sub(sge.length);
        rest = later;
    }
    rest.is_empty()
}

/// A receive completion with only index and status.
fn receive_completion(index: u16, status: Status) -> Completion {
    Completion {
        qp: 0,
        opcode: 0,
        solicited: false,
        invalidated: None,
        immediate: None,
        srq: false,
        length: 0,
        index,
        status,
    }
}

/// DDP's name for a refusal of a tagged segment (RFC 5041 section 7.2). DDP has no code for missing rights: the STag is
/// not valid for this.
fn ddp_error(refusal: Refusal) -> E {
    match refusal {
        Refusal::InvalidStag | Refusal::Rights => E::DdpInvalidStag,
        Refusal::NotAssociated => E::DdpStagNotAssociated,
        Refusal::Wrap => E::DdpToWrap,
        Refusal::Bounds => E::DdpBounds,
    }
}

/// RDMAP's name for a refusal of a Read or Atomic Request (RFC 5040 section 4.8).
pub(super) fn rdmap_error(refusal: Refusal) -> E {
    match refusal {
        Refusal::InvalidStag => E::RdmapInvalidStag,
        Refusal::NotAssociated => E::RdmapStagNotAssociated,
        Refusal::Rights => E::RdmapAccessRights,
        Refusal::Wrap => E::RdmapToWrap,
        Refusal::Bounds => E::RdmapBounds,
    }
}
