//! The state directory: how far a replay is, one file for each target, so that it can go on after an interruption.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use journal::{CursorState, Place};
use serde::{Deserialize, Serialize};
use shadow::Target;

use super::selection::Window;
use super::tally::Tally;

const VERSION: u32 = 1;

/// Held as long as the replay runs: two that share a state would both send everything.
#[derive(Debug)]
pub(super) struct StateDir {
    dir: PathBuf,
    _lock: File,
}

/// What is kept for a target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Saved {
    version: u32,
    /// What the replay reads, as the user named it. Another one is refused.
    pub source: String,
    /// Which part of it, as the user said. Another one is refused.
    pub selection: String,
    /// The same, worked out when the replay began.
    pub window: Window,
    /// Where it is sent.
    pub target: String,
    bookmark: Bookmark,
    /// The account of what is done.
    pub tally: Tally,
    /// Everything is done.
    pub finished: bool,
    /// Nothing was on its way any more. Otherwise the run was perhaps killed, and the target may have been busy
    /// with what it was sent.
    #[serde(default)]
    pub at_rest: bool,
}

/// A [`CursorState`] as it is written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Bookmark {
    low: (u64, u64),
    high: (u64, u64),
    open: Vec<u64>,
    /// What else the source keeps, as text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    extra: String,
}

impl Saved {
    /// What to keep now.
    #[must_use]
    #[expect(clippy::too_many_arguments, reason = "each is a field")]
    pub(super) fn new(
        source: String,
        selection: String,
        window: Window,
        target: &Target,
        bookmark: CursorState,
        tally: Tally,
        finished: bool,
        at_rest: bool,
    ) -> Self {
        let pair = |place: Place| (place.position, place.sequence);
        Self {
            version: VERSION,
            source,
            selection,
            window,
            target: target.to_string(),
            bookmark: Bookmark {
                low: pair(bookmark.low),
                high: pair(bookmark.high),
                open: bookmark.open,
                extra: String::from_utf8_lossy(&bookmark.extra).into_owned(),
            },
            tally,
            finished,
            at_rest,
        }
    }

    /// What was done, for the source.
    #[must_use]
    pub(super) fn bookmark(&self) -> CursorState {
        let place = |(position, sequence)| Place { position, sequence };
        let mut open = self.bookmark.open.clone();
        open.sort_unstable();
        CursorState {
            low: place(self.bookmark.low),
            high: place(self.bookmark.high),
            open,
            extra: self.bookmark.extra.clone().into_bytes(),
        }
    }
}

impl StateDir {
    /// Takes the directory, creating it when it is not there.
    ///
    /// # Errors
    /// When another replay has it, or the file system refuses.
    pub(super) fn open(dir: &Path) -> anyhow::Result<Self> {
        let cannot = || format!("cannot use the state directory {}", dir.display());
        fs::create_dir_all(dir).with_context(cannot)?;
        let lock = File::create(dir.join("LOCK")).with_context(cannot)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!(
                "another replay uses the state directory {}; wait for it, or name another one with --state",
                dir.display()
            ),
            Err(TryLockError::Error(error)) => return Err(error).with_context(cannot),
        }
        Ok(Self {
            dir: dir.to_owned(),
            _lock: lock,
        })
    }

    /// What was kept for the target.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn load(&self, target: &Target) -> anyhow::Result<Option<Saved>> {
        let path = self.path(target);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        let saved: Saved = serde_json::from_slice(&bytes).with_context(|| {
            format!(
                "the state {} cannot be understood; --restart begins anew",
                path.display()
            )
        })?;
        if saved.version != VERSION {
            bail!(
                "the state {} is of another version of this program; --restart begins anew",
                path.display()
            );
        }
        Ok(Some(saved))
    }

    /// Keeps it, in place of what was kept before. Blocks for one sync of a small file.
    ///
    /// # Errors
    /// When the file system refuses; what was kept before stays.
    pub(super) fn save(&self, target: &Target, saved: &Saved) -> anyhow::Result<()> {
        let path = self.path(target);
        let new = path.with_extension("tmp");
        let write = || -> io::Result<()> {
            let mut file = File::create(&new)?;
            file.write_all(&serde_json::to_vec(saved)?)?;
            file.sync_all()?;
            fs::rename(&new, &path)
        };
        write().with_context(|| format!("cannot write the state {}", path.display()))
    }

    /// Where the engine notes for the target what it must not forget over a kill.
    pub(super) fn notes(&self, target: &Target) -> PathBuf {
        self.path(target).with_extension("notes")
    }

    /// Where what may differ on the target is listed.
    pub(super) fn ambiguous(&self, target: &Target) -> PathBuf {
        self.path(target).with_extension("ambiguous.ndjson")
    }

    /// Forgets all that was kept for the target: what is there is of another replay.
    ///
    /// # Errors
    /// When the file system refuses.
    pub(super) fn forget(&self, target: &Target) -> anyhow::Result<()> {
        for path in [
            self.path(target),
            self.notes(target),
            self.ambiguous(target),
        ] {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("cannot remove {}", path.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn path(&self, target: &Target) -> PathBuf {
        let name: String = target
            .to_string()
            .chars()
            .map(|char| match char {
                'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '-' => char,
                _ => '_',
            })
            .collect();
        self.dir.join(format!("{name}.json"))
    }
}
