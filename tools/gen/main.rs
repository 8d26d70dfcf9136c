//! `gen`: the command-line tool, thin over the library.
//!
//! stdout carries results, stderr progress and words. The exit codes are in [`exit`].

mod apart;
mod commands;
mod environment;
mod exit;
mod flow;
mod folder;
mod guide;
mod input;
mod model;
mod output;
mod print;
mod session;
mod settings;
mod signals;
mod solver;

use std::process::ExitCode;

use clap::Parser;

use commands::Command;
use session::{Global, Session};

/// A first look around.
const EXAMPLES: &str = "Examples:
  gen sample
  gen devices
  gen config list
  gen train --config ve/cifar10_ncsnpp_continuous --batch 4 --dry-run";

/// Trains score-based generative models and samples from them on any GPU.
#[derive(Parser)]
#[command(
    name = "gen",
    version,
    max_term_width = 110,
    subcommand_required = true,
    arg_required_else_help = true
)]
#[command(after_help = format!("{EXAMPLES}\n\n{}", exit::HELP))]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    // Before any thread is started: it may set a variable of the environment.
    environment::silence_device_select();
    let cli = Cli::parse();
    let result = Session::new(cli.global).and_then(|session| cli.command.run(&session));
    ExitCode::from(exit::report(result))
}

#[cfg(test)]
mod tests;
