//! The Verilog of a Cu, compiled by Verilator and loaded.

#![allow(unsafe_code)]

use crate::rtl::verilated::{VerilateError, library};
use libloading::Library;
use std::ffi::c_void;

/// What goes into the FPGA.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BoardInputs {
    /// Core clock.
    pub clock: bool,
    /// 50 MHz from the PHY.
    pub phy_clock: bool,
    /// PLL locked, button released.
    pub running: bool,
    /// UART.
    pub rx: bool,
    /// Di-bit received.
    pub rxd: u8,
    /// It is one.
    pub crs_dv: bool,
    /// Flash, IO0 and IO1.
    pub flash_in: [bool; 2],
}

/// What comes out of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BoardOutputs {
    /// UART.
    pub tx: bool,
    /// Di-bit to send.
    pub txd: u8,
    /// It is one.
    pub tx_en: bool,
    /// Lamps.
    pub leds: u8,
    /// Flash: not selected.
    pub flash_select: bool,
    /// Flash: it has a clock.
    pub flash_run: bool,
    /// Flash, IO0, if it is driven.
    pub flash_out: Option<bool>,
}

const INPUTS: [&str; 8] =
    ["clock", "phy_clock", "running", "rx", "rxd", "crs_dv", "flash_in_0", "flash_in_1"];
const OUTPUTS: [&str; 8] =
    ["tx", "txd", "tx_en", "leds", "flash_select", "flash_run", "flash_out", "flash_drive"];

/// A Cu.
pub struct BoardModel {
    model: *mut c_void,
    evaluate: unsafe extern "C" fn(*mut c_void, *const u64, *mut u64),
    delete: unsafe extern "C" fn(*mut c_void),
    // Holds the code behind the pointers above.
    _library: Library,
}

// SAFETY: a model has no threads and no thread-local state; it is used by whoever owns this value, one at a time.
unsafe impl Send for BoardModel {}

impl BoardModel {
    /// Compile the Verilog of a [`Cu`](ironwarp_hdl::top::Cu), or find it compiled, and load it.
    pub fn new(verilog: &str) -> Result<Self, VerilateError> {
        let path = library(verilog, &shim(), false)?;
        let files =
            |error: libloading::Error| VerilateError::Files(path.display().to_string(), error.to_string());
        // SAFETY: loading runs the initialisers of a library that was built from our Verilog and shim; those of Verilator's
        // runtime have no preconditions. The shim defines these names with exactly these types.
        unsafe {
            let library = Library::new(&path).map_err(files)?;
            let new = *library.get::<unsafe extern "C" fn() -> *mut c_void>(b"iw_new").map_err(files)?;
            let evaluate = *library
                .get::<unsafe extern "C" fn(*mut c_void, *const u64, *mut u64)>(b"iw_evaluate")
                .map_err(files)?;
            let delete = *library.get::<unsafe extern "C" fn(*mut c_void)>(b"iw_delete").map_err(files)?;
            Ok(Self { model: new(), evaluate, delete, _library: library })
        }
    }

    /// The inputs are these: what are the outputs?
    pub fn evaluate(&mut self, inputs: &BoardInputs) -> BoardOutputs {
        let BoardInputs { clock, phy_clock, running, rx, rxd, crs_dv, flash_in } = *inputs;
        let values = [
            u64::from(clock),
            phy_clock.into(),
            running.into(),
            rx.into(),
            u64::from(rxd & 3),
            crs_dv.into(),
            flash_in[0].into(),
            flash_in[1].into(),
        ];
        let mut outputs = [0; OUTPUTS.len()];
        // SAFETY: the model is alive until `drop` and not shared; the arrays have as many words as the shim was made for.
        unsafe { (self.evaluate)(self.model, values.as_ptr(), outputs.as_mut_ptr()) };
        let [tx, txd, tx_en, leds, select, run, out, drive] = outputs;
        BoardOutputs {
            tx: tx != 0,
            txd: txd as u8,
            tx_en: tx_en != 0,
            leds: leds as u8,
            flash_select: select != 0,
            flash_run: run != 0,
            flash_out: (drive != 0).then_some(out != 0),
        }
    }
}

impl Drop for BoardModel {
    fn drop(&mut self) {
        // SAFETY: made by `new`, deleted nowhere else; the library is dropped after this.
        unsafe { (self.delete)(self.model) };
    }
}

/// The C interface of a model.
fn shim() -> String {
    let numbered = |names: &[&str], line: fn(usize, &str) -> String| {
        names.iter().enumerate().map(|(at, name)| line(at, name)).collect::<String>()
    };
    let sets = numbered(&INPUTS, |at, name| format!("    top->{name} = in[{at}];\n"));
    let gets = numbered(&OUTPUTS, |at, name| format!("    out[{at}] = top->{name};\n"));
    format!(
        r#"#include "Vtop.h"
#include "verilated.h"
#include <cstdint>
double sc_time_stamp() {{ return 0; }}
struct Model {{ VerilatedContext context; Vtop top{{&context, "top"}}; }};
extern "C" {{
void* iw_new() {{ return new Model; }}
void iw_delete(void* model) {{ auto m = static_cast<Model*>(model); m->top.final(); delete m; }}
void iw_evaluate(void* model, const uint64_t* in, uint64_t* out) {{
    auto top = &static_cast<Model*>(model)->top;
{sets}    top->eval();
{gets}}}
}}
"#
    )
}
