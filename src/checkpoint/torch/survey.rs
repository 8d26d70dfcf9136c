//! What a file of `torch.save` holds, and which of it are the weights, their average and the optimizer.

use std::collections::{BTreeMap, HashSet};

use super::TorchCheckpoint;
use super::reader::{Group, Reader};
use super::state::{Adam, AdamMoments, Ema, Found, Part};
use crate::Result;
use crate::checkpoint::pickle::{NodeId, Value};
use crate::checkpoint::places::{Role, role};
use crate::checkpoint::tensors::Tensors;

/// Bytes of a tensor's name; the longest of the authors' networks has about 40.
const MAX_NAME: usize = 1024;
/// Fields of an optimizer's state of one parameter.
const MAX_FIELDS: usize = 32;
/// Dicts within dicts that are looked through.
const MAX_DEPTH: usize = 4;
/// Dicts that are looked through, and things at the top of a file that are told.
const MAX_PLACES: usize = 64;
/// Keys under which training programs keep the step.
const STEPS: &[&str] = &["step", "global_step", "iteration", "iterations", "iter", "it", "steps"];

/// Tensors that stand together in a file.
struct Set {
    /// The keys that lead there, with dots between.
    place: String,
    role: Role,
    /// A dict, or the list of an average.
    value: Value,
    tensors: usize,
}

