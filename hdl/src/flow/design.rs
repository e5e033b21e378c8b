use crate::ports::{Port, ports};
use rust_hdl::prelude::*;
use std::fmt::Write;

/// A block as Verilog, module `top`.
#[derive(Debug, Clone)]
pub struct Design {
    /// For people.
    pub name: String,
    /// The module and all it is made of.
    pub verilog: String,
    /// Of the module.
    pub ports: Vec<Port>,
}

impl Design {
    /// Of this block.
    pub fn new<U: Block>(name: &str, mut block: U) -> Self {
        block.connect_all();
        Design { name: name.to_owned(), verilog: generate_verilog(&block), ports: ports(&block) }
    }

    /// Bits of all ports but the clock.
    pub fn pins(&self) -> usize {
        self.data_ports().map(|port| port.bits).sum()
    }

    /// A module `framed` of three pins around `top`: inputs from a shift register, outputs into one. A block with more
    /// ports than the part has pins can be placed in it, and its combinational paths begin and end in registers.
    pub fn framed(&self) -> String {
        let mut text = String::from("module framed(input clock, input from_pin, output to_pin);\n");
        let (mut inputs, mut outputs, mut joined) = (0, 0, String::from(".clock(clock)"));
        for port in self.data_ports() {
            let (wires, used) =
                if port.is_input { ("inputs", &mut inputs) } else { ("outputs", &mut outputs) };
            write!(joined, ", .\\{} ({wires}[{}:{}])", port.name, *used + port.bits - 1, *used).unwrap();
            *used += port.bits;
        }
        writeln!(text, "reg [{inputs}:0] inputs; wire [{outputs}:0] outputs; reg [{outputs}:0] seen;")
            .unwrap();
        writeln!(text, "assign outputs[{outputs}] = 1'b0; assign to_pin = seen[{outputs}];").unwrap();
        writeln!(text, "always @(posedge clock) inputs <= {{inputs, from_pin}};").unwrap();
        writeln!(text, "always @(posedge clock) seen <= {{seen, 1'b0}} ^ outputs;").unwrap();
        writeln!(text, "top top({joined});\nendmodule").unwrap();
        text
    }

    fn data_ports(&self) -> impl Iterator<Item = &Port> {
        self.ports.iter().filter(|port| port.name != "clock")
    }
}
