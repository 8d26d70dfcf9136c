//! Images with their range and layout, so that nobody scales or transposes twice.

#[cfg(feature = "files")]
use std::path::Path;

use crate::error::{Error, Result};
use crate::formats::pixels::{center, nhwc_to_nchw, to_unit, uncenter};
use crate::output::{ImageBytes, Provenance, encode_png, grid, to_bytes};

/// Images in memory: `n h w c`, black is 0 and white is 1, and the channels are grey or red, green, blue. What a sampler draws is not
/// clipped; values may lie a little outside.
///
/// ```
/// use langevin::pipeline::Images;
///
/// let grey = Images::from_nhwc([2, 4, 4, 1], vec![0.5; 32])?;
/// assert_eq!((grey.len(), grey.shape()), (2, [2, 4, 4, 1]));
/// assert_eq!(grey.bytes()?.pixels[0], 128);
/// assert!(Images::from_nhwc([2, 4, 4, 1], vec![0.5; 31]).is_err());
/// # Ok::<(), langevin::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Images {
    shape: [usize; 4],
    values: Vec<f32>,
    names: Vec<String>,
    notes: Vec<String>,
    about: Provenance,
}

impl Images {
    /// Images of a shape `n h w c`, in [0, 1].
    ///
    /// # Errors
    /// [`Error::Shape`] where the values do not fill the shape, an image has no pixel, or the channels are not 1 or 3.
    pub fn from_nhwc(shape: [usize; 4], values: Vec<f32>) -> Result<Self> {
        let wanted = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        let is_image = shape[1] > 0 && shape[2] > 0 && matches!(shape[3], 1 | 3);
        if wanted != Some(values.len()) || !is_image {
            let problem = format!("{} values for shape {shape:?} (n h w c)", values.len());
            return Err(Error::shape("images", problem, "give n h w c values of 1 or 3 channels"));
        }
        let names = (0..shape[0]).map(|i| format!("{i:06}")).collect();
        Ok(Self { shape, values, names, notes: Vec::new(), about: Provenance::new() })
    }

    /// Images of a shape `n c h w`, as PyTorch holds them, in [0, 1].
    ///
    /// # Errors
    /// As [`Images::from_nhwc`].
    pub fn from_nchw([n, c, h, w]: [usize; 4], values: &[f32]) -> Result<Self> {
        let whole = h.checked_mul(w).filter(|pixels| *pixels > 0 && c > 0);
        // The same transposition with its extents exchanged leads back.
        let values = whole.map_or_else(Vec::new, |pixels| nhwc_to_nchw(values, c, pixels));
        Self::from_nhwc([n, h, w, c], values)
    }

    /// Images as bytes.
    ///
    /// # Errors
    /// As [`Images::from_nhwc`].
    pub fn from_bytes(images: &ImageBytes) -> Result<Self> {
        Self::from_nhwc(images.shape, to_unit(&images.pixels))
    }

    /// What a model with `centered` data gave.
    pub(super) fn from_model(shape: [usize; 4], mut values: Vec<f32>, centered: bool) -> Result<Self> {
        if centered {
            uncenter(&mut values);
        }
        Self::from_nhwc(shape, values)
    }

    /// As a model takes them.
    pub(super) fn to_model(&self, centered: bool) -> Vec<f32> {
        let mut values = self.values.clone();
        if centered {
            center(&mut values);
        }
        values
    }

    /// The same images under other names, one for each.
    ///
    /// # Errors
    /// [`Error::Invalid`] where the names are not as many as the images.
    pub fn with_names(mut self, names: Vec<String>) -> Result<Self> {
        if names.len() != self.len() {
            return Err(Error::invalid("names", names.len(), format!("there are {} images", self.len())));
        }
        self.names = names;
        Ok(self)
    }

    /// The same images with how they came about, which files keep.
    pub fn with_about(mut self, about: Provenance) -> Self {
        self.about = about;
        self
    }

    /// The same images with other values, one for each there is.
    pub(super) fn with_values(&self, values: Vec<f32>) -> Self {
        debug_assert_eq!(values.len(), self.values.len());
        Self { values, ..self.clone() }
    }

    #[cfg(feature = "files")]
    pub(super) fn with_notes(mut self, notes: Vec<String>) -> Self {
        self.notes = notes;
        self
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.shape[0]
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.shape[0] == 0
    }

