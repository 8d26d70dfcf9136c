use std::collections::BTreeSet;
use std::sync::Arc;

use super::*;
use crate::data::{Dataset, Preprocess, Split};

/// `n` grey images of 2 x 2 pixels that hold 4 i, 4 i + 1, 4 i + 2, 4 i + 3; label i mod 3.
fn numbered(n: usize) -> Subset {
    let pixels = (0..4 * n).map(|v| v as u8).collect();
    let labels: Vec<i32> = (0..n as i32).map(|i| i % 3).collect();
    let data =
        Dataset::from_pixels(pixels, Preprocess::new(2, 1).unwrap(), &labels, &["a", "b", "c"]).unwrap();
    Arc::new(data).subset(Split::All).unwrap()
}

fn batches(images: &Subset, config: LoaderConfig, state: LoaderState, count: usize) -> Vec<Batch> {
    let mut loader = Loader::new(images.clone(), config, state).unwrap();
    let mut out = Vec::new();
    while let Some(b) = loader.next_batch().unwrap() {
        assert_eq!(loader.state(), b.next);
        out.push(b);
        if out.len() == count {
            break;
        }
    }
    out
}

#[test]
fn an_epoch_has_every_image_once() {
    let images = numbered(10);
    let config = LoaderConfig::training(5, 7);
    let got = batches(&images, config, LoaderState::default(), 4);
    for epoch in got.chunks(2) {
        let seen: BTreeSet<usize> = epoch.iter().flat_map(|b| b.numbers.clone()).collect();
        assert_eq!(seen.len(), 10);
    }
    assert_ne!(got[0].numbers, got[2].numbers);
    for b in &got {
        assert_eq!(b.shape, [5, 2, 2, 1]);
        for (i, &number) in b.numbers.iter().enumerate() {
            assert_eq!(b.as_u8().unwrap()[4 * i], 4 * number as u8);
            assert_eq!(b.labels[i], number as i32 % 3);
        }
    }
}

#[test]
fn resuming_anywhere_goes_on_with_the_same_batches() {
    let images = numbered(7);
    let config = LoaderConfig {
        flip: true,
        values: Values::F32 { dequantize: true, centered: true },
        ..LoaderConfig::training(3, 1)
    };
    let whole = batches(&images, config, LoaderState::default(), 12);
    for cut in 0..11 {
        let rest = batches(&images, config, whole[cut].next, 11 - cut);
        assert_eq!(rest, whole[cut + 1..]);
    }
    // The images come in the same order whatever the batch.
    let config = LoaderConfig { batch: 1, ..config };
    let single: Vec<usize> =
        batches(&images, config, LoaderState::default(), 36).into_iter().flat_map(|b| b.numbers).collect();
    assert_eq!(single, whole.iter().flat_map(|b| b.numbers.clone()).collect::<Vec<_>>());
}

#[test]
fn last_batches() {
    let images = numbered(7);
    let sizes = |last, epochs| {
        let config = LoaderConfig { last, epochs, ..LoaderConfig::training(3, 1) };
        batches(&images, config, LoaderState::default(), 9).iter().map(|b| b.shape[0]).collect::<Vec<_>>()
    };
    assert_eq!(sizes(LastBatch::Keep, Some(2)), [3, 3, 1, 3, 3, 1]);
    assert_eq!(sizes(LastBatch::Drop, Some(2)), [3, 3, 3, 3]);
    assert_eq!(sizes(LastBatch::Join, Some(2)), [3, 3, 3, 3, 2]);
    assert_eq!(sizes(LastBatch::Join, None), [3; 9]);
    // A set smaller than the batch.
    let config = LoaderConfig::training(20, 1);
    assert_eq!(
        batches(&images, config, LoaderState::default(), 1)[0].next,
        LoaderState { epoch: 2, position: 6 }
    );
    let config = LoaderConfig { last: LastBatch::Drop, ..config };
    assert!(Loader::new(images.clone(), config, LoaderState::default()).is_err());
    assert!(Loader::new(images, LoaderConfig::training(0, 1), LoaderState::default()).is_err());
}

#[test]
fn evaluation_is_in_order_and_ends() {
    let images = numbered(5);
    let got = batches(&images, LoaderConfig::evaluation(2), LoaderState::default(), 100);
    let numbers: Vec<usize> = got.iter().flat_map(|b| b.numbers.clone()).collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4]);
    let beyond = LoaderState { epoch: 1, position: 0 };
    assert!(batches(&images, LoaderConfig::evaluation(2), beyond, 1).is_empty());
}

#[test]
fn flips_are_half_and_new_every_epoch() {
    let images = numbered(60);
    let config = LoaderConfig { flip: true, ..LoaderConfig::training(60, 3) };
    let flipped = |b: &Batch| -> BTreeSet<usize> {
        let pixels = b.as_u8().unwrap();
        let mirrored = |&i: &usize| pixels[4 * i] == pixels[4 * i + 1].wrapping_add(1);
        (0..60).filter(mirrored).map(|i| b.numbers[i]).collect()
    };
    let got = batches(&images, config, LoaderState::default(), 2);
    let (a, b) = (flipped(&got[0]), flipped(&got[1]));
    // 60 coins: 30 expected, standard deviation 3.9.
    assert!((14..=46).contains(&a.len()) && a != b, "{}", a.len());
}

#[test]
fn floats() {
    let images = numbered(2);
    let plain = LoaderConfig {
        values: Values::F32 { dequantize: false, centered: true },
        ..LoaderConfig::evaluation(2)
    };
    let got = &batches(&images, plain, LoaderState::default(), 1)[0];
    assert_eq!(got.as_f32().unwrap()[5], 2.0 * (5.0 / 255.0) - 1.0);
    assert_eq!(got.as_u8(), None);
}

#[test]
fn dropping_a_loader_ends_its_thread() {
    for taken in 0..3 {
        let mut loader =
            Loader::new(numbered(5), LoaderConfig::training(2, 0), LoaderState::default()).unwrap();
        for _ in 0..taken {
            loader.next_batch().unwrap();
        }
        assert_eq!(loader.handed_out(), taken);
        assert!(loader.wait() >= loader.last_wait());
    }
}
