use super::FlowError;
use std::collections::BTreeMap;

/// Cells of the iCE40 in a module.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cells {
    /// Look-up tables of four inputs.
    pub lut4: usize,
    /// Carries.
    pub carry: usize,
    /// Flip-flops.
    pub ff: usize,
    /// Block RAMs of 4 Kbit.
    pub bram: usize,
}

impl Cells {
    fn add(&mut self, kind: &str, count: usize) {
        match kind {
            "SB_LUT4" => self.lut4 += count,
            "SB_CARRY" => self.carry += count,
            _ if kind.starts_with("SB_DFF") => self.ff += count,
            _ if kind.starts_with("SB_RAM40_4K") => self.bram += count,
            _ => {}
        }
    }

    fn include(&mut self, other: Cells, times: usize) {
        self.lut4 += other.lut4 * times;
        self.carry += other.carry * times;
        self.ff += other.ff * times;
        self.bram += other.bram * times;
    }
}

/// The modules of a design, as yosys' `stat` counts them.
#[derive(Debug, Clone, Default)]
pub struct Netlist {
    /// A module's cells, by their type: gates and other modules.
    modules: BTreeMap<String, Vec<(String, usize)>>,
}

impl Netlist {
    /// From the last statistics in what yosys printed.
    pub fn parse(report: &str) -> Result<Self, FlowError> {
        let mut netlist = Netlist::default();
        let mut module: Option<String> = None;
        let mut in_cells = false;
        for line in report.lines() {
            let line = line.trim();
            if let Some(name) = line.strip_prefix("=== ").and_then(|rest| rest.strip_suffix(" ===")) {
                // The sum of the hierarchy, which counts modules as well as what is in them, is not wanted.
                module = (name != "design hierarchy").then(|| name.trim_start_matches('\\').to_owned());
                if let Some(name) = &module {
                    netlist.modules.insert(name.clone(), Vec::new());
                }
                in_cells = false;
            } else if line.starts_with("Number of cells:") {
                in_cells = true;
            } else if let (true, Some(module)) = (in_cells, &module) {
                let cell = line.split_once(char::is_whitespace);
                match cell.and_then(|(kind, count)| Some((kind, count.trim().parse().ok()?))) {
                    Some((kind, count)) => {
                        let kind = kind.trim_start_matches('\\').to_owned();
                        netlist.modules.get_mut(module).unwrap().push((kind, count));
                    }
                    None => in_cells = false,
                }
            }
        }
        if netlist.modules.is_empty() {
            return Err(FlowError::Report { tool: "yosys", what: "statistics".to_owned() });
        }
        Ok(netlist)
    }

    /// The cells of a module and of all that is in it.
    pub fn cells(&self, module: &str) -> Cells {
        let mut sum = Cells::default();
        for (kind, count) in self.modules.get(module).into_iter().flatten() {
            if self.modules.contains_key(kind) {
                sum.include(self.cells(kind), *count);
            } else {
                sum.add(kind, *count);
            }
        }
        sum
    }

    /// The modules in a module, by name.
    pub fn children(&self, module: &str) -> Vec<&str> {
        let cells = self.modules.get(module).into_iter().flatten();
        cells.map(|(kind, _)| kind.as_str()).filter(|kind| self.modules.contains_key(*kind)).collect()
    }

    /// A table of the hierarchy below `top`, down to `depth` levels, without modules of no more than `least` LUTs and
    /// flip-flops.
    pub fn table(&self, top: &str, depth: usize, least: usize) -> String {
        let mut text = String::from("| block | LUT4 | carry | FF | BRAM |\n|---|---|---|---|---|\n");
        self.rows(top, top, 0, depth, least, &mut text);
        text
    }

    fn rows(&self, module: &str, within: &str, level: usize, depth: usize, least: usize, text: &mut String) {
        let cells = self.cells(module);
        if level > 0 && cells.lut4.max(cells.ff) <= least && cells.bram == 0 {
            return;
        }
        // RustHDL names a module by its path.
        let name = module.strip_prefix(within).unwrap_or(module).trim_start_matches('$');
        let name = if name.is_empty() { module } else { name };
        let Cells { lut4, carry, ff, bram } = cells;
        let indent = "· ".repeat(level);
        text.push_str(&format!("| {indent}{name} | {lut4} | {carry} | {ff} | {bram} |\n"));
        if level < depth {
            for child in self.children(module) {
                self.rows(child, module, level + 1, depth, least, text);
            }
        }
    }
}

