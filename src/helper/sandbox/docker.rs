//! A Pod's namespaces with docker: they live as long as the pause container, whose one process is our own binary. Its image
//! is made here, of that binary and the libraries it is linked with: nothing is pulled.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::sys::resource::{Resource, getrlimit};

use super::{Pause, Sandbox, SandboxError, SandboxSpec, namespaces};
use crate::command::SELF;
use crate::image::tar_out;
use crate::monitor::child::{self, ChildError};
use crate::monitor::docker::call::{self, failure};
use crate::paths::fnv1a;
use crate::runtime::docker::pause::PauseParts;
use crate::runtime::docker::{self, Docker, Inspected, run};
use crate::sys::namespace::{self, Kind};
use crate::sys::process;

/// Starts the pause container. Its network namespace is kept by a name of ours too, so that a network can be left when the
/// container is gone.
pub fn make(
    spec: &SandboxSpec,
    docker: &Docker,
    host_name: &str,
    own_network: bool,
) -> Result<Sandbox, SandboxError> {
    let (roots, pod) = (&spec.roots, &spec.pod);
    let directory = roots.namespaces(&pod.generation);
    namespaces::make_directory(&directory)?;
    let image = image_name().map_err(|e| SandboxError::file("look at", Path::new(SELF), e))?;
    let id_file = directory.join("id");
    let mut name = run::name(pod, "POD", 0);
    let hard = |resource| getrlimit(resource).map_or(1024, |(_, hard)| hard);
    let score =
        fs::read_to_string("/proc/self/oom_score_adj").ok().and_then(|t| t.trim().parse::<i32>().ok());
    let mut tries = 0;
    loop {
        tries += 1;
        let parts = PauseParts {
            name: &name,
            run_dir: &roots.run,
            host_name,
            own_network,
            cgroup_root: spec.cgroup_root.as_deref().unwrap_or("podstrap"),
            open_files: hard(Resource::RLIMIT_NOFILE),
            processes: hard(Resource::RLIMIT_NPROC),
            // Without the right to have less, as little as we have ourselves.
            oom_score_adj: if may_lower_score() { -998 } else { score.unwrap_or(0) },
            id_file: &id_file,
        };
        let _ = fs::remove_file(&id_file);
        match child::run(&docker.run_pause(pod, &parts, &image)) {
            Ok(_) => break,
            Err(ChildError::Ended(_, text)) if docker::is_no_image(&text) && tries < 4 => {
                make_image(docker, &image)?;
            }
            Err(ChildError::Ended(status, text)) => match docker::name_holder(&text) {
                Some(holder) if tries < 4 => {
                    if is_ours(spec, docker, holder)? {
                        call::remove(docker, holder).map_err(|e| failed("rm", &e))?;
                    } else {
                        name = run::other_name(&name, fnv1a(roots.run.as_os_str().as_encoded_bytes()));
                    }
                }
                Some(_) | None => {
                    return Err(SandboxError::Docker(format!("{} ({status})", docker::complaint(&text))));
                }
            },
            Err(e) => return Err(failed("run", &e)),
        }
    }
    let id = fs::read_to_string(&id_file).map_err(|e| SandboxError::file("read", &id_file, e))?;
    let id = id.trim().to_owned();
    let found = inspect(docker, &id)?.filter(|f| f.state.is_alive() && f.state.pid > 0).ok_or_else(|| {
        SandboxError::Docker("the Pod's pause container ended as soon as it had been started".to_owned())
    })?;
    let gone = || SandboxError::Docker("the Pod's pause container has ended".to_owned());
    let pid = found.state.pid;
    let ticks = process::start_ticks(pid).ok().flatten().ok_or_else(gone)?;
    let mut sandbox = Sandbox {
        version: 1,
        boot_id: spec.boot_id.clone(),
        pause: Some(Pause { pid, start_ticks: ticks }),
        container: Some(id),
        docker: Some(docker.clone()),
        ..Sandbox::default()
    };
    if pod.share_process_namespace {
        // For those who look whether there is one.
        sandbox.pid = Some(format!("/proc/{pid}/ns/pid").into());
    }
    if own_network {
        sandbox.addresses = found.addresses();
        if sandbox.addresses.is_empty() {
            return Err(SandboxError::NoAddress("docker's bridge".to_owned()));
        }
    } else if !pod.host_network {
        let file = namespaces::file(roots, &pod.generation, Kind::Net);
        namespace::keep_of(pid, Kind::Net, &file)
            .map_err(|error| SandboxError::Namespace { kind: Kind::Net.name(), error })?;
        sandbox.net = Some(file);
    }
    Ok(sandbox)
}

