//! The root context of one plugin configuration in a VM. It checks the plugin configuration, and passes the callbacks
//! of the proxy on to the [`Scope`] that it shares with the other root contexts of its scope.

use std::cell::RefCell;
use std::rc::Rc;

use proxy_wasm::traits::{Context, HttpContext, RootContext, StreamContext};
use proxy_wasm::types::ContextType;
use weir_split::{Direction, Plugin, Protocol, Table, module};

use crate::connection::Connection;
use crate::request::Request;
use crate::scope::Scope;
use crate::shared::Shared;
use crate::{fleet, host, metrics};

pub struct Root {
    context: u32,
    configured: Option<Configured>,
}

/// What a root context has after its configuration.
struct Configured {
    scope: Rc<RefCell<Scope>>,
    shared: Rc<Shared>,
}

impl Root {
    pub fn new(context: u32) -> Root {
        Root {
            context,
            configured: None,
        }
    }

    /// Calls `use_scope` with the state of the scope.
    fn with_scope(&self, use_scope: impl FnOnce(&mut Scope)) {
        // This borrow cannot fail, because the proxy runs one callback of a VM at any time.
        if let Some(configured) = &self.configured
            && let Ok(mut scope) = configured.scope.try_borrow_mut()
        {
            use_scope(&mut scope);
        }
    }
}

/// The proxy deletes a root context when its plugin configuration is replaced and its last stream has ended.
impl Drop for Root {
    fn drop(&mut self) {
        self.with_scope(|scope| scope.remove(self.context));
    }
}

impl Context for Root {
    fn on_http_call_response(&mut self, token: u32, headers: usize, body_size: usize, _: usize) {
        self.with_scope(|scope| scope.on_answer(token, headers, body_size));
    }
}

impl RootContext for Root {
    fn on_configure(&mut self, size: usize) -> bool {
        let configuration = host::plugin_configuration(size);
        let plugin = match Plugin::parse(&configuration) {
            Ok(plugin) => plugin,
            Err(error) => {
                log::error!("weir: {error}");
                return false;
            }
        };
        if cfg!(not(feature = "full"))
            && (plugin.protocol, plugin.direction) == (Protocol::Tcp, Direction::Inbound)
        {
            log::error!(
                "weir: plugin configuration: weir-lean.wasm cannot check inbound TCP connections: the proxy refuses \
                 this configuration of the filter; load weir.wasm instead of weir-lean.wasm"
            );
            return false;
        }
        let initial = plugin.initial.as_ref();
        let initial = initial
            .map(|config| Table::compile(config, &plugin.site))
            .transpose();
        let initial = match initial {
            Ok(initial) => initial,
            Err(refusal) => {
                log::error!("weir: plugin configuration: initial: {refusal}");
                return false;
            }
        };
        let gauge = module::gauge(&String::from_utf8_lossy(&configuration));
        metrics::set(&gauge, u64::from(fleet::leaves_responses_alone(&plugin)));
        let scope = Scope::of(&plugin);
        let Ok(shared) = scope
            .try_borrow_mut()
            .map(|mut scope| scope.add(self.context, plugin, initial))
        else {
            return false;
        };
        self.configured = Some(Configured { scope, shared });
        true
    }

    fn on_tick(&mut self) {
        self.with_scope(|scope| scope.on_tick(self.context));
    }

    fn on_queue_ready(&mut self, _: u32) {
        self.with_scope(Scope::on_messages);
    }

    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        let configured = self.configured.as_ref()?;
        Some(Box::new(Request::new(configured.shared.clone())))
    }

    fn create_stream_context(&self, _: u32) -> Option<Box<dyn StreamContext>> {
        let configured = self.configured.as_ref()?;
        Some(Box::new(Connection::new(configured.shared.clone())))
    }

    fn get_type(&self) -> Option<ContextType> {
        let configured = self.configured.as_ref()?;
        Some(match configured.shared.plugin.protocol {
            Protocol::Http => ContextType::HttpContext,
            Protocol::Tcp => ContextType::StreamContext,
        })
    }
}
