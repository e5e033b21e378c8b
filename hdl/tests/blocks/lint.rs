//! Refuses kernels that Rust and Verilog understand differently.
//!
//! RustHDL translates expressions token by token: it adds no parentheses, and literals become 32 bits wide. So in
//! Verilog `a + 1 == 0` is a 33-bit question about 8-bit numbers and `a & b == c` is `a & (b == c)`. Simulation
//! follows Rust, the FPGA follows Verilog. What is refused here differs, or is too close to it; an intermediate
//! `Signal<Local, _>` of the right width is always the way out.
//!
//! Known gaps: the width of a shift's *amount*, reads of a Local before its assignment.

use proc_macro2::Span;
use std::path::{Path, PathBuf};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{BinOp, Expr, ExprBinary, ExprCall, ExprForLoop, ExprMethodCall, File, ImplItemFn, Pat, UnOp};

/// One refusal: where, and the rule.
type Finding = (Span, &'static str);

const COMPARED: &str = "result of + - ! << inside a comparison: assign it to a sized Local first";
const MIXED: &str = "& | ^ beside a comparison without parentheses: Verilog binds the comparison tighter";
const CAST: &str = "bit_cast of something else than a signal: assign it to a sized Local first";
const SHIFTED: &str = "result of + - ! << shifted right: assign it to a sized Local first";
const REDUCED: &str = "result of + - ! << reduced: assign it to a sized Local first";
const ALL: &str = "all() of an expression with a literal, which has 32 bits in Verilog: use a sized Local";
const SELECTED: &str = "bits selected from something else than a signal: assign it to a Local first";
const REPLACED: &str = "result of + - ! << in replace_bit: assign it to a sized Local first";
const NAMED: &str = "a Rust constant as value is not known to Verilog: use a Constant<T> field";
const WIDE: &str = "a literal above 32 bits widens its neighbours to 64: use a Constant<T> field";

/// Everything wrong with the kernels of a file.
fn findings(file: &File) -> Vec<Finding> {
    let mut finder = Kernels::default();
    finder.visit_file(file);
    finder.findings
}

/// Finds the functions with `#[hdl_gen]`.
#[derive(Default)]
struct Kernels {
    findings: Vec<Finding>,
    seen: usize,
}

impl Visit<'_> for Kernels {
    fn visit_impl_item_fn(&mut self, function: &ImplItemFn) {
        if function.attrs.iter().any(|attribute| attribute.path().is_ident("hdl_gen")) {
            self.seen += 1;
            let mut rules = Rules::default();
            rules.visit_block(&function.block);
            self.findings.extend(rules.findings);
        }
    }
}

/// Applies the rules to a kernel.
#[derive(Default)]
struct Rules {
    findings: Vec<Finding>,
    loop_variables: Vec<String>,
}

impl Rules {
    fn refuse(&mut self, at: &impl Spanned, rule: &'static str) {
        self.findings.push((at.span(), rule));
    }
}

