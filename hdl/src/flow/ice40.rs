use super::report::utilisation;
use super::{FlowError, Netlist, Routed, Used, run, synthesis};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// What an iCE40 image is made from.
#[derive(Debug, Clone)]
pub struct Project {
    /// Verilog with the module `top`.
    pub verilog: String,
    /// Pins and clock targets, as nextpnr-ice40 reads them: `set_io PORT PAD`, `set_frequency NET MHZ`.
    pub constraints: String,
    /// nextpnr-ice40's options for the part: `--hx8k --package cb132`.
    pub part: Vec<String>,
    /// Most logic cells that may be used, percent.
    pub fill: usize,
    /// For placement.
    pub seed: u32,
}

/// What became of it.
#[derive(Debug, Clone)]
pub struct Image {
    /// Resources and clocks.
    pub routed: Routed,
    /// The bitstream.
    pub path: PathBuf,
}

/// The files of a folder, written and read.
pub(super) fn write(folder: &Path, file: &str, text: &str) -> Result<(), FlowError> {
    let path = folder.join(file);
    let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&path, text));
    written.map_err(|source| FlowError::File { path, source })
}

/// Statistics of the module `top` in `top.v`, synthesised module by module, which is a little more than the whole in one.
///
/// `top.v` is written first.
pub fn statistics(folder: &Path, verilog: &str) -> Result<Netlist, FlowError> {
    write(folder, "top.v", verilog)?;
    let script = synthesis(folder, "top.v", "top", "-noflatten")? + "; tee -q -o hierarchy.txt stat";
    run(folder, "yosys", &["-q", "-p", &script])?;
    let path = folder.join("hierarchy.txt");
    let report = std::fs::read_to_string(&path).map_err(|source| FlowError::File { path, source })?;
    Netlist::parse(&report)
}

impl Project {
    /// Runs yosys, nextpnr-ice40 and icepack in a folder, and leaves what they make there: `top.json`, `top.asc`, `top.bin`, and their
    /// reports. `top.bin` is there if, and only if, all is well: what is too large for the part, fills it too much, or has a clock that is too slow is an error.
    pub fn build(&self, folder: &Path) -> Result<Image, FlowError> {
        let path = folder.join("top.bin");
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != ErrorKind::NotFound => {
                return Err(FlowError::File { path, source });
            }
            _ => {}
        }
        // The cheapest tools first: a missing one is better known before minutes have passed.
        for tool in ["yosys", "nextpnr-ice40"] {
            run(Path::new("."), tool, &["-V"])?;
        }
        write(folder, "top.v", &self.verilog)?;
        write(folder, "top.pcf", &self.constraints)?;
        let script = synthesis(folder, "top.v", "top", "-json top.json")?;
        run(folder, "yosys", &["-q", "-l", "yosys.log", "-p", &script])?;
        let mut arguments: Vec<&str> = self.part.iter().map(String::as_str).collect();
        arguments.extend(["--json", "top.json", "--pcf", "top.pcf"]);
        // What does not fit ends the placement with one cell of very many: look at the sums before.
        let packed = run(folder, "nextpnr-ice40", &[&arguments[..], &["--pack-only"]].concat())?;
        write(folder, "nextpnr.log", &packed)?;
        self.fits(&utilisation(&packed))?;
        let seed = self.seed.to_string();
        // Timing is judged here: nextpnr would compare clocks without a target with 12 MHz.
        arguments.extend(["--asc", "top.asc", "--seed", &seed, "--timing-allow-fail"]);
        let report = run(folder, "nextpnr-ice40", &arguments)?;
        write(folder, "nextpnr.log", &report)?;
        let routed = Routed::parse(&report)?;
        self.judge(&routed)?;
        run(folder, "icepack", &["top.asc", "top.bin"])?;
        Ok(Image { routed, path })
    }

    /// Whether the part has as much of everything.
    fn fits(&self, used: &[Used]) -> Result<(), FlowError> {
        let over: Vec<Used> = used.iter().filter(|used| used.used > used.available).cloned().collect();
        if over.is_empty() { Ok(()) } else { Err(FlowError::TooLarge { over }) }
    }

    /// Nets and MHz of the constraints.
    fn targets(&self) -> Vec<(&str, f64)> {
        let lines = self.constraints.lines().filter_map(|line| {
            let mut words = line.strip_prefix("set_frequency ")?.split_whitespace();
            Some((words.next()?, words.next()?.parse().ok()?))
        });
        lines.collect()
    }

    /// Whether it is fast and small enough.
    fn judge(&self, routed: &Routed) -> Result<(), FlowError> {
        let targets = self.targets();
        for clock in &routed.clocks {
            let net = clock.name().to_owned();
            let Some((_, target_mhz)) = targets.iter().find(|(name, _)| *name == net) else {
                return Err(FlowError::NoTarget { net });
            };
            if clock.mhz < *target_mhz {
                return Err(FlowError::TooSlow { net, mhz: clock.mhz, target_mhz: *target_mhz });
            }
        }
        let cells = routed.resource("ICESTORM_LC");
        match cells {
            Some(cells) if 100 * cells.used > self.fill * cells.available => {
                Err(FlowError::TooFull { used: cells.used, available: cells.available, percent: self.fill })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Clock;
    use super::*;

    fn project(constraints: &str, fill: usize) -> Project {
        Project { verilog: String::new(), constraints: constraints.into(), part: vec![], fill, seed: 1 }
    }

    fn routed() -> Routed {
        let used = Used { resource: "ICESTORM_LC".into(), used: 7000, available: 7680 };
        let net = "clock$SB_IO_IN_$glb_clk".into();
        Routed { used: vec![used], clocks: vec![Clock { net, mhz: 40.0, target_mhz: 12.0 }] }
    }

    #[test]
    fn everything_that_does_not_fit_is_named() {
        let used = |resource: &str, used| Used { resource: resource.into(), used, available: 32 };
        let project = project("", 95);
        project.fits(&[used("ICESTORM_RAM", 32), used("SB_IO", 3)]).unwrap();
        let error = project.fits(&[used("ICESTORM_RAM", 34), used("SB_IO", 3), used("ICESTORM_LC", 40)]);
        let text = error.unwrap_err().to_string();
        assert!(text.contains("34 block RAMs of 32, 40 logic cells of 32"), "{text}");
    }

    #[test]
    fn clocks_and_cells_are_judged() {
        let at = |mhz: &str| format!("set_io clock P7 # set_frequency\nset_frequency clock {mhz} # core\n");
        project(&at("31.25"), 95).judge(&routed()).unwrap();
        let slow = project(&at("62.5"), 95).judge(&routed()).unwrap_err().to_string();
        assert!(slow.starts_with("clock `clock` runs at 40.00 MHz, not at 62.50 MHz"), "{slow}");
        let full = project(&at("31.25"), 90).judge(&routed()).unwrap_err().to_string();
        assert!(full.starts_with("7000 of 7680 logic cells are used, more than 90 %"), "{full}");
        let free = project("set_frequency phy 50\n", 95).judge(&routed()).unwrap_err().to_string();
        assert!(free.starts_with("clock `clock` has no target"), "{free}");
    }
}
