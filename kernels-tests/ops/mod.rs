//! One table of cases per op, run in every mode.

mod activation;
mod adam;
mod attention;
mod bilinear;
mod broadcast;
mod clip;
mod column_sum;
mod concat;
mod conv2d;
mod cross_entropy;
mod dropout;
mod elementwise;
mod ema;
mod embedding;
mod gather;
mod group_norm;
mod instance_norm;
mod lookup;
mod philox;
mod pool;
mod reduce;
mod resample;
mod rk45;
mod sampler_step;
mod softmax;
mod upfirdn2d;
