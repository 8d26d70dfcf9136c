//! Folders of diffusers.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, json};

use super::{Contents, Described};
use crate::checkpoint::{Source, diffusers};
use crate::error::Result;

/// Folders with a `UNet2DModel`, alone or in a pipeline.
#[derive(Debug)]
pub(super) struct Format;

impl super::Format for Format {
    fn name(&self) -> &'static str {
        "a folder of diffusers"
    }

    /// It is a folder, never a file.
    fn recognises(&self, _: &[u8]) -> bool {
        false
    }

    fn read(&self, source: &Arc<Source>) -> Result<Contents> {
        Err(source.bad("diffusers keeps a model in a folder; give that"))
    }

    fn open_folder(&self, path: &Path) -> Result<Option<Contents>> {
        if !diffusers::is_diffusers(path) {
            return Ok(None);
        }
        let folder = diffusers::open(path)?;
        let tensors = folder.tensors()?;
        let as_json = |value: serde_json::Result<serde_json::Value>| value.unwrap_or_default();
        Ok(Some(Contents {
            config: serde_json::to_string(&folder.unet).ok(),
            facts: Map::from_iter([
                ("pipeline".to_owned(), json!(folder.pipeline)),
                ("scheduler".to_owned(), as_json(serde_json::to_value(&folder.scheduler))),
                ("weights".to_owned(), json!(folder.weights)),
            ]),
            described: Some(Described {
                unet: folder.unet,
                scheduler: folder.scheduler,
                no_sde: None,
                has_their_names: true,
            }),
            ..Contents::new("diffusers", tensors)
        }))
    }
}
