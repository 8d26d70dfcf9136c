//! Reads source files and tells code, comments and strings apart.

use std::path::{Path, PathBuf};

/// The folder of the package.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A source file by lines, in three readings.
pub struct Source {
    /// Path from the package's folder, with `/`.
    pub path: String,
    /// The lines as they are.
    pub lines: Vec<String>,
    /// The same lines with comments and the contents of strings blanked out.
    pub code: Vec<String>,
    /// The same lines with everything but the contents of strings blanked out.
    pub strings: Vec<String>,
    /// Lines from this one on are unit tests; the number of lines where there are none.
    pub tests_from: usize,
}

impl Source {
    fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let name = path.strip_prefix(root()).unwrap_or(path).to_string_lossy().replace('\\', "/");
        Self::parse(name, &text)
    }

    fn parse(path: String, text: &str) -> Self {
        let (code, strings) = separate(text);
        let lines = |text: &str| text.lines().map(str::to_string).collect::<Vec<_>>();
        let (lines, code, strings) = (lines(text), lines(&code), lines(&strings));
        let opens_tests = |at: usize| {
            code[at].contains("#[cfg(test)]") && code[at..].iter().take(2).any(|l| l.contains('{'))
        };
        let tests_from = match path.ends_with("tests.rs") {
            true => 0,
            false => (0..code.len()).find(|&at| opens_tests(at)).unwrap_or(code.len()),
        };
        Self { path, lines, code, strings, tests_from }
    }

    /// `path:line: text`, for messages.
    pub fn at(&self, line: usize) -> String {
        format!("{}:{}: {}", self.path, line + 1, self.lines[line].trim())
    }

    /// Lines of code that are no unit tests, with their numbers from 0.
    pub fn library_code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code[..self.tests_from].iter().map(String::as_str).enumerate()
    }

    /// Whether line `at`, or the comment right above it, has `mark` in it.
    pub fn is_marked(&self, at: usize, mark: &str) -> bool {
        let is_comment = |line: &&String| line.trim_start().starts_with("//");
        self.lines[at].contains(mark)
            || self.lines[..at].iter().rev().take_while(is_comment).any(|line| line.contains(mark))
    }
}

/// Every file with this extension under `folder`, sorted by path.
pub fn files(folder: &str, extension: &str) -> Vec<Source> {
    let mut found = Vec::new();
    walk(&root().join(folder), &mut |path| {
        if path.extension().is_some_and(|e| e == extension) {
            found.push(Source::read(path));
        }
    });
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// Calls `each` for every file under `folder`; a folder that does not exist has none.
fn walk(folder: &Path, each: &mut impl FnMut(&Path)) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() { walk(&path, each) } else { each(&path) }
    }
}

/// The text twice, of the same length: without comments and contents of strings, and with the contents of strings only.
fn separate(text: &str) -> (String, String) {
    let chars: Vec<char> = text.chars().collect();
    let (mut code, mut strings) = (String::new(), String::new());
    let mut at = 0;
    while at < chars.len() {
        let (end, kind) = token(&chars, at);
        for &c in &chars[at..end] {
            let blank = if c == '\n' { '\n' } else { ' ' };
            code.push(if kind == Kind::Code { c } else { blank });
            strings.push(if kind == Kind::Text { c } else { blank });
        }
        at = end;
    }
    (code, strings)
}

#[derive(PartialEq)]
enum Kind {
    Code,
    Comment,
    Text,
}

/// Where what begins at `at` ends, and what it is.
fn token(chars: &[char], at: usize) -> (usize, Kind) {
    let find = |from: usize, end: &str| {
        let end: Vec<char> = end.chars().collect();
        let hit = (from..chars.len()).find(|&i| chars[i..].starts_with(&end));
        hit.map_or(chars.len(), |i| i + end.len())
    };
    let here = |text: &str| {
        chars[at..].iter().copied().zip(text.chars()).filter(|(a, b)| a == b).count() == text.len()
    };
    let in_word = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    if here("//") {
        return (find(at, "\n").saturating_sub(1).max(at + 2), Kind::Comment);
    }
    if here("/*") {
        return (find(at + 2, "*/"), Kind::Comment);
    }
    if here("r") && !in_word {
        let hashes = chars[at + 1..].iter().take_while(|&&c| c == '#').count();
        if chars.get(at + 1 + hashes) == Some(&'"') {
            return (find(at + 2 + hashes, &format!("\"{}", "#".repeat(hashes))), Kind::Text);
        }
    }
    if here("\"") {
        let mut end = at + 1;
        while end < chars.len() && chars[end] != '"' {
            end += if chars[end] == '\\' { 2 } else { 1 };
        }
        return ((end + 1).min(chars.len()), Kind::Text);
    }
    // A character, not a lifetime: one that holds a quote would open a string.
    if here("'") {
        if chars.get(at + 1) == Some(&'\\') {
            return (find(at + 3, "'"), Kind::Text);
        }
        if chars.get(at + 2) == Some(&'\'') {
            return (at + 3, Kind::Text);
        }
    }
    (at + 1, Kind::Code)
}

#[test]
fn code_comments_and_strings_are_told_apart() {
    let text = "let a = \"wgpu // \\\" x\"; // unsafe\nlet q = '\"'; fn f<'a>() {} /* b\n */ r#\"y\"z\"# r";
    let source = Source::parse("test".into(), text);
    let code: Vec<String> =
        source.code.iter().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(code, ["let a = ;", "let q = ; fn f<'a>() {}", "r"]);
    assert!(source.strings[0].contains("wgpu") && source.strings[2].contains("y\"z"));
    assert!(!source.strings[0].contains("unsafe"));
}
