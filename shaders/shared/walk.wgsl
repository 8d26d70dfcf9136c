// A walk over images channel by channel, for kernels that keep something per channel in registers. A workgroup owns `rows·turns`
// neighbouring pixels of one image and `cols` columns of V channels. An invocation owns one column and every `rows`-th of these
// pixels, so that neighbouring invocations read neighbouring memory. The uniform block p has pixels (of an image), columns (c/V),
// cols, rows and turns. The grid is pixels, columns, images.
struct Walk {
    inside: bool,
    image: u32,
    // Number of the invocation's pixels among the `rows` of every workgroup of the image.
    row: u32,
    column: u32,
    // The first pixel, and the one behind the workgroup's last.
    pixel: u32,
    end: u32,
}

fn walk(group: vec3<u32>, lane: u32) -> Walk {
    let row = lane / p.cols;
    let column = group.y * p.cols + lane % p.cols;
    let first = group.x * p.rows * p.turns;
    let end = min(first + p.rows * p.turns, p.pixels);
    return Walk(row < p.rows && column < p.columns, group.z, group.x * p.rows + row, column, first + row, end);
}
