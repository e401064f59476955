//! The file behind a container's log: made below LOG without following links, rotated by size, made again when it was
//! removed, and never a reason to hold up the container: what the disk does not take is counted and told.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2, renameat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, symlinkat, unlinkat};

use super::log::Civil;

/// Where one run's log lies, and how large it may become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The root of all logs.
    pub root: PathBuf,
    /// The directories below it: the Pod's and the container's.
    pub directories: [String; 2],
    /// `ATTEMPT.log`.
    pub name: String,
    /// The file is rotated when it would grow beyond this many bytes.
    pub max_bytes: u64,
    /// How many files are kept, the live one included.
    pub max_files: u32,
}

impl Place {
    /// Makes the directories that are missing (0755) and opens the last one. No component below the root may be a link.
    fn directory(&self) -> io::Result<OwnedFd> {
        std::fs::create_dir_all(&self.root)?;
        let mut directory = OwnedFd::from(File::open(&self.root)?);
        for name in &self.directories {
            match mkdirat(&directory, name.as_str(), Mode::from_bits_truncate(0o755)) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(e) => return Err(e.into()),
            }
            directory = open_beneath(&directory, name, OFlag::O_DIRECTORY | OFlag::O_RDONLY)?;
        }
        Ok(directory)
    }

    /// Makes the directories that are missing.
    pub fn make(&self) -> io::Result<()> {
        self.directory().map(drop)
    }

    /// Makes the log's name a link to a file that somebody else writes. Whatever had the name is replaced.
    pub fn point(&self, target: &Path) -> io::Result<()> {
        let directory = self.directory()?;
        let new = format!(".{}.link", self.name);
        match unlinkat(&directory, new.as_str(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(e) => return Err(e.into()),
        }
        symlinkat(target, &directory, new.as_str())?;
        Ok(renameat(&directory, new.as_str(), &directory, self.name.as_str())?)
    }

    fn open(&self) -> io::Result<(OwnedFd, File, u64)> {
        let directory = self.directory()?;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_APPEND | OFlag::O_NONBLOCK;
        let file = File::from(open_beneath(&directory, &self.name, flags)?);
        let size = file.metadata()?.len();
        Ok((directory, file, size))
    }

    /// Removes the files of all runs but the newest `keep` (this one included). Returns the runs that lost their files.
    pub fn forget_old_runs(&self, attempt: u32, keep: u32) -> io::Result<Vec<u32>> {
        let oldest = attempt.saturating_add(1).saturating_sub(keep.max(1));
        let directory = self.directory()?;
        let mut forgotten = Vec::new();
        for name in names(&directory)? {
            let run = name.split_once(".log").and_then(|(number, _)| number.parse::<u32>().ok());
            if let Some(run) = run.filter(|r| *r < oldest) {
                unlinkat(&directory, name.as_str(), UnlinkatFlags::NoRemoveDir)?;
                forgotten.push(run);
            }
        }
        forgotten.sort_unstable();
        forgotten.dedup();
        Ok(forgotten)
    }
}

fn open_beneath(directory: &OwnedFd, name: &str, flags: OFlag) -> io::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW)
        .mode(if flags.contains(OFlag::O_CREAT) { Mode::from_bits_truncate(0o640) } else { Mode::empty() })
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
    Ok(openat2(directory, name, how)?)
}

