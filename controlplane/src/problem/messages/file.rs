//! About a manifest file, or a folder of them.

messages! {
    too_large(limit) => Unreadable,
        "the file is larger than {limit} MiB", Whole "nothing is read from it",
        "split it into several files";
    bad_json(line, column) => Unreadable,
        "line {line}, column {column} is not JSON", Whole "nothing is read from it",
        "correct the JSON";
    json_ends(line) => Unreadable,
        "the file ends in the middle of a value, at line {line}", Whole "nothing is read from it",
        "correct the JSON";
    bad_yaml(what) => Unreadable,
        "the file is not YAML: {what}", Whole "nothing is read from it",
        "correct the YAML";
    too_many_documents(limit) => Unreadable,
        "the file has more than {limit} documents", Whole "nothing is read from it",
        "split it into several files";
    beyond_limits() => Unreadable,
        "the file is nested too deeply, or grows too large when its aliases are expanded",
        Whole "nothing is read from it",
        "write it with fewer levels and aliases, or split it";
    list_without_items() => InvalidValue,
        "the list has no items", Whole "nothing is read from it",
        "write items with a dash before each object, or items: [] for none";
    not_utf8(at) => Unreadable,
        "not UTF-8 at byte {at}", Whole "nothing is read from it",
        "save the file in UTF-8";
    duplicate_key(key, first, second) => Unreadable,
        "the key {key} stands twice, at line {first} and at line {second}",
        Whole "nothing is read from it", "remove one of the two";
    duplicate_key_again(key, second) => Unreadable,
        "the key {key} stands twice, the second time at line {second}",
        Whole "nothing is read from it", "remove one of the two";
    template() => Unreadable,
        "a template", Nothing "nothing is read from it", "render it first (helm template)";
    unreadable(error) => Unreadable,
        "the file cannot be read: {error}", Whole "nothing is read from it",
        "make it readable, or take it away";
    folder_is_gone(error) => Unreadable,
        "the folder cannot be read: {error}", Whole "the last objects stay in force", "bring it back";
    folder_is_empty() => Unreadable,
        "the folder holds no objects any more", Whole "the last ones stay in force",
        "put the manifests back, or start with --allow-empty";
}
