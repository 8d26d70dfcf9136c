// The means of an image's channels, standardised over its channels with the unbiased variance: what InstanceNorm++ adds.
// `means` holds n 4 c, whose first row are the means. All 64 invocations of a workgroup call it.
struct Standard {
    mean: f32,
    inverse: f32,
}

fn standard_of(image: u32, lane: u32) -> Standard {
    let base = image * 4u * p.channels;
    let shift = means[base];
    var sum = 0.0;
    for (var channel = lane; channel < p.channels; channel += 64u) {
        sum += means[base + channel] - shift;
    }
    let moved = sum64(sum, lane) / f32(p.channels);
    var deviations = 0.0;
    for (var channel = lane; channel < p.channels; channel += 64u) {
        let d = means[base + channel] - shift - moved;
        deviations += d * d;
    }
    let variance = sum64(deviations, lane) / (f32(p.channels) - 1.0);
    return Standard(shift + moved, 1.0 / sqrt(variance + p.eps));
}