/// Logic cells after packing by nextpnr-ice40.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packed {
    /// Cells of the kind `ICESTORM_LC`: LUT, carry and flip-flop.
    pub logic_cells: usize,
}

/// How much of a resource is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Used {
    /// nextpnr's name: `ICESTORM_LC`, `ICESTORM_RAM`, `SB_IO`.
    pub resource: String,
    /// Used.
    pub used: usize,
    /// The part has.
    pub available: usize,
}

impl std::fmt::Display for Used {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = match self.resource.as_str() {
            "ICESTORM_LC" => "logic cells",
            "ICESTORM_RAM" => "block RAMs",
            "ICESTORM_PLL" => "PLLs",
            "SB_IO" => "pins",
            "SB_GB" => "global nets",
            other => other,
        };
        write!(f, "{} {what} of {}", self.used, self.available)
    }
}

/// A clock and what it can run at.
#[derive(Debug, Clone, PartialEq)]
pub struct Clock {
    /// nextpnr's name of the net: the design's, with suffixes for pads and global buffers.
    pub net: String,
    /// Highest frequency, MHz.
    pub mhz: f64,
    /// Asked for, MHz.
    pub target_mhz: f64,
}

impl Clock {
    /// The design's name of the net.
    pub fn name(&self) -> &str {
        let net =
            self.net.strip_suffix("$glb_clk").or(self.net.strip_suffix("_$glb_clk")).unwrap_or(&self.net);
        let net = net.strip_suffix('_').unwrap_or(net);
        net.strip_suffix("$SB_IO_IN").unwrap_or(net)
    }

    /// Fast enough.
    pub fn passes(&self) -> bool {
        self.mhz >= self.target_mhz
    }
}

/// What nextpnr-ice40 says when it has routed a design.
#[derive(Debug, Clone, PartialEq)]
pub struct Routed {
    /// Of the part.
    pub used: Vec<Used>,
    /// After routing.
    pub clocks: Vec<Clock>,
}

impl Packed {
    /// Of a run with `--pack-only`.
    pub fn parse(report: &str) -> Result<Self, FlowError> {
        let used = utilisation(report);
        let cells = used.iter().find(|used| used.resource == "ICESTORM_LC");
        // Two of them drive the constants 0 and 1.
        let logic_cells = cells.map(|cells| cells.used.saturating_sub(2)).ok_or_else(no_utilisation)?;
        Ok(Packed { logic_cells })
    }
}

impl Routed {
    /// Of a whole run.
    pub fn parse(report: &str) -> Result<Self, FlowError> {
        let used = utilisation(report);
        if used.is_empty() {
            return Err(no_utilisation());
        }
        // Frequencies stand there twice, placed and routed; the later count.
        let mut clocks: Vec<Clock> = Vec::new();
        for clock in report.lines().filter_map(clock) {
            clocks.retain(|other| other.net != clock.net);
            clocks.push(clock);
        }
        if clocks.is_empty() {
            let what = "maximum frequency of a clock".to_owned();
            return Err(FlowError::Report { tool: "nextpnr-ice40", what });
        }
        Ok(Routed { used, clocks })
    }

    /// How much of a resource is used.
    pub fn resource(&self, name: &str) -> Option<&Used> {
        self.used.iter().find(|used| used.resource == name)
    }
}

fn no_utilisation() -> FlowError {
    FlowError::Report { tool: "nextpnr-ice40", what: "device utilisation".to_owned() }
}

/// `Info: ICESTORM_LC:   143/ 7680     1%`
pub(super) fn utilisation(report: &str) -> Vec<Used> {
    let line = |line: &str| {
        let (resource, rest) = line.strip_prefix("Info:")?.trim().split_once(':')?;
        let (used, rest) = rest.split_once('/')?;
        let available = rest.split_whitespace().next()?;
        Some(Used {
            resource: resource.to_owned(),
            used: used.trim().parse().ok()?,
            available: available.parse().ok()?,
        })
    };
    report.lines().skip_while(|line| !line.contains("Device utilisation")).filter_map(line).collect()
}

