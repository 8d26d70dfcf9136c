// A product aᵀ·b by tiles in workgroup memory, shared by the files that load 16 rows of each at a time; tile_t_multiply.wgsl is what a pair
// of tiles adds to the sums. The file that uses it has `lane`. An invocation owns 8 × 8: two quads of rows, two of columns.
const THREADS: u32 = BM * BN / 64u;
const ROWS: u32 = BM / 4u;
const COLUMNS: u32 = BN / 4u;

var<workgroup> tile_a: array<vec4<f32>, 16u * ROWS>;
var<workgroup> tile_b: array<vec4<f32>, 16u * COLUMNS>;
