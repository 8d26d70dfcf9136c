//! Runs that end with an error of their files.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::PathBuf;

use langevin::Error;
use langevin::checkpoint::load;
use langevin::data::{DataConfig, Dataset, Preprocess};
use langevin::models::Config;
use langevin::training::{Event, Trainer, TrainerOptions};

use super::killed::Tiny;

/// The one packed file of a cache folder.
fn packed(folder: &std::path::Path) -> PathBuf {
    fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .find(|p| p.extension().is_some_and(|e| e == "data"))
        .unwrap()
}

#[test]
fn an_error_of_the_data_saves_first() {
    let Some(gpu) = super::gpu() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (cache, run) = (folder.path().join("cache"), folder.path().join("run"));
    let emoji = concat!(env!("CARGO_MANIFEST_DIR"), "/kernels-tests/fixtures/emoji");
    let config = DataConfig {
        cache_folder: Some(cache.clone()),
        ..DataConfig::new(emoji, Preprocess::new(8, 1).unwrap())
    };
    let data = Dataset::open(&config, &mut |_| true).unwrap();
    let mut config = Config::default();
    for (key, value) in [
        ("data.image_size", "8"),
        ("data.num_channels", "1"),
        ("training.sde", "vpsde"),
        ("training.batch_size", "4"),
        ("training.n_iters", "100000"),
    ] {
        config.set(key, value).unwrap();
    }
    let options = TrainerOptions { samples: None, ..TrainerOptions::default() };
    let mut trainer =
        Trainer::with_network(&gpu, config, Box::new(Tiny::new()), data, &run, options).unwrap();
    let (mut last, mut notes) = (0, Vec::new());
    let ended = trainer.run(&mut |event: Event<'_>| {
        match event {
            Event::Step { step } => last = step,
            Event::Note(note) => notes.push(note.to_owned()),
            _ => {}
        }
        if last == 3 {
            // Somebody writes into the packed pictures while the run goes on.
            let mut file = File::options().write(true).open(packed(&cache)).unwrap();
            file.seek(SeekFrom::Start(4096)).unwrap();
            file.write_all(&[0x5a; 100_000]).unwrap();
        }
        true
    });
    assert!(matches!(ended, Err(Error::Format { .. } | Error::Io { .. })), "{ended:?}");
    drop(trainer);
    assert_eq!(load(&run).unwrap().unwrap().checkpoint.step, last);
    assert!(
        last >= 3 && notes.iter().any(|note| note.contains(&format!("step {last} is saved"))),
        "{last} {notes:?}"
    );
}
