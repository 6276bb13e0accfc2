//! The input is a request: its `:authority`, its `:path` and one value for all other headers, with line feeds between
//! them. The table has every kind of condition.
#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use weir_split::{Decision, Live, Site, Table, UntilConfigured, wire};

const CONFIG: &str = include_str!("../seeds/table/seed-all.json");

thread_local! {
    static LIVE: RefCell<Live> = RefCell::new({
        let config: wire::Config = serde_json::from_str(CONFIG).expect("a configuration");
        let site = Site {
            namespace: "a".into(),
            service_account: Some("a/a".into()),
            ..Site::default()
        };
        let mut live = Live::new(1, UntilConfigured::Pass);
        live.install(Table::compile(&config, &site).expect("compiles"));
        live
    });
}

fuzz_target!(|request: &[u8]| {
    let mut parts = request.splitn(3, |byte| *byte == b'\n');
    let mut next = || parts.next().unwrap_or_default();
    let (authority, path, header) = (next(), next(), next());
    LIVE.with_borrow_mut(|live| {
        let read = |name: &str| match name {
            ":path" => Some(path.to_vec()),
            _ => Some(header.to_vec()),
        };
        let decided = live.decide(authority, || Some(80), read);
        match decided.decision {
            Decision::Redirect(_, location) => {
                assert!(location.starts_with("http"));
                assert!(location.bytes().all(|byte| byte.is_ascii_graphic()));
            }
            Decision::Denied(text) => {
                assert!(text.bytes().all(|byte| (b' '..127).contains(&byte)));
                assert!(text.len() < 2048);
            }
            _ => {}
        }
    });
});
