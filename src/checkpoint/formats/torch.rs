//! Files of `torch.save`.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{Average, Contents};
use crate::checkpoint::Source;
use crate::checkpoint::torch::{self, Found, Part};
use crate::error::Result;

/// Files of `torch.save`, zip and legacy.
#[derive(Debug)]
pub(super) struct Format;

impl super::Format for Format {
    fn name(&self) -> &'static str {
        "torch.save"
    }

    fn recognises(&self, head: &[u8]) -> bool {
        torch::is_torch(head)
    }

    fn read(&self, source: &Arc<Source>) -> Result<Contents> {
        let file = torch::read(source)?;
        let average_facts = match &file.ema {
            None => Value::Null,
            Some(Ok(e)) => {
                let tensors = e.shadow_params.len() + e.by_name.len();
                json!({"place": e.place, "decay": e.decay, "num_updates": e.num_updates, "tensors": tensors})
            }
            Some(Err(error)) => json!({"unreadable": error.to_string()}),
        };
        Ok(Contents {
            average: file.ema.map(|ema| ema.map(Average::Torch)),
            step: file.step,
            average_facts,
            facts: Map::from_iter([
                ("optimizer".to_owned(), json!(file.optimizer.is_some())),
                ("found".to_owned(), file.found.iter().map(found).collect()),
            ]),
            ..Contents::new(if file.zip { "torch.save (zip)" } else { "torch.save (legacy)" }, file.model)
        })
    }
}

/// One thing at the top of a file.
fn found(found: &Found) -> Value {
    let use_of = match found.part {
        Part::Weights => "the raw weights",
        Part::Average => "their average, which is taken unless the raw weights are asked for",
        Part::Optimizer => "an optimizer, passed over",
        Part::Step => "the step",
        Part::Other => "passed over",
    };
    json!({"place": found.place, "what": found.what, "use": use_of})
}
