//! Blocks that are proved, not only tried: yosys' SAT solver looks for inputs that break a property within so many cycles of power-up.

use ironwarp_hdl::crc::Crc32c;
use ironwarp_hdl::flow::{Design, FlowError, run};
use ironwarp_hdl::mem::Fifo;
use ironwarp_hdl::rx::Arbiter;
use ironwarp_hdl::seq::SeqWindow;

/// Whether the module `check`, an observer of `top`, keeps its assertions for `cycles` whatever the inputs. `None`, having said so,
/// where yosys is not installed.
fn holds(name: &str, verilog: &str, check: &str, cycles: usize) -> Option<bool> {
    let folder = std::env::temp_dir().join(format!("ironwarp-formal-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("top.v"), verilog).unwrap();
    std::fs::write(folder.join("check.v"), check).unwrap();
    let script = format!(
        "read_verilog -formal top.v check.v; prep -top check; flatten; memory_map; opt -full; \
         sat -verify -prove-asserts -set-assumes -seq {cycles}"
    );
    let result = run(&folder, "yosys", &["-p", &script]);
    let _ = std::fs::remove_dir_all(&folder);
    match result {
        Ok(report) => {
            assert!(report.contains("SAT proof finished - no model found: SUCCESS!"), "{report}");
            Some(true)
        }
        Err(FlowError::Failed { log, .. }) if log.contains("proof did fail") => Some(false),
        Err(FlowError::Missing { .. }) => {
            println!("{name}: skipped: yosys is not installed (Debian package yosys)");
            None
        }
        Err(other) => panic!("{name}: {other}"),
    }
}

/// Word number `which`, any, comes out as it went in, and in its turn; the level is right.
const IN_ORDER: &str = "
module check(input clock, input [2:0] data_in, input write, input read);
   wire full, empty;
   wire [2:0] data_out;
   wire [15:0] level;
   top top(.clock(clock), .reset(1'b0), .data_in(data_in), .write(write), .full(full), .data_out(data_out),
      .empty(empty), .read(read), .level(level));
   reg [3:0] which;
   reg [3:0] written = 0, taken = 0;
   reg [2:0] word;
   always @(posedge clock) begin
      if (write & ~full) begin
         written <= written + 1;
         if (written == which) word <= data_in;
      end
      if (read & ~empty) taken <= taken + 1;
   end
   always @(*) begin
      assert (level == ((written - taken) & 4'hf));
      if (!empty && taken == which) assert (written != taken && data_out == word);
   end
endmodule
";

#[test]
fn a_fifo_loses_and_repeats_nothing() {
    let verilog = Design::new("fifo", Fifo::<2, 3>::default()).verilog;
    let Some(verdict) = holds("fifo", &verilog, IN_ORDER, 14) else { return };
    assert!(verdict);
    // Faults that must be found: a word is shown in the cycle in which it is written; the fifth is accepted.
    for (right, wrong) in
        [("empty <= next == tail;", "empty <= next == tail + writes;"), ("full = behind[2];", "full = 0;")]
    {
        let faulty = verilog.replace(right, wrong);
        assert_ne!(faulty, verilog, "no `{right}` in the Verilog");
        assert_eq!(holds("fifo-faulty", &faulty, IN_ORDER, 14), Some(false), "`{wrong}` is not found");
    }
}

/// Two cycles behind the question, in numbers that do not wrap.
const WINDOW: &str = "
module check(input clock, input [31:0] seq, input [31:0] base, input [31:0] size);
   wire [31:0] distance;
   wire before_, equal, inside;
   top top(.clock(clock), .seq(seq), .base(base), .size(size), .distance(distance), .\\before (before_),
      .equal(equal), .inside(inside));
   reg [1:0] cycles = 0;
   reg [31:0] s1, b1, n1, s2, b2, n2;
   always @(posedge clock) begin
      if (cycles != 3) cycles <= cycles + 1;
      {s1, b1, n1} <= {seq, base, size};
      {s2, b2, n2} <= {s1, b1, n1};
   end
   wire [33:0] behind = {2'b0, b2} + {2'b0, n2};
   wire this_turn = s2 >= b2 && {2'b0, s2} < behind;
   wire next_turn = {2'b01, s2} < behind;
   wire [31:0] back = b2 - s2;
   always @(*)
      if (cycles >= 2) begin
         assert (inside == (this_turn || next_turn));
         assert (equal == (s2 == b2));
         // Where the two are less than 2^31 apart.
         if (back != 32'h80000000) assert (before_ == (back != 0 && !back[31]));
      end
endmodule
";

#[test]
fn a_window_is_that_of_numbers_that_do_not_wrap() {
    let verilog = Design::new("window", SeqWindow::default()).verilog;
    let Some(verdict) = holds("window", &verilog, WINDOW, 4) else { return };
    assert!(verdict);
}

/// One side at a time, each frame whole, each word as it came, and nothing of either side lost but what is swallowed between frames.
const TURNS: &str = "
module check(input clock, input enable, input [31:0] wd, input [31:0] id, input wv, input wf, input wl, input iv, input if_, input il, input ready);
   wire wr, ir, dv, dl, injected;
   wire [31:0] dd;
   top top(.clock(clock), .reset(1'b0), .enable(enable), .wire_in$data(wd), .wire_in$valid(wv), .wire_in$ready(wr), .wire_in$first(wf),
      .wire_in$last(wl), .wire_in$empty(2'b0), .wire_in$err(1'b0), .inject$data(id), .inject$valid(iv), .inject$ready(ir), .inject$first(if_),
      .inject$last(il), .inject$empty(2'b0), .inject$err(1'b0), .downstream$data(dd), .downstream$valid(dv), .downstream$ready(ready),
      .downstream$last(dl), .injected(injected));
   reg open = 0, side = 0;
   always @(posedge clock) if (dv & ready) begin
      open <= ~dl;
      side <= injected;
   end
   always @(*) begin
      assert (~(wv & wr & iv & ir));
      if (dv & open) assert (injected == side);
      if (dv) assert (injected ? iv && dl == il && dd == id : wv && dl == wl && dd == wd);
      if (iv & ir) assert (dv & ready & injected);
      if (dv & ready) assert (injected ? ir : wr);
      if (wv & wr & ~dv) assert (~open);
   end
endmodule
";

#[test]
fn an_arbiter_mixes_no_frames() {
    let verilog = Design::new("arbiter", Arbiter::default()).verilog;
    let Some(verdict) = holds("arbiter", &verilog, TURNS, 12) else { return };
    assert!(verdict);
    // Both sides pass at once: this must be found.
    let faulty = verilog.replace("wire_in$ready = busy$q && ~from_inject$q", "wire_in$ready = busy$q");
    assert_ne!(faulty, verilog);
    assert_eq!(holds("arbiter-faulty", &faulty, TURNS, 12), Some(false));
}

/// Two words, each with at most one bit set, against the CRC bit by bit. The block is linear, XOR of bits and ANDs with constants: what holds for these holds
/// for sums of them, and they reach every bit of the state.
const BITS: &str = "
module check(input clock, input [31:0] word, input begins);
   wire [31:0] crc;
   top top(.clock(clock), .init(begins), .enable(1'b1), .data(word), .crc(crc));
   reg [31:0] serial = 0, next;
   integer i;
   always @(*) begin
      next = (begins ? 32'hffffffff : ~serial) ^ word;
      for (i = 0; i < 32; i = i + 1) next = (next >> 1) ^ (next[0] ? 32'h82f63b78 : 32'h0);
   end
   always @(posedge clock) serial <= ~next;
   always @(*) begin
      assume ((word & (word - 1)) == 0);
      assert (crc == serial);
   end
endmodule
";

#[test]
fn a_crc_is_that_of_single_bits() {
    let verilog = Design::new("crc", Crc32c::default()).verilog;
    let Some(verdict) = holds("crc", &verilog, BITS, 3) else { return };
    assert!(verdict);
    let faulty = verilog.replace("rows$3 = 32'hfc8e57b1", "rows$3 = 32'hfc8e57b3");
    assert_ne!(faulty, verilog);
    assert_eq!(holds("crc-faulty", &faulty, BITS, 3), Some(false));
}
