//! The rules of the source, checked by reading it: who sees whom, what stands where.

mod circles;
mod source;

use std::collections::BTreeSet;

use source::{Source, files, root};

/// Every module and the modules that it sees. A module sees itself too, and every module sees `error`.
const MODULES: &[(&str, &str)] = &[
    ("error", ""),
    ("limits", ""),
    ("files", ""),
    ("random", ""),
    ("formats", ""),
    ("gpu", ""),
    ("graph", "gpu"),
    ("ops", "gpu graph"),
    ("nn", "random gpu graph ops"),
    ("models", "random gpu graph ops nn sde"),
    ("sde", ""),
    ("score", "gpu graph ops nn models sde"),
    ("sampling", "random gpu graph ops sde score"),
    ("inverse", "random gpu graph ops sde score sampling"),
    ("likelihood", "random gpu graph ops sde score sampling"),
    ("data", "random formats"),
    ("output", "formats"),
    ("checkpoint", "formats gpu graph ops nn models sde"),
    ("training", "random gpu graph ops nn models sde score sampling data checkpoint output"),
    ("bench", "random gpu graph ops nn models sde score sampling training"),
    (
        "pipeline",
        "random formats gpu graph ops nn models sde score sampling inverse likelihood data output checkpoint training",
    ),
];

/// What every module sees.
const SEEN_BY_ALL: &[&str] = &["error", "limits", "files"];

/// Where files are opened: modules, and the one file of the tuning cache.
const TOUCH_FILES: &[&str] =
    &["src/files.rs", "src/data/", "src/checkpoint/", "src/output/", "src/gpu/cache"];

/// Where the environment is read.
const ENVIRONMENT: &str = "tools/gen/environment.rs";

/// Where something waits.
const WAITS: &[&str] = &["src/gpu/wait.rs", "src/gpu/wait/"];

/// What is compiled only with the feature `files`, and so in no browser.
const NEEDS_FILES: &[&str] =
    &["src/data/", "src/output/", "src/training/trainer.rs", "src/training/clock.rs"];

/// Longer files are two files.
const LONGEST: usize = 500;

/// The module of a path under `src/`: its folder, or its file.
fn module(path: &str) -> &str {
    let inside = path.strip_prefix("src/").unwrap_or(path);
    inside.split('/').next().unwrap_or(inside).trim_end_matches(".rs")
}

fn library() -> Vec<Source> {
    let of_no_module = ["src/lib.rs", "src/build.rs"];
    let sources: Vec<Source> =
        files("src", "rs").into_iter().filter(|s| !of_no_module.contains(&s.path.as_str())).collect();
    assert!(!sources.is_empty(), "no source under {}", root().display());
    sources
}

/// Fails with one line per violation.
fn assert_none(rule: &str, violations: Vec<String>) {
    assert!(violations.is_empty(), "{rule}:\n{}", violations.join("\n"));
}

/// Whether `word` stands in `line` by itself.
fn names(line: &str, word: &str) -> bool {
    let is_part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word).any(|(at, _)| {
        !is_part(line[..at].chars().next_back()) && !is_part(line[at + word.len()..].chars().next())
    })
}

#[test]
fn modules_see_only_modules_to_their_left() {
    let mut violations = Vec::new();
    for source in library() {
        let own = module(&source.path);
        let Some((_, seen)) = MODULES.iter().find(|(name, _)| *name == own) else {
            violations.push(format!("{}: no such module; add it to the map in lib.rs and here", source.path));
            continue;
        };
        for (at, line) in source.library_code() {
            let sees = |other: &str| {
                other == own || SEEN_BY_ALL.contains(&other) || seen.split(' ').any(|module| module == other)
            };
            for other in MODULES.iter().map(|(name, _)| *name).filter(|other| !sees(other)) {
                let paths =
                    [format!("crate::{other}::"), format!("crate::{other};"), format!("crate::{other}::{{")];
                let listed = line.contains("crate::{") && names(line, other);
                if listed || paths.iter().any(|path| line.contains(path.as_str())) {
                    violations.push(format!("{} ({own} does not see {other})", source.at(at)));
                }
            }
        }
    }
    assert_none("a module names a module that it must not see", violations);
}

