//! Time grids and the indices into tables that go with them.

/// `n` numbers from `start` to `end`, both included; `n` = 1 gives `start` alone.
///
/// Steps away from the nearer end with one rounding each, as PyTorch's kernel does: indices are truncated and
/// labels rounded from these numbers, so their last bits count.
pub fn linspace(start: f64, end: f64, n: usize) -> Vec<f64> {
    let step = (end - start) / (n.max(2) - 1) as f64;
    (0..n)
        .map(|i| match n == 1 || i < n / 2 {
            true => step.mul_add(i as f64, start),
            false => (-step).mul_add((n - 1 - i) as f64, end),
        })
        .collect()
}

/// [`linspace`] in f32 throughout, within one unit in the last place of `torch.linspace`.
pub fn linspace_f32(start: f32, end: f32, n: usize) -> Vec<f32> {
    let step = (end - start) / (n.max(2) - 1) as f32;
    (0..n)
        .map(|i| match n == 1 || i < n / 2 {
            true => step.mul_add(i as f32, start),
            false => (-step).mul_add((n - 1 - i) as f32, end),
        })
        .collect()
}

/// The times of the predictor-corrector samplers: `n` from 1 down to `t_eps`.
pub fn time_grid(t_eps: f64, n: usize) -> Vec<f64> {
    linspace(1.0, t_eps, n)
}

/// trunc(t·(n−1)), kept inside a table of `n` entries.
pub(super) fn index(t: f64, n: usize) -> usize {
    // A float cast saturates: negative t and NaN give 0.
    ((t * (n - 1) as f64) as usize).min(n - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_exact() {
        for n in [2, 3, 10, 1000, 1999] {
            let t = linspace(1.0, 1e-5, n);
            assert_eq!((t.len(), t[0], t[n - 1]), (n, 1.0, 1e-5));
            let t = linspace_f32(1.0, 1e-3, n);
            assert_eq!((t.len(), t[0], t[n - 1]), (n, 1.0, 1e-3));
        }
        assert_eq!(linspace(1.0, 1e-5, 1), [1.0]);
        assert_eq!(linspace_f32(1.0, 1e-5, 1), [1.0]);
        assert!(linspace(1.0, 0.0, 0).is_empty());
    }

    /// In exact arithmetic t_i·(N−1) = N−1−i + i·eps, so the index is N−1−i as long as N·eps stays below 1.
    #[test]
    fn every_level_is_visited_once() {
        for n in [1, 2, 6, 10, 999, 1000, 2000] {
            for t_eps in [1e-5, 0.4e-3] {
                let indices: Vec<usize> = time_grid(t_eps, n).iter().map(|&t| index(t, n)).collect();
                assert!(indices.iter().enumerate().all(|(i, &k)| k == n - 1 - i), "{n} {t_eps}");
            }
        }
    }

    #[test]
    fn f32_follows_f64() {
        let (wide, narrow) = (linspace(1.0, 1e-5, 777), linspace_f32(1.0, 1e-5, 777));
        assert!(wide.iter().zip(&narrow).all(|(a, &b)| (a - f64::from(b)).abs() < 1e-7));
    }

    #[test]
    fn indices_stay_in_the_table() {
        assert_eq!([index(-0.1, 5), index(2.0, 5), index(f64::NAN, 5), index(0.3, 1)], [0, 4, 0, 0]);
    }
}
