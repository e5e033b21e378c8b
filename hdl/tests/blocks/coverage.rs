//! The lists of situations, against the document that shows them.

use crate::common::coverage::assert_shown;

#[test]
fn the_document_shows_the_lists() {
    assert_shown("align/rotator", crate::rotator::SITUATIONS);
    assert_shown("crc/crc32c", crate::crc32c::SITUATIONS);
    assert_shown("dma/bursts", crate::bursts::SITUATIONS);
    assert_shown("dma/failures", crate::failures::SITUATIONS);
    assert_shown("dma/fetch", crate::fetch::SITUATIONS);
    assert_shown("dma/reader", crate::reader::SITUATIONS);
    assert_shown("dma/writer", crate::writer::SITUATIONS);
    assert_shown("host/requests", crate::requests::SITUATIONS);
    assert_shown("host/wishbone", crate::wishbone::SITUATIONS);
    assert_shown("mem/fifo", crate::fifo::SITUATIONS);
    assert_shown("mem/flash", crate::flash::SITUATIONS);
    assert_shown("mem/packets", crate::packets::SITUATIONS);
    assert_shown("mem/ram", crate::ram::SITUATIONS);
    assert_shown("mpa/markers", crate::markers::SITUATIONS);
    assert_shown("mpa/walk", crate::walk::SITUATIONS);
    assert_shown("predict/receive", crate::predict_receive::SITUATIONS);
    assert_shown("predict/send", crate::predict_send::SITUATIONS);
    assert_shown("rx/arbiter", crate::arbiter::SITUATIONS);
    assert_shown("rx/receive", crate::receive::SITUATIONS);
    assert_shown("seq/core", crate::sequencer::SITUATIONS);
    assert_shown("seq/core, with a cache", crate::sequencer::CACHED);
    assert_shown("seq/window", crate::window::SITUATIONS);
    assert_shown("tx/engine", crate::transmit::SITUATIONS);
}
