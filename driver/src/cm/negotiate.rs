//! What two ends agree upon in the MPA Request and Reply (RFC 5044 section 7.1, RFC 6581): pure functions.
//!
//! | | rule |
//! |---|---|
//! | markers | each end adds them if the other's M asks for it |
//! | CRC | used if either frame has C; the responder sets C if its own side or the request wants it |
//! | ORD | at most the other's IRD |
//! | 0x3FFF | "the ULP does it": the value here stays as it is, and 0x3FFF is the answer |
//! | RTR | the initiator uses one kind that the reply offers: Write, else Read, else Send |
//! | revision | the reply has that of the request, and is enhanced if and only if the request is |

use ironwarp_proto::mpa::connect::{
    DEPTH_UNNEGOTIATED, Enhanced, MAX_PRIVATE_DATA, MpaError, MpaFlags, MpaFrame, MpaKind,
};
use ironwarp_proto::terminate::TerminateError;
use thiserror::Error;

/// Revision of MPA that an initiator speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Revision {
    /// RFC 5044: nothing is said about IRD and ORD.
    One,
    /// RFC 6581.
    #[default]
    Two,
}

/// A message that an initiator can send first, so that its peer may send (RFC 6581 section 9.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rtr {
    /// Zero-length Send.
    Send,
    /// Zero-length RDMA Write.
    Write,
    /// Zero-length RDMA Read.
    Read,
}

/// Kinds of RTR that may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RtrSet {
    /// Zero-length Send.
    pub send: bool,
    /// Zero-length RDMA Write.
    pub write: bool,
    /// Zero-length RDMA Read.
    pub read: bool,
}

impl RtrSet {
    /// All three.
    pub const ALL: RtrSet = RtrSet { send: true, write: true, read: true };

    /// None of them.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
    fn of(data: &Enhanced) -> Self {
        Self { send: data.rtr_send, write: data.rtr_write, read: data.rtr_read }
    }
    fn and(self, other: Self) -> Self {
        Self {
            send: self.send && other.send,
            write: self.write && other.write,
            read: self.read && other.read,
        }
    }
    /// The one to use: a Write needs nothing of the peer, a Read some IRD, a Send a receive buffer.
    fn pick(self) -> Option<Rtr> {
        let kinds = [(self.write, Rtr::Write), (self.read, Rtr::Read), (self.send, Rtr::Send)];
        kinds.into_iter().find(|(offered, _)| *offered).map(|(_, rtr)| rtr)
    }
}

/// What this end wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// Reads and atomics it serves at once.
    pub ird: u16,
    /// Reads and atomics it wants outstanding at once.
    pub ord: u16,
    /// Use CRC.
    pub crc: bool,
    /// Receive markers.
    pub markers: bool,
    /// It can send markers, should the peer want them.
    pub can_mark: bool,
    /// For the ULP at the other end.
    pub private_data: Vec<u8>,
}

/// What both ends agreed upon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreement {
    /// Reads and atomics served at once.
    pub ird: u16,
    /// Reads and atomics outstanding at once.
    pub ord: u16,
    /// IRD and ORD as the peer named them, if it did (RFC 6581 section 9.1: the ULP is told).
    pub peer_depths: Option<(u16, u16)>,
    /// CRC is used.
    pub crc: bool,
    /// Markers are sent.
    pub markers_tx: bool,
    /// Markers are received.
    pub markers_rx: bool,
    /// Initiator: the message to send first.
    pub rtr: Option<Rtr>,
    /// The peer's private data.
    pub private_data: Vec<u8>,
}