impl Visit<'_> for Rules {
    fn visit_expr_binary(&mut self, binary: &ExprBinary) {
        let sides = [&*binary.left, &*binary.right];
        if is_comparison(&binary.op) {
            for side in sides {
                if overflows(side) {
                    self.refuse(side, COMPARED);
                }
                if matches!(side, Expr::Binary(inner) if is_bitwise(&inner.op)) {
                    self.refuse(side, MIXED);
                }
            }
        } else if is_bitwise(&binary.op) {
            for side in sides {
                if matches!(side, Expr::Binary(inner) if is_comparison(&inner.op)) {
                    self.refuse(side, MIXED);
                }
            }
        } else if matches!(binary.op, BinOp::Shr(_)) && overflows(&binary.left) {
            self.refuse(&binary.left, SHIFTED);
        }
        visit::visit_expr_binary(self, binary);
    }

    fn visit_expr_call(&mut self, call: &ExprCall) {
        // Not the path of the function itself, nor what `join` and `link` take.
        let name = called(call);
        let allowed = |argument: &Expr| match name.as_str() {
            "bit_cast" => is_cast_operand(argument),
            "bits" | "from" => matches!(argument, Expr::Lit(_)),
            _ => true,
        };
        if !call.args.iter().all(allowed) {
            self.refuse(call, CAST);
        }
        for argument in &call.args {
            self.visit_expr(argument);
        }
    }

    fn visit_expr_method_call(&mut self, call: &ExprMethodCall) {
        let receiver = &*call.receiver;
        match call.method.to_string().as_str() {
            // The receiver of `val` is a path of fields, its indices are loop arithmetic.
            "val" => return,
            "any" | "all" | "xor" if overflows(receiver) => self.refuse(call, REDUCED),
            "all" if has_literal(receiver) => self.refuse(call, ALL),
            "get_bit" | "get_bits" => {
                if !is_signal(receiver) {
                    self.refuse(call, SELECTED);
                }
                // An index is a loop variable, a literal, arithmetic on these, or a signal.
                if !call.args.iter().all(|index| is_signal(index) || self.is_constant(index)) {
                    self.refuse(call, SELECTED);
                }
                return;
            }
            "replace_bit" => {
                if !call.args.first().is_some_and(|index| is_signal(index) || self.is_constant(index)) {
                    self.refuse(call, SELECTED);
                }
                if overflows(receiver) || call.args.iter().skip(1).any(overflows) {
                    self.refuse(call, REPLACED);
                }
                self.visit_expr(receiver);
                call.args.iter().skip(1).for_each(|value| self.visit_expr(value));
                return;
            }
            _ => {}
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_expr_for_loop(&mut self, each: &ExprForLoop) {
        // Bounds are evaluated by Rust.
        let variable = match &*each.pat {
            Pat::Ident(pat) => pat.ident.to_string(),
            _ => String::new(),
        };
        self.loop_variables.push(variable);
        self.visit_block(&each.body);
        self.loop_variables.pop();
    }

    fn visit_expr_path(&mut self, path: &syn::ExprPath) {
        let name = path.path.get_ident().map(ToString::to_string);
        if name.is_some_and(|name| name != "self" && !self.loop_variables.contains(&name)) {
            self.refuse(path, NAMED);
        }
    }

    fn visit_expr_index(&mut self, index: &syn::ExprIndex) {
        self.visit_expr(&index.expr);
    }

    fn visit_lit_int(&mut self, literal: &syn::LitInt) {
        if literal.base10_parse::<u64>().is_ok_and(|value| value > u64::from(u32::MAX)) {
            self.refuse(literal, WIDE);
        }
    }
}

impl Rules {
    fn is_constant(&self, index: &Expr) -> bool {
        match bare(index) {
            Expr::Lit(_) => true,
            Expr::Path(path) => {
                path.path.get_ident().is_some_and(|i| self.loop_variables.contains(&i.to_string()))
            }
            Expr::Binary(binary) => self.is_constant(&binary.left) && self.is_constant(&binary.right),
            _ => false,
        }
    }
}

/// The last name of a called path.
fn called(call: &ExprCall) -> String {
    let Expr::Path(path) = &*call.func else { return String::new() };
    path.path.segments.last().map(|segment| segment.ident.to_string()).unwrap_or_default()
}

fn is_comparison(op: &BinOp) -> bool {
    matches!(op, BinOp::Eq(_) | BinOp::Ne(_) | BinOp::Lt(_) | BinOp::Le(_) | BinOp::Gt(_) | BinOp::Ge(_))
}

fn is_bitwise(op: &BinOp) -> bool {
    matches!(op, BinOp::BitAnd(_) | BinOp::BitOr(_) | BinOp::BitXor(_))
}

/// Without parentheses and conversions that Verilog does not see.
fn bare(expression: &Expr) -> &Expr {
    match expression {
        Expr::Paren(inner) => bare(&inner.expr),
        Expr::MethodCall(call)
            if ["into", "to_bits", "index"].contains(&call.method.to_string().as_str()) =>
        {
            bare(&call.receiver)
        }
        _ => expression,
    }
}

/// `self.a.b.val()` and nothing else.
fn is_signal(expression: &Expr) -> bool {
    matches!(bare(expression), Expr::MethodCall(call) if call.method == "val")
}

/// What may be cast: a signal, one of its fields, selected bits or a comparison that were all right themselves,
/// or bitwise operations on signals in parentheses.
fn is_cast_operand(expression: &Expr) -> bool {
    match bare(expression) {
        Expr::MethodCall(call) => {
            let name = call.method.to_string();
            name == "val" || name == "get_bit" || (name == "get_bits" && is_signal(&call.receiver))
        }
        Expr::Field(field) => is_signal(&field.base),
        Expr::Binary(binary) => {
            (is_bitwise(&binary.op) || is_comparison(&binary.op))
                && is_cast_operand(&binary.left)
                && is_cast_operand(&binary.right)
        }
        Expr::Lit(_) => true,
        _ => false,
    }
}

/// Whether bits above the width may appear in Verilog: + - ! << anywhere below, but not under an operator whose
/// result is a single bit or a fresh width.
fn overflows(expression: &Expr) -> bool {
    match bare(expression) {
        Expr::Binary(binary) => match binary.op {
            BinOp::Add(_) | BinOp::Sub(_) | BinOp::Mul(_) | BinOp::Shl(_) => true,
            BinOp::And(_) | BinOp::Or(_) => false,
            op if is_comparison(&op) => false,
            BinOp::Shr(_) => overflows(&binary.left),
            _ => overflows(&binary.left) || overflows(&binary.right),
        },
        Expr::Unary(unary) => matches!(unary.op, UnOp::Not(_) | UnOp::Neg(_)),
        _ => false,
    }
}

fn has_literal(expression: &Expr) -> bool {
    match bare(expression) {
        Expr::Lit(_) => true,
        Expr::Binary(binary) => has_literal(&binary.left) || has_literal(&binary.right),
        Expr::Unary(unary) => has_literal(&unary.expr),
        _ => false,
    }
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

#[test]
fn all_kernels_mean_the_same_in_verilog() {
    let mut files = Vec::new();
    rust_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    let (mut wrong, mut kernels) = (String::new(), 0);
    for path in files {
        let file = syn::parse_file(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let mut finder = Kernels::default();
        finder.visit_file(&file);
        kernels += finder.seen;
        for (span, rule) in finder.findings {
            let at = span.start();
            wrong += &format!("{}:{}:{}: {rule}\n", path.display(), at.line, at.column + 1);
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    assert!(kernels >= 3, "{kernels} kernels found");
}

/// The rules that a kernel of one statement breaks.
fn broken(statement: &str) -> Vec<&'static str> {
    let text = format!("impl Logic for X {{ #[hdl_gen] fn update(&mut self) {{ {statement} }} }}");
    let file = syn::parse_file(&text).unwrap_or_else(|e| panic!("{statement}: {e}"));
    findings(&file).into_iter().map(|(_, rule)| rule).collect()
}

#[test]
fn what_differs_is_refused() {
    for (statement, rule) in [
        ("self.p.next = self.a.val() + 1 == 0;", COMPARED),
        ("self.p.next = self.a.val() - 1 == 0xff;", COMPARED),
        ("self.p.next = !self.a.val() == 0xff;", COMPARED),
        ("self.p.next = (self.a.val() << 4) == 0x10;", COMPARED),
        ("self.p.next = (self.a.val() + 1) > self.b.val();", COMPARED),
        ("self.p.next = self.a.val() - self.b.val() < 5;", COMPARED),
        ("self.p.next = self.c.val() && self.a.val() - self.b.val() < 5;", COMPARED),
        ("if (self.a.val() + 1).into() == self.b.val() { self.p.next = true; }", COMPARED),
        ("if self.x.val() { } else if self.a.val() ^ (self.b.val() + 1) != 3 { }", COMPARED),
        ("for i in 0..8 { self.p.next = self.l[i].val() + 1 == 0; }", COMPARED),
        ("match self.s.val() { St::A => self.p.next = self.a.val() + 1 == 0, _ => {} }", COMPARED),
        ("self.p.next = self.a.val() & self.b.val() == self.c.val();", MIXED),
        ("self.p.next = self.a.val() | self.b.val() == self.c.val();", MIXED),
        ("self.p.next = self.c.val() < self.a.val() ^ self.b.val();", MIXED),
        ("self.o.next = bit_cast::<16, 8>(self.a.val() + self.b.val());", CAST),
        ("self.o.next = bit_cast::<16, 8>(!self.a.val());", CAST),
        ("self.o.next = bit_cast::<16, 8>((self.a.val() << 1).into());", CAST),
        ("self.o.next = bit_cast::<16, 8>(self.a.val() & !self.b.val());", CAST),
        ("self.o.next = bits::<16>(self.a.val());", CAST),
        ("self.o.next = (self.a.val() + 1) >> 1;", SHIFTED),
        ("self.p.next = (self.a.val() + 1).any();", REDUCED),
        ("self.p.next = (self.a.val() & !self.b.val()).xor();", REDUCED),
        ("self.p.next = (self.a.val() | 1).all();", ALL),
        ("self.p.next = (self.a.val() + self.b.val()).get_bit(7);", SELECTED),
        ("self.p.next = bit_cast::<16, 8>(self.a.val()).get_bit(7);", SELECTED),
        ("self.o.next = self.m.val().off.get_bits::<9>(2);", SELECTED),
        ("self.p.next = self.a.val().get_bit(self.b.val() + 1);", SELECTED),
        ("self.t.next = self.t.val().replace_bit(1, !self.c.val());", REPLACED),
        ("self.t.next = (self.t.val() + 1).replace_bit(1, self.c.val());", REPLACED),
        ("self.o.next = K.into();", NAMED),
        ("self.p.next = self.a.val() == LIMIT;", NAMED),
        ("self.o.next = self.a.val() + 0x1_0000_0000;", WIDE),
    ] {
        assert!(broken(statement).contains(&rule), "{statement}: {:?}", broken(statement));
    }
}

#[test]
fn what_is_the_same_passes() {
    for statement in [
        "dff_setup!(self, clock, a, b);",
        "self.o.next = self.a.val() + 1;",
        "self.o.next = !self.a.val();",
        "self.l.next = self.a.val() + 1; if self.l.val() == 0 { self.p.next = true; }",
        "self.p.next = !self.c.val() && self.a.val() == 3;",
        "self.p.next = !(self.a.val() == 3) || self.c.val();",
        "self.p.next = (self.a.val() & self.b.val()) == self.c.val();",
        "self.p.next = self.c.val() & (self.a.val() == self.b.val());",
        "self.p.next = (self.a.val() & 0xf0).any();",
        "self.p.next = (self.a.val() & self.m[i].val()).xor() ^ self.c.val();",
        "self.o.next = self.a.val() >> 8;",
        "self.o.next = (self.a.val() << 8) | (self.b.val() >> 24);",
        "self.o.next = bit_cast::<16, 8>(self.a.val());",
        "self.o.next = bit_cast::<16, 1>(self.c.val().into());",
        "self.o.next = bit_cast::<9, 8>(self.a.val()) + bit_cast::<9, 8>(self.b.val());",
        "self.o.next = bit_cast::<16, 8>((self.a.val() & self.b.val()).into());",
        "self.o.next = bits::<4>(9);",
        "self.o.next = self.a.val().get_bits::<8>(16);",
        "for i in 0..N { self.t.next = self.t.val().replace_bit(i, self.a.val().get_bit(i + 4)); }",
        "for i in 0..(K as usize) { self.l[i].next = self.m[i + 1].val(); }",
        "self.o.next = self.m.val().field;",
        "match self.s.val() { St::A => self.s.next = St::B, _ => {} }",
        "StreamIn::link(&mut self.upstream, &mut self.child.upstream);",
    ] {
        assert_eq!(broken(statement), [""; 0], "{statement}");
    }
}

#[test]
fn only_kernels_are_looked_at() {
    let file = syn::parse_file("fn f(a: u8) -> bool { a + 1 == 0 } impl X { fn update(&mut self) { K; } }");
    assert!(findings(&file.unwrap()).is_empty());
}
