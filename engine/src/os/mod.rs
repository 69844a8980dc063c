//! The operating system: the only place that names `std::fs`, `std::process` or `std::env`.

pub mod durable;
pub mod identity;
pub mod lock;
