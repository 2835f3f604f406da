//! `src/record/wire.rs` is generated; this makes it anew and compares.

use std::{fs, path::Path};

/// Run with `UPDATE=1` to write the file.
#[test]
fn generated_code_is_up_to_date() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let descriptors = protox::compile([root.join("proto/record.proto")], [root.join("proto")])
        .expect("record.proto compiles");
    let out = tempfile::tempdir().expect("a temporary directory");
    prost_build::Config::new()
        .out_dir(out.path())
        .bytes(["."])
        .compile_fds(descriptors)
        .expect("code is generated");
    let fresh =
        fs::read_to_string(out.path().join("spoa_agent.record.v1.rs")).expect("it is there");
    let committed = root.join("src/record/wire.rs");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&committed, &fresh).expect("wire.rs is writable");
    }
    let current = fs::read_to_string(&committed).expect("wire.rs is there");
    assert!(
        current == fresh,
        "src/record/wire.rs is out of date: run this test with UPDATE=1"
    );
}
