//! `conformance.toml` is complete, names tests that exist, and its open requirements do not grow in number.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// Requirements at level MUST that are open. Lower it when one is closed; never raise it.
const OPEN_MUSTS: usize = 6;

/// The RFCs of the table.
const RFCS: [&str; 6] = ["RFC5040", "RFC5041", "RFC5042", "RFC5044", "RFC6581", "RFC7306"];

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn workspace() -> &'static Path {
    folder().parent().unwrap()
}

fn is_covered(id: &str) -> bool {
    id.split_once('-').is_some_and(|(rfc, _)| RFCS.contains(&rfc))
}

/// Id and level of each requirement: from the copy, which must be that of the list if the list is beside the workspace.
fn requirements() -> BTreeMap<String, String> {
    let copy = fs::read_to_string(folder().join("data/requirement-ids.txt")).unwrap();
    let pairs = copy.lines().map(|line| line.split_once(' ').unwrap());
    let copy: BTreeMap<String, String> = pairs.map(|(id, level)| (id.into(), level.into())).collect();
    let list = workspace().join("../shared/conformance/requirements.tsv");
    if let Ok(list) = fs::read_to_string(list) {
        let rows = list.lines().skip(1).map(|line| {
            let mut columns = line.split('\t').map(String::from);
            (columns.next().unwrap(), columns.next().unwrap())
        });
        let rows: BTreeMap<String, String> = rows.filter(|(id, _)| is_covered(id)).collect();
        assert_eq!(copy, rows, "data/requirement-ids.txt is out of date");
    }
    copy
}

enum Verdict {
    Tested(Vec<String>),
    NotApplicable(String),
    Open(String),
}

impl Verdict {
    fn read(id: &str, value: &Value) -> Self {
        let fields = value.as_table().unwrap_or_else(|| panic!("{id}: not a table"));
        assert_eq!(fields.len(), 1, "{id}: exactly one verdict");
        let (verdict, detail) = fields.iter().next().unwrap();
        let text = || detail.as_str().unwrap_or_else(|| panic!("{id}: not a text")).trim().to_owned();
        match verdict.as_str() {
            "tested" => {
                let tests = detail.as_array().unwrap_or_else(|| panic!("{id}: not a list of tests"));
                Self::Tested(tests.iter().map(|test| test.as_str().unwrap().to_owned()).collect())
            }
            "not_applicable" => Self::NotApplicable(text()),
            "open" => Self::Open(text()),
            other => panic!("{id}: no such verdict: {other}"),
        }
    }
}

fn verdicts() -> BTreeMap<String, Verdict> {
    let text = fs::read_to_string(folder().join("conformance.toml")).unwrap();
    // A second verdict on an id is a second key, which TOML does not allow.
    let table: Table = text.parse().unwrap_or_else(|error| panic!("conformance.toml: {error}"));
    table.iter().map(|(id, value)| (id.clone(), Verdict::read(id, value))).collect()
}

fn rust_sources(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The module that a source file below `src` is, in `::` notation.
fn module_of(file: &Path) -> String {
    let parts = file.with_extension("");
    let parts: Vec<&str> = parts.iter().map(|part| part.to_str().unwrap()).collect();
    let named = parts.iter().filter(|part| !["mod", "lib", "main"].contains(part));
    named.copied().collect::<Vec<_>>().join("::")
}

/// Names of the tests in a source file, with the modules inside it. The sources are formatted by rustfmt, so a module ends
/// at the brace below its first letter. Ignored tests do not count.
fn tests_in(source: &str) -> Vec<String> {
    let mut modules: Vec<(usize, &str)> = Vec::new();
    let (mut tests, mut attributes) = (Vec::new(), Vec::new());
    for line in source.lines() {
        let code = line.trim();
        let indent = line.len() - line.trim_start().len();
        if code.starts_with("#[") {
            attributes.push(code);
            continue;
        }
        if code == "}" && modules.last().is_some_and(|(open, _)| *open == indent) {
            modules.pop();
        }
        if let Some(name) = code.strip_suffix(" {").and_then(|code| code.rsplit_once("mod ")) {
            modules.push((indent, name.1));
        }
        let is_test = attributes.iter().any(|attribute| ["#[test]", "#[rstest]"].contains(attribute));
        let is_ignored = attributes.iter().any(|attribute| attribute.starts_with("#[ignore"));
        if let Some((name, _)) = code.strip_prefix("fn ").and_then(|code| code.split_once('('))
            && is_test
            && !is_ignored
        {
            let path = modules.iter().map(|(_, module)| *module).chain([name]);
            tests.push(path.collect::<Vec<_>>().join("::"));
        }
        if !code.starts_with("//") && !code.is_empty() {
            attributes.clear();
        }
    }
    tests
}

/// All tests of the workspace, named as `conformance.toml` names them.
fn tests() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut stems = BTreeSet::new();
    for member in ["proto", "driver", "sim", "testbench", "hdl", "hdl/micro"] {
        let member_folder = workspace().join(member);
        let (mut units, mut whole) = (Vec::new(), Vec::new());
        rust_sources(&member_folder.join("src"), &mut units);
        rust_sources(&member_folder.join("tests"), &mut whole);
        for file in &units {
            let module = module_of(file.strip_prefix(member_folder.join("src")).unwrap());
            let member = member.replace('/', "::");
            let prefix = if module.is_empty() { member } else { format!("{member}::{module}") };
            let source = fs::read_to_string(file).unwrap();
            found.extend(tests_in(&source).iter().map(|test| format!("{prefix}::{test}")));
        }
        for file in &whole {
            let module = module_of(file.strip_prefix(member_folder.join("tests")).unwrap());
            assert!(stems.insert(module.clone()), "two test files are named {module}");
            let source = fs::read_to_string(file).unwrap();
            found.extend(tests_in(&source).iter().map(|test| format!("{module}::{test}")));
        }
    }
    found
}

