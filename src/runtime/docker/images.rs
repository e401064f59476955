//! docker's images: the command lines that list, load and pull them, and what the answers mean.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Deserialize;

use super::{Docker, Flavour, OTHER_MS};
use crate::command::CommandLine;
use crate::pod::reference::Reference;

/// How much of a listing is read, in bytes: room for some ten thousand images, at about 200 bytes each.
pub const LIST_BYTES: usize = 4 << 20;
/// How much is read of what is told of single images, in bytes.
pub const INSPECT_BYTES: usize = 16 << 20;
/// So many images are asked for at a time.
pub const INSPECT_AT_ONCE: usize = 100;
/// Loading one archive may take this long, in milliseconds.
const LOAD_MS: u64 = 1_800_000;
/// A pull may take this long, in milliseconds. Shorter than the daemon waits for who runs it.
const PULL_MS: u64 = 1_740_000;
/// The tabs themselves, not escapes: not every template engine takes those.
const FORMAT: &str = "{{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}";
/// What stands where there is nothing.
const NONE: &str = "<none>";

impl Docker {
    /// Lists the images; see [`Listing::parse`].
    pub fn list_images(&self) -> CommandLine {
        self.command().args(["images", "--no-trunc", "--digests", "--format", FORMAT]).deadline(OTHER_MS)
    }

    /// Loads an archive that it reads from its standard input.
    pub fn load_images(&self) -> CommandLine {
        let line = self.command().arg("load").deadline(LOAD_MS);
        match self.flavour {
            // The others tell how far they are also where nobody sees it.
            Flavour::Docker | Flavour::Podman => line.arg("--quiet"),
            Flavour::Nerdctl => line,
        }
    }

    /// Pulls an image; `show`: it tells how far it is.
    pub fn pull_image(&self, reference: &Reference, show: bool) -> CommandLine {
        let mut line = self.command().arg("pull").deadline(PULL_MS);
        if !show {
            line = line.arg("--quiet");
        }
        // podman refuses a tag beside a digest, docker drops it.
        line.arg(reference.deciding())
    }

    /// Whether this program fetches images itself, and so needs the proxy settings; docker's daemon has its own.
    pub fn pulls_itself(&self) -> bool {
        match self.flavour {
            Flavour::Docker => false,
            Flavour::Podman | Flavour::Nerdctl => true,
        }
    }

    /// Tells of these images, by names or ids; see [`inspected`].
    pub fn inspect_images<'a>(&self, images: impl IntoIterator<Item = &'a str>) -> CommandLine {
        self.command().args(["image", "inspect"]).args(images).deadline(OTHER_MS)
    }
}

/// What docker has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Full reference, with a tag or with a digest → image id (`sha256:…`).
    pub references: BTreeMap<String, String>,
    /// The ids of all images, those without a name too.
    pub ids: BTreeSet<String>,
}

/// What a program has said is not what was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unexpected(String);

impl fmt::Display for Unexpected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an answer that is not understood: {}", self.0.escape_debug())
    }
}

impl std::error::Error for Unexpected {}

impl Listing {
    /// Reads what [`Docker::list_images`] prints. Lines without a tab are warnings and passed over.
    ///
    /// # Errors
    /// A line is not of the form that was asked for: then nothing is known of what there is.
    pub fn parse(output: &str) -> Result<Self, Unexpected> {
        let mut listing = Self::default();
        for line in output.lines().filter(|line| line.contains('\t')) {
            let columns: Vec<&str> = line.split('\t').collect();
            let unexpected = || Unexpected(line.to_owned());
            let [repository, tag, digest, id] = columns[..] else { return Err(unexpected()) };
            let id = whole_id(id).ok_or_else(unexpected)?;
            let names = [(':', tag), ('@', digest)];
            for (sign, word) in names.into_iter().filter(|(_, word)| !word.is_empty() && *word != NONE) {
                // The repository `<none>` is no reference; what else is none cannot be asked for by a Pod either.
                if let Ok(reference) = Reference::parse(&format!("{repository}{sign}{word}")) {
                    listing.references.insert(reference.full, id.clone());
                }
            }
            listing.ids.insert(id);
        }
        Ok(listing)
    }
}

/// `sha256:HEX`; podman leaves the beginning out in places.
fn whole_id(text: &str) -> Option<String> {
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    let is_id = hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    is_id.then(|| format!("sha256:{hex}"))
}

/// One image, as docker tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspected {
    /// `sha256:…`
    pub id: String,
    /// The full references with a tag that name it.
    pub tags: Vec<String>,
    /// The full references with a digest that name it.
    pub digests: Vec<String>,
    /// How many layers it has.
    pub layers: usize,
    /// Bytes, as docker counts them.
    pub size: u64,
    /// `OS/ARCHITECTURE[/VARIANT]`.
    pub platform: String,
    /// When it was given its last name here, milliseconds since 1970; podman does not tell.
    pub tagged_ms: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Document {
    id: String,
    repo_tags: Option<Vec<String>>,
    repo_digests: Option<Vec<String>>,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    variant: String,
    #[serde(rename = "RootFS")]
    root_fs: Option<RootFs>,
    metadata: Option<Metadata>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RootFs {
    layers: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Metadata {
    last_tag_time: Option<String>,
}

/// Reads what [`Docker::inspect_images`] prints; an image that is not there any more is left out.
///
/// # Errors
/// It is not of that form.
pub fn inspected(output: &str) -> Result<Vec<Inspected>, Unexpected> {
    // Which image is missing is said before or after the list, on standard error.
    let list = output.find('[').zip(output.rfind(']')).and_then(|(from, to)| output.get(from..=to));
    let unexpected = |why: &str| Unexpected(why.to_owned());
    let first = output.lines().next().unwrap_or_default();
    let documents: Vec<Document> = serde_json::from_str(list.ok_or_else(|| unexpected(first))?)
        .map_err(|e| unexpected(&e.to_string()))?;
    documents
        .into_iter()
        .map(|d| {
            let mut platform = format!("{}/{}", d.os, d.architecture);
            if !d.variant.is_empty() {
                platform.push_str(&format!("/{}", d.variant));
            }
            Ok(Inspected {
                id: whole_id(&d.id).ok_or_else(|| unexpected(&d.id))?,
                tags: full(d.repo_tags),
                digests: full(d.repo_digests),
                layers: d.root_fs.and_then(|r| r.layers).map_or(0, |l| l.len()),
                size: d.size,
                platform,
                // The year 1 stands for never.
                tagged_ms: d
                    .metadata
                    .and_then(|m| m.last_tag_time?.parse::<jiff::Timestamp>().ok())
                    .map(|t| t.as_millisecond())
                    .filter(|ms| *ms > 0),
            })
        })
        .collect()
}

fn full(names: Option<Vec<String>>) -> Vec<String> {
    let names = names.unwrap_or_default();
    names.iter().filter_map(|name| Some(Reference::parse(name).ok()?.full)).collect()
}

#[cfg(test)]
#[path = "images_tests.rs"]
mod tests;