fn names(directory: &OwnedFd) -> io::Result<Vec<String>> {
    // A descriptor of its own: reading moves the place where the next reading begins.
    let again = open_beneath(directory, ".", OFlag::O_DIRECTORY | OFlag::O_RDONLY)?;
    let mut dir = Dir::from_fd(again)?;
    let mut names = Vec::new();
    for entry in dir.iter() {
        if let Ok(name) = entry?.file_name().to_str() {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// An open log, or one that will be opened again as soon as that is possible.
#[derive(Debug)]
pub struct LogFile {
    place: Place,
    open: Option<(OwnedFd, File)>,
    size: u64,
    /// The Unix second in which the file was last seen to have a name.
    checked: i64,
    /// The Unix second before which rotating is not tried again after it failed.
    rotate_after: i64,
    lost: u64,
    why: Option<Errno>,
}

impl LogFile {
    /// Opens (or goes on with) the file at `place`, making what is missing.
    pub fn open(place: Place) -> io::Result<Self> {
        let (directory, file, size) = place.open()?;
        Ok(Self {
            place,
            open: Some((directory, file)),
            size,
            checked: 0,
            rotate_after: i64::MIN,
            lost: 0,
            why: None,
        })
    }

    /// Whether `more` bytes after those that `wait` to be written would make the file too large. An empty file takes any line.
    pub fn is_full(&self, wait: usize, more: usize) -> bool {
        let held = self.size.saturating_add(wait as u64);
        held > 0 && held.saturating_add(more as u64) > self.place.max_bytes
    }

    /// Whether bytes were lost that the log does not tell of yet.
    pub fn has_losses(&self) -> bool {
        self.lost > 0
    }

    /// Why bytes were lost that the log does not tell of yet, if there are any.
    pub fn loss(&self) -> Option<io::Error> {
        self.has_losses().then(|| self.why.unwrap_or(Errno::EIO).into())
    }

    /// Appends whole lines, after a line that tells of earlier losses. What cannot be written is lost, and counted.
    pub fn write(&mut self, lines: &[u8], now: i64) {
        let result = match self.make_ready(now).and_then(|()| self.tell(now)) {
            Ok(()) => self.append(lines),
            Err(e) => {
                self.lost = self.lost.saturating_add(lines.len() as u64);
                Err(e)
            }
        };
        if let Err(e) = result {
            self.why = Some(Errno::from_raw(e.raw_os_error().unwrap_or(nix::libc::EIO)));
        }
    }

    /// Looks once a second whether the file still has a name, and opens it when it is not open.
    fn make_ready(&mut self, now: i64) -> io::Result<()> {
        if self.checked != now {
            self.checked = now;
            if self.open.as_ref().is_some_and(|(_, f)| f.metadata().map_or(true, |m| m.nlink() == 0)) {
                self.open = None;
            }
        }
        if self.open.is_none() {
            let (directory, file, size) = self.place.open()?;
            self.open = Some((directory, file));
            self.size = size;
        }
        Ok(())
    }

    fn tell(&mut self, now: i64) -> io::Result<()> {
        if self.lost == 0 {
            return Ok(());
        }
        let t = Civil::of(now);
        let why = self.why.map_or("unknown error", Errno::desc);
        let line = format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.000000000Z stderr F podstrap: {} bytes of log lost: {why}\n",
            t.year, t.month, t.day, t.hour, t.minute, t.second, self.lost
        );
        let before = self.lost;
        self.append(line.as_bytes()).inspect_err(|_| self.lost = before)?;
        self.lost = 0;
        Ok(())
    }

    /// Appends lines; on an error the file is cut back to its last whole line and the rest counts as lost.
    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let Some((_, file)) = &mut self.open else { return Ok(()) };
        let mut written = 0;
        let result = loop {
            let rest = lines.get(written..).unwrap_or_default();
            if rest.is_empty() {
                break Ok(());
            }
            match file.write(rest) {
                Ok(0) => break Err(Errno::ENOSPC.into()),
                Ok(n) => written += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => break Err(e),
            }
        };
        if result.is_err() {
            let done = lines.get(..written).unwrap_or_default();
            let whole = done.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
            if whole < written {
                // Failing as well would leave half a line, which readers take for one.
                let _ = file.set_len(self.size.saturating_add(whole as u64));
            }
            written = whole;
            self.lost = self.lost.saturating_add((lines.len() - whole) as u64);
        }
        self.size = self.size.saturating_add(written as u64);
        result
    }

    /// Gives the file its dated name and begins a new one; removes the oldest beyond the number that is kept. When the
    /// name cannot be given the file goes on, and the next try is a second later.
    pub fn rotate(&mut self, now: i64) {
        if now < self.rotate_after {
            return;
        }
        if let Err(e) = self.try_rotate(now) {
            self.rotate_after = now.saturating_add(1);
            // The directory or the file was removed under us: begin anew with the next line.
            if e.kind() == io::ErrorKind::NotFound {
                self.open = None;
                self.checked = 0;
            }
        }
    }

    fn try_rotate(&mut self, now: i64) -> io::Result<()> {
        let Some((directory, _)) = &self.open else { return Ok(()) };
        let t = Civil::of(now);
        let mut dated =
            format!("{:04}{:02}{:02}-{:02}{:02}{:02}", t.year, t.month, t.day, t.hour, t.minute, t.second);
        let prefix = format!("{}.", self.place.name);
        let mut old: Vec<String> = names(directory)?.into_iter().filter(|n| n.starts_with(&prefix)).collect();
        old.sort_unstable_by_key(|name| rotation_order(name));
        // A name after all that are there, also when several fall into one second or the clock was set back.
        if let Some((date, number)) = old.last().map(|name| rotation_order(name)).filter(|(d, _)| *d >= dated)
        {
            dated = format!("{date}-{:03}", number.saturating_add(1));
        }
        let target = format!("{prefix}{dated}");
        renameat(directory, self.place.name.as_str(), directory, target.as_str())?;
        old.push(target);
        let keep = (self.place.max_files.max(1) - 1) as usize;
        for name in old.iter().take(old.len().saturating_sub(keep)) {
            unlinkat(directory, name.as_str(), UnlinkatFlags::NoRemoveDir)?;
        }
        self.open = None;
        self.make_ready(now)
    }
}

/// Orders the names of one log by date and then by number: with a thousand in one second, text alone would not do.
fn rotation_order(name: &str) -> (String, u32) {
    let dated = name.rsplit_once('.').map_or(name, |(_, d)| d);
    match dated.match_indices('-').nth(1) {
        Some((at, _)) => (
            dated.get(..at).unwrap_or(dated).to_owned(),
            dated.get(at + 1..).and_then(|n| n.parse().ok()).unwrap_or(0),
        ),
        None => (dated.to_owned(), 0),
    }
}

/// Makes the link that log shippers follow; an old one of the same name is replaced.
pub fn link(links: &Path, name: &str, target: &Path) -> io::Result<()> {
    std::fs::create_dir_all(links)?;
    let path = links.join(name);
    match std::os::unix::fs::symlink(target, &path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            std::fs::remove_file(&path)?;
            std::os::unix::fs::symlink(target, &path)
        }
        other => other,
    }
}

