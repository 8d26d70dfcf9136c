//! One card under several backends, and which adapter is taken.
//!
//! Windows lists most cards under Vulkan and under Direct3D 12. Adapters of one kind with the same vendor and device number, or of one
//! name where a driver gives no numbers, are the same card. A card's backends stand in the order of [`Backend::ALL`]: Vulkan first, whose
//! drivers compile kernels themselves and show f16, subgroups and cooperative matrices; Direct3D 12 last, where FXC knows none of them.

use super::adapter::{AdapterReport, DeviceKind};
use super::backend::Backend;
use crate::error::{Error, Result};

/// What tells cards apart: PCI numbers of vendor and device, 0 where they are unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Numbers {
    pub vendor: u32,
    pub device: u32,
}

/// Sorts adapters by kind, cards of a kind by their place in the system's list, and backends of a card by preference. `index` and
/// `card` of the reports are set; what comes along with a report stays with it.
pub(super) fn sort<T>(mut found: Vec<(AdapterReport, Numbers, T)>) -> Vec<(AdapterReport, T)> {
    found.sort_by_key(|(report, ..)| report.kind);
    // Of each card: the adapters found so far.
    let mut cards: Vec<Vec<(AdapterReport, Numbers, T)>> = Vec::new();
    for adapter in found {
        // Of two equal cards each backend lists both, so the second goes to the card that still lacks its backend.
        let is_it = |card: &&mut Vec<(AdapterReport, Numbers, T)>| {
            let (first, numbers, _) = &card[0];
            let known = numbers.vendor != 0 && numbers.device != 0;
            let same = (known && *numbers == adapter.1) || first.name.eq_ignore_ascii_case(&adapter.0.name);
            same && first.kind == adapter.0.kind && card.iter().all(|(r, ..)| r.backend != adapter.0.backend)
        };
        match cards.iter_mut().find(is_it) {
            Some(card) => card.push(adapter),
            None => cards.push(vec![adapter]),
        }
    }
    let mut all = Vec::new();
    for (number, mut card) in cards.into_iter().enumerate() {
        card.sort_by_key(|(report, ..)| Backend::ALL.iter().position(|b| b.name() == report.backend));
        for (mut report, _, raw) in card {
            (report.index, report.card) = (all.len(), number);
            all.push((report, raw));
        }
    }
    all
}

/// The adapters to open, in order, and why in words. The others are those of the same card; a wish that names one adapter or a backend
/// has no others.
pub(super) struct Pick {
    pub order: Vec<usize>,
    pub reason: String,
}

/// Chooses by `wanted`: an index, a part of a name, `cpu`, a backend, or `NAME:BACKEND`. Else the best.
pub(super) fn pick(all: &[AdapterReport], wanted: Option<&str>) -> Result<Option<Pick>> {
    let Some(best) = all.first() else { return Ok(None) };
    let Some(wanted) = wanted.map(str::to_lowercase) else {
        let order = backends_of(all, best);
        let kind = best.kind.name();
        let cards = all.last().map_or(0, |last| last.card + 1);
        let mut reason = match cards {
            1 => format!("the only adapter, {kind}"),
            _ => format!("the first {kind} one; discrete comes before integrated, virtual and software"),
        };
        if order.len() > 1 {
            reason += &format!("; of its backends {} comes first", best.backend);
        }
        return Ok(Some(Pick { order, reason }));
    };
    let named = |name: &str, report: &AdapterReport| match name.parse::<usize>() {
        Ok(index) => report.index == index,
        Err(_) if name == "cpu" => report.kind == DeviceKind::Software,
        Err(_) => report.name.to_lowercase().contains(name),
    };
    let is_backend = |word: &&str| Backend::ALL.iter().any(|backend| backend.name() == *word);
    let backend = wanted.rsplit(':').next().filter(is_backend);
    let name = match backend {
        Some(backend) => wanted.strip_suffix(backend).unwrap_or("").trim_end_matches(':'),
        None => &wanted,
    };
    let fits = |r: &&AdapterReport| {
        backend.is_none_or(|backend| r.backend == backend) && (name.is_empty() || named(name, r))
    };
    let Some(found) = all.iter().find(fits) else {
        let known = all
            .iter()
            .map(|r| format!("{} ({}, {})", r.index, r.name, r.backend))
            .collect::<Vec<_>>()
            .join(", ");
        return Err(Error::UnknownDevice { asked: format!("{wanted:?}"), known });
    };
    let exact = backend.is_some() || name.parse::<usize>().is_ok();
    let order = if exact { vec![found.index] } else { backends_of(all, found) };
    Ok(Some(Pick { order, reason: format!("asked for as {wanted}") }))
}

