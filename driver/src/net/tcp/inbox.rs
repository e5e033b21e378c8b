//! What has come: the first bytes of the stream in order, and the frames whose bytes are not acknowledged yet.
//!
//! Only what the owner has asked for is acknowledged. The frames with anything behind stay here, to be fed to the device
//! when it takes the connection over; what finds no room comes again, because nobody has acknowledged it.

use ironwarp_proto::seq::Seq;

/// In-order bytes shown to the owner: an MPA frame has at most 532.
const SHOWN_MAX: usize = 1024;
/// Frames kept.
const KEPT_MAX: usize = 96;
/// The largest window that software offers while it has the connection, bytes; it needs no scaling.
pub const WINDOW: u32 = 0xffff;

#[derive(Debug)]
struct Kept {
    seq: Seq,
    /// Behind the last byte, FIN not counted.
    data_end: Seq,
    fin: bool,
    frame: Vec<u8>,
    payload_at: usize,
}

impl Kept {
    fn end(&self) -> Seq {
        self.data_end + u32::from(self.fin)
    }
}

/// A segment's place in the stream and in its frame.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// Sequence number of the first byte.
    pub seq: Seq,
    /// The bytes.
    pub payload: &'a [u8],
    /// FIN follows them.
    pub fin: bool,
    /// The frame they came in.
    pub frame: &'a [u8],
    /// Where in it they begin.
    pub payload_at: usize,
}

impl Arrival<'_> {
    /// Sequence numbers used.
    pub fn len(&self) -> u32 {
        self.payload.len() as u32 + u32::from(self.fin)
    }
    fn end(&self) -> Seq {
        self.seq + self.len()
    }
}

/// The receiving half of a connection.
#[derive(Debug)]
pub struct Inbox {
    /// Sequence number of the first byte shown.
    start: Seq,
    shown: Vec<u8>,
    /// Everything before is acknowledged: RCV.NXT.
    nxt: Seq,
    /// Right edge of the window offered; it never moves left.
    adv: Seq,
    shift: u8,
    /// The window offered, bytes.
    window: u32,
    /// In order of their sequence numbers.
    kept: Vec<Kept>,
    fin: bool,
}

impl Inbox {
    /// Empty; the peer's SYN had this sequence number. The window of a SYN is not scaled. No more than `window` bytes are offered.
    pub fn new(irs: Seq, shift: u8, window: u32) -> Self {
        let window = window.min(WINDOW);
        let start = irs + 1;
        Self {
            start,
            shown: Vec::new(),
            nxt: start,
            adv: start + window,
            shift,
            window,
            kept: Vec::new(),
            fin: false,
        }
    }

    /// RCV.NXT.
    pub fn nxt(&self) -> Seq {
        self.nxt
    }
    /// The window offered at first, as the field of a SYN has it.
    pub fn first_window(&self) -> u16 {
        self.window as u16
    }
    /// Right edge of the window offered.
    pub fn adv(&self) -> Seq {
        self.adv
    }
    /// The first bytes of the stream, acknowledged or not.
    pub fn shown(&self) -> &[u8] {
        &self.shown
    }
    /// The peer's FIN has come and nothing is missing before it.
    pub fn finished(&self) -> bool {
        self.fin
    }

    /// The window field of a segment sent now. Rounded up, for the edge must not move left (RFC 7323 section 2.4).
    pub fn window_field(&mut self) -> u16 {
        let edge = (self.nxt + self.window).max(self.adv);
        let field = (edge.diff(self.nxt).max(0) as u32).div_ceil(1 << self.shift).min(0xffff);
        self.adv = self.adv.max(self.nxt + (field << self.shift));
        field as u16
    }

    /// Whether any of `len` sequence numbers from `seq` is in the window (RFC 9293 section 3.10.7.4).
    pub fn acceptable(&self, seq: Seq, len: u32) -> bool {
        if len == 0 {
            let inside = !seq.before(self.nxt) && seq.before(self.adv);
            return inside || seq == self.nxt;
        }
        seq.before(self.adv) && (seq + len).after(self.nxt)
    }

    /// Keeps a segment that is acceptable and not empty. Says whether it leaves a gap.
    pub fn keep(&mut self, segment: Arrival<'_>) -> bool {
        let covers = |kept: &Kept| !kept.seq.after(segment.seq) && !kept.end().before(segment.end());
        if !self.kept.iter().any(covers) {
            let at = self.kept.partition_point(|kept| !kept.seq.after(segment.seq));
            let new = Kept {
                seq: segment.seq,
                data_end: segment.seq + segment.payload.len() as u32,
                fin: segment.fin,
                frame: segment.frame.to_vec(),
                payload_at: segment.payload_at,
            };
            self.kept.insert(at, new);
            // The last ones are missed least: they come again.
            self.kept.truncate(KEPT_MAX);
            self.extend();
        }
        segment.seq.after(self.shown_end()) && self.shown.len() < SHOWN_MAX
    }

