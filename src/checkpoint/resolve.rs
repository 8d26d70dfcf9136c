//! A network's weights and their average among the tensors of a file, whatever program wrote it.

use super::places::{Role, prefixes_of, role_of_prefix};
use super::{Tensor, Tensors};
use crate::error::{Error, Result};
use crate::models::Network;

/// Where a network's parameters stand among tensors: the name of each.
struct Names {
    prefix: String,
    names: Vec<String>,
}

/// What was found of a network.
pub(super) struct Resolved {
    /// The weights, under our names; the average where there is nothing else.
    pub(super) raw: Tensors,
    /// The average, under our names; why it cannot be used where it cannot.
    pub(super) ema: Option<Result<Tensors>>,
    /// There are no raw weights.
    pub(super) only_average: bool,
    /// Which tensors were taken, in words.
    pub(super) taken: String,
}

impl Resolved {
    /// Weights and nothing else.
    pub(super) fn only(raw: Tensors) -> Self {
        Self { raw, ema: None, only_average: false, taken: String::new() }
    }
}

/// An average that a file keeps apart from the weights.
pub(super) struct Apart {
    /// Where, for messages.
    pub(super) place: String,
    /// By the authors' names, with or without a prefix.
    pub(super) tensors: Result<Tensors>,
}

/// Finds a network's parameters in `tensors` and their average there or `apart`. `theirs` are the names that the authors' code gives the
/// parameters, in order.
pub(super) fn resolve(
    tensors: &Tensors,
    apart: Option<Apart>,
    network: &dyn Network,
    theirs: &[String],
) -> Result<Resolved> {
    let ours: Vec<String> = network.manifest().params().iter().map(|p| p.name.clone()).collect();
    let schemes: [&[String]; 2] = [&ours, theirs];
    let raw_names = copies(tensors, network, &schemes).into_iter().filter(|(role, _)| *role != Role::Average);
    let raw_names: Vec<(Role, Names)> = raw_names.collect();
    let average_inside = copies(tensors, network, &schemes)
        .into_iter()
        .find(|(role, _)| *role == Role::Average)
        .map(|(_, n)| n);
    let raw = match raw_names.first() {
        Some((Role::Unknown, names)) if raw_names.len() > 1 => {
            let problem = format!(
                "it holds the network {} times, among others under {:?} and {:?}; keep one of them",
                raw_names.len(),
                names.prefix,
                raw_names[1].1.prefix
            );
            return Err(Error::format(tensors.origin(), problem));
        }
        Some((_, names)) => Some((renamed(tensors, network, names, None)?, names)),
        None => None,
    };
    let fallback = raw.as_ref().map(|(_, names)| (tensors, *names));
    let (average, place) = match apart {
        Some(Apart { place, tensors: Ok(apart) }) => {
            (Some(average_apart(&apart, network, &schemes, fallback)), place)
        }
        Some(Apart { place, tensors: Err(error) }) => (Some(Err(error)), place),
        None => match &average_inside {
            Some(names) => (Some(renamed(tensors, network, names, fallback)), names.prefix.clone()),
            None => (None, String::new()),
        },
    };
    let place = place.trim_end_matches('.');
    match (raw, average) {
        (Some((raw, names)), None) => {
            let taken = match names.prefix.trim_end_matches('.') {
                "" => String::new(),
                prefix => format!("the weights are those under {prefix:?}"),
            };
            Ok(Resolved { raw, ema: None, only_average: false, taken })
        }
        (Some((raw, _)), Some(average)) => {
            let taken = match &average {
                Ok(_) => format!("the average of the weights is that under {place:?}"),
                Err(error) => format!("the average under {place:?} cannot be used: {error}"),
            };
            Ok(Resolved { raw, ema: Some(average), only_average: false, taken })
        }
        (None, Some(average)) => {
            let taken = format!("the file holds no weights but an average, under {place:?}");
            Ok(Resolved { raw: average?, ema: None, only_average: true, taken })
        }
        // The error that names what is missing.
        (None, None) => {
            let names = Names { prefix: String::new(), names: theirs.to_vec() };
            let raw = renamed(tensors, network, &names, None)?;
            Ok(Resolved { raw, ema: None, only_average: false, taken: String::new() })
        }
    }
}

/// An average that stands by itself: that under a name of an average where there is one (`ema_model.` beside `online_model.`).
fn average_apart(
    tensors: &Tensors,
    network: &dyn Network,
    schemes: &[&[String]],
    fallback: Option<(&Tensors, &Names)>,
) -> Result<Tensors> {
    let mut found = copies(tensors, network, schemes);
    found.sort_by_key(|(role, _)| *role != Role::Average);
    match found.into_iter().next() {
        Some((_, names)) => renamed(tensors, network, &names, fallback),
        None => {
            let names =
                Names { prefix: String::new(), names: schemes.last().map_or(Vec::new(), |n| n.to_vec()) };
            renamed(tensors, network, &names, fallback)
        }
    }
}

/// Every copy of the network among `tensors`, the plainest prefix first. The first parameter that is trained shows where one is.
fn copies(tensors: &Tensors, network: &dyn Network, schemes: &[&[String]]) -> Vec<(Role, Names)> {
    let params = network.manifest().params();
    let Some(first) = params.iter().position(|p| p.trainable) else { return Vec::new() };
    let mut found = Vec::new();
    for names in schemes {
        for prefix in prefixes_of(tensors.names(), &names[first]) {
            let names = names.iter().map(|name| format!("{prefix}{name}")).collect();
            found.push((role_of_prefix(&prefix), Names { prefix, names }));
        }
        // Lightning's average has names without dots behind its prefix.
        let squeezed: Vec<String> = names.iter().map(|name| name.replace('.', "")).collect();
        if squeezed[first] != names[first] {
            for prefix in prefixes_of(tensors.names(), &squeezed[first]) {
                if role_of_prefix(&prefix) == Role::Average {
                    let names = squeezed.iter().map(|name| format!("{prefix}{name}")).collect();
                    found.push((Role::Average, Names { prefix, names }));
                }
            }
        }
        if !found.is_empty() {
            break;
        }
    }
    found
}

/// The network's parameters under our names. What is not trained may be missing in an average and is taken from `fallback` then.
fn renamed(
    tensors: &Tensors,
    network: &dyn Network,
    names: &Names,
    fallback: Option<(&Tensors, &Names)>,
) -> Result<Tensors> {
    let mut out = Tensors::new(tensors.origin());
    for (i, (param, name)) in network.manifest().params().iter().zip(&names.names).enumerate() {
        let tensor: &Tensor = match fallback {
            Some((other, others)) if !param.trainable && !tensors.contains(name) => {
                other.require(&others.names[i], &param.shape)?
            }
            _ => tensors.require(name, &param.shape)?,
        };
        out.insert(param.name.as_str(), tensor.clone())?;
    }
    Ok(out)
}
