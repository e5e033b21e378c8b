use super::Failures;
use crate::fb::{FB, bit_cast};
use rust_hdl::prelude::*;

/// Whose writes are still to be answered, and whose have failed.
///
/// ```text
///  change --> tag, open  --> old tag, old open
///              ^ asked           v answered, failed
///              +-- unread -------+--> Failures --> error, error_tag
/// ```
///
/// **Interface.** `asked`: a burst was commanded, for the present tag; only with `room`. `answered`: the oldest burst has its
/// answer, `failed` or not. `unread`: what the present tag's burst under way should have written could not be read.
/// `change` asks for another tag; in the cycle with `changed` it is taken. `quiet`: nothing is open, and no failure but that shown is
/// unknown. `error` and `error_tag` show one of the tags that failed until `clear_error`, then the next.
///
/// **Two forms.** Any tags and up to 128 bursts open; or, [`few`](Self::few), those of a device of 4 QPs and 8 CQs: 0 to 3, 0x7e, 0x7f, 0x80 to 0x87, and up to 4 bursts. Of
/// these bits 7 and 2:0 tell all.
///
/// **Theory of operation.** Answers come in order, so of two tags the older is answered first. A third tag waits until the
/// first has all its answers: with one packet's writes open while the next one's begin, it has. What could not be read is put into the set in the
/// first cycle without a failed answer, before the tag changes.
///
/// **Latency** 1 cycle. **Throughput** a command and an answer a cycle.
///
/// **Area** on the HX8K: part of the writer.
#[derive(LogicBlock)]
pub struct Tags {
    /// Rising edge.
    pub clock: Signal<In, Clock>,
    /// Synchronous: nothing is open, nothing failed, the tag is 0.
    pub reset: Signal<In, Bit>,
    /// The new tag.
    pub tag: Signal<In, FB<8>>,
    /// Take it.
    pub change: Signal<In, Bit>,
    /// It is taken.
    pub changed: Signal<Out, Bit>,
    /// Another burst may be commanded.
    pub room: Signal<Out, Bit>,
    /// One is.
    pub asked: Signal<In, Bit>,
    /// One has its answer.
    pub answered: Signal<In, Bit>,
    /// It failed.
    pub failed: Signal<In, Bit>,
    /// The source could not be read.
    pub unread: Signal<In, Bit>,
    /// All have their answers.
    pub quiet: Signal<Out, Bit>,
    /// A write failed.
    pub error: Signal<Out, Bit>,
    /// Whose.
    pub error_tag: Signal<Out, FB<8>>,
    /// Forget it.
    pub clear_error: Signal<In, Bit>,
    now: DFF<FB<8>>,
    open: DFF<FB<8>>,
    old: DFF<FB<8>>,
    old_open: DFF<FB<8>>,
    unknown: DFF<Bit>,
    failures: Failures<8>,
    is_few: Constant<Bit>,
    // Open bursts are counted modulo this; with so many there is no room.
    count_mask: Constant<FB<8>>,
    most: Constant<FB<8>>,
    code: Signal<Local, FB<8>>,
    shown: Signal<Local, FB<8>>,
    crowded: Signal<Local, FB<8>>,
    after: Signal<Local, FB<8>>,
    old_after: Signal<Local, FB<8>>,
    is_bad: Signal<Local, Bit>,
    waits: Signal<Local, Bit>,
    blamed: Signal<Local, FB<8>>,
    same: Signal<Local, Bit>,
}

impl Default for Tags {
    fn default() -> Self {
        Self::form(false, Failures::default(), 128)
    }
}

impl Tags {
    /// Those of a small device.
    pub fn few() -> Self {
        Self::form(true, Failures::few(), 4)
    }

