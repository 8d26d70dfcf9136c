//! The loop: data to steps, figures to files, checkpoints to the work folder.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::classes::{check_classes, labelled};
use super::clock::Clock;
use super::evaluation::Evaluation;
use super::kernels::KernelRecord;
use super::loss::{Objective, Row};
use super::options::{Event, Outcome, Progress, TrainerOptions};
use super::prepare::{
    built_that_fits, check_data, check_same_data, check_same_model, data_notes, draft_that_fits,
    keep_what_was_due,
};
use super::samples::{SampleGrids, write_grid};
use super::step::{StepBatch, StepDraft, TrainStep};
use crate::checkpoint::{Checkpoint, DataPosition, EmaState, WorkFolder};
use crate::data::{Dataset, Loader, LoaderConfig, LoaderState, Split, Values};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::graph::Draft;
use crate::models::{self, Config, Network};
use crate::ops::philox::Purpose;
use crate::output::{EventWriter, MetricsWriter};
use crate::random::Stream;
use crate::sde::Sde;

/// Time between two words on the first step.
const BETWEEN_WORDS: Duration = Duration::from_secs(1);

/// A run of training in a work folder, which it holds until it is dropped.
///
/// ```text
/// checkpoint.safetensors …    what the run goes on from
/// step-N.safetensors          checkpoints that are kept, every training.snapshot_freq steps
/// metrics.jsonl, events/      the log, for people and for TensorBoard
/// samples/N-{raw,ema}.png     grids
/// ```
#[derive(Debug)]
pub struct Trainer {
    gpu: Gpu,
    config: Config,
    options: TrainerOptions,
    network: Box<dyn Network>,
    sde: Arc<dyn Sde>,
    folder: WorkFolder,
    kernels: KernelRecord,
    draft: StepDraft,
    step: TrainStep,
    objective: Objective,
    data: Arc<Dataset>,
    /// Place in the data behind the last step.
    position: LoaderState,
    done: u64,
    /// Steps skipped before this run began.
    skipped: u64,
    /// The step of the last save or of the checkpoint that the run began with, and when that was.
    saved: (u64, Instant),
    grids: Option<SampleGrids>,
    notes: Vec<String>,
}

/// What is learnt: by which network, for which SDE, by which loss. The configuration has optimizer, images and the loop.
#[derive(Debug)]
pub struct Learns {
    /// Everything that is not said beside it.
    pub config: Config,
    /// The network.
    pub network: Box<dyn Network>,
    /// The SDE, for samples on the way.
    pub sde: Arc<dyn Sde>,
    /// What is minimised.
    pub objective: Objective,
}

impl Trainer {
    /// Opens the work folder and prepares the step; goes on from the folder's checkpoint where there is one.
    ///
    /// # Errors
    /// [`Error::Locked`] when another run holds the folder, [`Error::Invalid`] when its checkpoint is of another model or the data are of
    /// another shape, [`Error::Limit`] when one image does not fit the device.
    pub fn new(
        gpu: &Gpu,
        config: Config,
        data: Arc<Dataset>,
        folder: impl Into<PathBuf>,
        options: TrainerOptions,
    ) -> Result<Self> {
        let network = models::build(&config)?;
        Self::with_network(gpu, config, network, data, folder, options)
    }

    /// The step of a run on paper, as [`Trainer::new`] would build it for a fresh folder, and what the user should know of it.
    ///
    /// # Errors
    /// [`Error::Limit`] when one image does not fit the device.
    pub fn plan(gpu: &Gpu, config: &Config, options: &TrainerOptions) -> Result<(StepDraft, Vec<String>)> {
        let network = models::build(config)?;
        let mut notes = Vec::new();
        let mut record = KernelRecord::default();
        let most = usize::MAX;
        let draft = draft_that_fits(gpu, network.as_ref(), config, options, &mut record, most, &mut notes)?;
        Ok((draft, notes))
    }

    /// [`Trainer::new`] with a network at hand, for the SDE and the loss of the configuration.
    ///
    /// # Errors
    /// As [`Trainer::new`].
    pub fn with_network(
        gpu: &Gpu,
        config: Config,
        network: Box<dyn Network>,
        data: Arc<Dataset>,
        folder: impl Into<PathBuf>,
        options: TrainerOptions,
    ) -> Result<Self> {
        let (sde, objective) = (config.forward_sde()?, Objective::of(&config)?);
        let learns = Learns { config, network, sde, objective };
        Self::of(gpu, learns, data, folder, options)
    }

