//! Compiles any bytes as a configuration. The filter must refuse it with a reason, or make only valid decisions.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_split::{
    Decided, Decision, Edit, Live, MIRROR_HEADERS, Site, Table, UntilConfigured, wire,
};

fuzz_target!(|document: &[u8]| {
    let Ok(config) = serde_json::from_slice::<wire::Config>(document) else {
        return;
    };
    let site = Site {
        namespace: "a".into(),
        service_account: Some("a/a".into()),
        ..Site::default()
    };
    let table = match Table::compile(&config, &site) {
        Ok(table) => table,
        Err(refusal) => return assert!(!refusal.to_string().is_empty()),
    };
    let mut live = Live::new(1, UntilConfigured::Pass);
    live.install(table);
    let authorities = ["a", "a.a:80", "b.example.com", ""];
    for authority in authorities {
        for path in ["/", "/a/b?a=1&b", "*"] {
            let read = |name: &str| match name {
                ":path" => Some(path.as_bytes().to_vec()),
                ":method" => Some(b"GET".to_vec()),
                "a" => Some(b"1".to_vec()),
                _ => None,
            };
            check(&live.decide(authority.as_bytes(), || Some(80), read));
            check(&live.admit(|| Some("a/a".to_owned()), authority.as_bytes(), read));
        }
    }
    for destination in [None, Some(("10.0.0.1", 80)), Some(("::1", 1))] {
        check(&live.connect(destination));
    }
    check(&live.admit_connection(None, 80));
    live.take_picks(|_, _, count| assert!(count > 0));
});

fn check(decided: &Decided) {
    let is_safe = |value: &[u8]| {
        value
            .iter()
            .all(|byte| *byte == b'\t' || !byte.is_ascii_control())
    };
    match &decided.decision {
        Decision::Ordinary | Decision::Cluster(_) | Decision::UnknownListener(_) => {}
        Decision::Answer(status) => assert!((400..=599).contains(status)),
        Decision::Redirect(status, location) => {
            assert!((301..=308).contains(status));
            assert!(
                location.starts_with("http")
                    && location.bytes().all(|byte| byte.is_ascii_graphic())
            );
        }
        Decision::Denied(text) => assert!(is_safe(text.as_bytes()) && text.len() < 4096),
    }
    let is_mirrored = !decided.mirrors.is_empty();
    assert!(decided.mirrors.len() <= MIRROR_HEADERS.len());
    assert!(!is_mirrored || matches!(decided.decision, Decision::Cluster(_)));
    for edit in decided
        .request
        .iter()
        .chain(decided.response.iter().flat_map(|it| it.iter()))
    {
        match edit {
            Edit::Set(name, value) | Edit::Add(name, value) => {
                assert!(!name.is_empty() && !MIRROR_HEADERS.contains(&&**name) && is_safe(value));
            }
            Edit::Remove(name) => assert!(!name.is_empty() && !name.starts_with(':')),
        }
    }
}
