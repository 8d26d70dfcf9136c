//! Reads from tables by a counter.

use super::Tensor;

/// `table[counter, column]` for each of `n` images; the last row behind the end.
pub fn column(table: &Tensor, counter: usize, column: usize, n: usize) -> Tensor {
    let [rows, columns] = table.rows_cols();
    Tensor::full(&[n], table.data[counter.min(rows - 1) * columns + column])
}

/// `stack[counter·stride + first]`; the last tensor behind the end.
pub fn slice(stack: &Tensor, counter: usize, stride: usize, first: usize) -> Tensor {
    let length = stack.data.len() / stack.shape[0];
    let row = (counter * stride + first).min(stack.shape[0] - 1);
    Tensor::new(&stack.shape[1..], stack.data[row * length..(row + 1) * length].to_vec())
}
