//! Files that torch itself wrote, zip and legacy, against the same tensors in safetensors.

use std::path::PathBuf;

use langevin::checkpoint::torch::{self, Parameter, TorchCheckpoint};
use langevin::checkpoint::{DType, Tensors};

use super::{assert_same, data, expected, refused};

fn parameters() -> Vec<Parameter> {
    let parameter = |name: &str, shape: &[usize], trainable| Parameter {
        name: name.into(),
        shape: shape.into(),
        trainable,
    };
    vec![
        parameter("W", &[4], false),
        parameter("conv.weight", &[4, 3, 3, 3], true),
        parameter("conv.bias", &[4], true),
        parameter("dense.weight", &[2, 4], true),
        parameter("dense.bias", &[2], true),
    ]
}

/// Compares with the flat file that the script wrote beside it.
fn check(file: &TorchCheckpoint, expected: &Tensors) {
    let names: Vec<&str> = file.model.names().collect();
    assert_eq!(names, ["W", "sigmas", "conv.weight", "conv.bias", "dense.weight", "dense.bias"]);
    assert_eq!(file.model.get("sigmas").unwrap().dtype(), DType::F64);
    for (name, tensor) in file.model.iter() {
        assert_same(tensor, expected.get(&format!("model.module.{name}")).unwrap(), name);
    }
    assert_eq!(file.step, Some(3));
    let path = file.model.origin();

    let ema = file.ema.as_ref().unwrap().as_ref().unwrap();
    assert_eq!((ema.decay, ema.num_updates), (Some(0.999), Some(3)));
    let named = ema.named(&parameters(), path).unwrap();
    assert_eq!(named.names().collect::<Vec<_>>(), ["conv.weight", "conv.bias", "dense.weight", "dense.bias"]);
    for (i, (name, tensor)) in named.iter().enumerate() {
        assert_same(tensor, expected.get(&format!("ema.{i}")).unwrap(), name);
    }

    let adam = file.optimizer.as_ref().unwrap().as_ref().unwrap();
    assert_eq!(adam.lr, Some(2e-4 * (2.0 / 5000.0)));
    let (m, v, step) = adam.named(&parameters(), path).unwrap();
    assert_eq!(step, 3);
    assert!(!m.contains("W"));
    for (i, parameter) in parameters().iter().enumerate().skip(1) {
        assert_same(
            m.get(&parameter.name).unwrap(),
            expected.get(&format!("m.{i}")).unwrap(),
            &parameter.name,
        );
        assert_same(
            v.get(&parameter.name).unwrap(),
            expected.get(&format!("v.{i}")).unwrap(),
            &parameter.name,
        );
    }
}

#[test]
fn a_training_checkpoint_in_every_form() {
    let expected = expected("checkpoint.safetensors");
    for (name, zip) in
        [("checkpoint.pth", true), ("checkpoint_protocol4.pth", true), ("checkpoint_legacy.pth", false)]
    {
        let file = torch::open(data(name)).unwrap();
        assert_eq!(file.zip, zip, "{name}");
        check(&file, &expected);
    }
}

#[test]
fn a_config_that_is_not_the_files_own_is_refused() {
    let file = torch::open(data("checkpoint.pth")).unwrap();
    let (ema, adam, path) =
        (file.ema.unwrap().unwrap(), file.optimizer.unwrap().unwrap(), file.model.origin());
    let mut other = parameters();
    other[3].shape = vec![4, 2];
    assert!(refused(ema.named(&other, path), "checkpoint.pth").contains("\"dense.weight\" needs [4, 2]"));
    assert!(refused(adam.named(&other, path), "checkpoint.pth").contains("\"dense.weight\" needs [4, 2]"));
    other.truncate(3);
    assert!(refused(ema.named(&other, path), "checkpoint.pth").contains("has 4 tensors, the model 2"));
    assert!(
        refused(file.model.require("dense.bias", &[3]), "checkpoint.pth")
            .contains("[2], the model needs [3]")
    );
}

