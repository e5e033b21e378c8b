//! FPDUs out: cutting messages, the journal, and building any part of the stream, again and again.

use super::deliver::rdmap_error;
use super::{Message, Phase, Rdma, Response, Sent, Source, Stop, Target};
use crate::model::core::Core;
use crate::model::region::Refusal;
use ironwarp_proto::abi::completion::Status;
use ironwarp_proto::abi::region::access;
use ironwarp_proto::abi::regs::Counter;
use ironwarp_proto::abi::send_entry::Sge;
use ironwarp_proto::crc;
use ironwarp_proto::ddp::{self, DdpHeader, QN_READ, QN_TERMINATE, TAGGED_LEN, UNTAGGED_LEN};
use ironwarp_proto::mpa::fpdu::{fpdu_len, pad_len};
use ironwarp_proto::mpa::marker::{self, MarkerPhase};
use ironwarp_proto::rdmap::{self, Opcode, ReadRequest};
use ironwarp_proto::seq::Seq;

/// A stretch of the stream for one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Bytes.
    pub len: u32,
    /// Nothing waits behind it: the last of a burst.
    pub push: bool,
}

/// Bytes that the peer may have seen can no longer be built: only RST is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost;

impl Rdma {
    /// How much of the stream from `from` on makes a segment of at most `room` bytes: whole FPDUs, as many as fit.
    ///
    /// What was never sent is cut into FPDUs here. With `may_cut` an FPDU that does not fit is cut anywhere.
    /// `Ok(None)`: nothing to send. `Some` with length 0: something waits that does not fit.
    pub fn plan(
        &mut self,
        core: &mut Core,
        from: Seq,
        room: u32,
        may_cut: bool,
    ) -> Result<Option<Cut>, Stop> {
        let mut len = 0;
        // What is in the journal already.
        let first = self.journal.partition_point(|sent| !(sent.seq + sent.wire_len).after(from));
        for sent in self.journal.iter().skip(first) {
            let behind = (sent.seq + sent.wire_len).diff(from) as u32;
            if behind > room {
                let len = if len == 0 && may_cut { room } else { len };
                return Ok(Some(Cut { len, push: false }));
            }
            len = behind;
        }
        while !self.hold {
            match self.next_fpdu(core, room - len, may_cut && len == 0)? {
                Next::Fpdu(wire_len) => {
                    len += wire_len;
                    if len > room {
                        return Ok(Some(Cut { len: room, push: false }));
                    }
                }
                Next::TooLong => return Ok(Some(Cut { len, push: false })),
                Next::Nothing => break,
            }
        }
        Ok((len > 0).then_some(Cut { len, push: true }))
    }

    /// Append `len` bytes of the stream from `from` on, all of it in the journal.
    pub fn build(&mut self, core: &mut Core, from: Seq, len: u32, out: &mut Vec<u8>) -> Result<(), Lost> {
        let end = from + len;
        let first = self.journal.partition_point(|sent| !(sent.seq + sent.wire_len).after(from));
        for at in first..self.journal.len() {
            let Some(sent) = self.journal.get(at).filter(|sent| sent.seq.before(end)) else { break };
            let (seq, behind) = (sent.seq, sent.seq + sent.wire_len);
            if !seq.before(from) && !behind.after(end) {
                self.render(core, at, out)?;
            } else {
                let mut whole = Vec::with_capacity(sent.wire_len as usize);
                self.render(core, at, &mut whole)?;
                let start = from.max(seq).diff(seq) as usize;
                let stop = end.min(behind).diff(seq) as usize;
                out.extend_from_slice(whole.get(start..stop).ok_or(Lost)?);
            }
        }
        Ok(())
    }

    /// TCP has acknowledged everything before `una`.
    pub fn acknowledged(&mut self, core: &mut Core, una: Seq) {
        while self.journal.front().is_some_and(|sent| !(sent.seq + sent.wire_len).after(una)) {
            self.journal.pop_front();
        }
        while let Some((end, work)) = self.acks.front().copied()
            && !end.after(una)
        {
            self.acks.pop_front();
            self.finish_work(core, work, Status::Ok);
        }
    }

