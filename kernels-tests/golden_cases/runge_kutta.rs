//! The ODE solver alone, on vector fields in closed form.

use langevin::sampling::runge_kutta::{Tolerance, VecState, solve};
use langevin::sampling::solvers::RK45;

use crate::case::{Case, Tensor};
use crate::check::Report;
use crate::fields::Fields;

/// Writes the slope at (t, y).
type Field<'a> = dyn Fn(f64, &[f64], &mut [f64]) + 'a;

/// Accepted times and states within this.
const TOLERANCE: f64 = 1e-9;
/// Roundings of a time, in units of its last place, that a state may be off by. Where y′ = −y³ runs into its singularity a state
/// turns by more than the tolerance within the spacing of f64 times, and the last bit of each power decides its digits.
const ROUNDINGS: f64 = 16.0;

/// Runs `samplers/rk45_analytic`: y′ = A y and y′ = −y³ + sin 5t, forwards and backwards.
pub fn run(case: &Case) -> Result<Report, String> {
    let matrix = case.tensor("A")?.data;
    let y0 = case.tensor("y0")?.data;
    let mut report = Report::new();
    let runs = case.key("runs")?.as_object().ok_or("`runs` is not an object")?;
    for (name, value) in runs {
        let field: &Field = match name.split('_').next() {
            Some("linear") => &|_, y, slope| {
                for (row, k) in matrix.chunks(y.len()).zip(slope) {
                    *k = row.iter().zip(y).map(|(a, y)| a * y).sum();
                }
            },
            Some("cubic") => &|t, y, slope| {
                for (y, k) in y.iter().zip(slope) {
                    *k = -y.powf(3.0) + (5.0 * t).sin();
                }
            },
            _ => return Err(format!("runs.{name}: unknown vector field")),
        };
        one(case, name, &Fields::new(format!("runs.{name}"), value)?, (&y0, field), &mut report)?;
    }
    Ok(report)
}

fn one(
    case: &Case,
    name: &str,
    run: &Fields,
    (y0, field): (&[f64], &Field<'_>),
    report: &mut Report,
) -> Result<(), String> {
    let mut state = VecState::new(y0.to_vec(), field);
    let span = run.f64s("t_span")?;
    let [t0, t1] = span[..] else { return Err(format!("runs.{name}.t_span is not a pair")) };
    let tolerance = Tolerance::new(run.f64("rtol")?, run.f64("atol")?).map_err(|e| e.to_string())?;
    let (mut times, mut states) = (vec![t0], state.y().to_vec());
    let d = states.len();
    let solved = solve(&mut state, &RK45, t0, t1, tolerance, |t, state| {
        times.push(t);
        states.extend(state.y());
        Ok(())
    });
    let solved = solved.map_err(|e| format!("runs.{name}: {e}"))?[0];
    let nfev = run.usize("nfev")?;
    report.require(solved.nfe == nfev, || format!("{name}: nfev got {}, expected {nfev}", solved.nfe));

    let at = run.f64s("t")?;
    let (got, expected) = (Tensor::new([times.len()], times), Tensor::new([at.len()], at.clone()));
    report.compare(&format!("{name}.t"), &got, &expected, |_| TOLERANCE);
    // States that grow are held to the tolerance relative to their size.
    let allowed = |t: f64, y: &[f64]| -> Vec<f64> {
        let mut slope = vec![0.0; y.len()];
        field(t, y, &mut slope);
        let moved = |k: f64| ROUNDINGS * f64::EPSILON * t.abs() * k.abs();
        y.iter().zip(slope).map(|(y, k)| TOLERANCE * y.abs().max(1.0) + moved(k)).collect()
    };
    let last = run.f64s("y_final")?;
    let tolerances = allowed(at.last().copied().unwrap_or(t1), &last);
    let (got, expected) = (Tensor::new([d], state.y().to_vec()), Tensor::new([last.len()], last));
    report.compare(&format!("{name}.y_final"), &got, &expected, |i| tolerances[i]);
    // The file has these in f32.
    let expected = case.tensor(&format!("{name}.y"))?;
    let rows = at.iter().zip(expected.data.chunks(d));
    let tolerances: Vec<f64> = rows.flat_map(|(&t, y)| allowed(t, y)).collect();
    let got = Tensor::new([states.len() / d, d], states);
    report.compare(&format!("{name}.y"), &got, &expected, |i| {
        tolerances[i] + f64::from(f32::EPSILON) * expected.data[i].abs()
    });
    run.finish()
}
