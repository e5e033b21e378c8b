use crate::fb::FB;
use rust_hdl::prelude::*;

/// Walks TCP options (RFC 9293 section 3.2) octet by octet and says whether they are well-formed.
///
/// ```text
///  data --> octet --> kind | length | one to skip --> broken
///             ^ lane
///  start, count --> words left --> hold
/// ```
///
/// **Interface.** `start` says that the next `count` words are options. While the word in front is one of them, `hold` is set
/// until its last octet is due; `valid` says that the word is there, `take` that it goes. `broken` holds from behind the
/// last word on. `clear` forgets them.
///
/// **Theory of operation.** Octets are kinds, lengths, or what a length skips; 0 ends the list, 1 stands alone. A
/// length counts itself and the kind, so it is 2 at least, and has one value for each of the four kinds that the golden model
/// knows. A list that stops between kind and length, or before a length is used up, is broken.
///
/// **Latency** 1 cycle. **Throughput** 1 octet a cycle.
///
/// **Area** on the HX8K: part of the parser.
#[derive(LogicBlock, Default)]
pub struct Options {
    /// Rising edge.
    pub clock: Signal<In, Clock>,
    /// Synchronous: there are none.
    pub clear: Signal<In, Bit>,
    /// The next word is the first of them.
    pub start: Signal<In, Bit>,
    /// How many words there are.
    pub count: Signal<In, FB<4>>,
    /// The word, first octet lowest.
    pub data: Signal<In, FB<32>>,
    /// It is there.
    pub valid: Signal<In, Bit>,
    /// It goes.
    pub take: Signal<In, Bit>,
    /// It must stay.
    pub hold: Signal<Out, Bit>,
    /// They were not well-formed.
    pub broken: Signal<Out, Bit>,
    // Words left, octet of the word.
    left: DFF<FB<4>>,
    lane: DFF<FB<2>>,
    // The kind whose length is next, or octets to skip, or the end was met.
    length_next: DFF<Bit>,
    kind: DFF<FB<8>>,
    skip: DFF<FB<8>>,
    ended: DFF<Bit>,
    bad: DFF<Bit>,
    inside: Signal<Local, Bit>,
    steps: Signal<Local, Bit>,
    octet: Signal<Local, FB<8>>,
    rest: Signal<Local, FB<8>>,
}

impl Logic for Options {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, left, lane, length_next, kind, skip, ended, bad);
        self.inside.next = self.left.q.val() != 0;
        self.hold.next = self.inside.val() && (self.lane.q.val() != 3);
        self.steps.next =
            self.inside.val() && (self.take.val() || (self.valid.val() && (self.lane.q.val() != 3)));
        self.octet.next = self.data.val().get_bits::<8>(0);
        if self.lane.q.val() == 1 {
            self.octet.next = self.data.val().get_bits::<8>(8);
        } else if self.lane.q.val() == 2 {
            self.octet.next = self.data.val().get_bits::<8>(16);
        } else if self.lane.q.val() == 3 {
            self.octet.next = self.data.val().get_bits::<8>(24);
        }
        self.rest.next = self.octet.val() - 2;
        if self.steps.val() {
            self.lane.d.next = self.lane.q.val() + 1;
            if !self.ended.q.val() {
                if self.skip.q.val() != 0 {
                    self.skip.d.next = self.skip.q.val() - 1;
                } else if self.length_next.q.val() {
                    self.length_next.d.next = false;
                    self.skip.d.next = self.rest.val();
                    // Maximum segment size, window scale, SACK permitted, timestamps.
                    if (self.octet.val() < 2)
                        || ((self.kind.q.val() == 2) && (self.octet.val() != 4))
                        || ((self.kind.q.val() == 3) && (self.octet.val() != 3))
                        || ((self.kind.q.val() == 4) && (self.octet.val() != 2))
                        || ((self.kind.q.val() == 8) && (self.octet.val() != 10))
                    {
                        self.bad.d.next = true;
                    }
                } else if self.octet.val() == 0 {
                    self.ended.d.next = true;
                } else if self.octet.val() != 1 {
                    self.kind.d.next = self.octet.val();
                    self.length_next.d.next = true;
                }
            }
        }
        if self.take.val() && self.inside.val() {
            self.left.d.next = self.left.q.val() - 1;
        }
        if self.start.val() {
            self.left.d.next = self.count.val();
        }
        self.broken.next = self.bad.q.val()
            || (!self.ended.q.val() && (self.length_next.q.val() || (self.skip.q.val() != 0)));
        if self.clear.val() {
            self.left.d.next = 0.into();
            self.lane.d.next = 0.into();
            self.length_next.d.next = false;
            self.skip.d.next = 0.into();
            self.ended.d.next = false;
            self.bad.d.next = false;
        }
    }
}
