//! `spoa-agent completions`.

use std::io::Write;

use super::exit::Exit;

/// Print the completions for a shell
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  spoa-agent completions bash > /etc/bash_completion.d/spoa-agent
  spoa-agent completions zsh > \"${fpath[1]}/_spoa-agent\"
  spoa-agent completions fish > ~/.config/fish/completions/spoa-agent.fish")]
pub(super) struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

impl Args {
    pub(super) fn print(self, out: &mut impl Write) -> anyhow::Result<Exit> {
        // The generator panics when its output is closed, so it writes to memory.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut super::command(), "spoa-agent", &mut script);
        out.write_all(&script)?;
        out.flush()?;
        Ok(Exit::Ok)
    }
}
