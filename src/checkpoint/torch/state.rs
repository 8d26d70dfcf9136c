//! What a training checkpoint keeps beside the weights, in lists without names, and how it gets its names back.

use std::collections::BTreeMap;
use std::path::Path;

use crate::checkpoint::tensors::{Tensor, Tensors};
use crate::{Error, Result};

/// A moving average of the weights: the authors' `ExponentialMovingAverage.state_dict()`, a list without names, or a state dict.
#[derive(Debug)]
pub struct Ema {
    /// The keys of the file that lead to it, with dots between.
    pub place: String,
    /// Decay rate, where the file says.
    pub decay: Option<f64>,
    /// Updates so far; none where the rate is not warmed up.
    pub num_updates: Option<u64>,
    /// One tensor per trainable parameter, in the parameters' order, without names; empty where they have names.
    pub shadow_params: Vec<Tensor>,
    /// The tensors where they have names.
    pub by_name: Tensors,
}

/// Something at the top of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its key, or the keys that lead to it; the number in a list; empty for the file itself.
    pub place: String,
    /// What it is, in words.
    pub what: String,
    /// What it is taken for.
    pub part: Part,
}

/// What a part of a file is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The weights as the optimizer left them.
    Weights,
    /// Their moving average.
    Average,
    /// The state of an optimizer, which only resuming needs.
    Optimizer,
    /// The training step.
    Step,
    /// Nothing that is needed.
    Other,
}

/// Adam's `state_dict()`.
#[derive(Debug)]
pub struct Adam {
    /// By index among all parameters, those without a gradient included; these have no entry.
    pub state: BTreeMap<usize, AdamMoments>,
    /// Learning rate of the first group, as last used.
    pub lr: Option<f64>,
}

/// Adam's state of one parameter.
#[derive(Debug)]
pub struct AdamMoments {
    /// Updates so far.
    pub step: u64,
    /// First moment.
    pub exp_avg: Tensor,
    /// Second moment.
    pub exp_avg_sq: Tensor,
}

/// A parameter of a model, for files that hold lists without names.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// Name in the state dict, without `module.`.
    pub name: String,
    /// Shape in PyTorch's layout.
    pub shape: Vec<usize>,
    /// Whether it has a gradient (the Fourier `W` has none).
    pub trainable: bool,
}

impl Ema {
    /// Gives the tensors of the list their names. `parameters` are all of the model's, in order.
    ///
    /// Errors: [`Error::Format`] that names `origin` where the count or a shape differs.
    pub fn named(&self, parameters: &[Parameter], origin: &Path) -> Result<Tensors> {
        let trainable: Vec<&Parameter> = parameters.iter().filter(|parameter| parameter.trainable).collect();
        // Some forks average every parameter, the fixed ones too.
        let chosen = if self.shadow_params.len() == parameters.len() {
            parameters.iter().collect()
        } else {
            trainable
        };
        if chosen.len() != self.shadow_params.len() {
            let problem = format!(
                "{} has {} tensors, the model {} trainable parameters; is the config that of this file?",
                self.place,
                self.shadow_params.len(),
                chosen.len()
            );
            return Err(Error::format(origin, problem));
        }
        let mut tensors = Tensors::new(origin);
        for (i, (parameter, tensor)) in chosen.into_iter().zip(&self.shadow_params).enumerate() {
            fits(parameter, tensor, &format!("{}[{i}]", self.place), origin)?;
            tensors.insert(parameter.name.as_str(), tensor.clone())?;
        }
        Ok(tensors)
    }
}

impl Adam {
    /// First and second moments by name, and the number of updates. `parameters` are all of the model's, in order; one without state gets no entry.
    ///
    /// Errors: [`Error::Format`] that names `origin` where an index or a shape does not fit.
    pub fn named(&self, parameters: &[Parameter], origin: &Path) -> Result<(Tensors, Tensors, u64)> {
        let (mut m, mut v) = (Tensors::new(origin), Tensors::new(origin));
        let mut step = 0;
        for (index, moments) in &self.state {
            let parameter = parameters.get(*index).ok_or_else(|| {
                let problem =
                    format!("optimizer.state[{index}]: the model has {} parameters", parameters.len());
                Error::format(origin, problem)
            })?;
            let what = format!("optimizer.state[{index}]");
            fits(parameter, &moments.exp_avg, &what, origin)?;
            fits(parameter, &moments.exp_avg_sq, &what, origin)?;
            m.insert(parameter.name.as_str(), moments.exp_avg.clone())?;
            v.insert(parameter.name.as_str(), moments.exp_avg_sq.clone())?;
            step = step.max(moments.step);
        }
        Ok((m, v, step))
    }
}

fn fits(parameter: &Parameter, tensor: &Tensor, what: &str, origin: &Path) -> Result<()> {
    if tensor.shape() == parameter.shape {
        return Ok(());
    }
    let problem = format!(
        "{what} has the shape {:?}, the parameter {:?} needs {:?}; is the config that of this file?",
        tensor.shape(),
        parameter.name,
        parameter.shape
    );
    Err(Error::format(origin, problem))
}
