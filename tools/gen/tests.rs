//! What the help and the pages say of the command line, held against the command line.

use clap::{Command, CommandFactory, Parser};

use super::Cli;

/// The words of a line as a shell would part them, up to a redirection, a pipe or a remark.
fn words(line: &str) -> Vec<String> {
    let line = line.split("    (").next().unwrap();
    let (mut words, mut quote) = (vec![String::new()], None);
    for c in line.chars() {
        match (c, quote) {
            ('>' | '|', None) => break,
            ('\'' | '"', None) => quote = Some(c),
            (c, Some(q)) if c == q => quote = None,
            (' ', None) => words.push(String::new()),
            (c, _) => words.last_mut().unwrap().push(c),
        }
    }
    words.retain(|w| !w.is_empty());
    words
}

/// The commands of a text, each with what its continued lines add.
fn commands(text: &str) -> Vec<Vec<String>> {
    let joined = text.replace("\\\n", " ");
    joined.lines().map(str::trim).filter(|line| line.starts_with("gen ")).map(words).collect()
}

#[track_caller]
fn parses(command: &[String]) {
    if let Err(error) = Cli::try_parse_from(command) {
        panic!("{}: {error}", command.join(" "));
    }
}

/// Every command that has none below it, with its own name and those above.
fn leaves(command: &Command, path: &str, found: &mut Vec<(String, Command)>) {
    for below in command.get_subcommands().filter(|c| c.get_name() != "help") {
        let path = format!("{path} {}", below.get_name());
        match below.has_subcommands() {
            true => leaves(below, &path, found),
            false => found.push((path, below.clone())),
        }
    }
}

#[test]
fn every_command_has_an_example_that_parses_and_json_where_it_yields_figures() {
    Cli::command().debug_assert();
    let mut all = Vec::new();
    leaves(&Cli::command(), "gen", &mut all);
    assert!(all.len() > 15, "{all:?}");
    for (path, command) in all {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let examples = commands(help.split("Examples:").nth(1).unwrap_or_default());
        examples.iter().for_each(|example| parses(example));
        let own =
            examples.iter().any(|words| format!("{} ", words.join(" ")).starts_with(&format!("{path} ")));
        assert!(own, "{path} has no example of its own: {help}");
        let has_json = command.get_arguments().any(|a| a.get_long() == Some("json"));
        assert!(has_json || ["gen completions", "gen man"].contains(&&path[..]), "{path} has no --json");
    }
}

#[test]
fn every_command_of_the_pages_parses() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = 0;
    for page in ["README.md", "docs/training.md", "docs/sampling.md", "docs/performance.md"] {
        let text = std::fs::read_to_string(root.join(page)).unwrap();
        // A line of a code block, and what stands alone between backticks.
        let blocks: String = text.lines().filter(|l| l.starts_with("    ")).flat_map(|l| [l, "\n"]).collect();
        let inline: String = text.split('`').skip(1).step_by(2).flat_map(|t| [t, "\n"]).collect();
        for command in commands(&format!("{blocks}\n{inline}")) {
            // `gen COMMAND` stands for any.
            if command.iter().any(|word| word.chars().all(|c| c.is_ascii_uppercase())) {
                continue;
            }
            // `gen data check` in a sentence names the command; it has no arguments there.
            if command.len() > 3 {
                parses(&command);
                found += 1;
            }
        }
    }
    assert!(found > 3, "{found}");
}

#[test]
fn backends_and_compilers_are_named_as_wgpu_names_them() {
    use crate::environment::{backends, compiler};
    use langevin::gpu::{Backend, Dx12Compiler};
    assert_eq!(backends("vk, DX12,metal"), [Backend::Vulkan, Backend::Dx12, Backend::Metal]);
    assert_eq!(backends("gl"), []);
    assert_eq!((compiler("FXC"), compiler("dxc")), (Some(Dx12Compiler::Fxc), Some(Dx12Compiler::Dxc)));
    assert_eq!(compiler("x"), None);
}
