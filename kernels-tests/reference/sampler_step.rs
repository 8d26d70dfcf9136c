//! The updates of samplers.

use super::Tensor;

/// (y, mean) with mean = a·x + b·score and y = mean + c·z.
pub fn linear([a, b, c]: [f64; 3], x: &Tensor, score: &Tensor, z: Option<&Tensor>) -> [Tensor; 2] {
    let mean = x.scaled(a).plus(&score.scaled(b));
    let y = z.map_or_else(|| mean.clone(), |z| mean.plus(&z.scaled(c)));
    [y, mean]
}

/// (y, mean) of the Langevin corrector, with a step per image or one for the batch from the means of the norms.
pub fn langevin(scale: f64, batch: bool, [x, score, z]: [&Tensor; 3]) -> [Tensor; 2] {
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
    let step = |at: usize| scale * (of_z[at / size] / of_score[at / size]).powi(2);
    let each = |f: &dyn Fn(usize) -> f64| Tensor::new(&x.shape, (0..x.data.len()).map(f).collect());
    let mean = each(&|at| x.data[at] + step(at) * score.data[at]);
    let y = each(&|at| mean.data[at] + (2.0 * step(at)).sqrt() * z.data[at]);
    [y, mean]
}

/// (y, k) of a few-step solver; `c` holds kept_x, kept_output, x, output, kept, kept_before, noise.
pub fn solver(c: [f64; 7], clip: Option<f64>, t: [&Tensor; 3], z: Option<&Tensor>) -> [Tensor; 2] {
    let [x, output, before] = t;
    let k = x.scaled(c[0]).plus(&output.scaled(c[1]));
    let k = clip.map_or_else(|| k.clone(), |clip| k.map(|v| v.clamp(-clip, clip)));
    let y = x.scaled(c[2]).plus(&output.scaled(c[3])).plus(&k.scaled(c[4])).plus(&before.scaled(c[5]));
    let y = z.map_or_else(|| y.clone(), |z| y.plus(&z.scaled(c[6])));
    [y, k]
}
