// The sums of tile.wgsl, zero.
//!if COOP
    // Subgroups are as wide as the device likes. Where they are smaller than its largest and so more than have matrices, those behind
    // the last owner do what it does, since all must take part, and store it where nobody looks.
    let owner = min(subgroup, SUBGROUPS - 1u);
    let block = min(subgroup, SUBGROUPS) * BLOCK;
    let matrix_m = owner / SUBGROUPS_ACROSS * ACC_M * COOP;
    let matrix_n = owner % SUBGROUPS_ACROSS * ACC_N * COOP;
    for (var i = lane; i < BLOCK; i += THREADS) {
        blocks[i] = 0.0;
    }
    // Part the zeros from their reads.
    workgroupBarrier();
//!for i in 0..ACC_M
//!for c in 0..ACC_N
    var sum${i}_$c = coopLoadT<coop_mat${COOP}x${COOP}<f32, C>>(&blocks[0], COOP);
//!end
//!end
//!else
    let across = lane % ACROSS;
    let down = lane / ACROSS;
//!for i in 0..8
//!for c in 0..QN
    var sum${i}_$c = vec4<f32>(0.0);
//!end
//!end
//!end
