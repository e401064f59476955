//! From a spec to a bundle that runc can run: image, volumes, log, root, user, config.json. Whatever fails here becomes a
//! reason and a message as Kubernetes names them.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::child;
use super::log_file::{self, LogFile, Place};
use super::record::MonitorSpec;
use super::volumes::Setting;
use crate::image::store::{Image, Store};
use crate::paths::{AttemptDir, Roots, container_id};
use crate::pod::reference::Reference;
use crate::pod::{Container, Pod, Seccomp, Security};
use crate::runtime::bundle::{self, BundleError, Parts};
use crate::runtime::etc::{self, Cluster};
use crate::runtime::pod_group::{self, PodGroup};
use crate::runtime::resources::PodLimits;
use crate::runtime::{Host, Sandbox, Source, environment, resources, user};
use crate::sys::atomic::{self, Durability};
use crate::sys::cgroup::{Cgroups, Limits};
use crate::sys::mount;

use super::{facts, host, message, volumes};

/// Why a container never ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotStarted {
    /// As Kubernetes names it.
    pub reason: &'static str,
    /// What failed, and what can be done.
    pub message: String,
}

impl NotStarted {
    /// The manifest (or the host's side of it) does not fit: `CreateContainerConfigError`.
    pub fn config(message: impl ToString) -> Self {
        Self { reason: "CreateContainerConfigError", message: message.to_string() }
    }

    /// A volume is not as it must be; it may become so.
    pub fn volume(message: impl ToString) -> Self {
        Self { reason: "FailedMount", message: message.to_string() }
    }

    /// The host could not make what the container needs: `CreateContainerError`.
    pub fn create(message: impl ToString) -> Self {
        Self { reason: "CreateContainerError", message: message.to_string() }
    }

    /// The same, for a failure with a path.
    pub fn at(action: &str, path: &Path, error: impl std::fmt::Display) -> Self {
        Self::create(format!("cannot {action} {}: {error}", path.display()))
    }
}

/// The container that a spec is about.
pub fn container(spec: &MonitorSpec) -> Result<&Container, NotStarted> {
    spec.pod.container(&spec.container).ok_or_else(|| {
        NotStarted::config(format!("the Pod {} has no container {:?}", spec.pod.key, spec.container.as_str()))
    })
}

/// The image of that name.
pub fn resolve(roots: &Roots, reference: &Reference) -> Result<Image, NotStarted> {
    match Store::new(&roots.images()).resolve(reference) {
        Ok(Some(image)) => Ok(image),
        Ok(None) => Err(NotStarted {
            reason: "ImageNotPresent",
            message: format!(
                "the image {reference} is not here; load its archive with `podstrap image load FILE`"
            ),
        }),
        Err(e) => Err(NotStarted::create(format!("the image {reference}: {e}"))),
    }
}

/// Opens the log, forgets the logs of runs long past, and makes the link for log shippers. Only the first must succeed.
/// Gives the log and warnings.
pub fn open_log(spec: &MonitorSpec) -> Result<(LogFile, Vec<String>), NotStarted> {
    let place = log_place(spec);
    let path = spec.roots.log_file(&spec.pod, &spec.container, spec.attempt);
    let file = LogFile::open(place.clone()).map_err(|e| NotStarted::at("open the log", &path, e))?;
    Ok((file, beside_log(spec, &place, &path)))
}

/// The same for a log that somebody else will write: makes its directory.
pub fn make_log_place(spec: &MonitorSpec) -> Result<Vec<String>, NotStarted> {
    let place = log_place(spec);
    let path = spec.roots.log_file(&spec.pod, &spec.container, spec.attempt);
    place.make().map_err(|e| NotStarted::at("make the directory of", &path, e))?;
    Ok(beside_log(spec, &place, &path))
}

/// Where the log of a run lies.
pub fn log_place(spec: &MonitorSpec) -> Place {
    let pod = &spec.pod;
    Place {
        root: spec.roots.log.clone(),
        directories: [
            format!("{}_{}_{}", pod.key.namespace, pod.key.name, pod.uid),
            spec.container.as_str().to_owned(),
        ],
        name: format!("{}.log", spec.attempt),
        max_bytes: spec.log_max_bytes,
        max_files: spec.log_max_files,
    }
}

