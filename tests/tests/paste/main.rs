//! `weir bootstrap`: the configuration that it prints.

use weir_core::paste::{ModuleSource, PasteOptions, ServerAddress, whole_file};
use weir_core::plan::Scope;
use weir_tests::root;

/// Returns the options of `weir bootstrap --namespace NAMESPACE`.
fn options(namespace: &str) -> PasteOptions {
    PasteOptions {
        scope: Scope::Namespace(namespace.to_owned()),
        control_plane: ServerAddress::parse("127.0.0.1:9900").expect("an address"),
        authority: None,
        token: None,
        module: ModuleSource::ControlPlane,
        listener: None,
    }
}

/// `UPDATE_GOLDEN=1` writes the file.
#[test]
fn shipped_file_is_the_output() {
    let path = root().join("envoy-config/ads.yaml");
    let output = whole_file(&options("bookbuyer"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &output).expect("written");
    }
    let shipped = std::fs::read_to_string(&path).expect("envoy-config/ads.yaml");
    assert_eq!(shipped, output, "UPDATE_GOLDEN=1 writes the file");
}
