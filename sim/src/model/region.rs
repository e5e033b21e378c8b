//! The region (STag) table: who may touch which bytes of host memory.

use ironwarp_proto::abi::region::{Region, access, index_of};

/// Why an access is refused, in the order of the checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// No valid entry with this STag.
    InvalidStag,
    /// The entry is of another protection domain, or the window of another QP.
    NotAssociated,
    /// The entry does not grant the right.
    Rights,
    /// The range passes 2^64.
    Wrap,
    /// The range is not inside the entry.
    Bounds,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asker {
    /// The QP.
    pub qp: u16,
    /// Its protection domain.
    pub pd: u16,
}

/// The region table.
#[derive(Debug, Clone)]
pub struct RegionTable {
    log2: u8,
    entries: Vec<[u32; 8]>,
}

impl RegionTable {
    /// `2^log2` invalid entries.
    pub fn new(log2: u8) -> Self {
        Self { log2, entries: vec![[0; 8]; 1 << log2] }
    }

    /// The words of entry `index`.
    pub fn words(&mut self, index: u16) -> Option<&mut [u32; 8]> {
        self.entries.get_mut(usize::from(index))
    }

    /// The entry of an STag, valid or not.
    fn entry(&self, stag: u32) -> Option<Region> {
        let words = &self.entries[usize::from(index_of(stag, self.log2))];
        let region = Region::decode(words);
        (region.stag == stag && stag != 0).then_some(region)
    }

    fn store(&mut self, region: &Region) {
        self.entries[usize::from(index_of(region.stag, self.log2))] = region.encode();
    }

    /// The host address of `len` > 0 bytes at `to`, if a peer may do `need` with them.
    pub fn remote(&self, stag: u32, asker: Asker, to: u64, len: u32, need: u8) -> Result<u64, Refusal> {
        let region = self.entry(stag).filter(|region| region.valid).ok_or(Refusal::InvalidStag)?;
        if region.pd != asker.pd || !in_scope(&region, asker) {
            return Err(Refusal::NotAssociated);
        }
        range(&region, to, len, need)
    }

    /// The host address of `len` > 0 bytes at `to` for the owner's own work; `need` is 0 to read them.
    pub fn local(&self, lkey: u32, asker: Asker, to: u64, len: u32, need: u8) -> Result<u64, Refusal> {
        let usable = |region: &Region| region.valid && !region.window;
        let region = self.entry(lkey).filter(usable).ok_or(Refusal::InvalidStag)?;
        if region.pd != asker.pd {
            return Err(Refusal::NotAssociated);
        }
        range(&region, to, len, need)
    }

    /// Bind the allocated window `stag` to `len` bytes at `to` of region `parent` (verbs, type 2 memory window).
    pub fn bind(&mut self, stag: u32, asker: Asker, bind: &Bind) -> bool {
        let Some(window) = self.rebindable(stag, asker.pd, true) else { return false };
        let Some(parent) = self.entry(bind.parent).filter(|parent| parent.valid && !parent.window) else {
            return false;
        };
        let writes = bind.access & (access::REMOTE_WRITE | access::REMOTE_ATOMIC) != 0;
        let rights = parent.access & access::BIND != 0
            && (!writes || parent.access & access::LOCAL_WRITE != 0)
            && parent.pd == asker.pd;
        // A window over nothing grants nothing, so it need not lie anywhere.
        let host = if bind.len == 0 { Ok(parent.host) } else { range(&parent, bind.to, bind.len, 0) };
        let (true, Ok(host)) = (rights, host) else { return false };
        self.store(&Region {
            valid: true,
            window: true,
            allocated: true,
            scoped: true,
            access: bind.access & access::REMOTE | access::INVALIDATE,
            pd: asker.pd,
            length: u64::from(bind.len),
            qp: asker.qp,
            base: bind.base,
            host,
            stag: window,
        });
        true
    }

    /// Make the allocated region `stag` valid over `len` bytes at host address `host`.
    pub fn fast_register(&mut self, stag: u32, asker: Asker, register: &FastRegister) -> bool {
        let Some(stag) = self.rebindable(stag, asker.pd, false) else { return false };
        self.store(&Region {
            valid: true,
            window: false,
            allocated: true,
            // The peer of another connection could invalidate it otherwise (RFC 5040 section 8.1.1).
            scoped: true,
            access: register.access & !access::BIND | access::INVALIDATE,
            pd: asker.pd,
            length: u64::from(register.len),
            qp: asker.qp,
            base: register.base,
            host: register.host,
            stag,
        });
        true
    }

