//! `gen man`

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, CommandFactory};
use langevin::Error;

use crate::{Cli, print};

/// Print the manual page, or write those of all commands into a folder.
#[derive(Args)]
#[command(after_help = "Examples:
  gen man | man -l -
  gen man --out ~/.local/share/man/man1")]
pub struct Man {
    /// Write gen.1, gen-sample.1, … here.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

impl Man {
    pub fn run(self) -> anyhow::Result<()> {
        let Some(folder) = self.out else {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut page)?;
            return Ok(std::io::stdout().lock().write_all(&page)?);
        };
        std::fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
        clap_mangen::generate_to(Cli::command(), &folder).map_err(Error::io(&folder))?;
        print::line(folder.display())?;
        Ok(())
    }
}
