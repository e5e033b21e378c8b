//! Ports for connections from here: random, so that an attacker off the path must guess them (RFC 6056 section 3.3.1).

use rand::Rng;
use std::ops::RangeInclusive;

/// A port of `range` that is not `in_use`: a random one, or the next free one behind it; `None` if none is left.
pub fn pick(
    range: &RangeInclusive<u16>,
    rng: &mut impl Rng,
    mut in_use: impl FnMut(u16) -> bool,
) -> Option<u16> {
    if range.is_empty() {
        return None;
    }
    let first = rng.random_range(range.clone());
    (first..=*range.end()).chain(*range.start()..first).find(|port| !in_use(*port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;
    use std::collections::BTreeSet;

    #[test]
    fn every_port_is_used_once_in_no_order() {
        let mut rng = SmallRng::seed_from_u64(1);
        let mut used = BTreeSet::new();
        let mut order = Vec::new();
        while let Some(port) = pick(&(1000..=1099), &mut rng, |port| used.contains(&port)) {
            assert!(used.insert(port));
            order.push(port);
        }
        assert_eq!(used.len(), 100);
        assert!(!order.is_sorted());
        #[expect(clippy::reversed_empty_ranges, reason = "a range without ports is the case")]
        let none = pick(&(5..=4), &mut rng, |_| false);
        assert_eq!(none, None);
    }
}
