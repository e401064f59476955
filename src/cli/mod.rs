//! Arguments → a verb; one file per verb.

pub mod image;
pub mod table;

/// The program.
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::FAILURE
}