/// `first` and then the other adapters of its card.
fn backends_of(all: &[AdapterReport], first: &AdapterReport) -> Vec<usize> {
    let others = all.iter().filter(|r| r.card == first.card && r.index != first.index);
    std::iter::once(first.index).chain(others.map(|r| r.index)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, kind: DeviceKind, backend: &str, numbers: [u32; 2]) -> (AdapterReport, Numbers, ()) {
        let report = AdapterReport {
            name: name.to_owned(),
            backend: backend.to_owned(),
            ..super::super::adapter::tests::report(kind, None)
        };
        (report, Numbers { vendor: numbers[0], device: numbers[1] }, ())
    }

    /// A laptop under Windows: an integrated and a discrete GPU under both backends, and the system's software device.
    fn laptop() -> Vec<AdapterReport> {
        use DeviceKind::{Discrete, Integrated, Software};
        let all = vec![
            found("Intel(R) Iris(R) Xe Graphics", Integrated, "dx12", [0x8086, 0x9a49]),
            found("NVIDIA GeForce RTX 3050", Discrete, "dx12", [0x10de, 0x25a2]),
            found("Microsoft Basic Render Driver", Software, "dx12", [0x1414, 0x8c]),
            found("NVIDIA GeForce RTX 3050 Laptop GPU", Discrete, "vulkan", [0x10de, 0x25a2]),
            found("Intel(R) Iris(R) Xe Graphics", Integrated, "vulkan", [0x8086, 0x9a49]),
        ];
        sort(all).into_iter().map(|(report, ())| report).collect()
    }

    fn order(all: &[AdapterReport], wanted: Option<&str>) -> Vec<usize> {
        pick(all, wanted).unwrap().unwrap().order
    }

    #[test]
    fn a_card_stands_once_with_its_backends() {
        let all = laptop();
        let shown: Vec<_> = all.iter().map(|r| (r.index, r.card, r.backend.as_str(), r.kind)).collect();
        use DeviceKind::{Discrete, Integrated, Software};
        let expected = [
            (0, 0, "vulkan", Discrete),
            (1, 0, "dx12", Discrete),
            (2, 1, "vulkan", Integrated),
            (3, 1, "dx12", Integrated),
            (4, 2, "dx12", Software),
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn equal_cards_are_two() {
        let one = |backend| found("AMD Radeon RX 6800", DeviceKind::Discrete, backend, [0x1002, 0x73bf]);
        let all = sort(vec![one("vulkan"), one("vulkan"), one("dx12"), one("dx12")]);
        let cards: Vec<_> = all.iter().map(|(r, ())| (r.card, r.backend.as_str())).collect();
        assert_eq!(cards, [(0, "vulkan"), (0, "dx12"), (1, "vulkan"), (1, "dx12")]);
    }

    #[test]
    fn the_next_backend_stands_behind_the_first() {
        let all = laptop();
        assert_eq!(order(&all, None), [0, 1]);
        assert_eq!(order(&all, Some("Iris")), [2, 3]);
        assert_eq!(order(&all, Some("CPU")), [4]);
    }

    #[test]
    fn a_backend_that_is_named_stands_alone() {
        let all = laptop();
        assert_eq!(order(&all, Some("dx12")), [1]);
        assert_eq!(order(&all, Some("iris:dx12")), [3]);
        assert_eq!(order(&all, Some("cpu:dx12")), [4]);
        assert_eq!(order(&all, Some("3")), [3]);
        let refused = pick(&all, Some("iris:metal")).err().unwrap().to_string();
        assert!(refused.contains("iris:metal") && refused.contains("0 (NVIDIA"), "{refused}");
        assert!(pick(&[], None).unwrap().is_none());
    }
}
