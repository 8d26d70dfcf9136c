//! `bosh3`: the probability-flow ODE by the method of Bogacki and Shampine, RK23 in scipy: fewer evaluations at loose tolerances.

use super::ode::AdaptiveOde;
use super::{Entry, SolverOptions};
use crate::sampling::runge_kutta::Tableau;

/// In the list of solvers.
pub const ENTRY: Entry = Entry {
    name: "bosh3",
    help: "the same by the method of order 3 of Bogacki and Shampine, for loose tolerances",
    evaluations: "three an attempted step, as many steps as the tolerance takes",
    takes: AdaptiveOde::TAKES,
    from_options: |o: &SolverOptions| Ok(Box::new(AdaptiveOde::from_options(ENTRY.name, &BOSH3, o))),
};

/// Order 3 with an embedded method of order 2 (Bogacki and Shampine 1989).
pub const BOSH3: Tableau = Tableau {
    name: "Bosh3",
    order: 3,
    error_order: 2,
    c: &[0.0, 1.0 / 2.0, 3.0 / 4.0],
    a: &[&[], &[1.0 / 2.0], &[0.0, 3.0 / 4.0]],
    b: &[2.0 / 9.0, 1.0 / 3.0, 4.0 / 9.0],
    e: &[5.0 / 72.0, -1.0 / 12.0, -1.0 / 9.0, 1.0 / 8.0],
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampling::runge_kutta::{Tolerance, VecState, solve};
    use crate::sampling::solvers::ode::tests::assert_order;

    #[test]
    fn it_is_of_order_three() {
        assert_order(&BOSH3, 1e-15);
    }

    /// `solve_ivp(lambda t, y: y * cos(t), (0, 6), [1], "RK23", rtol=1e-6, atol=1e-6)` of scipy.
    #[test]
    fn it_takes_the_steps_of_scipy() {
        let mut state = VecState::new(vec![1.0], |t: f64, y: &[f64], k: &mut [f64]| k[0] = y[0] * t.cos());
        let tolerance = Tolerance::new(1e-6, 1e-6).unwrap();
        let report = solve(&mut state, &BOSH3, 0.0, 6.0, tolerance, |_, _| Ok(())).unwrap()[0];
        assert_eq!((report.nfe, report.accepted), (449, 141));
        assert!((state.y()[0] - 0.756_219_988_210_576_9).abs() < 1e-12, "{}", state.y()[0]);
    }
}
