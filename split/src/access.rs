//! The access policy: TrafficTargets of SMI. A request or connection without a grant is denied.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::matching::condition::Condition;
use crate::matching::pattern::Patterns;
use crate::matching::request_view::RequestView;
use crate::plugin::{Site, is_dns_name};
use crate::refusal::{Refusal, each, refuse};
use crate::wire;

/// Maximum bytes of a method or a path in a message.
const MAX_SHOWN_BYTES: usize = 100;
/// Maximum number of ServiceAccounts in a message.
const MAX_NAMED_ACCOUNTS: usize = 3;

const NO_IDENTITY: &str = "a client without identity";

/// The grants of [`wire::Grants`] that one proxy needs.
#[derive(Debug)]
pub(crate) struct Access {
    /// The ServiceAccount of this proxy's workload. It is the client of requests that the proxy sends, and the
    /// destination of requests that come in.
    own: Option<Box<str>>,
    /// The grants that have `own` as a source. The key is the ServiceAccount of the destination.
    outbound: HashMap<Box<str>, Vec<Arc<Grant>>>,
    /// The grants that have `own` as the destination.
    inbound: Vec<Arc<Grant>>,
    /// The text in messages for a client whose certificate names no ServiceAccount.
    stranger: Box<str>,
}

#[derive(Debug)]
struct Grant {
    sources: BTreeSet<Box<str>>,
    requests: Vec<Condition>,
    ports: Option<Vec<u16>>,
}

/// The grants that let this proxy send traffic to one backend.
#[derive(Debug)]
pub(crate) struct Permit {
    client: Option<Box<str>>,
    grants: Vec<Arc<Grant>>,
    /// The name of the backend in messages: `SERVICE.NAMESPACE:PORT (NAMESPACE/NAME)`.
    destination: Box<str>,
    port: u16,
}

impl Access {
    pub(crate) fn compile(
        grants: &wire::Grants,
        site: &Site,
        patterns: &mut Patterns,
    ) -> Result<Access, Refusal> {
        let own = site.service_account.as_deref();
        let mut compiled = Access {
            own: own.map(Into::into),
            outbound: HashMap::new(),
            inbound: Vec::new(),
            stranger: match site.trust_domain.as_str() {
                "" => NO_IDENTITY.into(),
                domain => format!(
                    "{NO_IDENTITY} (its certificate has neither a SPIFFE ID of trust domain {domain} nor the DNS name \
                     of a ServiceAccount in {})",
                    site.cluster_domain
                )
                .into(),
            },
        };
        for (destination, grants) in grants {
            let place = || format!("grants[{destination:?}]");
            if !is_account(destination) {
                return refuse(place(), "write NAMESPACE/NAME");
            }
            for (index, grant) in grants.iter().enumerate() {
                let grant = Grant::compile(grant, patterns)
                    .map_err(|refusal| refusal.within(format_args!("{}[{index}]", place())))?;
                let grant = Arc::new(grant);
                if own.is_some_and(|own| grant.sources.contains(own)) {
                    let outbound = compiled.outbound.entry(destination.as_str().into());
                    outbound.or_default().push(grant.clone());
                }
                if own == Some(destination) {
                    compiled.inbound.push(grant);
                }
            }
        }
        Ok(compiled)
    }

    pub(crate) fn permit(
        &self,
        backend: &wire::Service,
        accounts: &[String],
    ) -> Result<Permit, Refusal> {
        each("accounts", accounts, |account| {
            if is_account(account) {
                Ok(())
            } else {
                refuse("", format!("{account:?}: write NAMESPACE/NAME"))
            }
        })?;
        let account_note = match accounts {
            // The ServiceAccounts of the backend's pods are unknown, or have no grant for this proxy.
            [] => " (no ServiceAccount of its pods has a grant for this proxy)".into(),
            all => {
                let named: Vec<_> = all
                    .iter()
                    .take(MAX_NAMED_ACCOUNTS)
                    .map(String::as_str)
                    .collect();
                let more = if all.len() > MAX_NAMED_ACCOUNTS {
                    ", ..."
                } else {
                    ""
                };
                format!(" ({}{more})", named.join(", "))
            }
        };
        Ok(Permit {
            client: self.own.clone(),
            grants: accounts
                .iter()
                .filter_map(|account| self.outbound.get(account.as_str()))
                .flatten()
                .cloned()
                .collect(),
            destination: format!("{backend}{account_note}").into(),
            port: backend.port,
        })
    }