#[test]
fn only_the_gpu_module_names_wgpu() {
    let outside = library().into_iter().chain(files("tools", "rs")).chain(files("benches", "rs"));
    let violations = outside
        .filter(|source| module(&source.path) != "gpu" || !source.path.starts_with("src/"))
        .flat_map(|s| {
            (0..s.code.len()).filter(|&at| names(&s.code[at], "wgpu")).map(|at| s.at(at)).collect::<Vec<_>>()
        })
        .collect();
    assert_none("only src/gpu names wgpu", violations);
}

/// A browser's thread must never block, so what waits is async, and in one place.
#[test]
fn only_the_seam_waits() {
    let words = ["pollster", "block_on", "poll", "catch_unwind"];
    let mut violations = Vec::new();
    for source in library().into_iter().chain(files("tools", "rs")) {
        if WAITS.iter().any(|place| source.path.starts_with(place)) {
            continue;
        }
        for (at, line) in source.library_code() {
            if words.iter().any(|word| names(line, word)) {
                violations.push(source.at(at));
            }
        }
    }
    assert_none("only src/gpu/wait blocks, polls or catches a panic", violations);
}

/// The clock of `std` panics in a browser.
#[test]
fn the_clock_is_one_that_a_browser_has() {
    let mut violations = Vec::new();
    for source in library().iter().filter(|s| !NEEDS_FILES.iter().any(|place| s.path.starts_with(place))) {
        for (at, line) in source.library_code() {
            let of_std = line.contains("std::time") && (names(line, "Instant") || names(line, "SystemTime"));
            if of_std {
                violations.push(source.at(at));
            }
        }
    }
    assert_none("crate::gpu::Instant takes the place of std::time::Instant", violations);
}

/// What a program wants of the library it says by arguments. The tool, the tests and the benchmarks read the environment.
#[test]
fn the_library_reads_no_environment() {
    let reads =
        ["env::var", "env::vars", "env::args", "env::set_var", "env::home_dir", "from_env", "with_env"];
    let mut violations = Vec::new();
    let tool = files("tools/gen", "rs").into_iter().filter(|source| source.path != ENVIRONMENT);
    for source in library().into_iter().chain(tool) {
        for (at, line) in source.library_code() {
            let imported = line.contains("use std::env") || line.contains("option_env!");
            if imported || reads.iter().any(|call| line.contains(call)) {
                violations.push(source.at(at));
            }
        }
    }
    assert_none("the environment is read in tools/gen/environment.rs", violations);
}

/// An option of the tool, a variable of its environment, or a command of it means nothing to a program that uses the library.
#[test]
fn errors_of_the_library_name_nothing_of_the_tool() {
    let is_flag = |text: &str| {
        text.match_indices("--").any(|(at, _)| {
            let before = text[..at].chars().next_back();
            let after = text[at + 2..].chars().next();
            after.is_some_and(|c| c.is_ascii_lowercase())
                && !before.is_some_and(|c| c == '-' || c.is_alphanumeric())
        })
    };
    let mut violations = Vec::new();
    for source in library() {
        for (at, text) in source.strings[..source.tests_from].iter().enumerate() {
            let of_the_tool = ["LANGEVIN_", "WGPU_", "`gen "].iter().any(|word| text.contains(word));
            if of_the_tool || is_flag(text) {
                violations.push(source.at(at));
            }
        }
    }
    assert_none("the tool adds its options, variables and commands to the library's errors", violations);
    assert!(is_flag("name it with --model") && is_flag("--raw") && !is_flag("a---b") && !is_flag("a -- b"));
}

