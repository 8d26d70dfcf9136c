//! Devices, configurations, completions, manual pages, and mistakes on the command line.

use std::process::Stdio;

use crate::{command, run, run_in};

#[test]
fn no_arguments_print_the_help() {
    run(&[]).fails(2, &["Usage: gen", "Exit codes"]);
}

#[test]
fn every_command_has_an_example_in_its_help() {
    let help = run(&["--help"]).ok();
    let commands = help.split("Commands:").nth(1).unwrap().split("Options:").next().unwrap();
    // What a long description goes on with is indented further.
    let named = commands.lines().filter_map(|l| l.strip_prefix("  ")).filter(|l| !l.starts_with(' '));
    let names: Vec<&str> = named.filter_map(|l| l.split_whitespace().next()).collect();
    assert!(names.len() > 5, "{names:?}");
    for name in names.into_iter().filter(|name| *name != "help") {
        let help = run(&[name, "--help"]).ok();
        assert!(help.contains("Examples:"), "{name}: {help}");
    }
}

#[test]
fn an_unknown_command_or_option_names_a_near_one() {
    run(&["devises"]).fails(2, &["devices"]);
    run(&["devices", "--jsn"]).fails(2, &["--json"]);
}

#[test]
fn devices_lists_them_with_one_chosen_and_nothing_on_stderr() {
    let ran = run(&["devices", "--json"]);
    assert_eq!(ran.stderr, "");
    let list = ran.json();
    let list = list.as_array().unwrap();
    let chosen: Vec<_> = list.iter().filter(|d| d["chosen"] == true).collect();
    assert_eq!(chosen.len(), 1);
    assert!(chosen[0]["why"].is_string());
    for key in [
        "name",
        "kind",
        "backend",
        "driver",
        "limits",
        "f16",
        "subgroups",
        "timestamps",
        "cooperative_matrix",
    ] {
        assert!(!list[0][key].is_null() || key == "subgroups", "{key} in {list:?}");
    }
    // Metal alone does not say.
    assert!(list[0]["memory"].as_u64().is_some_and(|bytes| bytes > 1 << 20) || list[0]["backend"] == "metal");
    assert_eq!(list[0]["index"], 0);
    let name = list[0]["name"].as_str().unwrap();
    assert!(run(&["devices"]).ok().contains(name));
    let by_name = run(&["devices", "--json", "--device", &name.to_uppercase()]).json();
    assert_eq!(by_name[0]["chosen"], true);
}

#[test]
fn an_unknown_device_is_told_with_those_there_are() {
    run(&["devices", "--device", "no such card"]).fails(2, &["no such card", "there are: 0 ("]);
    run(&["devices", "--device", "99"]).fails(2, &["--device: ", "\"99\""]);
    let by_variable = |name: &str| {
        let mut command = command(std::env::temp_dir().as_path(), &["devices", "--json"]);
        crate::finish(command.env("WGPU_ADAPTER_NAME", name).output().unwrap())
    };
    by_variable("no such card").fails(2, &["WGPU_ADAPTER_NAME: ", "\"no such card\"", "there are: 0 ("]);
    let all = by_variable("").json();
    let name = all[0]["name"].as_str().unwrap();
    assert!(by_variable(name).json()[0]["why"].as_str().unwrap().contains("WGPU_ADAPTER_NAME"));
}

#[test]
fn no_adapter_has_a_code_of_its_own() {
    let no_driver = |arguments: &[&str]| {
        let mut command = command(std::env::temp_dir().as_path(), arguments);
        crate::finish(command.env("WGPU_BACKEND", "gl").output().unwrap())
    };
    no_driver(&["devices"]).fails(3, &["no GPU adapter answered", "gen devices"]);
    no_driver(&["devices"]).fails(3, &["WGPU_BACKEND = gl", "unset it"]);
    let ran = no_driver(&["devices", "--json"]);
    assert_eq!((ran.code, ran.stdout.trim()), (3, "[]"));
}

/// One more driver of the system would help nobody whose environment names others.
#[cfg(target_os = "linux")]
#[test]
fn drivers_that_the_environment_names_and_that_are_not_there_are_told() {
    for name in ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"] {
        let mut command = command(std::env::temp_dir().as_path(), &["devices"]);
        command.env_remove("VK_DRIVER_FILES").env_remove("VK_ICD_FILENAMES").env(name, "/nonexistent");
        let told = format!("{name} = /nonexistent");
        crate::finish(command.output().unwrap()).fails(3, &["no GPU adapter answered", &told, "gen devices"]);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_stdout_is_told() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = command(std::env::temp_dir().as_path(), &["config", "list"]);
    let ran = crate::finish(command.stdout(full).output().unwrap());
    ran.fails(4, &["writing to stdout", "No space left on device"]);
}

#[test]
fn config_lists_the_presets_and_shows_one() {
    assert_eq!(run(&["config", "list"]).ok().lines().count(), 39);
    assert_eq!(run(&["config", "list", "--json"]).json().as_array().unwrap().len(), 39);
    let shown = run(&["config", "show", "ve/cifar10_ncsnpp_continuous"]).ok();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("mine.toml"), &shown).unwrap();
    let again = run_in(folder.path(), &["config", "show", "mine.toml", "--json"]).json();
    assert_eq!(again, run(&["config", "show", "ve/cifar10_ncsnpp_continuous", "--json"]).json());
    let set = ["config", "show", "mine.toml", "--set", "sampling.snr=0.2", "--json"];
    assert_eq!(run_in(folder.path(), &set).json()["sampling"]["snr"], 0.2);
}

#[test]
fn what_a_configuration_does_not_allow_is_told() {
    let preset = "ve/cifar10_ncsnpp_continuous";
    run(&["config", "show", "ve/cifar10_ncsnpp_continous"]).fails(2, &["unknown preset", preset]);
    run(&["config", "show", preset, "--set", "model.sigma_maxx=3"])
        .fails(2, &["unknown key", "did you mean \"model.sigma_max\"?"]);
    run(&["config", "show", preset, "--set", "snr"]).fails(2, &["key=value"]);
    run(&["config", "show", preset, "--set", "model.nf=none"]).fails(2, &["model.nf"]);
    run(&["config", "show", "missing.toml"]).fails(4, &["missing.toml", "No such file"]);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("bad.toml"), "[model]\nnf = \n").unwrap();
    run_in(folder.path(), &["config", "show", "bad.toml"]).fails(4, &["bad.toml"]);
}

#[test]
fn completions_and_manual_pages_are_made() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(run(&["completions", shell]).ok().contains("inspect"), "{shell}");
    }
    assert!(run(&["man"]).ok().starts_with(".ie"));
    let folder = tempfile::tempdir().unwrap();
    run_in(folder.path(), &["man", "--out", "pages"]).ok();
    assert!(folder.path().join("pages/gen-devices.1").is_file());
    std::fs::write(folder.path().join("file"), "").unwrap();
    run_in(folder.path(), &["man", "--out", "file"]).fails(4, &["file"]);
}

#[test]
fn a_reader_that_closes_the_pipe_is_no_failure() {
    let mut child = command(std::env::temp_dir().as_path(), &["config", "list"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    crate::finish(child.wait_with_output().unwrap()).ok();
    // Words that nobody reads any more do not end the work.
    let folder = tempfile::tempdir().unwrap();
    let mut child = command(folder.path(), &["sample", "--seeds", "0", "--steps", "1", "-v"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stderr.take());
    assert!(child.wait().unwrap().success() && folder.path().join("sample.png").is_file());
}