#[test]
fn every_requirement_has_one_verdict() {
    let (requirements, verdicts) = (requirements(), verdicts());
    assert!(requirements.keys().all(|id| is_covered(id)));
    let missing: Vec<_> = requirements.keys().filter(|id| !verdicts.contains_key(*id)).collect();
    let unknown: Vec<_> = verdicts.keys().filter(|id| !requirements.contains_key(*id)).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "missing: {missing:?}, unknown: {unknown:?}");
}

#[test]
fn every_reason_says_something() {
    for (id, verdict) in verdicts() {
        let said = match verdict {
            Verdict::Tested(tests) => !tests.is_empty(),
            Verdict::NotApplicable(reason) | Verdict::Open(reason) => reason.len() > 10,
        };
        assert!(said, "{id}");
    }
}

#[test]
fn every_test_named_exists() {
    let tests = tests();
    assert!(tests.len() > 50, "only {} tests found", tests.len());
    let mut missing = Vec::new();
    for (id, verdict) in verdicts() {
        if let Verdict::Tested(named) = verdict {
            let unique: BTreeSet<_> = named.iter().collect();
            assert_eq!(unique.len(), named.len(), "{id} names a test twice");
            missing.extend(
                named.into_iter().filter(|test| !tests.contains(test)).map(|test| (id.clone(), test)),
            );
        }
    }
    assert!(missing.is_empty(), "no such test: {missing:#?}");
}

/// docs/verification.md names the tests of each of the ten traps.
#[test]
fn every_trap_has_tests_that_exist() {
    let plan = fs::read_to_string(workspace().join("docs/verification.md")).unwrap();
    let (_, section) = plan.split_once("## Ten traps").expect("the section on traps");
    let section = section.split("\n## ").next().unwrap();
    let tests = tests();
    for trap in 1..=10 {
        let start = format!("| {trap} |");
        let row = section.lines().find(|line| line.starts_with(&start)).expect(&start);
        let named: Vec<_> = row.split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "trap {trap} names no test");
        for test in named {
            assert!(tests.contains(test), "trap {trap}: there is no test {test}");
        }
    }
}

#[test]
fn open_requirements_do_not_grow_in_number() {
    let (requirements, verdicts) = (requirements(), verdicts());
    let mut counts: BTreeMap<&str, [usize; 4]> = BTreeMap::new();
    for (id, verdict) in &verdicts {
        let counts = counts.entry(&id[..id.find('-').unwrap()]).or_default();
        match verdict {
            Verdict::Tested(_) => counts[0] += 1,
            Verdict::NotApplicable(_) => counts[1] += 1,
            Verdict::Open(_) => {
                counts[2] += 1;
                counts[3] += usize::from(requirements.get(id).is_some_and(|level| level == "MUST"));
            }
        }
    }
    println!("           tested  not applicable  open  of them MUST");
    let mut open_musts = 0;
    for (rfc, [tested, not_applicable, open, musts]) in counts {
        println!("{rfc:10} {tested:6} {not_applicable:15} {open:5} {musts:13}");
        open_musts += musts;
    }
    assert_eq!(open_musts, OPEN_MUSTS, "change OPEN_MUSTS if it is less");
}

#[test]
fn tests_are_found_where_they_are() {
    let source = "\
mod tests {
    #[test]
    fn plain() {}
    proptest! {
        /// Words.
        #[test]
        fn with_arguments(
            number: u8,
        ) {}
    }
    #[test]
    #[ignore = \"slow\"]
    fn ignored() {}
    fn helper() {}
}
#[test]
fn outside() {}
";
    assert_eq!(tests_in(source), ["tests::plain", "tests::with_arguments", "outside"]);
    let module = |file: &str| module_of(Path::new(file));
    assert_eq!(module("lib.rs"), "");
    assert_eq!(module("mpa/mod.rs"), "mpa");
    assert_eq!(module("mpa/fpdu.rs"), "mpa::fpdu");
    assert!(tests().contains("proto::mpa::fpdu::tests::lengths"));
    assert!(tests().contains("framing::every_cut"));
}
