//! Every verb at random between two connected hosts, each result compared with a plain copy of both memories.
//!
//! A *round* plans operations of both sides on disjoint ranges, applies their effects to the copies (the oracle), posts
//! everything at once, waits for all completions, and compares completions and memories byte for byte. Gaps between the ranges are
//! compared too, so a byte placed anywhere else is found.

use crate::lab::Lab;
use ironwarp_driver::Error;
use ironwarp_driver::transport::Wait;
use ironwarp_driver::verbs::{
    Access, CompletionQueue, Context, Data, FastRegion, FastRegister, MemoryRegion, MemoryWindow, Operation,
    ProtectionDomain, QpConfig, QueuePair, ReceiveRequest, SendRequest, Sge, WcOpcode, WcStatus,
    WorkCompletion,
};
use ironwarp_proto::abi::regs::{self, features};
use ironwarp_proto::rdmap;
use rand::rngs::SmallRng;
use rand::{Rng, RngCore, SeedableRng};
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use thiserror::Error as ThisError;

/// Largest message, bytes.
pub const MAX_MESSAGE: usize = 4 << 20;
/// Memory that a round of several messages of `max_message` bytes needs, bytes.
pub fn memory_for(max_message: usize) -> usize {
    (6 * max_message).max(1 << 20)
}

/// Memory behind a fast region, bytes.
const FAST: usize = 64 << 10;
/// Slots of the send queue.
const DEPTH: u32 = 64;

/// What is exercised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names of the verbs")]
pub enum Kind {
    Send,
    SendSolicited,
    SendInvalidate,
    SendSolicitedInvalidate,
    Write,
    WriteImmediate,
    Read,
    ReadInvalidate,
    FetchAdd,
    CompareSwap,
    Immediate,
    ImmediateSolicited,
    BindWindow,
    FastRegister,
    LocalInvalidate,
    Nop,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 16] = [
        Kind::Send,
        Kind::SendSolicited,
        Kind::SendInvalidate,
        Kind::SendSolicitedInvalidate,
        Kind::Write,
        Kind::WriteImmediate,
        Kind::Read,
        Kind::ReadInvalidate,
        Kind::FetchAdd,
        Kind::CompareSwap,
        Kind::Immediate,
        Kind::ImmediateSolicited,
        Kind::BindWindow,
        Kind::FastRegister,
        Kind::LocalInvalidate,
        Kind::Nop,
    ];

    /// What a device needs for it: bits of `FEATURES`.
    pub fn needs(self) -> u32 {
        match self {
            Kind::FetchAdd | Kind::CompareSwap => features::ATOMICS,
            Kind::WriteImmediate | Kind::Immediate | Kind::ImmediateSolicited => features::IMMEDIATE,
            // They need something to invalidate.
            Kind::SendInvalidate
            | Kind::SendSolicitedInvalidate
            | Kind::ReadInvalidate
            | Kind::BindWindow
            | Kind::FastRegister
            | Kind::LocalInvalidate => features::WINDOWS,
            Kind::Send | Kind::SendSolicited | Kind::Write | Kind::Read | Kind::Nop => 0,
        }
    }
}

/// How many operations of a kind were verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Tally {
    /// Operations.
    pub operations: u64,
    /// Payload, bytes.
    pub bytes: u64,
    /// Largest payload of one operation, bytes.
    pub largest: u64,
}

/// Why an exercise cannot go on. Wrong results do not end it: they are counted.
#[derive(Debug, ThisError)]
pub enum ExerciseError {
    /// A verb was refused.
    #[error(transparent)]
    Verb(#[from] Error),
    /// Operations are posted, nothing is pending, and completions are missing.
    #[error("{missing} completions never came: {detail}")]
    Stuck {
        /// How many.
        missing: usize,
        /// State of both queue pairs.
        detail: String,
    },
}

/// What a completion must say.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Expected {
    /// What it counts for.
    kind: Option<Kind>,
    completion: WorkCompletion,
}

