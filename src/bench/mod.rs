//! What `gen bench` and `cargo bench` share: what is measured, the peaks of the device, the check before the time.
//!
//! A [`Case`] is a graph with numbers in it. [`Bench`] builds it with the kernels that a user would get, holds what it gives against the
//! plainest kernels, and only then takes times; they stand beside two peaks that the same process measured.
//!
//! ```
//! use langevin::bench::{Group, suite};
//!
//! let cases = suite();
//! assert!(cases.iter().any(|case| case.group == Group::Kernel && case.name.starts_with("conv3x3")));
//! ```

mod case;
mod measure;
mod ops;
mod peaks;
mod step;
mod suite;
mod trace;

pub use case::{Built, Case, Data, Group, Workload};
pub use measure::{Bench, Measurement};
pub use peaks::Peaks;
pub use suite::suite;
pub use trace::{Slice, chrome_trace};