fn beside_log(spec: &MonitorSpec, place: &Place, path: &Path) -> Vec<String> {
    let pod = &spec.pod;
    let mut warnings = Vec::new();
    let links = spec.roots.log_links();
    let link_name = |attempt| {
        let id = container_id(&pod.generation, &spec.container, attempt);
        let (name, namespace) = (pod.key.name.as_str(), pod.key.namespace.as_str());
        log_file::link_name(name, namespace, spec.container.as_str(), id.as_str())
    };
    match place.forget_old_runs(spec.attempt, spec.log_max_files) {
        Ok(forgotten) => {
            for attempt in forgotten {
                // It may have been removed with its Pod's other links; a dangling one does no harm.
                let _ = fs::remove_file(links.join(link_name(attempt)));
            }
        }
        Err(e) => warnings.push(format!("cannot remove old logs beside {}: {e}", path.display())),
    }
    if let Err(e) = log_file::link(&links, &link_name(spec.attempt), path) {
        warnings.push(format!("cannot make a link to the log in {}: {e}", links.display()));
    }
    warnings
}

/// What either runtime needs of the host before a container can be.
#[derive(Debug)]
pub struct Ground {
    /// The Pod's own namespaces, where it has some.
    pub sandbox: Option<Sandbox>,
    /// The manifest's environment variables, resolved.
    pub variables: Vec<(String, String)>,
    /// Where each of the container's volume mounts comes from, in their order.
    pub sources: Vec<Source>,
    /// The security context that holds.
    pub security: Security,
    /// The host, and the files on it that the container is shown.
    pub host: Host,
    /// The name of the container's own host.
    pub host_name: String,
    /// Lines for an operator.
    pub warnings: Vec<String>,
}

/// Prepares volumes, environment and files. What was made before an error is undone by `clear::Remains::clear`.
pub fn lay(
    dir: &AttemptDir,
    spec: &MonitorSpec,
    container: &Container,
    cgroups: &Cgroups,
) -> Result<Ground, NotStarted> {
    let MonitorSpec { pod, roots, .. } = spec;
    if !pod.host_users {
        return Err(NotStarted::config(
            "hostUsers: false: a user namespace needs idmapped mounts of every volume, which is not done here; remove it",
        ));
    }
    let sandbox = facts::sandbox(pod, roots, &spec.boot_id)?;
    let facts = facts::look(pod, roots, sandbox.as_ref());
    let objects = facts::objects(pod, roots)
        .map_err(|e| NotStarted::at("read the Pod's objects in", &roots.objects(), e))?;
    let setting = Setting { pod, roots, boot_id: &spec.boot_id, facts: &facts };
    let placed = volumes::prepare(&setting)?;
    let (variables, mut warnings) =
        environment::own(pod, container, &facts, &objects).map_err(NotStarted::config)?;
    let bundle = dir.bundle();
    // Secrets of the environment stand in a file in there.
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&bundle)
        .map_err(|e| NotStarted::at("make", &bundle, e))?;
    let sources = volumes::sources(container, &placed, &variables, &bundle)?;
    let security = user::security(pod, container);
    let mut host = host::look(container, &security, cgroups)
        .map_err(|e| NotStarted::create(format!("cannot look at the host: {e}")))?;
    let cluster = Cluster { dns: &spec.cluster_dns, domain: &spec.cluster_domain };
    let host_name = etc::host_name(pod, cluster).map_err(NotStarted::create)?;
    let addresses = sandbox.as_ref().map(|s| s.addresses.as_slice()).unwrap_or_default();
    host.files = host::files(pod, &host_name, addresses, cluster, (&spec.roots, &bundle), &mut warnings)
        .map_err(|e| NotStarted::at("make files in", &bundle, e))?;
    let message = termination_message(dir);
    message::make(&message).map_err(|e| NotStarted::at("make", &message, e))?;
    host.files.termination_message = Some(message);
    host.files.shm = sandbox.as_ref().and_then(|s| s.shm.clone());
    limit_pod(pod, spec, cgroups, &host.page_sizes, &mut warnings);
    Ok(Ground { sandbox, variables, sources, security, host, host_name, warnings })
}

