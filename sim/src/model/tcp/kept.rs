//! The runs of bytes behind a gap that a stream keeps, since its receive ring has a place for them.

use ironwarp_proto::seq::Seq;

/// Runs kept at once. Each is two sequence numbers of a connection's state.
const RUNS: usize = 4;

/// Bytes received behind a gap: runs that do not touch one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Kept([Option<(Seq, Seq)>; RUNS]);

impl Kept {
    /// Keep `len` bytes from `start` on; `false` if there is no place for another run, and they must be dropped.
    pub(super) fn keep(&mut self, start: Seq, len: u32) -> bool {
        let mut run = (start, start + len);
        // What touches it becomes one with it; what is then free may be its place.
        for slot in &mut self.0 {
            if let Some((first, last)) = *slot
                && !run.0.after(last)
                && !run.1.before(first)
            {
                run = (
                    if first.before(run.0) { first } else { run.0 },
                    if last.after(run.1) { last } else { run.1 },
                );
                *slot = None;
            }
        }
        let place = self.0.iter_mut().find(|slot| slot.is_none());
        place.map(|slot| *slot = Some(run)).is_some()
    }

    /// Everything before `next` has come in order: the bytes kept that now follow without a gap.
    pub(super) fn join(&mut self, next: Seq) -> u32 {
        let mut joined = 0;
        // A run that was passed in full is forgotten. Runs do not touch, so at most one goes on from here.
        for slot in &mut self.0 {
            if let Some((first, last)) = *slot
                && !first.after(next)
            {
                *slot = None;
                joined = joined.max(last.diff(next).max(0) as u32);
            }
        }
        joined
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near_wrap(n: u32) -> Seq {
        Seq(u32::MAX - 50) + n
    }

    #[test]
    fn runs_that_touch_become_one() {
        let mut kept = Kept::default();
        for (start, len) in [(40, 20), (60, 10), (30, 10), (80, 10)] {
            assert!(kept.keep(near_wrap(start), len));
        }
        assert!(kept.keep(near_wrap(65), 20), "it closes the gap between two");
        assert_eq!(kept.join(near_wrap(29)), 0, "the gap in front is not full");
        assert_eq!(kept.join(near_wrap(33)), 57);
        assert_eq!(kept.join(near_wrap(90)), 0, "it joins once");
    }

    #[test]
    fn there_is_room_for_a_few_runs_and_more_are_dropped() {
        let mut kept = Kept::default();
        for n in 0..RUNS as u32 {
            assert!(kept.keep(near_wrap(20 * n), 10));
        }
        assert!(!kept.keep(near_wrap(300), 10));
        assert!(kept.keep(near_wrap(10), 5), "what touches a run needs no room");
        assert_eq!(kept.join(near_wrap(0)), 15);
        assert!(kept.keep(near_wrap(300), 10), "there is room again");
        assert_eq!((kept.join(near_wrap(15)), kept.join(near_wrap(20))), (0, 10));
    }

    #[test]
    fn runs_that_came_again_in_order_add_nothing() {
        let mut kept = Kept::default();
        assert!(kept.keep(Seq(100), 50) && kept.keep(Seq(200), 10));
        assert_eq!((kept.join(Seq(205)), kept.join(Seq(100))), (5, 0));
        assert_eq!(kept, Kept::default());
    }
}
