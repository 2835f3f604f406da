//! The `spoa-agent` program: parse, build, run, exit code. Everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    spoa_agent::cli::main(std::env::args_os())
}
