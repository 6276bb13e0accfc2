//! About what every object has: its file, its head, its fields and their types.

messages! {
    unknown_field(field) => InvalidValue,
        "unknown field {field}", ByPlace, "correct the name, or take the field out";
    too_many_entries(count, limit) => InvalidValue,
        "{count} entries are more than {limit}", ByPlace, "write at most {limit}";
}
