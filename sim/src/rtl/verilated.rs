//! The core's Verilog, compiled by Verilator and loaded.

#![allow(unsafe_code)]

use super::pins::{Inputs, Outputs, READERS, ReadIn, ReadOut, Rtl, Word, WriteOut};
use super::waves::WavesError;
use libloading::Library;
use std::ffi::{CString, c_char, c_void};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use thiserror::Error;

/// Why there is no verilated core.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum VerilateError {
    /// No Verilator.
    #[error("verilator is not installed (Debian package verilator)")]
    Missing,
    /// It does not accept the Verilog, or the compiler does not accept what it makes of it.
    #[error("verilator failed in {0}:\n{1}")]
    Failed(String, String),
    /// Yosys, where gates are wanted.
    #[error("no gates: {0}")]
    Gates(String),
    /// The model cannot be stored or loaded.
    #[error("the verilated model in {0}: {1}")]
    Files(String, String),
}

/// Names of the read channels in Verilog.
const CHANNELS: [&str; READERS] = ["walk_channel", "source_channel", "small_channel", "send_channel"];

/// Inputs as Verilog names them, in the order of [`flatten`].
fn input_names() -> Vec<String> {
    let mut names: Vec<String> = [
        "reset",
        "line$valid",
        "line$data",
        "line$first",
        "line$last",
        "line$empty",
        "line$err",
        "mac$ready",
        "pace",
        "now",
        "host_valid",
        "host_write",
        "host_offset",
        "host_data",
        "answer_ready",
        "write_channel$accept",
        "write_channel$ready",
        "write_channel$answered",
        "write_channel$failed",
        "fill_valid",
        "fill_data",
    ]
    .map(String::from)
    .into();
    for channel in CHANNELS {
        names.extend(["accept", "valid", "data", "last", "error"].map(|pin| format!("{channel}${pin}")));
    }
    names
}

/// Values in the order of [`input_names`].
fn flatten(inputs: &Inputs) -> Vec<u64> {
    let Inputs { reset, line, mac_ready, pace, now, host, answer_ready, reads, write, fill } = inputs;
    let mut values = vec![
        u64::from(*reset),
        line.valid.into(),
        line.data.into(),
        line.first.into(),
        line.last.into(),
        line.empty.into(),
        line.err.into(),
        u64::from(*mac_ready),
        u64::from(*pace),
        u64::from(*now),
        host.valid.into(),
        host.write.into(),
        u64::from(host.offset) & 0xff_ffff,
        host.data.into(),
        u64::from(*answer_ready),
        write.accept.into(),
        write.ready.into(),
        write.answered.into(),
        write.failed.into(),
        fill.is_some().into(),
        fill.unwrap_or(0).into(),
    ];
    for ReadIn { accept, valid, data, last, error } in reads {
        values.extend([
            u64::from(*accept),
            u64::from(*valid),
            u64::from(*data),
            u64::from(*last),
            u64::from(*error),
        ]);
    }
    values
}

/// Outputs as Verilog names them, in the order of [`collect`].
fn output_names() -> Vec<String> {
    let mut names: Vec<String> = [
        "line$ready",
        "mac$valid",
        "mac$data",
        "mac$first",
        "mac$last",
        "mac$empty",
        "mac$err",
        "host_ready",
        "answer_valid",
        "answer",
        "irq",
        "waiting",
        "resting",
        "sending",
        "alarm_set",
        "alarm",
        "retired",
        "retired_pc",
        "write_channel$request",
        "write_channel$address",
        "write_channel$words",
        "write_channel$valid",
        "write_channel$data",
        "write_channel$strobes",
        "write_channel$last",
        "fill_request",
        "fill_address",
    ]
    .map(String::from)
    .into();
    for channel in CHANNELS {
        names.extend(["request", "address", "words", "ready"].map(|pin| format!("{channel}${pin}")));
    }
    names
}

/// Outputs from values in the order of [`output_names`].
fn collect(v: &[u64]) -> Outputs {
    let read = |channel: usize| {
        let at = 27 + 4 * channel;
        ReadOut { request: v[at] != 0, address: v[at + 1], words: v[at + 2] as u16, ready: v[at + 3] != 0 }
    };
    Outputs {
        line_ready: v[0] != 0,
        mac: Word {
            valid: v[1] != 0,
            data: v[2] as u32,
            first: v[3] != 0,
            last: v[4] != 0,
            empty: v[5] as u8,
            err: v[6] != 0,
        },
        host_ready: v[7] != 0,
        answer: (v[8] != 0).then_some(v[9] as u32),
        interrupt: v[10] != 0,
        waiting: v[11] != 0,
        resting: v[12] != 0,
        sending: v[13] != 0,
        alarm: (v[14] != 0).then_some(v[15] as u32),
        retired: (v[16] != 0).then_some(v[17] as u16),
        write: WriteOut {
            request: v[18] != 0,
            address: v[19],
            words: v[20] as u16,
            valid: v[21] != 0,
            data: v[22] as u32,
            strobes: v[23] as u8,
            last: v[24] != 0,
        },
        fill: (v[25] != 0).then_some(v[26] as u16),
        reads: [read(0), read(1), read(2), read(3)],
    }
}

