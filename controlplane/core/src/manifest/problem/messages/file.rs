//! Messages about a manifest file, or a folder of them.
//!
//! Each message has a reason, a cause, an effect on traffic and a remedy. An object or a part of it is "in force" if
//! Weir uses it for traffic.

messages! {
    too_large(limit) => Unreadable,
        "the file is larger than {limit} MiB", Whole "nothing is read from it",
        "split the file into several files";
    bad_json(line, column) => Unreadable,
        "the file is not JSON at line {line}, column {column}", Whole "nothing is read from it",
        "correct the JSON: at that place or right before it a comma, a quote or a bracket is wrong or missing";
    json_ends(line) => Unreadable,
        "the file ends in the middle of a value, at line {line}", Whole "nothing is read from it",
        "correct the JSON: a quote or a bracket at the end is missing";
    bad_yaml(what) => Unreadable,
        "the file is not YAML: {what}", Whole "nothing is read from it",
        "correct the YAML: at that place or right before it an indent, a colon or a quote is wrong or missing";
    bad_key(line, column) => Unreadable,
        "a key is not a text, at line {line}, column {column}", Whole "nothing is read from it",
        "write a text before the colon; put ~ and null in quotes";
    bad_tag(line, column) => Unreadable,
        "a value does not fit its tag, at line {line}, column {column}", Whole "nothing is read from it",
        "remove the tag (the word that begins with !!), or correct the value";
    bad_merge(line, column) => Unreadable,
        "the value of << is neither a map nor a list of maps, at line {line}, column {column}",
        Whole "nothing is read from it", "write the fields of the map instead of <<";
    recursive_alias(line, column) => Unreadable,
        "an alias (*NAME) is inside the value of its own anchor (&NAME), at line {line}, column {column}",
        Whole "nothing is read from it", "write a value instead of the alias";
    unknown_anchor(line, column) => Unreadable,
        "an alias (*NAME) has no anchor (&NAME) before it, at line {line}, column {column}",
        Whole "nothing is read from it",
        "write &NAME before the value that the alias repeats, or put quotes around a text that begins with *";
    too_many_documents(limit) => Unreadable,
        "the file has more than {limit} documents", Whole "nothing is read from it",
        "split the file into several files";
    beyond_limits() => Unreadable,
        "the file is nested too deeply, or grows too large when its aliases are expanded",
        Whole "nothing is read from it",
        "use fewer levels and aliases, or split the file";
    list_without_items() => InvalidValue,
        "the list has no items", Whole "nothing is read from it",
        "write items with a dash before each object, or items: [] for an empty list";
    kustomization_is_no_map() => InvalidValue,
        "this kustomization is not a map", Whole "Weir cannot find its patches, and reads patch files as objects",
        "write fields such as resources and patches, each with a colon";
    misspelled_patches(field, known) => InvalidValue,
        "a kustomization has no field {field}", Whole "Weir reads the patch files in this field as objects",
        "write {known}";
    unreadable_patch(field) => InvalidValue,
        "{field} has a value that is not a patch", Whole "Weir reads the patch files in this field as objects",
        "write a list under {field}, with a dash and the path of a file for each patch";
    not_utf8(at) => Unreadable,
        "the file is not UTF-8 text at byte {at}", Whole "nothing is read from it",
        "save the file in UTF-8";
    duplicate_key(key, first, second) => Unreadable,
        "the key {key} is there twice, at line {first} and at line {second}",
        Whole "nothing is read from it", "remove one of the two";
    duplicate_key_again(key, second) => Unreadable,
        "the key {key} is there twice, the second time at line {second}",
        Whole "nothing is read from it", "remove one of the two";
    template() => Unreadable,
        "the file is a template, not a manifest", Nothing "nothing is read from it", "render it first (helm template)";
    unreadable(error) => Unreadable,
        "the file cannot be read: {error}", Whole "nothing is read from it",
        "let the user that runs weir read the file, or delete it";
    folder_is_gone(error) => Unreadable,
        "the folder cannot be read: {error}", Whole "the objects that were in it stay in force",
        "restore the folder, and let the user that runs weir read it";
    folder_is_empty() => Unreadable,
        "the folder has no objects any more", Whole "the objects that were in it stay in force",
        "put the manifests back, or start with --allow-empty";
}
