//! Reads a folder of manifests once and translates the objects, for `weir check` and `weir translate`.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use weir::source::folder::Folder;
use weir_core::manifest::problem::Problem;
use weir_core::plan::Plan;
use weir_core::translate::translate_objects;

use super::limits::LimitArguments;
use super::shared_arguments::{PolicyArgument, parse_namespace, print};

#[derive(Args)]
pub struct FolderArguments {
    /// Folder of manifests, or one file
    dir: PathBuf,
    /// Namespace of objects without a namespace
    #[arg(long, value_name = "NS", value_parser = parse_namespace, default_value = "default")]
    default_namespace: String,
    #[command(flatten)]
    policy: PolicyArgument,
    #[command(flatten)]
    limits: LimitArguments,
}

pub struct FolderReport {
    pub files: usize,
    pub objects: usize,
    /// One line for each file or YAML document that Weir does not read, with the reason.
    pub passed_over: Vec<String>,
    pub plan: Plan,
    pub problems: BTreeSet<Problem>,
}

impl FolderArguments {
    /// Reads and translates the folder. If the folder cannot be read, prints the reason and returns the exit code.
    pub fn report(&self) -> Result<FolderReport, ExitCode> {
        let folder = Folder::open(&self.dir, true);
        let folder = folder.map_err(|error| print_unreadable(&self.dir, &error))?;
        let mut folder = folder.with_default_namespace(self.default_namespace.clone());
        folder.read_all();
        let limits = self.limits.limits();
        let translation = translate_objects(folder.objects(), self.policy.policy, &limits);
        let problems = [folder.problems(), translation.problems];
        Ok(FolderReport {
            files: folder.files(),
            objects: folder.objects().len(),
            passed_over: folder.passed_over(),
            plan: translation.plan,
            problems: problems.into_iter().flatten().collect(),
        })
    }
}

impl FolderReport {
    pub fn warnings(&self) -> usize {
        self.problems.iter().filter(|it| it.is_warning()).count()
    }

    /// Returns one line for each problem.
    pub fn problem_lines(&self) -> String {
        let line = |problem: &Problem| {
            let prefix = if problem.is_warning() {
                "warning: "
            } else {
                ""
            };
            format!("{prefix}{problem}\n")
        };
        self.problems.iter().map(line).collect()
    }
}

/// Prints that the folder cannot be read, and returns the exit code for that.
pub fn print_unreadable(dir: &Path, error: &io::Error) -> ExitCode {
    let message = format!("weir: {} cannot be read: {error}\n", dir.display());
    print(io::stderr(), &message);
    ExitCode::from(2)
}
