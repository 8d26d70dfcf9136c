// A walk over images channel by channel, for kernels that keep something per channel in registers. A workgroup owns
// `workgroup_rows·turns` neighbouring pixels of one image and `workgroup_columns` columns of V channels. An invocation owns one column
// and every `workgroup_rows`-th of these pixels, so that neighbouring invocations read neighbouring memory. walk() reads pixels (of an
// image), columns (c/V), workgroup_columns, workgroup_rows and turns of the uniform block p. The grid is pixels, columns, images.
struct Walk {
    inside: bool,
    image: u32,
    // Number of the invocation's pixels among the rows of all workgroups of the image.
    row: u32,
    column: u32,
    // The first pixel, and the one behind the workgroup's last.
    pixel: u32,
    end: u32,
}

fn walk(group: vec3<u32>, lane: u32) -> Walk {
    let row = lane / p.workgroup_columns;
    let column = group.y * p.workgroup_columns + lane % p.workgroup_columns;
    let first = group.x * p.workgroup_rows * p.turns;
    let end = min(first + p.workgroup_rows * p.turns, p.pixels);
    return Walk(row < p.workgroup_rows && column < p.columns, group.z, group.x * p.workgroup_rows + row, column, first + row, end);
}