/// The text of the seccomp profile of the operator's own that the container is to have.
pub fn profile(
    container: &Container,
    security: &Security,
    roots: &Roots,
) -> Result<Option<String>, NotStarted> {
    match &security.seccomp {
        Some(Seccomp::Localhost(path)) if !container.privileged => {
            facts::seccomp_profile(roots, path).map(Some)
        }
        Some(_) | None => Ok(None),
    }
}

/// Makes the bundle: volumes, root and config.json. Gives warnings. What was made before an error is undone by
/// `clear::Remains::clear`.
pub fn make_bundle(
    dir: &AttemptDir,
    spec: &MonitorSpec,
    container: &Container,
    image: &Image,
    cgroups: &Cgroups,
) -> Result<Vec<String>, NotStarted> {
    let MonitorSpec { pod, roots, .. } = spec;
    cgroups.require().map_err(NotStarted::create)?;
    let Ground { sandbox, variables, sources, security, host, host_name, mut warnings } =
        lay(dir, spec, container, cgroups)?;
    cgroups.expect_a_move();
    let rootfs = dir.rootfs();
    let mut open = DirBuilder::new();
    open.recursive(true).mode(0o755).create(&rootfs).map_err(|e| NotStarted::at("make", &rootfs, e))?;
    let scratch = roots.container_root(&spec.id);
    mount::overlay(&image.layers_root, &image.layers, &scratch, &rootfs).map_err(NotStarted::create)?;
    let of_image = |path| {
        host::image_file(&rootfs, path)
            .map_err(|e| NotStarted::create(format!("cannot read {path} of the image: {e}")))
    };
    let groups: Vec<u32> = pod.supplemental_groups.iter().copied().chain(pod.fs_group).collect();
    let user = user::resolve(
        &security,
        &groups,
        pod.strict_supplemental_groups,
        &image.config.user,
        &of_image("/etc/passwd")?,
        &of_image("/etc/group")?,
    )
    .map_err(NotStarted::config)?;
    let profile = profile(container, &security, roots)?;
    let made = bundle::config(&Parts {
        pod,
        container,
        id: &spec.id,
        image: &image.config,
        user: &user,
        variables: &variables,
        host_name: &host_name,
        sandbox: sandbox.as_ref(),
        profile: profile.as_deref(),
        sources: &sources,
        host: &host,
        cgroup_root: &spec.cgroup_root,
    })
    .map_err(not_bundled)?;
    let path = dir.bundle().join("config.json");
    atomic::write(&path, made.config.to_string().as_bytes(), 0o600, Durability::Process)
        .map_err(|e| NotStarted::at("write", &path, e))?;
    warnings.extend(made.warnings);
    Ok(warnings)
}

/// Whose fault it is that there can be no configuration.
pub fn not_bundled(error: BundleError) -> NotStarted {
    match &error {
        BundleError::NoProgram | BundleError::Profile(..) => NotStarted::create(error),
        BundleError::Capability(_) | BundleError::Label(_) => NotStarted::config(error),
    }
}

/// The file that is mounted at `terminationMessagePath`.
pub fn termination_message(dir: &AttemptDir) -> PathBuf {
    dir.0.join("termination-log")
}

/// The Pod's own group. The containers' groups carry their own limits, so a host that refuses the Pod's is warned about.
fn limit_pod(
    pod: &Pod,
    spec: &MonitorSpec,
    cgroups: &Cgroups,
    page_sizes: &[u64],
    warnings: &mut Vec<String>,
) {
    let PodLimits { cpu_shares, cpu_quota, memory, huge_pages } = resources::pod_limits(pod, page_sizes);
    let huge_pages =
        huge_pages.into_iter().map(|(size, bytes)| (resources::page_name(size), bytes)).collect();
    let limits = Limits { cpu_shares: Some(cpu_shares), cpu_quota, memory, huge_pages };
    match PodGroup::of(&spec.cgroup_root, &pod.generation, spec.engine.docker()) {
        PodGroup::Path(path) => {
            if let Err(e) = cgroups.make_pod(&path, &limits) {
                warnings.push(format!("cannot limit the Pod's cgroup {}: {e}", path.display()));
            }
        }
        PodGroup::Slice(name) => {
            let line = pod_group::limit_slice(&name, &limits.properties(cgroups.version()));
            if let Err(e) = child::run(&line) {
                warnings.push(format!(
                    "the limits of the Pod as a whole do not hold: systemctl set-property {name}: {e}"
                ));
            }
        }
    }
}