/// Why there is no agreement.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Failure {
    /// The frame is not one.
    #[error(transparent)]
    Frame(#[from] MpaError),
    /// Both ends are initiators, or both responders (RFC 5044 section 7.1.2 rule 8).
    #[error("an MPA {0:?} came where the other frame was due: both ends play the same part")]
    WrongKind(MpaKind),
    /// A revision that is not known, or not the one asked for.
    #[error("the peer speaks MPA revision {0}")]
    Revision(u8),
    /// More private data than fits.
    #[error("{len} bytes of private data, {max} fit")]
    PrivateData {
        /// Bytes given.
        len: usize,
        /// Most that fit.
        max: usize,
    },
    /// RTR messages need revision 2.
    #[error("the peer-to-peer model needs MPA revision 2")]
    RtrNeedsRevisionTwo,
    /// The peer says no.
    #[error("the peer rejected the connection, with {} bytes of private data", .private_data.len())]
    Rejected {
        /// What it says.
        private_data: Vec<u8>,
        /// IRD and ORD that it would want, if it says.
        depths: Option<(u16, u16)>,
    },
    /// The peer wants markers, which this device cannot send.
    #[error("the peer wants markers, the device cannot send them")]
    Markers,
    /// The peer has more Reads outstanding than can be served.
    #[error("the peer wants {wanted} Reads outstanding, {have} can be served")]
    InsufficientIrd {
        /// ORD of the peer.
        wanted: u16,
        /// IRD here.
        have: u16,
    },
    /// No kind of RTR suits both.
    #[error("the peer takes none of the RTR messages offered")]
    NoRtr,
}

impl Failure {
    /// What an initiator tells the peer in a Terminate (RFC 6581 sections 8 and 9); `None`: it closes, or resets.
    pub fn terminate(&self) -> Option<TerminateError> {
        match self {
            Self::InsufficientIrd { .. } => Some(TerminateError::MpaInsufficientIrd),
            Self::NoRtr => Some(TerminateError::MpaNoMatchingRtr),
            Self::Markers => Some(TerminateError::MpaLocalCatastrophic),
            _ => None,
        }
    }
}

/// The Request of an initiator; with `rtr` for the peer-to-peer model.
pub fn request(terms: &Terms, revision: Revision, rtr: Option<RtrSet>) -> Result<MpaFrame, Failure> {
    let enhanced = match (revision, rtr) {
        (Revision::One, Some(_)) => return Err(Failure::RtrNeedsRevisionTwo),
        (Revision::One, None) => None,
        (Revision::Two, rtr) => Some(depths(terms.ird, terms.ord, rtr)),
    };
    let number = if enhanced.is_some() { 2 } else { 1 };
    let flags = MpaFlags { markers: terms.markers, crc: terms.crc, ..MpaFlags::default() };
    frame(MpaKind::Request, flags, number, enhanced, &terms.private_data)
}

/// What the initiator gets from the Reply.
pub fn conclude(
    terms: &Terms,
    revision: Revision,
    rtr: Option<RtrSet>,
    reply: &MpaFrame,
) -> Result<Agreement, Failure> {
    if reply.kind != MpaKind::Reply {
        return Err(Failure::WrongKind(reply.kind));
    }
    let highest = if revision == Revision::Two { 2 } else { 1 };
    if !(1..=highest).contains(&reply.revision) {
        return Err(Failure::Revision(reply.revision));
    }
    let (data, private_data) = reply.enhanced()?;
    let peer_depths = data.map(|data| (data.ird, data.ord));
    if reply.flags.reject {
        return Err(Failure::Rejected { private_data: private_data.to_vec(), depths: peer_depths });
    }
    if reply.flags.markers && !terms.can_mark {
        return Err(Failure::Markers);
    }
    let (ird, mut ord) = (terms.ird, terms.ord);
    if let Some((peer_ird, peer_ord)) = peer_depths {
        ord = negotiated(peer_ird).map_or(ord, |limit| ord.min(limit));
        // Ours was the limit for its ORD; more cannot be served.
        if let Some(wanted) = negotiated(peer_ord).filter(|wanted| *wanted > ird) {
            return Err(Failure::InsufficientIrd { wanted, have: ird });
        }
    }
    let rtr = match rtr {
        None => None,
        Some(offered) => {
            // Without A the other bits mean nothing (section 9.2).
            let taken = data.filter(|data| data.peer_to_peer).map(|data| RtrSet::of(&data));
            let mut common = taken.unwrap_or_default().and(offered);
            common.read &= ord > 0;
            Some(common.pick().ok_or(Failure::NoRtr)?)
        }
    };
    Ok(Agreement {
        ird,
        ord,
        peer_depths,
        crc: terms.crc || reply.flags.crc,
        markers_tx: reply.flags.markers,
        markers_rx: terms.markers,
        rtr,
        private_data: private_data.to_vec(),
    })
}

