//! The host's facts that a bundle depends on, and the image's user files: what `runtime` wants to know but may not look up.

use std::fs::{self, File};
use std::io::{self, Read};
use std::net::IpAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::stat::{major, minor};

use super::{facts, own_volumes};
use crate::paths::Roots;
use crate::pod::{Container, Pod, Seccomp, Security};
use crate::runtime::etc::{self, Cluster};
use crate::runtime::{Device, Host, HostFiles, profile};
use crate::sys::cgroup::{Cgroups, Version};

/// Looks at the host, for a container with this security context. Gives no files.
pub fn look(container: &Container, security: &Security, cgroups: &Cgroups) -> io::Result<Host> {
    let (_, open_files) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let status = fs::read_to_string("/proc/self/status")?;
    let score = fs::read_to_string("/proc/self/oom_score_adj")?;
    let release = || fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    Ok(Host {
        capabilities: capabilities(&status),
        open_files,
        oom_score_adj: score.trim().parse().unwrap_or(0),
        memory: facts::memory(),
        cgroup_v2: cgroups.version() == Version::V2,
        files: HostFiles::default(),
        devices: if container.privileged { devices(Path::new("/dev")) } else { Vec::new() },
        page_sizes: if cgroups.limits_huge_pages() { own_volumes::page_sizes() } else { Vec::new() },
        app_armor: security.app_armor.as_ref().and_then(|_| app_armor()),
        selinux: security.selinux.is_some() && Path::new("/sys/fs/selinux/enforce").exists(),
        kernel: match security.seccomp {
            Some(Seccomp::Localhost(_)) => profile::version(&release()).unwrap_or_default(),
            Some(Seccomp::RuntimeDefault | Seccomp::Unconfined) | None => (0, 0),
        },
    })
}

/// The names of the AppArmor profiles that are loaded, if the host has AppArmor.
fn app_armor() -> Option<Vec<String>> {
    let enabled = fs::read_to_string("/sys/module/apparmor/parameters/enabled").ok()?;
    if !enabled.starts_with('Y') {
        return None;
    }
    let loaded = fs::read_to_string("/sys/kernel/security/apparmor/profiles").unwrap_or_default();
    // Each line: the name, a blank, and the mode in parentheses.
    Some(loaded.lines().filter_map(|l| Some(l.rsplit_once(" (")?.0.to_owned())).collect())
}

/// What we have and may hand on.
fn capabilities(status: &str) -> u64 {
    let mask = |name: &str| {
        status
            .lines()
            .find_map(|l| l.strip_prefix(name))
            .and_then(|v| u64::from_str_radix(v.trim(), 16).ok())
            .unwrap_or(0)
    };
    mask("CapPrm:") & mask("CapBnd:")
}

/// Writes the container's own hosts, hostname and resolv.conf into `made`.
pub fn files(
    pod: &Pod,
    host_name: &str,
    addresses: &[IpAddr],
    cluster: Cluster<'_>,
    (roots, made): (&Roots, &Path),
    warnings: &mut Vec<String>,
) -> io::Result<HostFiles> {
    let text = |path: &Path| fs::read_to_string(path).unwrap_or_default();
    let of_host = if pod.host_network { text(Path::new("/etc/hosts")) } else { String::new() };
    let (resolver, cut) = etc::resolver(pod, &resolv_conf().map(|p| text(&p)).unwrap_or_default(), cluster);
    warnings.extend(cut);
    let write = |name: &str, text: &str| {
        let path = made.join(name);
        fs::write(&path, text).map(|()| Some(path))
    };
    let set = pod.owner.as_ref().map(|owner| owner.set(&pod.key.namespace));
    let members = set.map(|key| text(&roots.members(&key))).unwrap_or_default();
    // In the host's UTS namespace the kernel's word counts, not what the node is called.
    let real = if pod.host_network { nix::unistd::gethostname().ok() } else { None };
    let real = real.map_or_else(|| host_name.to_owned(), |name| name.to_string_lossy().into_owned());
    Ok(HostFiles {
        hosts: write("hosts", &(etc::hosts(pod, addresses, &of_host, cluster) + &members))?,
        hostname: write("hostname", &format!("{real}\n"))?,
        resolv_conf: write("resolv.conf", &resolver.to_string())?,
        termination_message: None,
        shm: None,
    })
}

/// The host's resolv.conf. systemd-resolved's names a stub on the loopback; the real servers stand in its own file, which is
/// what kubeadm gives to the kubelet too.
fn resolv_conf() -> Option<PathBuf> {
    let real = Path::new("/run/systemd/resolve/resolv.conf");
    let plain = Path::new("/etc/resolv.conf");
    let text = fs::read_to_string(plain).ok();
    if text.as_deref().is_none_or(|t| t.contains("127.0.0.53")) && real.is_file() {
        return Some(real.to_owned());
    }
    text.map(|_| plain.to_owned())
}

/// Every device node of the host, for a privileged container, but those that every container has its own of.
fn devices(directory: &Path) -> Vec<Device> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let own = ["pts", "shm", "mqueue", "fd", "console", "ptmx"].iter().any(|n| *n == name);
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        let kind = metadata.file_type();
        if own {
            continue;
        } else if kind.is_dir() {
            found.extend(devices(&path));
        } else if kind.is_block_device() || kind.is_char_device() {
            found.push(Device {
                path,
                block: kind.is_block_device(),
                major: major(metadata.rdev()),
                minor: minor(metadata.rdev()),
                mode: metadata.permissions().mode() & 0o7777,
                uid: metadata.uid(),
                gid: metadata.gid(),
            });
        }
    }
    found
}

/// The largest user file that is read.
const USER_FILE_MAX: u64 = 1 << 20;

/// The text of a file of the image, or nothing where there is no such regular file. The path is resolved inside `root`:
/// no link of the image leads out of it. A fifo in its place does not block.
pub fn image_file(root: &Path, path: &str) -> io::Result<String> {
    let directory = File::open(root)?;
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let Ok(opened) = openat2(&directory, path, how) else { return Ok(String::new()) };
    let file = File::from(opened);
    if !file.metadata()?.is_file() {
        return Ok(String::new());
    }
    let mut bytes = Vec::new();
    file.take(USER_FILE_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_an_image_stay_inside() {
        let dir = std::env::temp_dir().join(format!("podstrap-inroot-{}", std::process::id()));
        fs::create_dir_all(dir.join("root/etc")).unwrap();
        fs::write(dir.join("secret"), "secret").unwrap();
        fs::write(dir.join("root/real"), "inside").unwrap();
        let link = |target: &str, name: &str| {
            std::os::unix::fs::symlink(target, dir.join("root/etc").join(name)).unwrap();
        };
        link("/real", "absolute");
        link("../../../../secret", "up");
        link(dir.join("secret").to_str().unwrap(), "out");
        nix::unistd::mkfifo(&dir.join("root/etc/fifo"), nix::sys::stat::Mode::S_IRUSR).unwrap();
        let read = |name: &str| image_file(&dir.join("root"), &format!("/etc/{name}")).unwrap();
        assert_eq!(read("absolute"), "inside");
        assert_eq!([read("up"), read("out"), read("fifo"), read("none"), read("")], [""; 5]);
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn capabilities_are_what_both_sets_have() {
        assert_eq!(capabilities("Name:\tx\nCapPrm:\t00000000000000ff\nCapBnd:\t000000000000000f\n"), 0xf);
        assert_eq!(capabilities("nothing"), 0);
        assert!(devices(Path::new("/dev")).iter().any(|d| d.path == Path::new("/dev/null") && d.minor == 3));
    }
}
