//! An image of a seed is the same whatever is drawn beside it.

use crate::models::Place;

#[test]
fn predictor_corrector_images_are_coupled_by_norm_batch_only() {
    let place = Place::new();
    let drawn = |more: &[&str]| {
        let pc = ["--sampler", "pc", "--steps", "25", "--out", "x.safetensors", "--seeds"];
        place.run("sample", &[&pc[..], more].concat()).ok();
        place.tensor("x.safetensors", "x").1
    };
    let together = drawn(&["0-2"]);
    assert_eq!(drawn(&["0-2", "--batch", "2"]), together);
    assert_eq!(drawn(&["2"])[..], together[2 * 192..]);
    let coupled = |more: &[&str]| drawn(&[more, &["--norm", "batch"]].concat());
    assert_ne!(coupled(&["0-2"]), together);
    // The third image has a batch of its own, whose norms are its own: those that fill the plan's batch do not count.
    assert_eq!(coupled(&["0-2", "--batch", "2"])[2 * 192..], together[2 * 192..]);
}

/// An image of a seed, by every sampler: alone, in batches of two whose last is smaller, and all at once.
#[test]
fn each_solver_gives_a_seed_one_image() {
    let place = Place::new();
    for more in [
        &["--steps", "4"][..],
        &["--sampler", "heun", "--steps", "4"],
        &["--sampler", "ddim", "--eta", "0.5", "--steps", "4"],
        &["--sampler", "ode", "--rtol", "1e-2", "--atol", "1e-2"],
    ] {
        let draw = |seeds: &str, batch: &str| {
            let common = ["--seeds", seeds, "--batch", batch, "--out", "x.safetensors"];
            place.run("sample", &[&common[..], more].concat()).ok();
            place.tensor("x.safetensors", "x").1
        };
        let all = draw("3-7", "5");
        assert_eq!(all.len(), 5 * 192);
        assert_eq!(draw("3-7", "2"), all, "{more:?}");
        assert_eq!(draw("6", "1"), all[3 * 192..4 * 192], "{more:?}");
    }
}
