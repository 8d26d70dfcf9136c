//! Classes of images, from the data to the rows of a step.

use super::loss::Row;
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::models::Config;

/// Rows with the classes of their images; an image without one has the first, which [`check_classes`] has ruled out where it counts.
pub(super) fn labelled(mut rows: Vec<Row>, labels: &[i32]) -> Vec<Row> {
    for (row, &label) in rows.iter_mut().zip(labels) {
        row.class = u32::try_from(label).unwrap_or(0);
    }
    rows
}

/// A classifier needs a class for every image, and an output for every class.
///
/// # Errors
/// [`Error::Invalid`] with the number to set, or the number of images without a class.
pub(super) fn check_classes(config: &Config, data: &Dataset) -> Result<()> {
    let (classes, outputs) = (data.classes().len(), config.model.num_outputs);
    if classes < 2 {
        let problem =
            format!("the data set has {classes}; put the images of each class into a folder of its name");
        return Err(Error::invalid("classes", classes, problem));
    }
    if classes != outputs {
        let problem =
            format!("the data set has {classes} classes ({}); set it to {classes}", listed(data.classes()));
        return Err(Error::invalid("model.num_outputs", outputs, problem));
    }
    let without =
        (0..data.len()).filter(|&i| usize::try_from(data.label(i)).map_or(true, |l| l >= classes)).count();
    if without > 0 {
        let problem =
            format!("so many of {} images have none; put them into the folders of their classes", data.len());
        return Err(Error::invalid("images without a class", without, problem));
    }
    Ok(())
}

/// The first names of a list.
fn listed(names: &[String]) -> String {
    let first: Vec<&str> = names.iter().take(5).map(String::as_str).collect();
    format!("{}{}", first.join(", "), if names.len() > 5 { ", …" } else { "" })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::checkpoint::SavedModel;
    use crate::data::Preprocess;
    use crate::gpu::{Gpu, Options};
    use crate::training::{Event, Figures, Trainer, TrainerOptions};

    /// 64 pictures of 8x8 pixels: a bright bar that lies or stands, somewhere.
    fn pictures(classes: &[&str], labelled: bool) -> Arc<Dataset> {
        let (mut pixels, mut labels) = (Vec::new(), Vec::new());
        for i in 0..64u32 {
            let (stands, at) = (i % 2, i / 2 % 7);
            for p in 0..64u32 {
                let across = if stands == 1 { p % 8 } else { p / 8 };
                pixels.push(if across == at || across == at + 1 { 230 } else { (20 + i % 16) as u8 });
            }
            labels.push(stands as i32);
        }
        let labels: &[i32] = if labelled { &labels } else { &[] };
        Arc::new(Dataset::from_pixels(pixels, Preprocess::new(8, 1).unwrap(), labels, classes).unwrap())
    }

    fn config(steps: u64) -> Config {
        let mut config = Config::default();
        for (key, value) in [
            ("data.image_size", "8"),
            ("data.num_channels", "1"),
            ("data.random_flip", "false"),
            ("model.name", "wideresnet_noise_conditional"),
            ("model.blocks_per_group", "1"),
            ("model.channel_multiplier", "1"),
            ("model.num_outputs", "2"),
            ("model.preprocess_mean", "[0.3]"),
            ("model.preprocess_std", "[0.3]"),
            ("model.sigma_max", "0.5"),
            ("training.sde", "vesde"),
            ("training.continuous", "true"),
            ("training.batch_size", "16"),
            ("training.log_freq", "20"),
            ("training.snapshot_freq_for_preemption", "1000"),
            ("optim.lr", "0.003"),
            ("optim.warmup", "5"),
        ] {
            config.set(key, value).unwrap();
        }
        config.training.n_iters = steps;
        config.validate().unwrap();
        config
    }

    fn run(gpu: &Gpu, steps: u64, micro_batch: Option<usize>, folder: &std::path::Path) -> Vec<Figures> {
        let options = TrainerOptions { micro_batch, ..TrainerOptions::default() };
        let data = pictures(&["lies", "stands"], true);
        let mut trainer = Trainer::new(gpu, config(steps), data, folder, options).unwrap();
        let mut logged = Vec::new();
        let mut hear = |event: Event<'_>| {
            if let Event::Logged(figures) = event {
                logged.push(figures);
            }
            true
        };
        trainer.run(&mut hear).unwrap();
        logged
    }

    #[test]
    fn a_classifier_learns_what_lies_and_what_stands() {
        let gpu = Gpu::open(&Options::default()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let logged = run(&gpu, 120, None, folder.path());
        let (first, last) = (logged[0], logged[logged.len() - 1]);
        assert!(last.loss < 0.5 * first.loss, "{logged:?}");
        assert!(last.accuracy.unwrap() > 0.85, "{logged:?}");
        let text = std::fs::read_to_string(folder.path().join("metrics.jsonl")).unwrap();
        assert!(text.lines().all(|line| line.contains("\"accuracy\"")), "{text}");
        let saved = SavedModel::open(folder.path(), None).unwrap();
        assert_eq!(saved.classes, ["lies", "stands"]);
        assert!(saved.recipe.as_deref().is_some_and(|recipe| recipe.contains("\"image_size\":8")));
        assert_eq!((saved.step, saved.config.model.num_outputs), (Some(120), 2));
    }

    #[test]
    fn parts_of_a_batch_have_its_loss_and_accuracy() {
        let gpu = Gpu::open(&Options::default()).unwrap();
        let figures = |micro_batch| {
            let folder = tempfile::tempdir().unwrap();
            run(&gpu, 4, micro_batch, folder.path())[0]
        };
        // 5 does not divide 16: the last part is padded.
        let (whole, parts) = (figures(None), figures(Some(5)));
        assert!((whole.loss / parts.loss - 1.0).abs() < 1e-4, "{whole:?} {parts:?}");
        assert!((whole.grad_norm / parts.grad_norm - 1.0).abs() < 1e-3, "{whole:?} {parts:?}");
        assert!((whole.accuracy.unwrap() - parts.accuracy.unwrap()).abs() < 1e-6, "{whole:?} {parts:?}");
    }

    #[test]
    fn data_without_the_classes_are_refused_with_the_numbers() {
        let refused = |config: &Config, data: &Dataset| check_classes(config, data).unwrap_err().to_string();
        let good = config(1);
        assert!(check_classes(&good, &pictures(&["lies", "stands"], true)).is_ok());
        let three = refused(&good, &pictures(&["lies", "stands", "leans"], true));
        assert!(three.contains("num_outputs = 2") && three.contains("set it to 3"), "{three}");
        assert!(refused(&good, &pictures(&[], false)).contains("folder"));
        let unlabelled = refused(&good, &pictures(&["lies", "stands"], false));
        assert!(unlabelled.contains("64"), "{unlabelled}");
    }
}
