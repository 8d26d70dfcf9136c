//! One table of cases per op, run in every mode.

mod adam;
mod attention;
mod activation;
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
mod lookup;
mod group_norm;
mod instance_norm;
mod philox;
mod pool;
mod reduce;
mod resample;
mod rk45;
mod sampler_step;
mod softmax;
mod upfirdn2d;