    /// `n h w c`.
    pub fn shape(&self) -> [usize; 4] {
        self.shape
    }

    /// The values, `n h w c`, in [0, 1].
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The values, `n c h w`, in [0, 1].
    pub fn to_nchw(&self) -> Vec<f32> {
        let [_, h, w, c] = self.shape;
        nhwc_to_nchw(&self.values, h * w, c)
    }

    /// What each is called: the file that it comes from, or its number.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// What the user should know of how they were read: pictures that lost most of their area, files that were left out.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// How they came about.
    pub fn about(&self) -> &Provenance {
        &self.about
    }

    /// Evaluations of the network that each took at most, by [`Images::about`]; 0 where nothing is known of it.
    pub fn nfe(&self) -> usize {
        self.about.get("nfe").and_then(|nfe| nfe.parse().ok()).unwrap_or(0)
    }

    /// Values of one image.
    pub fn image_elements(&self) -> usize {
        self.shape[1..].iter().product()
    }

    /// The images of a range.
    ///
    /// # Errors
    /// [`Error::Invalid`] where there are not so many.
    pub fn slice(&self, range: std::ops::Range<usize>) -> Result<Self> {
        if range.start > range.end || range.end > self.len() {
            return Err(Error::invalid("images", format!("{range:?}"), format!("there are {}", self.len())));
        }
        let size = self.image_elements();
        let [_, h, w, c] = self.shape;
        Ok(Self {
            shape: [range.len(), h, w, c],
            values: self.values[range.start * size..range.end * size].to_vec(),
            names: self.names.get(range).map(<[String]>::to_vec).unwrap_or_default(),
            notes: self.notes.clone(),
            about: self.about.clone(),
        })
    }

    /// Puts `others` behind these.
    ///
    /// # Errors
    /// [`Error::Shape`] where they have another size.
    pub fn extend(&mut self, others: &Self) -> Result<()> {
        if self.shape[1..] != others.shape[1..] {
            let problem = format!("{:?} beside {:?} (h w c)", &others.shape[1..], &self.shape[1..]);
            return Err(Error::shape("images", problem, "join images of one size"));
        }
        self.shape[0] += others.shape[0];
        self.values.extend_from_slice(&others.values);
        self.names.extend_from_slice(&others.names);
        Ok(())
    }

    /// As bytes: 255 x, rounded and clipped.
    ///
    /// # Errors
    /// [`Error::NonFiniteImage`] for the first that holds NaN or infinity; [`Error::Shape`] where there is none.
    pub fn bytes(&self) -> Result<ImageBytes> {
        let [n, h, w, c] = self.shape;
        to_bytes(&self.to_nchw(), [n, c, h, w])
    }

    /// All of them as one picture, with as many rows as columns or one more.
    ///
    /// # Errors
    /// As [`Images::bytes`].
    pub fn grid(&self) -> Result<Grid> {
        self.grid_of(None)
    }

    /// The same with a number of columns.
    ///
    /// # Errors
    /// As [`Images::bytes`].
    pub fn grid_of(&self, columns: Option<usize>) -> Result<Grid> {
        Ok(Grid { pixels: grid(&self.bytes()?, columns)?, about: self.about.clone() })
    }

