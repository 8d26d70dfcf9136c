//! Shader assembly: files under `shaders/` and a line-based preprocessor, nothing more.
//!
//! A file is WGSL with these lines in it, each alone on its line:
//!
//! * `//!use shared/reduce.wgsl`: that file's text stands here, once per assembled shader.
//! * `//!for i in 0..N` … `//!end`: the lines between, N times, with `$i` or `${i*STRIDE+1}` replaced by the number. Bounds and what
//!   stands in braces are numbers, constants, loop variables, and sums, differences, products and quotients of them.
//! * `//!if COND` … `//!else` … `//!end`: COND is a constant that is not 0, or `A == B`, `A != B`, `A < B`, `A > B`; `$i` may occur.
//!
//! `//!if FXC` stands around what is written otherwise for FXC, Direct3D 12's old compiler; it must have the same results.
//!
//! The constants of a variant (tile sizes, baked shapes) go in front as `const NAME: u32 = …;` and are what
//! bounds and conditions may name. A loop unrolled here has accumulators in named variables, which is what drivers
//! keep in registers; a WGSL array indexed in a loop is not.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

/// The condition that holds where FXC compiles the text: 0 unless it is among the constants.
pub(super) const FXC: &str = "FXC";

/// Every file under `shaders/`: path below that folder, text.
pub const FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/shaders.rs"));

/// The value of a constant of a shader variant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Const {
    /// `const NAME: u32`; the only kind that bounds and conditions may name.
    U32(u32),
    /// `const NAME: i32`.
    I32(i32),
    /// `const NAME: f32`.
    F32(f32),
}

impl Const {
    /// Bits that identify the value in cache keys.
    pub(crate) fn key(self) -> (u8, u32) {
        match self {
            Self::U32(_) => (0, self.bits()),
            Self::I32(_) => (1, self.bits()),
            Self::F32(_) => (2, self.bits()),
        }
    }

    /// The value as a word of a uniform block.
    pub fn bits(self) -> u32 {
        match self {
            Self::U32(v) => v,
            Self::I32(v) => v as u32,
            Self::F32(v) => v.to_bits(),
        }
    }

    /// The type in WGSL.
    pub fn wgsl_type(self) -> &'static str {
        match self {
            Self::U32(_) => "u32",
            Self::I32(_) => "i32",
            Self::F32(_) => "f32",
        }
    }
}

/// Sizes and counts. They fit, since no tensor has 2³² elements: a binding has fewer bytes.
impl From<usize> for Const {
    fn from(value: usize) -> Self {
        debug_assert!(u32::try_from(value).is_ok(), "{value} in a shader's u32");
        Self::U32(value as u32)
    }
}

impl From<u32> for Const {
    fn from(value: u32) -> Self {
        Self::U32(value)
    }
}

impl From<bool> for Const {
    fn from(value: bool) -> Self {
        Self::U32(value.into())
    }
}

impl From<f32> for Const {
    fn from(value: f32) -> Self {
        Self::F32(value)
    }
}

impl fmt::Display for Const {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::U32(v) => write!(f, "u32 = {v}u"),
            Self::I32(v) => write!(f, "i32 = {v}i"),
            Self::F32(v) => write!(f, "f32 = {v:?}f"),
        }
    }
}

/// Assembles `path` with `constants` in front. The error says file and line.
pub fn assemble(path: &str, constants: &[(&str, Const)]) -> Result<String, String> {
    assemble_lines(path, &read(path)?, constants)
}

/// Assembles a `text` of another program, which has a path only for messages, with `constants` in front. It may use this crate's files.
pub fn assemble_text(path: &str, text: &str, constants: &[(&str, Const)]) -> Result<String, String> {
    assemble_lines(path, &text.lines().collect::<Vec<_>>(), constants)
}

fn assemble_lines(path: &str, lines: &[&str], constants: &[(&str, Const)]) -> Result<String, String> {
    let mut body = String::new();
    let mut names = BTreeMap::from([(FXC.to_owned(), 0)]);
    for (name, value) in constants {
        if let Const::U32(v) = value {
            names.insert((*name).to_owned(), i64::from(*v));
        }
    }
    let mut used = HashSet::new();
    expand(path, lines, &mut names, &mut used, &mut body)?;
    // `enable` directives come before everything else in a module.
    let (enables, rest): (Vec<&str>, Vec<&str>) =
        body.lines().partition(|l| l.trim_start().starts_with("enable "));
    let mut text = String::new();
    for line in enables {
        text += line;
        text.push('\n');
    }
    for (name, value) in constants {
        text += &format!("const {name}: {value};\n");
    }
    for line in rest {
        text += line;
        text.push('\n');
    }
    Ok(text)
}

fn read(path: &str) -> Result<Vec<&'static str>, String> {
    FILES
        .iter()
        .find(|(name, _)| *name == path)
        .map(|(_, text)| text.lines().collect())
        .ok_or_else(|| format!("no shader file {path}"))
}

/// Names that a bound or condition may mention: constants and the loop variables around it.
type Names = BTreeMap<String, i64>;