/// A Request as a responder sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    flags: MpaFlags,
    revision: u8,
    data: Option<Enhanced>,
    private_data: Vec<u8>,
}

impl Request {
    /// Reads the frame.
    pub fn read(frame: &MpaFrame) -> Result<Self, Failure> {
        if frame.kind != MpaKind::Request {
            return Err(Failure::WrongKind(frame.kind));
        }
        if !(1..=2).contains(&frame.revision) {
            return Err(Failure::Revision(frame.revision));
        }
        let (data, private_data) = frame.enhanced()?;
        let private_data = private_data.to_vec();
        Ok(Self { flags: frame.flags, revision: frame.revision, data, private_data })
    }

    /// The private data of the peer's ULP.
    pub fn private_data(&self) -> &[u8] {
        &self.private_data
    }
    /// Reads that the initiator serves at once, if it says.
    pub fn ird(&self) -> Option<u16> {
        self.data.and_then(|data| negotiated(data.ird))
    }
    /// Reads that the initiator wants outstanding at once, if it says.
    pub fn ord(&self) -> Option<u16> {
        self.data.and_then(|data| negotiated(data.ord))
    }
    /// Kinds of RTR it can send; `None`: the initiator's application sends first.
    pub fn rtr(&self) -> Option<RtrSet> {
        self.data.filter(|data| data.peer_to_peer).map(|data| RtrSet::of(&data))
    }
    /// Whether the RTR will be a Send if a responder with these terms accepts, so that it needs a receive buffer for it.
    pub fn needs_send_rtr(&self, terms: &Terms) -> bool {
        self.rtr().is_some_and(|offered| self.taken(offered, terms).send)
    }

    /// The Reply of a responder that takes the connection, and what is agreed then.
    pub fn accept(&self, terms: &Terms) -> Result<(MpaFrame, Agreement), Failure> {
        if self.flags.markers && !terms.can_mark {
            return Err(Failure::Markers);
        }
        let crc = terms.crc || self.flags.crc;
        let ord = self.ird().map_or(terms.ord, |limit| terms.ord.min(limit));
        let reply = self.data.map(|data| {
            // A peer that leaves it to the ULP is answered in kind (section 9.1).
            let ird = negotiated(data.ord).map_or(DEPTH_UNNEGOTIATED, |_| terms.ird);
            let ord = negotiated(data.ird).map_or(DEPTH_UNNEGOTIATED, |_| ord);
            depths(ird, ord, self.rtr().map(|offered| self.taken(offered, terms)))
        });
        let flags = MpaFlags { markers: terms.markers, crc, ..MpaFlags::default() };
        let frame = frame(MpaKind::Reply, flags, self.revision, reply, &terms.private_data)?;
        let agreement = Agreement {
            ird: terms.ird,
            ord,
            peer_depths: self.data.map(|data| (data.ird, data.ord)),
            crc,
            markers_tx: self.flags.markers,
            markers_rx: terms.markers,
            rtr: None,
            private_data: self.private_data.clone(),
        };
        Ok((frame, agreement))
    }

    /// Kinds of RTR that the reply offers: of those asked for, without Send if there is another, for a Send takes a
    /// receive buffer; if none suits, one that would (section 9.2).
    fn taken(&self, offered: RtrSet, terms: &Terms) -> RtrSet {
        let easy = offered.and(RtrSet { send: false, write: true, read: terms.ird > 0 });
        if !easy.is_empty() {
            easy
        } else if offered.send {
            RtrSet { send: true, ..RtrSet::default() }
        } else {
            RtrSet { write: true, ..RtrSet::default() }
        }
    }

    /// The Reply of a responder that does not.
    pub fn reject(&self, private_data: &[u8]) -> Result<MpaFrame, Failure> {
        let flags = MpaFlags { crc: self.flags.crc, reject: true, ..MpaFlags::default() };
        let data = self.data.map(|_| depths(0, 0, None));
        frame(MpaKind::Reply, flags, self.revision, data, private_data)
    }
}

/// A depth, unless it says that it is not negotiated.
fn negotiated(depth: u16) -> Option<u16> {
    (depth != DEPTH_UNNEGOTIATED).then_some(depth)
}