/// Removes the pause container, by its labels: whoever made it may have been killed before it could say so.
pub fn end(spec: &SandboxSpec, docker: &Docker) -> Result<(), SandboxError> {
    let id = docker::pause_id(&spec.pod.generation);
    let text = child::run(&docker.list(&spec.roots.run, Some(&id))).map_err(|e| failed("ps", &e))?;
    docker::parse_list(&text)
        .iter()
        .try_for_each(|found| call::remove(docker, &found.container))
        .map_err(|e| failed("rm", &e))
}

fn inspect(docker: &Docker, id: &str) -> Result<Option<Inspected>, SandboxError> {
    call::inspect(docker, id).map_err(|e| failed("inspect", &e))
}

fn is_ours(spec: &SandboxSpec, docker: &Docker, holder: &str) -> Result<bool, SandboxError> {
    let found = inspect(docker, holder)?;
    Ok(found.is_none_or(|f| Path::new(&f.labels.run_dir) == spec.roots.run))
}

fn failed(verb: &str, error: &ChildError) -> SandboxError {
    SandboxError::Docker(failure(verb, error))
}

fn may_lower_score() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|l| l.strip_prefix("CapEff:"));
    let mask = effective.and_then(|t| u64::from_str_radix(t.trim(), 16).ok()).unwrap_or(0);
    mask & (1 << crate::runtime::capabilities::SYS_RESOURCE) != 0
}

/// The image's name: another build of the binary is another image.
fn image_name() -> io::Result<String> {
    let metadata = fs::metadata(SELF)?;
    let what = format!("{} {} {}", metadata.size(), metadata.mtime(), metadata.mtime_nsec());
    Ok(format!("podstrap-pause:{}-{:08x}", env!("CARGO_PKG_VERSION"), fnv1a(what.as_bytes()) as u32))
}

fn make_image(docker: &Docker, image: &str) -> Result<(), SandboxError> {
    let layer = layer().map_err(|e| SandboxError::file("pack", Path::new(SELF), e))?;
    child::run(&docker.import(image).stdin(layer)).map(drop).map_err(|e| failed("import", &e))
}

/// A root with our binary, and the libraries and the loader that this process has mapped, each where the loader looks for
/// it: under its real path, without the /usr that merged systems put before it, and in /lib64.
fn layer() -> io::Result<Vec<u8>> {
    let mut tar = tar_out::Tar::default();
    tar.file("podstrap", 0o755, &fs::read(SELF)?)?;
    let maps = fs::read_to_string("/proc/self/maps")?;
    let libraries: BTreeSet<&str> = maps
        .lines()
        .filter_map(|line| line.split_whitespace().nth(5))
        .filter(|path| path.starts_with('/') && path.contains(".so"))
        .collect();
    for path in libraries {
        let own = path.trim_start_matches('/');
        tar.file(own, 0o755, &fs::read(path)?)?;
        let mut others = BTreeSet::new();
        if let Some(rest) = own.strip_prefix("usr/") {
            others.insert(rest.to_owned());
        }
        if let Some(name) = own.rsplit('/').next().filter(|n| n.starts_with("ld-")) {
            others.extend([format!("lib64/{name}"), format!("lib/{name}")]);
        }
        others.remove(own);
        for other in others {
            tar.hard_link(&other, own)?;
        }
    }
    Ok(tar.finish())
}