/// One host with its memory and the copy of it.
struct Side {
    host: Context,
    pd: ProtectionDomain,
    cq: CompletionQueue,
    qp: QueuePair,
    region: MemoryRegion,
    copy: Vec<u8>,
    /// Bits of `FEATURES`.
    features: u32,
    /// If the device has them.
    grants: Option<(MemoryWindow, FastRegion)>,
    fast_copy: Vec<u8>,
    /// First byte not yet used in this round.
    cursor: usize,
    sends: VecDeque<Expected>,
    receives: VecDeque<Expected>,
}

/// The two sides and the score.
pub struct Exercise {
    sides: [Side; 2],
    rng: SmallRng,
    next_id: u64,
    /// Verified operations.
    pub score: BTreeMap<Kind, Tally>,
    /// What was wrong.
    pub errors: Vec<String>,
}

/// Size of a round.
#[derive(Debug, Clone, Copy)]
pub struct Round {
    /// Operations of each side, at most 24.
    pub operations: usize,
    /// Largest message, bytes, at most [`MAX_MESSAGE`].
    pub max_message: usize,
}

/// The state a side is in before it is connected: its queue pair can be given to the connection manager.
pub struct Prepared(Side);

impl Prepared {
    /// Queues and `memory` bytes on host `node` of `lab`.
    pub fn new(lab: &Lab, node: usize, memory: usize) -> Result<Self, Error> {
        let pd = lab.hosts[node].alloc_pd()?;
        let cq = lab.hosts[node].create_cq(4 * DEPTH)?;
        let qp = pd.create_qp(&QpConfig::new(&cq, &cq).depths(DEPTH, DEPTH))?;
        let all = Access::LOCAL_WRITE | Access::REMOTE_READ | Access::REMOTE_WRITE;
        let region = pd.register(memory, all | Access::REMOTE_ATOMIC | Access::BIND)?;
        let features = lab.hosts[node].attributes().features;
        let has_windows = features & features::WINDOWS != 0;
        let grants =
            if has_windows { Some((pd.alloc_window()?, pd.alloc_fast_region(FAST as u32)?)) } else { None };
        Ok(Self(Side {
            host: lab.hosts[node].clone(),
            pd,
            cq,
            qp,
            region,
            copy: vec![0; memory],
            features,
            grants,
            fast_copy: vec![0; FAST],
            cursor: 0,
            sends: VecDeque::new(),
            receives: VecDeque::new(),
        }))
    }
    /// The queue pair to connect.
    pub fn qp(&self) -> &QueuePair {
        &self.0.qp
    }
}

impl Side {
    /// A range of `len` bytes that nothing else uses in this round, with a gap in front; `align` is a power of two.
    fn take(&mut self, rng: &mut SmallRng, len: usize, align: usize) -> Option<usize> {
        let start = (self.cursor + rng.random_range(1..40)).next_multiple_of(align);
        let end = start.checked_add(len).filter(|end| *end + 64 < self.copy.len())?;
        self.cursor = end;
        Some(start)
    }

    /// Random bytes in a fresh range, in memory and copy.
    fn fill(&mut self, rng: &mut SmallRng, len: usize, align: usize) -> Result<Option<usize>, Error> {
        let Some(start) = self.take(rng, len, align) else { return Ok(None) };
        rng.fill_bytes(&mut self.copy[start..start + len]);
        self.region.write(start, &self.copy[start..start + len])?;
        Ok(Some(start))
    }

    /// A range cut into up to `max` elements.
    fn cut(&self, rng: &mut SmallRng, start: usize, len: usize, max: usize) -> Result<Vec<Sge>, Error> {
        let mut cuts: Vec<usize> =
            (1..rng.random_range(1..=max)).map(|_| rng.random_range(0..=len)).chain([0, len]).collect();
        cuts.sort_unstable();
        cuts.windows(2).map(|pair| self.region.sge(start + pair[0], pair[1] - pair[0])).collect()
    }
}

