//! The code that is generated from `proto/`; this makes it anew and compares.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a helper that fails has failed its test"
)]

use std::{fs, path::Path};

#[test]
fn the_code_of_the_record_is_up_to_date() {
    check(
        "record.proto",
        "spoa_agent.record.v1.rs",
        "src/record/wire.rs",
    );
}

#[test]
fn the_code_of_the_traffic_stream_is_up_to_date() {
    check(
        "traffic_stream.proto",
        "_.rs",
        "src/message/traffic_stream/wire.rs",
    );
}

/// Run with `UPDATE=1` to write the file.
fn check(proto: &str, generated: &str, committed: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let descriptors = protox::compile([root.join("proto").join(proto)], [root.join("proto")])
        .unwrap_or_else(|error| panic!("{proto} does not compile: {error}"));
    let out = tempfile::tempdir().unwrap();
    prost_build::Config::new()
        .out_dir(out.path())
        .bytes(["."])
        .extern_path(".google.protobuf.Timestamp", "super::Timestamp")
        .compile_fds(descriptors)
        .unwrap();
    let fresh = fs::read_to_string(out.path().join(generated)).unwrap();
    let file = root.join(committed);
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&file, &fresh).unwrap();
    }
    let current = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        current == fresh,
        "{committed} is out of date: run this test with UPDATE=1"
    );
}