#[test]
fn every_type_and_every_view() {
    let expected = expected("views.safetensors");
    for name in ["views.pth", "views_legacy.pth", "views_without_crc.pth"] {
        let file = torch::open(data(name)).unwrap();
        assert_eq!(file.model.len(), expected.len(), "{name}");
        for (tensor_name, tensor) in file.model.iter() {
            assert_same(tensor, expected.get(tensor_name).unwrap(), &format!("{name}: {tensor_name}"));
        }
    }
}

#[test]
fn what_is_no_data_is_refused_and_not_run() {
    for (file, reason) in [
        ("module.pth", "`__main__.Net`"),
        ("expanded.pth", "1099511627776 elements over a storage of 1 repeat themselves"),
        ("packed.pth", "is compressed, which torch.save never does"),
    ] {
        let message = refused(torch::open(data(file)), file);
        assert!(message.contains(reason), "{file}: {message}");
    }
    for file in ["hostile.pth", "hostile_legacy.pth"] {
        let model = torch::open(data(file)).unwrap().model;
        assert_eq!(model.require("w", &[4]).unwrap().to_f32().unwrap(), [1.0; 4]);
        assert!(refused(model.require("extra", &[4]), file).contains("`posix.system`"));
    }
    assert!(!PathBuf::from("pwned").exists());
}

/// The authors' own checkpoints, where the folder with their numbers is at hand.
#[test]
fn the_authors_checkpoints() {
    let folder = std::env::var_os("LANGEVIN_GOLDENS")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/goldens"), PathBuf::from)
        .join("checkpoints");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        eprintln!("{} is not there; the authors' checkpoints are left out", folder.display());
        return;
    };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "pth"));
    for path in files {
        let file = torch::open(&path).unwrap();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let stem = stem.strip_suffix("_legacy").unwrap_or(stem);
        let expected = langevin::checkpoint::safetensors::open(folder.join(format!("{stem}.safetensors")))
            .unwrap()
            .tensors;
        let json: serde_json::Value =
            serde_json::from_slice(&std::fs::read(folder.join(format!("{stem}.json"))).unwrap()).unwrap();
        assert_eq!(file.step, json["step"].as_u64(), "{stem}");
        let ema = file.ema.as_ref().unwrap().as_ref().unwrap();
        assert_eq!(ema.num_updates, json["ema"]["num_updates"].as_u64(), "{stem}");
        assert_eq!(ema.decay, json["ema"]["decay"].as_f64(), "{stem}");
        let order: Vec<Parameter> = (json["param_order"].as_array().unwrap().iter())
            .map(|name| {
                let name = name.as_str().unwrap();
                let name = name.strip_prefix("module.").unwrap_or(name).to_string();
                let shape = file.model.get(&name).unwrap().shape().to_vec();
                Parameter { trainable: !name.ends_with(".W") || shape.len() != 1, name, shape }
            })
            .collect();
        let named = ema.named(&order, &path).unwrap();
        let (m, v, _) = file.optimizer.as_ref().unwrap().as_ref().unwrap().named(&order, &path).unwrap();
        assert_eq!((m.len(), v.len()), (named.len(), named.len()), "{stem}");
        for (prefix, group) in
            [("model.", &file.model), ("ema.", &named), ("adam.exp_avg.", &m), ("adam.exp_avg_sq.", &v)]
        {
            let there = expected.names().filter(|name| name.starts_with(prefix)).count();
            let mut compared = 0;
            for (name, tensor) in group.iter() {
                if let Some(same) = expected.get(&format!("{prefix}{name}")) {
                    assert_eq!(tensor.to_f32().unwrap(), same.to_f32().unwrap(), "{stem}: {prefix}{name}");
                    compared += 1;
                }
            }
            assert!(
                compared == there && there > 0,
                "{stem}: {compared} of {there} {prefix} tensors compared"
            );
        }
    }
}