fn depths(ird: u16, ord: u16, rtr: Option<RtrSet>) -> Enhanced {
    let set = rtr.unwrap_or_default();
    Enhanced {
        ird,
        ord,
        peer_to_peer: rtr.is_some(),
        rtr_send: set.send,
        rtr_write: set.write,
        rtr_read: set.read,
    }
}

fn frame(
    kind: MpaKind,
    flags: MpaFlags,
    revision: u8,
    data: Option<Enhanced>,
    private_data: &[u8],
) -> Result<MpaFrame, Failure> {
    let mut bytes = data.map_or_else(Vec::new, |data| data.to_bytes().to_vec());
    let max = MAX_PRIVATE_DATA - bytes.len();
    if private_data.len() > max {
        return Err(Failure::PrivateData { len: private_data.len(), max });
    }
    bytes.extend(private_data);
    let flags = MpaFlags { enhanced: data.is_some(), ..flags };
    Ok(MpaFrame { kind, flags, reserved: 0, revision, private_data: bytes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn terms(ird: u16, ord: u16) -> Terms {
        Terms { ird, ord, crc: true, markers: false, can_mark: true, private_data: vec![] }
    }

    /// A frame of siw: kind, flags, revision, private data in hex, as in the decodes of the captures.
    fn siw(kind: MpaKind, flags: u8, revision: u8, hex: &str) -> MpaFrame {
        let data: Vec<u8> =
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        let key: &[u8] = if kind == MpaKind::Request { b"MPA ID Req Frame" } else { b"MPA ID Rep Frame" };
        let mut bytes = key.to_vec();
        bytes.extend([flags, revision, 0, data.len() as u8]);
        bytes.extend(data);
        MpaFrame::parse(&bytes).unwrap().unwrap().0
    }

    #[test]
    fn replies_of_siw() {
        let conclude = |terms: &Terms, revision, rtr, flags, rev, hex| {
            conclude(terms, revision, rtr, &siw(MpaKind::Reply, flags, rev, hex))
        };
        let two = Revision::Two;
        // rping-stock: the responder alone has no C, we do.
        let plain = conclude(&terms(4, 4), two, None, 0x10, 2, "00010001").unwrap();
        assert_eq!((plain.ird, plain.ord, plain.crc, plain.rtr), (4, 1, true, None));
        // ird-ord-3-2-stock: IRD 16, ORD 2 with 16 bytes of private data.
        let hex = "0010000200007f0b1b11d000bea5aa0000100000";
        let data = conclude(&terms(2, 3), two, None, 0x10, 2, hex).unwrap();
        assert_eq!((data.ird, data.ord, data.private_data.len()), (2, 3, 16));
        assert_eq!(data.peer_depths, Some((16, 2)));
        // rping-mpa1-nocrc.
        let old = conclude(&Terms { crc: false, ..terms(5, 6) }, Revision::One, None, 0, 1, "").unwrap();
        assert_eq!((old.ird, old.ord, old.crc, old.peer_depths), (5, 6, false, None));
        // rping-rtr-write-crc, and the Read of the README.
        let rtr = |hex| conclude(&terms(1, 1), two, Some(RtrSet::ALL), 0x50, 2, hex).unwrap().rtr;
        assert_eq!((rtr("80018001"), rtr("80014001")), (Some(Rtr::Write), Some(Rtr::Read)));
        // reject-crc-strict-server, reject-by-app-stock.
        let strict = conclude(&terms(1, 1), two, None, 0x30, 2, "00000000");
        assert_eq!(strict, Err(Failure::Rejected { private_data: vec![], depths: Some((0, 0)) }));
        let app = conclude(&terms(1, 1), two, None, 0x30, 2, "000400046977742d72656a6563742d726561736f6e");
        let Err(Failure::Rejected { private_data, .. }) = app else { panic!("{app:?}") };
        assert_eq!(private_data, b"iwt-reject-reason");
    }

    #[test]
    fn requests_of_siw() {
        let read = |flags, rev, hex| Request::read(&siw(MpaKind::Request, flags, rev, hex)).unwrap();
        // rping-stock, ird-ord-3-2-stock: initiator IRD 2, ORD 3.
        let stock = read(0x10, 2, "0002000300007f274474d000f717e70000100000");
        assert_eq!((stock.ird(), stock.ord(), stock.rtr()), (Some(2), Some(3), None));
        assert_eq!(stock.private_data().len(), 16);
        let (reply, agreed) = stock.accept(&terms(16, 16)).unwrap();
        assert_eq!((reply.private_data, agreed.ord, agreed.ird), (vec![0, 16, 0, 2], 2, 16));
        assert!(reply.flags.crc && reply.flags.enhanced && agreed.crc);
        // GSO bit: reserved, ignored.
        assert!(read(0x18, 2, "00010001").accept(&terms(1, 1)).is_ok());
        // rping-mpa1-nocrc: answered in kind.
        let (reply, agreed) = read(0, 1, "").accept(&Terms { crc: false, ..terms(7, 7) }).unwrap();
        assert_eq!((reply.revision, reply.flags, reply.private_data.len()), (1, MpaFlags::default(), 0));
        assert_eq!((agreed.ird, agreed.ord, agreed.crc), (7, 7, false));
        // rping-rtr-write-crc.
        let (reply, _) = read(0x50, 2, "80018001").accept(&terms(1, 1)).unwrap();
        assert_eq!(reply.private_data, [0x80, 1, 0x80, 1]);
    }

    #[test]
    fn depths_left_to_the_ulp_stay() {
        let request = request(&terms(DEPTH_UNNEGOTIATED, DEPTH_UNNEGOTIATED), Revision::Two, None).unwrap();
        let request = Request::read(&request).unwrap();
        assert_eq!((request.ird(), request.ord()), (None, None));
        let (reply, agreed) = request.accept(&terms(3, 4)).unwrap();
        assert_eq!((agreed.ird, agreed.ord), (3, 4));
        assert_eq!(reply.private_data, [0x3f, 0xff, 0x3f, 0xff]);
        let agreed = conclude(&terms(5, 6), Revision::Two, None, &reply).unwrap();
        assert_eq!((agreed.ird, agreed.ord), (5, 6));
    }

    #[test]
    fn failures_name_their_terminate() {
        let reply = |hex| siw(MpaKind::Reply, 0x10, 2, hex);
        let two = Revision::Two;
        let ird = conclude(&terms(1, 1), two, None, &reply("00010002")).unwrap_err();
        assert_eq!(ird.terminate(), Some(TerminateError::MpaInsufficientIrd));
        // A kind that was not asked for; and none, as siw answers without A.
        let write = Some(RtrSet { write: true, ..RtrSet::default() });
        for hex in ["80014001", "00018001", "80010001"] {
            let rtr = conclude(&terms(1, 1), two, write, &reply(hex)).unwrap_err();
            assert_eq!(rtr.terminate(), Some(TerminateError::MpaNoMatchingRtr));
        }
        let unmarked = Terms { can_mark: false, ..terms(1, 1) };
        let markers = conclude(&unmarked, two, None, &siw(MpaKind::Reply, 0x90, 2, "00010001"));
        assert_eq!(markers, Err(Failure::Markers));
        let wrong = siw(MpaKind::Request, 0x10, 2, "00010001");
        assert_eq!(conclude(&terms(1, 1), two, None, &wrong), Err(Failure::WrongKind(MpaKind::Request)));
        for revision in [0, 3, 255] {
            let odd = MpaFrame { revision, ..wrong.clone() };
            assert_eq!(Request::read(&odd), Err(Failure::Revision(revision)));
        }
        let newer = conclude(&terms(1, 1), Revision::One, None, &reply("00010001"));
        assert_eq!(newer, Err(Failure::Revision(2)));
        let old = conclude(&terms(1, 1), two, None, &siw(MpaKind::Reply, 0, 1, "")).unwrap();
        assert_eq!((old.ird, old.ord), (1, 1), "an unenhanced answer negotiates nothing");
        assert_eq!(request(&terms(1, 1), Revision::One, write), Err(Failure::RtrNeedsRevisionTwo));
        let long = Terms { private_data: vec![0; 509], ..terms(1, 1) };
        assert_eq!(request(&long, two, None), Err(Failure::PrivateData { len: 509, max: 508 }));
        assert!(request(&long, Revision::One, None).is_ok());
        let cut = MpaFrame { private_data: vec![1, 2, 3], ..wrong };
        assert_eq!(Request::read(&cut), Err(Failure::Frame(MpaError::EnhancedTooShort(3))));
    }

    fn rtr_set(bits: u8) -> Option<RtrSet> {
        (bits & 7 != 0).then_some(RtrSet { send: bits & 1 != 0, write: bits & 2 != 0, read: bits & 4 != 0 })
    }

    /// Every combination of what two of us can want: both ends come to the same.
    #[test]
    fn both_ends_agree() {
        let depth = [0, 1, 5, DEPTH_UNNEGOTIATED];
        for bits in 0u32..1 << 16 {
            let bit = |n: u32| bits >> n & 1 != 0;
            let pick = |n: u32| depth[(bits >> n & 3) as usize];
            let (revision, rtr) =
                if bit(0) { (Revision::Two, rtr_set((bits >> 1) as u8 & 7)) } else { (Revision::One, None) };
            let ours = Terms { crc: bit(4), markers: bit(5), can_mark: bit(6), ..terms(pick(8), pick(10)) };
            let theirs = Terms {
                crc: bit(7),
                markers: bit(12),
                can_mark: bit(13),
                ..terms(pick(14) % 0x3fff, pick(10) % 0x3fff)
            };
            let request = request(&ours, revision, rtr).unwrap();
            let seen = Request::read(&request).unwrap();
            let Ok((reply, b)) = seen.accept(&theirs) else {
                assert!(ours.markers && !theirs.can_mark);
                assert!(seen.reject(b"no").unwrap().flags.reject);
                continue;
            };
            assert_eq!((reply.revision, reply.flags.enhanced), (request.revision, request.flags.enhanced));
            let offered = reply.enhanced().unwrap().0.unwrap_or_default();
            assert_eq!(offered.peer_to_peer, rtr.is_some(), "A is echoed");
            assert_eq!(!RtrSet::of(&offered).is_empty(), rtr.is_some());
            match conclude(&ours, revision, rtr, &reply) {
                Ok(a) => {
                    assert_eq!((a.crc, a.markers_tx, a.markers_rx), (b.crc, b.markers_rx, b.markers_tx));
                    assert_eq!(a.crc, ours.crc || theirs.crc);
                    let fits = |ord, ird, negotiated: bool| !negotiated || ord <= ird;
                    let two = revision == Revision::Two;
                    assert!(fits(a.ord, b.ird, two && ours.ord != DEPTH_UNNEGOTIATED));
                    assert!(fits(b.ord, a.ird, two && ours.ird != DEPTH_UNNEGOTIATED));
                    assert_eq!(a.rtr.is_some(), rtr.is_some());
                    let kinds = RtrSet::of(&offered).and(rtr.unwrap_or_default());
                    match a.rtr {
                        Some(Rtr::Write) => assert!(kinds.write),
                        Some(Rtr::Read) => assert!(kinds.read && a.ord > 0),
                        Some(Rtr::Send) => assert!(kinds.send && seen.needs_send_rtr(&theirs)),
                        None => {}
                    }
                }
                Err(Failure::Markers) => assert!(theirs.markers && !ours.can_mark),
                // Only a Read would do, and there is no depth for one.
                Err(Failure::NoRtr) => assert!(!rtr.unwrap().write && (theirs.ird == 0 || ours.ord == 0)),
                Err(other) => panic!("{other}"),
            }
        }
    }

    proptest! {
        #[test]
        fn any_frame(bytes in prop::collection::vec(any::<u8>(), 0..40), reply: bool, bits: u8) {
            let key: &[u8] = if reply { b"MPA ID Rep Frame" } else { b"MPA ID Req Frame" };
            let mut frame = key.to_vec();
            frame.extend(&bytes);
            if frame.len() > 20 { frame[18] = 0; frame[19] %= 16; frame[17] %= 4; }
            if let Ok(Some((frame, _))) = MpaFrame::parse(&frame) {
                let _ = conclude(&terms(1, 1), Revision::Two, rtr_set(bits), &frame);
                if let Ok(request) = Request::read(&frame) {
                    let _ = request.accept(&terms(1, 0));
                    prop_assert!(request.reject(&[]).is_ok());
                }
            }
        }
    }
}
