//! The arguments that limit the cost of objects. The cost of an object is an estimate of the bytes that the object adds
//! to the configuration of a proxy.

use clap::error::ErrorKind;
use clap::{Args, CommandFactory};
use weir_core::translate::budget::{Bytes, Limits};

use super::Cli;

/// Limits for the cost of objects in proxies.
#[derive(Args)]
#[command(
    next_help_heading = "Limits for the configuration of proxies. Write BYTES as 1048576, 1024Ki or 1Mi"
)]
pub struct LimitArguments {
    /// Limit for one object. Weir leaves out an object above this limit
    #[arg(long, value_name = "BYTES", default_value = "1Mi")]
    object_limit: Bytes,
    /// Limit for all objects of one namespace. Above this limit Weir leaves out the youngest objects. 1Mi is enough for
    /// about 2000 TrafficSplits with one port and two backends. They need less than 25 MiB of memory in an Envoy with
    /// two workers
    #[arg(long, value_name = "BYTES", default_value = "1Mi")]
    namespace_limit: Bytes,
    /// Limit for one proxy, at most 24Mi. Above this limit Weir leaves out the youngest objects of the namespace with
    /// the highest cost. The bytes of --namespace-limit are reserved for the proxy's own namespace
    #[arg(long, value_name = "BYTES", default_value = "16Mi", value_parser = parse_scope_limit)]
    scope_limit: Bytes,
    /// Maximum number of regular expressions in all objects of one namespace
    #[arg(long, value_name = "COUNT", default_value_t = Limits::default().namespace_expressions)]
    namespace_expressions: u64,
    /// Maximum number of regular expressions for one proxy
    #[arg(long, value_name = "COUNT", default_value_t = Limits::default().scope_expressions)]
    scope_expressions: u64,
}

impl LimitArguments {
    /// Returns the limits. Exits the process with a usage error if a limit for one proxy is not above the limit for one
    /// namespace.
    pub fn limits(&self) -> Limits {
        let limits = Limits {
            object: self.object_limit.0,
            namespace: self.namespace_limit.0,
            scope: self.scope_limit.0,
            namespace_expressions: self.namespace_expressions,
            scope_expressions: self.scope_expressions,
        };
        require_more(
            ("--scope-limit", limits.scope),
            ("--namespace-limit", limits.namespace),
        );
        require_more(
            ("--scope-expressions", limits.scope_expressions),
            ("--namespace-expressions", limits.namespace_expressions),
        );
        limits
    }
}

fn require_more(scope: (&str, u64), namespace: (&str, u64)) {
    if scope.1 > namespace.1 {
        return;
    }
    let message = format!(
        "{} ({}) must be more than {} ({}): the proxy's own namespace may use {}, and the other namespaces \
         share the rest",
        scope.0, scope.1, namespace.0, namespace.1, namespace.1
    );
    Cli::command()
        .error(ErrorKind::ValueValidation, message)
        .exit();
}

/// Envoy passes no answer above 32 MiB to a filter. The maximum is lower, because the cost of an object is an estimate.
fn parse_scope_limit(text: &str) -> Result<Bytes, &'static str> {
    const MAX: u64 = 24 << 20;
    let bytes: Bytes = text.parse()?;
    if bytes.0 > MAX {
        return Err("write at most 24Mi: Envoy accepts no configuration above 32 MiB");
    }
    Ok(bytes)
}
