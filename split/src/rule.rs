//! A rule and its backends, checked and compiled for one proxy.

use crate::access::{Access, Permit};
use crate::edit::filters::{Edits, Level, retries};
use crate::edit::url::Redirect;
use crate::plugin::{Site, is_dns_name};
use crate::refusal::{Refusal, refuse};
use crate::sampler::MAX_TOTAL;
use crate::wire;

#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) identity: Box<str>,
    /// What the client may do to the Service that it calls; None if the rule needs no such permission.
    pub(crate) called: Option<Box<Permit>>,
    /// Answers every request of the rule; then no backend is picked.
    pub(crate) redirect: Option<Box<Redirected>>,
    pub(crate) backends: Vec<Backend>,
}

#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) weight: u64,
    /// `SERVICE.NAMESPACE:PORT`, or the status of a broken share.
    pub(crate) label: Box<str>,
    pub(crate) to: Destination,
}

#[derive(Debug)]
pub(crate) enum Destination {
    Cluster {
        name: Box<str>,
        /// None where everyone may reach everything.
        permit: Option<Box<Permit>>,
        /// None where the request goes on as it came.
        edits: Option<Box<Edits>>,
    },
    Redirect(Box<Redirected>),
    Status(u16),
}

/// A redirect, and what is done to its response.
#[derive(Debug)]
pub(crate) struct Redirected {
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

    /// Rules with equal weights go on with their sequence across revisions, whatever else is done to the
    /// requests.
    pub(crate) fn has_backends_of(&self, other: &Rule) -> bool {
        let shape = |backend: &Backend| (backend.weight, backend.label.clone());
        let other = other.backends.iter().map(shape);
        self.backends.iter().map(shape).eq(other)
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
    // An identity becomes a part of a metric's name.
    let is_bad = |byte: u8| byte <= b' ' || byte >= 127 || matches!(byte, b';' | b'=');
    if identity.is_empty() || identity.bytes().any(is_bad) {
        return refuse("identity", "visible ASCII without ';' and '='");
    }
    let mut level =
        Level::compile(filters.as_deref()).map_err(|refusal| refusal.within("filters"))?;
    let retries = retries(timeouts, retry)?;
    let redirect = level.redirect.take();
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
        let mut of_backend = Level::compile(backend.filters.as_deref())
            .map_err(|refusal| within(refusal.within("filters")))?;
        let redirect = of_backend.redirect.take();
        let edits = Edits::new(&level, of_backend, &retries);
        compiled.push(Backend::compile(backend, redirect, edits, access, site).map_err(within)?);
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
            let edits = Edits::new(&level, Level::default(), &[]);
            Box::new(Redirected { redirect, edits })
        }),
        backends: compiled,
    })
}

impl Backend {
    fn compile(
        backend: &wire::Backend,
        redirect: Option<Redirect>,
        edits: Option<Box<Edits>>,
        access: Option<&Access>,
        site: &Site,
    ) -> Result<Backend, Refusal> {
        let (label, to) = match &backend.to {
            wire::Target::Service(service) => {
                if !is_dns_name(&service.name) || !is_dns_name(&service.namespace) {
                    return refuse("to", format!("no name of a Service: {service}"));
                }
                let permit = access.map(|access| access.permit(service, &backend.accounts));
                let permit = permit.transpose()?.map(Box::new);
                let to = match redirect {
                    Some(redirect) => {
                        Destination::Redirect(Box::new(Redirected { redirect, edits }))
                    }
                    None => Destination::Cluster {
                        name: site.naming.cluster(service).into(),
                        permit,
                        edits,
                    },
                };
                (service.to_string(), to)
            }
            // A share that is broken is so whatever would be done to its requests.
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