/// A completion that succeeds and says nothing special.
fn plain(wr_id: u64, opcode: WcOpcode, byte_len: usize, qp: &QueuePair) -> WorkCompletion {
    WorkCompletion {
        wr_id,
        status: WcStatus::Ok,
        opcode,
        byte_len: byte_len as u32,
        qp: qp.number(),
        solicited: false,
        invalidated: None,
        immediate: None,
    }
}

impl Exercise {
    /// Two connected sides.
    pub fn new(left: Prepared, right: Prepared, seed: u64) -> Self {
        Self {
            sides: [left.0, right.0],
            rng: SmallRng::seed_from_u64(seed),
            next_id: 1,
            score: BTreeMap::new(),
            errors: Vec::new(),
        }
    }

    /// Operations verified so far.
    pub fn verified(&self) -> u64 {
        self.score.values().map(|tally| tally.operations).sum()
    }

    /// Payload verified so far, bytes.
    pub fn bytes(&self) -> u64 {
        self.score.values().map(|tally| tally.bytes).sum()
    }

    /// Let both sides close the connection, and wait until it is closed.
    pub fn finish(self, lab: &Lab) -> Result<(), ExerciseError> {
        use ironwarp_driver::verbs::QpState::Closed;
        self.sides[0].qp.disconnect()?;
        let start = lab.hosts[0].now();
        while self.sides.iter().any(|side| side.qp.state() != Closed) {
            if lab.wait(start, &[])? == Wait::Idle {
                return Err(self.stuck(0));
            }
        }
        Ok(())
    }

    /// Plan, post, wait and compare one round.
    pub fn round(&mut self, lab: &Lab, round: Round) -> Result<(), ExerciseError> {
        for side in &mut self.sides {
            side.cursor = 0;
        }
        // What later operations of the round need: windows bound and fast regions registered.
        let mut granted = [None, None];
        for (me, grant) in granted.iter_mut().enumerate() {
            *grant = self.prepare(me, round.max_message)?;
        }
        self.settle(lab)?;
        for _ in 0..round.operations {
            for me in 0..2 {
                let kind = Kind::ALL[self.rng.random_range(0..12)];
                let kind = if self.rng.random_range(0..40) == 0 { Kind::Nop } else { kind };
                self.operation(me, kind, round.max_message)?;
            }
        }
        for (me, grant) in granted.into_iter().enumerate() {
            self.use_grant(me, grant, round.max_message.min(4096))?;
        }
        self.settle(lab)?;
        self.fence(lab)?;
        self.compare(false)
    }

    /// Compare everything, used in the last round or not.
    pub fn compare_all(&mut self) -> Result<(), ExerciseError> {
        self.compare(true)
    }

    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// A size between 0 and `max`: small ones, borders of FPDUs and large ones all come.
    fn size(&mut self, max: usize) -> usize {
        let size = match self.rng.random_range(0..8) {
            0 => self.rng.random_range(0..=4),
            1 => self.rng.random_range(1420..=1460),
            2 => self.rng.random_range(0..=64),
            3 => self.rng.random_range(0..=max),
            4 => max,
            _ => 1 << self.rng.random_range(0..=max.max(2).ilog2()),
        };
        size.min(max)
    }

    /// Post a send request of side `me` and note what its completion must say.
    fn post(
        &mut self,
        me: usize,
        kind: Kind,
        request: SendRequest,
        opcode: WcOpcode,
        bytes: usize,
    ) -> Result<(), Error> {
        let side = &mut self.sides[me];
        side.qp.post_send(&request)?;
        let completion = plain(request.wr_id, opcode, bytes, &side.qp);
        side.sends.push_back(Expected { kind: Some(kind), completion });
        Ok(())
    }

