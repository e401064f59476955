//! The least of a tar writer (ustar, POSIX.1-1988): whole files and hard links with short names, in memory.

use std::io;

const BLOCK: usize = 512;

/// A tar file that grows.
#[derive(Debug, Default)]
pub struct Tar(Vec<u8>);

impl Tar {
    /// Adds a file of root's.
    pub fn file(&mut self, name: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        self.header(name, mode, content.len() as u64, b'0', "")?;
        self.0.extend_from_slice(content);
        let over = content.len() % BLOCK;
        if over > 0 {
            self.0.resize(self.0.len() + BLOCK - over, 0);
        }
        Ok(())
    }

    /// Adds another name of a file that is there already.
    pub fn hard_link(&mut self, name: &str, target: &str) -> io::Result<()> {
        self.header(name, 0o755, 0, b'1', target)
    }

    /// The whole of it, closed by two empty blocks.
    pub fn finish(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 2 * BLOCK, 0);
        self.0
    }

    fn header(&mut self, name: &str, mode: u32, size: u64, kind: u8, link: &str) -> io::Result<()> {
        let mut block = [0_u8; BLOCK];
        let mut put = |at: usize, width: usize, text: &[u8]| match block.get_mut(at..at + text.len()) {
            Some(field) if text.len() <= width => {
                field.copy_from_slice(text);
                Ok(())
            }
            Some(_) | None => Err(io::Error::other(format!("{name}: too long for a tar header"))),
        };
        put(0, 100, name.as_bytes())?;
        put(100, 8, format!("{mode:07o}").as_bytes())?;
        put(108, 8, b"0000000")?;
        put(116, 8, b"0000000")?;
        put(124, 12, format!("{size:011o}").as_bytes())?;
        put(136, 12, b"00000000000")?;
        put(148, 8, b"        ")?;
        put(156, 1, &[kind])?;
        put(157, 100, link.as_bytes())?;
        put(257, 8, b"ustar\x0000")?;
        let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
        if let Some(field) = block.get_mut(148..156) {
            field.copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
        self.0.extend_from_slice(&block);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read_again() {
        let mut tar = Tar::default();
        tar.file("bin/a", 0o755, &[7; 700]).unwrap();
        tar.hard_link("b", "bin/a").unwrap();
        assert!(tar.file(&"x".repeat(101), 0o644, b"").is_err());
        let bytes = tar.finish();
        assert_eq!(bytes.len() % BLOCK, 0);
        let dir = std::env::temp_dir().join(format!("podstrap-tar-out-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("t.tar"), &bytes).unwrap();
        let status =
            std::process::Command::new("tar").arg("-xf").arg("t.tar").current_dir(&dir).status().unwrap();
        assert!(status.success());
        assert_eq!(std::fs::read(dir.join("b")).unwrap(), [7; 700]);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
