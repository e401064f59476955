//! As whom a container runs: the image's USER, overruled by the security contexts, looked up in the image's own /etc/passwd
//! and /etc/group (whose text is an argument here).

use std::fmt;

use crate::pod::{Container, Pod, Security};

/// A user as runc wants it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary groups, sorted, the primary one among them.
    pub groups: Vec<u32>,
}

/// Why a container may not, or cannot, run as the user it names.
#[derive(Debug, PartialEq, Eq)]
pub enum UserError {
    /// The image's /etc/passwd has no such name.
    UnknownUser(String),
    /// The image's /etc/group has no such name.
    UnknownGroup(String),
    /// runAsNonRoot, and the user is 0.
    Root,
    /// runAsNonRoot, and the image names its user by name.
    NotNumeric(String),
}

impl fmt::Display for UserError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownUser(name) => {
                write!(
                    f,
                    "the image's user {name:?} is not in its /etc/passwd; set securityContext.runAsUser"
                )
            }
            Self::UnknownGroup(name) => {
                write!(
                    f,
                    "the image's group {name:?} is not in its /etc/group; set securityContext.runAsGroup"
                )
            }
            Self::Root => f.write_str(
                "runAsNonRoot is set and the container would run as user 0; set securityContext.runAsUser",
            ),
            Self::NotNumeric(name) => write!(
                f,
                "runAsNonRoot is set and the image names its user {name:?} by name, so it cannot be known not to be \
                 root; set securityContext.runAsUser to a number"
            ),
        }
    }
}

impl std::error::Error for UserError {}

/// The security context that holds for a container: its own where it speaks, else the Pod's.
pub fn security(pod: &Pod, container: &Container) -> Security {
    let (own, pods) = (&container.security, &pod.security);
    Security {
        seccomp: own.seccomp.clone().or_else(|| pods.seccomp.clone()),
        run_as_user: own.run_as_user.or(pods.run_as_user),
        run_as_group: own.run_as_group.or(pods.run_as_group),
        run_as_non_root: own.run_as_non_root.or(pods.run_as_non_root),
        app_armor: own.app_armor.clone().or_else(|| pods.app_armor.clone()),
        selinux: own.selinux.clone().or_else(|| pods.selinux.clone()),
    }
}

/// Whether the user that an image names (nothing: root) may be one where runAsNonRoot is `non_root`.
pub fn check(non_root: bool, image_user: &str) -> Result<(), UserError> {
    match image_user.parse::<u32>() {
        _ if !non_root => Ok(()),
        Ok(0) => Err(UserError::Root),
        Ok(_) => Ok(()),
        Err(_) if image_user.is_empty() => Err(UserError::Root),
        Err(_) => Err(UserError::NotNumeric(image_user.to_owned())),
    }
}

/// As whom a container runs. `passwd` and `group` are the image's; group membership of user 0 is looked up too, as docker
/// does. `strict` (supplementalGroupsPolicy) leaves the image's memberships out.
pub fn resolve(
    security: &Security,
    supplemental: &[u32],
    strict: bool,
    image_user: &str,
    passwd: &str,
    group: &str,
) -> Result<User, UserError> {
    let (image_name, image_group) = match image_user.split_once(':') {
        Some((name, group)) => (name, Some(group).filter(|g| !g.is_empty())),
        None => (image_user, None),
    };
    let non_root = security.run_as_non_root == Some(true);
    let account = match security.run_as_user {
        Some(uid) => Account::by_id(uid, passwd),
        None if image_name.is_empty() => Account::by_id(0, passwd),
        None => match image_name.parse() {
            Ok(uid) => Account::by_id(uid, passwd),
            Err(_) if non_root => return Err(UserError::NotNumeric(image_name.to_owned())),
            Err(_) => Account::by_name(image_name, passwd)
                .ok_or_else(|| UserError::UnknownUser(image_name.to_owned()))?,
        },
    };
    if non_root && account.uid == 0 {
        return Err(UserError::Root);
    }
    // A group in USER goes with the user in USER: neither holds once runAsUser has replaced it.
    let image_group = image_group.filter(|_| security.run_as_user.is_none());
    let gid = match (security.run_as_group, image_group) {
        (Some(gid), _) => gid,
        (None, Some(name)) => group_id(name, group)?,
        (None, None) => account.gid,
    };
    let mut groups = vec![gid];
    if image_group.is_none() && !strict {
        groups.extend(account.name.iter().flat_map(|name| memberships(name, group)));
    }
    groups.extend(supplemental);
    groups.sort_unstable();
    groups.dedup();
    Ok(User { uid: account.uid, gid, groups })
}

