//! The mirrors of a rule and of its backends, checked and compiled for one proxy.

use std::ops::Range;

use crate::access::{Access, Permit};
use crate::decision::MIRROR_HEADERS;
use crate::matching::request_view::RequestView;
use crate::plugin::{Site, is_dns_name};
use crate::refusal::{Refusal, each, refuse};
use crate::wire;

/// A cluster that gets copies of a share of the requests.
#[derive(Debug)]
pub(crate) struct Mirror {
    pub(crate) cluster: Box<str>,
    /// None if there is no access policy.
    permit: Option<Permit>,
    /// The filter copies `mirrored` of `mirrored + unmirrored` requests.
    mirrored: u64,
    unmirrored: u64,
}

impl Mirror {
    /// Returns the weights of a sampler. If the sampler picks index 0, the request is copied.
    pub(crate) fn weights(&self) -> [u64; 2] {
        [self.mirrored, self.unmirrored]
    }

    /// True if the client of this proxy may send the request to the mirror.
    pub(crate) fn permits<'t>(&'t self, view: &mut RequestView<'t>) -> bool {
        let permit = self.permit.as_ref();
        permit.is_none_or(|permit| permit.check_request(view).is_ok())
    }
}

/// Two mirrors are equal if they have the same cluster and the same share.
impl PartialEq for Mirror {
    fn eq(&self, other: &Mirror) -> bool {
        (&self.cluster, self.weights()) == (&other.cluster, other.weights())
    }
}

/// Compiles the mirrors of a rule or of a backend.
pub(super) fn compile(
    filters: Option<&wire::Filters>,
    access: Option<&Access>,
    site: &Site,
) -> Result<Vec<Mirror>, Refusal> {
    let Some(filters) = filters else {
        return Ok(Vec::new());
    };
    each("filters.mirrors", &filters.mirrors, |mirror| {
        let wire::Mirror {
            to,
            fraction,
            accounts,
        } = mirror;
        if !is_dns_name(&to.name) || !is_dns_name(&to.namespace) {
            return refuse("to", format!("not the name of a Service: {to}"));
        }
        let (mirrored, total) = match fraction {
            None => (1, 1),
            Some(it) => (it.numerator, it.denominator),
        };
        let unmirrored = match total.checked_sub(mirrored) {
            Some(unmirrored) if total > 0 => unmirrored,
            _ => return refuse("fraction", format!("{mirrored}/{total} is not a share")),
        };
        let permit = access.map(|access| access.permit(to, accounts));
        Ok(Mirror {
            cluster: site.naming.cluster(to).into(),
            permit: permit.transpose()?,
            mirrored: mirrored.into(),
            unmirrored: unmirrored.into(),
        })
    })
}

/// Returns the indexes of the mirrors for one backend: the first `of_rule` mirrors, and the mirrors of the backend.
pub(super) fn indexes(of_rule: usize, of_backend: Range<usize>) -> Result<Box<[usize]>, Refusal> {
    let indexes: Box<[usize]> = (0..of_rule).chain(of_backend).collect();
    if indexes.len() > MIRROR_HEADERS.len() {
        let (count, most) = (indexes.len(), MIRROR_HEADERS.len());
        return refuse(
            "filters.mirrors",
            format!("{count} mirrors for one request, at most {most} are possible"),
        );
    }
    Ok(indexes)
}