    /// Put the next FPDU into the journal if it fits `room`, or if it may be cut.
    fn next_fpdu(&mut self, core: &mut Core, room: u32, may_cut: bool) -> Result<Next, Stop> {
        match self.phase {
            _ if self.closed => return Ok(Next::Nothing),
            Phase::Running => {
                if !self.open_message(core) {
                    return Ok(Next::Nothing);
                }
            }
            Phase::Stopped => return Ok(Next::Nothing),
            Phase::Terminating => {
                if self.message.is_none() && !self.open_terminate() {
                    return Ok(Next::Nothing);
                }
            }
        }
        let Some(message) = &self.message else { return Ok(Next::Nothing) };
        let tagged = matches!(message.target, Target::Tagged { .. });
        let header_len = if tagged { TAGGED_LEN } else { UNTAGGED_LEN };
        let len = (message.length - message.offset).min(self.mulpdu - header_len as u32);
        let unmarked = fpdu_len(header_len as u16 + len as u16);
        let wire_len = if self.markers_tx { self.phase_at(self.end).wire_len(unmarked) } else { unmarked };
        if wire_len > room && !may_cut {
            return Ok(Next::TooLong);
        }
        // The source is looked at before the FPDU exists: a fault now can still be told to the peer.
        if let Err(error) = self.check_source(core, message, len) {
            return self.source_failed(core, error);
        }
        let Some(mut message) = self.message.take() else { return Ok(Next::Nothing) };
        let last = message.offset + len == message.length;
        let mut header = [0; 18];
        let mut bytes = Vec::with_capacity(UNTAGGED_LEN);
        message.header(last).emit(&mut bytes);
        header[..header_len].copy_from_slice(&bytes);
        self.journal.push_back(Sent {
            seq: self.end,
            wire_len,
            header,
            header_len: header_len as u8,
            source: message.source.clone(),
            offset: message.offset,
            len,
        });
        self.end += wire_len;
        core.host.count(Counter::TxFpdus);
        message.offset += len;
        self.message = if last { self.message_ends(message) } else { Some(message) };
        Ok(Next::Fpdu(wire_len))
    }

    /// Book-keeping behind the last FPDU of a message; Immediate Data may follow a Write.
    fn message_ends(&mut self, message: Message) -> Option<Message> {
        if matches!(message.opcode, Opcode::ReadResponse | Opcode::AtomicResponse) {
            self.responses.pop_front();
        }
        match (message.work, message.then) {
            (Some(work), Some(data)) => Some(self.immediate(Opcode::ImmediateData, data, work)),
            (Some(work), None) => {
                self.acks.push_back((self.end, work));
                None
            }
            (None, _) => None,
        }
    }

    fn open_terminate(&mut self) -> bool {
        let Some(header) = self.terminate.take() else { return false };
        let length = header.len() as u32;
        let target = self.untagged(QN_TERMINATE, 0);
        self.message = Some(Message {
            opcode: Opcode::Terminate,
            target,
            source: Source::Bytes(header.into()),
            length,
            offset: 0,
            work: None,
            then: None,
        });
        true
    }

    fn phase_at(&self, seq: Seq) -> MarkerPhase {
        MarkerPhase::at(u64::from(seq.0.wrapping_sub(self.marker_start.0)))
    }

    /// Whether `len` bytes of the message can be read now.
    fn check_source(&self, core: &Core, message: &Message, len: u32) -> Result<(), Option<Refusal>> {
        if len == 0 {
            return Ok(());
        }
        match &message.source {
            Source::Bytes(_) => Ok(()),
            Source::Remote { stag, to } => {
                let to = to.wrapping_add(u64::from(message.offset));
                let checked = core.regions.remote(*stag, self.asker, to, len, access::REMOTE_READ);
                checked.map(|_| ()).map_err(Some)
            }
            Source::Sges(sges) => {
                let checked = pieces(sges, message.offset, len)
                    .try_for_each(|(sge, len)| self.local_source(core, &sge, len).map(|_| ()));
                checked.map_err(|()| None)
            }
        }
    }

    fn local_source(&self, core: &Core, sge: &Sge, len: u32) -> Result<u64, ()> {
        core.regions.local(sge.lkey, self.asker, sge.to, len, 0).map_err(|_| ())
    }

    fn source_failed(&mut self, core: &mut Core, refusal: Option<Refusal>) -> Result<Next, Stop> {
        let Some(message) = self.message.take() else { return Ok(Next::Nothing) };
        if let Some(refusal) = refusal {
            return Err(self.read_failed(refusal, message.offset));
        }
        // Our own entry failed: it completes in its turn, and then the connection stops.
        if let Some(work) = message.work {
            self.finish_work(core, work, Status::LocalProtection);
        }
        Ok(Next::Nothing)
    }

