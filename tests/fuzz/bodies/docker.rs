//! What docker's CLI and runc print: lines of events, listings, inspections, states, versions and logs.

use std::path::PathBuf;

use podstrap::runtime::docker::images::{self, Listing};
use podstrap::runtime::docker::{self, Docker, Flavour, events, exec};
use podstrap::runtime::runc;

use super::choice;

pub fn run(data: &[u8]) {
    let Some((format, bytes)) = choice(data, 9) else { return };
    // Output is always made text before it is looked at.
    let text = String::from_utf8_lossy(bytes);
    match format {
        0 => {
            for line in text.lines() {
                let _ = events::parse(line);
            }
        }
        1 => {
            for listed in docker::parse_list(&text) {
                assert!(text.contains(&listed.container));
            }
        }
        2 => {
            if let Some(inspected) = docker::parse_inspect(&text) {
                let state = &inspected.state;
                let _ = (state.is_alive(), state.has_ended());
                let _ = (inspected.stop_signal(), inspected.addresses(), inspected.image_id());
            }
        }
        3 => {
            if let Ok(listing) = Listing::parse(&text) {
                for id in listing.references.values() {
                    assert!(!id.is_empty());
                }
            }
        }
        4 => {
            if let Ok(found) = images::inspected(&text) {
                for image in found {
                    let _ = (image.platform.len(), image.tagged_ms);
                }
            }
        }
        5 => {
            let _ = (docker::parse_info(&text), Flavour::of_version(&text), exec::is_running(&text));
            let _ = Docker::new(PathBuf::from("/d")).exec_end(126, &text);
            let _ = (docker::is_missing(&text), docker::is_no_image(&text), docker::is_unreachable(&text));
            let _ = docker::name_holder(&text);
            assert!(docker::complaint(&text).len() <= 4096);
        }
        6 => {
            if let Some(version) = runc::parse_version(&text) {
                let _ = runc::vulnerable(&version);
            }
        }
        7 => {
            let _ = runc::parse_state(&text);
        }
        _ => {
            if let Some(error) = runc::error_of_log(&text) {
                let _ = (runc::start_failure_reason(&error), runc::cut(&error, 100));
            }
        }
    }
}
