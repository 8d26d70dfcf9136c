//! `gen completions`

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::Cli;

/// Print completions for a shell.
#[derive(Args)]
#[command(after_help = "Examples:
  gen completions bash > ~/.local/share/bash-completion/completions/gen
  gen completions fish > ~/.config/fish/completions/gen.fish
  gen completions zsh > \"${fpath[1]}/_gen\"")]
pub struct Completions {
    /// The shell.
    shell: Shell,
}

impl Completions {
    pub fn run(self) -> anyhow::Result<()> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "gen", &mut text);
        std::io::Write::write_all(&mut std::io::stdout().lock(), &text)?;
        Ok(())
    }
}
