//! How launches are cut into dispatches and dispatches grouped into submissions: by budgets of time, and by the limit of a grid.

use std::time::Duration;

/// Workgroups that one dispatch may have each way.
const GRID_LIMIT: u32 = 65_535;
/// A dispatch measured above this is cut; half of the promise of 100 ms, since other work may share the device.
pub(super) const DISPATCH_BUDGET: Duration = Duration::from_millis(50);
/// Work in one submission; well under the promise of 500 ms, and long against the 35 µs that a submission costs.
pub(super) const SUBMISSION_BUDGET: Duration = Duration::from_millis(200);

/// The first workgroup of a dispatch, and how many it has each way.
pub(super) type GridBox = ([u32; 3], [u32; 3]);

/// Cuts a grid into boxes of at most [`GRID_LIMIT`] each way, about `parts` of them.
pub(super) fn cut(grid: [u32; 3], parts: u32) -> Vec<GridBox> {
    let longest = (0..3).max_by_key(|&i| grid[i]).unwrap_or(0);
    let mut boxes = vec![([0; 3], grid)];
    for axis in 0..3 {
        let wanted = if axis == longest { parts.clamp(1, grid[axis].max(1)) } else { 1 };
        let size = grid[axis].div_ceil(wanted).min(GRID_LIMIT);
        if size >= grid[axis] {
            continue;
        }
        boxes = boxes
            .into_iter()
            .flat_map(|(origin, extent): GridBox| {
                (0..extent[axis]).step_by(size as usize).map(move |start| {
                    let (mut o, mut e) = (origin, extent);
                    o[axis] += start;
                    e[axis] = size.min(extent[axis] - start);
                    (o, e)
                })
            })
            .collect();
    }
    boxes
}

/// Into how many parts launches that take `times` are cut, so that no part takes longer than `budget`. There are at most `room` parts in
/// all: where that is too few, the launches with most parts are cut less.
pub(super) fn parts(times: &[Duration], budget: Duration, room: usize) -> Vec<u32> {
    let budget = budget.as_nanos().max(1);
    let mut parts: Vec<u32> =
        times.iter().map(|t| t.as_nanos().div_ceil(budget).clamp(1, 1 << 16) as u32).collect();
    while parts.iter().map(|&p| p as usize).sum::<usize>() > room {
        match parts.iter_mut().max() {
            Some(most) if *most > 1 => *most = most.div_ceil(2),
            _ => break,
        }
    }
    parts
}

/// Where submissions end in a list of dispatches that take `times`, and how often the whole list fits into one submission.
pub(super) fn submissions(times: &[Duration]) -> (Vec<usize>, usize) {
    let (mut ends, mut pending, mut total) = (Vec::new(), Duration::ZERO, Duration::ZERO);
    for (at, &time) in times.iter().enumerate() {
        if pending + time > SUBMISSION_BUDGET && !pending.is_zero() {
            ends.push(at);
            pending = Duration::ZERO;
        }
        pending += time;
        total += time;
    }
    ends.push(times.len());
    let fits = SUBMISSION_BUDGET.as_nanos() / total.as_nanos().max(1_000);
    let repeats = if ends.len() == 1 { fits.clamp(1, 32) as usize } else { 1 };
    (ends, repeats)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_cover_the_grid_once() {
        for (grid, parts) in [([1, 1, 1], 4), ([70_000, 3, 1], 1), ([10, 7, 2], 3), ([200_000, 1, 1], 5)] {
            let boxes = cut(grid, parts);
            let cells: u64 =
                boxes.iter().map(|(_, e)| e.iter().map(|&d| u64::from(d)).product::<u64>()).sum();
            assert_eq!(cells, grid.iter().map(|&d| u64::from(d)).product::<u64>(), "{grid:?} in {parts}");
            for (origin, extent) in &boxes {
                for axis in 0..3 {
                    assert!(extent[axis] >= 1 && extent[axis] <= GRID_LIMIT);
                    assert!(origin[axis] + extent[axis] <= grid[axis]);
                }
            }
        }
    }

    #[test]
    fn parts_follow_times_and_keep_to_the_room() {
        let ms = Duration::from_millis;
        assert_eq!(parts(&[ms(0), ms(50), ms(51), ms(500)], ms(50), 100), [1, 1, 2, 10]);
        let few = parts(&[ms(0), ms(50), ms(51), ms(500)], ms(50), 8);
        assert_eq!(few[..3], [1, 1, 2]);
        assert!(few[3] > 1 && few.iter().sum::<u32>() <= 8, "{few:?}");
        assert_eq!(parts(&[ms(500); 4], ms(50), 2), [1; 4], "a launch is one dispatch at least");
    }

    #[test]
    fn submissions_keep_to_the_budget_and_short_lists_are_repeated() {
        let ms = Duration::from_millis;
        assert_eq!(submissions(&[ms(150), ms(60), ms(300), ms(10)]), (vec![1, 2, 3, 4], 1));
        assert_eq!(submissions(&[ms(10), ms(10)]), (vec![2], 10));
        assert_eq!(submissions(&[]), (vec![0], 32));
    }
}
