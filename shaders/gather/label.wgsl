// The row that a label takes of a table with k rows: its integral part, or the first or last row.
// label: a float or an unsigned integer (INTEGER).
// row_of(label, k) = clamp(trunc(label), 0, k - 1).
// Used by every invocation on its own.
//!if INTEGER
alias Label = u32;
fn row_of(label: Label, k: u32) -> u32 {
    return min(label, k - 1u);
}
//!else
alias Label = f32;
fn row_of(label: Label, k: u32) -> u32 {
    return min(u32(max(label, 0.0)), k - 1u);
}
//!end
