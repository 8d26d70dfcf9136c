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

/// (y, k) of a few-step solver; `c` holds the columns of kept_x, kept_output, x, output, kept, kept_before, noise.
pub fn solver(
    rows: &Rows,
    c: [usize; 7],
    clip: Option<f64>,
    t: [&Tensor; 3],
    z: Option<&Tensor>,
) -> [Tensor; 2] {
    let [x, output, before] = t;
    let k = rows.times(c[0], x).plus(&rows.times(c[1], output));
    let k = clip.map_or_else(|| k.clone(), |clip| k.map(|v| v.clamp(-clip, clip)));
    let y = rows.times(c[2], x).plus(&rows.times(c[3], output));
    let y = y.plus(&rows.times(c[4], &k)).plus(&rows.times(c[5], before));
    let y = z.map_or_else(|| y.clone(), |z| y.plus(&rows.times(c[6], z)));
    [y, k]
}
