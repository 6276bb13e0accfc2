//! Messages about a `weir serve` that does not start, or that ends.
//!
//! Each message has a reason, a cause, an effect on traffic and a remedy.

messages! {
    tls_needed(address) => InvalidValue,
        "--listen {address} is not loopback, and there is no --tls-cert", Whole "weir serve does not start",
        "give --tls-cert and --tls-key, and with --manifests also --client-ca";
    client_ca_needed() => InvalidValue,
        "--manifests with TLS requires --client-ca to authenticate proxies", Whole "weir serve does not start",
        "give --client-ca";
    not_listening(address, why) => Unavailable,
        "cannot listen on {address}: {why}", Whole "weir serve does not start",
        "write another address, or end the process that uses this address";
    watcher_stopped() => Unavailable,
        "the object watcher stopped unexpectedly", Whole "weir serve ends: proxies keep their configuration",
        "start weir serve again, and report the log";
    file_unread(path, why) => Unreadable,
        "{path} cannot be read: {why}", Whole "the previous certificate stays in use, or weir serve does not start",
        "let weir serve read the file";
    not_pem(path, what, why) => Unreadable,
        "{path} has no {what} in PEM: {why}", Whole "the previous certificate stays in use, or weir serve does not start",
        "write {what} in PEM into the file";
    no_pair(certificate, key, why) => InvalidValue,
        "{certificate} and {key} cannot be used together: {why}",
        Whole "the previous certificate stays in use, or weir serve does not start",
        "write a certificate and its own key";
    bad_authority(path, why) => InvalidValue,
        "{path} has no CA certificate that can be used: {why}", Whole "the previous certificate stays in use, or weir serve does not start",
        "write a CA certificate into the file";
}