/// A core in C++.
pub struct Verilated {
    model: *mut c_void,
    settle: unsafe extern "C" fn(*mut c_void, *const u64, *mut u64),
    rise: unsafe extern "C" fn(*mut c_void),
    trace: unsafe extern "C" fn(*mut c_void, *const c_char) -> bool,
    dump: unsafe extern "C" fn(*mut c_void, u64),
    delete: unsafe extern "C" fn(*mut c_void),
    outputs: Vec<u64>,
    // Holds the code behind the pointers above.
    _library: Library,
}

// SAFETY: a model has no threads and no thread-local state; it is used by whoever owns this value, one at a time.
unsafe impl Send for Verilated {}

impl Verilated {
    /// Compile this Verilog of a core, or find it compiled, and load it. One that can write waveforms is slower.
    pub fn new(verilog: &str, waves: bool) -> Result<Self, VerilateError> {
        let path = library(verilog, &shim(waves), waves)?;
        let files =
            |error: libloading::Error| VerilateError::Files(path.display().to_string(), error.to_string());
        // SAFETY: loading runs the initialisers of a library that was built from our Verilog and shim; those of Verilator's
        // runtime have no preconditions. The shim defines these names with exactly these types.
        unsafe {
            let library = Library::new(&path).map_err(files)?;
            let new = *library.get::<unsafe extern "C" fn() -> *mut c_void>(b"iw_new").map_err(files)?;
            let settle = *library
                .get::<unsafe extern "C" fn(*mut c_void, *const u64, *mut u64)>(b"iw_settle")
                .map_err(files)?;
            let rise = *library.get::<unsafe extern "C" fn(*mut c_void)>(b"iw_rise").map_err(files)?;
            let trace = *library
                .get::<unsafe extern "C" fn(*mut c_void, *const c_char) -> bool>(b"iw_trace")
                .map_err(files)?;
            let dump = *library.get::<unsafe extern "C" fn(*mut c_void, u64)>(b"iw_dump").map_err(files)?;
            let delete = *library.get::<unsafe extern "C" fn(*mut c_void)>(b"iw_delete").map_err(files)?;
            let outputs = vec![0; output_names().len()];
            Ok(Self { model: new(), settle, rise, trace, dump, delete, outputs, _library: library })
        }
    }
}

impl Rtl for Verilated {
    fn settle(&mut self, inputs: &Inputs) -> Outputs {
        let values = flatten(inputs);
        // SAFETY: the model is alive until `drop` and not shared; the arrays have as many words as the shim was made for.
        unsafe { (self.settle)(self.model, values.as_ptr(), self.outputs.as_mut_ptr()) };
        collect(&self.outputs)
    }

    fn rise(&mut self) {
        // SAFETY: the model is alive until `drop` and not shared.
        unsafe { (self.rise)(self.model) };
    }

    fn trace(&mut self, path: &Path) -> Result<(), WavesError> {
        let name = CString::new(path.as_os_str().as_encoded_bytes())
            .map_err(|_| WavesError::new(path, "a zero byte is in its name"))?;
        // SAFETY: the model is alive until `drop` and not shared; the name ends with a zero byte and is read during the call only.
        let opened = unsafe { (self.trace)(self.model, name.as_ptr()) };
        if opened { Ok(()) } else { Err(WavesError::new(path, "the file cannot be made")) }
    }

    fn dump(&mut self, ps: u64) {
        // SAFETY: the model is alive until `drop` and not shared.
        unsafe { (self.dump)(self.model, ps) };
    }
}

impl Drop for Verilated {
    fn drop(&mut self) {
        // SAFETY: made by `new`, deleted nowhere else; the library is dropped after this.
        unsafe { (self.delete)(self.model) };
    }
}

