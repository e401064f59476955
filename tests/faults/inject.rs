//! What the tests of this program have in common: a canary that notices a second one, dice, mounts, and a fake runc.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::common::{Instance, host};

/// An instance whose containers can take locks.
pub fn instance() -> Option<Instance> {
    let i = crate::common::instance()?;
    provide_flock(&i);
    Some(i)
}

/// Puts the host's flock(1) with its loader and libraries into /shared/lock.
pub fn provide_flock(i: &Instance) {
    let dir = i.shared.join("lock");
    fs::create_dir(&dir).unwrap();
    let flock = host::find("flock").expect("flock(1) of util-linux");
    fs::copy(&flock, dir.join("flock")).unwrap();
    let libraries = std::process::Command::new("ldd").arg(&flock).output().unwrap();
    for path in crate::common::text(&libraries.stdout).split_whitespace().filter(|w| w.starts_with('/')) {
        let name = Path::new(path).file_name().unwrap();
        fs::copy(path, dir.join(name)).unwrap();
        if path.contains("/ld-") {
            std::os::unix::fs::symlink(name, dir.join("loader")).unwrap();
        }
    }
}

/// Runs until TERM like `yaml::canary`, and holds a lock for its life: a second one at the same time writes to
/// /shared/DOUBLE. `tag` is written with each start, so that generations can be told apart.
pub fn guard(name: &str, tag: &str) -> String {
    format!(
        "exec 9>>/shared/{name}.lock; L=/shared/lock; $L/loader --library-path $L $L/flock -n 9 || echo {name} {tag} >>/shared/DOUBLE\n\
         trap 'echo term {tag} >>/shared/{name}; exit 0' TERM\n\
         echo start {tag} >>/shared/{name}\n\
         while :; do sleep 1000 & wait $!; done"
    )
}

/// Waits until the newest start of a guard has this tag, and its Pod is ready.
pub fn until_guarded(i: &Instance, name: &str, tag: &str) {
    let start = format!("start {tag}");
    i.until(&format!("{name} runs as {tag}"), |i| {
        i.lines(name).iter().rfind(|l| l.starts_with("start")) == Some(&start) && i.ready(name)
    });
}

/// Fails the test if a container ever ran twice at a time.
pub fn assert_no_double(i: &Instance) {
    assert_eq!(i.lines("DOUBLE"), [""; 0], "two instances of a container ran at a time");
}

/// Numbers that look random and are the same in every run of the test (xorshift64).
pub struct Dice(pub u64);

impl Dice {
    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

/// Mounts a small file system in memory.
pub fn mount_small(at: &Path, kib: u64) {
    fs::create_dir_all(at).unwrap();
    let options = format!("size={kib}k,mode=755");
    mount(Some("none"), at, Some("tmpfs"), MsFlags::empty(), Some(options.as_str())).unwrap();
}

/// Unmounts it.
pub fn unmount(at: &Path) {
    umount2(at, MntFlags::MNT_DETACH).unwrap();
}

/// Writes to a file until its file system has no room any more.
pub fn fill(file: &Path) {
    let mut size = 0;
    let mut block = 64 * 1024;
    let mut file = fs::OpenOptions::new().create(true).append(true).open(file).unwrap();
    while block > 0 {
        match std::io::Write::write(&mut file, &vec![0; block]) {
            Ok(n) => size += n,
            Err(_) => block /= 2,
        }
    }
    assert!(size > 0);
}

/// Makes the daemon of this instance, and all that it starts, see a shell script in place of runc. In it `$real` is the
/// real runc, `$verb` the verb (`run`, `kill`, `delete`, `--version`), `$dir` the instance's directory, and `"$@"` the
/// arguments. The rest of the machine does not see it: the daemon runs in a mount namespace of its own.
pub fn fake_runc(i: &mut Instance, script: &str) {
    let (real, fake) = (i.dir.join("runc.real"), i.dir.join("runc.fake"));
    let system = host::find("runc").unwrap();
    fs::copy(&system, &real).unwrap();
    let text = format!(
        "#!/bin/sh\nreal={}\ndir={}\nverb=\nfor a in \"$@\"; do case $a in run|kill|delete|state|--version) verb=$a; \
         break;; esac; done\n{script}\n",
        real.display(),
        i.dir.display()
    );
    let part = i.dir.join("runc.part");
    fs::write(&part, text).unwrap();
    fs::set_permissions(&part, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(&part, &fake).unwrap();
    let bind = format!("mount --bind {} {} && exec \"$@\"", fake.display(), system.display());
    i.prefix = ["unshare", "--mount", "sh", "-c", &bind, "sh"].map(str::to_owned).to_vec();
}

/// The daemon's resident memory, in KiB.
pub fn resident_kib(pid: i32) -> u64 {
    memory_kib(pid, "VmRSS:")
}

/// What of that is no file's: of a dev build, what it has needed of its program so far is most of the rest.
pub fn anonymous_kib(pid: i32) -> u64 {
    memory_kib(pid, "RssAnon:")
}

fn memory_kib(pid: i32, what: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|l| l.starts_with(what)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The processor time that a process has used, in milliseconds.
pub fn cpu_ms(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    (fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()) * 10
}
