//! From a block to gates: its Verilog, and what the free tools make of it and say about it.
//!
//! * [`Design`]: a block's Verilog and ports
//! * [`Project`]: a bitstream of an iCE40
//! * [`synthesis`]: what yosys is told
//! * [`run`]: a tool, its exit status looked at
//! * [`Netlist`], [`Packed`], [`Routed`]: what yosys and nextpnr-ice40 report

mod design;
mod ice40;
mod report;
mod synthesis;
mod tool;

pub use design::Design;
pub use ice40::{Image, Project, statistics};
pub use report::{Cells, Clock, Netlist, Packed, Routed, Used};
pub use synthesis::synthesis;
pub use tool::{FlowError, run};
