//! Which temporaries can share memory.
//!
//! Whole buffers are shared, not ranges of one arena: barriers are per buffer, and a buffer may not be bound as `read` and
//! as `read_write` in one dispatch.

/// A tensor or workspace and the nodes during which it must keep its contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interval {
    /// Bytes.
    pub(super) bytes: u64,
    /// First node that writes it.
    pub(super) start: usize,
    /// Last node that reads it.
    pub(super) end: usize,
}

/// The buffer of each interval, and the size of each buffer.
#[derive(Clone, Debug, Default)]
pub(super) struct Assignment {
    pub(super) buffer: Vec<usize>,
    pub(super) sizes: Vec<u64>,
}

/// Assigns intervals to buffers, the largest first, each to the smallest buffer that is free all through it.
pub(super) fn assign(intervals: &[Interval]) -> Assignment {
    let mut order: Vec<usize> = (0..intervals.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(intervals[i].bytes), intervals[i].start));
    let mut result = Assignment { buffer: vec![usize::MAX; intervals.len()], sizes: Vec::new() };
    let mut taken: Vec<Vec<(usize, usize)>> = Vec::new();
    for i in order {
        let new = intervals[i];
        let free = |spans: &Vec<(usize, usize)>| spans.iter().all(|&(s, e)| new.end < s || e < new.start);
        // Buffers were opened in descending size, so the last free one is the smallest.
        let buffer = taken.iter().rposition(free).unwrap_or_else(|| {
            taken.push(Vec::new());
            result.sizes.push(new.bytes);
            taken.len() - 1
        });
        taken[buffer].push((new.start, new.end));
        result.buffer[i] = buffer;
    }
    result
}

/// A buffer for each interval alone.
pub(super) fn apart(intervals: &[Interval]) -> Assignment {
    Assignment { buffer: (0..intervals.len()).collect(), sizes: intervals.iter().map(|i| i.bytes).collect() }
}

/// The largest sum of bytes alive at one node: no assignment can need less.
pub(super) fn peak(intervals: &[Interval]) -> u64 {
    let last = intervals.iter().map(|i| i.end).max().unwrap_or(0);
    let mut change = vec![0i128; last + 2];
    for i in intervals {
        change[i.start] += i128::from(i.bytes);
        change[i.end + 1] -= i128::from(i.bytes);
    }
    let mut alive = 0;
    change.iter().fold(0, |most, c| {
        alive += c;
        most.max(alive)
    }) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_chain_needs_two_buffers() {
        let chain: Vec<Interval> = (0..10).map(|i| Interval { bytes: 1024, start: i, end: i + 1 }).collect();
        let assignment = assign(&chain);
        assert_eq!(assignment.sizes, [1024, 1024]);
        assert_eq!(peak(&chain), 2048);
    }

    proptest! {
        #[test]
        fn intervals_that_overlap_never_share(spans in prop::collection::vec((1u64..100, 0usize..40, 0usize..10), 1..60)) {
            let intervals: Vec<Interval> =
                spans.iter().map(|&(bytes, start, length)| Interval { bytes, start, end: start + length }).collect();
            let assignment = assign(&intervals);
            for (i, a) in intervals.iter().enumerate() {
                prop_assert!(assignment.sizes[assignment.buffer[i]] >= a.bytes);
                for (j, b) in intervals.iter().enumerate().skip(i + 1) {
                    let overlap = a.start <= b.end && b.start <= a.end;
                    prop_assert!(!overlap || assignment.buffer[i] != assignment.buffer[j]);
                }
            }
            prop_assert!(assignment.sizes.iter().sum::<u64>() >= peak(&intervals));
        }
    }
}
