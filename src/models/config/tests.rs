use super::*;

fn message(result: Result<Config>) -> String {
    result.expect_err("an error was expected").to_string()
}

#[test]
fn an_empty_file_is_the_default() {
    assert_eq!(Config::from_toml("", "empty").unwrap(), Config::default());
}

#[test]
fn unknown_keys_name_the_nearest() {
    let cases = [
        (
            "[training]\ncontinuouse = true",
            "unknown key \"training.continuouse\"; did you mean \"training.continuous\"?",
        ),
        ("[model]\nsigmamax = 1", "did you mean \"model.sigma_max\"?"),
        ("[modell]\nnf = 1", "unknown key \"modell\"; did you mean \"model\"?"),
        ("sigma_max = 1", "did you mean \"model.sigma_max\"?"),
        ("[model.name]\nx = 1", "model.name"),
        ("data = 3", "data = 3: this is a section"),
    ];
    for (text, expected) in cases {
        let error = message(Config::from_toml(text, "test.toml"));
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn wrong_values_say_what_is_allowed() {
    let cases = [
        ("[model]\nname = \"ncsnp\"", "`ncsnpp`"),
        ("[training]\nsde = \"ve\"", "`vesde`, `vpsde`, `subvpsde`"),
        ("[model]\nnf = \"many\"", "model.nf = \"many\""),
        ("[model]\nnf = -1", "model.nf = -1"),
        ("[model]\nnf = 0", "from 1 to"),
        ("[model]\nsigma_max = 0.001", "model.sigma_min, which is 0.01"),
        ("[model]\nsigma_max = nan", "model.sigma_max"),
        ("[data]\nimage_size = 36", "halve the image 3 times: use a multiple of 8"),
        ("[model]\nnf = 130", "130 channels and min(130/4, 32) = 32 groups"),
        ("[model]\nname = \"ddpm\"\nnf = 16", "16 channels, which 32 groups do not divide"),
        ("[model]\nfir_kernel = [1, -1]", "sum is not 0"),
        ("[training]\ncontinuous = false", "set \"positional\""),
        ("[model]\nname = \"ncsn\"\nnormalization = \"GroupNorm\"", "ncsn takes one of [\"InstanceNorm++\"]"),
        ("[optim]\namsgrad = true", "only plain Adam"),
        ("[model", "test.toml"),
    ];
    for (text, expected) in cases {
        let error = message(Config::from_toml(text, "test.toml"));
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn set_takes_toml_values_and_bare_words() {
    let mut config = Config::default();
    for (key, value) in [
        ("model.sigma_max", "380"),
        ("model.ch_mult", "[1, 2]"),
        ("training.sde", "vpsde"),
        ("training.sde", "\"subvpsde\""),
        ("model.fir", "false"),
        ("data.category", "church_outdoor"),
        ("seed", "7"),
    ] {
        config.set(key, value).unwrap_or_else(|e| panic!("{key}: {e}"));
    }
    assert_eq!((config.model.sigma_max, config.seed, config.model.fir), (380.0, 7, false));
    assert_eq!(config.model.ch_mult, [1, 2]);
    assert_eq!(config.training.sde, Sde::SubVp);
    assert_eq!(config.data.category.as_deref(), Some("church_outdoor"));
    let before = config.clone();
    for (key, value) in
        [("model.sigma", "1"), ("seed", "x"), ("model.nf", "1\nname = \"ddpm\""), ("data", "1")]
    {
        assert!(config.set(key, value).is_err(), "{key} = {value}");
    }
    assert_eq!(config, before);
}

#[test]
fn every_architecture_has_valid_defaults_that_survive_the_round_trip() {
    for &name in ModelName::ALL {
        let mut config = Config::of(name);
        config.training.continuous = name == ModelName::Ncsnpp;
        config.validate().unwrap_or_else(|e| panic!("{name}: {e}"));
        // A key that the architecture does not read survives as well, where it is not at its default.
        config.model.num_outputs = 11;
        config.model.skip_rescale = false;
        let text = config.to_toml();
        assert_eq!(Config::from_toml(&text, "text").unwrap(), config, "{name}\n{text}");
    }
}

#[test]
fn silent_keys_are_left_out() {
    let text = Config::of(ModelName::Ncsn).to_toml();
    assert!(!text.contains("fir") && !text.contains("ch_mult") && text.contains("interpolation"), "{text}");
}

#[test]
fn the_device_of_the_authors_is_passed_over() {
    let tree = serde_json::json!({"device": "cpu", "seed": 3, "model": {"name": "ddpm", "ema_rate": 0.5}});
    let config = Config::from_json(&tree).unwrap();
    assert_eq!((config.seed, config.model.name, config.model.ema_rate), (3, ModelName::Ddpm, 0.5));
    assert!(Config::from_json(&serde_json::json!([])).is_err());
}

#[test]
fn keys_are_dotted_and_unique() {
    let mut keys = Config::keys();
    assert!(keys.contains(&"model.sigma_max".to_owned()) && keys.contains(&"seed".to_owned()));
    let n = keys.len();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), n);
}

#[test]
fn attention_outside_every_level_is_told() {
    let mut config = Config::default();
    assert!(config.warnings().is_empty());
    config.model.attn_resolutions = vec![16, 15];
    assert!(config.warnings()[0].contains("15"));
}

#[test]
fn sigmas_fall_geometrically() {
    let mut config = Config::default();
    config.model.num_scales = 5;
    let sigmas = config.sigmas();
    assert!((sigmas[0] - 50.0).abs() < 1e-12 && (sigmas[4] - 0.01).abs() < 1e-15);
    let ratio = sigmas[1] / sigmas[0];
    assert!(sigmas.windows(2).all(|w| (w[1] / w[0] / ratio - 1.0).abs() < 1e-12));
    config.model.num_scales = 1;
    assert!((config.sigmas()[0] - 50.0).abs() < 1e-12);
}

#[test]
fn groups_behind_a_concatenation_are_checked() {
    // 20 + 24 channels: 11 groups; 24 + 28: 13; 4 * 27 + 4 * 34 = 244 channels have 32 groups, which do not divide them.
    let text = "[model]\nnf = 4\nch_mult = [27, 32]\nattn_resolutions = []\n";
    let error = message(Config::from_toml(text, "test.toml"));
    assert!(error.contains("up.1.block.") && error.contains("32 groups do not divide"), "{error}");
}
