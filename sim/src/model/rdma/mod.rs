//! A connection in rdma mode: MPA, DDP and RDMAP over an established TCP stream.
//!
//! ```text
//! in-order bytes -> receive (MPA: FPDUs, CRC, markers) -> deliver (DDP and RDMAP rules) -> host memory, completions
//!                                                            | Read and Atomic Requests
//!                                                            v
//! send queue -> work (entries to messages) -> transmit (FPDUs, journal) -> segments
//! ```

mod deliver;
mod receive;
#[cfg(test)]
mod tests;
mod transmit;
mod work;

pub use transmit::Cut;

use super::core::Core;
use super::host::Ring;
use super::region::Asker;
use ironwarp_proto::abi::completion::{Completion, OPCODE_RECEIVE, Status};
use ironwarp_proto::abi::context::{Context, ErrorRecord, SAVE_TERMINATE, TERMINATE_MAX};
use ironwarp_proto::abi::event::{ErrorCause, FlushCursors};
use ironwarp_proto::abi::receive_entry::ReceiveEntry;
use ironwarp_proto::abi::send_entry::{Opcode as Verb, Sge};
use ironwarp_proto::mpa::stream::Deframer;
use ironwarp_proto::rdmap::{Opcode, ReadRequest};
use ironwarp_proto::seq::Seq;
use std::collections::VecDeque;
use std::sync::Arc;

/// Why the connection stops, and what the save area says about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// Cause of the event.
    pub cause: ErrorCause,
    /// Error record, if the cause has one.
    pub record: Option<ErrorRecord>,
}

/// How far the connection has stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Everything goes.
    Running,
    /// Nothing is delivered or started; waiting for software.
    Stopped,
    /// The Terminate is on its way, or was sent.
    Terminating,
}

/// A receive entry in use by an unfinished message.
#[derive(Debug, Clone)]
struct OpenReceive {
    entry: ReceiveEntry,
    /// In whose name its buffers are written: an SRQ has a protection domain of its own.
    owner: Asker,
    index: u16,
    received: u32,
}

/// A Read or Atomic Request of the peer that waits for its response (the IRD queue).
#[derive(Debug, Clone)]
enum Response {
    Read { msn: u32, request: ReadRequest },
    Atomic { request_id: u32, original: u64 },
}

/// A Read or atomic of ours that waits for its response.
#[derive(Debug, Clone)]
enum Expected {
    Read { work: u64, stag: u32, next_to: u64, remaining: u32, invalidate: bool },
    Atomic { work: u64, request_id: u32, result: Sge },
}

/// A send entry that was started and is not complete.
#[derive(Debug, Clone)]
struct Work {
    index: u16,
    slots: u16,
    verb: Verb,
    signalled: bool,
    length: u32,
    status: Option<Status>,
}

/// Where the payload of a message comes from, each time it is sent.
#[derive(Debug, Clone)]
enum Source {
    /// Header bytes of RDMAP, inline data.
    Bytes(Arc<[u8]>),
    /// Local regions.
    Sges(Arc<[Sge]>),
    /// A region that the peer reads.
    Remote { stag: u32, to: u64 },
}

/// Where a message goes.
#[derive(Debug, Clone, Copy)]
enum Target {
    Tagged { stag: u32, to: u64 },
    Untagged { qn: u32, msn: u32, inv_stag: u32 },
}

/// A message that is being cut into FPDUs.
#[derive(Debug, Clone)]
struct Message {
    opcode: Opcode,
    target: Target,
    source: Source,
    length: u32,
    offset: u32,
    /// The send entry that is complete when the last byte is acknowledged.
    work: Option<u64>,
    /// Immediate Data to follow.
    then: Option<[u8; 8]>,
}

/// An FPDU that was put into the stream: what it takes to build it again.
#[derive(Debug, Clone)]
struct Sent {
    seq: Seq,
    wire_len: u32,
    header: [u8; 18],
    header_len: u8,
    source: Source,
    offset: u32,
    len: u32,
}

