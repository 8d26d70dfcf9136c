//! What a kernel multiplies: f32, or operands rounded to f16.

use super::class::Class;
use crate::gpu::Capabilities;

/// What the operands of a kernel's products are. All sums are f32, and so is everything between ops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Arithmetic {
    /// f32: on every device, and the only kind that is chosen unless another is asked for.
    #[default]
    Single,
    /// f16, which keeps 11 bits of a number and none above 65,504.
    Half,
    /// f16 by cooperative matrices with this many rows and columns.
    Cooperative(u32),
}

impl Arithmetic {
    /// What kernels of a class multiply where the device can: f32 but for `half` and `cooperative`.
    pub fn of_class(class: Class, device: &Capabilities) -> Self {
        let asked = match class {
            Class::Half => Self::Half,
            Class::Cooperative => Self::Cooperative(device.cooperative.unwrap_or(16)),
            _ => Self::Single,
        };
        if asked.lacking(device).is_none() { asked } else { Self::Single }
    }

    /// True where a result differs from f32 by more than the order of its sums.
    pub fn is_reduced(self) -> bool {
        self != Self::Single
    }

    /// What the device lacks for it; nothing where it has all.
    pub fn lacking(self, device: &Capabilities) -> Option<String> {
        match self {
            Self::Single => None,
            _ if !device.f16 => Some("the device has no f16 in shaders".into()),
            Self::Half => None,
            Self::Cooperative(_) if device.subgroups.is_none() => Some("the device has no subgroups".into()),
            Self::Cooperative(edge) if device.cooperative != Some(edge) => Some(match device.cooperative {
                None => "the device has no cooperative matrices, or was opened without them".into(),
                Some(other) => format!("the device's cooperative matrices are {other}×{other}"),
            }),
            Self::Cooperative(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::DeviceKind;

    #[test]
    fn what_is_lacking_is_said() {
        let device = |f16, subgroups: bool, cooperative| Capabilities {
            kind: DeviceKind::Discrete,
            max_binding: 128 << 20,
            max_buffer: 256 << 20,
            workgroup_memory: 16 << 10,
            max_invocations: 256,
            f16,
            subgroups: subgroups.then_some((32, 32)),
            cooperative,
            timestamps: false,
            uniform_alignment: 256,
        };
        let all = [Arithmetic::Single, Arithmetic::Half, Arithmetic::Cooperative(16)];
        let fits = |device: &Capabilities| all.map(|a| a.lacking(device).is_none());
        assert_eq!(fits(&device(false, true, Some(16))), [true, false, false]);
        assert_eq!(fits(&device(true, true, None)), [true, true, false]);
        assert_eq!(fits(&device(true, false, Some(16))), [true, true, false]);
        assert_eq!(fits(&device(true, true, Some(8))), [true, true, false]);
        assert_eq!(fits(&device(true, true, Some(16))), [true, true, true]);
        let said = Arithmetic::Cooperative(16).lacking(&device(true, true, Some(8))).unwrap();
        assert!(said.contains("8×8"), "{said}");
    }
}
