//! The gradients of ops with one output, whose gradient is `grads[0]`; `needs` says which inputs want one, as in [`Op::backward`].
//!
//! [`Op::backward`]: crate::graph::Op::backward

use crate::error::Result;
use crate::graph::Value;

/// Of an op that has a gradient by its first input alone: `by` appends it, given the gradient of the output.
pub(in crate::ops) fn by_first(
    grads: &[Option<Value>],
    needs: &[bool],
    by: impl FnOnce(Value) -> Result<Value>,
) -> Result<Vec<Option<Value>>> {
    let mut gradients = vec![None; needs.len()];
    if let (Some(grad_y), true) = (grads[0], needs[0]) {
        gradients[0] = Some(by(grad_y)?);
    }
    Ok(gradients)
}

/// Of an op that has a gradient by each of its inputs: `by` appends that by input i, given the gradient of the output and i. It is called
/// for the inputs that want one, in their order.
pub(in crate::ops) fn by_each(
    grads: &[Option<Value>],
    needs: &[bool],
    mut by: impl FnMut(Value, usize) -> Result<Value>,
) -> Result<Vec<Option<Value>>> {
    let Some(grad_y) = grads[0] else { return Ok(vec![None; needs.len()]) };
    needs.iter().enumerate().map(|(i, &need)| need.then(|| by(grad_y, i)).transpose()).collect()
}
