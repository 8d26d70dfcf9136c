// A product of matrices by tiles in workgroup memory, shared by the files that load the tiles: here the tiles, in tile_sums.wgsl the
// sums of an invocation, in tile_multiply.wgsl what a pair of tiles adds to them, in tile_put.wgsl what becomes of them. The file that
// uses these has `lane`, `first_m` (row), `first_n` and `end_n` (quads of columns), `z` (matrix of a batch), and the put() of its op's
// gemm_epilogue.wgsl, which leaves out the rows that there are not.
// a: BM rows × BK channels; b: BK channels × BN columns. HALF: both in f16, the sums in f32 all the same. Without COOP an invocation owns
// 8 rows × QN quads of columns, DOWN and ACROSS apart. With it a subgroup owns ACC_M × ACC_N cooperative matrices of COOP × COOP.
//!if HALF
enable f16;
alias Four = vec4<f16>;
//!else
alias Four = vec4<f32>;
//!end

const QUADS: u32 = BK / 4u;
const COLUMNS: u32 = BN / 4u;

//!if COOP
enable wgpu_cooperative_matrix;
// Lines end with 8 unused elements, so that rows of a matrix begin in different banks of memory.
const LINE_A: u32 = BK + 8u;
const LINE_B: u32 = BN + 8u;
const BLOCK: u32 = COOP * COOP;

var<workgroup> tile_a: array<f16, BM * LINE_A>;
var<workgroup> tile_b: array<f16, BK * LINE_B>;
// A matrix of each subgroup, since its elements can be had by storing it only; the last is of subgroups that own none.
var<workgroup> blocks: array<f32, (SUBGROUPS + 1u) * BLOCK>;

fn hold_a(row: u32, quad: u32, value: Four) {
    let at = row * LINE_A + quad * 4u;
//!for i in 0..4
    tile_a[at + ${i}u] = value[$i];
//!end
}

fn hold_b(k: u32, column: u32, value: Four) {
    let at = k * LINE_B + column * 4u;
//!for i in 0..4
    tile_b[at + ${i}u] = value[$i];
//!end
}
//!else
const ACROSS: u32 = COLUMNS / QN;
const DOWN: u32 = BM / 8u;

var<workgroup> tile_a: array<Four, BM * QUADS>;
var<workgroup> tile_b: array<Four, BK * COLUMNS>;

fn hold_a(row: u32, quad: u32, value: Four) {
    tile_a[row * QUADS + quad] = value;
}

fn hold_b(k: u32, column: u32, value: Four) {
    tile_b[k * COLUMNS + column] = value;
}
//!end