    /// Writes them: a grid into a `.png`, an array into a `.safetensors` or `.npz`, and without an ending a file for each into a folder.
    ///
    /// # Errors
    /// [`Error::Invalid`] for another ending; [`Error::Io`]; those of [`Images::bytes`].
    #[cfg(feature = "files")]
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let ending = path.extension().map(|e| e.to_string_lossy().to_lowercase());
        match ending.as_deref() {
            Some("png") => self.grid()?.save(path),
            Some("safetensors") => self.save_safetensors(path),
            Some("npz") => self.save_npz(path),
            None => self.save_each(path),
            Some(other) => {
                let problem = "images are written as .png, .safetensors, .npz, or into a folder";
                Err(Error::invalid("ending", other, problem))
            }
        }
    }

    /// Writes them as `x` (`n c h w`, not clipped) into a safetensors file, with how they came about.
    ///
    /// # Errors
    /// [`Error::Io`].
    #[cfg(feature = "files")]
    pub fn save_safetensors(&self, path: impl AsRef<Path>) -> Result<()> {
        let about: Vec<(&str, &str)> =
            self.about.entries().iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let [n, h, w, c] = self.shape;
        crate::output::write_safetensors(path.as_ref(), &[("x", &[n, c, h, w], &self.to_nchw())], &about)
    }

    /// Writes them as bytes (`n h w c`) into an `.npz`, under the names `samples` and `arr_0`, which the field's evaluators read.
    ///
    /// # Errors
    /// [`Error::Io`]; those of [`Images::bytes`].
    #[cfg(feature = "files")]
    pub fn save_npz(&self, path: impl AsRef<Path>) -> Result<()> {
        use crate::formats::npy::{NpyArray, NpyData};

        let images = self.bytes()?;
        let array = NpyArray { shape: images.shape.to_vec(), data: NpyData::U8(images.pixels) };
        crate::output::write_npz(path.as_ref(), &[("samples", &array), ("arr_0", &array)])
    }

    /// Writes each as a PNG of its name into a folder, which is made where there is none.
    ///
    /// # Errors
    /// [`Error::Io`]; those of [`Images::bytes`].
    #[cfg(feature = "files")]
    pub fn save_each(&self, folder: impl AsRef<Path>) -> Result<()> {
        let folder = folder.as_ref();
        crate::files::create_folder(folder)?;
        let images = self.bytes()?;
        self.names.iter().enumerate().try_for_each(|(i, name)| {
            let about = self.about.clone().with("image", name);
            crate::output::write_png(&folder.join(format!("{name}.png")), &images.image(i)?, &about)
        })
    }

    /// The same images under names for files: without folders and endings, each once.
    pub fn with_file_names(self) -> Self {
        let stem = |name: &String| {
            let last = name.rsplit(['/', '\\']).next().unwrap_or(name);
            last.split('.').next().unwrap_or(last).to_owned()
        };
        let stems: Vec<String> = self.names.iter().map(stem).collect();
        let unique = |(i, s): (usize, &String)| {
            let twice = s.is_empty() || stems.iter().filter(|other| *other == s).count() > 1;
            if twice { format!("{s}{i:06}") } else { s.clone() }
        };
        let names = stems.iter().enumerate().map(unique).collect();
        Self { names, ..self }
    }
}

/// Images side by side as one picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grid {
    pixels: ImageBytes,
    about: Provenance,
}

impl Grid {
    /// The pixels of the picture.
    pub fn pixels(&self) -> &ImageBytes {
        &self.pixels
    }

    /// The picture as a PNG.
    ///
    /// # Errors
    /// Those of the encoder.
    pub fn png(&self) -> Result<Vec<u8>> {
        encode_png(&self.pixels, &self.about)
    }

    /// Writes it as a PNG, with how the images came about in its text chunks.
    ///
    /// # Errors
    /// [`Error::Io`].
    #[cfg(feature = "files")]
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        crate::output::write_png(path.as_ref(), &self.pixels, &self.about)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_get_names_of_their_own() {
        let names = ["a/x.png", "b/x.png", "y.tar.gz", "s.npz#0"].map(str::to_owned).to_vec();
        let images = Images::from_nhwc([4, 1, 1, 1], vec![0.0; 4]).unwrap();
        assert!(images.clone().with_names(vec!["one".into()]).is_err());
        let images = images.with_names(names).unwrap();
        assert_eq!(images.with_file_names().names(), ["x000000", "x000001", "y", "s"]);
    }

    #[test]
    fn ranges_and_layouts_lead_there_and_back() {
        let nchw: Vec<f32> = (0..24).map(|v| v as f32 / 24.0).collect();
        let images = Images::from_nchw([2, 3, 2, 2], &nchw).unwrap();
        assert_eq!((images.shape(), images.to_nchw()), ([2, 2, 2, 3], nchw));
        let model = images.to_model(true);
        assert_eq!(model[0], -1.0);
        let back = Images::from_model([2, 2, 2, 3], model, true).unwrap();
        assert!(back.values().iter().zip(images.values()).all(|(a, b)| (a - b).abs() < 1e-7));
        assert!(Images::from_nchw([2, 3, 2, 3], images.values()).is_err());
        assert!(
            Images::from_nchw([2, 3, 0, 0], &[]).is_err() && Images::from_nhwc([2, 0, 4, 1], vec![]).is_err()
        );
        assert_eq!(images.slice(1..2).unwrap().values(), &images.values()[12..]);
        assert!(images.slice(1..3).is_err());
        let mut both = images.clone();
        both.extend(&images).unwrap();
        assert_eq!(both.len(), 4);
    }
}
