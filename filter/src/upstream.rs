//! The filter in the `upstream_http_filters` of the proxy's router. It removes the [`MIRROR_HEADERS`] from the request
//! to the backend.
//!
//! Envoy's router first gives the request to the upstream filters. Then it reads these headers, and starts the mirrors.
//! If an upstream filter removed the headers immediately, no mirror would start. So this filter pauses a request with
//! such a header, and adds an item to its own queue. The item causes a callback in the next iteration of the worker's
//! event loop. The callback removes the headers and resumes the request.

use std::cell::RefCell;
use std::rc::Rc;

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType};
use weir_split::MIRROR_HEADERS;

use crate::host::{self, Headers};

/// The `root_id` in the configuration of this filter.
pub const ROOT_ID: &[u8] = b"upstream";

#[derive(Default)]
pub struct UpstreamRoot(Rc<RefCell<PausedRequests>>);

#[derive(Default)]
struct PausedRequests {
    /// The queue of this root context; None before the first request with a mirror.
    queue: Option<u32>,
    /// The context ids of the paused requests.
    contexts: Vec<u32>,
}

impl Context for UpstreamRoot {}

impl RootContext for UpstreamRoot {
    fn on_queue_ready(&mut self, queue: u32) {
        while host::dequeue(queue).is_some() {}
        self.resume_all();
    }

    fn create_http_context(&self, context: u32) -> Option<Box<dyn HttpContext>> {
        let paused = self.0.clone();
        Some(Box::new(UpstreamRequest { context, paused }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

impl UpstreamRoot {
    fn resume_all(&self) {
        let contexts = match self.0.try_borrow_mut() {
            Ok(mut paused) => std::mem::take(&mut paused.contexts),
            Err(_) => Vec::new(),
        };
        for context in contexts {
            host::resume_request(context, remove_headers);
        }
    }
}

/// A root context that ends gets no more callbacks, so it resumes its requests first.
impl Drop for UpstreamRoot {
    fn drop(&mut self) {
        self.resume_all();
    }
}

struct UpstreamRequest {
    context: u32,
    paused: Rc<RefCell<PausedRequests>>,
}

impl Context for UpstreamRequest {}

impl HttpContext for UpstreamRequest {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        let has = |name: &&str| host::request_header(name).is_some();
        if !MIRROR_HEADERS.iter().any(has) {
            return Action::Continue;
        }
        if self.pause() {
            Action::Pause
        } else {
            // Without a callback, a paused request would wait forever. So this request is not paused and not mirrored.
            remove_headers();
            Action::Continue
        }
    }
}

impl UpstreamRequest {
    /// Prepares the pause of this request. Returns false if the root context would get no callback.
    fn pause(&self) -> bool {
        let Ok(mut paused) = self.paused.try_borrow_mut() else {
            return false;
        };
        if paused.queue.is_none() {
            // Each root context needs its own queue. Of all root contexts that register the same queue, only the last
            // one gets the callbacks of the queue.
            paused.queue = host::register_queue(&format!("weir_upstream_{:016x}", host::random()));
        }
        let Some(queue) = paused.queue else {
            return false;
        };
        paused.contexts.push(self.context);
        host::enqueue(queue, b"");
        true
    }
}

/// A request may end while it is paused. Its context id must not be used after that.
impl Drop for UpstreamRequest {
    fn drop(&mut self) {
        if let Ok(mut paused) = self.paused.try_borrow_mut() {
            paused.contexts.retain(|context| *context != self.context);
        }
    }
}

fn remove_headers() {
    for name in MIRROR_HEADERS {
        host::remove_header(Headers::Request, name);
    }
}
