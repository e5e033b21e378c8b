//! What each block costs on the iCE40 HX8K: `cargo run --release -p ironwarp-hdl --example area [--quick] [--tree] [block]`.
//!
//! LUT4, carry, FF, BRAM and LC, logic cells after packing, are those of the block alone. For fmax every input comes out
//! of a register and every output goes into one, so that combinational paths count and the number of pins does not limit.
//! `--quick` leaves fmax out: it needs no placement. `--tree` shows what is in a block, synthesised module by module.

use ironwarp_hdl::align::{Rotator, SerialRotator};
use ironwarp_hdl::bridge::{Baud, Bridge};
use ironwarp_hdl::crc::{Crc32c, Crc32cBytes};
use ironwarp_hdl::dma::{Failures, Fetch, Reader, Writer};
use ironwarp_hdl::flow::{Design, FlowError, Netlist, Packed, Routed, run, statistics, synthesis};
use ironwarp_hdl::host::Requests;
use ironwarp_hdl::mac::{Crc32x8, Ethernet, GigabitEthernet};
use ironwarp_hdl::mem::{FLASH_BASE, Fifo, Flash, Packets};
use ironwarp_hdl::mpa::{Markers, Walk};
use ironwarp_hdl::predict::{PredictReceive, PredictSend};
use ironwarp_hdl::rx::{Arbiter, Parse, Receive};
use ironwarp_hdl::seq::{SeqWindow, Sequencer};
use ironwarp_hdl::top::{SMALL_FRAME_MAX as FRAME_MAX, SMALL_LINE, small_core};
use ironwarp_hdl::tx::{Cut, Fetch as SendFetch, Framer, Serial, TxEngine, TxRing};
use std::path::Path;
use std::process::ExitCode;

const TARGET_MHZ: &str = "62.5";
const SEEDS: [&str; 3] = ["1", "2", "3"];

/// A block by name; made only when wanted.
type Maker = (&'static str, fn(&str) -> Design);

// As in a small device: rings of 512 words, 32 bits of host address, a byte a cycle; and beside the serial forms those of a full one.
const BLOCKS: &[Maker] = &[
    ("crc/crc32c", |name| Design::new(name, Crc32c::default())),
    ("crc/bytes", |name| Design::new(name, Crc32cBytes::default())),
    ("align/rotator", |name| Design::new(name, Rotator::default())),
    ("align/serial", |name| Design::new(name, SerialRotator::default())),
    ("mpa/markers", |name| Design::new(name, Markers::default())),
    ("seq/window", |name| Design::new(name, SeqWindow::default())),
    ("mem/fifo", |name| Design::new(name, Fifo::<8, 32>::default())),
    ("mem/flash", |name| Design::new(name, Flash::<13>::new(FLASH_BASE, SMALL_LINE))),
    ("mem/packets", |name| Design::new(name, Packets::<8, 32, 9>::default())),
    // Not in small.
    ("predict/send", |name| Design::new(name, PredictSend::default())),
    ("predict/receive", |name| Design::new(name, PredictReceive::default())),
    ("rx/arbiter", |name| Design::new(name, Arbiter::default())),
    ("rx/parse", |name| Design::new(name, Parse::<9>::default())),
    ("rx/receive", |name| Design::new(name, Receive::<9, 8>::default())),
    ("mpa/walk", |name| Design::new(name, Walk::<9>::default().narrow().serial())),
    ("dma/failures", |name| Design::new(name, Failures::<8>::few())),
    ("dma/fetch", |name| Design::new(name, Fetch::<9>::default().narrow().serial())),
    ("dma/reader", |name| Design::new(name, Reader::default().narrow())),
    ("dma/writer", |name| Design::new(name, Writer::<9>::default().narrow().serial().few_tags())),
    ("tx/fetch", |name| Design::new(name, SendFetch::default().narrow())),
    ("tx/framer", |name| Design::new(name, Framer::default())),
    ("tx/cut", |name| Design::new(name, Cut::default())),
    ("tx/serial", |name| Design::new(name, Serial::default())),
    ("tx/ring", |name| Design::new(name, TxRing::<9>::new(FRAME_MAX).tagged(7))),
    ("tx/engine", |name| Design::new(name, TxEngine::<6, 9>::new(FRAME_MAX, 3).narrow().serial().few_tags())),
    ("mac/ethernet", |name| Design::new(name, Ethernet::default())),
    ("mac/crc32x8", |name| Design::new(name, Crc32x8::default())),
    // Not in small: for parts with a gigabit PHY.
    ("mac/gigabit", |name| Design::new(name, GigabitEthernet::new(1518))),
    // 12 Mbaud from 31.25 MHz.
    ("bridge/engine", |name| Design::new(name, Bridge::<10>::new(Baud::new(31_250_000, 12_000_000)))),
    ("host/requests", |name| Design::new(name, Requests::new(12))),
    ("seq/core", |name| Design::new(name, Sequencer::<13, 9, 10, 9, 7>::small())),
    ("top/core", |name| Design::new(name, small_core())),
];

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut flag = |name: &str| {
        let before = arguments.len();
        arguments.retain(|argument| argument != name);
        arguments.len() != before
    };
    let (quick, tree) = (flag("--quick"), flag("--tree"));
    let wanted = arguments.first();
    if !tree {
        let frequency = if quick { String::new() } else { format!(" fmax MHz, seeds {} |", SEEDS.join("/")) };
        println!("| block | LUT4 | carry | FF | LC | BRAM |{frequency}");
        println!("|---|---|---|---|---|---|{}", if quick { "" } else { "---|" });
    }
    let folder = std::env::temp_dir().join(format!("ironwarp-area-{}", std::process::id()));
    let mut status = ExitCode::SUCCESS;
    for (name, make) in BLOCKS.iter().filter(|(name, _)| wanted.is_none_or(|w| name.contains(w.as_str()))) {
        let design = make(name);
        match if tree {
            statistics(&folder, &design.verilog).map(|netlist| netlist.table("top", 4, 8))
        } else {
            row(&design, &folder, quick)
        } {
            Ok(text) => println!("{text}"),
            Err(why) => {
                eprintln!("{name}: {why}");
                status = ExitCode::FAILURE;
            }
        }
    }
    let _ = std::fs::remove_dir_all(&folder);
    status
}

