use crate::fb::FB;
use crate::stream::{StreamIn, StreamOut};
use rust_hdl::prelude::*;

/// Finds the markers in a stream (RFC 5044 sections 4.2 and 4.3): the front of the MPA walk.
///
/// ```text
///  upstream --------------------------------> downstream
///   first, taken |
///                v        +-------+
///  to_next ----> now <----| count |     active
///                 |       +-------+        v
///                 +--> - 1 ---^    = 0 --> and --> marker
/// ```
///
/// **Interface.** Words pass unchanged; `marker` stands with `downstream.valid` and says that the word is one. The
/// words of the stream are those of the MPA stream: aligned (see `align::Rotator`), whole except for the end of a
/// packet. `to_next` counts the words in front of the next marker and is looked at with `first` only; 0 if the
/// first word is a marker. Without `active` there are none.
///
/// **Theory of operation.** A marker is four bytes at every 512th byte of the stream, and FPDUs are multiples of
/// four bytes, so in an aligned stream it is exactly one word of every 128 (RFC 5044 section 4.2: markers never cut
/// a word). A 7-bit counter of words going down modulo 128 is all it takes: after 0 comes 127. Markers are not taken
/// out here because the CRC covers them; who does not want them looks at `marker`.
///
/// **Latency** 0: from `valid`, `first` and `to_next` to `marker` it is combinational. **Throughput** one word a
/// cycle.
///
/// **Area and fmax** on the HX8K: 18 LUT4, 5 carry, 7 FF, 20 LC, no BRAM; 209 MHz (docs/area.md).
#[derive(LogicBlock, Default)]
pub struct Markers {
    /// Rising edge.
    pub clock: Signal<In, Clock>,
    /// The stream has markers.
    pub active: Signal<In, Bit>,
    /// With `upstream.first`: words in front of the next marker.
    pub to_next: Signal<In, FB<7>>,
    /// The aligned stream.
    pub upstream: StreamIn,
    /// The same.
    pub downstream: StreamOut,
    /// The word is a marker.
    pub marker: Signal<Out, Bit>,
    count: DFF<FB<7>>,
    now: Signal<Local, FB<7>>,
}

impl Logic for Markers {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, count);
        self.now.next = self.count.q.val();
        if self.upstream.first.val() {
            self.now.next = self.to_next.val();
        }
        if self.upstream.valid.val() && self.downstream.ready.val() {
            self.count.d.next = self.now.val() - 1;
        }
        self.marker.next = self.active.val() && (self.now.val() == 0);
        self.upstream.ready.next = self.downstream.ready.val();
        self.downstream.data.next = self.upstream.data.val();
        self.downstream.valid.next = self.upstream.valid.val();
        self.downstream.first.next = self.upstream.first.val();
        self.downstream.last.next = self.upstream.last.val();
        self.downstream.empty.next = self.upstream.empty.val();
        self.downstream.err.next = self.upstream.err.val();
    }
}
