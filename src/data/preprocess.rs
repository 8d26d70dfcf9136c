//! From a picture of any size to the square one a model learns: the recipes of Song et al. 2021
//! (`datasets.py` of the authors' code) and one for everything else.

use image::imageops::{self, FilterType};
use image::{ImageBuffer, Luma, Pixel, Rgb};
use serde::{Deserialize, Serialize};

use super::decode::Picture;
use crate::{Error, Result};

/// How a picture of another size becomes square; one of the right size is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fit {
    /// Another size than the one asked for is an error.
    Exact,
    /// As [`Fit::CropResize`]; what pictures without a recipe of their own get.
    Auto,
    /// Centred on black where the picture is smaller both ways (MNIST's 28 in 32), else as [`Fit::CropResize`].
    Pad,
    /// The central square, then bilinear with antialiasing (CIFAR-10, SVHN, whose pictures are square).
    Resize,
    /// Central 140 x 140, then bilinear with antialiasing (CelebA).
    CelebA,
    /// The smaller side to the size, bilinear with antialiasing, then the centre (LSUN at 128).
    ResizeSmall,
    /// The central square, then bicubic, with antialiasing where the picture is larger (LSUN at other sizes).
    CropResize,
}

/// Size, channels and recipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preprocess {
    /// Width and height of the result, in pixels.
    pub image_size: u32,
    /// 1 (grey) or 3 (RGB).
    pub channels: u32,
    /// The recipe.
    pub fit: Fit,
}

/// The data sets that have a recipe of their own, by the authors' `data.dataset`.
const RECIPES: [&str; 7] = ["CIFAR10", "SVHN", "CELEBA", "LSUN", "FFHQ", "CelebAHQ", "MNIST"];

impl Preprocess {
    /// Any pictures, [`Fit::Auto`].
    ///
    /// # Errors
    /// [`Error::Invalid`] where `channels` is neither 1 nor 3 or the size is 0 or above 4,096.
    pub fn new(image_size: u32, channels: u32) -> Result<Self> {
        if !matches!(channels, 1 | 3) {
            return Err(Error::invalid("data.num_channels", channels, "1 (grey) and 3 (RGB) are known"));
        }
        if !(1..=4096).contains(&image_size) {
            return Err(Error::invalid("data.image_size", image_size, "between 1 and 4096 pixels"));
        }
        Ok(Self { image_size, channels, fit: Fit::Auto })
    }

    /// The recipe of one of the authors' data sets (their `data.dataset`, in any case), or [`Fit::Auto`] for another name.
    ///
    /// # Errors
    /// As [`Preprocess::new`].
    pub fn for_dataset(name: &str, image_size: u32, channels: u32) -> Result<Self> {
        let fit = match RECIPES.iter().find(|r| r.eq_ignore_ascii_case(name)) {
            Some(&("CIFAR10" | "SVHN")) => Fit::Resize,
            Some(&"CELEBA") => Fit::CelebA,
            Some(&"LSUN") if image_size == 128 => Fit::ResizeSmall,
            Some(&"LSUN") => Fit::CropResize,
            Some(&"MNIST") => Fit::Pad,
            Some(_) => Fit::Exact,
            None => Fit::Auto,
        };
        Ok(Self { fit, ..Self::new(image_size, channels)? })
    }

    /// How much of a picture's area is left, from 0 to 1.
    pub fn kept(&self, width: u32, height: u32) -> f64 {
        let (w, h) = (f64::from(width), f64::from(height));
        let side = w.min(h);
        match self.fit {
            _ if (width, height) == (self.image_size, self.image_size) => 1.0,
            Fit::Exact => 1.0,
            Fit::Pad if width <= self.image_size && height <= self.image_size => 1.0,
            Fit::CelebA => (140.0 * 140.0 / (w * h)).min(1.0),
            _ => side * side / (w * h),
        }
    }

