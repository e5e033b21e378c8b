//! Functional coverage: situations that the tests of a block must bring about, each with its counter.
//!
//! A block's file has the list (`SITUATIONS`) and a test that drives the block through its ordinary random traffic, with fixed
//! seeds, and asks for every counter. `docs/coverage.md` shows the lists.

/// A situation: seen in a cycle, in two that follow one another, or known only to the test that makes it.
pub struct Situation<U> {
    /// What happens, as the document says it.
    pub name: &'static str,
    kind: Kind<U>,
}

enum Kind<U> {
    Now(fn(&U) -> bool),
    Then(fn(&U) -> bool, fn(&U) -> bool),
    Told,
}

/// What a settled cycle shows.
pub const fn now<U>(name: &'static str, meets: fn(&U) -> bool) -> Situation<U> {
    Situation { name, kind: Kind::Now(meets) }
}

/// What a cycle and the next one show.
pub const fn then<U>(name: &'static str, first: fn(&U) -> bool, second: fn(&U) -> bool) -> Situation<U> {
    Situation { name, kind: Kind::Then(first, second) }
}

/// What the pins do not show: the test says so ([`Coverage::tell`]).
pub const fn told<U>(name: &'static str) -> Situation<U> {
    Situation { name, kind: Kind::Told }
}

/// The counters of a block.
pub struct Coverage<U: 'static> {
    situations: &'static [Situation<U>],
    counts: Vec<u64>,
    /// Whether the cycle before was the first of the two.
    begun: Vec<bool>,
}

impl<U> Coverage<U> {
    /// Nothing has been seen.
    pub fn of(situations: &'static [Situation<U>]) -> Self {
        Coverage { situations, counts: vec![0; situations.len()], begun: vec![false; situations.len()] }
    }

    /// A settled cycle.
    pub fn look(&mut self, block: &U) {
        let counters = self.counts.iter_mut().zip(&mut self.begun);
        for (situation, (count, begun)) in self.situations.iter().zip(counters) {
            let met = match situation.kind {
                Kind::Now(meets) => meets(block),
                Kind::Then(first, second) => std::mem::replace(begun, first(block)) && second(block),
                Kind::Told => false,
            };
            *count += u64::from(met);
        }
    }

    /// It has happened.
    ///
    /// # Panics
    /// If the list does not have it.
    pub fn tell(&mut self, name: &str) {
        let at = self.situations.iter().position(|situation| situation.name == name);
        let at = at.unwrap_or_else(|| panic!("{name:?} is not in the list"));
        assert!(matches!(self.situations[at].kind, Kind::Told), "{name:?} is seen at the pins");
        self.counts[at] += 1;
    }

    /// Prints the counters.
    ///
    /// # Panics
    /// If one is 0.
    pub fn check(&self) {
        let counters = || self.situations.iter().map(|situation| situation.name).zip(&self.counts);
        counters().for_each(|(name, count)| println!("{count:>8}  {name}"));
        let missed: Vec<_> = counters().filter(|(_, count)| **count == 0).map(|(name, _)| name).collect();
        assert!(missed.is_empty(), "never met: {missed:#?}");
    }
}

/// The section of docs/coverage.md on a block has its list, and nothing else.
///
/// # Panics
/// If not, with what should be there.
pub fn assert_shown<U>(block: &str, situations: &[Situation<U>]) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/coverage.md");
    let document = std::fs::read_to_string(path).unwrap_or_default();
    let items: String = situations.iter().map(|situation| format!("* {}\n", situation.name)).collect();
    let wanted = format!("## `{block}`\n\n{items}");
    let sections: Vec<_> =
        document.split("\n\n## ").map(|part| format!("## {}\n", part.trim_end())).collect();
    assert!(sections.contains(&wanted), "docs/coverage.md is to have:\n\n{wanted}");
}
