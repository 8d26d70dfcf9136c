//! Files of one module stand on each other in one direction: no circle of `super::` paths.

use std::collections::{BTreeMap, BTreeSet};

use super::assert_none;
use super::source::{Source, files};

/// Modules whose files must not form a circle.
const MODULES: &[&str] = &["src/graph", "src/ops/conv2d"];

/// The module of a file below `folder`; nothing for a file that only lists modules.
fn module(folder: &str, source: &Source) -> Option<Vec<String>> {
    let path = source.path.strip_prefix(folder)?.strip_prefix('/')?.strip_suffix(".rs")?;
    let lists =
        source.library_code().any(|(_, line)| line.contains("mod ") && line.trim_end().ends_with(';'));
    (!lists).then(|| path.split('/').map(str::to_owned).collect())
}

/// Every path that a text names behind `super::`: how many times `super::` stands in front, and the names behind.
fn paths(text: &str) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("super::") {
        let mut tail = &rest[at..];
        let mut levels = 0;
        while let Some(next) = tail.strip_prefix("super::") {
            (tail, levels) = (next, levels + 1);
        }
        tree(tail, &mut Vec::new(), &mut |path| found.push((levels, path.to_vec())));
        rest = tail;
    }
    found
}

/// Walks a tree of `use`: `a::b`, `a::{b, c::d}`. Gives what follows it.
fn tree<'t>(text: &'t str, before: &mut Vec<String>, tell: &mut dyn FnMut(&[String])) -> &'t str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = tree(rest, before, tell).trim_start();
            match rest.strip_prefix(',') {
                Some(next) if !next.trim_start().starts_with('}') => rest = next,
                _ => return rest.trim_start_matches(',').trim_start().trim_start_matches('}'),
            }
        }
    }
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    before.push(text[..end].to_owned());
    let rest = match text[end..].strip_prefix("::") {
        Some(rest) => tree(rest, before, tell),
        None => {
            tell(before);
            &text[end..]
        }
    };
    before.pop();
    rest
}

/// For each file of `folder` the files that it names.
fn named(folder: &str) -> BTreeMap<String, BTreeSet<String>> {
    let sources = files(folder, "rs");
    let modules: Vec<(Vec<String>, &Source)> =
        sources.iter().filter_map(|source| Some((module(folder, source)?, source))).collect();
    let known: BTreeSet<String> = modules.iter().map(|(module, _)| module.join("::")).collect();
    let mut edges = BTreeMap::new();
    for (own, source) in &modules {
        let code: String = source.library_code().map(|(_, line)| format!("{line}\n")).collect();
        let mut others = BTreeSet::new();
        for (levels, path) in paths(&code) {
            let Some(parent) = own.len().checked_sub(levels) else { continue };
            // The names behind may go on into items: the longest beginning that is a file is meant.
            let full: Vec<String> = own[..parent].iter().chain(&path).cloned().collect();
            let meant = (1..=full.len()).rev().map(|n| full[..n].join("::")).find(|m| known.contains(m));
            others.extend(meant);
        }
        others.remove(&own.join("::"));
        edges.insert(own.join("::"), others);
    }
    edges
}

/// The files of a circle, if there is one: what is left when files that name no file left are taken away again and again.
fn circle(mut edges: BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    loop {
        let done: Vec<String> =
            edges.iter().filter(|(_, others)| others.is_empty()).map(|(file, _)| file.clone()).collect();
        if done.is_empty() {
            return edges.into_keys().collect();
        }
        for file in done {
            edges.remove(&file);
            for others in edges.values_mut() {
                others.remove(&file);
            }
        }
    }
}

#[test]
fn files_of_a_module_form_no_circle() {
    let mut violations = Vec::new();
    for folder in MODULES {
        let edges = named(folder);
        assert!(edges.len() > 5 && edges.values().any(|others| others.len() > 3), "{folder}: {edges:?}");
        let circle = circle(edges.clone());
        violations.extend(circle.iter().map(|file| format!("{folder}: {file} names {:?}", edges[file])));
    }
    assert_none("files name each other in a circle (or stand on one that does)", violations);
}

#[test]
fn circles_are_found() {
    let edges = |pairs: &[(&str, &[&str])]| -> BTreeMap<String, BTreeSet<String>> {
        pairs
            .iter()
            .map(|(file, others)| (file.to_string(), others.iter().map(ToString::to_string).collect()))
            .collect()
    };
    assert!(circle(edges(&[("a", &["b", "c"]), ("b", &["c"]), ("c", &[])])).is_empty());
    assert_eq!(circle(edges(&[("a", &["b"]), ("b", &["c"]), ("c", &["a"]), ("d", &[])])), ["a", "b", "c"]);
    let text =
        "use super::super::problem::{Conv, Size};\nuse super::{bind, pack};\n super::draft::Draft::new(";
    let named: Vec<(usize, String)> = paths(text).into_iter().map(|(n, p)| (n, p.join("::"))).collect();
    let wanted =
        [(2, "problem::Conv"), (2, "problem::Size"), (1, "bind"), (1, "pack"), (1, "draft::Draft::new")];
    assert_eq!(named, wanted.map(|(n, path)| (n, path.to_owned())));
}
