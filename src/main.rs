use std::process::ExitCode;

fn main() -> ExitCode {
    // Before anything else: the sandbox's worker must still be single-threaded.
    if std::env::args_os().nth(1).is_some_and(|first| first == kiln::sandbox::WORKER_ARGUMENT) {
        return kiln::sandbox::worker_main();
    }
    ExitCode::SUCCESS
}
