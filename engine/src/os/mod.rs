//! The operating system: the only place that names `std::fs`, `std::process` or `std::env`.

pub mod durable;
pub mod identity;
pub mod lock;

/// Major and minor number of a device.
pub fn device_numbers(device: u64) -> (u32, u32) {
    (rustix::fs::major(device), rustix::fs::minor(device))
}
