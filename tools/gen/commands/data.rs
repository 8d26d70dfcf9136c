//! `gen data`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use langevin::data::{CheckConfig, CheckReport, DataConfig, Preprocess, Split, check};
use langevin::limits::shown;
use serde_json::json;

use crate::exit::Usage;
use crate::input::{data_config, open_data};
use crate::print;
use crate::session::Session;
use crate::settings::load;

/// Look at a data set, or pack it for training.
///
/// A data set is a folder of pictures (PNG, JPEG, WebP, BMP, TIFF, the first frame of a GIF), a tar (also .gz, .xz) or zip of them,
/// CIFAR-10's binary files, TFRecords, or LSUN's LMDB. Hidden and service folders are left out.
/// Folders named train and test are splits, folders below them classes.
#[derive(Args)]
#[command(after_help = "Examples:
  gen data check photos/ --json
  gen data pack cifar-10-binary.tar.gz --config ve/cifar10_ncsnpp_continuous")]
pub struct Data {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    #[command(after_help = "Examples:
  gen data check photos/
  gen data check faces.zip --size 64 --dataset CELEBA --json")]
    /// Decode every picture once; report sizes, classes, pictures that cannot be read, and a sigma_max.
    Check {
        /// A folder, an archive or a file.
        path: PathBuf,
        #[command(flatten)]
        shape: ShapeArgs,
        /// Print an object.
        #[arg(long)]
        json: bool,
    },
    #[command(after_help = "Examples:
  gen data pack photos/ --size 32
  gen data pack cifar-10-binary.tar.gz --config ve/cifar10_ncsnpp_continuous --cache packed/ --json")]
    /// Decode and resize every picture into one packed file in the cache folder, as `gen train` does by itself.
    Pack {
        /// A folder, an archive or a file.
        path: PathBuf,
        #[command(flatten)]
        shape: ShapeArgs,
        /// The cache folder, in place of LANGEVIN_CACHE or the system's.
        #[arg(long, value_name = "FOLDER")]
        cache: Option<PathBuf>,
        /// Read the pictures again, whatever the cache holds: after edits that kept the sizes and times of files.
        #[arg(long)]
        repack: bool,
        /// Print an object.
        #[arg(long)]
        json: bool,
    },
}

/// Size, channels, recipe.
#[derive(Args)]
struct ShapeArgs {
    /// A preset or TOML file whose `data` section says all of it.
    #[arg(long, value_name = "NAME|FILE", conflicts_with_all = ["size", "channels", "dataset"])]
    config: Option<String>,
    /// Width and height in pixels.
    #[arg(long, value_name = "N")]
    size: Option<u32>,
    /// 1 (grey) or 3 (RGB).
    #[arg(long, default_value_t = 3, value_name = "C")]
    channels: u32,
    /// The data set whose crop and resize are used, such as CIFAR10, CELEBA, LSUN.
    #[arg(long, value_name = "NAME")]
    dataset: Option<String>,
}

impl ShapeArgs {
    fn preprocess(&self) -> anyhow::Result<Option<Preprocess>> {
        if let Some(name) = &self.config {
            let data = load(name)?.data;
            let (size, channels) = (data.image_size as u32, data.num_channels as u32);
            return Ok(Some(Preprocess::for_dataset(data.dataset.as_str(), size, channels)?));
        }
        Ok(match (self.size, &self.dataset) {
            (Some(size), Some(name)) => Some(Preprocess::for_dataset(name, size, self.channels)?),
            (Some(size), None) => Some(Preprocess::new(size, self.channels)?),
            (None, Some(_)) => return Err(Usage("--dataset needs --size".into()).into()),
            (None, None) => None,
        })
    }
}

