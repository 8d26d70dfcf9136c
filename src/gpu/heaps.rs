//! How much memory a device has, which `wgpu` itself does not tell.

/// The heaps that are the device's own, in bytes. Vulkan tells; of the other backends nothing is known.
#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd", windows))]
pub(super) fn memory(adapter: &wgpu::Adapter) -> Option<u64> {
    /// `VK_MEMORY_HEAP_DEVICE_LOCAL_BIT`
    const DEVICE_LOCAL: u32 = 1;
    // SAFETY: the guard is only read, and dropped at the end of this function.
    let vulkan = unsafe { adapter.as_hal::<wgpu::hal::api::Vulkan>() }?;
    let instance = vulkan.shared_instance().raw_instance();
    // SAFETY: the physical device belongs to this instance, which the guard keeps alive.
    let heaps = unsafe { instance.get_physical_device_memory_properties(vulkan.raw_physical_device()) };
    let own = heaps.memory_heaps_as_slice().iter().filter(|heap| heap.flags.as_raw() & DEVICE_LOCAL != 0);
    Some(own.map(|heap| heap.size).sum())
}

/// Metal has no such figure.
#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd", windows)))]
pub(super) fn memory(_: &wgpu::Adapter) -> Option<u64> {
    None
}
