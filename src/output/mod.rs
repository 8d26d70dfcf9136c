//! Images, grids, animations, arrays, metrics and event files.
