use super::tags::Tags;
use super::{Bursts, Fetch, ReadMaster, WriteMaster};
use crate::fb::{FB, bit_cast};
use rust_hdl::prelude::*;

/// What the writer is doing.
#[derive(Copy, Clone, PartialEq, Debug, LogicState)]
enum State {
    /// Taking C0.
    Command,
    /// PLACE: taking C1.
    Source,
    /// Taking the low and the high word of the destination.
    ToLow,
    ToHigh,
    /// PLACE: taking the low and the high word of the source in host memory.
    FromLow,
    FromHigh,
    /// Choosing the next stretch without markers.
    Stretch,
    /// Stepping over a marker.
    Marker,
    /// Starting it.
    Launch,
    /// Moving it.
    Move,
    /// Stepping over it.
    Advance,
    /// IRQ: waiting for all answers.
    Settle,
    /// TAG: waiting until there is a place for it.
    Mark,
}

/// Executes the commands that write host memory, one after the other.
///
/// ```text
///  command --+--> registers --> Bursts ----------------> channel (command)
///            |        |
///            +------> Fetch --> strobes --------------> channel (data)
///  ring, reads -------^                     Tags <----- channel (answers)
///                                             +--> error, drained
/// ```
///
/// **Interface.** Commands on `command` as in section 4 of docs/microarchitecture.md; a word that begins no command is
/// dropped. `free_to` and `free_enable` go to the ring; `irq` is the interrupt line. `drained`: all commands taken are executed and all
/// writes answered. `error`: one with `error_tag` failed; each tag is shown once, until `clear_error`.
///
/// **Theory of operation.** A stretch of bytes comes out of the fetch with its first byte where the destination wants
/// it, so bytes that are none are held back by strobes and nothing else. PLACE with markers is a PLACE of each stretch between
/// them: first up to the next marker, then 508 bytes each, the marker stepped over. Behind a word that could not be
/// read the strobes stay clear: nothing is written that was not there. What a command has read from the ring it has
/// read when it is done, so FREE is just passed on.
///
/// **Latency** 5 cycles from the last word of a PLACE to the first word of data. **Throughput** one word a cycle within a
/// stretch.
///
/// **Area and fmax** on the HX8K: docs/area.md.
#[derive(LogicBlock, Default)]
pub struct Writer<const A: usize> {
    /// Rising edge.
    pub clock: Signal<In, Clock>,
    /// Synchronous: forget everything. The channels must be reset too.
    pub reset: Signal<In, Bit>,
    /// Next word of a command.
    pub command: Signal<In, FB<32>>,
    /// There is one.
    pub command_valid: Signal<In, Bit>,
    /// It is taken.
    pub command_ready: Signal<Out, Bit>,
    /// Next word to read from the ring.
    pub ring_address: Signal<Out, FB<A>>,
    /// The word at the address of the cycle before.
    pub ring_data: Signal<In, FB<32>>,
    /// No, it is another.
    pub ring_wait: Signal<In, Bit>,
    /// Word address in the ring; everything before it is free.
    pub free_to: Signal<Out, FB<16>>,
    /// It is.
    pub free_enable: Signal<Out, Bit>,
    /// The interrupt line.
    pub irq: Signal<Out, Bit>,
    /// Nothing is under way.
    pub drained: Signal<Out, Bit>,
    /// A write failed.
    pub error: Signal<Out, Bit>,
    /// Its tag.
    pub error_tag: Signal<Out, FB<8>>,
    /// It is known.
    pub clear_error: Signal<In, Bit>,
    /// Host memory as source.
    pub source: ReadMaster,
    /// Host memory as destination.
    pub channel: WriteMaster,
    fetch: Fetch<A>,
    bursts: Bursts,
    tags: Tags,
    state: DFF<State>,
    // The command.
    is_place: DFF<Bit>,
    markers: DFF<Bit>,
    goes_on: DFF<Bit>,
    from_host: DFF<Bit>,
    level: DFF<Bit>,
    tag: DFF<FB<8>>,
    left: DFF<FB<16>>,
    // Bytes to the next marker. Where the next byte comes from the fetch knows, where it goes to the bursts.
    to_marker: DFF<FB<9>>,
    // The stretch, the words it takes, and what is still to be done of it.
    stretch: DFF<FB<16>>,
    moving: DFF<Bit>,
    inner: DFF<FB<10>>,
    first_lane: DFF<FB<2>>,
    line: DFF<Bit>,
    op: Signal<Local, FB<4>>,
    launches: Signal<Local, Bit>,
    lane: Signal<Local, FB<2>>,
    keeps: Signal<Local, Bit>,
    passes: Signal<Local, Bit>,
    low_strobes: Signal<Local, FB<4>>,
    high_strobes: Signal<Local, FB<4>>,
    is_cut: Signal<Local, Bit>,
    is_idle: Signal<Local, Bit>,
}

