//! `heun21`: the probability-flow ODE by Heun's method with Euler's inside: two evaluations a step, for a first look.

use super::ode::AdaptiveOde;
use super::{Entry, SolverOptions};
use crate::sampling::runge_kutta::Tableau;

/// In the list of solvers.
pub const ENTRY: Entry = Entry {
    name: "heun21",
    help: "the same by Heun's method of order 2 with Euler's inside, for a first look at tolerances of 0.1",
    evaluations: "two an attempted step, as many steps as the tolerance takes",
    takes: AdaptiveOde::TAKES,
    from_options: |o: &SolverOptions| Ok(Box::new(AdaptiveOde::from_options(ENTRY.name, &HEUN21, o))),
};

/// Order 2 with an embedded method of order 1 (Hairer, Nørsett and Wanner, Solving Ordinary Differential Equations I, II.4).
pub const HEUN21: Tableau = Tableau {
    name: "Heun21",
    order: 2,
    error_order: 1,
    c: &[0.0, 1.0],
    a: &[&[], &[1.0]],
    b: &[1.0 / 2.0, 1.0 / 2.0],
    e: &[-1.0 / 2.0, 1.0 / 2.0, 0.0],
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampling::solvers::ode::tests::assert_order;

    #[test]
    fn it_is_of_order_two() {
        assert_order(&HEUN21, 1e-15);
    }
}
