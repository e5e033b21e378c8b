//! The ports of a block and their values, whatever its type: what benches and tools need to go with any block.

use rust_hdl::prelude::*;

/// A port of the top module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// As in Verilog: `upstream$data`.
    pub name: String,
    /// Driven from outside.
    pub is_input: bool,
    /// 1 to 64.
    pub bits: usize,
    /// Now.
    pub value: u64,
}

/// All ports in the order of declaration.
pub fn ports<U: Block>(block: &U) -> Vec<Port> {
    let mut collector = Collector::default();
    block.accept("top", &mut collector);
    collector.ports
}

#[derive(Default)]
struct Collector {
    depth: usize,
    namespaces: Vec<String>,
    ports: Vec<Port>,
}

impl probe::Probe for Collector {
    fn visit_start_scope(&mut self, _: &str, _: &dyn Block) {
        self.depth += 1;
    }
    fn visit_end_scope(&mut self, _: &str, _: &dyn Block) {
        self.depth -= 1;
    }
    fn visit_start_namespace(&mut self, name: &str, _: &dyn Block) {
        self.namespaces.push(name.to_owned());
    }
    fn visit_end_namespace(&mut self, _: &str, _: &dyn Block) {
        self.namespaces.pop();
    }
    fn visit_atom(&mut self, name: &str, signal: &dyn Atom) {
        let is_input = match signal.kind() {
            AtomKind::InputParameter => true,
            AtomKind::OutputParameter => false,
            _ => return,
        };
        if self.depth != 1 {
            return;
        }
        let bits = signal.bits();
        assert!((1..=64).contains(&bits), "port {name} has {bits} bits");
        let mut path = self.namespaces.clone();
        path.push(name.to_owned());
        self.ports.push(Port { name: path.join("$"), is_input, bits, value: number(signal) });
    }
}

/// The value of a signal, by way of its Verilog literal: `8'h1f`.
fn number(signal: &dyn Atom) -> u64 {
    let literal = format!("{:x}", signal.verilog());
    let digits = literal.split_once("'h").unwrap_or_else(|| panic!("not a literal: {literal}")).1;
    u64::from_str_radix(digits, 16).unwrap()
}
