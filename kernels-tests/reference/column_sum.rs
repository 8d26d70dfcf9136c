//! Sums over rows.

use super::Tensor;

/// `x` as groups × rows × c, summed over rows: groups × c.
pub fn forward(x: &Tensor, groups: usize) -> Tensor {
    let c = *x.shape.last().expect("a column");
    let rows = x.data.len() / c / groups;
    let mut y = Tensor::zeros(&[groups, c]);
    for (at, value) in x.data.iter().enumerate() {
        y[[at / (rows * c), at % c]] += value;
    }
    y
}

#[test]
fn sums_columns_of_each_group() {
    let x = Tensor::new(&[2, 2, 2], (1..=8).map(f64::from).collect());
    assert_eq!(forward(&x, 2).data, [4.0, 6.0, 12.0, 14.0]);
    assert_eq!(forward(&x, 1).data, [16.0, 20.0]);
}
