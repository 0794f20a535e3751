//! The files of `deploy/` are what their tools accept.

use std::path::Path;

use libtest_mimic::Trial;

use crate::services::{Need, Outcome, docker_compose, trial};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        trial("deploy::compose_file_is_valid", &[Need::DockerCompose], compose_file_is_valid),
        trial("deploy::compose_file_holds_no_password", &[], compose_file_holds_no_password),
    ]
}

/// The variables that the compose file asks for.
const SECRETS: [&str; 2] = ["POSTGRES_PASSWORD", "S3_SECRET_ACCESS_KEY"];

fn compose_file() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/compose.yaml")
}

fn compose_file_is_valid() -> Outcome {
    let output = docker_compose()?
        .arg("-f")
        .arg(compose_file())
        .args(["config", "-q"])
        .envs(SECRETS.map(|name| (name, "only-for-this-check")))
        .output()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Every secret is asked for, without a default: `${NAME:?…}`.
fn compose_file_holds_no_password() -> Outcome {
    let text = std::fs::read_to_string(compose_file())?;
    for name in SECRETS {
        assert!(text.contains(&format!("${{{name}:?")), "{name} has a default or is not asked for");
    }
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        let Some((key, value)) = line.split_once(':') else { continue };
        let secret = ["password", "secret", "credential"].iter().any(|word| key.to_lowercase().contains(word));
        let value = value.trim();
        assert!(
            !secret || value.is_empty() || value.contains("${") || value.starts_with('/') || value.starts_with('['),
            "a secret in clear: {line}"
        );
    }
    Ok(())
}