fn write(folder: &Path, file: &str, text: &str) -> Result<(), FlowError> {
    let path = folder.join(file);
    let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&path, text));
    written.map_err(|source| FlowError::File { path, source })
}

/// The row of a block.
fn row(design: &Design, folder: &Path, quick: bool) -> Result<String, FlowError> {
    write(folder, "top.v", &design.verilog)?;
    let script = synthesis(folder, "top.v", "top", "-json top.json")? + "; tee -q -o stat.txt stat";
    let cells = whole(folder, &script)?.cells("top");
    // The largest package has 206 pins; packing does not count them.
    let files = ["--hx8k", "--package", "ct256", "--json", "top.json", "--pack-only"];
    let packed = Packed::parse(&run(folder, "nextpnr-ice40", &files)?)?;
    let mut text = format!(
        "| {} | {} | {} | {} | {} | {} |",
        design.name, cells.lut4, cells.carry, cells.ff, packed.logic_cells, cells.bram
    );
    if !quick {
        text += &format!(" {} |", frequencies(design, folder)?.join(" / "));
    }
    Ok(text)
}

/// MHz, a seed each; `-` where the router finds no way or the part is too small.
fn frequencies(design: &Design, folder: &Path) -> Result<Vec<String>, FlowError> {
    write(folder, "framed.v", &design.framed())?;
    let script = synthesis(folder, "top.v framed.v", "framed", "-json framed.json")?;
    run(folder, "yosys", &["-q", "-p", &script])?;
    let seed = |seed: &&str| {
        let device = ["--hx8k", "--package", "cb132", "--freq", TARGET_MHZ, "--seed", seed];
        // A missed target is a figure here, not a failure.
        let files = ["--json", "framed.json", "--timing-allow-fail"];
        match run(folder, "nextpnr-ice40", &[&device[..], &files].concat()) {
            Ok(report) => Ok(format!("{:.0}", Routed::parse(&report)?.clocks[0].mhz)),
            Err(FlowError::Failed { .. }) => Ok("-".to_owned()),
            Err(other) => Err(other),
        }
    };
    SEEDS.iter().map(seed).collect()
}

/// What a yosys script leaves in `stat.txt`.
fn whole(folder: &Path, script: &str) -> Result<Netlist, FlowError> {
    run(folder, "yosys", &["-q", "-p", script])?;
    let path = folder.join("stat.txt");
    let report = std::fs::read_to_string(&path).map_err(|source| FlowError::File { path, source })?;
    Netlist::parse(&report)
}
