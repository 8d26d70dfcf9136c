//! One table of cases per op, run in every mode.

mod adam;
mod attention;
mod activation;
mod broadcast;
mod clip;
mod column_sum;
mod concat;
mod conv2d;
mod dropout;
mod elementwise;
mod ema;
mod gather;
mod lookup;
mod group_norm;
mod instance_norm;
mod philox;
mod reduce;
mod resample;
mod rk45;
mod sampler_step;
mod upfirdn2d;