    /// What the recipe does to pictures of these sizes (width, height, how many) that may surprise: most of an area that goes, pictures that
    /// are enlarged or framed. Nothing where none is.
    pub fn surprises(&self, sizes: impl Iterator<Item = (u32, u32, u64)>) -> Vec<String> {
        let (mut cropped, mut small, mut framed) = (0, 0, 0);
        let mut worst: Option<(f64, u32, u32)> = None;
        for (w, h, n) in sizes {
            let kept = self.kept(w, h);
            if kept < 0.5 {
                cropped += n;
                if worst.is_none_or(|(least, ..)| kept < least) {
                    worst = Some((kept, w, h));
                }
            }
            match self.fit {
                Fit::Pad if w.max(h) < self.image_size => framed += n,
                Fit::Exact | Fit::CelebA => {}
                _ if w.min(h) < self.image_size => small += n,
                _ => {}
            }
        }
        let mut words = Vec::new();
        if let Some((kept, w, h)) = worst {
            words.push(format!(
                "{} more than half of the area: of {w}x{h} pixels {:.0}% are kept ({self})",
                of(cropped, "picture loses", "pictures lose"),
                100.0 * kept
            ));
        }
        let size = self.image_size;
        if small > 0 {
            let are = of(small, "picture is", "pictures are");
            words.push(format!("{are} smaller than {size} pixels and enlarged"));
        }
        if framed > 0 {
            let are = of(framed, "picture is", "pictures are");
            words.push(format!("{are} smaller than {size}x{size} pixels and framed in black ({self})"));
        }
        words
    }

    /// Bytes of one result.
    pub fn bytes(&self) -> usize {
        self.image_size as usize * self.image_size as usize * self.channels as usize
    }

    /// Bytes that [`Preprocess::apply`] holds beside a picture of this size: resizing has four f32 for each pixel of the old width and the
    /// new height.
    pub(crate) fn working_bytes(&self, width: u32, height: u32) -> u64 {
        if (width, height) == (self.image_size, self.image_size) {
            return 0;
        }
        let stretched = match self.fit {
            Fit::ResizeSmall => {
                u64::from(self.image_size) * u64::from(height.div_ceil(width.min(height).max(1)))
            }
            _ => self.image_size.into(),
        };
        16 * u64::from(width) * stretched + self.bytes() as u64
    }

    /// The result as u8, `h w c`.
    ///
    /// The authors resize in f32 and keep the fractions (LSUN at other sizes than 128: cuts them off); here a value is rounded to
    /// the nearest of 256, which is what the files that people pack and evaluate hold.
    ///
    /// # Errors
    /// Why the picture does not fit the recipe, in words for a report.
    pub fn apply(&self, picture: Picture) -> Result<Vec<u8>, String> {
        let picture = picture.with_channels(self.channels);
        let (w, h) = (picture.width, picture.height);
        if (w, h) == (self.image_size, self.image_size) {
            return Ok(picture.pixels);
        }
        if self.fit == Fit::Exact {
            return Err(format!("{w}x{h} pixels where {0}x{0} are expected", self.image_size));
        }
        let fitted = match self.channels {
            1 => self.fit::<Luma<u8>>(picture),
            _ => self.fit::<Rgb<u8>>(picture),
        };
        fitted.filter(|pixels| pixels.len() == self.bytes()).ok_or_else(|| match self.fit {
            Fit::CelebA => format!("{w}x{h} pixels, too small for the central 140x140"),
            _ => format!("{w}x{h} pixels do not fit {0}x{0}", self.image_size),
        })
    }

