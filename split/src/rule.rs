//! A rule and its backends, checked and compiled for one proxy.

mod mirror;

pub(crate) use self::mirror::Mirror;

use crate::access::{Access, Permit};
use crate::edit::filters::{Edits, FilterLevel, retry_edits};
use crate::edit::url::Redirect;
use crate::plugin::{Site, is_dns_name};
use crate::refusal::{Refusal, refuse};
use crate::sampler::MAX_TOTAL;
use crate::wire;

#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) identity: Box<str>,
    /// The permissions for the Service that the client calls; None if the rule needs no such permission.
    pub(crate) called: Option<Box<Permit>>,
    /// The redirect that answers every request of the rule. A rule with a redirect picks no backend.
    pub(crate) redirect: Option<Box<RedirectResponse>>,
    pub(crate) backends: Vec<Backend>,
    /// The mirrors of the rule, then the mirrors of each backend.
    pub(crate) mirrors: Vec<Mirror>,
}

#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) weight: u64,
    /// `SERVICE.NAMESPACE:PORT`, or the status of a broken backend.
    pub(crate) label: Box<str>,
    pub(crate) to: Destination,
}

#[derive(Debug)]
pub(crate) enum Destination {
    Cluster {
        name: Box<str>,
        /// None if there is no access policy.
        permit: Option<Box<Permit>>,
        /// None if the request stays as it is.
        edits: Option<Box<Edits>>,
        /// Indexes into [`Rule::mirrors`], at most as many as there are [`crate::MIRROR_HEADERS`].
        mirrors: Box<[usize]>,
    },
    Redirect(Box<RedirectResponse>),
    Status(u16),
}

/// A redirect, and the edits of its response.
#[derive(Debug)]
pub(crate) struct RedirectResponse {
    pub(crate) redirect: Redirect,
    pub(crate) edits: Option<Box<Edits>>,
}

impl Rule {
    pub(crate) fn compile(
        identity: &str,
        rule: &wire::Rule,
        access: Option<&Access>,
        site: &Site,
    ) -> Result<Rule, Refusal> {
        let compiled = compile(identity, rule, access, site);
        compiled.map_err(|refusal| refusal.within(format_args!("rules[{identity:?}]")))
    }
}

fn compile(
    identity: &str,
    rule: &wire::Rule,
    access: Option<&Access>,
    site: &Site,
) -> Result<Rule, Refusal> {
    let wire::Rule {
        backends,
        filters,
        timeouts,
        retry,
        called,
    } = rule;
    // The identity of a rule becomes a part of the name of a metric.
    let is_bad = |byte: u8| byte <= b' ' || byte >= 127 || matches!(byte, b';' | b'=');
    if identity.is_empty() || identity.bytes().any(is_bad) {
        return refuse("identity", "write visible ASCII without ';' and '='");
    }
    let mut rule_level =
        FilterLevel::compile(filters.as_deref()).map_err(|refusal| refusal.within("filters"))?;
    let retry_edits = retry_edits(timeouts, retry)?;
    let redirect = rule_level.redirect.take();
    let mut mirrors = mirror::compile(filters.as_deref(), access, site)?;
    let of_rule = mirrors.len();
    let mut total: u64 = 0;
    let mut compiled = Vec::with_capacity(backends.len());
    for (index, backend) in backends.iter().enumerate() {
        let within = |refusal: Refusal| refusal.within(format_args!("backends[{index}]"));
        total = match total.checked_add(backend.weight) {
            Some(total) if total < MAX_TOTAL => total,
            _ => {
                let refusal = Refusal::new("weight", "the weights add up to 2^63 or more");
                return Err(within(refusal));
            }
        };
        let mut backend_level = FilterLevel::compile(backend.filters.as_deref())
            .map_err(|refusal| within(refusal.within("filters")))?;
        let redirect = backend_level.redirect.take();
        let edits = Edits::new(&rule_level, backend_level, &retry_edits);
        let own = mirror::compile(backend.filters.as_deref(), access, site).map_err(within)?;
        let first = mirrors.len();
        mirrors.extend(own);
        let indexes = mirror::indexes(of_rule, first..mirrors.len()).map_err(within)?;
        let action = BackendAction {
            redirect,
            edits,
            mirrors: indexes,
        };
        compiled.push(Backend::compile(backend, action, access, site).map_err(within)?);
    }
    if total == 0 && redirect.is_none() {
        return refuse("backends", "no backend has a weight");
    }
    let permit = |(called, access): (&wire::Called, &Access)| {
        let permit = access.permit(&called.service, &called.accounts);
        permit.map_err(|refusal| refusal.within("called"))
    };
    let called = called.as_ref().zip(access).map(permit).transpose()?;
    Ok(Rule {
        identity: identity.into(),
        called: called.map(Box::new),
        redirect: redirect.map(|redirect| {
            let edits = Edits::new(&rule_level, FilterLevel::default(), &[]);
            Box::new(RedirectResponse { redirect, edits })
        }),
        backends: compiled,
        mirrors,
    })
}

/// What happens to the requests for a backend.
struct BackendAction {
    redirect: Option<Redirect>,
    edits: Option<Box<Edits>>,
    mirrors: Box<[usize]>,
}

impl Backend {
    fn compile(
        backend: &wire::Backend,
        action: BackendAction,
        access: Option<&Access>,
        site: &Site,
    ) -> Result<Backend, Refusal> {
        let BackendAction {
            redirect,
            edits,
            mirrors,
        } = action;
        let (label, to) = match &backend.to {
            wire::Target::Service(service) => {
                if !is_dns_name(&service.name) || !is_dns_name(&service.namespace) {
                    return refuse("to", format!("not the name of a Service: {service}"));
                }
                let permit = access.map(|access| access.permit(service, &backend.accounts));
                let permit = permit.transpose()?.map(Box::new);
                let to = match redirect {
                    Some(redirect) => {
                        Destination::Redirect(Box::new(RedirectResponse { redirect, edits }))
                    }
                    None => Destination::Cluster {
                        name: site.naming.cluster(service).into(),
                        permit,
                        edits,
                        mirrors,
                    },
                };
                (service.to_string(), to)
            }
            // A broken backend answers its error even if it has filters.
            wire::Target::Status(status @ 400..=599) => {
                (status.to_string(), Destination::Status(*status))
            }
            wire::Target::Status(status) => {
                return refuse("to", format!("{status} is not the status of an error"));
            }
        };
        Ok(Backend {
            weight: backend.weight,
            label: label.into(),
            to,
        })
    }
}