    /// A run of what is given, network, SDE and loss by themselves; the configuration has the rest.
    ///
    /// # Errors
    /// As [`Trainer::new`].
    pub fn of(
        gpu: &Gpu,
        learns: Learns,
        data: Arc<Dataset>,
        folder: impl Into<PathBuf>,
        mut options: TrainerOptions,
    ) -> Result<Self> {
        let Learns { config, network, sde, objective } = learns;
        check_data(&config, &data)?;
        if matches!(objective, Objective::Classification { .. }) {
            check_classes(&config, &data)?;
            // Nothing is drawn from a classifier.
            options.samples = None;
        }
        let mut folder = WorkFolder::open(folder)?;
        let loaded = folder.load()?;
        if let (Some(loaded), false) = (&loaded, options.resume) {
            let problem =
                format!("holds a run, at step {}; resume it or give another folder", loaded.checkpoint.step);
            return Err(Error::invalid("work folder", folder.path().display(), problem));
        }
        let known = loaded.as_ref().map_or_else(BTreeMap::new, |l| l.checkpoint.kernels.clone());
        let mut kernels = KernelRecord::new(known);
        let mut notes: Vec<String> = loaded.iter().filter_map(|l| l.note.clone()).collect();
        let (batch, may_split) = (config.training.batch_size, options.micro_batch.is_none());
        let (draft, mut step) = built_that_fits(batch, may_split, &mut notes, |most, notes| {
            let network = network.as_ref();
            let draft = draft_that_fits(gpu, network, &config, &options, &mut kernels, most, notes)?;
            draft.build(gpu).map(|step| (draft, step))
        })?;
        let (mut done, mut position, mut skipped) = (0, LoaderState::default(), 0);
        match &loaded {
            None => step.state().initialise(network.manifest(), config.seed)?,
            Some(loaded) => {
                let c = &loaded.checkpoint;
                check_same_model(&config, c, &mut notes)?;
                check_same_data(data.subset(Split::Train)?.len(), c, &mut notes);
                step.state().restore([&c.weights, &c.ema_weights, &c.adam_m, &c.adam_v], c.step)?;
                skipped = c.extra.get("skipped").and_then(|s| s.parse().ok()).unwrap_or(0);
                let updates = c.ema.map_or(c.step, |e| e.num_updates);
                // A device counts in 32 bits.
                let counter = |name: &str, value: u64| {
                    let problem = || {
                        Error::format(
                            &loaded.path,
                            format!("its {name} is {value}, at most {} are counted", u32::MAX),
                        )
                    };
                    u32::try_from(value).map_err(|_| problem())
                };
                let counters = [
                    counter("step", c.step)?,
                    counter("ema_num_updates", updates)?,
                    counter("skipped", skipped)?,
                ];
                step.set_counters(counters)?;
                done = c.step;
                position = LoaderState { epoch: c.data.epoch, position: c.data.index };
            }
        }
        step.parameters_changed();
        if let Some(loaded) = &loaded {
            keep_what_was_due(&config, &folder, loaded)?;
        }
        let gpu = gpu.clone();
        Ok(Self {
            gpu,
            config,
            options,
            network,
            sde,
            folder,
            kernels,
            draft,
            step,
            objective,
            data,
            position,
            done,
            skipped,
            saved: (done, Instant::now()),
            grids: None,
            notes,
        })
    }

    /// The step on paper: its memory and cost.
    pub fn draft(&self) -> &StepDraft {
        &self.draft
    }

    /// The step on the device.
    pub fn step(&mut self) -> &mut TrainStep {
        &mut self.step
    }

    /// Steps done.
    pub fn done(&self) -> u64 {
        self.done
    }

    /// Trains until `training.n_iters` steps are done or `progress` ends the run, and saves.
    ///
    /// # Errors
    /// [`Error::NonFinite`] with the first tensor and the step when gradients stay non-finite: their steps are skipped and counted, the run
    /// is saved and ends. Otherwise what files, data and the device say; unless it is the device, the steps so far are saved first.
    pub fn run(&mut self, progress: &mut dyn Progress) -> Result<Outcome> {
        self.saved.1 = Instant::now();
        let error = match self.steps(progress) {
            Err(error) if self.saved.0 != self.done && !error.is_of_the_device() => error,
            result => return result,
        };
        let note = match self.save() {
            Ok(()) => format!("the run ends with an error; step {} is saved", self.done),
            Err(second) => {
                format!("the run ends with an error, and step {} cannot be saved: {second}", self.done)
            }
        };
        progress.event(Event::Note(&note));
        Err(error)
    }

