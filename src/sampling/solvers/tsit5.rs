//! `tsit5`: the probability-flow ODE by the method of Tsitouras, whose error at the same cost is somewhat below RK45's.

use super::ode::AdaptiveOde;
use super::{Entry, SolverOptions};
use crate::sampling::runge_kutta::Tableau;

/// In the list of solvers.
pub const ENTRY: Entry = Entry {
    name: "tsit5",
    help: "the same by the method of order 5 of Tsitouras",
    evaluations: "six an attempted step, as many steps as the tolerance takes",
    takes: AdaptiveOde::TAKES,
    from_options: |o: &SolverOptions| Ok(Box::new(AdaptiveOde::from_options(ENTRY.name, &TSIT5, o))),
};

/// Order 5 with an embedded method of order 4 (Tsitouras 2011, table 1). Its coefficients have no short fractions.
pub const TSIT5: Tableau = Tableau {
    name: "Tsit5",
    order: 5,
    error_order: 4,
    c: &[0.0, 0.161, 0.327, 0.9, 0.980_025_540_904_509_7, 1.0],
    a: &[
        &[],
        &[0.161],
        &[-0.008_480_655_492_356_989, 0.335_480_655_492_357],
        &[2.897_153_057_105_493_5, -6.359_448_489_975_075, 4.362_295_432_869_581_5],
        &[5.325_864_828_439_257, -11.748_883_564_062_828, 7.495_539_342_889_836_5, -0.092_495_066_361_755_25],
        &[
            5.861_455_442_946_42,
            -12.920_969_317_847_11,
            8.159_367_898_576_159,
            -0.071_584_973_281_401,
            -0.028_269_050_394_068_383,
        ],
    ],
    b: &[
        0.096_460_766_818_065_23,
        0.01,
        0.479_889_650_414_499_6,
        1.379_008_574_103_742,
        -3.290_069_515_436_081,
        2.324_710_524_099_774,
    ],
    e: &[
        -0.001_780_011_052_225_777,
        -0.000_816_434_459_656_746_9,
        0.007_880_878_010_261_995,
        -0.144_711_007_173_262_9,
        0.582_357_165_452_555_2,
        -0.458_082_105_929_186_97,
        1.0 / 66.0,
    ],
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampling::solvers::ode::tests::assert_order;

    #[test]
    fn it_is_of_order_five() {
        assert_order(&TSIT5, 2e-14);
    }
}
