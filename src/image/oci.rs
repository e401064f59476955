//! Archives that are an OCI image layout (OCI image spec, "Image Layout"): `index.json`, nested indexes for several
//! platforms, and blobs named by their digests.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::archive::{self, Archive, Blob};
use super::bounds::Bounds;
use super::digest::Digest;
use super::error::ImageError;
use super::plan::{self, Planned};
use crate::pod::reference::Reference;

/// The file that makes an archive one of this kind.
pub(super) const INDEX: &str = "index.json";

/// How deep indexes may nest; two levels occur.
const NESTING: u32 = 4;

const NAME: &str = "org.opencontainers.image.ref.name";
const CONTAINERD_NAME: &str = "io.containerd.image.name";
const ATTESTATION: &str = "vnd.docker.reference.type";

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    annotations: Option<BTreeMap<String, String>>,
    platform: Option<Platform>,
}

#[derive(Clone, Debug, Deserialize)]
struct Platform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    variant: String,
}

/// An index or a manifest: told apart by what they hold, since `mediaType` may be absent.
#[derive(Debug, Deserialize)]
struct Document {
    manifests: Option<Vec<Descriptor>>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
}

/// Lists the images; of an image for several platforms, the one for this machine.
pub(super) fn plan(archive: &Archive, bounds: &Bounds) -> Result<Vec<Planned>, ImageError> {
    let index: Document = archive.json(INDEX, bounds)?;
    let mut context = Context { archive, bounds, images: Vec::new(), others: Vec::new() };
    for descriptor in index.manifests.unwrap_or_default() {
        let references = references(&descriptor)?;
        context.descend(&descriptor, &references, NESTING)?;
    }
    let Context { images, others, .. } = context;
    if !images.is_empty() {
        return Ok(images);
    }
    if others.is_empty() {
        return Err(ImageError::Manifest { file: INDEX.to_owned(), problem: "there are no images in it" });
    }
    let (os, architecture) = plan::this_platform();
    Err(ImageError::Platform { wanted: format!("{os}/{architecture}"), found: others })
}

struct Context<'a> {
    archive: &'a Archive,
    bounds: &'a Bounds,
    images: Vec<Planned>,
    /// Platforms that were passed over.
    others: Vec<String>,
}

impl Context<'_> {
    fn descend(
        &mut self,
        descriptor: &Descriptor,
        references: &[Reference],
        nesting: u32,
    ) -> Result<(), ImageError> {
        if !self.is_for_us(descriptor) {
            return Ok(());
        }
        let (name, bytes) = self.small(descriptor)?;
        let document: Document = archive::parse(&name, &bytes)?;
        let wrong = |problem| ImageError::Manifest { file: name.clone(), problem };
        match document {
            Document { manifests: Some(manifests), .. } => {
                let nesting = nesting.checked_sub(1).ok_or_else(|| wrong("indexes nest too deep"))?;
                // Indexes list variants in order of preference; the first that fits is taken, as docker does.
                let before = self.images.len();
                for inner in &manifests {
                    self.descend(inner, references, nesting)?;
                    if self.images.len() > before {
                        break;
                    }
                }
                Ok(())
            }
            Document { config: Some(config), layers: Some(layers), .. } => {
                let (file, config) = self.small(&config)?;
                let blobs = layers.iter().map(|layer| self.layer(layer)).collect::<Result<_, _>>()?;
                let image = plan::image(&file, config, blobs, references.to_vec(), self.bounds)?;
                self.images.push(image);
                Ok(())
            }
            Document { manifests: None, .. } => Err(wrong("neither an image index nor an image manifest")),
        }
    }

    /// Whether a descriptor may hold an image for this machine.
    fn is_for_us(&mut self, descriptor: &Descriptor) -> bool {
        if descriptor.annotations.as_ref().is_some_and(|a| a.contains_key(ATTESTATION)) {
            return false;
        }
        let kind = descriptor.media_type.as_str();
        let known = ["application/vnd.oci.image.", "application/vnd.docker.distribution.manifest."];
        if !kind.is_empty() && !known.iter().any(|prefix| kind.starts_with(prefix)) {
            return false;
        }
        let Some(platform) = &descriptor.platform else { return true };
        let ours = plan::this_platform();
        if (platform.os.as_str(), platform.architecture.as_str()) == ours {
            return true;
        }
        // What is for no platform at all is not an image either.
        if platform.os != "unknown" && !(platform.os.is_empty() && platform.architecture.is_empty()) {
            self.others.push(plan::platform(&platform.os, &platform.architecture, &platform.variant));
        }
        platform.os.is_empty() && platform.architecture.is_empty()
    }

    /// The name and the bytes of a JSON blob, checked against its descriptor.
    fn small(&self, descriptor: &Descriptor) -> Result<(String, Vec<u8>), ImageError> {
        let (name, digest) = named(descriptor)?;
        let bytes = self.archive.read_small(&name, self.bounds)?;
        check_size(&name, descriptor, bytes.len() as u64)?;
        let found = Digest::of(&bytes);
        if found != digest {
            return Err(ImageError::Digest {
                what: name,
                expected: digest.to_string(),
                found: found.to_string(),
            });
        }
        Ok((name, bytes))
    }

    /// A layer's bytes are checked against the digest when they are read.
    fn layer(&self, descriptor: &Descriptor) -> Result<(Blob, Option<Digest>), ImageError> {
        let (name, digest) = named(descriptor)?;
        let blob = self.archive.blob(&name)?;
        check_size(&name, descriptor, blob.size)?;
        Ok((blob, Some(digest)))
    }
}

fn named(descriptor: &Descriptor) -> Result<(String, Digest), ImageError> {
    let digest = Digest::parse(&descriptor.digest).ok_or_else(|| ImageError::Manifest {
        file: descriptor.digest.clone(),
        problem: "not a sha256 digest; other algorithms are not supported",
    })?;
    Ok((format!("blobs/sha256/{}", digest.hex()), digest))
}

fn check_size(name: &str, descriptor: &Descriptor, found: u64) -> Result<(), ImageError> {
    if descriptor.size == found {
        return Ok(());
    }
    Err(ImageError::Size { what: name.to_owned(), expected: descriptor.size, found })
}

/// containerd writes the whole name; the standard annotation holds either a whole name or, by the letter of the
/// specification, any text, mostly a bare tag. A bare word says nothing of the repository, so it is no name.
fn references(descriptor: &Descriptor) -> Result<Vec<Reference>, ImageError> {
    let Some(annotations) = &descriptor.annotations else { return Ok(Vec::new()) };
    let name = match (annotations.get(CONTAINERD_NAME), annotations.get(NAME)) {
        (Some(name), _) => name,
        (None, Some(name)) if name.contains(['/', ':', '@']) => name,
        (None, _) => return Ok(Vec::new()),
    };
    let reference = Reference::parse(name).map_err(|_| ImageError::Name { name: name.clone() })?;
    Ok(vec![reference])
}
