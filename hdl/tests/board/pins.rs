//! The pins of the Cu: the top module, the constraints, the guide and the part agree; and what is in the pads does what it should.

use ironwarp_hdl::bridge::Baud;
use ironwarp_hdl::flow::{Design, FlowError, Project, run};
use ironwarp_hdl::ports::ports;
use ironwarp_hdl::top::{AlchitryCu, CU_CLOCK_HZ, CU_PHASE, FlashPads, cu_constraints, cu_pins};
use rust_hdl::prelude::*;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

const BAUD: u64 = 12_000_000;

fn folder(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("ironwarp-{name}-{}", std::process::id()))
}

#[test]
fn every_pin_of_the_top_has_a_pad_of_its_own() {
    let mut top = AlchitryCu::new(BAUD);
    top.connect_all();
    let mut wanted: BTreeSet<String> = ports(&top)
        .into_iter()
        .flat_map(|port| {
            (0..port.bits).map(move |bit| {
                if port.bits == 1 { port.name.clone() } else { format!("{}[{bit}]", port.name) }
            })
        })
        .collect();
    // The only one that goes both ways.
    wanted.insert("flash_io0".into());
    let pins = cu_pins();
    assert_eq!(pins.iter().map(|pin| pin.name()).collect::<BTreeSet<_>>(), wanted);
    let pads: BTreeSet<_> = pins.iter().map(|pin| &pin.pad).collect();
    assert_eq!(pads.len(), pins.len(), "{pads:?}");
}

#[test]
fn the_constraints_file_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../constraints/alchitry-cu.pcf");
    assert_eq!(
        std::fs::read_to_string(&path).unwrap_or_default(),
        cu_constraints(),
        "write it anew: cargo run --release -- synth --board alchitry-cu --constraints > constraints/alchitry-cu.pcf"
    );
}

#[test]
fn the_guide_has_the_wiring() {
    let guide = include_str!("../../../docs/board.md");
    for pin in cu_pins() {
        // `A2, PHY RX0` has a row of its own; what is on the board is named with its pad.
        let row = match pin.wire.split_once(", PHY ") {
            Some((connector, module)) => {
                format!("| {} | {connector} | {} | {module}", pin.name(), pin.pad)
            }
            None => format!("| {} | {} | {} |", pin.name(), pin.pad, pin.wire),
        };
        assert!(guide.contains(&row), "docs/board.md lacks the row `{row}`");
    }
}

/// The flash's pins of another board with the same die, in another package, are known from picosoc's constraints: same tile, same pad cell.
#[test]
fn the_flash_is_at_the_dedicated_pins_of_the_die() {
    let script = "\
import sys
sys.path.insert(0, '/usr/share/fpga-icestorm/python')
import icebox
known = {pin: (x, y, z) for pin, x, y, z in icebox.pinloc_db['8k-ct256']}
ours = {(x, y, z): pin for pin, x, y, z in icebox.pinloc_db['8k-cb132']}
print(*[ours[known[pin]] for pin in ('P12', 'P11', 'R11', 'R12')])";
    let pads = match Command::new("python3").args(["-c", script]).output() {
        Ok(output) if output.status.success() => String::from_utf8(output.stdout).unwrap(),
        _ => {
            println!("skipped: python3 with icebox is not installed (Debian package fpga-icestorm)");
            return;
        }
    };
    let ours = ["flash_io0", "flash_io1", "flash_clock", "flash_select"]
        .map(|port| cu_pins().into_iter().find(|pin| pin.port == port).expect("a pin of the flash").pad);
    assert_eq!(pads.split_whitespace().collect::<Vec<_>>(), ours);
}

#[test]
fn both_documented_rates_can_be_built() {
    for baud in [BAUD, 3_000_000] {
        let _ = Baud::<CU_PHASE>::new(CU_CLOCK_HZ, baud);
    }
}

/// The top with something small in the place of the device.
fn stand_in() -> String {
    let verilog = Design::new("alchitry-cu", AlchitryCu::new(BAUD)).verilog;
    let begin = verilog.find("module top$cu(").expect("the device");
    let ports = &verilog[begin..begin + verilog[begin..].find(';').unwrap()];
    assert!(ports.contains("flash_run"), "{ports}");
    let body = |from: usize| {
        let text = &verilog[from..];
        &text[..text.find("endmodule").unwrap()]
    };
    // Ports are declared behind the header, up to the first thing that is none.
    let declarations: String = body(begin)
        .lines()
        .skip_while(|line| !line.trim_end().ends_with(");"))
        .skip(1)
        .filter(|line| ["input ", "output "].iter().any(|kind| line.trim_start().starts_with(kind)))
        .map(|line| format!("{line}\n"))
        .collect();
    let device = format!(
        "{ports};\n{declarations}
reg [31:0] time_core; reg [31:0] time_phy; reg [9:0] seen;
always @(posedge clock) time_core <= running ? time_core + 1 : 0;
always @(posedge clock) seen <= {{seen, flash_in_0 ^ flash_in_1 ^ rx}};
always @(posedge phy_clock) time_phy <= time_phy + {{rxd, crs_dv}};
always @(*) begin
    tx = seen[9]; txd = time_phy[31:30]; tx_en = time_phy[29]; leds = time_core[31:24];
    flash_select = time_core[3]; flash_run = time_core[2]; flash_out = time_core[1]; flash_drive = time_core[0];
end
"
    );
    verilog.replace(body(begin), &device)
}