#[test]
fn unsafe_stands_in_the_gpu_module_with_its_reason() {
    // Setting a variable is unsafe, and the environment is the tool's.
    let allowed = |path: &str| module(path) == "gpu" && path.starts_with("src/") || path == ENVIRONMENT;
    let mut violations = Vec::new();
    for source in library().into_iter().chain(files("tools", "rs")) {
        for (at, _) in source.code.iter().enumerate().filter(|(_, line)| names(line, "unsafe")) {
            if !allowed(&source.path) || !source.is_marked(at, "SAFETY:") {
                violations.push(source.at(at));
            }
        }
    }
    assert_none("`unsafe` outside src/gpu or without a SAFETY line above it", violations);
}

#[test]
fn only_some_modules_touch_files() {
    let opens = ["std::fs", "fs::", "File::", "OpenOptions", "memmap2"];
    let mut violations = Vec::new();
    for source in library().iter().filter(|s| !TOUCH_FILES.iter().any(|module| s.path.starts_with(module))) {
        for (at, line) in source.library_code() {
            if opens.iter().any(|word| line.contains(word)) {
                violations.push(source.at(at));
            }
        }
    }
    assert_none("files are touched outside data, checkpoint, output and the tuning cache", violations);
}

#[test]
fn no_wgsl_in_strings() {
    let marks =
        ["@compute", "@workgroup_size", "@group(", "@builtin(", "var<storage", "var<workgroup", "vec4<f32>"];
    let mut violations = Vec::new();
    for source in library().into_iter().chain(files("tools", "rs")).chain(files("benches", "rs")) {
        for (at, line) in source.strings.iter().enumerate() {
            if marks.iter().any(|mark| line.contains(mark)) {
                violations.push(source.at(at));
            }
        }
    }
    assert_none("WGSL belongs in files under shaders/", violations);
}

#[test]
fn no_global_device_and_no_op_enum() {
    let mut violations = Vec::new();
    for source in library() {
        for (at, line) in source.library_code() {
            let global =
                names(line, "static") && ["Gpu", "Device", "Queue"].iter().any(|word| names(line, word));
            let op_enum =
                names(line, "enum") && ["Op", "OpKind", "Operation"].iter().any(|word| names(line, word));
            if (global && !line.contains("'static")) || op_enum {
                violations.push(source.at(at));
            }
        }
    }
    assert_none("a global device, or an enum of ops", violations);
}

#[test]
fn panics_in_the_library_are_reasoned() {
    let calls = [".unwrap()", ".expect(", "panic!(", "unreachable!(", "todo!(", "unimplemented!("];
    let mut violations = Vec::new();
    for source in library() {
        for (at, line) in source.library_code() {
            if calls.iter().any(|call| line.contains(call)) && !source.is_marked(at, "bug:") {
                violations.push(source.at(at));
            }
        }
    }
    assert_none("a call that can panic has no `// bug:` comment that says why it cannot", violations);
}

#[test]
fn nothing_is_left_for_later() {
    let marks = ["TODO", "FIXME", "XXX"];
    let mut violations = Vec::new();
    let all = ["src", "tools", "benches", "kernels-tests"].iter().flat_map(|folder| files(folder, "rs"));
    for source in all.chain(files("shaders", "wgsl")).filter(|s| s.path != "kernels-tests/rules.rs") {
        for (at, line) in source.lines.iter().enumerate() {
            if marks.iter().any(|mark| names(line, mark)) || source.code[at].contains("#[ignore") {
                violations.push(source.at(at));
            }
        }
    }
    assert_none("something is left for later, or a test is ignored", violations);
}

#[test]
fn files_are_short() {
    let all = ["src", "tools", "benches", "kernels-tests"].iter().flat_map(|folder| files(folder, "rs"));
    let violations = all
        .chain(files("shaders", "wgsl"))
        .filter(|source| source.lines.len() > LONGEST)
        .map(|source| format!("{}: {} lines", source.path, source.lines.len()))
        .collect();
    assert_none("a file is longer than 500 lines", violations);
}

/// Names of the files directly in `folder`, `mod` left out.
fn file_names(folder: &str) -> BTreeSet<String> {
    let direct = |source: &Source| {
        let name = source.path.strip_prefix(folder)?.strip_prefix('/')?.strip_suffix(".rs")?;
        (!name.contains('/') && name != "mod").then(|| name.to_string())
    };
    files(folder, "rs").iter().filter_map(direct).collect()
}

