#![no_main]

#[allow(dead_code, reason = "each target uses its own function of the module")]
#[path = "../src/targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::frame_stream(data));
