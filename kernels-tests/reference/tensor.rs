//! The tensor of the references: a shape and f64 numbers, row-major.

use std::ops::{Index, IndexMut};

use super::philox;

/// Numbers and their shape, row-major; images are `n h w c`.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// Row-major.
    pub data: Vec<f64>,
}

impl Tensor {
    /// `data` in the shape `shape`.
    pub fn new(shape: &[usize], data: Vec<f64>) -> Self {
        assert_eq!(shape.iter().product::<usize>(), data.len(), "a tensor of shape {shape:?}");
        Self { shape: shape.to_vec(), data }
    }

    /// Zeros.
    pub fn zeros(shape: &[usize]) -> Self {
        Self::full(shape, 0.0)
    }

    /// One value everywhere.
    pub fn full(shape: &[usize], value: f64) -> Self {
        Self { shape: shape.to_vec(), data: vec![value; shape.iter().product()] }
    }

    /// Standard normal values that f32 holds exactly.
    pub fn normal(shape: &[usize], seed: u64) -> Self {
        let values = philox::normals(seed, shape.iter().product());
        Self::new(shape, values.into_iter().map(|v| f64::from(v as f32)).collect())
    }

    /// Values in [low, high) that f32 holds exactly.
    pub fn uniform(shape: &[usize], low: f64, high: f64, seed: u64) -> Self {
        let values = philox::uniforms(seed, shape.iter().product());
        Self::new(shape, values.into_iter().map(|u| f64::from((low + u * (high - low)) as f32)).collect())
    }

    /// The four sizes of an image tensor.
    pub fn nhwc(&self) -> [usize; 4] {
        self.shape.as_slice().try_into().unwrap_or_else(|_| panic!("{:?} is not n h w c", self.shape))
    }

    /// The two sizes of a matrix.
    pub fn rows_cols(&self) -> [usize; 2] {
        self.shape.as_slice().try_into().unwrap_or_else(|_| panic!("{:?} is not a matrix", self.shape))
    }

    /// The same numbers in another shape.
    pub fn reshape(&self, shape: &[usize]) -> Self {
        Self::new(shape, self.data.clone())
    }

    /// `f` of every element.
    pub fn map(&self, f: impl Fn(f64) -> f64) -> Self {
        Self { shape: self.shape.clone(), data: self.data.iter().map(|&v| f(v)).collect() }
    }

    /// `f` of the elements of two tensors of one shape.
    pub fn zip(&self, other: &Self, f: impl Fn(f64, f64) -> f64) -> Self {
        assert_eq!(self.shape, other.shape);
        let data = self.data.iter().zip(&other.data).map(|(&a, &b)| f(a, b)).collect();
        Self { shape: self.shape.clone(), data }
    }

    /// The elementwise product.
    pub fn times(&self, other: &Self) -> Self {
        self.zip(other, |a, b| a * b)
    }

    /// The elementwise sum.
    pub fn plus(&self, other: &Self) -> Self {
        self.zip(other, |a, b| a + b)
    }

    /// Every element times `factor`.
    pub fn scaled(&self, factor: f64) -> Self {
        self.map(|v| v * factor)
    }

    /// The sum of all elements.
    pub fn sum(&self) -> f64 {
        self.data.iter().sum()
    }

    /// Both tensors side by side along the last axis.
    pub fn concat_channels(&self, other: &Self) -> Self {
        let (last, rest) = (self.shape.len() - 1, other.shape.len() - 1);
        assert_eq!(self.shape[..last], other.shape[..rest]);
        let (a, b) = (self.shape[last], other.shape[rest]);
        let data = self.data.chunks(a).zip(other.data.chunks(b)).flat_map(|(x, y)| [x, y].concat()).collect();
        let mut shape = self.shape.clone();
        shape[last] = a + b;
        Self { shape, data }
    }

    /// The first `left` channels and the rest: undoes [`Tensor::concat_channels`].
    pub fn split_channels(&self, left: usize) -> (Self, Self) {
        let last = self.shape.len() - 1;
        let part = |range: std::ops::Range<usize>| {
            let mut shape = self.shape.clone();
            shape[last] = range.len();
            Self {
                shape,
                data: self
                    .data
                    .chunks(self.shape[last])
                    .flat_map(|row| row[range.clone()].to_vec())
                    .collect(),
            }
        };
        (part(0..left), part(left..self.shape[last]))
    }

    fn flat(&self, index: &[usize]) -> usize {
        debug_assert_eq!(index.len(), self.shape.len());
        index.iter().zip(&self.shape).fold(0, |flat, (&i, &size)| {
            debug_assert!(i < size);
            flat * size + i
        })
    }
}

impl<const N: usize> Index<[usize; N]> for Tensor {
    type Output = f64;

    fn index(&self, index: [usize; N]) -> &f64 {
        &self.data[self.flat(&index)]
    }
}

impl<const N: usize> IndexMut<[usize; N]> for Tensor {
    fn index_mut(&mut self, index: [usize; N]) -> &mut f64 {
        let at = self.flat(&index);
        &mut self.data[at]
    }
}

#[test]
fn split_undoes_concat() {
    let (a, b) = (Tensor::normal(&[2, 3, 1, 2], 1), Tensor::normal(&[2, 3, 1, 5], 2));
    assert_eq!(a.concat_channels(&b).split_channels(2), (a, b));
}
