// The largest number of a row of x, and Σ exp(x - largest) over it: what softmax and cross-entropy share. The buffer is x, the uniform
// block has `width`; a workgroup of 64 owns a row, all invocations call it.
//!use shared/max64.wgsl
//!use shared/sum64.wgsl
struct RowExp {
    largest: f32,
    sum: f32,
}

fn row_exp(base: u32, lane: u32) -> RowExp {
    var largest = x[base];
    for (var i = lane; i < p.width; i += 64u) {
        largest = max(largest, x[base + i]);
    }
    largest = max64(largest, lane);
    var sum = 0.0;
    for (var i = lane; i < p.width; i += 64u) {
        sum += exp(x[base + i] - largest);
    }
    return RowExp(largest, sum64(sum, lane));
}
