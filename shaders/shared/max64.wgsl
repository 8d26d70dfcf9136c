// The largest of one number from each of 64 invocations; all must call it.
var<workgroup> largest64: array<f32, 64>;

fn max64(value: f32, lane: u32) -> f32 {
    // Parts the last read of the maximum before from this write.
    workgroupBarrier();
    largest64[lane] = value;
    for (var half = 32u; half > 0u; half /= 2u) {
        // Parts the writes of the level below from these reads.
        workgroupBarrier();
        if lane < half {
            largest64[lane] = max(largest64[lane], largest64[lane + half]);
        }
    }
    // Parts the root's write from every invocation's read.
    workgroupBarrier();
    return largest64[0];
}
