//! One file per command.

mod bench;
pub mod class;
mod completions;
mod config;
mod convert;
pub mod data;
mod decode;
mod devices;
mod encode;
mod inpaint;
mod inspect;
mod interpolate;
mod likelihood;
mod man;
mod sample;
mod train;

use clap::Subcommand;

use crate::session::Session;

/// The commands.
#[derive(Subcommand)]
pub enum Command {
    Sample(sample::Sample),
    /// Draw images of one class.
    ///
    /// The score of an unconditional model plus the gradient of a classifier of noisy images, which `gen train` trains: its configuration
    /// has model.name = "wideresnet_noise_conditional", and otherwise the data and the SDE of the model.
    #[command(after_help = class::EXAMPLES)]
    Class(class::Class),
    Train(train::Train),
    Likelihood(likelihood::LikelihoodCommand),
    Encode(encode::Encode),
    Decode(decode::Decode),
    Interpolate(interpolate::Interpolate),
    Inpaint(inpaint::Inpaint),
    Colorize(inpaint::Colorize),
    Convert(convert::Convert),
    Bench(bench::Bench),
    Devices(devices::Devices),
    Config(config::ConfigCommand),
    Inspect(inspect::Inspect),
    Data(data::Data),
    Completions(completions::Completions),
    Man(man::Man),
}

impl Command {
    /// Does it.
    pub fn run(self, session: &Session) -> anyhow::Result<()> {
        match self {
            Self::Sample(command) => command.run(session),
            Self::Class(command) => command.run(session),
            Self::Train(command) => command.run(session),
            Self::Likelihood(command) => command.run(session),
            Self::Encode(command) => command.run(session),
            Self::Decode(command) => command.run(session),
            Self::Interpolate(command) => command.run(session),
            Self::Inpaint(command) => command.run(session),
            Self::Colorize(command) => command.run(session),
            Self::Convert(command) => command.run(session),
            Self::Bench(command) => command.run(session),
            Self::Devices(command) => command.run(session),
            Self::Config(command) => command.run(),
            Self::Inspect(command) => command.run(session),
            Self::Data(command) => command.run(session),
            Self::Completions(command) => command.run(),
            Self::Man(command) => command.run(),
        }
    }
}