/// State of a connection in rdma mode.
pub struct Rdma {
    asker: Asker,
    phase: Phase,
    // What the connection was set up with.
    markers_tx: bool,
    markers_rx: bool,
    crc: bool,
    atomics: bool,
    ird: usize,
    ord: usize,
    mulpdu: u32,
    scq: u16,
    rcq: u16,
    save: u64,
    // Receiving.
    deframer: Deframer,
    /// MPA responder: nothing is sent before an FPDU has come.
    hold: bool,
    rq: Ring,
    srq: Option<u16>,
    open: Option<OpenReceive>,
    /// Next MSN expected on queues 0, 1 and 3.
    expected_msn: [u32; 4],
    responses: VecDeque<Response>,
    // Sending.
    sq: Ring,
    sq_next: u16,
    works: VecDeque<Work>,
    /// Number of the first of `works`; numbers never repeat.
    first_work: u64,
    /// Entries that are complete when this much is acknowledged.
    acks: VecDeque<(Seq, u64)>,
    message: Option<Message>,
    reads: VecDeque<Expected>,
    next_msn: [u32; 4],
    next_request_id: u32,
    prefer_response: bool,
    terminate: Option<Vec<u8>>,
    /// An entry has failed: no other is started, and when it is complete the connection stops.
    poisoned: bool,
    /// FIN was sent: the stream has an end.
    closed: bool,
    journal: VecDeque<Sent>,
    /// Sequence number behind the journal.
    end: Seq,
    marker_start: Seq,
}

impl Rdma {
    /// A connection as software hands it over.
    pub fn new(context: &Context, qp: u16) -> Self {
        let mut sq = Ring { base: context.sq_base, ..Ring::default() };
        sq.start(context.sq_log2);
        let mut rq = Ring { base: context.rq_base, ..Ring::default() };
        rq.start(context.rq_log2);
        Self {
            asker: Asker { qp, pd: context.pd },
            phase: Phase::Running,
            markers_tx: context.markers_tx,
            markers_rx: context.markers_rx,
            crc: context.crc,
            atomics: context.atomics,
            ird: usize::from(context.ird),
            ord: usize::from(context.ord),
            mulpdu: u32::from(context.mulpdu),
            scq: context.scq,
            rcq: context.rcq,
            save: context.save,
            deframer: Deframer::new(context.markers_rx, context.crc),
            hold: context.hold,
            rq,
            srq: context.srq,
            open: None,
            expected_msn: [1; 4],
            responses: VecDeque::new(),
            sq,
            sq_next: 0,
            works: VecDeque::new(),
            first_work: 0,
            acks: VecDeque::new(),
            message: None,
            reads: VecDeque::new(),
            next_msn: [1; 4],
            next_request_id: 0,
            prefer_response: false,
            terminate: None,
            poisoned: false,
            closed: false,
            journal: VecDeque::new(),
            end: Seq(context.snd_nxt),
            marker_start: Seq(context.snd_nxt),
        }
    }

    /// Doorbell of the send queue; `false` if it is impossible.
    pub fn post_send(&mut self, index: u16) -> bool {
        self.sq.produce(index) != ironwarp_proto::abi::Doorbell::Invalid
    }

    /// Doorbell of the receive queue; `false` if it is impossible.
    pub fn post_receive(&mut self, index: u16) -> bool {
        self.rq.produce(index) != ironwarp_proto::abi::Doorbell::Invalid
    }

    /// A new MULPDU for messages from now on.
    pub fn set_mulpdu(&mut self, mulpdu: u32) {
        self.mulpdu = mulpdu;
    }

    /// The completion queues used.
    pub fn cqs(&self) -> [u16; 2] {
        [self.scq, self.rcq]
    }

    /// The stop that is due because a failed entry is complete and everything before it too.
    pub fn failure(&mut self) -> Option<Stop> {
        let reported = self.works.iter().all(|work| work.status.is_none_or(|status| status == Status::Ok));
        (self.poisoned && reported && self.phase == Phase::Running).then(|| self.own_error())
    }

