//! Images that a command is given, as the model takes them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use langevin::Error;
use langevin::checkpoint::SavedModel;
use langevin::data::transform::{center, nhwc_to_nchw, to_unit};
use langevin::data::{CACHE_FOLDER, DataConfig, Dataset, Preprocess, ReadConfig, Split, read_images};

use crate::apart::Input;
use crate::commands::data::watch;
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
    pub fn read(&self, saved: &SavedModel, session: &Session) -> langevin::Result<Given> {
        Given::read(&self.images, recipe(saved)?, self.n.map(|n| n as usize), self.range, session)
    }
}

/// How pictures become what the model takes: as its file says, else as its configuration does. Training, likelihood, encoding and
/// inpainting have the same.
pub fn recipe(saved: &SavedModel) -> langevin::Result<Preprocess> {
    let d = &saved.config.data;
    let recorded = saved.recipe.as_deref().and_then(|text| serde_json::from_str::<Preprocess>(text).ok());
    let fits =
        |r: &Preprocess| (r.image_size as usize, r.channels as usize) == (d.image_size, d.num_channels);
    match recorded.filter(fits) {
        Some(recipe) => Ok(recipe),
        None => Preprocess::for_dataset(d.dataset.as_str(), d.image_size as u32, d.num_channels as u32),
    }
}

/// The data set at `path`, packed in the folder of caches.
pub fn data_config(path: &Path, preprocess: Preprocess, session: &Session) -> DataConfig {
    let cache_folder = environment::data_folder();
    DataConfig { limits: session.limits(), cache_folder, ..DataConfig::new(path, preprocess) }
}

/// Opens a data set; the pictures that are packed are counted on stderr.
pub fn open_data(config: &DataConfig, what: &str, session: &Session) -> anyhow::Result<Arc<Dataset>> {
    let bar = session.counter(what);
    let opened = Dataset::open(config, &mut |done| watch(&bar, done, session));
    bar.finish_and_clear();
    opened.map_err(|error| match &error {
        Error::Invalid { name, .. } if name == CACHE_FOLDER => {
            let remedy = format!("set {} to a folder that can be written", environment::CACHE);
            anyhow::Error::from(error).context(remedy)
        }
        _ => error.into(),
    })
}

/// Images in memory.
pub struct Given {
    /// `n h w c`, in [0, 1].
    pub values: Vec<f32>,
    /// Where each comes from.
    pub names: Vec<String>,
}

impl Given {
    /// Reads at most `most` images of `path`, brought to the model's size and channels by `preprocess`.
    pub fn read(
        path: &Path,
        preprocess: Preprocess,
        most: Option<usize>,
        range: RangeArgs,
        session: &Session,
    ) -> langevin::Result<Self> {
        let config = ReadConfig {
            path: path.into(),
            preprocess: Some(preprocess),
            limits: session.limits(),
            most,
            any_range: range.any_range,
        };
        let images = read_images(&config)?;
        images.notes.iter().for_each(|note| session.say(note));
        let [_, c, h, w] = images.shape;
        // The same transposition with its extents exchanged leads back.
        Ok(Self { values: nhwc_to_nchw(&images.values, c, h * w), names: images.names })
    }

    /// Images of one split of a data set, packed as training packs it: all, or `most` that `seed` chooses.
    pub fn of_split(
        path: &Path,
        preprocess: Preprocess,
        split: Split,
        most: Option<usize>,
        seed: u64,
        session: &Session,
    ) -> anyhow::Result<Self> {
        let data = open_data(&data_config(path, preprocess, session), "pictures read", session)?;
        data.notes().iter().for_each(|note| session.say(note));
        let all = data.subset(split)?;
        let images = match most {
            Some(most) => all.take(most, seed),
            None => all,
        };
        let mut given = Self { values: Vec::new(), names: Vec::new() };
        let mut row = vec![0; preprocess.bytes()];
        for number in (0..images.len()).map(|i| images.number(i)) {
            data.read(number, &mut row)?;
            given.values.extend(to_unit(&row));
            let class = usize::try_from(data.label(number)).ok().and_then(|label| data.classes().get(label));
            let class = class.map_or(String::new(), |class| format!("{class}/"));
            given.names.push(format!("{split}/{class}#{number}"));
        }
        Ok(given)
    }

    /// Scaled as the model takes them.
    pub fn scaled(&self, centered: bool) -> Vec<f32> {
        let mut values = self.values.clone();
        if centered {
            center(&mut values);
        }
        values
    }

    /// Names for files that come from these images: without folders and endings, each once.
    pub fn stems(&self) -> Vec<String> {
        let stem = |name: &String| {
            let last = name.rsplit(['/', '\\']).next().unwrap_or(name);
            last.split('.').next().unwrap_or(last).to_owned()
        };
        let stems: Vec<String> = self.names.iter().map(stem).collect();
        let unique = |(i, s): (usize, &String)| {
            let twice = s.is_empty() || stems.iter().filter(|other| *other == s).count() > 1;
            if twice { format!("{s}{i:06}") } else { s.clone() }
        };
        stems.iter().enumerate().map(unique).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_get_names_of_their_own() {
        let names = ["a/x.png", "b/x.png", "y.tar.gz", "s.npz#0"].map(str::to_owned).to_vec();
        let given = Given { values: Vec::new(), names };
        assert_eq!(given.stems(), ["x000000", "x000001", "y", "s"]);
    }
}
