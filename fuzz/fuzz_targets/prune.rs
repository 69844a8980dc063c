#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| repo_fuzz::run("prune", data));
