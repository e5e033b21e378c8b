//! `ironwarp synth`: the RTL through yosys, nextpnr-ice40 and icepack.

use super::options::CommandError;
use crate::hardware;
use crate::size::Size;
use clap::ValueEnum;
use ironwarp_hdl::flow::{Image, Netlist, Project, statistics};
use std::path::{Path, PathBuf};

/// Boards for which there is a top module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Board {
    /// Alchitry Cu: iCE40 HX8K in CB132.
    AlchitryCu,
}

/// Place and route what goes into a board (no image yet: PLL and pads are missing), or count the cells of the core (Debian packages yosys, nextpnr-ice40, fpga-icestorm).
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Board to make an image for.
    #[arg(long, value_enum, required_unless_present = "stat")]
    board: Option<Board>,
    /// Size of the device; a board has the one that fits.
    #[arg(long, value_enum, default_value = "small")]
    config: Size,
    /// Only synthesise the core and count its cells, block by block.
    #[arg(long, conflicts_with = "board")]
    stat: bool,
    /// Seed of the placement.
    #[arg(long, default_value_t = 1)]
    seed: u32,
    /// Folder for all files; it is made if it is not there.
    #[arg(long, value_name = "DIR", default_value = "synth")]
    out: PathBuf,
}

/// Levels of the hierarchy in tables, and the size up to which a block is left out, cells.
const DEPTH: usize = 3;
const LEAST: usize = 16;

/// Run the command.
pub fn run(args: &Args) -> Result<(), CommandError> {
    std::fs::create_dir_all(&args.out)
        .map_err(|source| CommandError::File { path: args.out.clone(), source })?;
    match args.board {
        None => {
            let netlist = statistics(&args.out, &hardware::core(args.config)?.verilog)?;
            print!("{}", table(&netlist, &args.out)?);
        }
        Some(Board::AlchitryCu) => {
            if args.config != Size::Small {
                let why = "the HX8K of the Alchitry Cu holds --config small only; --config full --stat counts its cells";
                return Err(CommandError::Failed(why.into()));
            }
            let built = project(args.seed).build(&args.out);
            // The top has no PLL and its pins no pads yet (docs/board.md): on a board, this image would drive whatever is there.
            let _ = std::fs::remove_file(args.out.join("top.bin"));
            let image = built?;
            print!("{}", table(&image.netlist, &args.out)?);
            println!("\n{}", summary(&image));
            println!("area and timing only: without PLL and pads there is no image to load yet");
        }
    }
    Ok(())
}

/// What is made for the board.
fn project(seed: u32) -> Project {
    let (design, constraints) = hardware::alchitry_cu();
    let part = ["--hx8k", "--package", "cb132", "--pcf-allow-unconstrained"].map(str::to_owned).to_vec();
    Project { verilog: design.verilog, constraints, part, fill: 95, seed }
}

/// The table of blocks, left in `utilisation.md` too.
fn table(netlist: &Netlist, folder: &Path) -> Result<String, CommandError> {
    let table = netlist.table("top", DEPTH, LEAST);
    let path = folder.join("utilisation.md");
    std::fs::write(&path, &table).map_err(|source| CommandError::File { path, source })?;
    Ok(table)
}

/// What of the part is used, and how fast it is.
fn summary(image: &Image) -> String {
    let resource = |name: &str, what: &str| {
        let used = image.routed.resource(name)?;
        Some(format!("{what} {} of {}", used.used, used.available))
    };
    let resources: Vec<String> =
        [("ICESTORM_LC", "logic cells"), ("ICESTORM_RAM", "block RAMs"), ("SB_IO", "pins")]
            .iter()
            .filter_map(|(name, what)| resource(name, what))
            .collect();
    let clocks: Vec<String> =
        image.routed.clocks.iter().map(|clock| format!("{} {:.2} MHz", clock.name(), clock.mhz)).collect();
    format!("{}; {}", resources.join(", "), clocks.join(", "))
}
