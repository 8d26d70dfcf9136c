//! What the names of pictures say: which split and which class each belongs to, and in which order they stand.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// A part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// What a model learns from.
    Train,
    /// What it is judged by.
    Test,
    /// Everything.
    All,
}

impl std::fmt::Display for Split {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(match self {
            Self::Train => "train",
            Self::Test => "test",
            Self::All => "all",
        })
    }
}

/// Splits, labels and order of a list of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// The classes, sorted; empty where there are fewer than two.
    pub(crate) classes: Vec<String>,
    /// Whether folders named splits.
    pub(crate) has_splits: bool,
    /// For every image in its final order: (position in the names given, label or -1, split).
    pub(crate) images: Vec<(usize, i32, Split)>,
}

fn split_name(folder: &str) -> Option<Split> {
    match folder.to_ascii_lowercase().as_str() {
        "train" | "training" => Some(Split::Train),
        "test" | "testing" | "val" | "valid" | "validation" | "eval" => Some(Split::Test),
        _ => None,
    }
}

/// The rule: folders that all pictures share say nothing and are dropped. If every folder on the next level is named as a
/// split is (`train`, `test`, `val`, …), that level is the split. The next level is the class. Images are sorted by
/// what is left of their path, so that an archive and the folder it unpacks to are one data set.
pub(crate) fn layout(names: &[String]) -> Layout {
    let folders: Vec<Vec<&str>> = names
        .iter()
        .map(|n| {
            let mut parts: Vec<&str> = n.split('/').filter(|p| !p.is_empty()).collect();
            parts.pop();
            parts
        })
        .collect();
    let mut shared = folders.first().map_or(0, Vec::len);
    for f in &folders {
        let same = folders[0].iter().zip(f).take(shared).take_while(|(a, b)| a == b).count();
        shared = same;
    }
    let level: BTreeSet<Option<&str>> = folders.iter().map(|f| f.get(shared).copied()).collect();
    let by_level = !level.is_empty() && level.iter().all(|f| f.and_then(split_name).is_some());
    // A source with one split only: its name is among the shared folders.
    let only = folders.first().and_then(|f| f[..shared].iter().rev().find_map(|f| split_name(f)));
    let class_at = shared + usize::from(by_level);
    let class_of = |i: usize| folders[i].get(class_at).copied();

    let mut classes: Vec<String> = (0..names.len())
        .filter_map(class_of)
        .collect::<BTreeSet<_>>()
        .into_iter()
        .map(str::to_string)
        .collect();
    if classes.len() < 2 {
        classes.clear();
    }
    let mut images: Vec<(usize, i32, Split)> = (0..names.len())
        .map(|i| {
            let label = class_of(i).and_then(|c| classes.binary_search_by(|k| k.as_str().cmp(c)).ok());
            let split = if by_level { split_name(folders[i][shared]) } else { only };
            (i, label.map_or(-1, |l| l as i32), split.unwrap_or(Split::Train))
        })
        .collect();
    images.sort_by(|a, b| (a.2, &names[a.0]).cmp(&(b.2, &names[b.0])));
    Layout { classes, has_splits: by_level || only.is_some(), images }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(names: &[&str]) -> Layout {
        layout(&names.iter().map(|n| n.to_string()).collect::<Vec<_>>())
    }

    #[test]
    fn splits_and_classes() {
        let l =
            of(&["c10/test/dog/1.jpg", "c10/train/dog/2.jpg", "c10/train/cat/9.jpg", "c10/train/cat/1.jpg"]);
        assert_eq!(l.classes, ["cat", "dog"]);
        assert!(l.has_splits);
        assert_eq!(
            l.images,
            [(3, 0, Split::Train), (2, 0, Split::Train), (1, 1, Split::Train), (0, 1, Split::Test)]
        );
    }

    #[test]
    fn one_folder_is_no_class() {
        let l = of(&["128/b.png", "128/a.png"]);
        assert!(l.classes.is_empty() && !l.has_splits);
        assert_eq!(l.images, [(1, -1, Split::Train), (0, -1, Split::Train)]);
    }

    #[test]
    fn a_class_may_be_called_train() {
        let l = of(&["bird/1.png", "train/1.png", "x.png"]);
        assert_eq!(l.classes, ["bird", "train"]);
        assert!(!l.has_splits);
        assert_eq!(l.images, [(0, 0, Split::Train), (1, 1, Split::Train), (2, -1, Split::Train)]);
    }

    #[test]
    fn one_split_alone() {
        let l = of(&["d/val/a/1.png", "d/val/b/1.png"]);
        assert!(l.has_splits);
        assert_eq!(l.classes, ["a", "b"]);
        assert!(l.images.iter().all(|i| i.2 == Split::Test));
        assert_eq!(of(&[]).images.len(), 0);
        assert_eq!(of(&["a.png"]).images, [(0, -1, Split::Train)]);
    }

    #[test]
    fn folders_deeper_than_the_class_do_not_count() {
        let l = of(&["train/a/x/1.png", "train/a/y/1.png", "test/b/1.png"]);
        assert_eq!(l.classes, ["a", "b"]);
        assert_eq!(l.images.len(), 3);
    }
}
