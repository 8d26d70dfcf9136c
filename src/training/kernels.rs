//! The order of summation chosen for each op, as checkpoints record it: it is part of the result, so a run that goes on takes the same.

use std::collections::BTreeMap;

use crate::error::Result;
use crate::graph::{Choices, Draft, DraftedOp, Kernels};

/// What a run has chosen so far.
#[derive(Clone, Debug, Default)]
pub struct KernelRecord {
    choices: Choices,
    /// What a checkpoint of an earlier version holds: names of candidates by the op's name and the shapes of its operands.
    shapes: BTreeMap<String, String>,
    /// Entries of that which several ops share that differ: nothing says whose kernel was noted.
    ambiguous: usize,
    /// What was recorded and cannot be had here.
    unmet: Vec<String>,
}

/// Between the shapes of inputs and outputs in the keys of earlier versions, and in no key of this one.
const ARROW: &str = " -> ";

impl KernelRecord {
    /// A record that begins with what a checkpoint holds.
    pub fn new(known: BTreeMap<String, String>) -> Self {
        let (shapes, orders) = known.into_iter().partition(|(key, _)| key.contains(ARROW));
        Self { choices: Choices::of_orders(orders), shapes, ..Self::default() }
    }

    /// What a checkpoint keeps: orders of summation by the identity of ops.
    pub fn orders(&self) -> BTreeMap<String, String> {
        self.choices.orders().clone()
    }

    /// `draft` by the recorded orders, and by `kernels` where there are none, which are recorded then.
    ///
    /// # Errors
    /// As [`Draft::new`].
    pub fn settle(&mut self, draft: &Draft, kernels: &Kernels) -> Result<Draft> {
        self.adopt(draft);
        let choice = kernels.choice.clone().with_table(self.choices.clone());
        let mut draft = draft.with_choice(choice)?;
        if let Some(tuner) = &kernels.tuner {
            draft = tuner.tuned(&draft)?;
        }
        for unmet in draft.unmet() {
            if !self.unmet.contains(unmet) {
                self.unmet.push(unmet.clone());
            }
        }
        let chosen = Choices::of_orders(draft.choices().orders().clone());
        self.choices.extend(&chosen);
        Ok(draft)
    }

    /// Takes over what an earlier version recorded, where it can mean one op only.
    fn adopt(&mut self, draft: &Draft) {
        if self.shapes.is_empty() {
            return;
        }
        let mut ops: BTreeMap<String, Vec<DraftedOp<'_>>> = BTreeMap::new();
        for op in draft.ops().filter(|op| self.choices.order(op.key).is_none()) {
            let shapes = shapes_of(&op);
            if self.shapes.contains_key(&shapes) {
                ops.entry(shapes).or_default().push(op);
            }
        }
        for (shapes, ops) in ops {
            let Some(name) = self.shapes.remove(&shapes) else { continue };
            if ops.iter().any(|op| op.key.without_images() != ops[0].key.without_images()) {
                self.ambiguous += 1;
                continue;
            }
            match ops[0].candidates().iter().find(|candidate| candidate.name() == name) {
                Some(candidate) => self.choices.insert_order(ops[0].key, candidate.order()),
                None => self.unmet.push(format!("{}: {name}", ops[0].key)),
            }
        }
    }

    /// What the user should know of it, once.
    pub fn notes(&mut self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.ambiguous > 0 {
            notes.push(format!(
                "the checkpoint is of an earlier version, whose record of kernels cannot tell some convolutions apart ({} entries): \
                 their kernels are chosen anew, so results may differ in the last bits from a run without the restart",
                self.ambiguous
            ));
            self.ambiguous = 0;
        }
        if let Some(first) = self.unmet.first() {
            notes.push(format!(
                "{} of the recorded kernels are not to be had on this device ({first}): others are taken, so results may differ in the \
                 last bits from the run so far",
                self.unmet.len()
            ));
            self.unmet.clear();
        }
        notes
    }
}

/// How earlier versions knew an op.
fn shapes_of(op: &DraftedOp<'_>) -> String {
    let shapes = |tensors: &[crate::graph::Tensor]| {
        tensors.iter().map(|t| t.shape.to_string()).collect::<Vec<_>>().join(" ")
    };
    format!("{}: {}{ARROW}{}", op.name, shapes(&op.io.inputs), shapes(&op.io.outputs))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{Gpu, Options};
    use crate::graph::{DraftOptions, Graph};
    use crate::ops::conv2d::{Conv2d, Epilogue, conv2d};

    /// Two convolutions of equal shapes and other dilations.
    fn draft(gpu: &Gpu, dilations: &[usize]) -> Draft {
        let mut graph = Graph::new();
        let mut x = graph.input("x", [1, 8, 8, 32]);
        for (i, &dilation) in dilations.iter().enumerate() {
            let w = graph.parameter("weights", &format!("w{i}"), [32, 32, 3, 3]).unwrap();
            let geometry = Conv2d { stride: 1, pad: [dilation; 4], dilation };
            x = conv2d(&mut graph, x, None, w, geometry, Epilogue::default()).unwrap();
        }
        Draft::new(&graph, &[x], gpu.capabilities(), DraftOptions::default()).unwrap()
    }

    #[test]
    fn a_draft_through_its_own_record_is_the_same_draft() {
        let gpu = Gpu::open(&Options::default()).unwrap();
        let draft = draft(&gpu, &[1, 2]);
        let mut record = KernelRecord::default();
        let first = record.settle(&draft, &Kernels::default()).unwrap();
        let mut again = KernelRecord::new(record.orders());
        assert_eq!(again.settle(&draft, &Kernels::default()).unwrap().choices(), first.choices());
        assert_eq!(again.notes(), Vec::<String>::new());
    }

    #[test]
    fn old_records_are_taken_where_they_are_clear_and_left_where_they_are_not() {
        let gpu = Gpu::open(&Options::default()).unwrap();
        let old = BTreeMap::from([("conv2d: 1x8x8x32 32x32x3x3 -> 1x8x8x32".to_owned(), "plain".to_owned())]);
        let mut record = KernelRecord::new(old.clone());
        let clear = record.settle(&draft(&gpu, &[1, 1]), &Kernels::default()).unwrap();
        assert!(clear.chosen().iter().all(|c| c.name() == "plain"));
        assert_eq!(record.notes(), Vec::<String>::new());

        let both = draft(&gpu, &[1, 2]);
        let mut record = KernelRecord::new(old);
        assert_eq!(record.settle(&both, &Kernels::default()).unwrap().choices(), both.choices());
        let notes = record.notes();
        assert!(notes.len() == 1 && notes[0].contains("chosen anew"), "{notes:?}");
        assert_eq!(record.notes(), Vec::<String>::new(), "said twice");
        assert!(record.orders().keys().all(|key| !key.contains(ARROW)));
    }

    #[test]
    fn kernels_that_do_not_exist_are_told() {
        let gpu = Gpu::open(&Options::default()).unwrap();
        let draft = draft(&gpu, &[1]);
        let key = draft.chosen()[0].key.without_images();
        let mut record = KernelRecord::new(BTreeMap::from([(key, "winograd9".to_owned())]));
        assert_eq!(record.settle(&draft, &Kernels::default()).unwrap().choices(), draft.choices());
        assert!(record.notes()[0].contains("winograd9"));
    }
}
