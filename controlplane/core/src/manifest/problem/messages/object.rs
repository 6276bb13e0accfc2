//! Messages about documents, metadata and unknown fields of all kinds of objects.
//!
//! Each message has a reason, a cause, an effect on traffic and a remedy. `ByPlace` means that the effect depends on
//! the place of the field in the object. An object or a part of it is "in force" if Weir uses it for traffic.

messages! {
    unknown_field(field) => InvalidValue,
        "unknown field {field}", ByPlace, "correct the name, or take the field out";
    misplaced_field(field, known) => InvalidValue,
        "unknown field {field} next to {known}", ByPlace,
        "move {field} to its place in this kind, most often under spec, or take it out";
    too_many_entries(count, limit) => InvalidValue,
        "{count} entries are more than {limit}", ByPlace, "write at most {limit} here, or use several objects";
    no_object() => InvalidValue,
        "this document is not an object", Whole "nothing is read from it",
        "write apiVersion, kind and metadata, or take the document out";
    no_head(field) => InvalidValue,
        "this document has no {field}", Whole "nothing is read from it",
        "write its {field}: every Kubernetes object has an apiVersion and a kind";
    bad_name(name, kind) => InvalidValue,
        "{name} is not a name for a {kind}", ByPlace,
        "use lower-case letters and digits, with '-' between them";
    no_name(kind) => InvalidValue,
        "this {kind} has no name", ByPlace, "write metadata.name";
    bad_namespace(namespace) => InvalidValue,
        "{namespace} is not a namespace", ByPlace,
        "use lower-case letters, digits and '-'";
    unknown_version(api_version, versions) => UnknownVersion,
        "{api_version} is not known", ByPlace, "use {versions}";
    no_version(api_version, right) => UnknownVersion,
        "{api_version} has no version", ByPlace, "write apiVersion: {right}";
    bad_time(value) => InvalidValue,
        "{value} is not a time", ByPlace, "write it like 2026-01-31T12:00:00Z, or leave it out";
    other_group(kind, group, api_version) => InvalidKind,
        "{kind} is not read under the group {group}", Nothing "Weir ignores the object",
        "write apiVersion: {api_version}";
    no_group(kind, api_version) => InvalidKind,
        "{kind} is not read without a group", Nothing "Weir ignores the object",
        "write apiVersion: {api_version}";
    other_kind(kind, group, right) => InvalidKind,
        "there is no kind {kind} in {group}", Nothing "Weir ignores the object",
        "write kind: {right}";
    two_readings(written, kubectl) => InvalidValue,
        "a number begins with 0, so kubectl reads it as an octal number, which is {kubectl}; YAML 1.2 reads it as {written}", ByPlace,
        "write {written} or {kubectl}, without a 0 at the beginning";
    duplicate(first, second) => Duplicate,
        "the object is in \"{first}\" and in \"{second}\"", Whole "the first one is in force, but this one is not",
        "take one of them out";
    nested_too_deeply() => InvalidValue,
        "the object is nested too deeply to be read", ByPlace, "write it with fewer levels";
}
