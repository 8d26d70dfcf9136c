//! safetensors: our own checkpoints and exports, and files of others.

use std::collections::BTreeMap;
#[cfg(feature = "files")]
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, json};

use super::{Average, Contents, Described, class_names};
use crate::checkpoint::container::{self, Checkpoint, Loaded};
use crate::checkpoint::diffusers::{SchedulerConfig, UNetConfig};
use crate::checkpoint::safetensors::{Header, is_safetensors};
use crate::checkpoint::{CLASSES, RECIPE, Source};
use crate::error::{Error, Result};

/// Files of safetensors, and work folders of training, which hold one.
#[derive(Debug)]
pub(super) struct Format;

impl super::Format for Format {
    fn name(&self) -> &'static str {
        "safetensors"
    }

    fn recognises(&self, head: &[u8]) -> bool {
        is_safetensors(head)
    }

    fn read(&self, source: &Arc<Source>) -> Result<Contents> {
        let header = Header::read(source)?;
        if container::is_ours(&header.metadata) {
            let checkpoint = Checkpoint::of_header(&header, source)?;
            checkpoint.verify()?;
            return Ok(ours(Loaded { checkpoint, path: source.path().into(), note: None }));
        }
        let tensors = header.tensors(source, |_| None)?;
        let metadata: BTreeMap<String, String> = header.metadata.into_iter().collect();
        let bad = |key: &str, e: serde_json::Error| source.bad(format!("its metadata, {key}: {e}"));
        let described = match metadata.get("unet") {
            None => None,
            Some(text) => {
                let scheduler = metadata.get("scheduler").map(|text| SchedulerConfig::from_json(text));
                Some(Described {
                    unet: UNetConfig::from_json(text).map_err(|e| bad("unet", e))?,
                    scheduler: scheduler.transpose().map_err(|e| bad("scheduler", e))?,
                    no_sde: metadata.get("no_sde").cloned(),
                    has_their_names: false,
                })
            }
        };
        let shown: BTreeMap<_, _> = metadata.iter().filter(|(key, _)| *key != "config").collect();
        Ok(Contents {
            config: metadata.get("config").cloned(),
            described,
            step: metadata.get("step").and_then(|step| step.parse().ok()),
            classes: class_names(metadata.get(CLASSES)),
            recipe: metadata.get(RECIPE).cloned(),
            facts: Map::from_iter([("metadata".to_owned(), json!(shown))]),
            ..Contents::new("safetensors", tensors)
        })
    }

    #[cfg(feature = "files")]
    fn open_folder(&self, path: &Path) -> Result<Option<Contents>> {
        Ok(crate::checkpoint::load(path)?.map(ours))
    }
}

/// A checkpoint of training.
fn ours(Loaded { checkpoint: c, path, note }: Loaded) -> Contents {
    let tensors = c.ema_weights.len();
    let average_facts = c.ema.map_or_else(
        || serde_json::Value::Null,
        |e| json!({"decay": e.decay, "num_updates": e.num_updates, "tensors": tensors}),
    );
    let average = (!c.ema_weights.is_empty())
        .then_some(Ok::<_, Error>(Average::Named { place: "ema".into(), tensors: c.ema_weights }));
    Contents {
        names_are_ours: true,
        average,
        step: Some(c.step),
        note,
        classes: class_names(c.extra.get(CLASSES)),
        recipe: c.extra.get(RECIPE).cloned(),
        average_facts,
        facts: Map::from_iter([
            ("file".to_owned(), json!(path)),
            ("seed".to_owned(), json!(c.seed)),
            ("epoch".to_owned(), json!(c.data.epoch)),
            ("image".to_owned(), json!(c.data.index)),
            ("optimizer".to_owned(), json!(!c.adam_m.is_empty())),
        ]),
        config: Some(c.config),
        ..Contents::new("langevin checkpoint", c.weights)
    }
}
