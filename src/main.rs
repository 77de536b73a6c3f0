//! The `kiln` program. Everything it does is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    // A sandbox's worker is this program again; it must become one before any thread exists.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == kiln::sandbox::WORKER_ARGUMENT) {
        return kiln::sandbox::worker_main();
    }
    kiln::cli::main()
}
