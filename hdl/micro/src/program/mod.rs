//! The device's program. It mirrors the golden model (`sim/src/model`), file by file, rule by rule.
//!
//! | file | part | model |
//! |---|---|---|
//! | `main` | boot, dispatch, ready queue, alarm | `mod.rs` |
//! | `host`, `window`, `command` | registers, window, commands, doorbells | `registers.rs`, `qp.rs` |
//! | `event`, `cq`, `srq`, `raw` | what the host is told | `host.rs`, `cq.rs`, `srq.rs` |
//! | `region` | the region table | `region.rs` |
//! | `stop` | errors of a QP | `qp.rs` |
//! | `receive` | frames in: lookup, acceptance, ACKs | `tcp/receive.rs`, `qp.rs` |
//! | `congestion`, `timers` | congestion, RTT, timers | `tcp/*.rs` |
//! | `send` | frames out: window, segments, headers | `tcp/send.rs`, `qp.rs` |
//! | `stream` | stream mode | `stream.rs` |
//! | `mpa` | FPDUs in | `rdma/receive.rs` |
//! | `alike` | the short way of small Writes that come | |
//! | `predict` | what is expected next, said before the sequencer sleeps | |
//! | `deliver`, `untagged`, `buffer`, `fault` | DDP and RDMAP rules | `rdma/deliver.rs` |
//! | `work`, `message`, `transmit`, `render`, `writes`, `runs` | send entries, messages, FPDUs out and journal, frames, the short ways of small Writes | `rdma/work.rs`, `rdma/transmit.rs` |
//!
//! ## Conventions
//! "The current QP" is the one in the QP register; QPN and TQ belong to it. Routines take arguments in A0.., give results in R0.., and may
//! change T0..T15, A*, R* unless they promise less:
//! * `count` (A0 counter), `wake`, `arm` (A0 deadline): change A0, A1, T14, T15 only.
//! * `region_remote`, `region_local`: keep T0..T7 and A*.
//! * `event`, `cq_complete`: keep T0..T7.
//!
//! ## Routines that parts offer each other
//! Infrastructure (`main`, `host`, `command`, `event`, `cq`, `srq`, `raw`, `region`, `stop`):
//! * `select`: A0 = QP number becomes the current QP.
//! * `wake`: the current QP into the ready queue, if it is not there.
//! * `arm`: A0 = a deadline; the alarm goes off no later.
//! * `count`: A0 = counter number, + 1.
//! * `event`: A0 = event word 0 (type, code, object), A1, A2 = parameters.
//! * `cq_complete`: A0 = CQ, E0..E7 = completion without phase; R0 = 1 written, 0 dropped.
//! * `srq_take`: A0 = SRQ; R0 = 0 taken, 1 empty, 2 bad; R1 = entry index; the entry's 16 words are then read from port DMA by the
//!   caller (status word already taken).
//! * `raw_frame`: A0 = D0, A1 = D1, A2 = bit 0 checksum good, bit 1 diverted, with A3 = QP | count << 16. Places the frame into the raw ring or drops and counts; does not FREE.
//! * `region_remote`, `region_local`: A0 STag, A1/A2 TO, A3 length > 0, A4 rights needed; the asker is ASKER of the current QP, for `region_remote` and
//!   `region_local` alike, except that bits of PD may be replaced in A5 (PD 31:16 | QP) : A5 is always the asker. R0 = 0 or `Refusal` + 1 in the order of the
//!   model's enum; R1/R2 host address.
//! * `region_invalidate`: A0 STag, A5 asker; R0 = 1 done. `region_bind`, `region_fast_register`: send entry in T at t::ENTRY; R0 = 1 done.
//! * `stop`: A0 = `ErrorCause`, A1 = words of the record at t::RECORD (0: none). Model: `Qp::stop`.
//! * `flush_cursors`: R0, R1.
//! * `drain`: all writes are done; R0 = 1 if one of the current QP has failed (never read port DRAIN otherwise: errors of others would be
//!   lost). Changes A0, R0, T14, T15 only. `dma_fault`: a small read failed: counts it; changes T14, T15 only.
//! * `judge`: doorbell A1 against the index A0 of a ring of A3 entries with room for A2; R0 = 0 it is taken, 1 stale, 2 impossible; R1 the new
//!   index. Changes T15, R0, R1 only.
//! * `scale`: R0 = A0 ticks in units of 1024 ns, at most 2^30. Keeps T0..T7.
//! * `lookup`: A0 hash, A1..A3 = D3..D5; R0 = QP + 1, which then is the current one, or 0. Changes T14, T15, R0, R1 only.
//! * `injected`: the descriptor of an injected frame was read. Changes T14 only.
//! * Before its own PLACE and WORDS every routine says whose they are: `pack(WRITER, QPN, 5)`.
//!
//! TCP (`receive`, `congestion`, `timers`, `send`, `stream`):
//! * `rx_frame`: a descriptor is there. `rx_finish`: the frame RX_* was delivered: FIN, events, wake, FREE, RX_BUSY = 0.
//! * `tcp_activate`: TCB of the current QP from its context (model: `Tcb::new`). `tcp_set_mss`: A0.
//! * `transmit`: a turn of the current QP; R0 = 1 if a frame was built, 2 if it was the last for now.
//! * `on_time`: timers of the current QP that are due; re-arms. R0/R1: bit 0 whether there is a deadline, and it.
//! * `frame_headers`: the HEADER command with its 14 words: A0 SEQ, A1 payload bytes, A2 TCP flags; takes ACK and window from the TCB as the frame is built.
//! * `ack_now`: the current QP owes an ACK at once.
//! * `stream_activate`, `stream_post` (A0; R0 ok), `stream_consume` (A0; R0 ok), `stream_arm` (A0), `update_window`.
//!
//! Prediction (`predict`), if there is any:
//! * `expect`: the sequencer is about to sleep.
//!
//! RDMA receive (`mpa`, `deliver`):
//! * `rdma_deliver`: A0 = ring byte address, A1 = bytes in order of the current QP, first sequence number A2. Starts the walker; the frame is finished when it ends.
//! * `walk_packet`: a walker packet is there. Ends with `rx_finish` of the frame when it was the last.
//! * `own_error`: the current QP stops for a fault of our own. `detected`: it stops for error A0 (code 15:8, type 7:4, layer 3:0) in the segment
//!   of A1 bytes in W0 (as on the wire), W1..W4 (as numbers) and t::FPDU (as on the wire), or in none (A1 = 0). `rdmap_refusal`: A0 = the error for R0 of a
//!   region check.
//! * `rdma_rx_activate`; `post_receive`: A0 index; R0 = 1 possible. `cut_at_fin`: R0 = bits 0 FPDU, 1 message, 2 Reads open.
//!
//! RDMA transmit (`work`, `message`, `transmit`, `render`):
//! * `rdma_tx_activate`; `post_send`: A0 index; R0 = 1 possible.
//! * `acknowledged`: SND_UNA has moved.
//! * `rdma_plan`: A0 from, A1 room, A2 may cut; R0 = 0 nothing, 1 a cut, R1 its bytes, R2 push. Stops the QP itself on errors.
//! * `rdma_run`: A0 = END, A1 room: a frame of small Writes that were just posted; R0 = 0 there is none, 2 nothing is left; R1 its bytes.
//! * `rdma_build`: A0 from, A1 bytes > 0, A2 TCP flags: BEGIN, `frame_headers`, FPDUs, END. R0 = 0 if they are lost.
//! * `finish_work`: A0 = work, A1 = status. `check_failure`: the stop that a failed entry brings.
//! * `rdma_stop`, `send_terminate` (R0 = 1 it goes), `is_drained` (R0).

