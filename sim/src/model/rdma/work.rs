//! The send queue: entries become messages, in order.

use super::{Expected, Message, Rdma, Response, Source, Target, Work};
use crate::model::core::Core;
use crate::model::region::{Bind, FastRegister};
use ironwarp_proto::abi::completion::Status;
use ironwarp_proto::abi::region::access;
use ironwarp_proto::abi::send_entry::{Opcode as Verb, Payload, SLOT, SendEntry, Sge};
use ironwarp_proto::ddp::{QN_ATOMIC, QN_READ, QN_SEND};
use ironwarp_proto::rdmap::{AtomicOp, AtomicRequest, AtomicResponse, Opcode, ReadRequest};
use std::sync::Arc;

impl Rdma {
    /// Open the next message if none is open: responses and own work take turns. `false`: nothing to send.
    pub(super) fn open_message(&mut self, core: &mut Core) -> bool {
        while self.message.is_none() {
            if self.prefer_response && self.open_response() {
                self.prefer_response = false;
            } else if self.open_work(core) {
                self.prefer_response = true;
            } else if !self.open_response() {
                return false;
            }
        }
        true
    }

    fn open_response(&mut self) -> bool {
        // The entry leaves the queue when its last byte is sent: only then can the peer know that it may send another.
        let Some(response) = self.responses.front() else { return false };
        let (opcode, target, source, length) = match *response {
            Response::Read { request, .. } => (
                Opcode::ReadResponse,
                Target::Tagged { stag: request.sink_stag, to: request.sink_to },
                Source::Remote { stag: request.source_stag, to: request.source_to },
                request.size,
            ),
            Response::Atomic { request_id, original } => {
                let mut bytes = Vec::with_capacity(AtomicResponse::LEN);
                AtomicResponse { request_id, original }.emit(&mut bytes);
                (
                    Opcode::AtomicResponse,
                    self.untagged(QN_ATOMIC, 0),
                    Source::Bytes(bytes.into()),
                    AtomicResponse::LEN as u32,
                )
            }
        };
        self.message = Some(Message { opcode, target, source, length, offset: 0, work: None, then: None });
        true
    }

    /// Start send entries until one opens a message; `false` if none can be started now.
    fn open_work(&mut self, core: &mut Core) -> bool {
        while self.sq_next != self.sq.producer && !self.poisoned {
            let entry = match self.fetch(core) {
                Ok(entry) => entry,
                Err(index) => {
                    self.start(index, 1, Verb::Nop, false, 0);
                    self.fail_last(core, Status::Fatal);
                    return false;
                }
            };
            if !self.may_start(&entry) {
                return false;
            }
            let length = entry.length().unwrap_or(0);
            self.sq_next = self.sq_next.wrapping_add(entry.slots());
            let work = self.start(entry.index, entry.slots(), entry.opcode, entry.signalled, length);
            if self.start_entry(core, entry, work, length) {
                return true;
            }
        }
        false
    }

    /// The entry at the head of the queue, or the index at which there is none.
    fn fetch(&mut self, core: &mut Core) -> Result<SendEntry, u16> {
        let index = self.sq_next;
        let mut bytes = vec![0; 2 * SLOT];
        let (first, second) = bytes.split_at_mut(SLOT);
        core.host.read(self.sq.slot(index, SLOT), first).map_err(|_| index)?;
        let two = SendEntry::has_second_slot(&SendEntry::words(first));
        if two {
            // Both slots must be behind the doorbell.
            if self.sq.producer.wrapping_sub(index) < 2 {
                return Err(index);
            }
            core.host.read(self.sq.slot(index.wrapping_add(1), SLOT), second).map_err(|_| index)?;
        }
        let words = SendEntry::words(&bytes);
        SendEntry::decode(&words[..if two { 32 } else { 16 }], index).map_err(|_| index)
    }

    /// Order rules of the queue: fences, ORD, and local operations that wait for all before them.
    fn may_start(&self, entry: &SendEntry) -> bool {
        match entry.opcode {
            Verb::BindWindow | Verb::LocalInvalidate | Verb::FastRegister => self.works.is_empty(),
            _ if entry.fence && !self.reads.is_empty() => false,
            verb if verb.is_read() || verb.is_atomic() => self.reads.len() < self.ord,
            _ => true,
        }
    }

    fn start(&mut self, index: u16, slots: u16, verb: Verb, signalled: bool, length: u32) -> u64 {
        self.works.push_back(Work { index, slots, verb, signalled, length, status: None });
        self.first_work + self.works.len() as u64 - 1
    }

    /// The entry just started failed: it completes when its turn comes, and then the connection stops.
    fn fail_last(&mut self, core: &mut Core, status: Status) {
        let last = self.first_work + self.works.len() as u64 - 1;
        self.finish_work(core, last, status);
    }

