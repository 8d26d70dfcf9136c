//! The authors' networks and the configuration that names them.
