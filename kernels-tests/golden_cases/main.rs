//! The authors' numbers, case by case. Every case is found in a folder; what to run and how close it must come is
//! in the case's JSON.
//!
//! * `LANGEVIN_GOLDENS` is the folder, by default `kernels-tests/goldens`.
//! * `LANGEVIN_GOLDENS_ONLY=ops,blocks` chooses categories.
//! * An argument chooses the cases whose `category/name` contains it; `--list` prints them.

mod blocks;
mod case;
mod check;
mod checkpoints;
mod classifier;
mod context;
mod diffusers;
#[allow(dead_code, reason = "the tests use a part of it")]
#[path = "../../tools/gen/environment.rs"]
mod environment;
mod fields;
mod full;
mod guided;
mod init;
mod layer;
mod likelihood;
mod losses;
mod models;
mod network;
mod ops;
mod optimizer;
mod runge_kutta;
mod samplers;
mod sde;
mod spatial;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Instant;

use case::Case;
use check::Report;
use context::Context;

/// Runs one case of a category.
type Run = fn(&Case, &Context) -> Result<Report, String>;

/// Every category that can be run. A folder of another name fails, case by case.
// One a line, so that categories can be added side by side.
#[rustfmt::skip]
const CATEGORIES: &[(&str, Run)] = &[
    ("checkpoints", checkpoints::run),
    ("classifier", classifier::run),
    ("diffusers", diffusers::run),
    ("blocks", blocks::run),
    ("full", full::run),
    ("init", init::run),
    ("likelihood", likelihood::run),
    ("losses", losses::run),
    ("models", models::run),
    ("ops", ops::run),
    ("samplers", samplers::run),
    ("sde", sde::run),
];

