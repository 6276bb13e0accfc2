//! One request: read the authority, let the table decide, write or remove the routing header.

use std::rc::Rc;

use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;
use weir_split::{Decided, Decision};

use crate::host;
use crate::root::Shared;

pub struct Request(pub Rc<Shared>);

impl Context for Request {}

impl HttpContext for Request {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        #[cfg(feature = "trap")]
        crate::trap::on_request();
        let header = self.0.plugin.header.as_str();
        let authority = host::request_header(":authority").unwrap_or_default();
        let read = |name: &str| host::request_header(name);
        // Nothing else runs on this thread meanwhile; if the table were borrowed after all, the request
        // would take its ordinary route.
        let mut live = self.0.live.try_borrow_mut();
        let decided = live.as_mut().map(|live| live.decide(&authority, read));
        if self.0.plugin.log_rule
            && let Ok(Decided {
                rule: Some(rule), ..
            }) = &decided
        {
            host::set_request_property("weir_rule", rule);
        }
        match decided.map(|decided| decided.decision) {
            Ok(Decision::Cluster(cluster)) => host::set_request_header(header, cluster),
            Ok(Decision::Answer(status)) => {
                host::answer(status, reason(status));
                return Action::Pause;
            }
            Ok(Decision::Redirect(status, _)) => {
                host::answer(status, "");
                return Action::Pause;
            }
            Ok(Decision::Denied(_)) => {
                host::answer(403, "");
                return Action::Pause;
            }
            Ok(Decision::Ordinary) | Err(_) => host::remove_request_header(header),
        }
        Action::Continue
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        404 => "weir: no rule of the routes for this host fits the request\n",
        503 => "weir: there is no configuration yet\n",
        _ => "weir: the backend that this share of the traffic goes to cannot be used\n",
    }
}
