//! Sums over rows: the gradient of whatever was broadcast over pixels or images.

use crate::error::{Error, Result};
use crate::fields;
use crate::gpu::{Capabilities, DeviceKind};
use crate::graph::{Candidate, Graph, Io, Launch, Op, Operand, Value};

use super::lanes;
use super::shared::flat::flat;

/// Sums `x`, seen as `groups × rows × c` with `c` its last dimension, over the rows: `groups × c`. It has no gradient.
///
/// With `groups` = n the sum over the pixels of each image, with 1 the sum over everything but the channels.
///
/// # Errors
/// [`Error::Shape`] when `groups` does not divide the rows of `x`.
pub fn column_sum(graph: &mut Graph, x: Value, groups: usize) -> Result<Value> {
    let shape = graph.shape(x).clone();
    let c = shape.last();
    let rows = shape.elements() / c.max(1);
    if groups == 0 || !rows.is_multiple_of(groups) {
        let problem = format!("{shape} has {rows} rows, which {groups} groups do not share evenly");
        return Err(Error::shape("column_sum", problem, "give a divisor of the rows"));
    }
    let result = if groups == 1 { vec![c] } else { vec![groups, c] };
    Ok(graph.push1(ColumnSum { groups, rows: rows / groups, c }, &[x], result))
}

#[derive(Debug)]
struct ColumnSum {
    groups: usize,
    rows: usize,
    c: usize,
}

impl ColumnSum {
    fn stage(&self, from: Operand, to: Operand, rows: usize, chunk: usize) -> Launch {
        let v = lanes(self.c);
        let chunks = rows.div_ceil(chunk);
        let sums = self.groups * chunks * (self.c / v);
        flat("column_sum/column_sum.wgsl", sums)
            .constant("V", v)
            .read(from)
            .write(to)
            .params(fields! { columns: self.c / v, rows, chunk })
            .flops((self.groups * rows * self.c) as f64)
    }
}

impl Op for ColumnSum {
    fn name(&self) -> &'static str {
        "column_sum"
    }

    fn candidates(&self, _: &Io, device: &Capabilities) -> Vec<Candidate> {
        // A second stage pays where one invocation per sum leaves the device idle; what counts is a group, never n.
        let wanted = if device.kind == DeviceKind::Software { 256 } else { 8192 };
        let chunks = (wanted * lanes(self.c) / self.c.max(1)).clamp(1, self.rows.div_ceil(16));
        let chunk = self.rows.div_ceil(chunks).clamp(1, 65_535);
        let chunks = self.rows.div_ceil(chunk);
        if chunks == 1 {
            return vec![Candidate::plain(vec![self.stage(
                Operand::Input(0),
                Operand::Output(0),
                self.rows,
                chunk,
            )])];
        }
        let first = self.stage(Operand::Input(0), Operand::Workspace(0), self.rows, chunk);
        let second = self.stage(Operand::Workspace(0), Operand::Output(0), chunks, chunks);
        let bytes = (4 * self.groups * chunks * self.c) as u64;
        vec![Candidate::plain(vec![first, second]).with_workspaces(vec![bytes])]
    }

    fn flops(&self, io: &Io) -> f64 {
        io.input(0).elements() as f64
    }
}
