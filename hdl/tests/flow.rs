//! The tools on a block of a few pins: an image, and one that is too slow.

use ironwarp_hdl::align::Rotator;
use ironwarp_hdl::flow::{Design, FlowError, Project, statistics};

/// A block between three pins.
fn project(mhz: f64) -> Project {
    let design = Design::new("rotator", Rotator::default());
    let framed =
        design.framed().replace("top top(", "rotator rotator(").replace("module framed(", "module top(");
    let inner = design.verilog.replace("module top(", "module rotator(");
    assert!(inner.contains("module rotator("), "the emitter names its top otherwise");
    let constraints =
        format!("set_io clock P7\nset_io from_pin P14\nset_io to_pin M9\nset_frequency clock {mhz}\n");
    let part = ["--hx8k", "--package", "cb132"].map(str::to_owned).to_vec();
    Project { verilog: inner + &framed, constraints, part, fill: 95, seed: 1 }
}

#[test]
fn an_image_is_made_and_a_slow_one_refused() {
    let folder = std::env::temp_dir().join(format!("ironwarp-flow-{}", std::process::id()));
    let image = match project(50.0).build(&folder) {
        Err(FlowError::Missing { tool, package }) => {
            println!("skipped: {tool} is not installed (Debian package {package})");
            return;
        }
        other => other.unwrap(),
    };
    let bits = std::fs::read(&image.path).unwrap();
    assert!(bits.len() > 100_000, "{} bytes of bitstream", bits.len());
    let cells = image.routed.resource("ICESTORM_LC").unwrap().used;
    assert!((100..1000).contains(&cells), "{cells} logic cells");
    assert!(statistics(&folder, &project(50.0).verilog).unwrap().cells("top").ff >= 77);
    let error = project(1000.0).build(&folder).unwrap_err();
    assert!(matches!(&error, FlowError::TooSlow { net, .. } if net == "clock"), "{error}");
    assert!(!image.path.exists(), "an image that must not be used is not left there");
    let mut large = project(50.0);
    // 40 memories of 512 words of 8 bits.
    large.verilog += "module memory(input clock, input [8:0] at, input [7:0] d, output reg [7:0] q);
reg [7:0] words [0:511]; always @(posedge clock) begin q <= words[at]; words[at] <= d; end endmodule
module crowd(input clock, input from_pin, output to_pin); reg [8:0] at; wire [7:0] q [0:40]; assign q[0] = {8{from_pin}};
assign to_pin = ^q[40]; always @(posedge clock) at <= at + from_pin; genvar i;
generate for (i = 0; i < 40; i = i + 1) memory m(clock, at, q[i], q[i + 1]); endgenerate endmodule";
    large.verilog =
        large.verilog.replace("module top(", "module other(").replace("module crowd(", "module top(");
    let error = large.build(&folder).unwrap_err();
    assert!(matches!(&error, FlowError::TooLarge { over } if over[0].used == 40), "{error}");
    std::fs::remove_dir_all(folder).unwrap();
}
