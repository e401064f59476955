//! Arguments → a verb; one file per verb.

pub mod validate;

/// The program.
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::FAILURE
}
