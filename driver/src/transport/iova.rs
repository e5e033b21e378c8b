//! Device addresses (IOVA) of buffers, for transports that choose them.

use super::mapping::PAGE;
use std::collections::BTreeMap;

/// First address: above 4 GiB, so that a device that drops the upper word is caught, and clear of the interrupt window that
/// x86 keeps below.
const FIRST: u64 = 1 << 32;
/// First address behind: 39 bits are what small IOMMUs translate.
const LIMIT: u64 = 1 << 39;
/// First address where there are only 32 bits: clear of what looks like a small number.
const FIRST_BELOW_4G: u64 = 1 << 28;

/// Which addresses are in use. Freed ones are used again as late as possible, so that a device that still uses one is found
/// out; behind each range one page stays free, so that an overrun faults.
#[derive(Debug)]
pub struct IovaSpace {
    used: BTreeMap<u64, u64>,
    next: u64,
    first: u64,
    limit: u64,
}

impl Default for IovaSpace {
    fn default() -> Self {
        Self::within(FIRST, LIMIT)
    }
}

impl IovaSpace {
    /// Addresses from `first` to before `limit`, multiples of the page size.
    fn within(first: u64, limit: u64) -> Self {
        Self { used: BTreeMap::new(), next: first, first, limit }
    }

    /// For a device that has 32-bit addresses.
    pub fn below_4g() -> Self {
        Self::within(FIRST_BELOW_4G, 1 << 32)
    }

    /// Take `len` bytes, a multiple of the page size; `None` when there is no gap of that size.
    pub fn take(&mut self, len: u64) -> Option<u64> {
        let gap = len.checked_add(PAGE as u64).filter(|gap| *gap <= self.limit - self.first)?;
        let found =
            self.find(self.next, self.limit, gap).or_else(|| self.find(self.first, self.limit, gap))?;
        self.used.insert(found, gap);
        self.next = found + gap;
        Some(found)
    }

    /// Give a range back.
    pub fn give(&mut self, start: u64) {
        self.used.remove(&start);
    }

    /// The first gap of `len` bytes between `from` and `limit`.
    fn find(&self, from: u64, limit: u64, len: u64) -> Option<u64> {
        let before = self.used.range(..from).next_back().map_or(from, |(start, len)| start + len);
        let mut start = from.max(before);
        for (used, used_len) in self.used.range(from..) {
            if used - start >= len {
                break;
            }
            start = used + used_len;
        }
        (limit.checked_sub(start)? >= len).then_some(start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn freed_addresses_come_back_last_and_before_the_space_runs_out() {
        let mut space = IovaSpace::default();
        let quarter = (LIMIT - FIRST) / 4 - PAGE as u64;
        let all: Vec<u64> = (0..4).map(|_| space.take(quarter).unwrap()).collect();
        assert_eq!(space.take(PAGE as u64), None, "all is in use");
        space.give(all[2]);
        assert_eq!(space.take(quarter), Some(all[2]));
        space.give(all[0]);
        space.give(all[1]);
        assert_eq!(space.take(2 * quarter), Some(all[0]), "neighbours join");
        assert_eq!(space.take(u64::MAX), None);
    }

    proptest! {
        #[test]
        fn ranges_never_touch(steps in prop::collection::vec((any::<bool>(), 1..1u64 << 24, any::<prop::sample::Index>()), 1..100)) {
            let mut space = IovaSpace::default();
            let mut live: BTreeMap<u64, u64> = BTreeMap::new();
            for (free, pages, which) in steps {
                if free && !live.is_empty() {
                    let start = *live.keys().nth(which.index(live.len())).unwrap();
                    live.remove(&start);
                    space.give(start);
                } else if let Some(start) = space.take(pages * PAGE as u64) {
                    prop_assert!(start >= FIRST && start + pages * PAGE as u64 <= LIMIT);
                    live.insert(start, pages * PAGE as u64);
                }
                let ends = live.iter().map(|(start, len)| start + len);
                prop_assert!(ends.zip(live.keys().skip(1)).all(|(end, next)| end < *next));
            }
        }
    }
}
