//! The one run of bytes behind a gap that a stream keeps, since its receive ring has a place for them.

use ironwarp_proto::seq::Seq;

/// Bytes received behind a gap: at most one run, so two sequence numbers a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Kept(Option<(Seq, Seq)>);

impl Kept {
    /// Keep `len` bytes from `start` on, if they touch the run kept or are the first; `false` if they must be dropped.
    pub(super) fn keep(&mut self, start: Seq, len: u32) -> bool {
        let end = start + len;
        let run = match self.0 {
            None => (start, end),
            Some((first, last)) if !start.after(last) && !end.before(first) => {
                (if start.before(first) { start } else { first }, if end.after(last) { end } else { last })
            }
            Some(_) => return false,
        };
        self.0 = Some(run);
        true
    }

    /// Everything before `next` has come in order: the bytes of the run that now follow.
    pub(super) fn join(&mut self, next: Seq) -> u32 {
        let Some((first, last)) = self.0 else { return 0 };
        if first.after(next) {
            return 0;
        }
        self.0 = None;
        last.diff(next).max(0) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_run_is_kept_and_grows_at_both_ends() {
        let mut kept = Kept::default();
        let near_wrap = |n: u32| Seq(u32::MAX - 50) + n;
        assert!(kept.keep(near_wrap(40), 20) && kept.keep(near_wrap(60), 10) && kept.keep(near_wrap(30), 10));
        assert!(!kept.keep(near_wrap(80), 5) && !kept.keep(near_wrap(10), 5), "another run is dropped");
        assert!(kept.keep(near_wrap(35), 50), "an overlap is one run");
        assert_eq!(kept.join(near_wrap(29)), 0, "the gap is not full");
        assert_eq!(kept.join(near_wrap(33)), 52);
        assert_eq!(kept.join(near_wrap(85)), 0, "it joins once");
    }

    #[test]
    fn a_run_that_came_again_in_order_adds_nothing() {
        let mut kept = Kept::default();
        assert!(kept.keep(Seq(100), 50));
        assert_eq!((kept.join(Seq(200)), kept.join(Seq(100))), (0, 0));
    }
}
