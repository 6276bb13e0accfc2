//! The filters of one stream, as resources.
//!
//! A filter has about one megabyte, because it contains the module. So a stream keeps only the versions of its filters,
//! and encodes a filter when it sends the filter.

use std::sync::Arc;

use axum::body::Bytes;
use serde_json::value::RawValue;

use super::encoded_resource::Resource;
use super::extension_message;
use super::filter_request::FilterRequest;
use super::module_file::Module;
use weir_core::digest::sha256;
use weir_core::envoy::UPSTREAM_FILTER;
use weir_core::rollout::Rollout;

/// Maximum bytes of a document that travels with the filter. A filter without a document gets it with its first poll.
pub const MAX_INITIAL: usize = 64 << 10;

/// One filter with its module.
#[derive(Clone, Debug)]
pub struct Extension {
    pub name: Arc<str>,
    /// `MODULE.CONFIGURATION`, both as hashes. The hash of the configuration does not include the document that travels
    /// with the filter. So a new document never sends the filter again.
    pub version: Arc<str>,
    module: Arc<Module>,
    /// None for the filter for requests to backends.
    request: Option<Arc<FilterRequest>>,
}

/// Returns all filters that a stream may subscribe to: the filters of its header, and the filter for requests to
/// backends.
pub fn extensions(filters: &[Arc<FilterRequest>], module: &Arc<Module>) -> Vec<Extension> {
    let requests = filters.iter().cloned().map(Some);
    let requests = requests.chain([None]);
    requests
        .map(|request| Extension::new(request, module.clone()))
        .collect()
}

/// Returns the hash of the module in the version of an extension; None if the version is not from Weir.
pub fn module_hash(version: &str) -> Option<&str> {
    Some(version.split_once('.')?.0)
}

/// True if a stream may send an extension with the version `newest` to a proxy that has the version `held`. `proxy` is
/// the name of the proxy in the rollout.
///
/// A proxy without the filter gets it at once: without a filter all its requests would take their ordinary routes. A
/// proxy with the same module gets a new configuration at once, too.
pub fn may_send(held: Option<&str>, newest: &str, rollout: &Rollout, proxy: &str) -> bool {
    let (Some(held), Some(own)) = (held, module_hash(newest)) else {
        return true;
    };
    module_hash(held) == Some(own) || rollout.includes(own, proxy)
}

impl Extension {
    fn new(request: Option<Arc<FilterRequest>>, module: Arc<Module>) -> Extension {
        let message = encode(request.as_deref(), None, &Bytes::new());
        let mut configuration = sha256(&message);
        configuration.truncate(32);
        Extension {
            name: match &request {
                Some(request) => request.name.clone(),
                None => UPSTREAM_FILTER.into(),
            },
            version: format!("{}.{configuration}", module.hash).into(),
            module,
            request,
        }
    }

    /// Returns the request of the stream's header; None for the filter for requests to backends.
    pub fn request(&self) -> Option<&FilterRequest> {
        self.request.as_deref()
    }

    /// Returns the resource with an empty body.
    pub fn without_body(&self) -> Resource {
        Resource {
            name: self.name.clone(),
            version: self.version.clone(),
            body: Bytes::new(),
        }
    }

    /// Encodes the filter. `document` is the present document of the filter's scope; it is left out if it is larger than
    /// [`MAX_INITIAL`].
    pub fn resource(&self, document: Option<&RawValue>) -> Resource {
        let initial = document.filter(|it| it.get().len() <= MAX_INITIAL);
        Resource {
            name: self.name.clone(),
            version: self.version.clone(),
            body: encode(self.request(), initial, &self.module.bytes),
        }
    }
}

fn encode(request: Option<&FilterRequest>, initial: Option<&RawValue>, module: &Bytes) -> Bytes {
    match request {
        Some(request) => extension_message::filter(request, request.plugin(initial), module),
        None => extension_message::upstream_filter(module),
    }
}

#[cfg(test)]
mod tests {
    use super::super::filter_request::parse;
    use super::*;

    fn module(bytes: &'static [u8]) -> Arc<Module> {
        Arc::new(Module::new(Bytes::from_static(bytes)))
    }

    fn of(header: &str, module: &Arc<Module>) -> Vec<Extension> {
        let filters = parse(Some(header.as_bytes())).unwrap();
        let filters: Vec<_> = filters.into_iter().map(Arc::new).collect();
        extensions(&filters, module)
    }

    #[test]
    fn documents_never_change_the_version() {
        let one = module(b"\0asm one");
        let [weir, upstream] = of(r#"{"weir": {"namespace": "shop"}}"#, &one)
            .try_into()
            .unwrap();
        assert_eq!((&*weir.name, &*upstream.name), ("weir", "weir-upstream"));
        let document = RawValue::from_string(r#"{"version":1}"#.into()).unwrap();
        let bare = weir.resource(None);
        let full = weir.resource(Some(&document));
        assert_eq!(bare.version, full.version);
        assert_ne!(bare.body, full.body);
        assert_eq!(module_hash(&weir.version), Some(&*one.hash));
        let large = format!("[{}]", "1,".repeat(MAX_INITIAL).trim_end_matches(','));
        let large = RawValue::from_string(large).unwrap();
        assert_eq!(weir.resource(Some(&large)).body, bare.body);
    }

    #[test]
    fn new_modules_wait_for_their_wave() {
        let rollout = |target: &str, share: &str| Rollout {
            target: target.into(),
            share: share.parse().unwrap(),
            stopped: None,
        };
        let none = Rollout::default();
        assert!(may_send(None, "new.1", &none, "a"));
        assert!(may_send(Some("new.0"), "new.1", &none, "a"));
        assert!(!may_send(Some("old.1"), "new.1", &none, "a"));
        assert!(!may_send(Some("text"), "new.1", &none, "a"));
        assert!(!may_send(Some("old.1"), "new.1", &rollout("new", "0"), "a"));
        assert!(!may_send(
            Some("old.1"),
            "new.1",
            &rollout("newer", "100"),
            "a"
        ));
        assert!(may_send(
            Some("old.1"),
            "new.1",
            &rollout("new", "100"),
            "a"
        ));
    }

    #[test]
    fn module_and_configuration_change_the_version() {
        let version = |header: &str, bytes| of(header, &module(bytes))[0].version.clone();
        let shop = r#"{"weir": {"namespace": "shop"}}"#;
        let before = version(shop, b"\0asm one");
        assert_eq!(version(shop, b"\0asm one"), before);
        assert_ne!(version(shop, b"\0asm two"), before);
        let books = r#"{"weir": {"namespace": "books"}}"#;
        assert_ne!(version(books, b"\0asm one"), before);
    }
}
