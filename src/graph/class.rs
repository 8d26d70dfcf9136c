//! Classes of kernels: the names by which a person asks for one way of computing an op.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// A way of computing an op. Kernels of one class may differ by tiles and by the order of their sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// 3×3 convolutions by Winograd's F(4×4, 3×3).
    Winograd4,
    /// 3×3 convolutions by Winograd's F(2×2, 3×3).
    Winograd2,
    /// The same behind a group norm that the first stage applies.
    Prologue,
    /// Convolutions as matrix products whose left operand is never stored.
    Implicit,
    /// 1×1 convolutions and dense layers as one matrix product.
    Gemm,
    /// Convolutions by pixels × channels in registers, without workgroup memory.
    Direct,
    /// Attention that stores the scores of some images at a time.
    Scores,
    /// Attention that stores no scores.
    Online,
    /// Products of operands rounded to f16.
    Half,
    /// The same by cooperative matrices.
    Cooperative,
    /// One output at a time, for every shape; the only way of most ops.
    Plain,
}

impl Class {
    /// All of them, in the order in which help lists them.
    pub const ALL: [Self; 11] = [
        Self::Winograd4,
        Self::Winograd2,
        Self::Prologue,
        Self::Implicit,
        Self::Gemm,
        Self::Direct,
        Self::Scores,
        Self::Online,
        Self::Half,
        Self::Cooperative,
        Self::Plain,
    ];

    /// The name: what is parsed, printed and recorded.
    pub const fn name(self) -> &'static str {
        self.text().0
    }

    /// What it computes and how, for help.
    pub const fn meaning(self) -> &'static str {
        self.text().1
    }

    const fn text(self) -> (&'static str, &'static str) {
        match self {
            Self::Winograd4 => ("winograd4", "3×3 convolutions by Winograd's F(4×4, 3×3)"),
            Self::Winograd2 => ("winograd2", "3×3 convolutions by Winograd's F(2×2, 3×3)"),
            Self::Prologue => {
                ("prologue", "Winograd convolutions whose first stage applies the group norm before them")
            }
            Self::Implicit => {
                ("implicit", "convolutions as matrix products of which one operand is never stored")
            }
            Self::Gemm => ("gemm", "1×1 convolutions and dense layers as one matrix product"),
            Self::Direct => ("direct", "convolutions by pixels × channels in registers"),
            Self::Scores => ("scores", "attention that stores the scores of some images at a time"),
            Self::Online => ("online", "attention that stores no scores"),
            Self::Half => ("half", "products of operands rounded to f16, only where asked for"),
            Self::Cooperative => ("cooperative", "the same by cooperative matrices, only where asked for"),
            Self::Plain => ("plain", "one output at a time, for every shape"),
        }
    }

    /// True where the operands of products are rounded to f16: such a class is taken only where it is asked for.
    pub const fn is_reduced(self) -> bool {
        matches!(self, Self::Half | Self::Cooperative)
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Class {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|class| class.name() == text).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|class| class.name()).collect();
            Error::invalid("class of kernels", text, format!("the classes are {}", names.join(", ")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_and_are_told_apart() {
        for class in Class::ALL {
            assert_eq!(class.name().parse::<Class>().unwrap(), class);
        }
        let message = "winograd".parse::<Class>().unwrap_err().to_string();
        assert!(message.contains("winograd4, winograd2"), "{message}");
    }
}
