//! One direction of a captured TCP connection, put back in order.

use ironwarp_proto::seq::Seq;

/// Most bytes kept that lie behind a gap.
const MAX_WAITING_BYTES: usize = 4 << 20;
/// Most segments kept that lie behind a gap.
const MAX_WAITING: usize = 4096;
/// This many segments behind a gap that the receiver has acknowledged, and the capture has missed what is in it.
const ENOUGH_BEHIND_ACKED_GAP: usize = 16;
/// A segment further ahead than any window allows (RFC 7323: 2^30 bytes) belongs to something else.
const MAX_AHEAD: i32 = 1 << 30;

/// Which frame of the capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Number of the frame, the first is 1.
    pub frame: u64,
    /// Nanoseconds since the first frame.
    pub time: i64,
}

/// Bytes of the stream, next in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Sequence number of the first byte.
    pub seq: Seq,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// They begin where a segment begins.
    pub boundary: bool,
    /// Bytes in front of them are missing from the capture.
    pub gap: bool,
    /// The frame that made them available.
    pub stamp: Stamp,
}

/// A segment behind a gap.
#[derive(Debug)]
struct Waiting {
    seq: Seq,
    bytes: Vec<u8>,
    stamp: Stamp,
}

/// Puts the segments of one direction in order; bytes that come twice count the first time.
#[derive(Debug, Default)]
pub struct Follower {
    /// The next byte in order; `None` before the first segment.
    next: Option<Seq>,
    /// Segments behind a gap, in order of sequence numbers.
    waiting: Vec<Waiting>,
    waiting_bytes: usize,
    /// The highest acknowledgment of the other direction.
    acked: Option<Seq>,
}

impl Follower {
    /// A direction whose SYN was seen: `first` is the sequence number of its first byte.
    pub fn starting_at(first: Seq) -> Follower {
        Follower { next: Some(first), ..Follower::default() }
    }

    /// Takes a segment; returns what is now in order.
    pub fn push(&mut self, seq: Seq, payload: &[u8], stamp: Stamp) -> Vec<Piece> {
        let next = *self.next.get_or_insert(seq);
        let mut pieces = Vec::new();
        if payload.is_empty() || seq.diff(next) > MAX_AHEAD {
            return pieces;
        }
        if seq.after(next) {
            // The longer of two with the same start.
            let at = self.waiting.partition_point(|w| w.seq.before(seq));
            match self.waiting.get(at) {
                Some(same) if same.seq == seq && same.bytes.len() >= payload.len() => return pieces,
                Some(same) if same.seq == seq => self.waiting_bytes -= self.waiting.remove(at).bytes.len(),
                _ => {}
            }
            self.waiting_bytes += payload.len();
            self.waiting.insert(at, Waiting { seq, bytes: payload.to_vec(), stamp });
            if self.waiting.len() > MAX_WAITING || self.waiting_bytes > MAX_WAITING_BYTES {
                self.skip_gap(&mut pieces);
            }
        } else {
            self.deliver(seq, payload, stamp, &mut pieces);
            self.drain(Some(stamp), &mut pieces);
        }
        pieces
    }

    /// Takes an acknowledgment from the other direction. What it covers has arrived, so a gap it covers, with much
    /// behind it, will not be filled: the capture has missed a frame.
    pub fn acknowledge(&mut self, ack: Seq) -> Vec<Piece> {
        self.acked = Some(self.acked.map_or(ack, |acked| acked.max(ack)));
        let mut pieces = Vec::new();
        let beyond =
            self.waiting.first().zip(self.acked).is_some_and(|(first, acked)| !acked.before(first.seq));
        if beyond && self.waiting.len() >= ENOUGH_BEHIND_ACKED_GAP {
            self.skip_gap(&mut pieces);
        }
        pieces
    }

    /// At the end of the capture: what still waits, gap after gap.
    pub fn finish(&mut self) -> Vec<Piece> {
        let mut pieces = Vec::new();
        while !self.waiting.is_empty() {
            self.skip_gap(&mut pieces);
        }
        pieces
    }

