//! Kernels and the pipelines built from them, each built once per device and shared between plans.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

#[cfg(feature = "threads")]
use rayon::prelude::*;

use super::device::Gpu;
use super::shader::{self, Const};
use super::wait::{self, Caught, blocking};
use crate::error::{Error, Result};

/// What a kernel does with a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// `var<storage, read>`.
    Read,
    /// `var<storage, read_write>`.
    ReadWrite,
}

/// A shader file with the constants of one variant and the access of its storage bindings, in the order of
/// `@binding(0)`, `@binding(1)`, …; the uniform block, whose first member is `origin: vec4<u32>`, comes right behind them.
#[derive(Clone, Debug, PartialEq)]
pub struct Kernel {
    /// Path below `shaders/`, or the name of a `text`.
    pub shader: &'static str,
    /// The text of a shader that is no file of this crate.
    pub text: Option<&'static str>,
    /// Constants in front of the text.
    pub constants: Vec<(&'static str, Const)>,
    /// Access of each storage binding.
    pub access: Vec<Access>,
}

/// What identifies a kernel: file, constants, access.
type Key = (&'static str, Option<&'static str>, Vec<(&'static str, (u8, u32))>, Vec<Access>);

impl Kernel {
    fn key(&self) -> Key {
        let constants = self.constants.iter().map(|(n, c)| (*n, c.key())).collect();
        (self.shader, self.text, constants, self.access.clone())
    }

    /// The label of pipelines and dispatches: file and constants.
    pub fn label(&self) -> String {
        let constants: Vec<String> = self
            .constants
            .iter()
            .map(|(n, c)| match c {
                Const::U32(v) => format!("{n}={v}"),
                Const::I32(v) => format!("{n}={v}"),
                Const::F32(v) => format!("{n}={v}"),
            })
            .collect();
        format!("{}[{}]", self.shader.trim_end_matches(".wgsl"), constants.join(" "))
    }

    /// The assembled WGSL.
    pub fn source(&self) -> Result<String> {
        self.assembled(&self.constants)
    }

    fn assembled(&self, constants: &[(&'static str, Const)]) -> Result<String> {
        match self.text {
            Some(text) => shader::assemble_text(self.shader, text, constants),
            None => shader::assemble(self.shader, constants),
        }
        .map_err(|cause| Error::Pipeline { label: self.label(), cause })
    }

    /// The assembled WGSL for FXC.
    pub fn source_for_fxc(&self) -> Result<String> {
        let mut constants = self.constants.clone();
        constants.push((shader::FXC, Const::U32(1)));
        self.assembled(&constants)
    }
}

/// A compiled kernel.
#[derive(Clone, Debug)]
pub struct Pipeline {
    pub(super) raw: Arc<wgpu::ComputePipeline>,
    pub(super) layout: Arc<wgpu::BindGroupLayout>,
    /// File and constants.
    pub label: Arc<str>,
}

/// Pipelines and layouts of a device.
#[derive(Default)]
pub(super) struct Cache {
    pipelines: Mutex<HashMap<Key, Pipeline>>,
    layouts: Mutex<HashMap<Vec<Access>, Arc<wgpu::BindGroupLayout>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Gpu {
    /// Compiles `kernels` on all cores, skipping those that exist already. The order is kept.
    ///
    /// # Errors
    /// [`Error::Pipeline`] with what the driver said, [`Error::DeviceLost`].
    pub async fn pipelines_async(&self, kernels: &[&Kernel]) -> Result<Vec<Pipeline>> {
        let cache = &self.inner.pipelines;
        let mut missing: HashMap<Key, &Kernel> = HashMap::new();
        {
            let known = lock(&cache.pipelines);
            for kernel in kernels {
                let key = kernel.key();
                if !known.contains_key(&key) {
                    missing.insert(key, kernel);
                }
            }
        }
        #[cfg(feature = "threads")]
        let missing = missing.into_par_iter();
        #[cfg(not(feature = "threads"))]
        let missing = missing.into_iter();
        let compiled = missing
            .map(|(key, kernel)| self.compile(kernel).map(|(pipeline, caught)| (key, pipeline, caught)))
            .collect::<Result<Vec<_>>>()?;
        // All are under way by now: a browser compiles them side by side.
        let mut built = Vec::with_capacity(compiled.len());
        for (key, pipeline, caught) in compiled {
            if let Some(cause) = caught.error().await {
                self.check()?;
                let (label, cause) = (pipeline.label.to_string(), cause.to_string());
                return Err(Error::Pipeline { label, cause });
            }
            self.count(|c| c.pipelines += 1);
            built.push((key, pipeline));
        }
        let mut known = lock(&cache.pipelines);
        known.extend(built);
        // bug: every key was either known or has just been inserted.
        Ok(kernels.iter().map(|k| known[&k.key()].clone()).collect())
    }

    /// [`Gpu::pipelines_async`], blocking the thread.
    ///
    /// # Errors
    /// As [`Gpu::pipelines_async`]; [`Error::CannotBlock`] in a browser.
    pub fn pipelines(&self, kernels: &[&Kernel]) -> Result<Vec<Pipeline>> {
        blocking(self.pipelines_async(kernels))
    }

    fn layout(&self, access: &[Access]) -> Arc<wgpu::BindGroupLayout> {
        let mut layouts = lock(&self.inner.pipelines.layouts);
        layouts
            .entry(access.to_vec())
            .or_insert_with(|| {
                let entry = |binding: usize, ty| wgpu::BindGroupLayoutEntry {
                    binding: binding as u32,
                    visibility: wgpu::ShaderStages::COMPUTE,
                    ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
                    count: None,
                };
                let mut entries: Vec<_> = access
                    .iter()
                    .enumerate()
                    .map(|(i, a)| {
                        entry(i, wgpu::BufferBindingType::Storage { read_only: *a == Access::Read })
                    })
                    .collect();
                entries.push(entry(access.len(), wgpu::BufferBindingType::Uniform));
                Arc::new(self.inner.device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
                    label: Some("kernel"),
                    entries: &entries,
                }))
            })
            .clone()
    }

    /// The pipeline, and whether the driver refuses it.
    fn compile(&self, kernel: &Kernel) -> Result<(Pipeline, Caught)> {
        let label = kernel.label();
        let by_fxc = self.adapter().compiler == Some(super::backend::FXC);
        let source = if by_fxc { kernel.source_for_fxc()? } else { kernel.source()? };
        let device = &self.inner.device;
        let checks = if self.inner.checked {
            wgpu::ShaderRuntimeChecks::checked()
        } else {
            wgpu::ShaderRuntimeChecks::unchecked()
        };
        let descriptor = wgpu::ShaderModuleDescriptor {
            label: Some(&label),
            source: wgpu::ShaderSource::Wgsl(source.into()),
        };
        let layout = self.layout(&kernel.access);
        let filters = [wgpu::ErrorFilter::Internal, wgpu::ErrorFilter::Validation];
        let (raw, caught) = wait::scoped(device, &filters, || {
            // SAFETY: the text is a file of this library. Every kernel guards its indices by the sizes in its uniform block or
            // constants, and has no unbounded loop; the tests run every variant with guard zones around its outputs.
            let module = unsafe { device.create_shader_module_trusted(descriptor, checks) };
            let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: Some(&label),
                bind_group_layouts: &[Some(&layout)],
                immediate_size: 0,
            });
            device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(&label),
                layout: Some(&pipeline_layout),
                module: &module,
                entry_point: None,
                compilation_options: wgpu::PipelineCompilationOptions {
                    constants: &[],
                    // No kernel reads workgroup memory that it has not written.
                    zero_initialize_workgroup_memory: self.inner.checked,
                },
                cache: None,
            })
        });
        Ok((Pipeline { raw: Arc::new(raw), layout, label: label.into() }, caught))
    }
}
