// Hands the sums of tile.wgsl to put(), four columns at a time.
//!if COOP
//!for i in 0..ACC_M
//!for c in 0..ACC_N
    // Part the reads of the last matrices from the writes of these.
    workgroupBarrier();
    coopStoreT(sum${i}_$c, &blocks[block], COOP);
    // Part the writes of the matrices from their reads.
    workgroupBarrier();
    for (var e = lane; e < SUBGROUPS * BLOCK / 4u; e += THREADS) {
        let place = e / (BLOCK / 4u);
        let row = (place / SUBGROUPS_ACROSS * ACC_M + ${i}u) * COOP + e / (COOP / 4u) % COOP;
        let column = first_n + (place % SUBGROUPS_ACROSS * ACC_N + ${c}u) * (COOP / 4u) + e % (COOP / 4u);
        if column < end_n {
            let at = e * 4u;
            put(z, first_m + row, column, vec4<f32>(blocks[at], blocks[at + 1u], blocks[at + 2u], blocks[at + 3u]));
        }
    }
//!end
//!end
//!else
//!for c in 0..QN
    {
        let column = first_n + across + ${c}u * ACROSS;
        if column < end_n {
//!for i in 0..8
            put(z, first_m + down + ${i}u * DOWN, column, sum${i}_$c);
//!end
        }
    }
//!end
//!end
