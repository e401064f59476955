//! Arguments → a verb; one file per verb.

/// The program.
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::FAILURE
}