impl<const A: usize> Writer<A> {
    /// For the tags of a device of 4 QPs: see `Tags`.
    pub fn few_tags(mut self) -> Self {
        self.tags = Tags::few();
        self
    }

    /// A byte a cycle, where bytes have to be turned.
    pub fn serial(mut self) -> Self {
        self.fetch = self.fetch.serial();
        self
    }

    /// With host addresses of 32 bits: see [`Bursts`].
    pub fn narrow(mut self) -> Self {
        self.fetch = self.fetch.narrow();
        self.bursts = self.bursts.narrow();
        self
    }
}

impl<const A: usize> Logic for Writer<A> {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(
            self, clock, state, is_place, markers, goes_on, from_host, level, tag, left, to_marker, stretch,
            moving, inner, first_lane, line
        );
        clock!(self, clock, fetch, bursts, tags);
        ReadMaster::link(&mut self.source, &mut self.fetch.channel);
        self.fetch.reset.next = self.reset.val();
        self.bursts.reset.next = self.reset.val();
        self.tags.reset.next = self.reset.val();
        self.ring_address.next = self.fetch.ring_address.val();
        self.fetch.ring_data.next = self.ring_data.val();
        self.fetch.ring_wait.next = self.ring_wait.val();

        // The command.
        self.command_ready.next = (self.state.q.val() == State::Command)
            || (self.state.q.val() == State::Source)
            || (self.state.q.val() == State::ToLow)
            || (self.state.q.val() == State::ToHigh)
            || (self.state.q.val() == State::FromLow)
            || (self.state.q.val() == State::FromHigh);
        self.free_to.next = self.command.val().get_bits::<16>(16);
        self.free_enable.next = false;
        self.op.next = self.command.val().get_bits::<4>(0);
        self.fetch.word.next = self.command.val();
        self.fetch.set_low.next = false;
        self.fetch.set_high.next = false;
        self.bursts.word.next = self.command.val();
        self.bursts.set_low.next = false;
        self.bursts.set_high.next = false;
        // A command goes on where it is; another begins at its own addresses.
        self.keeps.next = self.goes_on.q.val();
        if self.command_valid.val() {
            if self.state.q.val() == State::Command {
                self.is_place.d.next = self.op.val() == 1;
                if self.op.val() == 1 {
                    self.state.d.next = State::Source;
                    self.markers.d.next = self.command.val().get_bit(4);
                    self.goes_on.d.next = self.command.val().get_bit(5);
                    self.level.d.next = self.command.val().get_bit(6);
                    self.left.d.next = self.command.val().get_bits::<16>(16);
                }
                if (self.op.val() == 2)
                    && (self.command.val().get_bits::<8>(8) != 0)
                    && (self.command.val().get_bits::<8>(8) < 33)
                {
                    self.state.d.next = State::ToLow;
                    self.markers.d.next = false;
                    self.level.d.next = false;
                    self.left.d.next = bit_cast::<16, 8>(self.command.val().get_bits::<8>(8)) << 2;
                }
                if self.op.val() == 3 {
                    self.free_enable.next = true;
                }
                if self.op.val() == 4 {
                    self.state.d.next = State::Settle;
                    self.level.d.next = self.command.val().get_bit(8);
                }
                if self.op.val() == 5 {
                    self.state.d.next = State::Mark;
                    self.tag.d.next = self.command.val().get_bits::<8>(16);
                }
            }
            if self.state.q.val() == State::Source {
                self.state.d.next = State::ToLow;
                if !self.keeps.val() {
                    self.from_host.d.next = self.level.q.val();
                    // Of the ring's address only the low end counts.
                    self.fetch.set_low.next = true;
                    self.to_marker.d.next = self.command.val().get_bits::<9>(16);
                }
            }
            if self.state.q.val() == State::ToLow {
                self.state.d.next = State::ToHigh;
                self.bursts.set_low.next = true;
            }
            if self.state.q.val() == State::ToHigh {
                self.state.d.next = State::Stretch;
                // `level` says here that the source address follows.
                if self.level.q.val() {
                    self.state.d.next = State::FromLow;
                }
                self.bursts.set_high.next = true;
            }
            if self.state.q.val() == State::FromLow {
                self.state.d.next = State::FromHigh;
                self.fetch.set_low.next = !self.keeps.val();
            }
            if self.state.q.val() == State::FromHigh {
                self.state.d.next = State::Stretch;
                self.fetch.set_high.next = !self.keeps.val();
            }
        }
        if (self.state.q.val() == State::Settle) && self.tags.quiet.val() {
            self.state.d.next = State::Command;
            self.line.d.next = self.level.q.val();
        }
        self.tags.tag.next = self.tag.q.val();
        self.tags.change.next = self.state.q.val() == State::Mark;
        if (self.state.q.val() == State::Mark) && self.tags.changed.val() {
            self.state.d.next = State::Command;
        }