fn expand(
    path: &str,
    lines: &[&str],
    names: &mut Names,
    used: &mut HashSet<String>,
    out: &mut String,
) -> Result<(), String> {
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at];
        let fail = |what: &str| format!("shaders/{path}: {what} in {:?}", line.trim());
        let Some(directive) = line.trim().strip_prefix("//!") else {
            substitute(line, names, out).map_err(|e| fail(&e))?;
            at += 1;
            continue;
        };
        let (word, rest) = directive.split_once(' ').unwrap_or((directive, ""));
        match word {
            "use" => {
                let file = rest.trim();
                if used.insert(file.to_owned()) {
                    expand(file, &read(file)?, names, used, out)?;
                }
                at += 1;
            }
            "for" => {
                let (body, next) = block(lines, at).ok_or_else(|| fail("no //!end for the loop"))?;
                let (variable, range) = rest.split_once(" in ").ok_or_else(|| fail("no ` in `"))?;
                let (low, high) = range.split_once("..").ok_or_else(|| fail("no `..`"))?;
                let low = number(low, names).map_err(|e| fail(&e))?;
                let high = number(high, names).map_err(|e| fail(&e))?;
                let outer = names.get(variable.trim()).copied();
                for value in low..high {
                    names.insert(variable.trim().to_owned(), value);
                    expand(path, body.0, names, used, out)?;
                }
                match outer {
                    Some(value) => names.insert(variable.trim().to_owned(), value),
                    None => names.remove(variable.trim()),
                };
                at = next;
            }
            "if" => {
                let (body, next) = block(lines, at).ok_or_else(|| fail("no //!end for the condition"))?;
                let chosen = if holds(rest, names).map_err(|e| fail(&e))? { body.0 } else { body.1 };
                expand(path, chosen, names, used, out)?;
                at = next;
            }
            _ => return Err(fail("unknown directive")),
        }
    }
    Ok(())
}

/// The two arms of a block.
type Arms<'a> = (&'a [&'a str], &'a [&'a str]);

/// The lines of the block that opens at `start` (before and after its `//!else`) and the index behind its `//!end`.
fn block<'a>(lines: &'a [&'a str], start: usize) -> Option<(Arms<'a>, usize)> {
    let mut depth = 0;
    let mut middle = None;
    for (i, line) in lines.iter().enumerate().skip(start) {
        let Some(directive) = line.trim().strip_prefix("//!") else { continue };
        match directive.split(' ').next()? {
            "for" | "if" => depth += 1,
            "else" if depth == 1 => middle = Some(i),
            "end" => {
                depth -= 1;
                if depth == 0 {
                    let split = middle.unwrap_or(i);
                    let tail = if middle.is_some() { &lines[split + 1..i] } else { &[] };
                    return Some(((&lines[start + 1..split], tail), i + 1));
                }
            }
            _ => {}
        }
    }
    None
}

fn number(text: &str, names: &Names) -> Result<i64, String> {
    let text = text.trim();
    for operator in ['+', '-', '*', '/'] {
        if let Some((left, right)) = text.split_once(operator).filter(|(l, _)| !l.trim().is_empty()) {
            let (left, right) = (number(left, names)?, number(right, names)?);
            return match operator {
                '+' => Ok(left + right),
                '-' => Ok(left - right),
                '*' => Ok(left * right),
                _ if right == 0 => Err("division by zero".into()),
                _ => Ok(left / right),
            };
        }
    }
    let name = text.strip_prefix('$').unwrap_or(text);
    match name.parse() {
        Ok(value) => Ok(value),
        Err(_) => names.get(name).copied().ok_or_else(|| format!("unknown name {name:?}")),
    }
}

fn holds(text: &str, names: &Names) -> Result<bool, String> {
    for operator in ["==", "!=", "<", ">"] {
        if let Some((left, right)) = text.split_once(operator) {
            let (left, right) = (number(left, names)?, number(right, names)?);
            return Ok(match operator {
                "==" => left == right,
                "!=" => left != right,
                "<" => left < right,
                _ => left > right,
            });
        }
    }
    Ok(number(text, names)? != 0)
}

fn substitute(line: &str, names: &Names, out: &mut String) -> Result<(), String> {
    let mut rest = line;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let tail = &rest[at + 1..];
        let (expression, behind) = match tail.strip_prefix('{') {
            Some(inner) => inner.split_once('}').ok_or("no } behind ${")?,
            None => tail.split_at(tail.find(|c: char| !c.is_alphanumeric()).unwrap_or(tail.len())),
        };
        out.push_str(&number(expression, names)?.to_string());
        rest = behind;
    }
    out.push_str(rest);
    out.push('\n');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str, constants: &[(&str, i64)]) -> Result<String, String> {
        let lines: Vec<&str> = text.lines().collect();
        let mut names = constants.iter().map(|(n, v)| ((*n).to_owned(), *v)).collect();
        let mut out = String::new();
        expand("test", &lines, &mut names, &mut HashSet::new(), &mut out)?;
        Ok(out)
    }

    #[test]
    fn loops_nest_and_substitute() {
        let text = "//!for i in 0..2\n//!for j in 0..N\na${i}_$j = b[$j];\n//!end\n//!end";
        assert_eq!(
            expanded(text, &[("N", 2)]).unwrap(),
            "a0_0 = b[0];\na0_1 = b[1];\na1_0 = b[0];\na1_1 = b[1];\n"
        );
    }

    #[test]
    fn conditions_choose_an_arm() {
        let text = "//!if V == 4\nvec4\n//!else\nf32\n//!end";
        assert_eq!(expanded(text, &[("V", 4)]).unwrap(), "vec4\n");
        assert_eq!(expanded(text, &[("V", 1)]).unwrap(), "f32\n");
        assert_eq!(expanded("//!if A < B\nx\n//!end", &[("A", 2), ("B", 2)]).unwrap(), "");
    }

    #[test]
    fn mistakes_name_file_and_line() {
        let error = expanded("//!for i in 0..M\n//!end", &[]).unwrap_err();
        assert!(error.contains("shaders/test") && error.contains("\"M\""), "{error}");
        assert!(expanded("//!for i in 0..2", &[]).unwrap_err().contains("no //!end"));
        assert!(expanded("a$k", &[]).unwrap_err().contains("\"k\""));
    }
}
