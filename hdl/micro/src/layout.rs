//! Where everything stands: global words, context words, table memory; and the sizes of a device.

use crate::isa::Word;
use ironwarp_proto::abi::doorbell::Pages;
use ironwarp_proto::abi::regs::features;

/// Build-time sizes and features of a device: everything that differs between `small` and `full`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// log2 of the QPs.
    pub log2_qps: u8,
    /// log2 of the region entries.
    pub log2_regions: u8,
    /// log2 of the CQs.
    pub log2_cqs: u8,
    /// log2 of the SRQs.
    pub log2_srqs: u8,
    /// Largest IRD.
    pub ird: u8,
    /// Largest ORD.
    pub ord: u8,
    /// log2 of the FPDUs a QP may have unacknowledged (journal entries of 4 words), at least 2.
    pub log2_journal: u8,
    /// log2 of the send entries a QP may have started and not completed (2 words each).
    pub log2_works: u8,
    /// log2 of the Read Request queue: at least twice the IRD, since an entry is kept until its response is acknowledged
    /// (8 words each).
    pub log2_irrq: u8,
    /// log2 of the expected responses: at least the ORD (8 words each).
    pub log2_expected: u8,
    /// log2 of the words of the receive ring.
    pub log2_rx_ring: u8,
    /// log2 of the words of the transmit ring.
    pub log2_tx_ring: u8,
    /// Largest MSS that connections should offer, bytes; 0: any.
    pub mss: u16,
    /// Largest receive window that they should offer, bytes; 0: any. The receive ring holds so much, and besides a frame that has
    /// been acknowledged and is not written yet, and a few ACKs.
    pub window: u16,
    /// `FEATURES` register; the program leaves out what is not there.
    pub features: u32,
    /// There is prediction (docs/microarchitecture.md section 9).
    pub predicts: bool,
    /// Core clock, kHz.
    pub clock_khz: u32,
}

impl Sizes {
    /// 64 QPs, 256 regions, everything on.
    pub const FULL: Sizes = Sizes {
        log2_qps: 6,
        log2_regions: 8,
        log2_cqs: 7,
        log2_srqs: 4,
        ird: 16,
        ord: 16,
        log2_journal: 6,
        log2_works: 6,
        log2_irrq: 5,
        log2_expected: 4,
        log2_rx_ring: 13,
        log2_tx_ring: 13,
        mss: 0,
        window: 0,
        features: 0x3f,
        predicts: true,
        clock_khz: 62_500,
    };
    /// For the smallest target: 4 QPs, 16 regions, no stream mode, no SRQs; T has 1,024 words.
    pub const SMALL: Sizes = Sizes {
        log2_qps: 2,
        log2_regions: 4,
        log2_cqs: 3,
        log2_srqs: 0,
        ird: 2,
        ord: 2,
        log2_journal: 2,
        log2_works: 3,
        log2_irrq: 2,
        log2_expected: 1,
        log2_rx_ring: 9,
        log2_tx_ring: 9,
        mss: 512,
        window: 1024,
        features: 0x27,
        predicts: false,
        clock_khz: 31_250,
    };

