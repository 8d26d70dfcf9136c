// The row of a table for an image at a step: `per_step` rows a step, one for all images or one for each.
// counter: steps before; rows: of the table. A counter past the last step stays on it, so that no replay reads outside.
fn table_row(counter: u32, rows: u32, per_step: u32, image: u32) -> u32 {
    return min(counter * per_step, rows - per_step) + min(image, per_step - 1u);
}
