//! The only place that draws randomness.

/// `N` random bytes from the operating system.
///
/// # Panics
/// If the system has no randomness: nothing safe can be done then.
pub fn random_bytes<const N: usize>() -> [u8; N] {
    #[cfg(test)]
    if let Some(given) = super::testing::given_random() {
        return given;
    }
    let mut bytes = [0u8; N];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}