    fn fit<P: Pixel<Subpixel = u8> + 'static>(&self, picture: Picture) -> Option<Vec<u8>> {
        type Buffer<P> = ImageBuffer<P, Vec<u8>>;
        let (w, h) = (picture.width, picture.height);
        let size = self.image_size;
        let side = w.min(h);
        let image: Buffer<P> = Buffer::from_raw(w, h, picture.pixels)?;
        // (side - size) / 2 rounds down, as in the authors' central_crop. The part is looked at where it stands, not copied.
        let centre = |image: &'_ Buffer<P>, crop: u32| {
            let (w, h) = image.dimensions();
            Some((w.checked_sub(crop)? / 2, h.checked_sub(crop)? / 2))
        };
        let resize = |image: &Buffer<P>, w, h, filter| imageops::resize(image, w, h, filter);
        let resize_centre = |crop: u32, filter| {
            let (x, y) = centre(&image, crop)?;
            Some(imageops::resize(&*imageops::crop_imm(&image, x, y, crop, crop), size, size, filter))
        };
        let done = match self.fit {
            Fit::Exact => return None,
            Fit::Resize => resize_centre(side, FilterType::Triangle)?,
            Fit::CelebA => resize_centre(140, FilterType::Triangle)?,
            Fit::Pad if w <= size && h <= size => {
                let mut canvas = Buffer::new(size, size);
                imageops::replace(&mut canvas, &image, i64::from((size - w) / 2), i64::from((size - h) / 2));
                canvas
            }
            Fit::Auto | Fit::Pad | Fit::CropResize => resize_centre(side, FilterType::CatmullRom)?,
            Fit::ResizeSmall => {
                let scale = |v: u32| {
                    let scaled = f64::from(v) * f64::from(size) / f64::from(side);
                    (scaled.round_ties_even() as u32).max(size)
                };
                // A strip of 1 x 16,384 would become enormous.
                if w.max(h) / side > 16 {
                    return None;
                }
                let small = resize(&image, scale(w), scale(h), FilterType::Triangle);
                let (x, y) = centre(&small, size)?;
                imageops::crop_imm(&small, x, y, size, size).to_image()
            }
        };
        Some(done.into_raw())
    }
}

fn of(n: u64, one: &str, more: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { more })
}

