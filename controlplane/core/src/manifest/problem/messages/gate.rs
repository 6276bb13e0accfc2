//! Messages of the gate (`/gate` of the admin listener) and of `weir wait` about an object that is not live.
//!
//! Each message has a reason, a cause, an effect on traffic and a remedy.

messages! {
    no_cluster() => Unsupported,
        "objects of a folder have no generation, so the gate cannot compare", Whole "the gate stays closed",
        "start weir serve with --kubernetes, or take the gate out of the release tool";
    unknown_kind(kind) => InvalidKind,
        "Weir writes no status to objects of kind {kind}", Whole "the gate stays closed",
        "write trafficsplit, httproute, grpcroute, tcproute or httproute.policy.linkerd.io";
    no_names(why) => InvalidValue,
        "the body does not name an object: {why}", Whole "the gate stays closed",
        "send JSON with name and namespace, as Flagger does, or write /gate/KIND/NAMESPACE/NAME";
    no_target() => InvalidValue,
        "the URL does not name an object", Whole "the gate stays closed",
        "write /gate/KIND/NAMESPACE/NAME, or send POST /gate/KIND with a body as Flagger does";
    nothing_read() => Unavailable,
        "Weir has not read the objects of the cluster yet", Whole "the gate stays closed",
        "try again; if the problem stays, look at the log of weir serve";
    starting() => Unavailable,
        "this replica started a moment ago and does not know all proxies yet", Whole "the gate stays closed",
        "try again after five seconds";
    peers_away(why) => Unavailable,
        "the proxies of another replica are unknown: {why}", Whole "the gate stays closed",
        "try again; if the problem stays, look at the log of weir serve and at --peers";
    object_unread(why) => Unavailable,
        "the API server does not send the object: {why}", Whole "the gate stays closed",
        "try again; if the problem stays, look at the API server, and at the rights of weir serve";
    busy() => Unavailable,
        "too many requests wait for the gate", Whole "the gate stays closed",
        "ask less often, for example once in five seconds";
    no_object(object) => ReferenceNotFound,
        "Weir has read no {object}", Whole "the gate stays closed",
        "compare kind, namespace and name with the object, and with --namespaces of weir serve";
    older(object, read, newest) => NotLive,
        "Weir has read generation {read} of {object}, and the API server has generation {newest}",
        Whole "proxies run an older generation: the gate stays closed",
        "try again; if the problem stays, look at the log of weir serve";
    recreated(object) => NotLive,
        "{object} was deleted and created again, and Weir has not read the new object",
        Whole "the gate stays closed", "try again; if the problem stays, look at the log of weir serve";
    not_live(object, missing) => NotLive,
        "{object} is not live: {missing}", Whole "some proxies do not run this generation: the gate stays closed",
        "wait; if a proxy or a condition does not change, see docs/status.md";
}
