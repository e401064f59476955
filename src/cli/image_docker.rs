//! `podstrap image load|pull|list|prune` where docker keeps the images.

use std::fmt;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use super::image::{DONE, FAILED, Meter, complain, parsed, print, report, told};
use crate::image::archive::{self, Stamp};
use crate::image::bounds::Bounds;
use crate::image::credentials::OfPull;
use crate::image::error::ImageError;
use crate::image::hand_over::{HandOverError, hand_over};
use crate::image::known::{self, Has, Known};
use crate::image::load::{self, Loaded};
use crate::image::pull::{self, PullError};
use crate::image::store::Listed;
use crate::monitor::child::{self, ChildError};
use crate::paths::Roots;
use crate::pod::reference::Reference;
use crate::runtime::docker::images::{
    INSPECT_AT_ONCE, INSPECT_BYTES, Inspected, LIST_BYTES, Listing, Unexpected, inspected,
};
use crate::runtime::docker::{Docker, Flavour};

/// docker did not tell what it has.
#[derive(Debug)]
pub enum AskError {
    /// It was asked in vain.
    Child(String, ChildError),
    /// Its answer is not understood.
    Answer(String, Unexpected),
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Child(program, e) => write!(f, "{program} does not tell its images: {e}"),
            Self::Answer(program, e) => write!(f, "{program} does not tell its images: {e}"),
        }
    }
}

impl std::error::Error for AskError {}

/// What came between an archive and docker.
enum LoadError {
    HandOver(HandOverError),
    Ask(AskError),
    Record(ImageError),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HandOver(e) => write!(f, "{e}"),
            Self::Ask(e) => write!(f, "{e}"),
            Self::Record(e) => write!(f, "{e}"),
        }
    }
}

fn program(docker: &Docker) -> String {
    docker.binary.file_name().unwrap_or(docker.binary.as_os_str()).to_string_lossy().into_owned()
}

/// Asks docker for its images.
pub fn listing(docker: &Docker) -> Result<Listing, AskError> {
    let said = child::run_list(&docker.list_images(), LIST_BYTES)
        .map_err(|e| AskError::Child(program(docker), e))?;
    Listing::parse(&said).map_err(|e| AskError::Answer(program(docker), e))
}

fn has(listing: &Listing) -> Has<'_> {
    Has { references: &listing.references, ids: &listing.ids }
}

/// Asks docker for all it knows of these images; those that have just gone are left out.
fn inspect(docker: &Docker, images: &[&str]) -> Result<Vec<Inspected>, AskError> {
    let mut all = Vec::new();
    for some in images.chunks(INSPECT_AT_ONCE) {
        let line = docker.inspect_images(some.iter().copied());
        match child::run_list(&line, INSPECT_BYTES) {
            Ok(said) => {
                all.extend(inspected(&said).map_err(|e| AskError::Answer(program(docker), e))?);
            }
            // It fails when one of them is missing, and tells of the others.
            Err(ChildError::Ended(status, said)) => match inspected(&said) {
                Ok(found) if some.len() > 1 => all.extend(found),
                Ok(_) | Err(_) => {
                    return Err(AskError::Child(program(docker), ChildError::Ended(status, said)));
                }
            },
            Err(e) => return Err(AskError::Child(program(docker), e)),
        }
    }
    Ok(all)
}

fn hand(
    file: &Path,
    docker: &Docker,
    roots: &Roots,
    quiet: bool,
) -> Result<(Stamp, Vec<Loaded>), HandOverError> {
    let mut meter = Meter::new(file.display().to_string(), quiet);
    let line = docker.load_images();
    let result =
        hand_over(&line, file, &roots.docker(), &Bounds::default(), &mut |progress| meter.show(progress));
    meter.end();
    result
}

/// Loads archives into docker.
pub fn load(files: &[PathBuf], docker: &Docker, roots: &Roots, quiet: bool) -> u8 {
    let each = files.iter().map(|file| {
        let result = hand(file, docker, roots, quiet).map_err(LoadError::HandOver);
        let result = result.and_then(|(_, images)| {
            // Names with a digest stand with us: docker takes them from registries only.
            if images.iter().any(|image| image.references.iter().any(|r| r.digest().is_some())) {
                let now = listing(docker).map_err(LoadError::Ask)?;
                known::record_names(&roots.docker(), &images, has(&now)).map_err(LoadError::Record)?;
            }
            Ok(images)
        });
        told(file, result)
    });
    each.fold(DONE, u8::max)
}

/// Loads the archives of an image directory that are new there, or of which docker has lost something, and remembers what
/// came of each.
pub fn load_directory(directory: &Path, docker: &Docker, roots: &Roots, quiet: bool) -> u8 {
    let listed = match listing(docker) {
        Ok(listed) => listed,
        Err(e) => {
            complain(&format!("image load: {e}"));
            return FAILED;
        }
    };
    let waiting = Known::read(&roots.docker()).and_then(|known| known.waiting(directory, has(&listed)));
    let waiting = match waiting {
        Ok(waiting) => waiting,
        Err(e) => {
            complain(&format!("image load: cannot look through {}: {e}", directory.display()));
            return FAILED;
        }
    };
    waiting.iter().map(|file| told(file, load_and_record(file, docker, roots, quiet))).fold(DONE, u8::max)
}

