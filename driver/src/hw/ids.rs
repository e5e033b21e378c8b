//! Numbers of objects.

use crate::error::Error;
use ironwarp_proto::abi::region::index_of;
use rand::Rng;
use rand::rngs::StdRng;
use std::collections::VecDeque;

/// Numbers below a limit. A freed one is given out again as late as possible, so that a stale one is noticed.
#[derive(Debug)]
pub struct IdPool {
    what: &'static str,
    limit: u32,
    next: u32,
    freed: VecDeque<u16>,
}

impl IdPool {
    /// Numbers 0 to `limit - 1` of objects named `what`.
    pub fn new(what: &'static str, limit: u32) -> Self {
        Self { what, limit: limit.min(1 << 16), next: 0, freed: VecDeque::new() }
    }
    /// A number that is not in use.
    pub fn take(&mut self) -> Result<u16, Error> {
        if self.next < self.limit {
            self.next += 1;
            return Ok((self.next - 1) as u16);
        }
        self.freed.pop_front().ok_or(Error::Exhausted { what: self.what, limit: self.limit })
    }
    /// Give a number back.
    pub fn give(&mut self, id: u16) {
        self.freed.push_back(id);
    }
}

/// STags: the table index in bits 8 and up, all other bits from a cryptographic generator (RFC 5040 section 8.1.1), never 0, never the one that
/// the entry had before.
#[derive(Debug)]
pub struct StagPool {
    log2: u8,
    indices: IdPool,
    last: Vec<u32>,
    random: StdRng,
}

impl StagPool {
    /// STags of a table of `2^log2` entries.
    pub fn new(log2: u8, random: StdRng) -> Self {
        let size = 1 << log2.min(16);
        Self { log2, indices: IdPool::new("regions", size), last: vec![0; size as usize], random }
    }

    /// A new STag with an entry of its own.
    pub fn take(&mut self) -> Result<u32, Error> {
        let index = self.indices.take()?;
        let mask = ((1 << self.log2) - 1) << 8;
        let fixed = u32::from(index) << 8;
        let last = self.last.get(usize::from(index)).copied().unwrap_or(0);
        loop {
            let stag = self.random.random::<u32>() & !mask | fixed;
            if stag != 0 && stag != last {
                return Ok(stag);
            }
        }
    }

    /// The same entry with another key byte.
    pub fn rekey(&mut self, stag: u32) -> u32 {
        loop {
            let new = stag & !0xff | u32::from(self.random.random::<u8>());
            if new != stag && new != 0 {
                return new;
            }
        }
    }

    /// Give back the entry of `stag`, the last STag it had.
    pub fn give(&mut self, stag: u32) {
        let index = index_of(stag, self.log2);
        if let Some(last) = self.last.get_mut(usize::from(index)) {
            *last = stag;
        }
        self.indices.give(index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use std::collections::BTreeMap;

    /// RFC 5040 section 8.1.1: difficult to predict. It does not compile with a generator of another kind.
    #[test]
    fn stags_come_from_a_cryptographic_generator() {
        fn cryptographic<T: rand::CryptoRng>(_: &T) {}
        let mut pool = StagPool::new(4, StdRng::seed_from_u64(1));
        cryptographic(&pool.random);
        // Every bit but those of the index takes both values.
        let (mut ones, mut zeros) = (0, 0);
        for _ in 0..64 {
            let stag = pool.take().unwrap();
            (ones, zeros) = (ones | stag, zeros | !stag);
            pool.give(stag);
        }
        assert_eq!((ones | 0xf00, zeros | 0xf00), (u32::MAX, u32::MAX));
    }

    #[test]
    fn ids_run_out_and_come_back_oldest_first() {
        let mut pool = IdPool::new("things", 3);
        assert_eq!([pool.take(), pool.take(), pool.take()], [Ok(0), Ok(1), Ok(2)]);
        assert_eq!(pool.take(), Err(Error::Exhausted { what: "things", limit: 3 }));
        pool.give(2);
        pool.give(0);
        assert_eq!([pool.take(), pool.take()], [Ok(2), Ok(0)]);
    }

    proptest! {
        #[test]
        fn stags_are_unique_and_change(seed: u64, steps in prop::collection::vec(any::<prop::sample::Index>(), 1..200)) {
            let mut pool = StagPool::new(3, StdRng::seed_from_u64(seed));
            let mut live: BTreeMap<u16, u32> = BTreeMap::new();
            let mut last: BTreeMap<u16, u32> = BTreeMap::new();
            for step in steps {
                if live.len() == 8 || (!live.is_empty() && step.index(2) == 0) {
                    let index = *live.keys().nth(step.index(live.len())).unwrap();
                    let mut stag = live.remove(&index).unwrap();
                    let rekeyed = pool.rekey(stag);
                    prop_assert_eq!(rekeyed >> 8, stag >> 8);
                    prop_assert_ne!(rekeyed, stag);
                    stag = rekeyed;
                    last.insert(index, stag);
                    pool.give(stag);
                } else {
                    let stag = pool.take().unwrap();
                    let index = index_of(stag, 3);
                    prop_assert_ne!(stag, 0);
                    prop_assert_ne!(last.get(&index), Some(&stag));
                    prop_assert!(live.insert(index, stag).is_none());
                }
            }
        }
    }
}
