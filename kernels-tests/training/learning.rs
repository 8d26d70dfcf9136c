//! A small NCSN++ on 64 pictures.

use std::path::Path;

use langevin::data::{DataConfig, Dataset, Preprocess, Split};
use langevin::models::presets;
use langevin::training::{Event, Trainer, TrainerOptions};

/// 200 steps of the paper's network for CIFAR-10, narrow and shallow, on emoji at 16x16: the loss falls to less than half.
#[test]
fn a_small_ncsnpp_learns_64_pictures() {
    let Some(gpu) = super::gpu() else { return };
    let mut config = presets::get("vp/cifar10_ncsnpp_continuous").unwrap();
    for (key, value) in [
        ("data.image_size", "16"),
        ("model.nf", "8"),
        ("model.ch_mult", "[1, 2]"),
        ("model.num_res_blocks", "1"),
        ("model.attn_resolutions", "[8]"),
        ("training.batch_size", "16"),
        ("training.n_iters", "200"),
        ("training.log_freq", "10"),
        ("training.eval_freq", "1000"),
        ("training.reduce_mean", "true"),
        ("optim.lr", "2e-3"),
        ("optim.warmup", "20"),
    ] {
        config.set(key, value).unwrap();
    }
    config.validate().unwrap();
    let pictures = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels-tests/fixtures/emoji-64/emoji.zip");
    let data = DataConfig::new(pictures, Preprocess::new(16, 3).unwrap());
    let data = std::sync::Arc::new(Dataset::read_to_memory(&data, &mut |_| true).unwrap());
    assert_eq!((data.subset(Split::Train).unwrap().len(), data.bad().len()), (64, 0));
    let folder = tempfile::tempdir().unwrap();
    let options = TrainerOptions { samples: None, ..TrainerOptions::default() };
    let mut trainer = Trainer::new(&gpu, config, data, folder.path(), options).unwrap();
    let mut losses = Vec::new();
    let mut hear = |event: Event<'_>| {
        if let Event::Logged(figures) = event {
            assert_eq!(figures.skipped, 0);
            losses.push(figures.loss);
        }
        true
    };
    trainer.run(&mut hear).unwrap();
    // A line for the first step, then a mean over 10 steps each; noise levels are drawn anew, so several lines make a figure.
    let last = losses[losses.len() - 5..].iter().sum::<f64>() / 5.0;
    println!("loss {:.3} at first, {last:.3} at last: {losses:.3?}", losses[0]);
    assert!(losses.len() == 21 && last <= 0.5 * losses[0], "{losses:?}");
}
