//! `weir check`: prints the problems of a folder, and what a running Envoy lacks for the folder's objects.

use std::io;
use std::process::ExitCode;

use clap::Args;
use weir::publish::Published;
use weir_core::envoy::{self, Finding};
use weir_core::plan::{Plan, document};

use super::envoy_admin::{Admin, EnvoyUnreachable};
use super::folder_report::FolderArguments;
use super::shared_arguments::print;

#[derive(Args)]
pub struct Check {
    /// Also check a running Envoy: report backends without a cluster, and routes whose policies a split would bypass
    #[arg(long, value_name = "http://ADMIN")]
    envoy: Option<Admin>,
    /// Also list the files and YAML documents that Weir does not read
    #[arg(long)]
    verbose: bool,
    // Must be the last field: these arguments end with the heading `Limits` of --help, and clap puts each later argument
    // under the last heading.
    #[command(flatten)]
    folder: FolderArguments,
}

pub fn run(args: &Check) -> ExitCode {
    let report = match args.folder.report() {
        Ok(report) => report,
        Err(exit) => return exit,
    };
    print(io::stdout(), &report.problem_lines());
    if args.verbose {
        let lines = report.passed_over.iter();
        let lines: String = lines.map(|it| format!("passed over: {it}\n")).collect();
        print(io::stderr(), &lines);
    }
    let mut warnings = report.warnings();
    let mut is_good = warnings == report.problems.len();
    if let Err(refused) = Published::compile(report.plan.clone(), document::features_after) {
        let message = format!("weir: a proxy would refuse the configuration: {refused}\n");
        print(io::stderr(), &message);
        is_good = false;
    }
    if let Some(admin) = &args.envoy {
        match check_envoy(admin, &report.plan) {
            Ok((problems, of_envoy)) => {
                is_good &= problems == 0;
                warnings += of_envoy;
            }
            Err(error) => {
                print(io::stderr(), &format!("weir: {error}\n"));
                return ExitCode::from(2);
            }
        }
    }
    if !is_good {
        return ExitCode::FAILURE;
    }
    let summary = match warnings {
        0 => "no problems".to_owned(),
        1 => "no problems, 1 warning".to_owned(),
        many => format!("no problems, {many} warnings"),
    };
    let (objects, files, passed) = (report.objects, report.files, report.passed_over.len());
    print(
        io::stderr(),
        &format!("{summary} ({objects} objects in {files} files, {passed} passed over)\n"),
    );
    ExitCode::SUCCESS
}

/// Prints the findings about a running Envoy. Returns the number of problems and the number of warnings.
fn check_envoy(admin: &Admin, plan: &Plan) -> Result<(usize, usize), EnvoyUnreachable> {
    let state = admin.read_state()?;
    if let Some(why) = &state.without_stats {
        print(
            io::stderr(),
            &format!(
                "weir: {why}; so this check does not see failing polls, and detects weir-lean.wasm only by the name of \
                 its file\n"
            ),
        );
    }
    let findings = envoy::findings(&state.running, plan);
    let line = |finding: &Finding| match finding.is_warning() {
        true => format!("warning: {finding}\n"),
        false => format!("{finding}\n"),
    };
    let lines: String = findings.iter().map(line).collect();
    print(io::stdout(), &lines);
    let warnings = findings.iter().filter(|it| it.is_warning()).count();
    Ok((findings.len() - warnings, warnings))
}
