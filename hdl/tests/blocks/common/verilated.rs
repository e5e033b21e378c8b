//! A block's Verilog as a C++ model made by Verilator, in a shared object.

#![allow(unsafe_code)]

use ironwarp_hdl::ports::Port;
use libloading::{Library, Symbol};
use std::collections::hash_map::DefaultHasher;
use std::ffi::c_void;
use std::fmt::Write;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A model and the library it lives in.
pub struct Verilated {
    model: *mut c_void,
    set: unsafe extern "C" fn(*mut c_void, u32, u64),
    get: unsafe extern "C" fn(*mut c_void, u32) -> u64,
    eval: unsafe extern "C" fn(*mut c_void),
    delete: unsafe extern "C" fn(*mut c_void),
    ports: Vec<(String, usize)>,
    // Holds the code behind the pointers above.
    _library: Library,
}

impl Verilated {
    /// Builds the model, or finds it built. `None`, having said so, where Verilator is not installed.
    pub fn build(name: &str, verilog: &str, ports: &[Port]) -> Option<Verilated> {
        if Command::new("verilator").arg("--version").output().is_err() {
            println!("{name}: skipped: verilator is not installed (Debian package verilator)");
            return None;
        }
        let path = library(name, verilog, &shim(ports));
        // SAFETY: loading runs the initialisers of a library that `library` built from our Verilog and shim;
        // those of Verilator's runtime have no preconditions.
        let library = unsafe { Library::new(&path) }.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        // SAFETY: the shim defines these five names with exactly these types.
        let (new, set, get, eval, delete) = unsafe {
            let new: Symbol<unsafe extern "C" fn() -> *mut c_void> = library.get(b"iw_new").unwrap();
            let set: Symbol<unsafe extern "C" fn(*mut c_void, u32, u64)> = library.get(b"iw_set").unwrap();
            let get: Symbol<unsafe extern "C" fn(*mut c_void, u32) -> u64> = library.get(b"iw_get").unwrap();
            let eval: Symbol<unsafe extern "C" fn(*mut c_void)> = library.get(b"iw_eval").unwrap();
            let delete: Symbol<unsafe extern "C" fn(*mut c_void)> = library.get(b"iw_delete").unwrap();
            (*new, *set, *get, *eval, *delete)
        };
        // SAFETY: takes nothing; the model it makes is owned by this value and deleted once, by `drop`.
        let model = unsafe { new() };
        assert!(!model.is_null());
        let ports = ports.iter().map(|port| (port.name.clone(), port.bits)).collect();
        Some(Verilated { model, set, get, eval, delete, ports, _library: library })
    }

    /// Sets the inputs, lets the model settle and returns the values of all its ports. `ports` are those it was
    /// built with.
    pub fn evaluate(&mut self, ports: &[Port]) -> Vec<u64> {
        assert!(
            self.ports.iter().map(|(name, bits)| (name, bits)).eq(ports.iter().map(|p| (&p.name, &p.bits))),
            "the ports have changed"
        );
        for (index, port) in (0..).zip(ports).filter(|(_, port)| port.is_input) {
            // SAFETY: the model is alive until `drop`, not shared (`&mut self`), and has a port `index`, an input.
            unsafe { (self.set)(self.model, index, port.value) };
        }
        // SAFETY: the model is alive and not shared.
        unsafe { (self.eval)(self.model) };
        // SAFETY: as above; reading changes nothing.
        (0..).zip(ports).map(|(index, _)| unsafe { (self.get)(self.model, index) }).collect()
    }
}

impl Drop for Verilated {
    fn drop(&mut self) {
        // SAFETY: made by `new`, deleted nowhere else; the library is dropped after this.
        unsafe { (self.delete)(self.model) };
    }
}

/// The C interface of a model: its ports by number.
fn shim(ports: &[Port]) -> String {
    let mut sets = String::new();
    let mut gets = String::new();
    for (index, port) in ports.iter().enumerate() {
        // Verilator's name for a port with a dollar sign.
        let member = port.name.replace('$', "__024");
        if port.is_input {
            writeln!(sets, "        case {index}: top->{member} = value; break;").unwrap();
        }
        writeln!(gets, "        case {index}: return top->{member};").unwrap();
    }
    format!(
        r#"#include "Vtop.h"
#include "verilated.h"
#include <cstdint>
double sc_time_stamp() {{ return 0; }}
struct Model {{ VerilatedContext context; Vtop top{{&context, "top"}}; }};
extern "C" {{
void* iw_new() {{ return new Model; }}
void iw_delete(void* model) {{ auto m = static_cast<Model*>(model); m->top.final(); delete m; }}
void iw_eval(void* model) {{ static_cast<Model*>(model)->top.eval(); }}
void iw_set(void* model, uint32_t port, uint64_t value) {{
    auto top = &static_cast<Model*>(model)->top;
    switch (port) {{
{sets}    }}
}}
uint64_t iw_get(void* model, uint32_t port) {{
    auto top = &static_cast<Model*>(model)->top;
    switch (port) {{
{gets}    default: return 0;
    }}
}}
}}
"#
    )
}

/// The shared object of this Verilog and shim, built if it is not there yet. Its folder is named by what goes in
/// and appears complete or not at all, so tests may run at the same time.
fn library(name: &str, verilog: &str, shim: &str) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    (verilog, shim, include_str!("verilated.rs")).hash(&mut hasher);
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("verilated");
    let folder = root.join(format!("{name}-{:016x}", hasher.finish()));
    let object = folder.join("libmodel.so");
    if object.exists() {
        return object;
    }
    let work = root.join(format!("{name}-{}.part", std::process::id()));
    let _ = std::fs::remove_dir_all(&work);
    std::fs::create_dir_all(&work).unwrap();
    std::fs::write(work.join("top.v"), verilog).unwrap();
    std::fs::write(work.join("shim.cpp"), shim).unwrap();
    // An "executable" without main, linked as a shared object.
    let output = Command::new("verilator")
        .args(["--cc", "--exe", "--build", "-O3", "--x-assign", "fast", "--default-language", "1364-2005"])
        .args(["-Wno-fatal", "--top-module", "top", "--prefix", "Vtop", "--Mdir", ".", "-o", "libmodel.so"])
        .args(["-CFLAGS", "-fPIC -O2", "-LDFLAGS", "-shared", "top.v", "shim.cpp"])
        .current_dir(&work)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "verilator, in {}:\n{}\n{}",
        work.display(),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    // Another test may have been faster; what it built is the same.
    if std::fs::rename(&work, &folder).is_err() {
        let _ = std::fs::remove_dir_all(&work);
    }
    object
}