    /// [`Trainer::run`] without a last save after an error.
    fn steps(&mut self, progress: &mut dyn Progress) -> Result<Outcome> {
        let t = self.config.training.clone();
        let mut metrics = MetricsWriter::open(&self.folder.path().join("metrics.jsonl"), Some(self.done))?;
        let mut events = EventWriter::create(&self.folder.inside("events")?)?;
        let mut loader = self.loader()?;
        let mut evaluation = None;
        let evaluates = self.options.evaluation_batches > 0 && self.data.subset(Split::Test).is_ok();
        let grids_every = self
            .options
            .samples
            .map_or(0, |s| s.every.unwrap_or(if t.snapshot_sampling { t.snapshot_freq } else { 0 }));
        let memory = self.draft.memory();
        let mut going = progress.event(Event::Started {
            step: self.done,
            steps: t.n_iters,
            memory,
            flops: self.draft.flops(),
            micro_batch: self.draft.micro_batch(),
        });
        for note in std::mem::take(&mut self.notes) {
            progress.event(Event::Note(&note));
        }
        let mut clock = Clock::new(self.done, self.skipped);
        let first = self.done + 1;
        while going && self.done < t.n_iters {
            let Some(batch) = loader.next_batch()? else { break };
            clock.wait += loader.last_wait();
            let rows = labelled(self.rows(self.done)?, &batch.labels);
            let images = batch.as_f32().unwrap_or_default();
            let given = StepBatch { images, rows: &rows, noise: None };
            match self.done + 1 == first {
                true => self.first_step(&given, progress)?,
                false => self.step.run(&given)?,
            }
            self.position = batch.next;
            self.done += 1;
            going = progress.event(Event::Step { step: self.done });
            let last = self.done == t.n_iters || !going;
            let done = self.done;
            let due = |every: u64| every > 0 && done.is_multiple_of(every);
            let save = due(t.snapshot_freq_for_preemption)
                || due(t.snapshot_freq)
                || self.options.save_every.is_some_and(|every| self.saved.1.elapsed() >= every)
                || last;
            let (evaluate, draw) = (due(t.eval_freq), due(grids_every));
            // The first step tells early whether all is well, and a slow device need not wait for a round number.
            let slow = self.options.log_every.is_some_and(|every| clock.start.elapsed() >= every);
            if due(t.log_freq) || save || done == first || slow {
                let figures = clock.read(&mut self.step, memory.total(), self.done, t.batch_size)?;
                if figures.step_count > 0 {
                    let f = figures.figures;
                    let mut values = vec![
                        ("loss", f.loss),
                        ("grad_norm", f.grad_norm),
                        ("images_per_second", f.images_per_second),
                        ("wait", f.wait),
                        ("memory_mib", f.memory as f64 / f64::from(1 << 20)),
                        ("skipped", f.skipped as f64),
                    ];
                    values.extend(f.accuracy.map(|accuracy| ("accuracy", accuracy)));
                    metrics.write(f.step, &values)?;
                    events.scalars(f.step, &values)?;
                    events.flush()?;
                    going &= progress.event(Event::Logged(f));
                }
                if let Some(tensor) = figures.broken {
                    self.save()?;
                    return Err(Error::NonFinite { tensor, step: figures.broken_step });
                }
            }
            let away = Instant::now();
            if evaluate && evaluates {
                let evaluation = match &mut evaluation {
                    Some(evaluation) => evaluation,
                    none => none.insert(self.evaluation()?),
                };
                let (loss, accuracy) = self.evaluate(evaluation)?;
                let mut values = vec![("eval_loss", loss)];
                values.extend(accuracy.map(|accuracy| ("eval_accuracy", accuracy)));
                metrics.write(self.done, &values)?;
                events.scalars(self.done, &values)?;
                going &= progress.event(Event::Evaluated { step: self.done, loss, accuracy });
            }
            if save {
                self.save()?;
                if due(t.snapshot_freq) {
                    self.folder.keep(None, self.done)?;
                }
                progress.event(Event::Saved { step: self.done });
            }
            if draw && going {
                going &= self.draw(&mut events, progress)?;
            }
            // The sums of losses go on: only the time is not that of steps.
            clock.away += away.elapsed();
        }
        if self.saved.0 != self.done {
            self.save()?;
            progress.event(Event::Saved { step: self.done });
        }
        Ok(Outcome { step: self.done, complete: self.done >= t.n_iters })
    }

    /// The first step of a run, of which a slow device has much to tell.
    fn first_step(&mut self, batch: &StepBatch<'_>, progress: &mut dyn Progress) -> Result<()> {
        let (step, begun, mut told) = (self.done + 1, Instant::now(), Instant::now());
        self.step.run_watched(
            batch,
            Some(&mut |share| {
                if told.elapsed() < BETWEEN_WORDS {
                    return;
                }
                told = Instant::now();
                let images_per_second = share * batch.rows.len() as f64 / begun.elapsed().as_secs_f64();
                progress.event(Event::UnderWay { step, share, images_per_second });
            }),
        )
    }

