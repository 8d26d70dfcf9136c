// Adds the product of the two tiles of tile_t.wgsl to the sums.
        for (var k = 0u; k < 16u; k++) {
//!for h in 0..2
            let a$h = tile_a[k * ROWS + down + ${h}u * (ROWS / 2u)];
            let b$h = tile_b[k * COLUMNS + across + ${h}u * (COLUMNS / 2u)];
//!end
//!for h in 0..2
//!for r in 0..4
//!for c in 0..2
            sum${h*4+r}_$c += a$h[$r] * b$c;
//!end
//!end
//!end
        }