    /// Whether `stag` names an allocated, not valid entry of this kind and PD; the key byte is free to choose, so that
    /// each use has another STag.
    fn rebindable(&self, stag: u32, pd: u16, window: bool) -> Option<u32> {
        let region = Region::decode(&self.entries[usize::from(index_of(stag, self.log2))]);
        let same = region.stag >> 8 == stag >> 8 && region.pd == pd && region.window == window;
        (same && region.allocated && !region.valid && stag != 0).then_some(stag)
    }

    /// Invalidate on behalf of a peer or of a work request; only entries that allow it (RFC 5040 section 5.3).
    pub fn invalidate(&mut self, stag: u32, asker: Asker) -> bool {
        let Some(mut region) = self.entry(stag) else { return false };
        let allowed = region.valid
            && region.access & access::INVALIDATE != 0
            && region.pd == asker.pd
            && in_scope(&region, asker);
        if allowed {
            region.valid = false;
            self.store(&region);
        }
        allowed
    }

    /// Invalidate on behalf of the driver, without conditions. Done at once: the model has nothing in flight.
    pub fn revoke(&mut self, stag: u32) -> bool {
        let Some(mut region) = self.entry(stag) else { return false };
        region.valid = false;
        region.allocated = false;
        self.store(&region);
        true
    }
}

/// What a bind asks for.
#[derive(Debug, Clone, Copy)]
pub struct Bind {
    /// STag of the region.
    pub parent: u32,
    /// First byte, as a TO of the region.
    pub to: u64,
    /// Length, bytes.
    pub len: u32,
    /// TO of the first byte in the window.
    pub base: u64,
    /// Rights.
    pub access: u8,
}

/// What a fast registration asks for.
#[derive(Debug, Clone, Copy)]
pub struct FastRegister {
    /// Host address.
    pub host: u64,
    /// Length, bytes.
    pub len: u32,
    /// TO of the first byte.
    pub base: u64,
    /// Rights.
    pub access: u8,
}

/// Whether a peer of the asker's connection may name the entry at all.
fn in_scope(region: &Region, asker: Asker) -> bool {
    !(region.window || region.scoped) || region.qp == asker.qp
}