impl std::fmt::Display for Preprocess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let size = self.image_size;
        match self.fit {
            Fit::Exact => write!(f, "pictures of {size}x{size} pixels as they are"),
            Fit::Auto | Fit::CropResize => write!(f, "the central square, bicubic to {size}x{size}"),
            Fit::Pad => {
                write!(f, "centred on black in {size}x{size}, larger ones as the central square, bicubic")
            }
            Fit::Resize => write!(f, "the central square, bilinear to {size}x{size}"),
            Fit::CelebA => write!(f, "the central 140x140 pixels, bilinear to {size}x{size}"),
            Fit::ResizeSmall => {
                write!(f, "the smaller side to {size}, bilinear, then the central {size}x{size}")
            }
        }?;
        f.write_str(if self.channels == 1 { ", grey" } else { ", RGB" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grey(width: u32, height: u32, f: impl Fn(u32, u32) -> u8) -> Picture {
        let pixels =
            (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).map(|(x, y)| f(x, y)).collect();
        Picture { width, height, channels: 1, pixels }
    }

    fn with(fit: Fit, size: u32) -> Preprocess {
        Preprocess { image_size: size, channels: 1, fit }
    }

    #[test]
    fn mnist_is_padded_and_other_small_pictures_are_enlarged() {
        let out = Preprocess::for_dataset("MNIST", 32, 1)
            .unwrap()
            .apply(grey(28, 28, |x, y| (1 + x + y) as u8))
            .unwrap();
        for y in 0..32 {
            for x in 0..32 {
                let inside = (2..30).contains(&x) && (2..30).contains(&y);
                let expected = if inside { 1 + (x - 2) + (y - 2) } else { 0 };
                assert_eq!(out[y * 32 + x], expected as u8, "{x} {y}");
            }
        }
    }

    #[test]
    fn no_recipe_changes_a_shape_and_what_it_loses_is_told() {
        // A bright disc in the middle of a wide picture stays as wide as it is high.
        let disc = || {
            grey(90, 30, |x, y| if (x as i32 - 45).pow(2) + (y as i32 - 15).pow(2) < 100 { 255 } else { 0 })
        };
        for fit in [Fit::Auto, Fit::Pad, Fit::Resize, Fit::CropResize, Fit::ResizeSmall] {
            let prep = with(fit, 24);
            let out = prep.apply(disc()).unwrap();
            let bright = |x: usize, y: usize| out[24 * y + x] > 127;
            let wide = (0..24).filter(|x| (0..24).any(|y| bright(*x, y))).count();
            let high = (0..24).filter(|y| (0..24).any(|x| bright(x, *y))).count();
            assert!(wide.abs_diff(high) <= 1 && wide > 12, "{fit:?}: {wide} x {high}");
            let words = prep.surprises([(90, 30, 3), (24, 24, 9)].into_iter());
            assert_eq!(words.len(), 1, "{words:?}");
            assert!(words[0].contains("3 pictures lose") && words[0].contains("33%"), "{words:?}");
        }
        let words = with(Fit::CelebA, 64).surprises([(1000, 1000, 1), (178, 218, 5)].into_iter());
        assert!(words[0].contains("1 picture loses") && words[0].contains("2%"), "{words:?}");
        let words = with(Fit::Auto, 32).surprises([(20, 20, 2)].into_iter());
        assert!(words[0].contains("2 pictures are smaller") && words[0].contains("enlarged"), "{words:?}");
        let out = with(Fit::Auto, 32).apply(grey(20, 20, |_, _| 200)).unwrap();
        assert!(out.iter().all(|v| *v == 200), "framed");
        let words = with(Fit::Pad, 32).surprises([(28, 28, 1)].into_iter());
        assert!(words[0].contains("framed"), "{words:?}");
    }

    #[test]
    fn crops_are_the_authors() {
        // CelebA is 178 x 218: the crop begins at (19, 39); a ramp stays a ramp under a symmetric filter.
        let out = with(Fit::CelebA, 70).apply(grey(178, 218, |x, _| x as u8)).unwrap();
        // Output pixel k averages inputs 2k and 2k + 1 with wings: 19 + 2k + 0.5.
        for k in 1..69 {
            let expected = 19.5 + 2.0 * k as f64;
            assert!((f64::from(out[35 * 70 + k]) - expected).abs() <= 0.51, "{k}: {}", out[35 * 70 + k]);
        }
        assert!(with(Fit::CelebA, 64).apply(grey(139, 218, |_, _| 0)).unwrap_err().contains("140x140"));
        // LSUN: the central square of an 11 x 5 picture is columns 3 to 7.
        let out = with(Fit::CropResize, 5).apply(grey(11, 5, |x, _| x as u8)).unwrap();
        assert_eq!(&out[..5], [3, 4, 5, 6, 7]);
        let out = with(Fit::ResizeSmall, 4).apply(grey(12, 8, |x, _| 10 * x as u8)).unwrap();
        assert_eq!(out.len(), 16);
        assert!((out[1] as i32 - 45).abs() <= 1, "{:?}", &out[..4]);
    }

    #[test]
    fn names_choose_recipes() {
        let fit = |name, size| Preprocess::for_dataset(name, size, 3).unwrap().fit;
        assert_eq!(fit("cifar10", 32), Fit::Resize);
        assert_eq!(fit("LSUN", 128), Fit::ResizeSmall);
        assert_eq!(fit("LSUN", 256), Fit::CropResize);
        assert_eq!(fit("CELEBA", 64), Fit::CelebA);
        assert_eq!(fit("FFHQ", 1024), Fit::Exact);
        assert_eq!(fit("mine", 32), Fit::Auto);
        assert!(Preprocess::new(32, 4).is_err());
        assert!(Preprocess::new(0, 3).is_err());
    }

    #[test]
    fn exact_means_exact_and_extreme_shapes_are_refused() {
        assert_eq!(with(Fit::Exact, 3).apply(grey(3, 3, |x, y| (x * y) as u8)).unwrap()[8], 4);
        assert!(with(Fit::Exact, 3).apply(grey(3, 4, |_, _| 0)).is_err());
        assert!(with(Fit::ResizeSmall, 128).apply(grey(4000, 1, |_, _| 0)).is_err());
    }
}
