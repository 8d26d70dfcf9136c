//! Configurations, TOML and JSON, down to the network's list of parameters.

#![no_main]

use langevin::models::Config;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let config = match serde_json::from_str(text) {
        Ok(tree) => Config::from_json(&tree),
        Err(_) => Config::from_toml(text, "fuzz"),
    };
    if let Ok(config) = config {
        assert_eq!(Config::from_toml(&config.to_toml(), "again").expect("what is printed is read"), config);
        let _ = config.warnings();
    }
});