/// Rights, wrap and bounds of a range; its host address.
fn range(region: &Region, to: u64, len: u32, need: u8) -> Result<u64, Refusal> {
    if region.access & need != need {
        return Err(Refusal::Rights);
    }
    let last = u64::from(len).saturating_sub(1);
    to.checked_add(last).ok_or(Refusal::Wrap)?;
    // The distance from the base is taken modulo 2^64: a region may itself end at the wrap, never pass it.
    let offset = to.wrapping_sub(region.base);
    let inside = to >= region.base && offset < region.length && region.length - offset > last;
    if inside { region.host.checked_add(offset).ok_or(Refusal::Wrap) } else { Err(Refusal::Bounds) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ME: Asker = Asker { qp: 3, pd: 7 };

    fn table(region: Region) -> RegionTable {
        let mut table = RegionTable::new(8);
        table.store(&region);
        table
    }

    fn region() -> Region {
        Region {
            valid: true,
            access: access::LOCAL_WRITE | access::REMOTE_WRITE,
            pd: 7,
            length: 100,
            base: 0x1000,
            host: 0x9000,
            stag: 0xabcd_0511,
            ..Region::default()
        }
    }

    #[test]
    fn each_failure_alone_and_the_order_of_two() {
        let stag = 0xabcd_0511;
        let write = access::REMOTE_WRITE;
        let good = table(region());
        assert_eq!(good.remote(stag, ME, 0x1000, 100, write), Ok(0x9000));
        assert_eq!(good.remote(stag, ME, 0x1063, 1, write), Ok(0x9063));
        assert_eq!(good.remote(stag ^ 1, ME, 0x1000, 1, write), Err(Refusal::InvalidStag), "key");
        assert_eq!(
            good.remote(stag ^ 1 << 31, ME, 0x1000, 1, write),
            Err(Refusal::InvalidStag),
            "upper index"
        );
        assert_eq!(good.remote(stag, Asker { pd: 8, ..ME }, 0x1000, 1, write), Err(Refusal::NotAssociated));
        assert_eq!(good.remote(stag, ME, 0x1000, 1, access::REMOTE_READ), Err(Refusal::Rights));
        assert_eq!(good.remote(stag, ME, 0xfff, 1, write), Err(Refusal::Bounds));
        assert_eq!(good.remote(stag, ME, 0x1000, 101, write), Err(Refusal::Bounds));
        assert_eq!(good.remote(stag, ME, 0x1064, 1, write), Err(Refusal::Bounds));
        assert_eq!(good.remote(stag, ME, u64::MAX, 2, write), Err(Refusal::Wrap));
        let other = Asker { pd: 8, ..ME };
        assert_eq!(
            good.remote(stag, other, u64::MAX, 2, 0xff),
            Err(Refusal::NotAssociated),
            "first failure wins"
        );
        let mut revoked = good.clone();
        assert!(revoked.revoke(stag));
        assert_eq!(revoked.remote(stag, ME, 0x1000, 1, write), Err(Refusal::InvalidStag));
        assert_eq!(
            RegionTable::new(8).remote(0, ME, 0, 1, 0),
            Err(Refusal::InvalidStag),
            "STag 0 never exists"
        );
    }

    #[test]
    fn a_window_is_for_its_qp_and_never_an_lkey() {
        let stag = 0xabcd_0511;
        let table = table(Region { window: true, qp: 3, ..region() });
        assert!(table.remote(stag, ME, 0x1000, 1, access::REMOTE_WRITE).is_ok());
        let other = Asker { qp: 4, ..ME };
        assert_eq!(table.remote(stag, other, 0x1000, 1, access::REMOTE_WRITE), Err(Refusal::NotAssociated));
        assert_eq!(table.local(stag, ME, 0x1000, 1, 0), Err(Refusal::InvalidStag));
    }

    #[test]
    fn bind_and_invalidate() {
        let parent = Region { access: access::LOCAL_WRITE | access::BIND, ..region() };
        let mut table = table(parent);
        let window = 0x1234_0600;
        table.store(&Region { allocated: true, window: true, pd: 7, stag: window, ..Region::default() });
        let bind = Bind { parent: parent.stag, to: 0x1010, len: 16, base: 0, access: access::REMOTE_WRITE };
        assert!(!table.bind(window + 1, Asker { pd: 6, ..ME }, &bind), "other PD");
        assert!(!table.bind(window + 1, ME, &Bind { len: 100, ..bind }), "beyond the parent");
        assert!(!table.bind(window + 1, ME, &Bind { parent: 0x999, ..bind }), "no such parent");
        assert!(table.bind(window + 1, ME, &bind), "the key byte is free");
        assert!(!table.bind(window + 2, ME, &bind), "bound already");
        assert_eq!(table.remote(window + 1, ME, 4, 8, access::REMOTE_WRITE), Ok(0x9014));
        assert!(!table.invalidate(window + 1, Asker { qp: 4, ..ME }), "other QP");
        assert!(table.invalidate(window + 1, ME) && !table.invalidate(window + 1, ME));
        assert!(table.bind(window + 2, ME, &bind));
        assert!(!table.invalidate(parent.stag, ME), "a plain region cannot be invalidated by a peer");
    }

    #[test]
    fn a_fast_registered_region_is_for_the_peer_of_its_connection() {
        let stag = 0x1234_0600;
        let mut table = RegionTable::new(8);
        table.store(&Region { allocated: true, pd: 7, stag, ..Region::default() });
        let rights = access::LOCAL_WRITE | access::REMOTE_WRITE;
        let register = FastRegister { host: 0x5000, len: 64, base: 0, access: rights };
        assert!(table.fast_register(stag, ME, &register));
        let other = Asker { qp: 4, ..ME };
        assert_eq!(table.remote(stag, ME, 0, 64, access::REMOTE_WRITE), Ok(0x5000));
        assert_eq!(table.remote(stag, other, 0, 64, access::REMOTE_WRITE), Err(Refusal::NotAssociated));
        assert_eq!(
            table.local(stag, other, 0, 64, access::LOCAL_WRITE),
            Ok(0x5000),
            "its owner may use it anywhere"
        );
        assert!(!table.invalidate(stag, other) && table.invalidate(stag, ME));
    }

    proptest! {
        /// The range check against 128-bit arithmetic, with regions that reach the end of the TO space.
        #[test]
        fn ranges_match_wide_arithmetic(
            base in prop_oneof![Just(0u64), any::<u64>(), (0u64..64).prop_map(|n| u64::MAX - n)],
            length in 0u64..1 << 33,
            to in prop_oneof![any::<u64>(), (0u64..64).prop_map(|n| u64::MAX - n), 0u64..64],
            near in any::<bool>(), delta in -70i64..70, len in 1u32..=u32::MAX,
        ) {
            let to = if near { base.wrapping_add_signed(delta) } else { to };
            let region = Region { base, length, host: 1 << 40, ..region() };
            let (wide_to, wide_end) = (u128::from(to), u128::from(to) + u128::from(len));
            let (wide_base, wide_limit) = (u128::from(base), u128::from(base) + u128::from(length));
            let expected = if wide_end > 1 << 64 {
                Err(Refusal::Wrap)
            } else if wide_to < wide_base || wide_end > wide_limit {
                Err(Refusal::Bounds)
            } else {
                Ok((1 << 40) + (to - base))
            };
            prop_assert_eq!(range(&region, to, len, access::REMOTE_WRITE), expected);
        }
    }
}