#[test]
fn pads_pll_and_clocks_go_through_the_tools() {
    let folder = folder("pads");
    let part = ["--hx8k", "--package", "cb132"].map(str::to_owned).to_vec();
    let project = Project { verilog: stand_in(), constraints: cu_constraints(), part, fill: 95, seed: 1 };
    let image = match project.build(&folder) {
        Err(FlowError::Missing { tool, package }) => {
            println!("skipped: {tool} is not installed (Debian package {package})");
            return;
        }
        other => other.unwrap(),
    };
    let used = |resource: &str| image.routed.resource(resource).map_or(0, |used| used.used);
    assert_eq!((used("SB_IO"), used("ICESTORM_PLL")), (cu_pins().len(), 1));
    let clocks: BTreeSet<(&str, u64)> =
        image.routed.clocks.iter().map(|clock| (clock.name(), clock.target_mhz.round() as u64)).collect();
    assert_eq!(clocks, BTreeSet::from([("cu.clock", 31), ("cu.phy_clock", 50)]), "MHz");
    assert!(std::fs::metadata(&image.path).unwrap().len() > 100_000);
    std::fs::remove_dir_all(folder).unwrap();
}

/// Drives [`FlashPads`] and looks at the pins, with the cell models of the part.
const FLASH_BENCH: &str = r#"
`timescale 1ns/1ps
module bench;
    reg clock = 0, run = 0, out = 0, drive = 1, chip = 0, chip_drives = 0;
    wire in_0, flash_clock, flash_io0;
    integer errors = 0, edges = 0;
    assign flash_io0 = chip_drives ? chip : 1'bz;
    top pads(.clock(clock), .run(run), .out(out), .drive(drive), .in_0(in_0), .flash_clock(flash_clock), .flash_io0(flash_io0));
    always #16 clock = !clock;
    always @(posedge flash_clock) edges = edges + 1;
    task check(input ok); if (!ok) begin errors = errors + 1; $display("wrong at %0t", $time); end endtask
    // One cycle from edge to edge: what is driven, and what the pins must show in both halves.
    task cycle(input r, input o, input d);
        begin
            run = r; out = o; drive = d;
            #8 check(flash_clock === 1'b0);
            check(flash_io0 === (d ? o : chip_drives ? chip : 1'bz));
            #16 check(flash_clock === r);
            if (!d && chip_drives) check(in_0 === chip);
            @(posedge clock) #1;
        end
    endtask
    initial begin
        // The models have no value before something changes.
        @(posedge clock) out = 1;
        @(posedge clock) #1;
        cycle(0, 0, 1); cycle(1, 1, 1); cycle(1, 0, 1); cycle(0, 1, 1); cycle(1, 1, 1);
        cycle(1, 0, 0); chip_drives = 1; chip = 1; cycle(1, 0, 0); chip = 0; cycle(1, 0, 0); chip = 1; cycle(0, 0, 0);
        chip_drives = 0; cycle(0, 0, 1);
        check(edges == 6);
        if (errors == 0) $display("all is well");
        $finish;
    end
endmodule
"#;

#[test]
fn the_flash_is_clocked_in_the_second_half_of_a_cycle_and_io0_turns_round() {
    let models = Path::new("/usr/share/yosys/ice40/cells_sim.v");
    if Command::new("iverilog").arg("-V").output().is_err() || !models.exists() {
        println!("skipped: iverilog or yosys is not installed (Debian packages of these names)");
        return;
    }
    let folder = folder("flash-pads");
    std::fs::create_dir_all(&folder).unwrap();
    let verilog = Design::new("flash-pads", FlashPads::default()).verilog;
    std::fs::write(folder.join("pads.v"), format!("{verilog}\n{FLASH_BENCH}")).unwrap();
    let arguments = [
        "-g2012",
        "-DNO_ICE40_DEFAULT_ASSIGNMENTS",
        "-s",
        "bench",
        "-o",
        "bench",
        "pads.v",
        models.to_str().unwrap(),
    ];
    run(&folder, "iverilog", &arguments).unwrap();
    let said = run(&folder, "vvp", &["bench"]).unwrap();
    assert!(said.contains("all is well"), "{said}");
    std::fs::remove_dir_all(folder).unwrap();
}