/// `Info: Max frequency for clock 'clock$SB_IO_IN_$glb_clk': 64.80 MHz (PASS at 62.50 MHz)`
fn clock(line: &str) -> Option<Clock> {
    let (_, rest) = line.split_once("Max frequency for clock")?;
    let (_, rest) = rest.split_once('\'')?;
    let (net, rest) = rest.split_once("':")?;
    let (mhz, rest) = rest.split_once(" MHz (")?;
    let (_, target) = rest.split_once(" at ")?;
    Some(Clock {
        net: net.to_owned(),
        mhz: mhz.trim().parse().ok()?,
        target_mhz: target.strip_suffix(" MHz)")?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // Printed by yosys 0.23 for two adders of eight bits.
    const STAT: &str = "
3. Printing statistics.

=== sub ===

   Number of wires:                  5
   Number of memory bits:            0
   Number of processes:              0
   Number of cells:                 23
     SB_CARRY                        7
     SB_DFFE                         8
     SB_LUT4                         8

=== top ===

   Number of wires:                  4
   Number of cells:                  4
     SB_LUT4                         1
     \\sub                            2
     SB_RAM40_4K                     1

=== design hierarchy ===

   top                               1
     sub                             2

   Number of cells:                 46
     SB_CARRY                       14
     SB_DFF                         16
     SB_LUT4                        16

End of script. Logfile hash: e813f9779d, CPU: user 0.39s system 0.02s, MEM: 20.66 MB peak
";

    // Lines of nextpnr-ice40 0.4.
    const NEXTPNR: &str = "
Info: Promoting globals..
Info: Device utilisation:
Info: \t         ICESTORM_LC:    18/ 7680     0%
Info: \t        ICESTORM_RAM:     3/   32     9%
Info: \t               SB_IO:    25/  256     9%

Info: Max frequency for clock 'c$SB_IO_IN_$glb_clk': 365.23 MHz (PASS at 62.50 MHz)
Info: Routing..
Info: Max frequency for clock 'c$SB_IO_IN_$glb_clk': 61.20 MHz (FAIL at 62.50 MHz)
Info: Max frequency for clock 'rmii$glb_clk': 88.00 MHz (PASS at 50.00 MHz)
";

    #[test]
    fn cells_of_modules() {
        let netlist = Netlist::parse(STAT).unwrap();
        assert_eq!(netlist.cells("sub"), Cells { lut4: 8, carry: 7, ff: 8, bram: 0 });
        assert_eq!(netlist.cells("top"), Cells { lut4: 17, carry: 14, ff: 16, bram: 1 });
        assert_eq!(netlist.children("top"), ["sub"]);
        let table = netlist.table("top", 1, 0);
        assert!(table.ends_with("| top | 17 | 14 | 16 | 1 |\n| · sub | 8 | 7 | 8 | 0 |\n"), "{table}");
    }

    #[test]
    fn utilisation_and_clocks() {
        assert_eq!(Packed::parse(NEXTPNR).unwrap(), Packed { logic_cells: 16 });
        let routed = Routed::parse(NEXTPNR).unwrap();
        let ram = Used { resource: "ICESTORM_RAM".into(), used: 3, available: 32 };
        assert_eq!(routed.resource("ICESTORM_RAM"), Some(&ram));
        let clocks: Vec<_> = routed.clocks.iter().map(|c| (c.name(), c.mhz, c.passes())).collect();
        assert_eq!(clocks, [("c", 61.2, false), ("rmii", 88.0, true)]);
    }

    #[test]
    fn reports_without_figures_are_errors() {
        let text = |error: FlowError| error.to_string();
        assert!(text(Netlist::parse("nothing").unwrap_err()).contains("yosys printed no statistics"));
        assert!(text(Packed::parse("nothing").unwrap_err()).contains("no device utilisation"));
        let placed = NEXTPNR.split("Info: Max").next().unwrap();
        assert!(text(Routed::parse(placed).unwrap_err()).contains("no maximum frequency"));
    }
}