        // The stretches of a command.
        self.is_cut.next = self.left.q.val().get_bits::<7>(9).any()
            || (self.to_marker.q.val() < self.left.q.val().get_bits::<9>(0));
        if self.state.q.val() == State::Stretch {
            self.state.d.next = State::Launch;
            self.stretch.d.next = self.left.q.val();
            if self.left.q.val() == 0 {
                self.state.d.next = State::Command;
            } else if self.markers.q.val() && (self.to_marker.q.val() == 0) {
                self.state.d.next = State::Marker;
                self.stretch.d.next = 4.into();
            } else if self.markers.q.val() && self.is_cut.val() {
                self.stretch.d.next = bit_cast::<16, 9>(self.to_marker.q.val());
            }
        }
        self.fetch.from_words.next = !self.is_place.q.val();
        self.fetch.from_host.next = self.from_host.q.val();
        self.fetch.skip.next = self.state.q.val() == State::Marker;
        self.fetch.bytes.next = bit_cast::<18, 16>(self.stretch.q.val());
        self.lane.next = self.bursts.low.val().get_bits::<2>(0);
        self.fetch.lane.next = self.lane.val();
        self.launches.next = (self.state.q.val() == State::Launch) && self.fetch.idle.val();
        self.fetch.start.next = self.launches.val();
        self.fetch.words_data.next = self.command.val();
        self.fetch.words_valid.next = self.command_valid.val();
        if self.fetch.words_ready.val() {
            self.command_ready.next = true;
        }
        self.bursts.start.next = self.launches.val();
        self.bursts.bytes.next = bit_cast::<18, 16>(self.stretch.q.val());
        self.bursts.silent.next = false;
        if self.launches.val() {
            self.state.d.next = State::Move;
            self.moving.d.next = true;
            self.inner.d.next = self.bursts.low.val().get_bits::<10>(2);
            self.first_lane.d.next = self.lane.val();
        }

        // The commands of the channel, counted while there is room for their answers.
        self.channel.address.next = self.bursts.channel_address.val();
        self.channel.words.next = self.bursts.channel_words.val();
        self.channel.request.next = self.bursts.request.val() && self.tags.room.val();
        self.bursts.accept.next = self.channel.accept.val() && self.tags.room.val();
        self.tags.asked.next = self.bursts.request.val() && self.channel.accept.val() && self.tags.room.val();
        self.tags.answered.next = self.channel.answered.val();
        self.tags.failed.next = self.channel.failed.val();
        self.tags.unread.next = false;
        self.tags.clear_error.next = self.clear_error.val();

        // The data.
        self.low_strobes.next = 15.into();
        if self.fetch.downstream.first.val() {
            self.low_strobes.next = self.low_strobes.val() << self.first_lane.q.val();
        }
        self.high_strobes.next = 15.into();
        if self.fetch.downstream.last.val() {
            self.high_strobes.next = self.high_strobes.val() >> self.fetch.downstream.empty.val();
        }
        self.channel.strobes.next = self.low_strobes.val() & self.high_strobes.val();
        if self.fetch.failed.val() {
            self.channel.strobes.next = 0.into();
        }
        self.channel.data.next = self.fetch.downstream.data.val();
        self.channel.last.next = self.fetch.downstream.last.val() || (self.inner.q.val() == 1023);
        self.channel.valid.next = self.fetch.downstream.valid.val();
        self.fetch.downstream.ready.next = self.channel.ready.val();
        self.passes.next = self.fetch.downstream.valid.val() && self.channel.ready.val();
        if self.passes.val() {
            self.inner.d.next = self.inner.q.val() + 1;
            if self.fetch.downstream.last.val() {
                self.moving.d.next = false;
                self.tags.unread.next = self.fetch.downstream.err.val();
            }
        }
        if (self.state.q.val() == State::Move)
            && !self.moving.q.val()
            && !self.bursts.busy.val()
            && self.fetch.idle.val()
        {
            self.state.d.next = State::Advance;
        }
        if self.state.q.val() == State::Advance {
            self.state.d.next = State::Stretch;
            self.left.d.next = self.left.q.val() - self.stretch.q.val();
            if self.markers.q.val() {
                self.to_marker.d.next = self.to_marker.q.val() - self.stretch.q.val().get_bits::<9>(0);
            }
        }

        if self.state.q.val() == State::Marker {
            self.state.d.next = State::Stretch;
            self.to_marker.d.next = 508.into();
        }
        self.is_idle.next = self.state.q.val() == State::Command;
        self.drained.next = self.is_idle.val() && !self.command_valid.val() && self.tags.quiet.val();
        self.error.next = self.tags.error.val();
        self.error_tag.next = self.tags.error_tag.val();
        self.irq.next = self.line.q.val();
        if self.reset.val() {
            self.state.d.next = State::Command;
            self.line.d.next = false;
        }
    }
}
