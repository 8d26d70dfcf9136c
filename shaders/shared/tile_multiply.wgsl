// Adds the product of the two tiles of tile.wgsl to the sums.
//!if COOP
        for (var k = 0u; k < BK; k += COOP) {
//!for i in 0..ACC_M
            let a$i = coopLoadT<coop_mat${COOP}x${COOP}<f16, A>>(&tile_a[(matrix_m + ${i*COOP}u) * LINE_A + k], LINE_A);
//!end
//!for c in 0..ACC_N
            let b$c = coopLoadT<coop_mat${COOP}x${COOP}<f16, B>>(&tile_b[k * LINE_B + matrix_n + ${c*COOP}u], LINE_B);
//!end
//!for i in 0..ACC_M
//!for c in 0..ACC_N
            sum${i}_$c = coopMultiplyAdd(a$i, b$c, sum${i}_$c);
//!end
//!end
        }
//!else
        for (var q = 0u; q < QUADS; q++) {
//!for i in 0..8
            let a$i = vec4<f32>(tile_a[(down + ${i}u * DOWN) * QUADS + q]);
//!end
//!for k in 0..4
            {
//!for c in 0..QN
                let b$c = vec4<f32>(tile_b[(q * 4u + ${k}u) * COLUMNS + across + ${c}u * ACROSS]);
//!end
//!for i in 0..8
//!for c in 0..QN
                sum${i}_$c += a$i[$k] * b$c;
//!end
//!end
            }
//!end
        }
//!end
