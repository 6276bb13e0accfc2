//! kubectl with one kubeconfig.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::programs::go_program;

#[derive(Clone)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
}

impl Kubectl {
    pub fn new(kubeconfig: PathBuf) -> Kubectl {
        Kubectl {
            program: go_program("kubernetes", "kubectl"),
            kubeconfig,
        }
    }

    /// Returns a kubectl command. The caller adds arguments and runs it.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env("KUBECONFIG", &self.kubeconfig);
        // kubectl caches API discovery. Each cluster needs its own cache.
        let cache = self.kubeconfig.with_extension("cache");
        command.env("KUBECACHEDIR", cache);
        command
    }

    pub fn output(&self, args: &[&str]) -> Output {
        let output = self.command().args(args).stdin(Stdio::null()).output();
        output.expect("kubectl starts")
    }

    /// Runs kubectl and returns the standard output. Panics with the error output if kubectl fails.
    pub fn run(&self, args: &[&str]) -> String {
        stdout(args, &self.output(args))
    }

    /// Applies YAML documents. `args` contains flags (`-n`, `--server-side`).
    pub fn apply(&self, yaml: &str, args: &[&str]) -> String {
        self.with_input(&[&["apply", "-f", "-"], args].concat(), yaml)
    }

    pub fn with_input(&self, args: &[&str], input: &str) -> String {
        stdout(args, &self.output_of_input(args, input))
    }

    /// Runs kubectl and returns the standard output, or the error output if kubectl fails.
    pub fn try_with_input(&self, args: &[&str], input: &str) -> Result<String, String> {
        let output = self.output_of_input(args, input);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(text(&output.stderr))
        }
    }

    fn output_of_input(&self, args: &[&str], input: &str) -> Output {
        let mut child = self
            .command()
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kubectl starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        stdin.write_all(input.as_bytes()).expect("kubectl reads");
        drop(stdin);
        child.wait_with_output().expect("kubectl ends")
    }

    /// Requests a token of a ServiceAccount. Without an audience the token is for the API server.
    pub fn token(&self, namespace: &str, account: &str, audience: Option<&str>) -> String {
        let mut args = vec!["create", "token", account, "-n", namespace];
        if let Some(audience) = audience {
            args.extend(["--audience", audience]);
        }
        self.run(&args).trim().to_owned()
    }

    /// Applies folders of CRDs and waits until the API server serves them.
    pub fn crds(&self, folders: &[&Path]) {
        let files: Vec<String> = folders
            .iter()
            .flat_map(|folder| manifests(folder))
            .collect();
        let mut args = vec!["apply", "--server-side", "-o", "name"];
        args.extend(files.iter().flat_map(|file| ["-f", file]));
        let names = self.run(&args);
        let mut wait = vec!["wait", "--for=condition=Established", "--timeout=30s"];
        wait.extend(
            names
                .lines()
                .filter(|name| name.starts_with("customresourcedefinition")),
        );
        self.run(&wait);
    }
}

/// Returns the YAML files in a folder, except `kustomization.yaml`.
fn manifests(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder);
    let entries = entries.unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut files: Vec<String> = paths
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| name != "kustomization.yaml")
        })
        .map(|path| path.display().to_string())
        .collect();
    files.sort();
    files
}

fn stdout(args: &[&str], output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "kubectl {}: {errors}",
        args.join(" ")
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
