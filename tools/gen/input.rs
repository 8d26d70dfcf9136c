//! Images that a command is given.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use langevin::Error;
use langevin::checkpoint::SavedModel;
use langevin::data::{CACHE_FOLDER, DataConfig, Dataset, Preprocess};
use langevin::pipeline::{Images, ReadImages};

use crate::apart::Input;
use crate::environment;
use crate::session::Session;

/// What values arrays may have.
#[derive(Args, Clone, Copy)]
pub struct RangeArgs {
    /// Take arrays with values outside [0, 1] as they are.
    #[arg(long)]
    pub any_range: bool,
}

/// Images that a command is given.
#[derive(Args)]
pub struct ImagesArgs {
    /// A picture, a folder or archive of pictures, or a .safetensors or .npz file (`x`, n c h w, in [0, 1]).
    #[arg(long, value_name = "PATH")]
    images: PathBuf,
    #[command(flatten)]
    range: RangeArgs,
    /// Take the first N images only.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    n: Option<u32>,
}

impl ImagesArgs {
    /// Where they are read from, for the check of results.
    pub fn input(&self) -> Input<'_> {
        Input::Images("--images", &self.images)
    }

    /// Reads them, fitted to the model.
    pub fn read(&self, saved: &SavedModel, session: &Session) -> langevin::Result<Images> {
        let reader = ReadImages::new(&self.images, saved).any_range(self.range.any_range);
        let reader = match self.n {
            Some(n) => reader.most(n as usize),
            None => reader,
        };
        told(reader.limits(session.limits()).images()?, session)
    }
}

/// Says what the user should know of how images were read.
pub fn told(images: Images, session: &Session) -> langevin::Result<Images> {
    images.notes().iter().for_each(|note| session.say(note));
    Ok(images)
}

/// The data set at `path`, packed in the folder of caches.
pub fn data_config(path: &Path, preprocess: Preprocess, session: &Session) -> DataConfig {
    let cache_folder = environment::data_folder();
    DataConfig { limits: session.limits(), cache_folder, ..DataConfig::new(path, preprocess) }
}

/// Opens a data set; the pictures that are packed are counted on stderr.
pub fn open_data(config: &DataConfig, what: &str, session: &Session) -> anyhow::Result<Arc<Dataset>> {
    counted(what, session, |progress| Dataset::open(config, progress))
}

/// Opens what is packed in the folder of caches; the pictures are counted on stderr.
pub fn counted<T>(
    what: &str,
    session: &Session,
    open: impl FnOnce(&mut dyn FnMut(u64) -> bool) -> langevin::Result<T>,
) -> anyhow::Result<T> {
    let bar = session.counter(what);
    let opened = open(&mut |done| session.packed(&bar, done));
    bar.finish_and_clear();
    opened.map_err(|error| match &error {
        Error::Invalid { name, .. } if name == CACHE_FOLDER => {
            let remedy = format!("set {} to a folder that can be written", environment::CACHE);
            anyhow::Error::from(error).context(remedy)
        }
        _ => error.into(),
    })
}