    /// Do a local operation, or open the message of an entry; says whether a message was opened.
    fn start_entry(&mut self, core: &mut Core, entry: SendEntry, work: u64, length: u32) -> bool {
        let tagged = Target::Tagged { stag: entry.stag, to: entry.to };
        let payload = match &entry.payload {
            Payload::Inline(bytes) => Source::Bytes(bytes.as_slice().into()),
            Payload::Sges(sges) => Source::Sges(sges.as_slice().into()),
        };
        let first_sge = match &entry.payload {
            Payload::Sges(sges) => sges.first().copied().unwrap_or_default(),
            Payload::Inline(_) => Sge::default(),
        };
        let message = match entry.opcode {
            Verb::Nop => return self.finish_local(core, work, true),
            Verb::BindWindow => {
                let bind = Bind {
                    parent: first_sge.lkey,
                    to: first_sge.to,
                    len: first_sge.length,
                    base: entry.to,
                    access: entry.access,
                };
                let done = core.regions.bind(entry.stag, self.asker, &bind);
                return self.finish_local(core, work, done);
            }
            Verb::FastRegister => {
                let register = FastRegister {
                    host: first_sge.to,
                    len: first_sge.length,
                    base: entry.to,
                    access: entry.access,
                };
                let done = core.regions.fast_register(entry.stag, self.asker, &register);
                return self.finish_local(core, work, done);
            }
            Verb::LocalInvalidate => {
                let done = core.regions.invalidate(entry.stag, self.asker);
                return self.finish_local(core, work, done);
            }
            Verb::Send => self.send(Opcode::Send, payload, length, 0, work),
            Verb::SendSolicited => self.send(Opcode::SendSolicited, payload, length, 0, work),
            Verb::SendInvalidate => self.send(Opcode::SendInvalidate, payload, length, entry.stag, work),
            Verb::SendSolicitedInvalidate => {
                self.send(Opcode::SendSolicitedInvalidate, payload, length, entry.stag, work)
            }
            Verb::Immediate => self.immediate(Opcode::ImmediateData, entry.immediate, work),
            Verb::ImmediateSolicited => self.immediate(Opcode::ImmediateDataSolicited, entry.immediate, work),
            Verb::Write | Verb::WriteImmediate => {
                let then = (entry.opcode == Verb::WriteImmediate).then_some(entry.immediate);
                Message {
                    opcode: Opcode::Write,
                    target: tagged,
                    source: payload,
                    length,
                    offset: 0,
                    work: Some(work),
                    then,
                }
            }
            Verb::Read | Verb::ReadInvalidateLocal => {
                if length > 0 {
                    let (lkey, to) = (first_sge.lkey, first_sge.to);
                    if core.regions.local(lkey, self.asker, to, length, access::LOCAL_WRITE).is_err() {
                        self.fail_last(core, Status::LocalProtection);
                        return false;
                    }
                }
                self.reads.push_back(Expected::Read {
                    work,
                    stag: first_sge.lkey,
                    next_to: first_sge.to,
                    remaining: length,
                    invalidate: entry.opcode == Verb::ReadInvalidateLocal,
                });
                let mut bytes = Vec::with_capacity(ReadRequest::LEN);
                ReadRequest {
                    sink_stag: first_sge.lkey,
                    sink_to: first_sge.to,
                    size: length,
                    source_stag: entry.stag,
                    source_to: entry.to,
                }
                .emit(&mut bytes);
                self.request(Opcode::ReadRequest, bytes)
            }
            Verb::FetchAdd | Verb::CompareSwap => {
                let (lkey, to) = (first_sge.lkey, first_sge.to);
                let sink = core.regions.local(lkey, self.asker, to, 8, access::LOCAL_WRITE);
                if length != 8 || sink.is_err() {
                    self.fail_last(core, Status::LocalProtection);
                    return false;
                }
                let request_id = self.next_request_id;
                self.next_request_id = request_id.wrapping_add(1);
                self.reads.push_back(Expected::Atomic { work, request_id, result: first_sge });
                // What FetchAdd does not use has fixed values (RFC 7306 section 5.2.1).
                let (operation, compare, compare_mask) = match entry.opcode {
                    Verb::FetchAdd => (AtomicOp::FetchAdd, 0, u64::MAX),
                    _ => (AtomicOp::CmpSwap, entry.atomic.compare, entry.atomic.compare_mask),
                };
                let mut bytes = Vec::with_capacity(AtomicRequest::LEN);
                AtomicRequest {
                    opcode: operation as u8,
                    request_id,
                    stag: entry.stag,
                    to: entry.to,
                    add_or_swap: entry.atomic.add_or_swap,
                    add_or_swap_mask: entry.atomic.add_or_swap_mask,
                    compare,
                    compare_mask,
                }
                .emit(&mut bytes);
                self.request(Opcode::AtomicRequest, bytes)
            }
        };
        self.message = Some(message);
        true
    }

    fn finish_local(&mut self, core: &mut Core, work: u64, done: bool) -> bool {
        self.finish_work(core, work, if done { Status::Ok } else { Status::Bind });
        false
    }

    /// A target on queue `qn` with the next message sequence number.
    pub(super) fn untagged(&mut self, qn: u32, inv_stag: u32) -> Target {
        let msn = &mut self.next_msn[qn as usize];
        let target = Target::Untagged { qn, msn: *msn, inv_stag };
        *msn = msn.wrapping_add(1);
        target
    }

    fn send(&mut self, opcode: Opcode, source: Source, length: u32, inv_stag: u32, work: u64) -> Message {
        let target = self.untagged(QN_SEND, inv_stag);
        Message { opcode, target, source, length, offset: 0, work: Some(work), then: None }
    }

    pub(super) fn immediate(&mut self, opcode: Opcode, data: [u8; 8], work: u64) -> Message {
        self.send(opcode, Source::Bytes(Arc::new(data)), data.len() as u32, 0, work)
    }

    /// A Read or Atomic Request: its entry completes with the response, not with the ACK.
    fn request(&mut self, opcode: Opcode, bytes: Vec<u8>) -> Message {
        let length = bytes.len() as u32;
        let target = self.untagged(QN_READ, 0);
        Message {
            opcode,
            target,
            source: Source::Bytes(bytes.into()),
            length,
            offset: 0,
            work: None,
            then: None,
        }
    }
}
