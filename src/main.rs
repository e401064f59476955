//! The `podstrap` command: see `cli`.

fn main() -> std::process::ExitCode {
    podstrap::cli::main()
}