mod alike;
mod buffer;
mod command;
mod congestion;
mod cq;
mod deliver;
mod event;
mod fault;
mod host;
mod main;
mod message;
mod mpa;
mod predict;
mod raw;
mod receive;
mod region;
mod render;
mod runs;
mod send;
mod source;
mod srq;
mod stop;
mod stream;
mod timers;
mod transmit;
mod untagged;
mod window;
mod work;
mod writes;

use crate::asm::{Asm, AsmError, Program};
use crate::layout::{Sizes, g};

/// Words of the ROM of a `full` device.
pub const ROM: usize = 8192;

/// Assemble the program of a device.
pub fn assemble(sizes: &Sizes) -> Result<Program, AsmError> {
    let room = usize::from(g::CONSTANTS_END - g::CONSTANTS);
    let p = &mut Asm::new(g::CONSTANTS, room);
    main::define(p, sizes);
    host::define(p, sizes);
    command::define(p, sizes);
    window::define(p, sizes);
    event::define(p, sizes);
    cq::define(p, sizes);
    srq::define(p, sizes);
    raw::define(p, sizes);
    region::define(p, sizes);
    stop::define(p, sizes);
    receive::define(p, sizes);
    congestion::define(p, sizes);
    timers::define(p, sizes);
    send::define(p, sizes);
    stream::define(p, sizes);
    mpa::define(p, sizes);
    deliver::define(p, sizes);
    work::define(p, sizes);
    message::define(p, sizes);
    transmit::define(p, sizes);
    render::define(p, sizes);
    runs::define(p, sizes);
    if sizes.predicts {
        predict::define(p, sizes);
    }
    std::mem::take(p).assemble(ROM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_a_small_device_fit_1024_words() {
        assert!(Sizes::SMALL.table() <= 1024, "{} words", Sizes::SMALL.table());
    }

    #[test]
    fn both_configurations_assemble() {
        for sizes in [Sizes::FULL, Sizes::SMALL] {
            let program = assemble(&sizes).unwrap();
            println!("{} words, T {} words", program.words.len(), sizes.table());
        }
    }
}