impl Reader<'_> {
    pub(super) fn checkpoint(mut self, zip: bool) -> Result<TorchCheckpoint> {
        let (pickle, root) = (self.pickle, self.pickle.root);
        if pickle.pairs(root).is_none() && pickle.items(root).is_none() {
            return Err(self.source.bad(format!(
                "it holds {}, not a dict of tensors; save `model.state_dict()` instead",
                pickle.kind(root)
            )));
        }
        let mut seen = HashSet::new();
        let mut sets = match pickle.items(root) {
            Some(items) => self.of_list(items, &mut seen),
            None => self.sets(root, String::new(), Role::Raw(0), 0, &mut seen),
        };
        let raw = best(&sets, |role| role != Role::Average);
        let average = best(&sets, |role| role == Role::Average);
        if raw.is_none() && average.is_none() {
            let odd = self.odd().map_or(String::new(), |(place, kind)| format!("; {place:?} is {kind}"));
            return Err(self.source.bad(format!("it holds no tensor by name; is it a checkpoint?{odd}")));
        }
        let model = match raw {
            Some(at) => self.state_dict(sets[at].value)?,
            None => Tensors::new(self.source.path()),
        };
        let ema = average.map(|at| self.ema(&sets[at]));
        let optimizer = self.optimizer();
        let step = self.step();
        let parts = [(raw, Part::Weights), (average, Part::Average)];
        let chosen: Vec<(String, Part, usize)> = parts
            .into_iter()
            .filter_map(|(at, part)| {
                at.map(|at| (std::mem::take(&mut sets[at].place), part, sets[at].tensors))
            })
            .collect();
        let optimizer = optimizer.map(|value| self.adam(value));
        let found = self.found(&chosen);
        Ok(TorchCheckpoint { model, ema, optimizer, step, zip, found })
    }

    /// A pair of the root's keys and values, or its items by their numbers.
    fn top(&self) -> Vec<(String, Value)> {
        let pickle = self.pickle;
        let shown = |key: &Value| pickle.str(*key).map_or_else(|| pickle.kind(*key), short);
        match pickle.items(pickle.root) {
            Some(items) => {
                items.iter().enumerate().map(|(i, v)| (i.to_string(), *v)).take(MAX_PLACES).collect()
            }
            None => {
                let pairs = pickle.pairs(pickle.root).unwrap_or_default();
                pairs.iter().map(|(key, value)| (shown(key), *value)).take(MAX_PLACES).collect()
            }
        }
    }

    /// The lists of the code bases of NCSNv2 and DDIM: [model, optimizer, epoch, step, average by name].
    fn of_list(&self, items: &[Value], seen: &mut HashSet<NodeId>) -> Vec<Set> {
        let mut sets: Vec<Set> = Vec::new();
        for (i, item) in items.iter().enumerate().take(MAX_PLACES) {
            let role = if sets.is_empty() { Role::Raw(0) } else { Role::Average };
            sets.extend(self.sets(*item, i.to_string(), role, 1, seen));
        }
        sets
    }

    /// The sets of tensors within a dict.
    fn sets(
        &self,
        value: Value,
        place: String,
        role_here: Role,
        depth: usize,
        seen: &mut HashSet<NodeId>,
    ) -> Vec<Set> {
        let pickle = self.pickle;
        // A shared dict or list is looked through once.
        let fresh = |value, seen: &mut HashSet<NodeId>| match value {
            Value::Node(id) => seen.len() < MAX_PLACES && seen.insert(id),
            _ => false,
        };
        let Some(pairs) = pickle.pairs(value) else { return Vec::new() };
        if depth > MAX_DEPTH || !fresh(value, seen) {
            return Vec::new();
        }
        if self.is_optimizer(value) {
            return Vec::new();
        }
        let mut own = 0;
        let mut inner = Vec::new();
        for (key, value) in pairs {
            let Some(key) = pickle.str(*key) else { continue };
            if pickle.is_tensor(*value) {
                own += 1;
                continue;
            }
            if key.len() > MAX_NAME {
                continue;
            }
            let (list, dict) = (pickle.items(*value), pickle.pairs(*value));
            if list.is_none() && dict.is_none() {
                continue;
            }
            let below = if place.is_empty() { short(key) } else { format!("{place}.{}", short(key)) };
            // Whatever lies within an average is one.
            let role_there = if role_here == Role::Average { Role::Average } else { role(key) };
            match list {
                None => inner.extend(self.sets(*value, below, role_there, depth + 1, seen)),
                Some(items) if role_there == Role::Average && !items.is_empty() && fresh(*value, seen) => {
                    if items.iter().all(|item| pickle.is_tensor(*item)) {
                        inner.push(Set {
                            place: below,
                            role: role_there,
                            value: *value,
                            tensors: items.len(),
                        });
                    }
                }
                Some(_) => {}
            }
        }
        // A few tensors beside sets of them are counters.
        let most = inner.iter().map(|set| set.tensors).max().unwrap_or(0);
        if 2 * own > most {
            inner.push(Set { place, role: role_here, value, tensors: own });
        }
        inner
    }

    fn is_optimizer(&self, dict: Value) -> bool {
        let has = |key| self.pickle.field(dict, key).is_some();
        has("state") && has("param_groups")
    }

    /// The first optimizer at the top.
    fn optimizer(&self) -> Option<Value> {
        let pickle = self.pickle;
        let all = self.top();
        let named = all.iter().find(|(key, value)| key == "optimizer" && pickle.pairs(*value).is_some());
        named.or_else(|| all.iter().find(|(_, value)| self.is_optimizer(*value))).map(|(_, value)| *value)
    }

    /// The step, where it is a count; in a list the last number.
    fn step(&mut self) -> Option<u64> {
        let (pickle, root) = (self.pickle, self.pickle.root);
        let value = match pickle.items(root) {
            Some(items) => items.iter().rev().find(|item| matches!(item, Value::Int(_))).copied(),
            None => STEPS.iter().find_map(|key| pickle.field(root, key)),
        };
        value.and_then(|value| self.count(value, "step").ok())
    }

    /// The first object at the top that is not understood.
    fn odd(&self) -> Option<(String, String)> {
        let all = self.top();
        all.into_iter()
            .find(|(_, value)| self.pickle.opaque(*value).is_some())
            .map(|(place, value)| (place, self.pickle.kind(value)))
    }

    fn found(&self, chosen: &[(String, Part, usize)]) -> Vec<Found> {
        let inside = |place: &str, key: &str| {
            place.is_empty()
                || place == key
                || place.strip_prefix(key).is_some_and(|rest| rest.starts_with('.'))
        };
        let mut found: Vec<Found> = Vec::new();
        for (place, part, tensors) in chosen {
            found.push(Found { place: place.clone(), what: format!("{tensors} tensors"), part: *part });
        }
        // The tensors of a plain state dict are not told one by one.
        if chosen.iter().any(|(place, ..)| place.is_empty()) {
            return found;
        }
        for (key, value) in self.top() {
            if chosen.iter().any(|(place, ..)| inside(place, &key)) {
                continue;
            }
            let part = match value {
                _ if self.is_optimizer(value) => Part::Optimizer,
                Value::Int(_) if STEPS.contains(&key.as_str()) => Part::Step,
                _ => Part::Other,
            };
            let what = match value {
                Value::Int(n) => n.to_string(),
                Value::Float(x) => x.to_string(),
                Value::Bool(b) => b.to_string(),
                _ => self.pickle.kind(value),
            };
            found.push(Found { place: key, what, part });
        }
        found
    }

    fn state_dict(&mut self, dict: Value) -> Result<Tensors> {
        let pickle = self.pickle;
        let mut tensors = Tensors::new(self.source.path());
        let mut group = Group::new(self.source);
        for (key, value) in pickle.pairs(dict).unwrap_or_default() {
            let Some(key) = pickle.str(*key) else {
                return Err(self.source.bad("a state dict has a key that is no string"));
            };
            if key.len() > MAX_NAME {
                return Err(self.source.bad(format!("a state dict has a name of {} bytes", key.len())));
            }
            if pickle.is_tensor(*value) {
                let tensor = self.tensor(*value, key, &mut group)?;
                tensors.insert(key, tensor)?;
            } else if pickle.opaque(*value).is_some() {
                // It matters only to who asks for it. Numbers beside the tensors (versions, counters) are no weights.
                let what = pickle.kind(*value);
                self.budget.charge((key.len() + what.len()) as u64 + 192).map_err(|e| self.source.bad(e))?;
                tensors.insert_other(key, what);
            }
        }
        tensors.unwrapped()
    }

    fn ema(&mut self, set: &Set) -> Result<Ema> {
        let pickle = self.pickle;
        // What stands beside the tensors: their dict's own fields, or those of the dict around it.
        let top = set.place.split('.').next().unwrap_or_default();
        let around = pickle.field(pickle.root, top).filter(|value| pickle.pairs(*value).is_some());
        let field = |key| around.and_then(|dict| pickle.field(dict, key));
        let decay = match field("decay") {
            Some(Value::Float(decay)) => Some(decay),
            Some(Value::Int(decay)) => Some(decay as f64),
            _ => None,
        };
        let updates = field("num_updates").or_else(|| field("optimization_step"));
        let num_updates = updates.and_then(|count| self.count(count, "num_updates").ok());
        let mut ema = Ema {
            place: set.place.clone(),
            decay,
            num_updates,
            shadow_params: Vec::new(),
            by_name: Tensors::new(self.source.path()),
        };
        match pickle.items(set.value) {
            None => ema.by_name = self.state_dict(set.value)?,
            Some(list) => {
                let mut group = Group::new(self.source);
                for (i, value) in list.iter().enumerate() {
                    let what = format!("{}[{i}]", set.place);
                    ema.shadow_params.push(self.tensor(*value, &what, &mut group)?);
                }
            }
        }
        Ok(ema)
    }

    fn adam(&mut self, optimizer: Value) -> Result<Adam> {
        let pickle = self.pickle;
        let pairs = pickle.field(optimizer, "state").and_then(|state| pickle.pairs(state));
        let pairs = pairs.ok_or_else(|| self.source.bad("optimizer.state is missing or no dict"))?;
        let mut state = BTreeMap::new();
        let mut groups = [Group::new(self.source), Group::new(self.source)];
        for (key, value) in pairs {
            let index = match key {
                Value::Int(index) => usize::try_from(*index).ok(),
                _ => None,
            };
            let index = index.ok_or_else(|| self.source.bad("optimizer.state has a key that is no index"))?;
            let name = |field: &str| format!("optimizer.state[{index}].{field}");
            // Fields are looked for one by one, which must not become long: Adam has three, or four with AMSGrad.
            if pickle.pairs(*value).is_none_or(|fields| fields.len() > MAX_FIELDS) {
                return Err(self.source.bad(format!("optimizer.state[{index}] is not the state of Adam")));
            }
            let get = |field: &str| {
                let missing = || format!("{} is missing: it is not the state of Adam", name(field));
                pickle.field(*value, field).ok_or_else(|| self.source.bad(missing()))
            };
            let (step, m, v) = (get("step")?, get("exp_avg")?, get("exp_avg_sq")?);
            let moments = AdamMoments {
                step: self.count(step, &name("step"))?,
                exp_avg: self.tensor(m, &name("exp_avg"), &mut groups[0])?,
                exp_avg_sq: self.tensor(v, &name("exp_avg_sq"), &mut groups[1])?,
            };
            state.insert(index, moments);
        }
        let first =
            pickle.field(optimizer, "param_groups").and_then(|groups| pickle.items(groups)?.first().copied());
        let lr = match first.and_then(|group| pickle.field(group, "lr")) {
            Some(Value::Float(lr)) => Some(lr),
            Some(Value::Int(lr)) => Some(lr as f64),
            _ => None,
        };
        Ok(Adam { state, lr })
    }
}

/// The best set of a kind: by its place in the table, then by its size; the first of equals.
fn best(sets: &[Set], kind: impl Fn(Role) -> bool) -> Option<usize> {
    let rank = |role| match role {
        Role::Raw(at) => at,
        Role::Average => 0,
        Role::Unknown => usize::MAX,
    };
    let fitting = (0..sets.len()).filter(|at| kind(sets[*at].role));
    fitting.min_by_key(|at| (rank(sets[*at].role), std::cmp::Reverse(sets[*at].tensors)))
}

/// A key for messages: printable, and not long.
fn short(key: &str) -> String {
    key.chars().take(80).flat_map(char::escape_debug).collect()
}