    /// FIN goes behind what is in the journal: nothing new is started.
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// Sequence number behind everything that was put into the stream.
    pub fn end(&self) -> Seq {
        self.end
    }

    /// Whether messages are delivered and started.
    pub fn is_running(&self) -> bool {
        self.phase == Phase::Running
    }

    /// Stop delivering and starting; what is in the journal still goes out.
    pub fn stop(&mut self) {
        if self.phase == Phase::Running {
            self.phase = Phase::Stopped;
        }
        // A message under way is cut at the FPDU boundary.
        self.message = None;
        self.responses.clear();
    }

    /// Software has written a Terminate Header to the save area and wants it sent; `false` if it cannot be read.
    pub fn send_terminate(&mut self, core: &mut Core) -> bool {
        if self.phase == Phase::Terminating {
            return true;
        }
        let at = self.save.wrapping_add(SAVE_TERMINATE as u64);
        let Ok([length]) = core.host.words::<1>(at) else { return false };
        let mut header = vec![0; (length as usize).min(TERMINATE_MAX)];
        if core.host.read(at.wrapping_add(4), &mut header).is_err() {
            return false;
        }
        self.stop();
        self.phase = Phase::Terminating;
        self.terminate = Some(header);
        true
    }

    /// Where completions ended.
    pub fn flush_cursors(&self) -> FlushCursors {
        let open = self.open.as_ref().filter(|_| self.srq.is_some()).map(|open| open.index);
        FlushCursors { sq_done: self.sq.consumer, rq_done: self.rq.consumer, srq_open: open }
    }

    /// Our own Reads or atomics are open.
    pub fn reads_open(&self) -> bool {
        !self.reads.is_empty()
    }

    /// The peer's stream ended: inside an FPDU, inside a message.
    pub fn cut_at_fin(&self) -> (bool, bool) {
        (self.deframer.pending() > 0, self.open.is_some())
    }

    /// Nothing is left that FIN would have to wait for.
    pub fn is_drained(&self) -> bool {
        let idle = self.sq_next == self.sq.producer
            && self.message.is_none()
            && self.responses.is_empty()
            && self.reads.is_empty();
        // On hold there never is a Terminate: no FPDU may leave before one has come.
        (idle || self.phase != Phase::Running) && (self.terminate.is_none() || self.hold)
    }

    /// A completion of the receive entry in use; if it is dropped, the entry stays for software to flush.
    fn complete_receive(&mut self, core: &mut Core, mut completion: Completion) -> Result<(), Stop> {
        completion.qp = self.asker.qp;
        completion.opcode = OPCODE_RECEIVE;
        completion.srq = self.srq.is_some();
        if !core.cqs.complete(&mut core.host, self.rcq, &completion) {
            return Err(Stop { cause: ErrorCause::CqBroken, record: None });
        }
        self.open = None;
        if self.srq.is_none() {
            self.rq.consumer = self.rq.consumer.wrapping_add(1);
        }
        Ok(())
    }

    /// Mark a started entry as done; completions follow in order. None is written once the connection has stopped:
    /// software then completes the rest.
    fn finish_work(&mut self, core: &mut Core, number: u64, status: Status) {
        if self.phase != Phase::Running {
            return;
        }
        self.poisoned |= status != Status::Ok;
        let position = number.checked_sub(self.first_work).and_then(|at| usize::try_from(at).ok());
        if let Some(work) = position.and_then(|at| self.works.get_mut(at)) {
            work.status.get_or_insert(status);
        }
        while let Some(work) = self.works.front()
            && let Some(status) = work.status
        {
            let completion = Completion {
                qp: self.asker.qp,
                opcode: work.verb as u8,
                solicited: false,
                invalidated: None,
                immediate: None,
                srq: false,
                length: work.length,
                index: work.index,
                status,
            };
            let told = work.signalled || status != Status::Ok;
            if told && !core.cqs.complete(&mut core.host, self.scq, &completion) {
                return;
            }
            self.sq.consumer = work.index.wrapping_add(work.slots);
            self.works.pop_front();
            self.first_work += 1;
            if status != Status::Ok {
                return;
            }
        }
    }
}
