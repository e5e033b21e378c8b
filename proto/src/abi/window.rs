//! The 32-bit window into the device's tables (`WIN_ADDR`, `WIN_DATA`).

/// A table behind the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Table {
    /// QP context, written before ACTIVATE.
    Context = 0,
    /// QP header template, written before ACTIVATE.
    Template = 1,
    /// Region entries; words 1..8 may be written while `valid` is 0.
    Region = 2,
    /// CQ entries, written before START_CQ.
    Cq = 3,
    /// SRQ entries, written before START_SRQ.
    Srq = 4,
    /// QP state, read only, any time.
    State = 5,
}

impl Table {
    /// All tables with a line for the document.
    pub const ALL: &'static [(Table, &'static str)] = &[
        (Table::Context, "QP context, written before ACTIVATE"),
        (Table::Template, "QP header template, written before ACTIVATE"),
        (Table::Region, "region entries; while `valid` is 1 only word 0 may be written"),
        (Table::Cq, "completion queue entries, written before START_CQ"),
        (Table::Srq, "shared receive queue entries, written before START_SRQ"),
        (Table::State, "QP state, read only, any time"),
    ];
    /// The table with this code.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.iter().map(|(table, _)| *table).find(|table| *table as u8 == code)
    }
}

/// `WIN_ADDR` of a word of an object.
pub fn address(table: Table, object: u16, word: u8) -> u32 {
    (table as u32) << 24 | u32::from(object) << 8 | u32::from(word)
}

/// Table code, object and word of a `WIN_ADDR`.
pub fn split(address: u32) -> (u8, u16, u8) {
    ((address >> 24) as u8, (address >> 8) as u16, address as u8)
}
