use super::FlowError;
use super::ice40::write;
use std::path::Path;

/// yosys' `techmap` for comparisons with constants.
const COMPARISONS: &str = include_str!("comparisons.v");

/// The yosys commands that make cells of the iCE40 of module `top` of these files in a folder; `options` are some of `synth_ice40`. What they need is written there.
///
/// `synth_ice40` makes a carry chain of every comparison, whose cells hold nothing else: of one with a constant, logic is a third as large.
/// In the board of a `small` device that is 260 LC.
pub fn synthesis(folder: &Path, files: &str, top: &str, options: &str) -> Result<String, FlowError> {
    write(folder, "comparisons.v", COMPARISONS)?;
    Ok(format!(
        "read_verilog {files}; synth_ice40 -top {top} {options} -run begin:coarse; opt_expr; opt_clean; wreduce; \
         techmap -map comparisons.v; synth_ice40 -top {top} {options} -run coarse:"
    ))
}

#[cfg(test)]
mod tests {
    use super::super::run;
    use super::*;

    /// Every comparison with every constant of six bits, on either side, as it was and as it becomes: no input tells them apart.
    #[test]
    fn comparisons_stay_what_they_are() {
        let mut text = String::from("module gold(input [6:0] a, output [511:0] y);\n");
        for i in 0..512 {
            let (operator, constant) = ([">", "<", ">=", "<="][i % 4], i / 4 % 64);
            let expression = if i < 256 {
                format!("a {operator} 32'd{constant}")
            } else {
                format!("7'd{constant} {operator} a")
            };
            text += &format!("assign y[{i}] = {expression};\n");
        }
        text += "endmodule\n";
        let folder = std::env::temp_dir().join(format!("ironwarp-comparisons-{}", std::process::id()));
        write(&folder, "gold.v", &text).unwrap();
        let prove = |text: &str| {
            write(&folder, "comparisons.v", text)?;
            let script = "read_verilog gold.v; proc; copy gold gate; techmap -map comparisons.v gate; \
                          select -assert-none gate/t:$lt gate/t:$le gate/t:$gt gate/t:$ge; \
                          miter -equiv -flatten gold gate both; sat -verify -prove trigger 0 both";
            run(&folder, "yosys", &["-p", script])
        };
        match prove(COMPARISONS) {
            Err(FlowError::Missing { .. }) => {
                println!("skipped: yosys is not installed (Debian package yosys)");
                return;
            }
            other => assert!(other.unwrap().contains("SUCCESS!")),
        }
        // A fault that must be found.
        let faulty = COMPARISONS.replace("~a[i] & b[i]", "a[i] & b[i]");
        assert_ne!(faulty, COMPARISONS);
        prove(&faulty).unwrap_err();
        std::fs::remove_dir_all(folder).unwrap();
    }
}
