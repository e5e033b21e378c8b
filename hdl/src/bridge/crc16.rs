use crate::fb::FB;
use rust_hdl::prelude::*;

/// CRC-16/X-25, a bit a cycle: reflected polynomial 8408.
///
/// ```text
///  bit --> xor --> shift right --> value
///           ^                       |
///           +-----------------------+
/// ```
///
/// **Interface.** `init` sets all ones; it wins over `enable`, which takes `level`. The field of a frame is `value` inverted, low byte
/// first; over a frame with its field `value` is F0B8.
///
/// **Latency** 1 cycle. **Throughput** a bit a cycle.
#[derive(LogicBlock, Default)]
pub struct Crc16 {
    /// Rising edge.
    pub clock: Signal<In, Clock>,
    /// Begin.
    pub init: Signal<In, Bit>,
    /// Take the bit.
    pub enable: Signal<In, Bit>,
    /// The next bit.
    pub level: Signal<In, Bit>,
    /// The state.
    pub value: Signal<Out, FB<16>>,
    /// It is that behind a right field.
    pub right: Signal<Out, Bit>,
    // Inverted: registers start as zero.
    state: DFF<FB<16>>,
    now: Signal<Local, FB<16>>,
    shifted: Signal<Local, FB<16>>,
    feedback: Signal<Local, Bit>,
}

impl Logic for Crc16 {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, state);
        self.now.next = !self.state.q.val();
        self.value.next = self.now.val();
        self.right.next = self.now.val() == 0xf0b8;
        self.feedback.next = self.now.val().get_bit(0) ^ self.level.val();
        self.shifted.next = self.now.val() >> 1;
        if self.feedback.val() {
            self.shifted.next = (self.now.val() >> 1) ^ 0x8408;
        }
        if self.enable.val() {
            self.state.d.next = !self.shifted.val();
        }
        if self.init.val() {
            self.state.d.next = 0.into();
        }
    }
}
