//! What is settled before a run begins: the size of its parts, and that data and checkpoint are of the configuration.

use std::collections::BTreeMap;

use super::kernels::KernelRecord;
use super::loss::Reduction;
use super::objective::adam_of;
use super::options::TrainerOptions;
use super::step::{StepDraft, StepSettings};
use crate::checkpoint::{CLASSES, Checkpoint, Loaded, RECIPE, WorkFolder};
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::graph::Drafts;
use crate::models::{Config, Network};

/// What `build` makes of a step, in parts that the device has room for: where it refuses an allocation, as one that shares the processor's
/// memory may although its driver named more, the parts are halved.
pub(super) fn built_that_fits<T>(
    first: usize,
    may_split: bool,
    notes: &mut Vec<String>,
    mut build: impl FnMut(usize, &mut Vec<String>) -> Result<T>,
) -> Result<T> {
    let mut most = first;
    loop {
        match build(most, notes) {
            Ok(built) => return Ok(built),
            Err(Error::OutOfMemory { what, .. }) if most > 1 && may_split => {
                let half = most.div_ceil(2);
                notes.push(format!(
                    "the device refused memory for {what}: the batch is split into parts of {half}"
                ));
                most = half;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Micro-batches: as asked for, or the whole batch, or the largest part of at most `most` that the device takes.
pub(super) fn draft_that_fits(
    gpu: &Gpu,
    network: &dyn Network,
    config: &Config,
    options: &TrainerOptions,
    record: &mut KernelRecord,
    most: usize,
    notes: &mut Vec<String>,
) -> Result<StepDraft> {
    let (batch, size) = (config.training.batch_size, config.data.image_size);
    let mut n = options.micro_batch.unwrap_or(batch.min(most));
    loop {
        let settings = StepSettings {
            shape: [n, size, size, config.data.num_channels],
            batch,
            reduction: Reduction::of(config),
            adam: adam_of(config),
            seed: config.seed,
            recorded_noise: false,
            recompute: options.recompute,
            choice: options.kernels.choice.clone(),
        };
        let room = |draft: StepDraft| match n {
            // A single image is tried in any case.
            1 => Ok(draft),
            _ => gpu.adapter().check_room("the training step", draft.memory().total()).map(|()| draft),
        };
        let draft = StepDraft::new(gpu, network, &settings).and_then(room);
        // Kernels that are faster may want more scratch memory.
        let settled = draft
            .and_then(|draft| draft.map_drafts(|draft| record.settle(draft, &options.kernels)))
            .and_then(room);
        match settled {
            Err(Error::Limit { what, needed, limit, unit, .. }) if n > 1 && options.micro_batch.is_none() => {
                let half = n.div_ceil(2);
                notes.push(format!(
                    "{what} needs {needed} {unit} where the device allows {limit}: \
                     the batch of {batch} is split into parts of {half}"
                ));
                n = half;
            }
            result => {
                notes.extend(record.notes());
                return result;
            }
        }
    }
}

/// A data set has the size and channels of a configuration.
///
/// # Errors
/// [`Error::Invalid`] with both.
pub fn check_data(config: &Config, data: &Dataset) -> Result<()> {
    let (has, wants) = (data.preprocess(), &config.data);
    if (has.image_size as usize, has.channels as usize) == (wants.image_size, wants.num_channels) {
        return Ok(());
    }
    let problem = format!("the data set has {0}x{0} pixels of {1} channels", has.image_size, has.channels);
    Err(Error::invalid(
        "data.image_size",
        format!("{0}x{0}x{1}", wants.image_size, wants.num_channels),
        problem,
    ))
}

/// The key under which a checkpoint keeps the number of training images.
const IMAGES: &str = "images";

/// What a checkpoint says of the data: the number of training images, the classes by name, and how pictures became images.
pub(super) fn data_notes(data: &Dataset, images: usize) -> BTreeMap<String, String> {
    let mut notes = BTreeMap::from([
        (IMAGES.to_owned(), images.to_string()),
        (RECIPE.to_owned(), serde_json::json!(data.preprocess()).to_string()),
    ]);
    if !data.classes().is_empty() {
        notes.insert(CLASSES.to_owned(), serde_json::json!(data.classes()).to_string());
    }
    notes
}

/// The place in the data means little in another data set, which is said.
pub(super) fn check_same_data(images: usize, checkpoint: &Checkpoint, notes: &mut Vec<String>) {
    if let Some(before) = checkpoint.extra.get(IMAGES).filter(|before| **before != images.to_string()) {
        notes.push(format!(
            "the run so far saw {before} training images, now there are {images}: their order is another one from here on"
        ));
    }
}

/// Keeps the checkpoint that a run goes on from where it was due to be kept and the run ended between saving and keeping.
pub(super) fn keep_what_was_due(config: &Config, folder: &WorkFolder, loaded: &Loaded) -> Result<()> {
    let (every, step) = (config.training.snapshot_freq, loaded.checkpoint.step);
    if every > 0 && step > 0 && step.is_multiple_of(every) && !folder.kept(step).exists() {
        folder.keep(Some(&loaded.path), step)?;
    }
    Ok(())
}

/// A run goes on only with the model that it began with; other keys may change, which is said.
pub(super) fn check_same_model(
    config: &Config,
    checkpoint: &Checkpoint,
    notes: &mut Vec<String>,
) -> Result<()> {
    let before = Config::from_toml(&checkpoint.config, "the checkpoint's configuration")?;
    let (old, new) = (before.to_json(), config.to_json());
    let mut changed = Vec::new();
    for key in Config::keys() {
        let at = format!("/{}", key.replace('.', "/"));
        let (was, is) = (old.pointer(&at), new.pointer(&at));
        if was == is {
            continue;
        }
        let text = |v: Option<&serde_json::Value>| v.map_or("unset".to_owned(), ToString::to_string);
        let free = ["model.dropout", "model.ema_rate"];
        if key.starts_with("model.") && !free.contains(&key.as_str()) {
            let problem =
                format!("the run in this folder has {}; resume with that, or give another folder", text(was));
            return Err(Error::invalid(key, text(is), problem));
        }
        changed.push(format!("{key} from {} to {}", text(was), text(is)));
    }
    // More steps are no other run.
    changed.retain(|c| !c.starts_with("training.n_iters"));
    if !changed.is_empty() {
        notes.push(format!("the configuration differs from the run so far: {}", changed.join(", ")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_halved_until_the_device_gives_the_memory() {
        let refused = |n: usize| Error::OutOfMemory { what: "activations".into(), bytes: n as u64 };
        let mut notes = Vec::new();
        let mut tried = Vec::new();
        let built = built_that_fits(16, true, &mut notes, |n, _| {
            tried.push(n);
            if n > 3 { Err(refused(n)) } else { Ok(n) }
        });
        assert_eq!((built.unwrap(), tried), (2, vec![16, 8, 4, 2]));
        assert!(notes.len() == 3 && notes[2].contains("activations") && notes[2].contains("parts of 2"));
        let asked = built_that_fits(16, false, &mut notes, |n, _| Err::<(), _>(refused(n)));
        assert!(matches!(asked, Err(Error::OutOfMemory { bytes: 16, .. })));
        let one = built_that_fits(2, true, &mut notes, |n, _| Err::<(), _>(refused(n)));
        assert!(matches!(one, Err(Error::OutOfMemory { bytes: 1, .. })));
    }
}
