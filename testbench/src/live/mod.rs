//! Real peers: other processes, network namespaces, Linux's siw. Everything made here goes when its guard is dropped.

pub mod end;
pub mod engine;
pub mod netns;
pub mod perftest;
pub mod process;
pub mod siw;
pub mod tshark;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Say something that a test run shows even when the test passes, such as why it was skipped.
pub fn note(text: &str) {
    // Not `eprintln`, which the test harness captures.
    let _ = writeln!(std::io::stderr(), "note: {text}");
}

/// A directory that is removed with everything in it.
pub struct Scratch(PathBuf);

impl Scratch {
    /// A new one, with a short name: socket paths have at most 107 bytes.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("iw-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("the directory for temporary files is writable");
        Self(path)
    }

    /// A name in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Where a program is that tests use if it is there.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let candidates = std::env::split_paths(&path).map(|directory| directory.join(name));
    candidates.into_iter().find(|candidate| is_executable(candidate))
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

/// Try up to `tries` times; failures before a success are noted and counted, as a fault of the peer that is known. Panics when
/// all tries fail.
pub fn with_retries<T>(what: &str, tries: u32, mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let mut failures = Vec::new();
    while failures.len() < tries as usize {
        match attempt() {
            Ok(value) => {
                if !failures.is_empty() {
                    note(&format!(
                        "{what}: {} of {} tries failed: {failures:?}",
                        failures.len(),
                        failures.len() + 1
                    ));
                }
                return value;
            }
            Err(failure) => failures.push(failure),
        }
    }
    panic!("{what}: {tries} of {tries} tries failed: {failures:#?}");
}
