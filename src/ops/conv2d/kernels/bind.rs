//! How launches bind the operands of a sum, and what their shaders are told of what follows it.

use crate::fields;
use crate::gpu::Const;
use crate::graph::{Candidate, Launch, Operand};

use super::super::problem::OptionalOperands;

/// The one or two inputs.
pub(in super::super) fn sources(launch: Launch, optional: OptionalOperands) -> Launch {
    let launch = launch.constant("SECOND", optional.second).read(Operand::Input(0));
    if optional.second { launch.read(Operand::Input(1)) } else { launch }
}

/// What follows the sum, and the outputs: the switches of the shader, the operands behind the weight and every output.
pub(in super::super) fn epilogue(launch: Launch, optional: OptionalOperands) -> Launch {
    let launch = launch.constants(fields! {
        BIAS: optional.bias,
        TEMB: optional.temb.is_some(),
        RESIDUAL: optional.residual,
    });
    let inputs = (1..=optional.behind_weight()).map(|i| Operand::Input(optional.weight() + i));
    let launch = inputs.fold(launch, Launch::read);
    (0..=optional.more_outputs).fold(launch, |launch, i| launch.write(Operand::Output(i)))
}

/// No second input and nothing that follows the sum; the caller binds.
pub(in super::super) fn bare(launch: Launch) -> Launch {
    launch.constants(fields! { SECOND: false, BIAS: false, TEMB: false, RESIDUAL: false })
}

/// Inputs, weight, what follows the sum, and the outputs.
pub(in super::super) fn all(launch: Launch, optional: OptionalOperands, weight: Operand) -> Launch {
    epilogue(sources(launch, optional).read(weight), optional)
}

/// Where the time embedding lies, in units of `lanes` columns: the last fields of the uniform block, where there is one.
pub(in super::super) fn embedding(
    optional: OptionalOperands,
    lanes: usize,
) -> impl Iterator<Item = (&'static str, Const)> {
    let fields =
        optional.temb.map(|temb| fields! { temb_line: temb.line / lanes, temb_first: temb.first / lanes });
    fields.into_iter().flatten()
}

/// `candidate` of the tensor that `first` writes to a workspace of `bytes`, in place of `input`.
pub(in super::super) fn after(
    mut candidate: Candidate,
    input: Operand,
    bytes: u64,
    first: impl Fn(Operand) -> Launch,
) -> Candidate {
    let made = Operand::Workspace(candidate.workspaces.len());
    replace(&mut candidate.launches, |operand| if operand == input { made } else { operand });
    candidate.launches.insert(0, first(made));
    candidate.workspaces.push(bytes);
    candidate
}

/// Binds other operands in `launches`.
pub(in super::super) fn replace(launches: &mut [Launch], with: impl Fn(Operand) -> Operand) {
    for operand in launches.iter_mut().flat_map(|launch| &mut launch.operands) {
        *operand = with(*operand);
    }
}
