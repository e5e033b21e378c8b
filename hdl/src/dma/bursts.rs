use crate::fb::{FB, bit_cast, bits};
use rust_hdl::prelude::*;

/// Cuts a stretch of host memory into bursts that do not cross 4 KiB.
///
/// ```text
///  start, address, total --> page, inner, wanted --> channel_address, channel_words
///                              ^--- min(wanted, 1024 - inner) ---|    request, accept
/// ```
///
/// **Interface.** With `start` while not `busy`, commands for `total` words from the word at `address` on are offered, as the
/// channels of this module want them. `busy` until the last is accepted.
///
/// **Theory of operation.** The first burst reaches to the end of its 4 KiB page or of the stretch, every other begins a page: so
/// the address is a counter of pages and one of words in the page that only ever returns to 0. The length is
/// found in a cycle of its own.
///
/// **Latency** 2 cycles from `start` to `request`. **Throughput** a burst every 2 cycles.
///
/// **Area and fmax** on the HX8K: docs/area.md.
#[derive(LogicBlock, Default)]
pub struct Bursts {
    /// Rising edge.
    pub clock: Signal<In, Clock>,
    /// Synchronous: forget the rest.
    pub reset: Signal<In, Bit>,
    /// Do this.
    pub start: Signal<In, Bit>,
    /// Byte address; the low two bits are not looked at.
    pub address: Signal<In, FB<64>>,
    /// How many words.
    pub total: Signal<In, FB<17>>,
    /// There are bursts that are not accepted yet.
    pub busy: Signal<Out, Bit>,
    /// Where the burst is.
    pub channel_address: Signal<Out, FB<64>>,
    /// How many words it has.
    pub channel_words: Signal<Out, FB<12>>,
    /// There is one.
    pub request: Signal<Out, Bit>,
    /// It is taken.
    pub accept: Signal<In, Bit>,
    wanted: DFF<FB<17>>,
    page: DFF<FB<52>>,
    inner: DFF<FB<10>>,
    burst: DFF<FB<12>>,
    asking: DFF<Bit>,
    to_boundary: Signal<Local, FB<11>>,
    most: Signal<Local, FB<17>>,
}

impl Logic for Bursts {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, wanted, page, inner, burst, asking);
        self.to_boundary.next = bits::<11>(1024) - bit_cast::<11, 10>(self.inner.q.val());
        self.most.next = bit_cast::<17, 11>(self.to_boundary.val());
        self.request.next = self.asking.q.val();
        self.channel_words.next = self.burst.q.val();
        self.channel_address.next =
            (bit_cast::<64, 52>(self.page.q.val()) << 12) | (bit_cast::<64, 10>(self.inner.q.val()) << 2);
        if self.asking.q.val() {
            if self.accept.val() {
                self.asking.d.next = false;
                self.wanted.d.next = self.wanted.q.val() - bit_cast::<17, 12>(self.burst.q.val());
                self.inner.d.next = 0.into();
                self.page.d.next = self.page.q.val() + 1;
            }
        } else if self.wanted.q.val() != 0 {
            self.asking.d.next = true;
            self.burst.d.next = bit_cast::<12, 17>(self.wanted.q.val());
            if self.most.val() < self.wanted.q.val() {
                self.burst.d.next = bit_cast::<12, 11>(self.to_boundary.val());
            }
        } else if self.start.val() {
            self.wanted.d.next = self.total.val();
            self.page.d.next = self.address.val().get_bits::<52>(12);
            self.inner.d.next = self.address.val().get_bits::<10>(2);
        }
        self.busy.next = self.wanted.q.val() != 0;
        if self.reset.val() {
            self.wanted.d.next = 0.into();
            self.asking.d.next = false;
        }
    }
}
