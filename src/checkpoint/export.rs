//! A model into a file of ours: one safetensors file with weights under our names and the configuration beside them.

use std::path::Path;

use super::model::{CLASSES, RECIPE, SavedModel, Which};
use super::safetensors::{self, Metadata};
use super::{DType, Tensors};
use crate::error::{Error, Result};

impl SavedModel {
    /// Writes the model as one safetensors file that [`SavedModel::open`] reads back, and that can be built into the program.
    ///
    /// With `half`, kernels and matrices that are trained become f16. Biases and the gains of norms are a hundredth of the bytes and
    /// stay as they are; so do tables that are not trained: a Fourier frequency that is rounded to f16 turns a phase of 1,000 rad by half a radian.
    ///
    /// # Errors
    /// [`Error::Invalid`] where a value exceeds what f16 holds; [`Error::Io`],
    /// [`Error::StorageFull`], what reading the weights says.
    pub fn save(&self, path: impl AsRef<Path>, which: Which, half: bool) -> Result<()> {
        self.check(which)?;
        let path = path.as_ref();
        let mut tensors = Tensors::new(path);
        for (name, tensor) in self.tensors(which).iter() {
            let trained = self.network.manifest().params().iter().any(|p| p.name == name && p.trainable);
            let wide = matches!(tensor.dtype(), DType::F32 | DType::F64);
            let tensor = match half && trained && wide && tensor.shape().len() > 1 {
                true => tensor.to_f16(name)?,
                false => tensor.clone(),
            };
            tensors.insert(name, tensor)?;
        }
        safetensors::save(path, &self.metadata(which)?, &tensors)
    }

    fn metadata(&self, which: Which) -> Result<Metadata> {
        let averaged = which == Which::Ema && self.has_ema();
        let mut metadata = Metadata::new();
        let mut put = |key: &str, value: String| metadata.push((key.to_owned(), value));
        put("format", "pt".into());
        put("written_by", concat!("langevin ", env!("CARGO_PKG_VERSION")).into());
        put("weights", if averaged { "averaged" } else { "raw" }.into());
        if let Some(step) = self.step {
            put("step", step.to_string());
        }
        put("config", self.config.to_toml());
        if !self.classes.is_empty() {
            put(CLASSES, serde_json::json!(self.classes).to_string());
        }
        if let Some(recipe) = &self.recipe {
            put(RECIPE, recipe.clone());
        }
        // What our configurations cannot say of a network of diffusers.
        let json = |value: serde_json::Result<String>| {
            value.map_err(|e| Error::invalid("metadata", "json", e.to_string()))
        };
        if let Some(unet) = &self.unet {
            put("unet", json(serde_json::to_string(unet))?);
        }
        if let Some(scheduler) = &self.scheduler {
            put("scheduler", json(serde_json::to_string(scheduler))?);
        }
        if let Some(reason) = &self.no_sde {
            put("no_sde", reason.clone());
        }
        Ok(metadata)
    }
}
