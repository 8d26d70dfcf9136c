//! Which parameters a network has.

use super::init::Init;
use crate::error::{Error, Result};

/// A parameter as a layer holds it: its name and shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Param {
    /// The full name.
    pub name: String,
    /// The sizes, in the order of the authors' files.
    pub shape: Vec<usize>,
    /// False for the Fourier frequencies, which are drawn once.
    pub trainable: bool,
}

/// A parameter as the manifest lists it.
#[derive(Clone, Debug, PartialEq)]
pub struct ParamSpec {
    /// The full name, such as `down.0.block.1.conv_0.weight`.
    pub name: String,
    /// The sizes, in the order of the authors' files: convolutions `out in kh kw`, linear `out in`, NIN `in out`.
    pub shape: Vec<usize>,
    /// How it begins.
    pub init: Init,
    /// False for the Fourier frequencies, which are drawn once and belong to neither optimizer nor average.
    pub trainable: bool,
    /// The entry of [`Manifest::modules`] that it belongs to.
    pub module: Option<usize>,
}

impl ParamSpec {
    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// The parameters of a network, in order of construction, which is the order of the authors' files.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Manifest {
    params: Vec<ParamSpec>,
    modules: Vec<String>,
}

impl Manifest {
    /// The parameters.
    pub fn params(&self) -> &[ParamSpec] {
        &self.params
    }

    /// Names of the modules that were opened with [`Scope::module`], in order. They are the entries of the authors'
    /// `all_modules`.
    pub fn modules(&self) -> &[String] {
        &self.modules
    }

    /// The parameter of a name.
    pub fn find(&self, name: &str) -> Option<&ParamSpec> {
        self.params.iter().find(|p| p.name == name)
    }

    /// The parameters that an optimizer changes and an average follows.
    pub fn trainable(&self) -> impl Iterator<Item = &ParamSpec> {
        self.params.iter().filter(|p| p.trainable)
    }

    /// The parameters that stay as they were drawn.
    pub fn fixed(&self) -> impl Iterator<Item = &ParamSpec> {
        self.params.iter().filter(|p| !p.trainable)
    }

    /// Elements of all parameters.
    pub fn elements(&self) -> usize {
        self.params.iter().map(ParamSpec::elements).sum()
    }

    /// Initial values under a seed, in order.
    pub fn initialise(&self, seed: u64) -> impl Iterator<Item = (&ParamSpec, Vec<f32>)> {
        self.params.iter().enumerate().map(move |(i, p)| (p, p.init.draw(&p.shape, seed, i as u32)))
    }

    /// The scope in which the network's layers are constructed.
    pub fn root(&mut self) -> Scope<'_> {
        Scope { manifest: self, path: String::new(), module: None }
    }
}

/// A place in the tree of names where layers declare their parameters.
#[derive(Debug)]
pub struct Scope<'m> {
    manifest: &'m mut Manifest,
    path: String,
    module: Option<usize>,
}

impl Scope<'_> {
    /// The place `name` below this one.
    pub fn at(&mut self, name: impl std::fmt::Display) -> Scope<'_> {
        Scope { path: self.join(name), module: self.module, manifest: &mut *self.manifest }
    }

    /// The same, where the authors append a module to `all_modules`.
    pub fn module(&mut self, name: impl std::fmt::Display) -> Scope<'_> {
        let path = self.join(name);
        self.manifest.modules.push(path.clone());
        Scope { path, module: Some(self.manifest.modules.len() - 1), manifest: &mut *self.manifest }
    }

    /// Declares a trainable parameter.
    pub fn declare(&mut self, name: &str, shape: &[usize], init: Init) -> Param {
        self.add(name, shape, init, true)
    }

    /// Declares a parameter that stays as it was drawn.
    pub fn declare_fixed(&mut self, name: &str, shape: &[usize], init: Init) -> Param {
        self.add(name, shape, init, false)
    }

    /// The name of this place, for messages.
    pub fn path(&self) -> &str {
        &self.path
    }

    fn add(&mut self, name: &str, shape: &[usize], init: Init, trainable: bool) -> Param {
        let name = self.join(name);
        debug_assert!(self.manifest.find(&name).is_none(), "{name} is declared twice");
        let param = Param { name: name.clone(), shape: shape.to_vec(), trainable };
        let module = self.module;
        self.manifest.params.push(ParamSpec { name, shape: shape.to_vec(), init, trainable, module });
        param
    }

    fn join(&self, name: impl std::fmt::Display) -> String {
        if self.path.is_empty() { name.to_string() } else { format!("{}.{name}", self.path) }
    }

    /// An error about the layer that is being constructed here.
    pub(crate) fn refuse(
        &self,
        layer: &'static str,
        problem: String,
        remedy: impl Into<String>,
    ) -> Result<()> {
        Err(Error::shape(layer, format!("{}: {problem}", self.path), remedy))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_nest_and_modules_are_counted() {
        let mut manifest = Manifest::default();
        let mut root = manifest.root();
        root.module("first").declare_fixed("w", &[3], Init::Constant(0.0));
        let mut down = root.at("down.0");
        let mut block = down.module("block");
        block.at("conv_0").declare("weight", &[2, 3], Init::Constant(1.0));
        block.at("conv_1").declare("weight", &[2], Init::Constant(1.0));
        let names: Vec<_> = manifest.params().iter().map(|p| (p.name.as_str(), p.module)).collect();
        assert_eq!(
            names,
            [
                ("first.w", Some(0)),
                ("down.0.block.conv_0.weight", Some(1)),
                ("down.0.block.conv_1.weight", Some(1))
            ]
        );
        assert_eq!(manifest.modules(), ["first", "down.0.block"]);
        assert_eq!((manifest.elements(), manifest.trainable().count(), manifest.fixed().count()), (11, 2, 1));
        assert_eq!(manifest.initialise(0).map(|(_, v)| v.len()).collect::<Vec<_>>(), [3, 6, 2]);
    }
}