    /// The numbers of the images of a step, but for their classes: functions of the seed and the step alone.
    fn rows(&self, step: u64) -> Result<Vec<Row>> {
        let mut stream = Stream::new(self.config.seed, Purpose::TIME.word(), step as u32);
        let draw = |_| self.objective.row(self.objective.draw(&mut stream));
        (0..self.config.training.batch_size).map(draw).collect()
    }

    fn loader(&self) -> Result<Loader> {
        let d = &self.config.data;
        let mut config = LoaderConfig::training(self.config.training.batch_size, self.config.seed);
        config.flip = d.random_flip;
        config.values = Values::F32 { dequantize: d.uniform_dequantization, centered: d.centered };
        Loader::new(self.data.subset(Split::Train)?, config, self.position)
    }

    fn evaluation(&mut self) -> Result<Evaluation> {
        let state = self.step.state();
        let settle = |draft: &Draft| self.kernels.settle(draft, &self.options.kernels);
        let (network, settings) = (self.network.as_ref(), self.step.settings());
        Evaluation::new(&self.gpu, network, &state.ema, &state.fixed, settings, settle)
    }

    /// The mean loss, and of a classifier the accuracy.
    fn evaluate(&self, evaluation: &mut Evaluation) -> Result<(f64, Option<f64>)> {
        let mut config = LoaderConfig::evaluation(self.step.settings().shape[0]);
        config.values = Values::F32 { dequantize: false, centered: self.config.data.centered };
        let images = self.data.subset(Split::Test)?;
        // The first images of a sorted set are of one class.
        let images = images.take(config.batch * self.options.evaluation_batches, self.config.seed);
        let mut loader = Loader::new(images, config, LoaderState::default())?;
        evaluation.over(&self.objective, &mut loader)
    }

    fn save(&mut self) -> Result<()> {
        let checkpoint = self.checkpoint()?;
        self.folder.save(&checkpoint)?;
        self.saved = (self.done, Instant::now());
        Ok(())
    }

    /// Everything that the run needs to go on.
    fn checkpoint(&mut self) -> Result<Checkpoint> {
        let figure = self.step.figure()?;
        let [weights, ema_weights, adam_m, adam_v] = self.step.state().tensors()?;
        let mut extra = data_notes(&self.data, self.data.subset(Split::Train)?.len());
        extra.insert("skipped".to_owned(), figure.skipped.to_string());
        Ok(Checkpoint {
            config: self.config.to_toml(),
            step: self.done,
            seed: self.config.seed,
            data: DataPosition { epoch: self.position.epoch, index: self.position.position },
            ema: Some(EmaState { decay: self.config.model.ema_rate, num_updates: figure.updates }),
            kernels: self.kernels.orders(),
            extra,
            weights,
            ema_weights,
            adam_m,
            adam_v,
        })
    }

    fn draw(&mut self, events: &mut EventWriter, progress: &mut dyn Progress) -> Result<bool> {
        let Some(options) = self.options.samples else { return Ok(true) };
        let mut grids = match self.grids.take() {
            Some(grids) => grids,
            None => {
                let (network, state) = (self.network.as_ref(), self.step.state());
                let settle = |draft: &Draft| self.kernels.settle(draft, &self.options.kernels);
                SampleGrids::new(&self.gpu, network, &self.sde, &self.config, options, state, settle)?
            }
        };
        let step = self.done;
        let mut going = true;
        for (name, weights) in [("raw", &self.step.state().weights), ("ema", &self.step.state().ema)] {
            let drawn = grids.draw(weights, &mut || {
                going = going && progress.event(Event::Step { step });
                going
            });
            match drawn {
                Ok(Some(image)) => {
                    let path =
                        write_grid(&self.folder.inside("samples")?, step, name, &image, self.config.seed)?;
                    events.image(step, &format!("samples/{name}"), &image)?;
                    going &= progress.event(Event::Samples { step, path: &path });
                }
                Ok(None) => break,
                // Early weights may diverge under a sampler; that is worth a word, not the end of the run.
                Err(e @ (Error::NonFinite { .. } | Error::NonFiniteImage { .. })) => {
                    progress
                        .event(Event::Note(&format!("no grid from the {name} weights at step {step}: {e}")));
                }
                Err(e) => return Err(e),
            }
        }
        self.grids = Some(grids);
        Ok(going)
    }
}