/// An entry of passwd(5), or what stands in for a missing one.
struct Account {
    name: Option<String>,
    uid: u32,
    gid: u32,
}

impl Account {
    fn entries(passwd: &str) -> impl Iterator<Item = Self> {
        passwd.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?.to_owned();
            let uid = fields.nth(1)?.parse().ok()?;
            let gid = fields.next()?.parse().ok()?;
            Some(Self { name: Some(name), uid, gid })
        })
    }

    fn by_name(name: &str, passwd: &str) -> Option<Self> {
        Self::entries(passwd).find(|a| a.name.as_deref() == Some(name))
    }

    /// A user id without an entry is fine: its group is 0.
    fn by_id(uid: u32, passwd: &str) -> Self {
        Self::entries(passwd).find(|a| a.uid == uid).unwrap_or(Self { name: None, uid, gid: 0 })
    }
}

/// (name, id, members) of each line of group(5).
fn group_entries(group: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    group.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let gid = fields.nth(1)?.parse().ok()?;
        Some((name, gid, fields.next().unwrap_or("")))
    })
}

fn group_id(name: &str, group: &str) -> Result<u32, UserError> {
    match name.parse() {
        Ok(gid) => Ok(gid),
        Err(_) => group_entries(group)
            .find(|(n, _, _)| *n == name)
            .map(|(_, gid, _)| gid)
            .ok_or_else(|| UserError::UnknownGroup(name.to_owned())),
    }
}

fn memberships(user: &str, group: &str) -> Vec<u32> {
    group_entries(group)
        .filter(|(_, _, members)| members.split(',').any(|m| m == user))
        .map(|(_, gid, _)| gid)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0::/root:/bin/sh\n# odd\netcd:x:100:101::/:/bin/sh\nbroken:x:a:1\n";
    const GROUP: &str = "root:x:0:\nextra:x:7:other,etcd\nwheel:x:10:root\nweb:x:33:\n";

    fn of(image: &str, security: Security) -> Result<User, UserError> {
        resolve(&security, &[50, 7], false, image, PASSWD, GROUP)
    }

    #[test]
    fn names_numbers_and_groups() {
        let user = |uid, gid, groups: &[u32]| Ok(User { uid, gid, groups: groups.to_vec() });
        let none = Security::default;
        assert_eq!(of("", none()), user(0, 0, &[0, 7, 10, 50]));
        assert_eq!(of("etcd", none()), user(100, 101, &[7, 50, 101]));
        assert_eq!(of("etcd:web", none()), user(100, 33, &[7, 33, 50]));
        assert_eq!(of("etcd:", none()), user(100, 101, &[7, 50, 101]));
        assert_eq!(of("200:300", none()), user(200, 300, &[7, 50, 300]));
        assert_eq!(of("200", none()), user(200, 0, &[0, 7, 50]));
        assert_eq!(of("nobody", none()), Err(UserError::UnknownUser("nobody".into())));
        assert_eq!(of("etcd:no", none()), Err(UserError::UnknownGroup("no".into())));
        let run_as = Security { run_as_user: Some(100), ..none() };
        assert_eq!(of("root:no", run_as), user(100, 101, &[7, 50, 101]));
        let group = Security { run_as_group: Some(9), ..none() };
        assert_eq!(of("etcd", group), user(100, 9, &[7, 9, 50]));
        assert_eq!(resolve(&none(), &[50], true, "etcd", PASSWD, GROUP), user(100, 101, &[50, 101]));
    }

    #[test]
    fn non_root_is_kept() {
        let non_root =
            |uid| Security { run_as_non_root: Some(true), run_as_user: uid, ..Security::default() };
        assert_eq!(of("", non_root(None)), Err(UserError::Root));
        assert_eq!(of("etcd", non_root(Some(0))), Err(UserError::Root));
        assert_eq!(of("etcd", non_root(None)), Err(UserError::NotNumeric("etcd".into())));
        assert_eq!(of("100", non_root(None)).unwrap().uid, 100);
        assert_eq!(of("root", non_root(Some(5))).unwrap().uid, 5);
    }
}