/// Where the last panic happened and what it said; a case's panic is that case's failure.
static PANIC: Mutex<String> = Mutex::new(String::new());

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(problem) => {
            println!("{problem}\ngoldens: 0 passed, 1 failed");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode, String> {
    let arguments = Arguments::parse(std::env::args().skip(1))?;
    let default = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("kernels-tests/goldens");
    let folder = std::env::var_os("LANGEVIN_GOLDENS").map_or_else(default, PathBuf::from);
    let found = discover(&folder)?;
    let only = std::env::var("LANGEVIN_GOLDENS_ONLY").ok().filter(|only| !only.trim().is_empty());
    let only: Option<Vec<String>> = only.map(|only| only.split(',').map(|c| c.trim().to_string()).collect());
    for category in only.iter().flatten() {
        if !found.contains_key(category) {
            return Err(format!("LANGEVIN_GOLDENS_ONLY: {} has no cases of {category:?}", folder.display()));
        }
    }
    let (chosen, left_out): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|(category, _)| only.as_ref().is_none_or(|only| only.contains(category)));
    let cases: Vec<(String, PathBuf)> = chosen
        .into_iter()
        .flat_map(|(category, paths)| paths.into_iter().map(move |path| (category.clone(), path)))
        .filter(|(category, path)| arguments.chooses(&format!("{category}/{}", case::stem(path))))
        .collect();
    if arguments.list {
        cases.iter().for_each(|(category, path)| println!("{category}/{}: test", case::stem(path)));
        return Ok(ExitCode::SUCCESS);
    }

    std::panic::set_hook(Box::new(|info| {
        let text = info.to_string().replace('\n', " ");
        *PANIC.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = text;
    }));
    let context = Context::new(folder.clone());
    let slack = context.slack();
    let started = Instant::now();
    let (mut passed, mut failed, mut without_gpu) = (0, 0, 0);
    let mut by_category: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for (category, path) in &cases {
        let tally = by_category.entry(category).or_default();
        let outcome = run_case(category, path, &context, slack);
        if context.lacked_gpu() {
            without_gpu += 1;
            continue;
        }
        match outcome {
            None => (passed, tally.0) = (passed + 1, tally.0 + 1),
            Some(problem) => {
                (failed, tally.1) = (failed + 1, tally.1 + 1);
                println!("FAILED {category}/{}: {}", case::stem(path), problem.replace('\n', " "));
            }
        }
    }
    for (category, (passed, failed)) in &by_category {
        println!("{category}: {passed} passed, {failed} failed");
    }
    if without_gpu > 0 {
        println!("no GPU, and LANGEVIN_ALLOW_NO_GPU is set: {without_gpu} cases left out");
    }
    println!("folder: {} ({:.1} s)", folder.display(), started.elapsed().as_secs_f64());
    let left_out: Vec<String> = left_out.into_iter().map(|(category, _)| category).collect();
    println!("left out: {}", if left_out.is_empty() { "none".into() } else { left_out.join(", ") });
    println!("goldens: {passed} passed, {failed} failed");
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs one case; says what is wrong with it, if anything is.
fn run_case(category: &str, path: &Path, context: &Context, slack: f64) -> Option<String> {
    let Some((_, run)) = CATEGORIES.iter().find(|(name, _)| *name == category) else {
        return Some(format!("unknown category {category:?}"));
    };
    let outcome = catch_unwind(AssertUnwindSafe(|| run(&Case::open(path)?.with_slack(slack), context)));
    match outcome {
        Ok(Ok(report)) => report.failure(),
        Ok(Err(problem)) => Some(problem),
        Err(_) => Some(PANIC.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()),
    }
}

/// The cases of every category in `folder`, sorted; a case is a JSON directly in its category.
fn discover(folder: &Path) -> Result<BTreeMap<String, Vec<PathBuf>>, String> {
    let mut found = BTreeMap::new();
    for directory in entries(folder)?.into_iter().filter(|path| path.is_dir()) {
        let Some(category) = directory.file_name().map(|name| name.to_string_lossy().into_owned()) else {
            continue;
        };
        let is_case = |path: &PathBuf| {
            path.extension().is_some_and(|e| e == "json") && case::counts(&category, &case::stem(path))
        };
        let cases: Vec<PathBuf> = entries(&directory)?.into_iter().filter(is_case).collect();
        if !cases.is_empty() {
            found.insert(category, cases);
        }
    }
    if found.is_empty() {
        return Err(format!("{}: no golden cases", folder.display()));
    }
    Ok(found)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let problem = |e: std::io::Error| format!("{}: {e}", folder.display());
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(problem)? {
        paths.push(entry.map_err(problem)?.path());
    }
    paths.sort();
    Ok(paths)
}

/// The arguments that cargo hands to every test target; those about threads and output change nothing here.
#[derive(Default)]
struct Arguments {
    filters: Vec<String>,
    skip: Vec<String>,
    exact: bool,
    list: bool,
}

impl Arguments {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut parsed = Self::default();
        while let Some(argument) = arguments.next() {
            let (flag, value) = match argument.split_once('=') {
                Some((flag, value)) => (flag.to_string(), Some(value.to_string())),
                None => (argument.clone(), None),
            };
            let mut value = || value.clone().or_else(|| arguments.next()).unwrap_or_default();
            match flag.as_str() {
                "--list" => parsed.list = true,
                "--exact" => parsed.exact = true,
                "--skip" => parsed.skip.push(value()),
                "--test-threads" | "--format" | "--color" | "--report-time" | "--logfile" => drop(value()),
                "-q" | "--quiet" | "--nocapture" | "--no-capture" | "--show-output" | "--include-ignored" => {
                }
                _ if argument.starts_with('-') => return Err(format!("unknown argument {argument:?}")),
                _ => parsed.filters.push(argument),
            }
        }
        Ok(parsed)
    }

    fn chooses(&self, id: &str) -> bool {
        let matches =
            |pattern: &String| if self.exact { id == pattern } else { id.contains(pattern.as_str()) };
        (self.filters.is_empty() || self.filters.iter().any(matches)) && !self.skip.iter().any(matches)
    }
}