impl Data {
    pub fn run(self, session: &Session) -> anyhow::Result<()> {
        match self.what {
            What::Check { path, shape, json } => {
                let config =
                    CheckConfig { path, preprocess: shape.preprocess()?, limits: session.limits(), seed: 0 };
                let bar = session.counter("pictures read");
                let report = check(&config, &mut |done| session.packed(&bar, done))?;
                bar.finish_and_clear();
                if let Some(recipe) = config.preprocess {
                    let sizes = report.sizes.iter().map(|s| (s.width, s.height, s.images));
                    recipe.surprises(sizes).iter().for_each(|note| session.say(note));
                }
                if json {
                    print_json(&report)?
                } else {
                    print_text(&report)?
                }
                if report.images == 0 {
                    return Err(langevin::Error::format(&config.path, "no readable picture").into());
                }
                Ok(())
            }
            What::Pack { path, shape, cache, repack, json } => {
                let preprocess = shape
                    .preprocess()?
                    .ok_or_else(|| Usage("packing needs --config NAME or --size N".into()))?;
                let folder = cache.or_else(crate::environment::data_folder);
                let config = DataConfig {
                    cache_folder: folder.clone(),
                    repack,
                    ..data_config(&path, preprocess, session)
                };
                let data = open_data(&config, "pictures packed", session)?;
                let count = |split| data.subset(split).map_or(0, |s| s.len());
                let (train, test) = (count(Split::Train), count(Split::Test));
                let side = preprocess.image_size;
                for bad in data.bad() {
                    session.say(format_args!("skipped {}: {}", shown(&bad.name), bad.reason));
                }
                data.notes().iter().for_each(|note| session.say(note));
                if json {
                    return Ok(print::json(&json!({
                        "recipe": preprocess, "left_out": data.left_out().0, "images": data.len(), "train": train, "test": test, "classes": data.classes(),
                        "image_size": side, "channels": preprocess.channels,
                        "bad": data.bad().len(), "folder": folder,
                    }))?);
                }
                let place = folder.map_or("memory".into(), |f| f.display().to_string());
                Ok(print::line(format_args!(
                    "{} images of {side}x{side}x{} ({train} train, {test} test, {} classes, {} skipped) packed in {place}",
                    data.len(),
                    preprocess.channels,
                    data.classes().len(),
                    data.bad().len()
                ))?)
            }
        }
    }
}

fn print_json(report: &CheckReport) -> anyhow::Result<()> {
    let sizes: Vec<_> = report
        .sizes
        .iter()
        .map(|s| json!({"width": s.width, "height": s.height, "channels": s.channels, "images": s.images}))
        .collect();
    let classes: Vec<_> =
        report.classes.iter().map(|c| json!({"name": c.name, "train": c.train, "test": c.test})).collect();
    let bad: Vec<_> = report.bad.iter().map(|b| json!({"name": b.name, "reason": b.reason})).collect();
    let left_out: Vec<_> =
        report.left_out.iter().map(|b| json!({"name": b.name, "reason": b.reason})).collect();
    let sigma = report
        .sigma_max
        .as_ref()
        .map(|s| json!({"value": s.value, "sample": s.sample, "exhaustive": s.exhaustive}));
    print::json(&json!({
        "images": report.images, "train": report.train, "test": report.test,
        "image_size": report.image_size, "channels": report.channels,
        "sizes": sizes, "classes": classes, "bad": bad, "ignored": report.ignored, "left_out": left_out, "sigma_max": sigma,
    }))?;
    Ok(())
}

fn print_text(report: &CheckReport) -> anyhow::Result<()> {
    let images = print::count(report.images as usize, "image");
    print::line(format_args!("{images} ({} train, {} test)", report.train, report.test))?;
    for s in report.sizes.iter().take(10) {
        print::line(format_args!("  {}x{}, {} channels: {}", s.width, s.height, s.channels, s.images))?;
    }
    if report.sizes.len() > 10 {
        print::line(format_args!("  and {} more sizes", report.sizes.len() - 10))?;
    }
    for c in &report.classes {
        print::line(format_args!("class {}: {} train, {} test", shown(&c.name), c.train, c.test))?;
    }
    if let Some(s) = &report.sigma_max {
        let of = if s.exhaustive { "all".to_owned() } else { s.sample.to_string() };
        print::line(format_args!(
            "sigma_max {:.2}: the largest distance between two of {of} images",
            s.value
        ))?;
    }
    if report.ignored > 0 {
        let what = if report.ignored == 1 { "file or folder is" } else { "files or folders are" };
        print::line(format_args!("{} {what} left out:", report.ignored))?;
    }
    for b in report.left_out.iter().take(100) {
        print::line(format_args!("  {}: {}", shown(&b.name), b.reason))?;
    }
    if report.ignored > 100 {
        print::line(format_args!("  and {} more", report.ignored - 100))?;
    }
    for b in &report.bad {
        print::line(format_args!("cannot be used: {}: {}", shown(&b.name), b.reason))?;
    }
    Ok(())
}
