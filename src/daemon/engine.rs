//! Which program is to run the containers, decided once before the loop: what was asked for, or what is there and usable. Of
//! runc the version is asked too, for the sake of a warning.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Daemon;
use super::boot::{BootError, find_program, io_error};
use super::jobs::Purpose;
use crate::config::{RunConfig, RuntimeChoice};
use crate::image::credentials;
use crate::manifest::Runtime;
use crate::monitor::child;
use crate::monitor::record::{self, MonitorSpec};
use crate::paths::Roots;
use crate::runtime::docker::{Docker, Flavour};
use crate::runtime::engine::Engine;
use crate::runtime::runc::{self, Runc};
use crate::sys::cgroup::Cgroups;
use crate::sys::process;
use crate::sys::spawn::ExitStatus;
use crate::warning;

/// The engine of this configuration: what it asks for, or what Pods of an earlier daemon run with, or runc where it is
/// usable, else docker.
pub fn choose(config: &RunConfig) -> Result<Engine, BootError> {
    let present = of_runs(&config.roots);
    let engine = match (&present, config.runtime, &config.docker_binary) {
        (Some(Engine::Docker(docker)), RuntimeChoice::Auto, None) => {
            Engine::Docker(self::docker(Some(&docker.binary))?)
        }
        (Some(Engine::Runc { .. }), RuntimeChoice::Auto, None) => runc()?,
        (Some(_) | None, _, _) => asked_for(config)?,
    };
    match present {
        Some(other) if other.name() != engine.name() => {
            Err(BootError::OtherRuntime { running: other.name(), asked: engine.name() })
        }
        Some(_) | None => Ok(engine),
    }
}

/// What runs of this boot were begun with, by the first spec that can be read.
fn of_runs(roots: &Roots) -> Option<Engine> {
    let boot_id = process::boot_id().ok()?;
    let runs = record::generations(roots).into_iter().flat_map(|g| record::attempts(roots, &g));
    runs.filter_map(|a| serde_json::from_slice::<MonitorSpec>(&fs::read(a.dir.spec()).ok()?).ok())
        .find(|spec| spec.boot_id == boot_id)
        .map(|spec| spec.engine)
}

fn asked_for(config: &RunConfig) -> Result<Engine, BootError> {
    let binary = config.docker_binary.as_deref();
    let docker = |binary| docker(binary).map(Engine::Docker);
    match config.runtime {
        RuntimeChoice::Runc => runc(),
        RuntimeChoice::Docker => docker(binary),
        RuntimeChoice::Auto if binary.is_some() => docker(binary),
        // docker, which may hang, is asked only where it is needed.
        RuntimeChoice::Auto => runc().or_else(|no_runc| match (no_runc, docker(binary)) {
            (_, Ok(engine)) => Ok(engine),
            (BootError::NoRunc, Err(BootError::NoDocker)) => Err(BootError::NoRuntime),
            (e, Err(BootError::NoDocker)) => Err(e),
            (runc, Err(docker)) => Err(BootError::Neither { runc: Box::new(runc), docker: Box::new(docker) }),
        }),
    }
}

/// Hands the credentials of `--authfile` to docker. Without them containers run all the same, and a pull tells what is wrong.
pub fn give_credentials(engine: &mut Engine, config: &RunConfig) {
    let Engine::Docker(docker) = engine else { return };
    let directory = config.roots.docker_config();
    let Some(authfile) = &config.authfile else {
        // Those of an earlier daemon are not asked for any more.
        if let Err(e) = credentials::withdraw(&directory) {
            warning!("{e}");
        }
        return;
    };
    match credentials::provide(&directory, authfile) {
        Ok(()) => docker.config = Some(directory),
        Err(e) => warning!("--authfile: {e}"),
    }
}

fn runc() -> Result<Engine, BootError> {
    let binary = find_program("runc").ok_or(BootError::NoRunc)?;
    let cgroups = Cgroups::detect().map_err(io_error("read", Path::new("/proc/self/mountinfo")))?;
    cgroups.require().map_err(|e| BootError::NoCgroups(e.to_string()))?;
    Ok(Engine::Runc { binary })
}

/// The docker CLI at that path, else the one on the fixed search path.
pub fn docker(binary: Option<&Path>) -> Result<Docker, BootError> {
    let binary = match binary {
        Some(path) => trusted(path)?,
        None => find_program("docker").ok_or(BootError::NoDocker)?,
    };
    let mut docker = Docker::new(binary.clone());
    let why =
        |e: child::ChildError| BootError::Binary { path: binary.clone(), why: format!("--version: {e}") };
    docker.flavour = Flavour::of_version(&child::run(&docker.version()).map_err(why)?);
    Ok(docker)
}

/// The same as manifests are read for.
pub fn runtime(engine: &Engine) -> Runtime {
    match engine {
        Engine::Runc { .. } => Runtime::Runc,
        Engine::Docker(_) => Runtime::Docker,
    }
}

impl Daemon {
    /// Asks runc which version it is; nothing waits for the answer.
    pub(super) fn ask_version(&mut self) {
        if self.docker().is_some() {
            return;
        }
        let root = self.config.roots.runc();
        let line = Runc { binary: self.engine.binary(), root: &root }.version();
        if let Err(e) = self.jobs.start(Purpose::Version, &line, true) {
            warning!("{} --version cannot be started: {e}", self.engine.binary().display());
        }
    }

    pub(super) fn version_told(&mut self, status: ExitStatus, output: &str) {
        match runc::parse_version(output).filter(|_| status.success()) {
            Some(version) => {
                if let Some(why) = runc::vulnerable(&version) {
                    let line = format!("vulnerable-runtime: {}: {why}", self.engine.binary().display());
                    warning!("{line}");
                    self.publisher.warn(line);
                }
            }
            None => warning!("{} --version: {output} ({status})", self.engine.binary().display()),
        }
    }
}

/// What is run as root must be root's alone.
fn trusted(path: &Path) -> Result<PathBuf, BootError> {
    let refused = |why: &str| BootError::Binary { path: path.to_owned(), why: why.to_owned() };
    let metadata = fs::metadata(path).map_err(io_error("use", path))?;
    if !metadata.is_file() || metadata.mode() & 0o111 == 0 {
        return Err(refused("is no program; --docker-binary must name the docker CLI"));
    }
    if metadata.uid() != 0 || metadata.mode() & 0o022 != 0 {
        return Err(refused(
            "belongs to another user than root, or others may write to it; it is run as root",
        ));
    }
    Ok(path.to_owned())
}
