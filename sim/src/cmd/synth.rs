//! `ironwarp synth`: the RTL through yosys, nextpnr-ice40 and icepack.

use super::options::CommandError;
use crate::hardware;
use crate::size::Size;
use clap::ValueEnum;
use ironwarp_hdl::flow::{Image, Project, statistics};
use std::path::{Path, PathBuf};

/// Boards for which there is a top module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Board {
    /// Alchitry Cu: iCE40 HX8K in CB132.
    AlchitryCu,
}

/// Make what goes into the flash of a board, or count the cells of the core (Debian packages yosys, nextpnr-ice40, fpga-icestorm).
///
/// Leaves `top.bin`, the bitstream, and `flash.bin`, that and the program of the device, if the design fits the part and its clocks are fast enough, and only then; and
/// `utilisation.md`, `nextpnr.log` and all that is between.
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
    /// Print the pins and clock targets of the board, and make nothing.
    #[arg(long, requires = "board")]
    constraints: bool,
    /// Seed of the placement.
    #[arg(long, default_value_t = 1)]
    seed: u32,
    /// Folder for all files; it is made if it is not there.
    #[arg(long, value_name = "DIR", default_value = "synth")]
    out: PathBuf,
}

/// Levels of the hierarchy in tables, and the size up to which a block is left out, cells.
const DEPTH: usize = 4;
const LEAST: usize = 16;
/// Logic cells that may be used, percent.
const FILL: usize = 95;

/// Run the command.
pub fn run(args: &Args) -> Result<(), CommandError> {
    match args.board {
        None => {
            make(&args.out)?;
            print!("{}", table(&args.out, &hardware::core(args.config)?.verilog)?);
        }
        Some(Board::AlchitryCu) => {
            if args.config != Size::Small {
                let why = "the HX8K of the Alchitry Cu holds --config small only; --config full --stat counts its cells";
                return Err(CommandError::Failed(why.into()));
            }
            let (design, constraints) = hardware::alchitry_cu();
            if args.constraints {
                print!("{constraints}");
                return Ok(());
            }
            make(&args.out)?;
            let part = ["--hx8k", "--package", "cb132"].map(str::to_owned).to_vec();
            let project = Project { verilog: design.verilog, constraints, part, fill: FILL, seed: args.seed };
            build(&project, &args.out)?;
        }
    }
    Ok(())
}

/// The folder.
fn make(path: &Path) -> Result<(), CommandError> {
    std::fs::create_dir_all(path).map_err(|source| CommandError::File { path: path.into(), source })
}

/// Bitstream and flash of a board.
fn build(project: &Project, folder: &Path) -> Result<(), CommandError> {
    // One that is left from another time must not be taken for this one's.
    let flash = folder.join("flash.bin");
    for path in [folder.join("top.bin"), flash.clone()] {
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(CommandError::File { path, source });
            }
            _ => {}
        }
    }
    print!("{}", table(folder, &project.verilog)?);
    let image = project.build(folder)?;
    println!("\n{}", summary(&image));
    let file = |source| CommandError::File { path: image.path.clone(), source };
    let bitstream = std::fs::read(&image.path).map_err(file)?;
    let content =
        hardware::alchitry_cu_flash(&bitstream).map_err(|error| CommandError::Failed(error.to_string()))?;
    std::fs::write(&flash, content).map_err(|source| CommandError::File { path: flash.clone(), source })?;
    println!(
        "{}: the bitstream; {}: with the device's program, for `ironwarp program`",
        image.path.display(),
        flash.display()
    );
    Ok(())
}

/// The table of blocks, left in `utilisation.md` too.
fn table(folder: &Path, verilog: &str) -> Result<String, CommandError> {
    let table = statistics(folder, verilog)?.table("top", DEPTH, LEAST);
    let path = folder.join("utilisation.md");
    std::fs::write(&path, &table).map_err(|source| CommandError::File { path, source })?;
    Ok(table)
}

/// What of the part is used, and how fast it is.
fn summary(image: &Image) -> String {
    let resources = ["ICESTORM_LC", "ICESTORM_RAM", "ICESTORM_PLL", "SB_IO"];
    let resources: Vec<String> =
        resources.iter().filter_map(|name| image.routed.resource(name)).map(ToString::to_string).collect();
    let clocks: Vec<String> = image
        .routed
        .clocks
        .iter()
        .map(|clock| format!("{} {:.2} MHz of {:.2}", clock.name(), clock.mhz, clock.target_mhz))
        .collect();
    format!("{}; {}", resources.join(", "), clocks.join(", "))
}