    /// Checks a request of `peer` to this workload. The error names the missing permission.
    pub(crate) fn admit<'t>(
        &'t self,
        peer: Option<&str>,
        view: &mut RequestView<'t>,
    ) -> Result<(), String> {
        if self
            .grants_for(peer)
            .any(|grant| grant.allows_request(view))
        {
            return Ok(());
        }
        Err(missing_grant(
            peer.unwrap_or(&self.stranger),
            &describe_request(view),
            self.destination(),
        ))
    }

    /// Checks a connection of `peer` to this workload. The error names the missing permission.
    pub(crate) fn admit_connection(&self, peer: Option<&str>, port: u16) -> Result<(), String> {
        if self
            .grants_for(peer)
            .any(|grant| grant.allows_connection(port))
        {
            return Ok(());
        }
        let destination = format!("{} at port {port}", self.destination());
        Err(missing_grant(
            peer.unwrap_or(&self.stranger),
            "connect to",
            &destination,
        ))
    }

    fn grants_for(&self, peer: Option<&str>) -> impl Iterator<Item = &Grant> {
        let grants = self.inbound.iter().map(Arc::as_ref);
        grants.filter(move |grant| peer.is_some_and(|peer| grant.sources.contains(peer)))
    }

    fn destination(&self) -> &str {
        self.own.as_deref().unwrap_or("this workload")
    }
}

impl Permit {
    /// Checks a request to the backend. The error names the missing permission.
    pub(crate) fn check_request<'t>(&'t self, view: &mut RequestView<'t>) -> Result<(), String> {
        if self.grants.iter().any(|grant| grant.allows_request(view)) {
            return Ok(());
        }
        Err(missing_grant(
            self.client.as_deref().unwrap_or(NO_IDENTITY),
            &describe_request(view),
            &self.destination,
        ))
    }

    /// Checks a connection to the backend. The error names the missing permission.
    pub(crate) fn check_connection(&self) -> Result<(), String> {
        if self
            .grants
            .iter()
            .any(|grant| grant.allows_connection(self.port))
        {
            return Ok(());
        }
        Err(missing_grant(
            self.client.as_deref().unwrap_or(NO_IDENTITY),
            "connect to",
            &self.destination,
        ))
    }
}

impl Grant {
    fn compile(grant: &wire::Grant, patterns: &mut Patterns) -> Result<Grant, Refusal> {
        let wire::Grant {
            by: _,
            sources,
            requests,
            ports,
        } = grant;
        let sources = each("sources", sources, |source| {
            if is_account(source) {
                Ok(source.as_str().into())
            } else {
                refuse("", format!("{source:?}: write NAMESPACE/NAME"))
            }
        })?;
        Ok(Grant {
            sources: sources.into_iter().collect(),
            requests: each("requests", requests, |permission| {
                Condition::permission(permission, patterns)
            })?,
            ports: ports.clone(),
        })
    }

    fn allows_request<'t>(&'t self, view: &mut RequestView<'t>) -> bool {
        let no_query_parameters = BTreeSet::new();
        self.requests
            .iter()
            .any(|condition| condition.fits(view, &no_query_parameters))
    }

    fn allows_connection(&self, port: u16) -> bool {
        let ports = self.ports.as_ref();
        ports.is_some_and(|ports| ports.is_empty() || ports.contains(&port))
    }
}

/// True if the text has the form `NAMESPACE/NAME`.
fn is_account(text: &str) -> bool {
    let parts = text.split_once('/');
    parts.is_some_and(|(namespace, name)| is_dns_name(namespace) && is_dns_name(name))
}

/// Returns a text such as `send GET /buy to`. The client chooses the method and the path, so both are escaped and cut.
fn describe_request(view: &mut RequestView) -> String {
    let escape = |bytes: &[u8]| {
        let start = bytes.get(..MAX_SHOWN_BYTES);
        let cut = if start.is_some() { "..." } else { "" };
        format!("{}{cut}", start.unwrap_or(bytes).escape_ascii())
    };
    let method = escape(view.header(":method").unwrap_or_default());
    format!("send {method} {} to", escape(view.path()))
}

fn missing_grant(client: &str, what: &str, destination: &str) -> String {
    format!("no TrafficTarget allows {client} to {what} {destination}")
}