    /// Where the doorbells are.
    pub const fn pages(&self) -> Pages {
        let (qps, cqs, srqs) = (1 << self.log2_qps, 1 << self.log2_cqs, 1 << self.log2_srqs);
        Pages { first: 0x1000, log2_size: 12, qps, cqs, srqs }
    }
    /// Whether a bit of `FEATURES` is set.
    pub const fn has(&self, feature: u32) -> bool {
        self.features & feature != 0
    }
    /// T address of the lookup hash: QP + 1 of the first connection of the bucket, or 0.
    pub const fn hash(&self) -> u16 {
        t::END as u16
    }
    /// log2 of its buckets. The hash of a descriptor has 8 bits.
    pub const fn log2_buckets(&self) -> u8 {
        if self.log2_qps < 6 { self.log2_qps } else { 8 }
    }
    /// T address of the region table: 8 words each.
    pub const fn regions(&self) -> u16 {
        self.hash() + (1 << self.log2_buckets())
    }
    /// T address of the CQs: 8 words each (4 as written, 4 of state).
    pub const fn cqs(&self) -> u16 {
        self.regions() + (8 << self.log2_regions)
    }
    /// T address of the SRQs: 16 words each (8 as written, 8 of state).
    pub const fn srqs(&self) -> u16 {
        self.cqs() + (8 << self.log2_cqs)
    }
    /// T address of the ready queue: one word a QP.
    pub const fn ready(&self) -> u16 {
        self.srqs() + if self.has(features::SRQ) { 16 << self.log2_srqs } else { 0 }
    }
    /// T address of the QP areas.
    pub const fn qps(&self) -> u16 {
        self.ready() + (1 << self.log2_qps)
    }
    /// Offset of the journal in a QP area (the fixed part is before it): 4 words an FPDU, by its index modulo their number.
    /// With the send entry (refetched from its slot, which software does not reuse before the completion) or the Read Request
    /// queue entry it says how to build the FPDU again. The FPDU ends where the next one begins, or at END.
    ///
    /// | word | content |
    /// |---|---|
    /// | 0 | sequence number of its first byte, a marker in front included |
    /// | 1 | payload bytes 15:0, send entry index or Read Request queue index 31:16 |
    /// | 2 | offset in the message; of a run: its FPDUs 7:0, its works 15:8 |
    /// | 3 | RDMAP opcode 3:0, or 12: a run of inline Writes of consecutive entries, the same length each, and the last of their works; bit 4 last of the message, bit 5 the last completes the work, bit 6 the last frees the Read Request queue entry, bit 7 Immediate Data follows the message; MSN 15:8, work 23:16, Request Identifier 31:24 (low 8 bits of each; Write and Sends: bit 24 inline; they and Read Responses: bit 25 its address is in `places`, for this turn) |
    pub const fn journal(&self) -> u16 {
        (q::RUNS + if self.has(features::STREAM) { q::RUN_WORDS } else { 0 }) as u16
    }
    /// Offset of the works in a QP area: 2 words a send entry that was started and is not complete, by its number modulo
    /// how many there are.
    ///
    /// | word | content |
    /// |---|---|
    /// | 0 | index 15:0 (a run of entries that nobody wants to know of is one work: its last index), verb 20:16, bit 21 two slots, bit 22 signalled, bit 23 done, status 31:24 |
    /// | 1 | length |
    pub const fn works(&self) -> u16 {
        self.journal() + (4 << self.log2_journal)
    }
    /// Offset of the Read Request queue in a QP area: what the peer asked for, 8 words each, numbers in host order.
    /// The receive part fills and moves "next free", the transmit part the other two indices. Answered and not acknowledged are at most half
    /// of the entries: the IRD check alone keeps it from overflowing. The MSN of entry i is MSN1 - (next free - i).
    ///
    /// | word | Read (word 0 = 0) | atomic (word 0 = 1) |
    /// |---|---|---|
    /// | 1 | sink STag | Request Identifier |
    /// | 2, 3 | sink TO, low first | original value, low first |
    /// | 4 | size | - |
    /// | 5 | source STag | - |
    /// | 6, 7 | source TO, low first | - |
    pub const fn irrq(&self) -> u16 {
        self.works() + (2 << self.log2_works)
    }
    /// Offset of the expected responses in a QP area: own Reads and atomics, 8 words each. The transmit part fills and moves
    /// "next free", the receive part "oldest", and words 2..4 as bytes come.
    ///
    /// | word | content |
    /// |---|---|
    /// | 0 | bit 0 atomic (else Read), bit 1 invalidate the sink's STag afterwards, work 15:8 |
    /// | 1 | sink STag (lkey) |
    /// | 2, 3 | TO of the next byte (atomic: of the result), low first |
    /// | 4 | bytes to come (atomic: 8) |
    /// | 5 | Request Identifier (atomic) |
    pub const fn expected(&self) -> u16 {
        self.irrq() + (8 << self.log2_irrq)
    }
    /// Words of a QP area.
    pub const fn qp_area(&self) -> u16 {
        self.expected() + (8 << self.log2_expected)
    }
    /// Send entries that are read at once at most: half of those that are kept, since a second slot may follow.
    pub const fn batch(&self) -> u8 {
        if self.log2_journal < 3 { 1 << (self.log2_journal - 1) } else { 4 }
    }
    /// Words of a reply of the small reader at most.
    pub const fn reply(&self) -> u8 {
        16 * self.batch()
    }
    /// T address of the send entries that were read last, 16 words a slot, as many slots as the journal has entries.
    pub const fn entries(&self) -> u16 {
        self.qps() + (self.qp_area() << self.log2_qps)
    }
    /// T address of the host addresses of FPDUs that were cut in this turn, 2 words each, by journal index: they need no second look.
    pub const fn places(&self) -> u16 {
        self.entries() + (16 << self.log2_journal)
    }
    /// Words of T.
    pub const fn table(&self) -> usize {
        self.places() as usize + (2 << self.log2_journal)
    }
}

