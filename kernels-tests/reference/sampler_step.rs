//! The updates of samplers.

use super::Tensor;
use super::lookup::Rows;

/// (y, mean) with mean = a·x + b·score and y = mean + c·z, where a, b and c are columns.
pub fn linear(
    rows: &Rows,
    [a, b, c]: [usize; 3],
    x: &Tensor,
    score: &Tensor,
    z: Option<&Tensor>,
) -> [Tensor; 2] {
    let mean = rows.times(a, x).plus(&rows.times(b, score));
    let y = z.map_or_else(|| mean.clone(), |z| mean.plus(&rows.times(c, z)));
    [y, mean]
}

/// (y, mean) of the Langevin corrector, with a step per image or one for the batch from the means of the norms.
pub fn langevin(rows: &Rows, scale: usize, batch: bool, [x, score, z]: [&Tensor; 3]) -> [Tensor; 2] {
    let n = x.shape[0];
    let size = x.data.len() / n;
    let norms = |t: &Tensor| -> Vec<f64> {
        t.data.chunks(size).map(|image| image.iter().map(|v| v * v).sum::<f64>().sqrt()).collect()
    };
    let (mut of_score, mut of_z) = (norms(score), norms(z));
    if batch {
        for norms in [&mut of_score, &mut of_z] {
            let mean = norms.iter().sum::<f64>() / n as f64;
            norms.fill(mean);
        }
    }
    let step = |at: usize| rows.of(at, scale) * (of_z[at / size] / of_score[at / size]).powi(2);
    let each = |f: &dyn Fn(usize) -> f64| Tensor::new(&x.shape, (0..x.data.len()).map(f).collect());
    let mean = each(&|at| x.data[at] + step(at) * score.data[at]);
    let y = each(&|at| mean.data[at] + (2.0 * step(at)).sqrt() * z.data[at]);
    [y, mean]
}

/// y of a few-step solver and the slots after it; `first` is the column of kept_x, kept_output, x, output, kept, `slots` that of the two slots
/// that take k and x, behind which the factors of slots stand.
pub fn solver(
    rows: &Rows,
    [first, noise, slots]: [usize; 3],
    clip: Option<f64>,
    kept: &Tensor,
    [x, output]: [&Tensor; 2],
    z: Option<&Tensor>,
) -> [Tensor; 2] {
    let size = x.data.len();
    let count = kept.data.len() / size;
    let k = rows.times(first, x).plus(&rows.times(first + 1, output));
    let k = clip.map_or_else(|| k.clone(), |clip| k.map(|v| v.clamp(-clip, clip)));
    let y = rows.times(first + 2, x).plus(&rows.times(first + 3, output)).plus(&rows.times(first + 4, &k));
    let slot = |j: usize| Tensor::new(&x.shape, kept.data[j * size..(j + 1) * size].to_vec());
    let y = (0..count).fold(y, |y, j| y.plus(&rows.times(slots + 2 + j, &slot(j))));
    let y = z.map_or_else(|| y.clone(), |z| y.plus(&rows.times(noise, z)));
    let mut kept = kept.clone();
    for i in 0..size {
        for (column, value) in [(slots, k.data[i]), (slots + 1, x.data[i])] {
            let at = rows.of(i, column) as usize;
            if at < count {
                kept.data[at * size + i] = value;
            }
        }
    }
    [y, kept]
}
