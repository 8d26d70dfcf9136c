//! `gen class`

use clap::Args;

use super::sample::Sample;
use crate::guide::GuideArgs;
use crate::session::Session;

/// What `--help` ends with.
pub const EXAMPLES: &str = "Examples:
  gen class --model runs/mine --classifier runs/classifier --label cat
  gen class --model runs/mine --classifier runs/classifier --label 3 --guidance 2 --seeds 0-63 --out threes.png
  gen train --config mine.toml --set model.name=wideresnet_noise_conditional --data photos/ --out runs/classifier";

// What the command says of itself stands at its variant of `Command`: here the words of `Sample` would come after it.
#[derive(Args)]
pub struct Class {
    #[command(flatten)]
    guide: GuideArgs,
    #[command(flatten)]
    sample: Sample,
}

impl Class {
    pub fn run(self, session: &Session) -> anyhow::Result<()> {
        self.sample.draw(session, Some(&self.guide))
    }
}