    /// Takes a segment after our own close, when nobody wants its bytes any more.
    pub fn discard(&mut self, segment: Arrival<'_>) {
        if !segment.seq.after(self.nxt) && segment.end().after(self.nxt) {
            self.nxt = segment.end();
            self.fin |= segment.fin;
        }
    }

    /// Nobody wants the bytes any more: all that came in order is acknowledged.
    pub fn close(&mut self) {
        self.nxt = self.nxt.max(self.shown_end() + u32::from(self.fin));
        self.kept.clear();
    }

    /// The first `count` bytes shown may be acknowledged. Says whether that is news.
    pub fn acknowledge(&mut self, count: usize) -> bool {
        let to = self.start + count.min(self.shown.len()) as u32;
        let news = to.after(self.nxt);
        if news {
            self.nxt = to;
            self.kept.retain(|kept| kept.end().after(to));
        }
        news
    }

    /// The frames with bytes that are not acknowledged, in order.
    pub fn into_frames(self) -> Vec<Vec<u8>> {
        self.kept.into_iter().map(|kept| kept.frame).collect()
    }

    fn shown_end(&self) -> Seq {
        self.start + self.shown.len() as u32
    }

    /// Shows what has become contiguous.
    fn extend(&mut self) {
        for kept in &self.kept {
            let end = self.start + self.shown.len() as u32;
            let skip = end.diff(kept.seq);
            if skip < 0 || self.shown.len() >= SHOWN_MAX {
                break;
            }
            let payload = kept.payload_at..kept.payload_at + kept.data_end.diff(kept.seq) as usize;
            let bytes = kept.frame.get(payload).unwrap_or_default();
            let room = SHOWN_MAX - self.shown.len();
            self.shown.extend(bytes.iter().skip(skip as usize).take(room));
            self.fin |= kept.fin && self.start + self.shown.len() as u32 == kept.data_end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn arrival(stream: &[u8], irs: Seq, from: usize, to: usize) -> Arrival<'_> {
        let payload = &stream[from..to];
        Arrival {
            seq: irs + 1 + from as u32,
            payload,
            fin: to == stream.len(),
            frame: payload,
            payload_at: 0,
        }
    }

    proptest! {
        #[test]
        fn any_order_any_overlap(
            irs: u32, len in 1usize..600, cuts in prop::collection::vec((0usize..600, 1usize..200), 0..40),
        ) {
            let stream: Vec<u8> = (0..len).map(|n| n as u8).collect();
            let irs = Seq(irs);
            let mut inbox = Inbox::new(irs, 3, WINDOW);
            let mut have = vec![false; len];
            for (from, size) in cuts.into_iter().chain((0..len).step_by(50).map(|at| (at, 50))) {
                let (from, to) = (from.min(len - 1), (from + size).min(len));
                if to > from {
                    inbox.keep(arrival(&stream, irs, from, to));
                    have[from..to].fill(true);
                }
                let prefix = have.iter().take_while(|have| **have).count();
                prop_assert_eq!(inbox.shown(), &stream[..prefix]);
                prop_assert_eq!(inbox.finished(), prefix == len);
                prop_assert_eq!(inbox.nxt(), irs + 1, "nothing is acknowledged unless asked for");
            }
            let half = len / 2;
            inbox.acknowledge(half);
            let first_kept = inbox.kept.first().unwrap();
            prop_assert!(first_kept.end().after(inbox.nxt()));
            prop_assert!(!inbox.into_frames().is_empty());
        }

        #[test]
        fn bounded_and_calm(segments in prop::collection::vec((any::<u32>(), any::<u8>(), any::<bool>()), 0..500)) {
            let mut inbox = Inbox::new(Seq(5), 14, WINDOW);
            let payload = [7; 256];
            for (seq, len, fin) in segments {
                let payload = &payload[..usize::from(len)];
                let segment = Arrival { seq: Seq(seq % 100_000), payload, fin, frame: payload, payload_at: 0 };
                if segment.len() > 0 && inbox.acceptable(segment.seq, segment.len()) {
                    inbox.keep(segment);
                }
                let before = inbox.adv();
                inbox.window_field();
                prop_assert!(!inbox.adv().before(before));
            }
            prop_assert!(inbox.kept.len() <= KEPT_MAX && inbox.shown().len() <= SHOWN_MAX);
        }
    }

    #[test]
    fn a_full_inbox_prefers_what_comes_first() {
        let stream = [1; 1000];
        let mut inbox = Inbox::new(Seq(0), 0, WINDOW);
        for at in 1..=KEPT_MAX {
            assert!(inbox.keep(arrival(&stream, Seq(0), 4 * at, 4 * at + 4)));
        }
        assert!(!inbox.keep(arrival(&stream, Seq(0), 0, 4)));
        assert_eq!(inbox.shown().len(), 4 * KEPT_MAX);
    }
}
