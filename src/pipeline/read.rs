//! Images that a model is given, as it takes them.

use std::path::PathBuf;

use super::images::Images;
use crate::checkpoint::SavedModel;
use crate::data::transform::to_unit;
use crate::data::{DataConfig, Dataset, Limits, Preprocess, ReadConfig, Split, read_images};
use crate::error::Result;

/// Images to be read and fitted to a model by the recipe of its training. Made by [`Model::read`](super::Model::read).
///
/// ```no_run
/// use langevin::gpu::Gpu;
/// use langevin::pipeline::Pretrained;
///
/// # fn main() -> langevin::Result<()> {
/// let gpu = Gpu::open_default()?;
/// let model = Pretrained::open("runs/mine")?.load(&gpu)?;
/// let images = model.read("photos/").most(8).images()?;
/// images.notes().iter().for_each(|note| eprintln!("{note}"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ReadImages {
    path: PathBuf,
    recipe: Result<Preprocess>,
    limits: Limits,
    most: Option<usize>,
    any_range: bool,
    cache_folder: Option<PathBuf>,
}

impl ReadImages {
    /// Images for what is read of a model's file, before there is a device.
    pub fn new(path: impl Into<PathBuf>, saved: &SavedModel) -> Self {
        let recipe = recipe(saved);
        Self {
            path: path.into(),
            recipe,
            limits: Limits::default(),
            most: None,
            any_range: false,
            cache_folder: None,
        }
    }

    /// Reads no more than this many.
    pub fn most(mut self, most: usize) -> Self {
        self.most = Some(most);
        self
    }

    /// What pictures may cost.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Takes floats outside [0, 1] as they are.
    pub fn any_range(mut self, any_range: bool) -> Self {
        self.any_range = any_range;
        self
    }

    /// Where [`ReadImages::split`] packs a data set, for later runs; in memory where none is named.
    pub fn cache_folder(mut self, folder: Option<PathBuf>) -> Self {
        self.cache_folder = folder;
        self
    }

    /// A picture, a folder or archive of pictures, or an array (`n c h w`, in [0, 1]).
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io); [`Error::Format`](crate::Error::Format) where a picture cannot be read or an array has another
    /// shape or range.
    pub fn images(self) -> Result<Images> {
        let config = ReadConfig {
            path: self.path,
            preprocess: Some(self.recipe?),
            limits: self.limits,
            most: self.most,
            any_range: self.any_range,
        };
        let read = read_images(&config)?;
        Ok(Images::from_nchw(read.shape, &read.values)?.with_names(read.names)?.with_notes(read.notes))
    }

    /// A part of a data set, packed as training packs it: all of it, or as many as are asked for, chosen by `seed`. `progress` hears the
    /// pictures packed so far and may end the packing by returning false.
    ///
    /// # Errors
    /// Those of [`Dataset::open`].
    pub fn split(self, split: Split, seed: u64, progress: &mut dyn FnMut(u64) -> bool) -> Result<Images> {
        let recipe = self.recipe?;
        let (limits, cache_folder) = (self.limits, self.cache_folder);
        let config = DataConfig { limits, cache_folder, ..DataConfig::new(self.path, recipe) };
        let data = Dataset::open(&config, progress)?;
        let all = data.subset(split)?;
        let images = match self.most {
            Some(most) => all.take(most, seed),
            None => all,
        };
        let (mut values, mut names) = (Vec::new(), Vec::new());
        let mut row = vec![0; recipe.bytes()];
        for number in (0..images.len()).map(|i| images.number(i)) {
            data.read(number, &mut row)?;
            values.extend(to_unit(&row));
            let class = usize::try_from(data.label(number)).ok().and_then(|label| data.classes().get(label));
            let class = class.map_or(String::new(), |class| format!("{class}/"));
            names.push(format!("{split}/{class}#{number}"));
        }
        let (side, channels) = (recipe.image_size as usize, recipe.channels as usize);
        let read = Images::from_nhwc([names.len(), side, side, channels], values)?;
        Ok(read.with_names(names)?.with_notes(data.notes()))
    }
}

/// How pictures become what the model takes: as its file says, else as its configuration does. Training, likelihood, encoding and
/// inpainting have the same.
pub(super) fn recipe(saved: &SavedModel) -> Result<Preprocess> {
    let d = &saved.config.data;
    let recorded = saved.recipe.as_deref().and_then(|text| serde_json::from_str::<Preprocess>(text).ok());
    let fits =
        |r: &Preprocess| (r.image_size as usize, r.channels as usize) == (d.image_size, d.num_channels);
    match recorded.filter(fits) {
        Some(recipe) => Ok(recipe),
        None => Preprocess::for_dataset(d.dataset.as_str(), d.image_size as u32, d.num_channels as u32),
    }
}