    /// A source that the peer was reading was revoked meanwhile. The Terminate brings back the Read Request as it stands
    /// after `done` bytes (RFC 5040 section 4.8).
    fn read_failed(&self, refusal: Refusal, done: u32) -> Stop {
        let error = rdmap_error(refusal);
        let Some(Response::Read { msn, request }) = self.responses.front() else {
            return self.error(error, None);
        };
        let mut ulpdu = Vec::with_capacity(UNTAGGED_LEN + ReadRequest::LEN);
        DdpHeader::Untagged {
            last: true,
            version: ddp::VERSION,
            rdmap_control: rdmap::control(Opcode::ReadRequest),
            inv_stag: 0,
            qn: QN_READ,
            msn: *msn,
            mo: 0,
        }
        .emit(&mut ulpdu);
        ReadRequest {
            sink_to: request.sink_to.wrapping_add(u64::from(done)),
            size: request.size - done,
            source_to: request.source_to.wrapping_add(u64::from(done)),
            ..*request
        }
        .emit(&mut ulpdu);
        self.error(error, Some(&ulpdu))
    }

    /// Build the FPDU at `at` of the journal: length, header, payload, pad, CRC, markers.
    fn render(&self, core: &mut Core, at: usize, out: &mut Vec<u8>) -> Result<(), Lost> {
        let sent = self.journal.get(at).ok_or(Lost)?;
        let header = &sent.header[..usize::from(sent.header_len)];
        let ulpdu_len = (header.len() + sent.len as usize) as u16;
        if self.markers_tx {
            let mut payload = Vec::with_capacity(sent.len as usize);
            self.gather(core, sent, &mut payload)?;
            let phase = self.phase_at(sent.seq);
            return marker::emit(&[header, &payload], self.crc, phase, out).map(|_| ()).map_err(|_| Lost);
        }
        let start = out.len();
        out.extend_from_slice(&ulpdu_len.to_be_bytes());
        out.extend_from_slice(header);
        self.gather(core, sent, out)?;
        out.resize(out.len() + pad_len(ulpdu_len) as usize, 0);
        let check = if self.crc { crc::to_wire(crc::fpdu_crc(&out[start..])) } else { [0; 4] };
        out.extend_from_slice(&check);
        Ok(())
    }

    /// Append the payload of an FPDU as host memory holds it now.
    fn gather(&self, core: &mut Core, sent: &Sent, out: &mut Vec<u8>) -> Result<(), Lost> {
        let mut fetch = |core: &mut Core, place: u64, len: u32| {
            let start = out.len();
            out.resize(start + len as usize, 0);
            core.host.read(place, &mut out[start..]).map_err(|_| Lost)
        };
        match &sent.source {
            _ if sent.len == 0 => Ok(()),
            Source::Bytes(bytes) => {
                let range = sent.offset as usize..(sent.offset + sent.len) as usize;
                out.extend_from_slice(bytes.get(range).ok_or(Lost)?);
                Ok(())
            }
            Source::Remote { stag, to } => {
                let to = to.wrapping_add(u64::from(sent.offset));
                let place = core.regions.remote(*stag, self.asker, to, sent.len, access::REMOTE_READ);
                fetch(core, place.map_err(|_| Lost)?, sent.len)
            }
            Source::Sges(sges) => pieces(sges, sent.offset, sent.len).try_for_each(|(sge, len)| {
                let place = self.local_source(core, &sge, len).map_err(|()| Lost)?;
                fetch(core, place, len)
            }),
        }
    }
}

/// What became of the next FPDU.
enum Next {
    /// It is in the journal with this length on the wire.
    Fpdu(u32),
    /// It does not fit.
    TooLong,
    /// There is none.
    Nothing,
}

impl Message {
    /// The DDP header of the segment at the current offset.
    fn header(&self, last: bool) -> DdpHeader {
        let rdmap_control = rdmap::control(self.opcode);
        match self.target {
            Target::Tagged { stag, to } => DdpHeader::Tagged {
                last,
                version: ddp::VERSION,
                rdmap_control,
                stag,
                to: to.wrapping_add(u64::from(self.offset)),
            },
            Target::Untagged { qn, msn, inv_stag } => DdpHeader::Untagged {
                last,
                version: ddp::VERSION,
                rdmap_control,
                inv_stag,
                qn,
                msn,
                mo: self.offset,
            },
        }
    }
}

/// The parts of `sges` that hold `len` bytes from `offset` on, each with its length; `to` is moved to its first byte.
fn pieces(sges: &[Sge], offset: u32, len: u32) -> impl Iterator<Item = (Sge, u32)> {
    let (mut skip, mut left) = (offset, len);
    sges.iter().filter_map(move |sge| {
        let take = sge.length.saturating_sub(skip).min(left);
        let piece = Sge { to: sge.to.wrapping_add(u64::from(skip)), ..*sge };
        skip = skip.saturating_sub(sge.length);
        left -= take;
        (take > 0).then_some((piece, take))
    })
}
