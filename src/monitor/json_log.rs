//! (replaced by the text branch)
use std::io;
use std::path::Path;
/// x
pub fn convert(_: &Path, _: &Path, _: u64, _: u32) -> io::Result<()> {
    Ok(())
}
