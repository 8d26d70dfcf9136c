//! What goes to stdout: results, as text or as JSON.
//!
//! Sizes, rates and tables are ten lines each and no crate's: those for tables (`comfy-table`, `tabled`) draw borders and measure the
//! terminal, where ours are columns that scripts can cut; those for sizes know no rate that turns into seconds an image.

use std::fmt::{self, Display, Write as _};
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use langevin::graph::Memory;
use langevin::limits::is_harmless;
use serde_json::json;

/// Set where stdout carries a picture.
static STDOUT_IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// From here on lines go to stderr: stdout carries a picture.
pub fn lines_to_stderr() {
    STDOUT_IS_TAKEN.store(true, Ordering::SeqCst);
}

/// A line, or several.
pub fn line(text: impl Display) -> std::io::Result<()> {
    if STDOUT_IS_TAKEN.load(Ordering::SeqCst) {
        word(text);
        return Ok(());
    }
    writeln!(std::io::stdout().lock(), "{}", Harmless(text))
}

/// Bytes on stdout.
pub fn raw(bytes: &[u8]) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}

/// A line on stderr. Where nobody reads it any more (`gen train 2>&1 | head`) the work goes on without a word.
pub fn word(text: impl Display) {
    let _ = writeln!(std::io::stderr().lock(), "{}", Harmless(text));
}

/// One JSON value, indented.
pub fn json(value: &serde_json::Value) -> std::io::Result<()> {
    let mut text = String::new();
    // Such characters stand in strings only, where JSON has this form for them.
    for c in format!("{value:#}").chars() {
        match c {
            c if is_harmless(c) || c == '\n' => text.push(c),
            c => text.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}"))),
        }
    }
    writeln!(std::io::stdout().lock(), "{text}")
}

/// Text with names from outside in it: what would move the cursor, other than to the next line, is escaped. Names that hold the end of a
/// line are escaped where they are put into a text.
struct Harmless<T>(T);

impl<T: Display> Display for Harmless<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Filter(f), "{}", self.0)
    }
}

struct Filter<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl fmt::Write for Filter<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|c| match c {
            c if is_harmless(c) || matches!(c, '\n' | '\t') => self.0.write_char(c),
            c => write!(self.0, "{}", c.escape_debug()),
        })
    }
}

/// A number of things, by the word for one of them.
pub fn count(n: usize, thing: &str) -> String {
    format!("{n} {thing}{}", if n == 1 { "" } else { "s" })
}

/// A size in the unit that keeps it short.
pub fn bytes(n: u64) -> String {
    let mut size = n as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if size < 1024.0 {
            return if unit == "B" { format!("{n} B") } else { format!("{size:.1} {unit}") };
        }
        size /= 1024.0;
    }
    format!("{size:.1} TiB")
}

/// Images a second, or seconds an image where they are few.
pub fn rate(images_per_second: f64) -> String {
    match images_per_second {
        r if r >= 100.0 => format!("{r:.0} images/s"),
        r if r >= 10.0 => format!("{r:.1} images/s"),
        r if r >= 0.1 => format!("{r:.2} images/s"),
        r if r > 0.0 => format!("{:.1} s/image", 1.0 / r),
        _ => "0 images/s".into(),
    }
}

/// What a plan takes, in bytes.
pub fn memory(memory: &Memory) -> serde_json::Value {
    json!({
        "total": memory.total(), "parameters": memory.parameters, "shared": memory.shared, "peak": memory.peak,
        "inputs": memory.inputs, "prepared": memory.prepared, "uniforms": memory.uniforms,
    })
}

/// Rows with their columns aligned; the last column is not padded.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |c: usize| rows.iter().filter_map(|r| r.get(c)).map(|s| s.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let pad = |row: &Vec<String>| {
        let mut text = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            text += &format!("{cell:<width$}  ");
        }
        text.trim_end().to_owned()
    };
    rows.iter().map(pad).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(128 << 20), "128.0 MiB");
    }

    #[test]
    fn rates_keep_their_figures() {
        assert_eq!(rate(512.4), "512 images/s");
        assert_eq!(rate(0.25), "0.25 images/s");
        assert_eq!(rate(0.004), "250.0 s/image");
        assert_eq!(rate(0.0), "0 images/s");
    }

    #[test]
    fn nothing_that_is_printed_moves_the_cursor() {
        assert_eq!(Harmless("a\u{1b}[2Jb\r\nc\u{9b}").to_string(), "a\\u{1b}[2Jb\\r\nc\\u{9b}");
    }

    #[test]
    fn one_is_one_thing() {
        assert_eq!((count(1, "image"), count(0, "image")), ("1 image".to_owned(), "0 images".to_owned()));
    }

    #[test]
    fn columns_line_up() {
        let rows = [vec!["a".to_owned(), "b".into()], vec!["long".into(), "c".into()]];
        assert_eq!(table(&rows), "a     b\nlong  c");
    }
}