    fn form(few: bool, failures: Failures<8>, most: u64) -> Self {
        Self {
            clock: Signal::default(),
            reset: Signal::default(),
            tag: Signal::default(),
            change: Signal::default(),
            changed: Signal::default(),
            room: Signal::default(),
            asked: Signal::default(),
            answered: Signal::default(),
            failed: Signal::default(),
            unread: Signal::default(),
            quiet: Signal::default(),
            error: Signal::default(),
            error_tag: Signal::default(),
            clear_error: Signal::default(),
            now: DFF::default(),
            open: DFF::default(),
            old: DFF::default(),
            old_open: DFF::default(),
            unknown: DFF::default(),
            failures,
            is_few: Constant::new(few),
            count_mask: Constant::new(FB::new(2 * most - 1)),
            most: Constant::new(FB::new(most)),
            code: Signal::default(),
            shown: Signal::default(),
            crowded: Signal::default(),
            after: Signal::default(),
            old_after: Signal::default(),
            is_bad: Signal::default(),
            waits: Signal::default(),
            blamed: Signal::default(),
            same: Signal::default(),
        }
    }
}

impl Logic for Tags {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, now, open, old, old_open, unknown);
        clock!(self, clock, failures);
        self.failures.reset.next = self.reset.val();
        self.after.next = self.open.q.val();
        self.old_after.next = self.old_open.q.val();
        self.blamed.next = self.now.q.val();
        if self.answered.val() {
            if self.old_open.q.val() != 0 {
                self.old_after.next = self.old_open.q.val() - 1;
                if self.failed.val() {
                    self.blamed.next = self.old.q.val();
                }
            } else {
                self.after.next = self.open.q.val() - 1;
            }
        }
        if self.asked.val() {
            self.after.next = self.after.val() + 1;
        }
        self.after.next = self.after.val() & self.count_mask.val();
        self.old_after.next = self.old_after.val() & self.count_mask.val();
        self.open.d.next = self.after.val();
        self.old_open.d.next = self.old_after.val();
        self.crowded.next = self.open.q.val() & self.most.val();
        self.room.next = (self.crowded.val() == 0) && self.failures.ready.val();

        self.code.next = self.tag.val();
        if self.is_few.val() {
            self.code.next = (bit_cast::<8, 1>(self.tag.val().get_bit(7).into()) << 3)
                | bit_cast::<8, 3>(self.tag.val().get_bits::<3>(0));
        }
        self.same.next = self.code.val() == self.now.q.val();
        self.changed.next = self.same.val() || ((self.old_open.q.val() == 0) && !self.unknown.q.val());
        if self.change.val() && !self.same.val() && self.changed.val() {
            self.now.d.next = self.code.val();
            self.old.d.next = self.now.q.val();
            self.old_open.d.next = self.after.val();
            self.open.d.next = 0.into();
        }

        self.is_bad.next = self.answered.val() && self.failed.val();
        // Behind a reset a source may fail while the set is still being wiped; a write cannot.
        self.waits.next = self.is_bad.val() || !self.failures.ready.val();
        self.unknown.d.next = self.unread.val() || (self.unknown.q.val() && self.waits.val());
        self.failures.put.next = self.is_bad.val() || (self.unknown.q.val() && self.failures.ready.val());
        self.failures.tag.next = self.blamed.val();
        self.failures.take.next = self.clear_error.val();
        self.quiet.next = (self.open.q.val() == 0)
            && (self.old_open.q.val() == 0)
            && !self.unknown.q.val()
            && self.failures.settled.val();
        self.error.next = self.failures.found.val();
        self.shown.next = self.failures.which.val();
        if self.is_few.val() {
            self.shown.next = bit_cast::<8, 3>(self.failures.which.val().get_bits::<3>(0));
            if self.failures.which.val().get_bit(3) {
                self.shown.next = self.shown.val() | 0x80;
            } else if self.failures.which.val().get_bit(2) {
                self.shown.next = self.shown.val() | 0x78;
            }
        }
        self.error_tag.next = self.shown.val();
        if self.reset.val() {
            self.now.d.next = 0.into();
            self.open.d.next = 0.into();
            self.old_open.d.next = 0.into();
            self.unknown.d.next = false;
        }
    }
}
