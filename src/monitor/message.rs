//! The message that a container leaves at its end: the file at `terminationMessagePath`, or the end of its log.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// As much of the file as is kept (kubelet, MaxContainerTerminationMessageLength).
const FILE_MAX: u64 = 4096;
/// As much of the log (MaxContainerTerminationMessageLogLength and …LogLines).
const LOG_MAX: usize = 2048;
const LOG_LINES: usize = 80;
/// In how much of the log the lines are looked for.
const LOG_READ: u64 = 128 * 1024;

/// Makes the file, which any user of the container may write to.
pub fn make(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.set_permissions(fs::Permissions::from_mode(0o666))
}

/// The last 4096 bytes of the file; where they are nothing and `log` is given, the last lines of that.
pub fn read(path: &Path, log: Option<&Path>) -> Option<String> {
    let written = tail(path, FILE_MAX).unwrap_or_default();
    let bytes = match log {
        Some(log) if written.is_empty() => of_log(&tail(log, LOG_READ).unwrap_or_default()),
        Some(_) | None => written,
    };
    (!bytes.is_empty()).then(|| String::from_utf8_lossy(&bytes).into_owned())
}

fn tail(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(most)))?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The text of the last lines of a CRI log of which the beginning may be cut off.
fn of_log(log: &[u8]) -> Vec<u8> {
    let texts = log.split_inclusive(|b| *b == b'\n').filter_map(|line| {
        let mut fields = line.strip_suffix(b"\n")?.splitn(4, |b| *b == b' ');
        // podman writes the host's own time zone.
        let is_stamp = fields.next().is_some_and(|stamp| stamp.len() >= 30 && stamp.get(10) == Some(&b'T'));
        let is_stream = matches!(fields.next(), Some(b"stdout" | b"stderr"));
        let whole = fields.next()? == b"F";
        (is_stamp && is_stream).then_some((whole, fields.next().unwrap_or_default()))
    });
    let mut lines: Vec<Vec<u8>> = vec![Vec::new()];
    for (whole, text) in texts {
        if let Some(last) = lines.last_mut() {
            last.extend_from_slice(text);
            if whole {
                last.push(b'\n');
                lines.push(Vec::new());
            }
        }
    }
    let lines: Vec<Vec<u8>> = lines.into_iter().filter(|l| !l.is_empty()).collect();
    let text = lines.get(lines.len().saturating_sub(LOG_LINES)..).unwrap_or_default().concat();
    text.get(text.len().saturating_sub(LOG_MAX)..).unwrap_or_default().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_file_or_of_a_log() {
        let dir = std::env::temp_dir().join(format!("podstrap-message-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let (path, log) = (dir.join("m"), dir.join("l"));
        assert_eq!(read(&path, Some(&log)), None);
        make(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o666);
        let stamp = "2026-01-02T03:04:05.123456789Z";
        let lines: String = (0..100).map(|i| format!("{stamp} stdout F {i}\n")).collect();
        fs::write(&log, format!("cut off\n{lines}{stamp} stderr P a\n{stamp} stderr F b\n")).unwrap();
        assert_eq!(read(&path, None), None);
        let text = read(&path, Some(&log)).unwrap();
        assert!(text.starts_with("21\n22\n") && text.ends_with("99\nab\n"), "{text}");
        fs::write(&log, format!("{stamp} stdout F {}\n", "x".repeat(3000))).unwrap();
        assert_eq!(read(&path, Some(&log)).unwrap().len(), 2048);
        fs::write(&path, format!("{}end", "y".repeat(5000))).unwrap();
        let text = read(&path, Some(&log)).unwrap();
        assert!(text.len() == 4096 && text.ends_with("yend"));
        fs::remove_dir_all(&dir).unwrap();
    }
}