    /// Wait until what both sides have written is in the other's memory. A Write completes when TCP has acknowledged it, and the device may
    /// still be placing it then; a Read sees what was written before it (RFC 5040 section 5.5). Byte 0 is in no range.
    fn fence(&mut self, lab: &Lab) -> Result<(), ExerciseError> {
        for me in 0..2 {
            let wr_id = self.id();
            let (sink, remote) = (self.sides[me].region.sge(0, 1)?, self.sides[1 - me].region.remote(0)?);
            let side = &mut self.sides[me];
            side.qp.post_send(&SendRequest::read(wr_id, sink, remote))?;
            let completion = plain(wr_id, WcOpcode::Read, 1, &side.qp);
            side.sends.push_back(Expected { kind: None, completion });
        }
        self.settle(lab)
    }

    /// A receive buffer of side `me` for a message of `len` bytes, at least as long; where it begins.
    fn post_receive(
        &mut self,
        me: usize,
        kind: Kind,
        len: usize,
        completion: impl FnOnce(&mut WorkCompletion),
    ) -> Result<Option<usize>, Error> {
        let wr_id = self.id();
        let room = len + if self.rng.random_range(0..4) == 0 { self.rng.random_range(0..100) } else { 0 };
        let side = &mut self.sides[me];
        let Some(start) = side.take(&mut self.rng, room, 1) else { return Ok(None) };
        let sges = side.cut(&mut self.rng, start, room, 3)?;
        side.qp.post_receive(&ReceiveRequest::new(wr_id, sges))?;
        // Doorbells of two devices race, and the message must not come first. A read is behind all writes of its device.
        side.host.hw().read(regs::ID)?;
        let mut expected = plain(wr_id, WcOpcode::Receive, len, &side.qp);
        completion(&mut expected);
        side.receives.push_back(Expected { kind: Some(kind), completion: expected });
        Ok(Some(start))
    }

    /// Source bytes of side `me` as request data, and the bytes.
    fn source(&mut self, me: usize, len: usize) -> Result<Option<(Data, Vec<u8>)>, Error> {
        let side = &mut self.sides[me];
        let Some(start) = side.fill(&mut self.rng, len, 1)? else { return Ok(None) };
        let bytes = side.copy[start..start + len].to_vec();
        let data = if len <= 32 && self.rng.random_range(0..2) == 0 {
            Data::inline(&bytes)
        } else {
            Data::Sges(side.cut(&mut self.rng, start, len, 6)?)
        };
        Ok(Some((data, bytes)))
    }