/// Global words: who may use them.
///
/// * 0..10: links. `T0..T15`: scratch of any routine. `A0..A5`: arguments. `R0..R2`: results. All of them may be changed by any call,
///   except where a routine promises less.
/// * `E0..E7`: the completion for `cq_complete`.
/// * `RX0..RX8`: the frame being received; they live from `rx_frame` to `rx_finish`, across walker packets. `RX0..RX3` belong to
///   TCP, `RX4..RX8` to the RDMA receive part.
/// * `W0..W4`: the first five words of the FPDU being delivered.
/// * `TX0..TX7`: the frame being sent; they live within `transmit`: TX0..TX3 for `send` and `stream`, TX4..TX7 for `rdma_plan` and `rdma_build`.
pub mod g {
    use super::Word;
    macro_rules! words {
        ($($(#[$doc:meta])* $name:ident = $n:expr;)*) => {
            $($(#[$doc])* #[allow(missing_docs)] pub const $name: Word = Word::global($n);)*
            /// Names by address, for listings and traces.
            pub const NAMES: &[(&str, u8)] = &[$((stringify!($name), $n)),*];
        };
    }
    words! {
        T0 = 10; T1 = 11; T2 = 12; T3 = 13; T4 = 14; T5 = 15; T6 = 16; T7 = 17;
        T8 = 18; T9 = 19; T10 = 20; T11 = 21; T12 = 22; T13 = 23; T14 = 24; T15 = 25;
        A0 = 26; A1 = 27; A2 = 28; A3 = 29; A4 = 30; A5 = 31;
        R0 = 32; R1 = 33; R2 = 34;
        /// Number of the current QP.
        QPN = 35;
        /// T address of the current QP's area.
        TQ = 36;
        /// Always 0: base of the device words of T.
        ZERO = 37;
        /// The deadline in the ALARM port, while ALARM_SET is not 0.
        ALARM_AT = 38;
        ALARM_SET = 39;
        /// Ready queue: index of the first, number of QPs in it.
        READY_HEAD = 40;
        READY_COUNT = 41;
        E0 = 42; E1 = 43; E2 = 44; E3 = 45; E4 = 46; E5 = 47; E6 = 48; E7 = 49;
        /// Not 0 while a frame is being delivered: no other is taken.
        RX_BUSY = 50;
        /// QP of that frame.
        RX_QP = 51;
        /// D1: where it stands in the ring, what FREE takes in 31:16.
        RX_D1 = 52;
        RX0 = 53; RX1 = 54; RX2 = 55; RX3 = 56; RX4 = 57; RX5 = 58; RX6 = 59; RX7 = 60; RX8 = 61;
        W0 = 62; W1 = 63; W2 = 64; W3 = 65; W4 = 66;
        TX0 = 67; TX1 = 68; TX2 = 69; TX3 = 70; TX4 = 71; TX5 = 72; TX6 = 73; TX7 = 74;
        /// Host part: scratch of its own.
        H0 = 75; H1 = 76; H2 = 77; H3 = 78;
        /// Requests of the host that may still be served in this pass.
        H4 = 79;
        /// The region of the last Write that came: STag; TO of its first byte, low and high; its length, 0: not known (whoever changes a region
        /// makes it so); host address of its first byte, low and high; the QP.
        KNOWN_STAG = 105; KNOWN_BASE = 106; KNOWN_BASE_HIGH = 107; KNOWN_LENGTH = 108; KNOWN_HOST = 109; KNOWN_HOST_HIGH = 110;
        KNOWN_QP = 111;
    }
    /// Constants of the assembler: from here to [`CONSTANTS_END`].
    pub const CONSTANTS: u8 = 80;
    /// First word behind the constants.
    pub const CONSTANTS_END: u8 = 105;
}

/// Ports.
#[allow(missing_docs, reason = "docs/microarchitecture.md section 1 has the table")]
pub mod port {
    use super::Word;
    pub const COND: Word = Word(112);
    pub const RXD: Word = Word(113);
    pub const WRITER: Word = Word(113);
    pub const HOST: Word = Word(114);
    pub const HOSTR: Word = Word(114);
    pub const DMA: Word = Word(115);
    pub const DMAC: Word = Word(115);
    pub const WALK: Word = Word(116);
    pub const WALKC: Word = Word(116);
    pub const WALK_FIRST: Word = Word(117);
    pub const TX: Word = Word(117);
    pub const DRAIN: Word = Word(118);
    pub const ALARM: Word = Word(118);
    pub const NOW: Word = Word(119);
    pub const ALARM_OFF: Word = Word(119);
    pub const TXERR: Word = Word(120);
    pub const MAC0: Word = Word(120);
    pub const WERR: Word = Word(121);
    pub const MAC1: Word = Word(121);
    pub const TXDRAIN: Word = Word(122);
    pub const PREDICTED: Word = Word(123);
    pub const EXPECT_SEND: Word = Word(123);
    pub const EXPECT_RECEIVE: Word = Word(124);
    pub const ALREADY: Word = Word(125);
    /// Bits of PREDICTED.
    #[allow(missing_docs)]
    pub mod predicted {
        pub const SENT: u8 = 0;
        pub const PLACED: u8 = 1;
        pub const COMPLETED: u8 = 2;
        pub const SIGNALLED: u8 = 3;
        pub const IS_SEND: u8 = 4;
    }
    /// What ALREADY is set to.
    #[allow(missing_docs)]
    pub mod already {
        pub const NOTHING: u8 = 0;
        pub const WRITTEN: u8 = 1;
        pub const IF_COMPLETED: u8 = 2;
    }
    /// Bits of COND.
    #[allow(missing_docs)]
    pub mod cond {
        pub const RXD: u8 = 0;
        pub const HOST: u8 = 1;
        pub const WALK: u8 = 2;
        pub const ALARM: u8 = 3;
        pub const TX_ROOM: u8 = 4;
        pub const TXERR: u8 = 5;
        pub const WERR: u8 = 6;
        pub const DMA: u8 = 7;
        pub const TX_IDLE: u8 = 8;
        pub const INJECT_ROOM: u8 = 9;
    }
}

/// Context words of the current QP.
pub mod c {
    use super::Word;
    macro_rules! words {
        ($($(#[$doc:meta])* $name:ident = $n:expr;)*) => {
            $($(#[$doc])* #[allow(missing_docs)] pub const $name: Word = Word::context($n);)*
            /// Names by address, for listings and traces.
            pub const NAMES: &[(&str, u8)] = &[$((stringify!($name), $n)),*];
        };
    }
    words! {
        /// `QpState`: 0 inactive, 1 activated, 2 running, 3 error, 4 terminating, 5 quiesced.
        STATE = 0;
        /// Flags as in context word 0: see `fa`.
        FA = 1;
        /// Flags: see `fb`.
        FB = 2;
        /// Flags: see `fc`.
        FC = 3;
        /// Flags: see `fd`.
        FD = 4;
        RCV_NXT = 5; RCV_ADV = 6; RCV_WND = 7;
        SND_UNA = 8; SND_NXT = 9; SND_MAX = 10; SND_WND = 11; MAX_WND = 12; WL1 = 13; WL2 = 14;
        MSS = 15; CWND = 16; SSTHRESH = 17; ACKED = 18; RECOVER = 19; DUPLICATES = 20; THRESHOLD = 21;
        /// Highest byte retransmitted since the last loss, while fc::RESENT.
        RESENT = 22;
        FIN_AT = 23;
        /// Deadlines, each valid with its flag in fc.
        REXMIT_AT = 24; PERSIST_AT = 25; ACK_AT = 26;
        /// Segments 31:24 and bytes 23:0 received since the last ACK.
        UNACKED = 27;
        RTT_END = 28; RTT_AT = 29; SRTT = 30; RTTVAR = 31;
        /// RTO back-off 7:0, persist back-off 15:8, retries 23:16.
        BACKOFF = 32;
        LAST_SENT = 33;
        /// Receive queue: producer 31:16, consumer 15:0.
        RQ = 34;
        /// The receive entry in use, while fd::OPEN: index, bytes received, bytes of room.
        OPEN_INDEX = 35; OPEN_RECEIVED = 36; OPEN_ROOM = 37;
        /// MSN expected on queues 0, 1, 3.
        MSN0 = 38; MSN1 = 39; MSN3 = 40;
        /// Bytes of a partial FPDU in the staging buffer.
        STAGED = 41;
        /// Sequence number at which the marker grid of the receive direction begins.
        MARK_RX = 42;
        /// PD 31:16, QP number 15:0: who asks the region table.
        ASKER = 43;
        /// Read Request queue, free-running 8-bit indices: 7:0 oldest not acknowledged, 15:8 next to answer, 23:16 next free.
        IRRQ = 44;
        /// Expected responses, free-running 8-bit indices: 7:0 oldest, 15:8 next free.
        EXPECTED = 45;
        /// Send queue: producer 31:16, next to start 15:0.
        SQ = 46;
        /// First send entry not complete, 16 bits.
        SQ_DONE = 47;
        /// Works, free-running 8-bit indices: 7:0 oldest, 15:8 next free.
        WORKS = 48;
        /// Journal, free-running 8-bit indices: 7:0 oldest, 15:8 next free.
        JOURNAL = 49;
        /// Sequence number behind the journal.
        END = 50;
        /// Sequence number at which the marker grid of the send direction begins.
        MARK_TX = 51;
        /// The message being cut into FPDUs (0: none); the transmit part defines it.
        MSG = 52; MSG_OFFSET = 53; MSG_LENGTH = 54; MSG_REF = 55; MSG_MSN = 56;
        /// Next MSN to send on queues 0, 1, 3, and the next atomic Request Identifier.
        TXMSN0 = 57; TXMSN1 = 58; TXMSN3 = 59; REQUEST_ID = 60;
        MULPDU = 61;
        /// RECOVERY heuristic: ACK before the present one (RFC 6582 4.1).
        PREVIOUS_ACK = 62;
        /// Window scales: snd_wscale 7:0, rcv_wscale 15:8.
        WSCALE = 63;
    }
    /// Bits of FA: context word 0 bits 7:0 moved down by 1, bit 0 stream mode.
    #[allow(missing_docs, reason = "named after what they say")]
    pub mod fa {
        pub const STREAM: u8 = 0;
        pub const MARKERS_TX: u8 = 1;
        pub const MARKERS_RX: u8 = 2;
        pub const CRC: u8 = 3;
        pub const HOLD: u8 = 4;
        pub const ATOMICS: u8 = 5;
        pub const USE_SRQ: u8 = 6;
        /// A keep-alive probe is due (not from the context).
        pub const KEEP_PROBE: u8 = 7;
    }
    /// Bits of FB: the connection.
    #[allow(missing_docs, reason = "named after what they say")]
    pub mod fb {
        /// In the ready queue.
        pub const READY: u8 = 0;
        /// Nothing is sent any more.
        pub const DEAD: u8 = 1;
        pub const FIN_WANTED: u8 = 2;
        pub const PEER_CLOSED: u8 = 3;
        pub const FIN_RECEIVED: u8 = 4;
        pub const FIN_SENT: u8 = 5;
        pub const FIN_ACKED: u8 = 6;
        /// An ACK is due at once.
        pub const ACK_NOW: u8 = 7;
    }
    /// Bits of FC: TCP.
    #[allow(missing_docs, reason = "named after what they say")]
    pub mod fc {
        /// ACK_AT, REXMIT_AT, PERSIST_AT are armed.
        pub const ACK_DELAYED: u8 = 0;
        pub const REXMIT: u8 = 1;
        pub const PERSIST: u8 = 2;
        pub const RESEND_ONE: u8 = 3;
        pub const RESENT: u8 = 4;
        pub const PROBING: u8 = 5;
        pub const PROBE: u8 = 6;
        /// A segment is being timed (RTT_END, RTT_AT).
        pub const TIMED: u8 = 7;
    }
    /// Bits of FD: congestion and RDMA.
    #[allow(missing_docs, reason = "named after what they say")]
    pub mod fd {
        /// SRTT and RTTVAR hold a sample.
        pub const SAMPLED: u8 = 0;
        pub const RECOVERING: u8 = 1;
        /// The peer keeps nothing out of order.
        pub const GO_BACK: u8 = 2;
        /// RDMA phase is not Running.
        pub const STOPPED: u8 = 3;
        /// RDMA phase is Terminating.
        pub const TERMINATING: u8 = 4;
        pub const POISONED: u8 = 5;
        /// A receive entry is in use.
        pub const OPEN: u8 = 6;
        pub const PREFER_RESPONSE: u8 = 7;
        /// The next receive entry was read already: it stands where the open one does.
        pub const AHEAD: u8 = 8;
        /// The last entries started were whole inline Writes: runs of them may follow.
        pub const RUNS: u8 = 9;
    }
}

pub use c::{fa, fb, fc, fd};

/// Offsets in a QP area of T (from TQ).
pub mod q {
    /// The context as software wrote it: 19 words.
    pub const CONTEXT: u8 = 0;
    /// Frames diverted, 16 bits.
    pub const DIVERTED: u8 = 19;
    /// Cause of the error.
    pub const CAUSE: u8 = 20;
    /// Segments retransmitted.
    pub const RETRANSMITS: u8 = 21;
    /// Next QP + 1 in the hash bucket.
    pub const HASH_NEXT: u8 = 22;
    /// The connection's bucket.
    pub const HASH: u8 = 23;
    /// Remote IP, local IP, ports as in D3..D5.
    pub const TUPLE: u8 = 24;
    /// IPv4 identification.
    pub const IDENT: u8 = 27;
    /// What the QP lost: flags of the host part.
    pub const HOST: u8 = 28;
    /// The header template as software wrote it: 14 words.
    pub const TEMPLATE: u8 = 29;
    /// TCP: 9 words.
    pub const TCP: u8 = 43;
    /// RDMA receive: 16 words (the SGEs of the open receive entry first).
    pub const RDMA_RX: u8 = 52;
    /// RDMA transmit: 19 words, the Terminate that is sent. Nothing is received any more then.
    pub const RDMA_TX: u8 = RDMA_RX;
    /// Stream mode: the runs that are kept behind gaps. Not there without.
    pub const RUNS: u8 = RDMA_RX + 20;
    /// Words of them.
    pub const RUN_WORDS: u8 = 8;
}

/// Device words, from T 0 on: without gaps, since `small` has 1,024 words in all.
pub mod t {
    /// Counters, 32 words, numbered as `Counter`.
    pub const COUNTERS: u8 = 0;
    /// Registers, rings and state of the host part.
    pub const HOST: u8 = 32;
    /// TCP timing in units of 1024 ns: minimum RTO, maximum RTO (at least the minimum), delayed ACK,
    /// initial window (segments), retries, tick, 64 ticks. All at most 2^30.
    pub const TIMING: u8 = 96;
    /// Transmit part: whose send entries are at `Sizes::entries`.
    pub const OWNER: u8 = 103;
    /// Error record for `stop`: 14 words.
    pub const RECORD: u8 = 104;
    /// A send entry for the region routines: 16 words. Whoever writes a record has no entry in hand.
    pub const ENTRY: u8 = RECORD;
    /// Words of the FPDU being delivered behind W0..W4: 13 words.
    pub const FPDU: u8 = 120;
    /// Transmit part: scratch.
    pub const SAVED: u8 = 133;
    /// Bytes of payload of each of the last run of Writes; 0: not known.
    pub const RUN_LENGTH: u8 = 134;
    /// Where the rest of the message that is being cut may be read: whose it is (0: not known), host address of its first byte, low and high.
    pub const SOURCE: u8 = 135;
    /// Where the rest of the message that is being received goes: whose it is (0: not known), host address of offset 0 of a Send or of TO 0 of a
    /// Read Response, low and high.
    pub const SINK: u8 = 138;
    /// First word behind them.
    pub const END: u8 = 141;
}