fn load_and_record(
    file: &Path,
    docker: &Docker,
    roots: &Roots,
    quiet: bool,
) -> Result<Vec<Loaded>, LoadError> {
    let before = match archive::open_file(file) {
        Ok((_, before)) => before,
        Err(e) => return Err(LoadError::HandOver(e.into())),
    };
    match hand(file, docker, roots, quiet) {
        Ok((stamp, images)) => {
            let now = listing(docker).map_err(LoadError::Ask)?;
            known::record(&roots.docker(), file, stamp, Ok((&images, has(&now))))
                .map_err(LoadError::Record)?;
            Ok(images)
        }
        Err(e) => {
            if e.is_permanent() {
                known::record(&roots.docker(), file, before, Err(e.to_string()))
                    .map_err(LoadError::Record)?;
            }
            Err(LoadError::HandOver(e))
        }
    }
}

/// Lets docker pull images; `authfile` holds registry credentials.
pub fn pull(
    references: &[String],
    docker: &Docker,
    roots: &Roots,
    authfile: Option<&Path>,
    quiet: bool,
) -> u8 {
    let wanted = match parsed(references) {
        Ok(wanted) => wanted,
        Err(code) => return code,
    };
    // Kept to the end of all pulls.
    let credentials = match authfile.map(|file| OfPull::new(&roots.docker_config(), file)).transpose() {
        Ok(credentials) => credentials,
        Err(e) => {
            complain(&format!("image pull: {e}"));
            return FAILED;
        }
    };
    let mut docker = docker.clone();
    if let Some(credentials) = &credentials {
        docker.config = Some(credentials.directory.clone());
    }
    let show = !quiet && io::stderr().is_terminal();
    let mut code = DONE;
    for reference in &wanted {
        let mut line = docker.pull_image(reference, show);
        if docker.pulls_itself() {
            line.env.extend(pull::proxy_settings());
        }
        if let Err(e) = pull::fetch(&line, reference, show) {
            complain(&format!("image pull: {e}"));
            code = FAILED;
            if matches!(e, PullError::Interrupted { .. }) {
                break;
            }
            continue;
        }
        match pulled(reference, &docker, roots) {
            Ok(image) => report(&image),
            Err(e) => {
                complain(&format!("image pull: {reference}: was pulled, but {e}"));
                code = FAILED;
            }
        }
    }
    code
}

/// What docker tells of an image that it has just pulled; a name with a digest is remembered.
fn pulled(reference: &Reference, docker: &Docker, roots: &Roots) -> Result<Loaded, LoadError> {
    let name = reference.deciding();
    let found = inspect(docker, &[&name]).map_err(LoadError::Ask)?.pop();
    let gone = || LoadError::Record(ImageError::Unknown { name: name.clone() });
    let found = found.ok_or_else(gone)?;
    let image = Loaded {
        id: found.id,
        references: vec![reference.clone()],
        layers: found.layers,
        size: found.size,
        fits: load::fits(&found.platform),
        platform: found.platform,
    };
    if reference.digest().is_some() {
        let now = listing(docker).map_err(LoadError::Ask)?;
        known::record_names(&roots.docker(), std::slice::from_ref(&image), has(&now))
            .map_err(LoadError::Record)?;
    }
    Ok(image)
}

/// Lists docker's images, as a table or as JSON.
pub fn list(docker: &Docker, json: bool) -> u8 {
    let images = listing(docker).and_then(|listed| {
        let ids: Vec<&str> = listed.ids.iter().map(String::as_str).collect();
        inspect(docker, &ids)
    });
    match images {
        Ok(images) => print(&rows(images), json),
        Err(e) => {
            complain(&format!("image list: {e}"));
            FAILED
        }
    }
}

fn rows(images: Vec<Inspected>) -> Vec<Listed> {
    let mut rows: Vec<Listed> = images
        .into_iter()
        .map(|image| Listed {
            id: image.id,
            references: image.tags.into_iter().chain(image.digests).collect(),
            layers: image.layers,
            size: image.size,
            platform: image.platform,
            loaded_ms: image.tagged_ms,
        })
        .collect();
    rows.sort_by(Listed::order);
    rows
}

/// docker's images are docker's to remove: other things than Pods may need them.
pub fn prune(docker: &Docker, all: bool) -> u8 {
    let word = match docker.flavour {
        Flavour::Docker => "docker",
        Flavour::Podman => "podman",
        Flavour::Nerdctl => "nerdctl",
    };
    let all = if all { " --all" } else { "" };
    complain(&format!(
        "image prune: the images are {word}'s here, and others than Pods may use them; run: {word} image prune{all}"
    ));
    FAILED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_with_names_come_first_in_their_order() {
        let image = |id: &str, tags: &[&str]| Inspected {
            id: id.to_owned(),
            tags: tags.iter().map(|t| (*t).to_owned()).collect(),
            digests: vec![],
            layers: 1,
            size: 1,
            platform: "linux/amd64".to_owned(),
            tagged_ms: None,
        };
        let sorted = rows(vec![image("1", &[]), image("2", &["b:1"]), image("3", &["a:1", "c:1"])]);
        let ids: Vec<&str> = sorted.iter().map(|row| row.id.as_str()).collect();
        assert_eq!(ids, ["3", "2", "1"]);
    }
}
