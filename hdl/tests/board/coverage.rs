//! The lists of situations, against the document that shows them.

use crate::common::coverage::assert_shown;

#[test]
fn the_document_shows_the_lists() {
    assert_shown("bridge/engine", crate::bridge::SITUATIONS);
    assert_shown("mac/ethernet", crate::ethernet::SITUATIONS);
    assert_shown("mac/gigabit", crate::gigabit::SITUATIONS);
}