/// `POD_NAMESPACE_CONTAINER-ID.log`; the part before `.log` is cut to 251 bytes (the kubelet's legacy log links).
pub fn link_name(pod: &str, namespace: &str, container: &str, id: &str) -> String {
    let name = format!("{pod}_{namespace}_{container}-{id}");
    format!("{}.log", crate::runtime::runc::cut(&name, 251))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::fs;

    pub(in super::super) struct Scratch(PathBuf);

    impl Scratch {
        pub fn new(name: &str) -> Self {
            let unique = format!("podstrap-{name}-{}-{:?}", std::process::id(), std::thread::current().id());
            let dir = std::env::temp_dir().join(unique);
            fs::create_dir_all(&dir).unwrap();
            Self(dir)
        }

        pub fn place(&self, max_bytes: u64, max_files: u32) -> Place {
            Place {
                root: self.0.join("log"),
                directories: ["p".into(), "c".into()],
                name: "3.log".into(),
                max_bytes,
                max_files,
            }
        }

        pub fn open(&self, max_bytes: u64, max_files: u32) -> LogFile {
            LogFile::open(self.place(max_bytes, max_files)).unwrap()
        }

        pub fn live(&self) -> PathBuf {
            self.0.join("log/p/c/3.log")
        }

        fn files(&self) -> Vec<String> {
            let mut all: Vec<_> = fs::read_dir(self.0.join("log/p/c"))
                .unwrap()
                .map(|e| e.unwrap().file_name().into_string().unwrap())
                .collect();
            all.sort();
            all
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            crate::sys::mount::unmount_all(&self.0).unwrap();
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn rotation_keeps_whole_lines_and_the_newest_files() {
        let dir = Scratch::new("rotate");
        let mut file = dir.open(20, 3);
        for n in 0..10 {
            let line = format!("line {n:04}\n");
            if file.is_full(0, line.len()) {
                file.rotate(1_767_323_045);
            }
            file.write(line.as_bytes(), 1);
        }
        assert_eq!(dir.files().len(), 3, "{:?}", dir.files());
        assert!(dir.files().iter().all(|n| n == "3.log" || n.starts_with("3.log.20260102-030405")));
        assert_eq!(fs::read_to_string(dir.live()).unwrap(), "line 0008\nline 0009\n");
        let newest = dir.0.join("log/p/c/3.log.20260102-030405-003");
        assert_eq!(fs::read_to_string(newest).unwrap(), "line 0006\nline 0007\n");
        // A line larger than the limit is written all the same, alone.
        assert!(file.is_full(0, 100));
        file.rotate(1_767_323_046);
        assert!(!file.is_full(0, 100));
        assert!(rotation_order("0.log.20260102-030405-1000") > rotation_order("0.log.20260102-030405-999"));
        assert!(rotation_order("0.log.20260102-030405") < rotation_order("0.log.20260102-030405-001"));
    }

    #[test]
    fn a_removed_directory_is_made_again() {
        let dir = Scratch::new("removed");
        let mut file = dir.open(1 << 20, 3);
        file.write(b"one\n", 1);
        fs::remove_dir_all(dir.0.join("log")).unwrap();
        file.write(b"two\n", 2);
        assert_eq!(fs::read_to_string(dir.live()).unwrap(), "two\n");
        fs::remove_dir_all(dir.0.join("log")).unwrap();
        file.rotate(2);
        file.write(b"three\n", 2);
        assert_eq!(fs::read_to_string(dir.live()).unwrap(), "three\n");
        // A link put in the way is not followed: the lines are lost and counted.
        fs::remove_dir_all(dir.0.join("log/p")).unwrap();
        std::os::unix::fs::symlink("/tmp", dir.0.join("log/p")).unwrap();
        file.write(b"four\n", 3);
        assert_eq!(file.lost, 5);
        fs::remove_file(dir.0.join("log/p")).unwrap();
        file.write(b"five\n", 4);
        let text = fs::read_to_string(dir.live()).unwrap();
        assert!(text.contains(" stderr F podstrap: 5 bytes of log lost: "), "{text}");
        assert!(text.ends_with("\nfive\n"));
        assert!(!file.has_losses());
    }

    #[test]
    fn a_full_disk_loses_whole_lines_and_tells() {
        let dir = Scratch::new("full");
        fs::create_dir_all(dir.0.join("log")).unwrap();
        let disk = dir.0.join("log");
        nix::mount::mount(
            Some("tmpfs"),
            &disk,
            Some("tmpfs"),
            nix::mount::MsFlags::empty(),
            Some("size=64k"),
        )
        .unwrap();
        let mut file = dir.open(1 << 20, 3);
        let block = "0123456789abcde\n".repeat(512);
        for _ in 0..12 {
            file.write(block.as_bytes(), 1);
        }
        assert!(file.has_losses());
        let lost = file.lost;
        let held = fs::read_to_string(dir.live()).unwrap();
        assert!(held.lines().all(|l| l == "0123456789abcde"));
        assert_eq!(held.len() as u64 + lost, 12 * block.len() as u64);
        nix::mount::mount(
            None::<&str>,
            &disk,
            None::<&str>,
            nix::mount::MsFlags::MS_REMOUNT,
            Some("size=1m"),
        )
        .unwrap();
        file.write(b"", 2);
        let text = fs::read_to_string(dir.live()).unwrap();
        let told = format!("podstrap: {lost} bytes of log lost: No space left on device\n");
        assert!(text.ends_with(&told), "{}", text.lines().last().unwrap());
        drop(file);
        crate::sys::mount::unmount(&disk).unwrap();
    }

    #[test]
    fn old_runs_are_forgotten() {
        let dir = Scratch::new("runs");
        drop(dir.open(1, 1));
        for name in ["0.log", "1.log", "1.log.20260102-030405", "2.log", "notes"] {
            fs::write(dir.0.join("log/p/c").join(name), "x").unwrap();
        }
        assert_eq!(dir.place(1, 1).forget_old_runs(3, 2).unwrap(), [0, 1]);
        assert_eq!(dir.files(), ["2.log", "3.log", "notes"]);
        assert!(dir.place(1, 1).forget_old_runs(3, 5).unwrap().is_empty());
    }

    #[test]
    fn links_are_named_and_replaced() {
        let dir = Scratch::new("links");
        let name = link_name("p-h", "ns", &"c".repeat(300), "id");
        assert_eq!(name.len(), 255);
        assert_eq!(link_name("p", "n", "c", "i"), "p_n_c-i.log");
        link(&dir.0, "l", Path::new("/a")).unwrap();
        link(&dir.0, "l", Path::new("/b")).unwrap();
        assert_eq!(fs::read_link(dir.0.join("l")).unwrap(), Path::new("/b"));
    }
}
