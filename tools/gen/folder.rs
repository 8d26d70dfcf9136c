//! A folder of results: which pictures in it belong to this run, so that a run goes on and two runs do not mix.

use std::collections::BTreeSet;
use std::path::Path;

use langevin::Error;
use langevin::output::Provenance;

use crate::exit::Usage;
use crate::print;

/// What differs between pictures of one run, or says nothing of what they show.
const FREE: &[&str] = &["Software", "seeds", "nfe", "image", "adapter", "images"];
/// Letters of a value that are shown.
const SHOWN: usize = 60;

/// The pictures of this run that a folder holds, by name without ending.
#[derive(Debug, Default)]
pub struct Held {
    names: BTreeSet<String>,
    others: Vec<String>,
}

impl Held {
    /// Looks at every PNG of a folder.
    pub fn look(folder: &Path, provenance: &Provenance, overwrite: bool) -> anyhow::Result<Self> {
        let mut held = Self::default();
        let mut first = None;
        for entry in std::fs::read_dir(folder).map_err(Error::io(folder))? {
            let path = entry.map_err(Error::io(folder))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let Some(stem) = name.strip_suffix(".png").filter(|stem| !stem.starts_with('.')) else {
                continue;
            };
            let difference = match Provenance::read(&path) {
                Ok(Some(there)) => difference(&there, provenance),
                Ok(None) => Some("it does not say where it comes from".to_owned()),
                // A picture that a killed program left half is drawn again.
                Err(_) => Some("it cannot be read".to_owned()),
            };
            match difference {
                None => drop(held.names.insert(stem.to_owned())),
                Some(why) => {
                    held.others.push(stem.to_owned());
                    first.get_or_insert(format!("{name}: {why}"));
                }
            }
        }
        match first {
            Some(first) if !overwrite => {
                let n = print::count(held.others.len(), "picture");
                let problem = format!(
                    "--out {}: it holds {n} of something else ({first}); give another folder, or --overwrite to write into this one",
                    folder.display()
                );
                Err(Usage(problem).into())
            }
            _ => Ok(held),
        }
    }

    /// Whether the picture of this name is there.
    pub fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// Pictures of something else that stay beside those of the names.
    pub fn others_beside(&self, names: &[String]) -> usize {
        let names: BTreeSet<&String> = names.iter().collect();
        self.others.iter().filter(|other| !names.contains(other)).count()
    }
}

/// The first thing in which a picture's origin differs from this run's.
fn difference(there: &Provenance, here: &Provenance) -> Option<String> {
    let keys = here.entries().iter().chain(there.entries()).map(|(key, _)| key.as_str());
    let ours = |key: &&str| here.get(key).is_some() || there.get("weights").is_some();
    let mut differing = keys.filter(ours).filter(|key| !FREE.contains(key));
    let key = differing.find(|key| there.get(key) != here.get(key))?;
    let shown = |p: &Provenance| match p.get(key) {
        None => "none".to_owned(),
        Some(value) if value.lines().count() > 1 => "another".to_owned(),
        Some(value) => value.chars().take(SHOWN).flat_map(char::escape_debug).collect(),
    };
    Some(format!("its {key} is {}, this run's {}", shown(there), shown(here)))
}

#[cfg(test)]
mod tests {
    use langevin::output::{ImageBytes, write_png};

    use super::*;

    #[test]
    fn pictures_of_another_run_are_refused_and_those_of_this_one_known() {
        let folder = tempfile::tempdir().unwrap();
        let here = Provenance::new().with("weights", "1").with("sampler", "heun").with("seeds", "0-3");
        let image = ImageBytes::new([1, 1, 1, 1], vec![7]).unwrap();
        write_png(&folder.path().join("000000.png"), &image, &here.clone().with("seeds", "0-9")).unwrap();
        let look = |overwrite| Held::look(folder.path(), &here, overwrite);
        assert!(look(false).unwrap().has("000000"));
        write_png(&folder.path().join("000001.png"), &image, &here.clone().with("sampler", "ddim")).unwrap();
        let problem = look(false).unwrap_err().to_string();
        assert!(problem.contains("1 picture") && problem.contains("sampler is ddim"), "{problem}");
        let held = look(true).unwrap();
        assert!(!held.has("000001") && held.others_beside(&["000001".into()]) == 0);
        assert_eq!(held.others_beside(&[]), 1);
        std::fs::write(folder.path().join("photo.png"), "no picture").unwrap();
        assert!(look(false).is_err());
    }
}
