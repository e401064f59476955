//! The control group of a whole Pod, by who makes it: a path that whoever comes first makes, or a slice of systemd's.
//!
//! In a slice systemd alone is the writer: what another writes into its files is gone with the next thing that systemd has
//! to set there. So its limits are properties, which `systemctl set-property --runtime` keeps in files of its own until
//! the next boot, and a slice ends by `systemctl stop`.

use std::path::{Path, PathBuf};

use super::docker::{CgroupDriver, Docker};
use crate::command::CommandLine;
use crate::pod::Generation;

/// systemd answers at once, or is busy with a reload.
const SYSTEMCTL_MS: u64 = 20_000;

/// A Pod's control group, or the parent of all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodGroup {
    /// A path relative to the root of every hierarchy.
    Path(PathBuf),
    /// The name of a slice.
    Slice(String),
}

impl PodGroup {
    /// The group of a Pod: `CGROUP_ROOT/podGENERATION`, or the slice of that meaning. `docker`: who runs its containers,
    /// if not runc.
    pub fn of(cgroup_root: &str, generation: &Generation, docker: Option<&Docker>) -> Self {
        match docker.map(|d| d.cgroups) {
            Some(CgroupDriver::Systemd) => {
                Self::Slice(format!("{}-pod{generation}.slice", slice_word(cgroup_root)))
            }
            Some(CgroupDriver::Cgroupfs) | None => {
                Self::Path(Path::new(cgroup_root).join(format!("pod{generation}")))
            }
        }
    }

    /// The parent of all Pods' groups.
    pub fn parent(cgroup_root: &str, docker: Option<&Docker>) -> Self {
        match docker.map(|d| d.cgroups) {
            Some(CgroupDriver::Systemd) => Self::Slice(format!("{}.slice", slice_word(cgroup_root))),
            Some(CgroupDriver::Cgroupfs) | None => Self::Path(cgroup_root.into()),
        }
    }

    /// What docker's `--cgroup-parent` takes.
    pub fn word(&self) -> String {
        match self {
            Self::Path(path) => format!("/{}", path.display()),
            Self::Slice(name) => name.clone(),
        }
    }

    /// Where it is, relative to the root of every hierarchy. A slice lies in those that its name begins with
    /// (systemd.slice(5)).
    pub fn path(&self) -> PathBuf {
        match self {
            Self::Path(path) => path.clone(),
            Self::Slice(name) => {
                let ends = name.match_indices('-').map(|(at, _)| at);
                let parents = ends.filter_map(|at| Some(format!("{}.slice", name.get(..at)?)));
                parents.chain([name.clone()]).collect()
            }
        }
    }
}

/// A word that names one level of slices. Of what a path may hold, dashes would be further levels, and the others are not
/// for the names of units.
fn slice_word(path: &str) -> String {
    path.replace(['/', '-', '@'], "_")
}

/// Limits a slice, also one that is not there yet.
pub fn limit_slice(name: &str, properties: &[String]) -> CommandLine {
    systemctl().args(["set-property", "--runtime", "--", name]).args(properties)
}

/// Ends a slice with all that is in it.
pub fn stop_slice(name: &str) -> CommandLine {
    systemctl().args(["stop", "--", name])
}

/// Where systemd keeps the properties that a slice was given.
pub fn slice_settings(name: &str) -> PathBuf {
    Path::new("/run/systemd/system.control").join(format!("{name}.d"))
}

/// It is looked for in the search path that every child gets.
fn systemctl() -> CommandLine {
    CommandLine::new("systemctl").deadline(SYSTEMCTL_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_name_is_made_limited_and_removed() {
        let generation = Generation::new("0123");
        let mut docker = Docker::new("/usr/bin/docker".into());
        let path = PodGroup::of("a.slice/b", &generation, Some(&docker));
        assert_eq!(path, PodGroup::of("a.slice/b", &generation, None));
        assert_eq!((path.word().as_str(), path.path()), ("/a.slice/b/pod0123", "a.slice/b/pod0123".into()));

        docker.cgroups = CgroupDriver::Systemd;
        let slice = PodGroup::of("podstrap", &generation, Some(&docker));
        assert_eq!(slice.word(), "podstrap-pod0123.slice");
        assert_eq!(slice.path(), Path::new("podstrap.slice/podstrap-pod0123.slice"));
        assert_eq!(PodGroup::parent("podstrap", Some(&docker)).path(), Path::new("podstrap.slice"));
        // One level for the parent, whatever it is called.
        let slice = PodGroup::of("pod-strap/x@y", &generation, Some(&docker));
        assert_eq!(slice.path(), Path::new("pod_strap_x_y.slice/pod_strap_x_y-pod0123.slice"));
    }
}
