//! How a draft chooses among the candidates of an op. All of it is data: nothing here knows a device or a clock.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::candidate::Candidate;
use super::class::Class;
use super::key::OpKey;

/// A candidate that was not chosen.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rival {
    /// Class and variant.
    pub name: String,
    /// Why not, in words.
    pub why: String,
}

/// What was chosen for ops, by their keys: an order of summation for all numbers of images, and a candidate of that order for one
/// number of images. A tuner makes such a table, a checkpoint records the orders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choices {
    orders: BTreeMap<String, String>,
    members: BTreeMap<String, String>,
}

impl Choices {
    /// A table of orders of summation alone, by [`OpKey::without_images`]: what [`Choices::orders`] gives.
    pub fn of_orders(orders: BTreeMap<String, String>) -> Self {
        Self { orders, members: BTreeMap::new() }
    }

    /// A table of orders and of candidates.
    pub(super) fn new(orders: BTreeMap<String, String>, members: BTreeMap<String, String>) -> Self {
        Self { orders, members }
    }

    /// The orders of summation, by [`OpKey::without_images`].
    pub fn orders(&self) -> &BTreeMap<String, String> {
        &self.orders
    }

    /// The candidates, by the whole key.
    pub(super) fn members(&self) -> &BTreeMap<String, String> {
        &self.members
    }

    /// The order that the table has for an op.
    pub fn order(&self, key: &OpKey) -> Option<&str> {
        self.orders.get(&key.without_images()).map(String::as_str)
    }

    /// The candidate that the table has for an op with as many images.
    pub(super) fn member(&self, key: &OpKey) -> Option<&str> {
        self.members.get(&key.to_string()).map(String::as_str)
    }

    /// Notes the order and the candidate for an op.
    pub fn insert(&mut self, key: &OpKey, candidate: &Candidate) {
        self.insert_chosen(key, candidate.order(), candidate.name());
    }

    pub(super) fn insert_chosen(&mut self, key: &OpKey, order: String, name: String) {
        self.insert_order(key, order);
        self.members.insert(key.to_string(), name);
    }

    /// Notes the candidate alone, for wherever its order is taken.
    pub(super) fn insert_member(&mut self, key: &OpKey, candidate: &Candidate) {
        self.members.insert(key.to_string(), candidate.name());
    }

    /// Notes the order alone.
    pub fn insert_order(&mut self, key: &OpKey, order: impl Into<String>) {
        self.orders.insert(key.without_images(), order.into());
    }

    /// Adds what `other` has; where both have something it is `other`'s.
    pub fn extend(&mut self, other: &Self) {
        self.orders.extend(other.orders.clone());
        self.members.extend(other.members.clone());
    }

    /// True where nothing is noted.
    pub fn is_empty(&self) -> bool {
        self.orders.is_empty()
    }

    /// The index of what the table has for an op. A candidate that it names is taken where it still has the order, else the first of the
    /// order; none where the op is unknown to the table or has no candidate of that order.
    fn find(&self, key: &OpKey, candidates: &[Candidate]) -> Option<(usize, Settled)> {
        let order = self.order(key)?;
        let of_order = |candidate: &Candidate| candidate.order() == order;
        let named = self.member(key).and_then(|name| {
            candidates.iter().position(|candidate| candidate.name() == name && of_order(candidate))
        });
        match named {
            Some(index) => Some((index, Settled::Kernel)),
            None => Some((candidates.iter().position(of_order)?, Settled::Order)),
        }
    }
}

/// How a draft chooses.
#[derive(Clone, Debug, Default)]
pub enum Choice {
    /// The first candidate of the op's own list.
    #[default]
    Written,
    /// The first candidate of one of these classes where there is one, else the first.
    Classes(Vec<Class>),
    /// The candidate of this index, or the last one of ops that have fewer: tests and benchmarks go through all of them, and
    /// [`Choice::LAST`] is the plainest of each op.
    Nth(usize),
    /// What the table has; what the other says for ops that the table does not know.
    Table(Arc<Choices>, Box<Choice>),
}

/// How much of a choice a table had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Nothing.
    Open,
    /// The order of summation.
    Order,
    /// The order, and the candidate for this number of images.
    Kernel,
}

/// What a choice came to.
pub(super) struct Outcome {
    /// The candidate.
    pub(super) index: usize,
    pub(super) settled: Settled,
    /// The order that a table had and that no candidate has.
    pub(super) unmet: Option<String>,
}

