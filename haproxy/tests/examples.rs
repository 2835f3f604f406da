//! The ready texts in `examples/` are what the generator writes, to the byte.
//!
//! After a change of a template, `UPDATE_EXAMPLES=1 cargo test -p haproxy-config` writes them anew;
//! the difference is then there to be read before it is committed.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests are tests; clippy's own exception knows functions marked #[test] only"
)]

use std::fs;
use std::path::Path;

use haproxy_config::{Hold, Options, Role, generate};

fn shipped() -> [(&'static str, Options); 4] {
    let primary = Options {
        listen: vec!["*:9200".parse().unwrap()],
        nodes: vec![
            "10.0.0.1:9200".parse().unwrap(),
            "10.0.0.2:9200".parse().unwrap(),
            "10.0.0.3:9200".parse().unwrap(),
        ],
        ..Options::default()
    };
    let shadow = Options {
        role: Role::Shadow,
        nodes: vec!["10.0.1.1:9200".parse().unwrap()],
        ..primary.clone()
    };
    [
        ("primary", primary.clone()),
        (
            "primary-hold-open",
            Options {
                hold: Hold::Open,
                ..primary.clone()
            },
        ),
        (
            "primary-hold-closed",
            Options {
                hold: Hold::Closed,
                ..primary
            },
        ),
        ("shadow", shadow),
    ]
}

#[test]
fn the_examples_are_what_the_generator_writes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let update = std::env::var_os("UPDATE_EXAMPLES").is_some();
    for (name, options) in shipped() {
        let files = generate(&options).unwrap();
        for (kind, text) in [("haproxy", files.haproxy_cfg), ("spoe", files.spoe_cfg)] {
            let path = folder.join(format!("{name}.{kind}.cfg"));
            if update {
                fs::write(&path, &text).unwrap();
            }
            let shipped = fs::read_to_string(&path).unwrap_or_default();
            assert!(
                shipped == text,
                "{} differs from what the generator writes; \
                 UPDATE_EXAMPLES=1 cargo test -p haproxy-config --test examples writes it anew",
                path.display()
            );
        }
    }
}
