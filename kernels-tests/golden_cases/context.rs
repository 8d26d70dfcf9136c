//! What all cases of a run share.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;

use crate::case::Case;

/// The folder of goldens, and what was opened once for all cases.
pub struct Context {
    /// The folder that holds the categories.
    pub folder: PathBuf,
    models: RefCell<BTreeMap<String, Rc<Case>>>,
}

impl Context {
    /// A run over `folder`.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, models: RefCell::default() }
    }

    /// The shared weights and configuration `<category>/<name>.json` that a case names in `config.model`.
    pub fn model(&self, category: &str, name: &str) -> Result<Rc<Case>, String> {
        let key = format!("{category}/{name}");
        if let Some(model) = self.models.borrow().get(&key) {
            return Ok(model.clone());
        }
        let model = Rc::new(Case::open(&self.folder.join(format!("{key}.json")))?);
        self.models.borrow_mut().insert(key, model.clone());
        Ok(model)
    }
}
