// The sum of one number from each of 64 invocations, the same tree each time; all must call it.
var<workgroup> tree64: array<f32, 64>;

fn sum64(value: f32, lane: u32) -> f32 {
    // Parts the last read of the sum before from this write.
    workgroupBarrier();
    tree64[lane] = value;
    for (var half = 32u; half > 0u; half /= 2u) {
        // Parts the writes of the level below from these reads.
        workgroupBarrier();
        if lane < half {
            tree64[lane] += tree64[lane + half];
        }
    }
    // Parts the root's write from every invocation's read.
    workgroupBarrier();
    return tree64[0];
}
