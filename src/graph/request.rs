//! What a person or program asks for: how kernels are to be chosen, in words.

use std::str::FromStr;

use super::choice::Choice;
use super::class::Class;
use super::tuner::Tuner;
use crate::error::{Error, Result};
use crate::gpu::{DeviceKind, Gpu};

/// How kernels are to be chosen. As text: nothing for the default, `written`, `tune`, classes with commas between, or `tune` with
/// classes that round to f16.
///
/// ```
/// use langevin::graph::{Class, KernelRequest};
/// let request: KernelRequest = "winograd2,implicit".parse()?;
/// assert_eq!(request, KernelRequest::Classes(vec![Class::Winograd2, Class::Implicit]));
/// assert!("winograd".parse::<KernelRequest>().is_err());
/// # Ok::<(), langevin::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum KernelRequest {
    /// GPUs are tuned; software devices take the written order, which was measured on one: timing there takes longer than it saves.
    #[default]
    Default,
    /// The written order.
    Written,
    /// The first candidate of one of these classes, else the written order.
    Classes(Vec<Class>),
    /// Every heavy op's candidates are timed, those of these classes too, which round to f16.
    Tune(Vec<Class>),
}

impl FromStr for KernelRequest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let words: Vec<&str> = text.split(',').map(str::trim).filter(|word| !word.is_empty()).collect();
        let classes = |words: &[&str]| words.iter().map(|word| word.parse()).collect::<Result<Vec<Class>>>();
        match words.as_slice() {
            [] => Ok(Self::Default),
            ["written"] => Ok(Self::Written),
            words if words.contains(&"tune") => {
                let rest: Vec<&str> = words.iter().copied().filter(|word| *word != "tune").collect();
                let classes = classes(&rest)?;
                match classes.iter().find(|class| !class.is_reduced()) {
                    Some(class) => {
                        let problem = "every class that does not round to f16 is timed in any case";
                        Err(Error::invalid("classes beside tune", class, problem))
                    }
                    None => Ok(Self::Tune(classes)),
                }
            }
            words => classes(words).map(Self::Classes),
        }
    }
}

impl KernelRequest {
    /// Kernels as they are asked for, on a device.
    pub fn kernels(&self, gpu: &Gpu) -> Kernels {
        let tuner = match self {
            Self::Default if gpu.capabilities().kind != DeviceKind::Software => Some(Tuner::new(gpu)),
            Self::Tune(reduced) => Some(Tuner::new(gpu).with_reduced(reduced)),
            Self::Default | Self::Written | Self::Classes(_) => None,
        };
        Kernels { choice: self.choice(), tuner }
    }

    /// Whether a class is asked for by name: `cooperative` needs a device that was opened with cooperative matrices.
    pub fn names(&self, class: Class) -> bool {
        match self {
            Self::Classes(classes) | Self::Tune(classes) => classes.contains(&class),
            Self::Default | Self::Written => false,
        }
    }

    /// The choice that needs no device.
    pub fn choice(&self) -> Choice {
        match self {
            Self::Classes(classes) => Choice::Classes(classes.clone()),
            Self::Default | Self::Written | Self::Tune(_) => Choice::Written,
        }
    }
}

/// A choice, and the tuner that times what it leaves open.
#[derive(Clone, Debug, Default)]
pub struct Kernels {
    /// How a draft chooses.
    pub choice: Choice,
    /// What times the ops of a draft, if anything.
    pub tuner: Option<Tuner>,
}

impl From<Choice> for Kernels {
    fn from(choice: Choice) -> Self {
        Self { choice, tuner: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_parsed_and_mistakes_are_named() {
        let parsed = |text: &str| text.parse::<KernelRequest>();
        assert_eq!(parsed(" ").unwrap(), KernelRequest::Default);
        assert_eq!(parsed("written").unwrap(), KernelRequest::Written);
        assert_eq!(parsed("half, tune").unwrap(), KernelRequest::Tune(vec![Class::Half]));
        assert_eq!(parsed("plain").unwrap(), KernelRequest::Classes(vec![Class::Plain]));
        assert!(parsed("tune,direct").unwrap_err().to_string().contains("direct"));
        assert!(parsed("written,plain").unwrap_err().to_string().contains("winograd4"));
    }
}
