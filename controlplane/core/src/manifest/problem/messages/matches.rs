//! Messages about the matches of several routes and splits: their precedence, and their number.
//!
//! Each message has a reason, a cause, an effect on traffic and a remedy. An object or a part of it is "in force" if
//! Weir uses it for traffic.

messages! {
    too_many_matches(count, limit) => UnsupportedValue,
        "{count} matches are more than {limit}; each match counts once for each port or host of the object",
        Whole "the object is not in force",
        "name the ports that are meant, or write fewer matches in one object";
    port_unclear(what) => AmbiguousPort,
        "{what} has several ports, but not port 80", Part "the object has no effect on requests without a port in the Host header",
        "call {what} with a port, or write the port in the reference to the parent";
    split_behind_route(winner, at) => Conflicted,
        "{winner} already routes every request at {at}", Part "the split is not in force there",
        "take one of the two out";
    split_conflicts(winner, at) => Conflicted,
        "{winner} already routes every request of this split at {at}", Part "the split is not in force there",
        "take one of the two out, or give this split more specific matches";
    split_match_unreachable(name, winner, at) => Unreachable,
        "at {at} every request that fits match \"{name}\" goes to {winner}, which has precedence",
        Nothing "this match gets no request there",
        "delete this match, or make it more specific";
    route_unreachable(at, winners) => Unreachable,
        "at {at} every request that fits this route goes by precedence to {winners}",
        Part "this route gets no request there",
        "delete this route, or give it a more specific hostname or match";
    rule_unreachable(at, winners) => Unreachable,
        "at {at} every request that fits this rule goes by precedence to {winners}",
        Part "this rule gets no request there",
        "delete this rule, or make its matches more specific";
    match_unreachable(at, winners) => Unreachable,
        "at {at} every request that fits this match goes by precedence to {winners}",
        Part "this match gets no request there",
        "delete this match, or make it more specific";
}
