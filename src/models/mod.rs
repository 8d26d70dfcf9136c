//! The authors' networks and the configuration that names them.

pub mod config;
pub mod presets;

pub use config::Config;