    /// The effect of bytes that arrive at side `me`.
    fn arrive(&mut self, me: usize, at: usize, bytes: &[u8]) {
        self.sides[me].copy[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// What both devices can do.
    pub fn offers(&self, kind: Kind) -> bool {
        self.sides.iter().all(|side| side.features & kind.needs() == kind.needs())
    }

    /// One operation of side `me`; rounds whose memory is used up skip it, and so do devices that cannot do it.
    fn operation(&mut self, me: usize, kind: Kind, max: usize) -> Result<(), Error> {
        if !self.offers(kind) {
            return Ok(());
        }
        let peer = 1 - me;
        let wr_id = self.id();
        match kind {
            Kind::Send | Kind::SendSolicited => self.send(me, kind, None, max),
            Kind::Write | Kind::WriteImmediate => {
                let len = self.size(max);
                let Some((data, bytes)) = self.source(me, len)? else { return Ok(()) };
                let Some(at) = self.sides[peer].take(&mut self.rng, len, 1) else { return Ok(()) };
                let mut request = SendRequest::write(wr_id, data, self.sides[peer].region.remote(at)?);
                if kind == Kind::WriteImmediate {
                    let data = self.rng.random::<[u8; 8]>();
                    request = request.with_immediate(data);
                    if self.post_receive(peer, kind, 8, |c| immediate(c, data))?.is_none() {
                        return Ok(());
                    }
                }
                self.arrive(peer, at, &bytes);
                self.post(me, kind, request, WcOpcode::Write, len)
            }
            Kind::Read => {
                let len = self.size(max);
                let Some(from) = self.sides[peer].fill(&mut self.rng, len, 1)? else { return Ok(()) };
                let Some(at) = self.sides[me].take(&mut self.rng, len, 1) else { return Ok(()) };
                let bytes = self.sides[peer].copy[from..from + len].to_vec();
                let (sink, remote) =
                    (self.sides[me].region.sge(at, len)?, self.sides[peer].region.remote(from)?);
                self.arrive(me, at, &bytes);
                self.post(me, kind, SendRequest::read(wr_id, sink, remote), WcOpcode::Read, len)
            }
            Kind::FetchAdd | Kind::CompareSwap => self.atomic(me, kind, wr_id),
            Kind::Immediate | Kind::ImmediateSolicited => {
                let data = self.rng.random::<[u8; 8]>();
                let solicited = kind == Kind::ImmediateSolicited;
                let mut request = SendRequest::immediate(wr_id, data);
                if solicited {
                    request = request.solicited();
                }
                let told = self.post_receive(peer, kind, 8, |c| {
                    immediate(c, data);
                    c.solicited = solicited;
                })?;
                if told.is_none() {
                    return Ok(());
                }
                self.post(me, kind, request, WcOpcode::Immediate, 0)
            }
            Kind::Nop => self.post(me, kind, SendRequest::nop(wr_id), WcOpcode::Nop, 0),
            // The others need a window or a fast region: see `use_grant`.
            _ => Ok(()),
        }
    }

    fn send(&mut self, me: usize, kind: Kind, invalidate: Option<u32>, max: usize) -> Result<(), Error> {
        let (peer, wr_id, len) = (1 - me, self.id(), self.size(max));
        let solicited = matches!(kind, Kind::SendSolicited | Kind::SendSolicitedInvalidate);
        let Some((data, bytes)) = self.source(me, len)? else { return Ok(()) };
        let received = self.post_receive(peer, kind, len, |c| {
            c.solicited = solicited;
            c.invalidated = invalidate;
        })?;
        let Some(at) = received else { return Ok(()) };
        self.arrive(peer, at, &bytes);
        let operation = Operation::Send { data, solicited, invalidate };
        self.post(me, kind, SendRequest::new(wr_id, operation), WcOpcode::Send, len)
    }

    fn atomic(&mut self, me: usize, kind: Kind, wr_id: u64) -> Result<(), Error> {
        let peer = 1 - me;
        let Some(from) = self.sides[peer].fill(&mut self.rng, 8, 8)? else { return Ok(()) };
        let Some(at) = self.sides[me].take(&mut self.rng, 8, 1) else { return Ok(()) };
        let (result, remote) = (self.sides[me].region.sge(at, 8)?, self.sides[peer].region.remote(from)?);
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.sides[peer].copy[from..from + 8]);
        let original = u64::from_le_bytes(bytes);
        let [value, mask, mut compare, mut compare_mask] = self.rng.random::<[u64; 4]>();
        let (operation, opcode, new) = if kind == Kind::FetchAdd {
            let mask = if self.rng.random() { mask } else { 0 };
            let operation = Operation::FetchAdd { result, remote, add: value, mask };
            (operation, WcOpcode::FetchAdd, rdmap::fetch_add(original, value, mask))
        } else {
            if self.rng.random() {
                compare = original;
            }
            if self.rng.random() {
                // A plain swap.
                compare_mask = 0;
            }
            let (swap, swap_mask) = (value, mask);
            let operation = Operation::CompareSwap { result, remote, compare, compare_mask, swap, swap_mask };
            let new = rdmap::compare_swap(original, compare, compare_mask, swap, swap_mask);
            (operation, WcOpcode::CompareSwap, new)
        };
        self.arrive(peer, from, &new.to_le_bytes());
        self.arrive(me, at, &original.to_le_bytes());
        self.post(me, kind, SendRequest::new(wr_id, operation), opcode, 8)
    }

    /// Bind a window or register the fast region of side `me`.
    fn prepare(&mut self, me: usize, max: usize) -> Result<Option<Grant>, Error> {
        let wr_id = self.id();
        let rights = Access::REMOTE_READ | Access::REMOTE_WRITE;
        match self.rng.random_range(0..4) {
            0 => Ok(None),
            1 => {
                let len = self.size(FAST.min(max));
                let side = &mut self.sides[me];
                let Some(start) = side.take(&mut self.rng, len, 1) else { return Ok(None) };
                let base: u64 = self.rng.random();
                let Some((window, _)) = &side.grants else { return Ok(None) };
                // Not so high that the window would pass the end of the TO space.
                let bind = window.bind(&side.region, start, len, rights)?.with_base(base & !(1 << 63));
                let remote = bind.remote(0);
                self.post(me, Kind::BindWindow, SendRequest::bind(wr_id, bind), WcOpcode::Bind, len)?;
                Ok(Some(Grant::Window { remote, start, len }))
            }
            _ => {
                let len = self.size(FAST.min(max).saturating_sub(1)) + 1;
                let offset = self.rng.random_range(0..=FAST - len);
                let rights = rights | Access::LOCAL_WRITE;
                let Some((_, fast)) = &self.sides[me].grants else { return Ok(None) };
                let register = fast.register(offset, len as u32, rights)?;
                let request = SendRequest::fast_register(wr_id, register.clone());
                self.post(me, Kind::FastRegister, request, WcOpcode::FastRegister, len)?;
                Ok(Some(Grant::Fast { register, offset, len }))
            }
        }
    }

    /// Use what side `me` has granted, and have it invalidated in one of the ways there are.
    fn use_grant(&mut self, me: usize, grant: Option<Grant>, max: usize) -> Result<(), Error> {
        let Some(grant) = grant else { return Ok(()) };
        let peer = 1 - me;
        let invalidating = [Kind::SendInvalidate, Kind::SendSolicitedInvalidate][self.rng.random_range(0..2)];
        match grant {
            Grant::Window { remote, start, len } => {
                let wr_id = self.id();
                let Some((data, bytes)) = self.source(peer, len)? else {
                    return self.revoke(me, remote.stag);
                };
                self.arrive(me, start, &bytes);
                self.post(peer, Kind::Write, SendRequest::write(wr_id, data, remote), WcOpcode::Write, len)?;
                self.send(peer, invalidating, Some(remote.stag), max)
            }
            Grant::Fast { register, offset, len } => match self.rng.random_range(0..3) {
                0 => self.send(peer, invalidating, Some(register.stag()), max),
                1 => self.revoke(me, register.stag()),
                _ => {
                    let wr_id = self.id();
                    let Some(from) = self.sides[peer].fill(&mut self.rng, len, 1)? else {
                        return self.revoke(me, register.stag());
                    };
                    let bytes = self.sides[peer].copy[from..from + len].to_vec();
                    self.sides[me].fast_copy[offset..offset + len].copy_from_slice(&bytes);
                    let operation = Operation::Read {
                        sink: register.sge(0, len as u32)?,
                        remote: self.sides[peer].region.remote(from)?,
                        invalidate_local: true,
                    };
                    let request = SendRequest::new(wr_id, operation);
                    self.post(me, Kind::ReadInvalidate, request, WcOpcode::Read, len)
                }
            },
        }
    }

    fn revoke(&mut self, me: usize, stag: u32) -> Result<(), Error> {
        let wr_id = self.id();
        let request = SendRequest::local_invalidate(wr_id, stag);
        self.post(me, Kind::LocalInvalidate, request, WcOpcode::LocalInvalidate, 0)
    }

    /// Wait until everything posted is complete, and check each completion.
    fn settle(&mut self, lab: &Lab) -> Result<(), ExerciseError> {
        let start = lab.hosts[0].now();
        loop {
            for me in 0..2 {
                while let Some(completion) = self.sides[me].cq.poll() {
                    self.check(me, &completion);
                }
            }
            let missing: usize = self.sides.iter().map(|side| side.sends.len() + side.receives.len()).sum();
            if missing == 0 {
                return Ok(());
            }
            let broken =
                self.sides.iter().any(|side| side.qp.state() != ironwarp_driver::verbs::QpState::Rts);
            let queues = self.sides.each_ref().map(|side| &side.cq);
            if lab.wait(start, &queues)? == Wait::Idle || broken {
                return Err(self.stuck(missing));
            }
        }
    }

    fn stuck(&self, missing: usize) -> ExerciseError {
        let events = |qp: &QueuePair| std::iter::from_fn(|| qp.poll_event()).collect::<Vec<_>>();
        let detail = self.sides.iter().map(|side| format!("{:?} {:?}", side.qp, events(&side.qp)));
        ExerciseError::Stuck { missing, detail: detail.collect::<Vec<_>>().join(", ") }
    }

    fn check(&mut self, me: usize, completion: &WorkCompletion) {
        let side = &mut self.sides[me];
        let receive = matches!(completion.opcode, WcOpcode::Receive | WcOpcode::ReceiveImmediate);
        let expected = if receive { side.receives.pop_front() } else { side.sends.pop_front() };
        match expected {
            Some(Expected { kind, completion: expected }) if agrees(&expected, completion) => {
                // A message counts once, where it is sent.
                if let Some(kind) = kind.filter(|_| !receive) {
                    let tally = self.score.entry(kind).or_default();
                    tally.operations += 1;
                    tally.bytes += u64::from(completion.byte_len);
                    tally.largest = tally.largest.max(completion.byte_len.into());
                }
            }
            expected => self.errors.push(format!("side {me}: {completion:?} instead of {expected:?}")),
        }
    }

    fn compare(&mut self, everything: bool) -> Result<(), ExerciseError> {
        for (me, side) in self.sides.iter().enumerate() {
            let end = if everything { side.copy.len() } else { side.cursor + 64 };
            let mut memory = vec![0; end];
            side.region.read(0, &mut memory)?;
            let mut fast = vec![0; FAST];
            let inside = side.grants.as_ref().is_none_or(|(_, region)| region.buffer().read(0, &mut fast));
            for (what, found, expected) in
                [("memory", &memory[..], &side.copy[..end]), ("fast region", &fast[..], &side.fast_copy[..])]
            {
                let different =
                    found.iter().zip(expected).enumerate().find(|(_, (found, expected))| found != expected);
                if let Some((at, (found, expected))) = different {
                    self.errors.push(format!(
                        "side {me}: {what} byte {at} is {found:#04x}, must be {expected:#04x}"
                    ));
                }
            }
            debug_assert!(inside, "the fast region's buffer has its size");
        }
        Ok(())
    }

    /// Protection domains, for those who want to add objects of their own.
    pub fn pd(&self, side: usize) -> &ProtectionDomain {
        &self.sides[side].pd
    }
}

/// What a side lets its peer use for the rest of a round.
enum Grant {
    Window { remote: ironwarp_driver::verbs::RemoteAddress, start: usize, len: usize },
    Fast { register: FastRegister, offset: usize, len: usize },
}

fn immediate(completion: &mut WorkCompletion, data: [u8; 8]) {
    completion.opcode = WcOpcode::ReceiveImmediate;
    completion.immediate = Some(data);
}

/// Byte counts of operations without payload mean nothing.
fn agrees(expected: &WorkCompletion, found: &WorkCompletion) -> bool {
    let counted = matches!(
        expected.opcode,
        WcOpcode::Send
            | WcOpcode::Write
            | WcOpcode::Read
            | WcOpcode::Receive
            | WcOpcode::FetchAdd
            | WcOpcode::CompareSwap
    );
    *found == WorkCompletion { byte_len: found.byte_len, ..*expected }
        && (!counted || found.byte_len == expected.byte_len)
}
