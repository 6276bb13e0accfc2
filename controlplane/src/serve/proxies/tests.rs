use super::*;
use weir_core::api::smi::traffic_target::Policy;
use weir_core::plan::Scope;

#[test]
fn module_change_of_proxy_is_reported() {
    let metrics = Arc::new(Metrics::default());
    let publisher = Publisher::new(metrics.clone(), Policy::Unstated);
    let proxies = Proxies::new(&publisher, metrics);
    let mut changes = proxies.changes();
    let mut poll = |module: Option<&'static str>| {
        let mut headers = HeaderMap::new();
        if let Some(value) = module {
            headers.insert(MODULE, value.parse().unwrap());
        }
        let poller = poller("a", Owner::default());
        proxies.record(&poller, Report::of(&headers, 1), None);
        let is_change = changes.has_changed().unwrap();
        changes.mark_unchanged();
        (is_change, proxies.list().proxies[0].is_lean)
    };
    assert_eq!(poll(None), (true, false));
    assert_eq!(poll(Some("lean")), (true, true));
    assert_eq!(poll(Some("lean")), (false, true));
    assert_eq!(poll(Some("another")), (true, false));
}

#[test]
fn gone_proxy_leaves_metrics() {
    let metrics = Arc::new(Metrics::default());
    let publisher = Publisher::new(metrics.clone(), Policy::Unstated);
    let proxies = Proxies::new(&publisher, metrics.clone());
    let shows = |present: usize| {
        proxies.set_metrics();
        let text = metrics.text();
        let lines = ["weir_proxies ", "weir_proxies_behind "].map(|it| format!("{it}{present}\n"));
        assert!(lines.iter().all(|line| text.contains(line)), "{text}");
    };
    let own = poller("a", Owner::default());
    let open = CancellationToken::new();
    proxies.record(&own, Report::of(&HeaderMap::new(), 1), None);
    proxies.record_end(&own, &open, false);
    shows(1);
    let age = |by: Duration| {
        let mut state = proxies.lock();
        let proxy = state.proxies.get_mut(&own).unwrap();
        proxy.closed = proxy.closed.and_then(|at| at.checked_sub(by));
    };
    age(GONE);
    shows(0);
    assert!(proxies.list().proxies[0].is_gone());
    // The proxy comes back.
    proxies.record(&own, Report::of(&HeaderMap::new(), 1), None);
    shows(1);
    // After a newer poll, the closed connection of an older poll does not count.
    open.cancel();
    proxies.record_end(&own, &open, false);
    assert_eq!(proxies.list().proxies[0].closed, None);
}

fn poller(instance: &str, owner: Owner) -> Poller {
    Poller {
        owner: Arc::new(owner),
        instance: instance.as_bytes().to_vec(),
        scope: Scope::Producers,
    }
}

fn count_after(proxies: &Proxies, instance: usize, owner: Owner) -> usize {
    let poller = poller(&instance.to_string(), owner);
    proxies.record(&poller, Report::of(&HeaderMap::new(), 1), None);
    proxies.lock().proxies.len()
}

#[test]
fn namespace_cannot_fill_proxy_list() {
    let metrics = Arc::new(Metrics::default());
    let publisher = Publisher::new(metrics.clone(), Policy::Unstated);
    let proxies = Proxies::new(&publisher, metrics);
    let of_pod = |number: usize| Owner::of_pod("many", &number.to_string());
    for number in 0..MAX_OF_NAMESPACE {
        assert_eq!(count_after(&proxies, 0, of_pod(number)), number + 1);
    }
    let all = MAX_OF_NAMESPACE;
    assert_eq!(count_after(&proxies, 0, of_pod(all)), all);
    // A proxy that is already in the list stays in the list.
    assert_eq!(count_after(&proxies, 0, of_pod(1)), all);
    let few = Owner::of_pod("few", "1");
    assert_eq!(count_after(&proxies, 0, few), all + 1);
    assert_eq!(count_after(&proxies, 0, Owner::default()), all + 2);
}

#[test]
fn instances_of_owner_are_limited() {
    for (owner, limit) in [
        (Owner::of_pod("shop", "1"), 32),
        (
            Owner::of_account("shop", "system:serviceaccount:shop:a"),
            256,
        ),
    ] {
        let metrics = Arc::new(Metrics::default());
        let publisher = Publisher::new(metrics.clone(), Policy::Unstated);
        let proxies = Proxies::new(&publisher, metrics);
        for number in 0..8_192 {
            count_after(&proxies, number, owner.clone());
        }
        assert_eq!(proxies.lock().proxies.len(), limit, "{owner:?}");
        let other = Owner::of_pod("shop", "2");
        assert_eq!(count_after(&proxies, 0, other), limit + 1);
        // A proxy that was removed from the list no longer counts.
        let mut state = proxies.lock();
        state.last_sweep = None;
        state.sweep(Instant::now() + FORGET);
        assert!(state.proxies.is_empty() && state.counts.by_owner.is_empty());
        assert!(state.counts.by_namespace.is_empty());
    }
}
