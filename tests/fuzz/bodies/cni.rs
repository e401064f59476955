//! CNI: a network's configuration, and what its plugins answer.

use std::fs;

use podstrap::helper::sandbox::cni::{Joined, Network, addresses};
use serde_json::Value;

use super::{choice, scratch};

pub fn run(data: &[u8]) {
    let Some((format, bytes)) = choice(data, 3) else { return };
    match format {
        0 => configuration(bytes),
        1 => {
            if let Ok(answer) = serde_json::from_slice::<Value>(bytes) {
                let found = addresses(&answer);
                let offered = answer.get("ips").and_then(Value::as_array).map_or(0, Vec::len);
                assert!(found.len() <= offered);
            }
        }
        _ => {
            // cni.json: what DEL is told.
            if let Ok(joined) = serde_json::from_slice::<Joined>(bytes) {
                for plugin in &joined.network.plugins {
                    let _ = joined.network.request(plugin, &joined.port_mappings, joined.result.as_ref());
                }
            }
        }
    }
}

fn configuration(bytes: &[u8]) {
    let directory = scratch("cni");
    fs::write(directory.join("10-a.conflist"), bytes).expect("room in the scratch directory");
    match Network::load(&directory) {
        Ok(network) => {
            assert!(!network.plugins.is_empty());
            for plugin in &network.plugins {
                // They become names of programs below the directories of plugins.
                assert!(
                    !plugin.kind.is_empty() && !plugin.kind.contains('/') && !plugin.kind.starts_with('.')
                );
                assert!(!plugin.kind.contains('\0'), "{:?}", plugin.kind);
                let request = network.request(plugin, &[], None);
                assert_eq!(request["name"], network.name.as_str());
            }
        }
        Err(error) => {
            let _ = error.to_string();
        }
    }
}