    /// Gives up what is missing before the first waiting segment.
    fn skip_gap(&mut self, pieces: &mut Vec<Piece>) {
        let behind = pieces.len();
        if let Some(first) = self.waiting.first() {
            self.next = Some(first.seq);
            self.drain(None, pieces);
        }
        if let Some(piece) = pieces.get_mut(behind) {
            piece.gap = true;
        }
    }

    /// Moves waiting segments that are now in order; `now` is the frame that closed the gap.
    fn drain(&mut self, now: Option<Stamp>, pieces: &mut Vec<Piece>) {
        let in_order = |w: &Waiting, next: Option<Seq>| next.is_some_and(|next| !w.seq.after(next));
        let mut taken = 0;
        while let Some(index) = (taken < self.waiting.len()).then_some(taken) {
            if !in_order(&self.waiting[index], self.next) {
                break;
            }
            let segment = &mut self.waiting[index];
            let (seq, bytes) = (segment.seq, std::mem::take(&mut segment.bytes));
            let stamp = now.unwrap_or(segment.stamp);
            self.waiting_bytes -= bytes.len();
            self.deliver(seq, &bytes, stamp, pieces);
            taken += 1;
        }
        self.waiting.drain(..taken);
    }

    /// The part of a segment that is new.
    fn deliver(&mut self, seq: Seq, payload: &[u8], stamp: Stamp, pieces: &mut Vec<Piece>) {
        let next = self.next.unwrap_or(seq);
        let Some(new) = payload.get(next.diff(seq).unsigned_abs() as usize..).filter(|new| !new.is_empty())
        else {
            return;
        };
        self.next = Some(next + new.len() as u32);
        pieces.push(Piece { seq: next, bytes: new.to_vec(), boundary: next == seq, gap: false, stamp });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Stamp = Stamp { frame: 1, time: 0 };

    fn bytes_of(pieces: &[Piece]) -> Vec<u8> {
        pieces.iter().flat_map(|piece| piece.bytes.clone()).collect()
    }

    #[test]
    fn acknowledged_gaps_are_given_up() {
        let mut follower = Follower::starting_at(Seq(100));
        for at in 0..16 {
            assert_eq!(follower.acknowledge(Seq(500)), []);
            assert_eq!(follower.push(Seq(200 + at), &[at as u8], NOW), []);
        }
        let pieces = follower.acknowledge(Seq(100));
        assert_eq!(bytes_of(&pieces), (0..16).collect::<Vec<u8>>());
        assert!(pieces[0].gap && pieces[0].boundary && !pieces[1].gap);
    }

    #[test]
    fn memory_is_bounded() {
        let mut follower = Follower::starting_at(Seq(0));
        let mut delivered = 0;
        for at in 0..20_000u32 {
            delivered += follower.push(Seq(10 + at * 2000), &[0; 1000], NOW).len();
            assert!(follower.waiting.len() <= MAX_WAITING && follower.waiting_bytes <= MAX_WAITING_BYTES);
        }
        delivered += follower.finish().len();
        assert_eq!((delivered, follower.waiting_bytes), (20_000, 0));
    }

    proptest! {
        #[test]
        fn any_order_any_overlap(
            stream in prop::collection::vec(any::<u8>(), 1..400),
            cuts in prop::collection::vec((any::<prop::sample::Index>(), 1usize..60), 0..40),
            start: u32,
        ) {
            let mut follower = Follower::starting_at(Seq(start));
            let mut got = Vec::new();
            for (at, length) in cuts {
                let at = at.index(stream.len());
                let part = &stream[at..stream.len().min(at + length)];
                got.extend(bytes_of(&follower.push(Seq(start) + at as u32, part, NOW)));
            }
            prop_assert_eq!(&got[..], &stream[..got.len()]);
            for (at, part) in stream.chunks(7).enumerate() {
                got.extend(bytes_of(&follower.push(Seq(start) + at as u32 * 7, part, NOW)));
            }
            prop_assert_eq!(got, stream);
            prop_assert_eq!((follower.waiting.len(), follower.waiting_bytes), (0, 0));
        }
    }
}
