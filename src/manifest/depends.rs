//! The annotation `podstrap.io/depends-on`: a script relies on it, so what is wrong in it refuses the Pod.

use super::escape::quoted;
use super::findings::Findings;
use super::metadata::misfit;
use super::names;
use super::spot::Spot;
use crate::pod::{Dependency, NodeName, PodKey};

/// What begins the annotations that mean something to podstrap alone.
pub(super) const PREFIX: &str = "podstrap.io/";

/// Nobody means to list more; each of them is looked up whenever something happens while the Pod waits.
const MOST: usize = 64;

/// Reads the list. `own` is the Pod whose annotation it is, if its name is usable.
pub(super) fn read(
    spot: &Spot<'_>,
    text: &str,
    own: Option<&PodKey>,
    node: &NodeName,
    findings: &mut Findings,
) -> Vec<Dependency> {
    const FORM: &str = "Pods are separated by commas, each [NAMESPACE/]NAME";
    let mut out = Vec::new();
    if text.trim().is_empty() {
        return out;
    }
    for entry in text.split(',').map(str::trim) {
        if entry.is_empty() {
            spot.error(findings, "has an empty entry").help(FORM);
            continue;
        }
        if entry.contains(char::is_whitespace) || entry.matches('/').count() > 1 {
            spot.error(findings, format!("{} is no name of a Pod", quoted(entry))).help(FORM);
            continue;
        }
        let (namespace, name) = match entry.split_once('/') {
            Some((namespace, name)) => (Some(namespace), name),
            None => (None, entry),
        };
        let fits = namespace.map_or(Ok(()), names::label).and_then(|()| names::subdomain(name));
        if let Err(reason) = fits {
            let is_namespace = namespace.is_some_and(|n| names::label(n).is_err());
            misfit(spot, if is_namespace { namespace.unwrap_or_default() } else { name }, reason, findings);
            continue;
        }
        let Some(own) = own else { continue };
        match Dependency::of(entry, own, node) {
            None => {
                spot.error(findings, format!("{} is this Pod itself", quoted(entry)))
                    .help("a Pod that waits for itself would never start: take it out of the list");
            }
            Some(dependency) if out.contains(&dependency) => {
                spot.warning(findings, format!("{} stands there twice", quoted(entry)));
            }
            Some(dependency) => out.push(dependency),
        }
    }
    if out.len() > MOST {
        spot.error(findings, format!("names {} Pods, and at most {MOST} are allowed", out.len()));
    }
    out
}
