//! The file of pairs: a line of JSON for each request that was answered or given up, as the pair log has them.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use exchange::json::{self, PairName};
use exchange::{Credentials, Pair};
use parking_lot::Mutex;

/// Bytes of each body that a line holds at most.
pub(super) const BODY_LIMIT: usize = 256 << 10;

/// Shared by all targets; a line says which one it is about.
#[derive(Debug)]
pub(super) struct PairFile {
    path: PathBuf,
    out: Mutex<Out>,
}

#[derive(Debug)]
struct Out {
    file: BufWriter<File>,
    line: Vec<u8>,
}

impl PairFile {
    /// Appends to the file, and creates it (mode 0600) when it is not there.
    ///
    /// # Errors
    /// When the system refuses.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(path)
            .with_context(|| format!("cannot write pairs to {}", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
            out: Mutex::new(Out {
                file: BufWriter::new(file),
                line: Vec::new(),
            }),
        })
    }

    /// Writes a line, without credentials.
    ///
    /// # Errors
    /// When the disk is full, for example.
    pub(super) fn write(&self, mut pair: Box<Pair>) -> anyhow::Result<()> {
        pair.mask(&Credentials::default());
        pair.limit_bodies(BODY_LIMIT);
        let mut out = self.out.lock();
        let Out { file, line } = &mut *out;
        line.clear();
        let name = PairName::Position(pair.position);
        json::write_pair(&pair, name, json::Options::default(), line);
        file.write_all(line).with_context(|| self.cannot())
    }

    /// What was written before is with the system.
    ///
    /// # Errors
    /// When the disk is full, for example.
    pub(super) fn flush(&self) -> anyhow::Result<()> {
        self.out.lock().file.flush().with_context(|| self.cannot())
    }

    fn cannot(&self) -> String {
        format!("cannot write to {}", self.path.display())
    }
}
