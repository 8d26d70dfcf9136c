//! Which of several candidates is fastest, by a clock that cannot be trusted in single samples.
//!
//! Rounds are interleaved, so that what else the machine does meets all candidates alike; medians are compared, and a difference counts
//! only where it stands out of the spread of the samples. Where nothing stands out, the written order decides.

use crate::error::Result;

/// Rounds before anything is concluded, and the most there are.
const ROUNDS: std::ops::RangeInclusive<usize> = 7..=41;
/// How many standard errors a difference of medians must be.
const ERRORS: f64 = 2.0;
/// What a candidate must gain to be preferred at all: less than this share is no gain.
const GAIN: f64 = 0.02;

/// How a contest ended.
#[derive(Debug, PartialEq)]
pub(super) struct Standing {
    /// The candidate to take.
    pub(super) winner: usize,
    /// The median time of each candidate, in seconds.
    pub(super) medians: Vec<f64>,
}

/// Samples the times of `count` candidates in rounds until one stands out, `enough` says so, or no round is left. Of those that do not
/// differ clearly from the fastest the first is taken.
pub(super) fn fastest(
    count: usize,
    mut sample: impl FnMut(usize) -> Result<f64>,
    mut enough: impl FnMut() -> bool,
) -> Result<Standing> {
    let mut samples: Vec<Vec<f64>> = vec![Vec::new(); count];
    let mut running: Vec<usize> = (0..count).collect();
    for round in 1..=*ROUNDS.end() {
        // Each round begins with another one: the first of a round may find the device at rest.
        let first = round % running.len().max(1);
        running.rotate_left(first);
        for &candidate in &running {
            samples[candidate].push(sample(candidate)?);
        }
        running.sort_unstable();
        if round < *ROUNDS.start() {
            if enough() {
                break;
            }
            continue;
        }
        running = close(&samples, &running);
        if running.len() < 2 || enough() {
            break;
        }
    }
    let medians: Vec<f64> = samples.iter().map(|times| median(times)).collect();
    let winner = close(&samples, &running).first().copied().unwrap_or(0);
    Ok(Standing { winner, medians })
}

/// Those of `running` that do not differ clearly from the fastest, in their order.
fn close(samples: &[Vec<f64>], running: &[usize]) -> Vec<usize> {
    let medians: Vec<f64> = running.iter().map(|&i| median(&samples[i])).collect();
    let best = medians.iter().copied().fold(f64::INFINITY, f64::min);
    // The spread is the machine's more than the candidate's, so the widest counts for all: few samples may lie close by chance.
    let spread = running.iter().map(|&i| spread(&samples[i])).fold(0.0, f64::max);
    let rounds = running.iter().map(|&i| samples[i].len()).min().unwrap_or(1).max(1) as f64;
    // 1.25: the standard error of a median of normal samples over that of their mean; √2 for a difference of two.
    let error = 1.25 * spread / rounds.sqrt() * 2f64.sqrt();
    let clear = best * (1.0 + (ERRORS * error).max(GAIN));
    running.iter().zip(medians).filter(|(_, time)| *time <= clear).map(|(&i, _)| i).collect()
}

fn median(times: &[f64]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::INFINITY,
        n if n % 2 == 1 => sorted[n / 2],
        n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
    }
}

/// The standard deviation over the median, from the median of the distances to it, which outliers leave alone.
fn spread(times: &[f64]) -> f64 {
    let middle = median(times);
    let distances: Vec<f64> = times.iter().map(|time| (time - middle).abs()).collect();
    // 1.48: of normal samples, the standard deviation over that median.
    1.48 * median(&distances) / middle
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A clock whose samples are `times` with noise of the standard deviation `noise`, as a share; the same for the same `seed`.
    fn noisy(times: &[f64], noise: f64, seed: u64) -> impl FnMut(usize) -> Result<f64> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut uniform = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1u64 << 53) as f64
        };
        let times = times.to_vec();
        move |candidate| {
            let normal = (0..12).map(|_| uniform()).sum::<f64>() - 6.0;
            Ok(times[candidate] * (1.0 + noise * normal).max(0.05))
        }
    }

    #[test]
    fn noise_of_20_percent_does_not_hide_what_is_30_percent_faster() {
        for seed in 0..300 {
            for (times, winner) in
                [(vec![1.0, 0.7], 1), (vec![0.7, 1.0], 0), (vec![1.0, 1.0, 0.7], 2), (vec![1.0, 0.7, 1.0], 1)]
            {
                let standing = fastest(times.len(), noisy(&times, 0.2, seed), || false).unwrap();
                assert_eq!(standing.winner, winner, "seed {seed}, {times:?}: {:?}", standing.medians);
            }
        }
    }

    #[test]
    fn without_a_clear_winner_the_written_order_decides() {
        for seed in 0..300 {
            let standing = fastest(3, noisy(&[1.0, 0.998, 1.0], 0.004, seed), || false).unwrap();
            assert_eq!(standing.winner, 0, "seed {seed}: {:?}", standing.medians);
        }
        let standing = fastest(2, noisy(&[1.0, 0.9], 0.005, 1), || false).unwrap();
        assert_eq!(standing.winner, 1, "a quiet clock tells 10 percent");
    }

    #[test]
    fn outliers_do_not_decide_and_a_clear_contest_is_short() {
        let mut samples = 0;
        let standing = fastest(
            2,
            |candidate| {
                samples += 1;
                let outlier = if candidate == 1 && samples % 10 == 0 { 50.0 } else { 1.0 };
                Ok(if candidate == 1 { 0.5 * outlier } else { 1.0 })
            },
            || false,
        )
        .unwrap();
        assert_eq!(standing.winner, 1);
        assert_eq!(samples, 2 * ROUNDS.start());
    }
}