/// The C interface of a model, with waveforms or without.
fn shim(waves: bool) -> String {
    let (include, member_vcd, trace, dump, close) = if waves {
        (
            "#include \"verilated_vcd_c.h\"\n",
            "VerilatedVcdC vcd;",
            "m->context.traceEverOn(true); m->top.trace(&m->vcd, 99); m->vcd.open(path); return m->vcd.isOpen();",
            "auto m = static_cast<Model*>(model); if (m->vcd.isOpen()) m->vcd.dump(ps);",
            "if (m->vcd.isOpen()) m->vcd.close(); ",
        )
    } else {
        ("", "", "(void)m; (void)path; return false;", "(void)model; (void)ps;", "")
    };
    // Verilator's name for a port with a dollar sign.
    let member = |name: &String| name.replace('$', "__024");
    let sets: String = input_names()
        .iter()
        .enumerate()
        .map(|(at, name)| format!("    top->{} = in[{at}];\n", member(name)))
        .collect();
    let gets: String = output_names()
        .iter()
        .enumerate()
        .map(|(at, name)| format!("    out[{at}] = top->{};\n", member(name)))
        .collect();
    format!(
        r#"#include "Vtop.h"
#include "verilated.h"
{include}#include <cstdint>
double sc_time_stamp() {{ return 0; }}
struct Model {{ VerilatedContext context; Vtop top{{&context, "top"}}; {member_vcd} }};
extern "C" {{
void* iw_new() {{ return new Model; }}
void iw_delete(void* model) {{ auto m = static_cast<Model*>(model); m->top.final(); {close}delete m; }}
bool iw_trace(void* model, const char* path) {{ auto m = static_cast<Model*>(model); {trace} }}
void iw_dump(void* model, uint64_t ps) {{ {dump} }}
void iw_settle(void* model, const uint64_t* in, uint64_t* out) {{
    auto top = &static_cast<Model*>(model)->top;
    top->clock = 0;
{sets}    top->eval();
{gets}}}
void iw_rise(void* model) {{
    auto top = &static_cast<Model*>(model)->top;
    top->clock = 1;
    top->eval();
}}
}}
"#
    )
}

/// Where compiled models are kept.
pub(super) fn cache() -> PathBuf {
    let home = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    home.unwrap_or_else(std::env::temp_dir).join("ironwarp").join("verilated")
}

/// The shared object of this Verilog and C interface, built if it is not there yet. Its folder is named by what goes in and appears complete or
/// not at all, so processes may build at the same time.
pub(crate) fn library(verilog: &str, shim: &str, waves: bool) -> Result<PathBuf, VerilateError> {
    let mut hasher = DefaultHasher::new();
    (verilog, shim).hash(&mut hasher);
    let root = cache();
    let folder = root.join(format!("core-{:016x}", hasher.finish()));
    let object = folder.join("libmodel.so");
    if object.exists() {
        return Ok(object);
    }
    // Threads of this process may build at the same time too.
    static BUILDS: AtomicU64 = AtomicU64::new(0);
    let build_number = BUILDS.fetch_add(1, Ordering::Relaxed);
    let work = root.join(format!("core-{}-{build_number}.part", std::process::id()));
    let files = |error: std::io::Error| VerilateError::Files(work.display().to_string(), error.to_string());
    let _ = std::fs::remove_dir_all(&work);
    std::fs::create_dir_all(&work).map_err(files)?;
    std::fs::write(work.join("top.v"), verilog).map_err(files)?;
    std::fs::write(work.join("shim.cpp"), shim).map_err(files)?;
    build(&work, waves)?;
    // Another process may have been faster; what it built is the same.
    if std::fs::rename(&work, &folder).is_err() {
        let _ = std::fs::remove_dir_all(&work);
    }
    Ok(object)
}

fn build(work: &Path, waves: bool) -> Result<(), VerilateError> {
    // An "executable" without main, linked as a shared object.
    let output = Command::new("verilator")
        .args(["--cc", "--exe", "--build", "-O3", "--x-assign", "fast", "--default-language", "1364-2005"])
        .args(["-Wno-fatal", "--top-module", "top", "--prefix", "Vtop", "--Mdir", ".", "-o", "libmodel.so"])
        .args(waves.then_some("--trace"))
        .args(["-CFLAGS", "-fPIC -O2", "-LDFLAGS", "-shared", "top.v", "shim.cpp"])
        .current_dir(work)
        .output()
        .map_err(|error| match error.kind() {
            ErrorKind::NotFound => VerilateError::Missing,
            _ => VerilateError::Files(work.display().to_string(), error.to_string()),
        })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr)
        .lines()
        .filter(|line| line.contains("rror"))
        .take(20)
        .collect::<Vec<_>>()
        .join("\n");
    Err(VerilateError::Failed(work.display().to_string(), said))
}