impl Choice {
    /// The last candidate of each op, which is the plainest.
    pub const LAST: Self = Self::Nth(usize::MAX);

    /// What `table` has for the ops that it knows, and this choice for all others.
    pub fn with_table(self, table: Choices) -> Self {
        Self::Table(Arc::new(table), Box::new(self))
    }

    /// Why a candidate was not taken, in words.
    pub(super) fn reason(&self, candidate: &Candidate) -> &'static str {
        match self {
            Self::Written | Self::Classes(_) if candidate.arithmetic.is_reduced() => {
                "rounds to f16, and was not asked for"
            }
            Self::Written => "later in the written order",
            Self::Classes(_) => "later in the written order, or of a class that was not asked for",
            Self::Nth(_) => "another one was asked for by its index",
            Self::Table(..) if candidate.arithmetic.is_reduced() => "rounds to f16: not asked for, or slower",
            Self::Table(..) => {
                "slower by time, not recorded, or later in the written order where nothing was timed"
            }
        }
    }

    pub(super) fn outcome(&self, key: &OpKey, candidates: &[Candidate]) -> Outcome {
        // What rounds more than f32 does is taken by name only.
        let first = || candidates.iter().position(|c| !c.arithmetic.is_reduced()).unwrap_or(0);
        let plainly = |index| Outcome { index, settled: Settled::Open, unmet: None };
        match self {
            Self::Written => plainly(first()),
            Self::Classes(classes) => {
                let named = |class: &Class| candidates.iter().position(|c| c.class == *class);
                plainly(classes.iter().find_map(named).unwrap_or_else(first))
            }
            Self::Nth(index) => plainly((*index).min(candidates.len() - 1)),
            Self::Table(table, base) => match table.find(key, candidates) {
                Some((index, settled)) => Outcome { index, settled, unmet: None },
                None => {
                    let unmet = table.order(key).map(|order| format!("{key}: {order}"));
                    let outcome = base.outcome(key, candidates);
                    Outcome { unmet: unmet.or(outcome.unmet.clone()), ..outcome }
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates() -> [Candidate; 4] {
        let of = |class, variant: &str, order: &str| {
            Candidate::of_class(class, Vec::new()).variant(variant).in_order(order)
        };
        [
            of(Class::Gemm, "tile64", "gemm"),
            of(Class::Gemm, "tile128", "gemm"),
            of(Class::Implicit, "tile64", "implicit"),
            of(Class::Plain, "", ""),
        ]
    }

    #[test]
    fn a_table_settles_the_order_for_all_batches_and_the_candidate_for_one() {
        let key = |n| OpKey::new("conv2d.forward").images(n);
        let all = candidates();
        let mut table = Choices::default();
        table.insert(&key(8), &all[1]);
        let choice = Choice::Written.with_table(table);
        let taken = |n| choice.outcome(&key(n), &all);
        assert_eq!((taken(8).index, taken(8).settled), (1, Settled::Kernel));
        assert_eq!((taken(1).index, taken(1).settled), (0, Settled::Order), "another member of the order");
        let other = choice.outcome(&OpKey::new("conv2d.grad_input").images(8), &all);
        assert_eq!((other.index, other.settled), (0, Settled::Open));
    }

    #[test]
    fn an_order_that_no_candidate_has_is_told() {
        let key = OpKey::new("conv2d.forward");
        let mut table = Choices::default();
        table.insert_order(&key, "winograd9");
        let outcome = Choice::Nth(2).with_table(table).outcome(&key, &candidates());
        assert_eq!((outcome.index, outcome.settled), (2, Settled::Open));
        assert_eq!(outcome.unmet.as_deref(), Some("conv2d.forward: winograd9"));
    }

    #[test]
    fn classes_are_taken_in_the_order_in_which_they_are_asked_for() {
        let key = OpKey::new("conv2d.forward");
        let taken = |classes: &[Class]| Choice::Classes(classes.into()).outcome(&key, &candidates()).index;
        assert_eq!(taken(&[Class::Implicit, Class::Gemm]), 2);
        assert_eq!(taken(&[Class::Winograd4]), 0);
        assert_eq!(Choice::LAST.outcome(&key, &candidates()).index, 3);
    }
}