#[test]
fn every_op_has_all_its_files() {
    let ops = file_names("src/ops");
    let shaders: BTreeSet<String> = files("shaders", "wgsl")
        .iter()
        .filter_map(|s| {
            s.path.strip_prefix("shaders/")?.split_once('/').map(|(folder, _)| folder.to_string())
        })
        .filter(|folder| folder != "shared")
        .collect();
    let (tests, references) = (file_names("kernels-tests/ops"), file_names("kernels-tests/reference"));
    let mut violations = Vec::new();
    for (module, there) in
        [("shaders/", &shaders), ("kernels-tests/ops/", &tests), ("kernels-tests/reference/", &references)]
    {
        violations.extend(ops.difference(there).map(|name| format!("{name} has nothing in {module}")));
    }
    for (module, there) in [("shaders/", &shaders), ("kernels-tests/ops/", &tests)] {
        violations
            .extend(there.difference(&ops).map(|name| format!("{module}{name} has no src/ops/{name}.rs")));
    }
    let untested = |source: &Source| {
        let name = source.path.strip_prefix("kernels-tests/ops/")?.strip_suffix(".rs")?;
        let table = format!("op_tests! {{ \"{name}\"");
        let tested = name == "mod" || source.lines.iter().any(|line| line.starts_with(&table));
        (!tested).then(|| format!("{}: no `{table}`, so its shaders are not validated", source.path))
    };
    violations.extend(files("kernels-tests/ops", "rs").iter().filter_map(untested));
    assert_none("one name, four places", violations);
}

/// Bindings may be longer than their tensors: guard zones in tests, shared buffers in plans.
#[test]
fn shaders_take_no_size_from_a_binding() {
    let mut violations = Vec::new();
    for source in files("shaders", "wgsl") {
        for (at, _) in source.code.iter().enumerate().filter(|(_, line)| line.contains("arrayLength")) {
            violations.push(source.at(at));
        }
    }
    assert_none("a shader asks for the length of a binding instead of the tensor's size", violations);
}

/// naga writes a zero value without arguments as a function that is named after the type, and counts an alias as a type of its own:
/// `E()` beside `vec4<f32>()` gives HLSL with one function twice, which no compiler takes.
#[test]
fn shaders_write_zeros_out() {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut violations = Vec::new();
    for source in files("shaders", "wgsl") {
        for (at, line) in source.code.iter().enumerate() {
            let of_type = |(end, _): (usize, &str)| {
                let before = &line[..end];
                let word = &before[before.rfind(|c| !is_word(c)).map_or(0, |i| i + 1)..];
                before.ends_with('>')
                    || word.starts_with(char::is_uppercase)
                    || matches!(word, "f32" | "f16" | "u32" | "i32" | "bool")
            };
            if line.match_indices("()").any(of_type) {
                violations.push(source.at(at));
            }
        }
    }
    assert_none("a zero value without its zero: write `T(0.0)`", violations);
}

#[test]
fn shaders_open_with_what_they_do() {
    let mut violations = Vec::new();
    for source in
        files("shaders", "wgsl").iter().filter(|s| s.code.iter().any(|line| line.contains("@compute")))
    {
        let opening =
            source.lines.iter().take_while(|line| line.starts_with("//") && !line.starts_with("//!")).count();
        if opening < 4 {
            violations.push(format!("{}: {opening} lines of comment before anything else", source.path));
        }
    }
    assert_none(
        "a shader opens with four lines: what, shapes, formula and source, who owns what",
        violations,
    );
}

#[test]
fn barriers_say_what_they_part() {
    let mut violations = Vec::new();
    for source in files("shaders", "wgsl") {
        for (at, _) in source.code.iter().enumerate().filter(|(_, line)| line.contains("Barrier()")) {
            if !source.is_marked(at, "//") {
                violations.push(source.at(at));
            }
        }
    }
    assert_none("a barrier has no comment that says which write it parts from which read", violations);
}
