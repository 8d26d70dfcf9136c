//! Orders, steps and ends of solves on the CPU.

use super::*;
use crate::sampling::solvers::ode::RK45;

/// y′ = y cos t, whose solution is e^{sin t}.
fn growth() -> VecState<impl FnMut(f64, &[f64], &mut [f64])> {
    VecState::new(vec![1.0], |t, y, k| k[0] = y[0] * t.cos())
}

#[test]
fn meets_its_tolerance_and_counts() {
    for (t0, t1) in [(0.0f64, 6.0f64), (6.0, 0.0)] {
        let mut s = growth();
        let tolerance = Tolerance::new(1e-9, 1e-9).unwrap();
        let mut times = vec![];
        let report = solve(&mut s, &RK45, t0, t1, tolerance, |t, _| {
            times.push(t);
            Ok(())
        });
        let report = report.unwrap()[0].reached_end().unwrap();
        assert!((s.y()[0] - (t1.sin() - t0.sin()).exp()).abs() < 1e-7);
        assert_eq!(times.last(), Some(&t1));
        assert_eq!((report.t, report.accepted), (t1, times.len()));
        assert_eq!(report.nfe, 2 + 6 * (report.accepted + report.rejected));
    }
}

#[test]
fn an_empty_interval_takes_no_step() {
    let report = solve(&mut growth(), &RK45, 1.0, 1.0, Tolerance::new(1e-3, 1e-3).unwrap(), |_, _| Ok(()));
    assert_eq!(report.unwrap()[0].accepted, 0);
}

#[test]
fn a_singularity_ends_with_a_typed_error() {
    let mut s = VecState::new(vec![1.0], |_, y, k| k[0] = y[0] * y[0]);
    let report =
        solve(&mut s, &RK45, 0.0, 2.0, Tolerance::new(1e-6, 1e-6).unwrap(), |_, _| Ok(())).unwrap()[0];
    assert!(report.step_too_small && (report.t - 1.0).abs() < 1e-6);
    let error = report.reached_end().unwrap_err().to_string();
    assert!(error.contains("raise rtol"), "{error}");
}

#[test]
fn not_a_number_ends_with_a_typed_error() {
    let mut s = VecState::new(vec![1.0], |t, _, k| k[0] = if t > 0.5 { f64::NAN } else { 1.0 });
    let report =
        solve(&mut s, &RK45, 0.0, 1.0, Tolerance::new(1e-6, 1e-6).unwrap(), |_, _| Ok(())).unwrap()[0];
    assert!(report.step_too_small && report.t <= 0.5);
    let mut s = VecState::new(vec![1.0], |_, _, k| k[0] = f64::NAN);
    let report = solve(&mut s, &RK45, 0.0, 1.0, Tolerance::new(1e-6, 1e-6).unwrap(), |_, _| Ok(()));
    assert!(matches!(report, Err(Error::NonFinite { .. })));
}

#[test]
fn bad_arguments_are_refused() {
    assert!(Tolerance::new(f64::NAN, 1e-3).is_err() && Tolerance::new(1e-3, -1.0).is_err());
    let tolerance = Tolerance::new(1e-3, 1e-3).unwrap();
    assert!(solve(&mut growth(), &RK45, 0.0, f64::INFINITY, tolerance, |_, _| Ok(())).is_err());
}
