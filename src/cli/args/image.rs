//! The options of `image` and its verbs.

use std::path::PathBuf;

use argh::FromArgs;

use super::{RUN_DIR, STATE_DIR};
use crate::cli::values::TextOrJson;
use crate::config::RuntimeChoice;

/// Look after the images.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "image")]
pub struct ImageArgs {
    /// what to do
    #[argh(subcommand)]
    pub verb: ImageVerb,
}

/// What is to be done with images.
#[derive(FromArgs, Debug)]
#[argh(subcommand)]
pub enum ImageVerb {
    /// From an archive.
    Load(ImageLoadArgs),
    /// From a registry.
    Pull(ImagePullArgs),
    /// Table of images.
    List(ImageListArgs),
    /// Removes what nobody uses.
    Prune(ImagePruneArgs),
}

/// Load images from archives: docker-archive or OCI, plain, gzip or zstd.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "load")]
pub struct ImageLoadArgs {
    /// the archives
    #[argh(positional, arg_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// the daemon's run directory (default /run/podstrap)
    #[argh(option, default = "RUN_DIR.into()", arg_name = "DIR")]
    pub run_dir: PathBuf,
    /// the daemon's state directory: the images, unless docker keeps them (default /var/lib/podstrap)
    #[argh(option, default = "STATE_DIR.into()", arg_name = "DIR")]
    pub state_dir: PathBuf,
    /// what keeps the images: auto, runc or docker (default what the daemon uses, else runc)
    #[argh(option, default = "RuntimeChoice::Auto", arg_name = "NAME")]
    pub runtime: RuntimeChoice,
    /// the docker CLI, or podman's or nerdctl's (default the daemon's, else docker on the fixed search path)
    #[argh(option, arg_name = "FILE")]
    pub docker_binary: Option<PathBuf>,
}

/// Pull images from their registries: with skopeo, or docker where docker keeps the images.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "pull")]
pub struct ImagePullArgs {
    /// the images
    #[argh(positional, arg_name = "IMAGE")]
    pub images: Vec<String>,
    /// registry auth file
    #[argh(option, arg_name = "FILE")]
    pub authfile: Option<PathBuf>,
    /// the daemon's run directory (default /run/podstrap)
    #[argh(option, default = "RUN_DIR.into()", arg_name = "DIR")]
    pub run_dir: PathBuf,
    /// the daemon's state directory: the images, unless docker keeps them (default /var/lib/podstrap)
    #[argh(option, default = "STATE_DIR.into()", arg_name = "DIR")]
    pub state_dir: PathBuf,
    /// what keeps the images: auto, runc or docker (default what the daemon uses, else runc)
    #[argh(option, default = "RuntimeChoice::Auto", arg_name = "NAME")]
    pub runtime: RuntimeChoice,
    /// the docker CLI, or podman's or nerdctl's (default the daemon's, else docker on the fixed search path)
    #[argh(option, arg_name = "FILE")]
    pub docker_binary: Option<PathBuf>,
}

/// List the images that are kept.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "list")]
pub struct ImageListArgs {
    /// text or json (default text)
    #[argh(option, short = 'o', default = "TextOrJson::Text", arg_name = "FORMAT")]
    pub output: TextOrJson,
    /// the daemon's run directory (default /run/podstrap)
    #[argh(option, default = "RUN_DIR.into()", arg_name = "DIR")]
    pub run_dir: PathBuf,
    /// the daemon's state directory: the images, unless docker keeps them (default /var/lib/podstrap)
    #[argh(option, default = "STATE_DIR.into()", arg_name = "DIR")]
    pub state_dir: PathBuf,
    /// what keeps the images: auto, runc or docker (default what the daemon uses, else runc)
    #[argh(option, default = "RuntimeChoice::Auto", arg_name = "NAME")]
    pub runtime: RuntimeChoice,
    /// the docker CLI, or podman's or nerdctl's (default the daemon's, else docker on the fixed search path)
    #[argh(option, arg_name = "FILE")]
    pub docker_binary: Option<PathBuf>,
}

/// Remove the images that no Pod uses.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "prune")]
pub struct ImagePruneArgs {
    /// every image that no Pod uses, not only those without a name
    #[argh(switch, short = 'a')]
    pub all: bool,
    /// only tell what would be removed
    #[argh(switch)]
    pub dry_run: bool,
    /// the daemon's run directory (default /run/podstrap)
    #[argh(option, default = "RUN_DIR.into()", arg_name = "DIR")]
    pub run_dir: PathBuf,
    /// the daemon's state directory: the images, unless docker keeps them (default /var/lib/podstrap)
    #[argh(option, default = "STATE_DIR.into()", arg_name = "DIR")]
    pub state_dir: PathBuf,
    /// what keeps the images: auto, runc or docker (default what the daemon uses, else runc)
    #[argh(option, default = "RuntimeChoice::Auto", arg_name = "NAME")]
    pub runtime: RuntimeChoice,
    /// the docker CLI, or podman's or nerdctl's (default the daemon's, else docker on the fixed search path)
    #[argh(option, arg_name = "FILE")]
    pub docker_binary: Option<PathBuf>,
}
