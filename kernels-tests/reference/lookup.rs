//! Reads from tables by a counter.

use super::Tensor;

/// `table[counter, column]` for each of `n` images; the last row behind the end.
pub fn column(table: &Tensor, counter: usize, column: usize, n: usize) -> Tensor {
    let [rows, columns] = table.rows_cols();
    Tensor::full(&[n], table.data[counter.min(rows - 1) * columns + column])
}

/// `table[counter·n + i, column]` for image i of `n`; the last n rows behind the end.
pub fn column_of_images(table: &Tensor, counter: usize, column: usize, n: usize) -> Tensor {
    let [rows, columns] = table.rows_cols();
    let first = (counter * n).min(rows - n);
    Tensor::new(&[n], (first..first + n).map(|row| table.data[row * columns + column]).collect())
}

/// `stack[counter·stride + first]`; the last tensor behind the end.
pub fn slice(stack: &Tensor, counter: usize, stride: usize, first: usize) -> Tensor {
    let length = stack.data.len() / stack.shape[0];
    let row = (counter * stride + first).min(stack.shape[0] - 1);
    Tensor::new(&stack.shape[1..], stack.data[row * length..(row + 1) * length].to_vec())
}

/// What element i of `count` takes from a table: the current step's row, or its image's where a step has several.
#[derive(Clone, Debug)]
pub struct Rows {
    rows: Vec<Vec<f64>>,
    count: usize,
}

impl Rows {
    /// The rows of step `counter` in a table with `per_step` for each, for a tensor of `count` elements.
    pub fn new(table: &Tensor, counter: usize, per_step: usize, count: usize) -> Self {
        let [_, columns] = table.rows_cols();
        let rows = table.data.chunks(columns).skip(counter * per_step).take(per_step);
        Self { rows: rows.map(<[f64]>::to_vec).collect(), count }
    }

    /// The number in a column for an element.
    pub fn of(&self, element: usize, column: usize) -> f64 {
        self.rows[element / (self.count / self.rows.len())][column]
    }

    /// A tensor times the numbers in a column.
    pub fn times(&self, column: usize, x: &Tensor) -> Tensor {
        let data = x.data.iter().enumerate().map(|(i, v)| v * self.of(i, column)).collect();
        Tensor::new(&x.shape, data)
    }
}
