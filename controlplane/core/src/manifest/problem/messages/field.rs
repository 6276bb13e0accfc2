//! Messages about a field with a value of the wrong type, for all kinds of objects.
//!
//! Each message has a reason, a cause, an effect on traffic and a remedy. `ByPlace` means that the effect depends on
//! the place of the field in the object.

messages! {
    missing(field) => InvalidValue,
        "the field \"{field}\" is missing", ByPlace, "add {field}";
    no_value(field) => InvalidValue,
        "the field \"{field}\" has no value", ByPlace, "write a value after {field}";
    twice(field) => InvalidValue,
        "the field \"{field}\" is there twice", ByPlace, "take one of the two out";
    not_a_word(word, possible) => InvalidValue,
        "\"{word}\" is not possible here", ByPlace, "write one of {possible}";
    map_with_name(field, name) => InvalidValue,
        "the field \"{field}\" is a map where a name is expected", ByPlace, "write the name alone: {field}: {name}";
    map_for_text(field) => InvalidValue,
        "the field \"{field}\" is a map where a text is expected", ByPlace, "write one text: {field}: TEXT";
    list_of_one_text(field, text) => InvalidValue,
        "the field \"{field}\" is a list where one text is expected", ByPlace, "write the text alone: {field}: {text}";
    list_for_text(field) => InvalidValue,
        "the field \"{field}\" is a list where one text is expected", ByPlace, "write one text: {field}: TEXT";
    boolean_for_text(field, value) => InvalidValue,
        "the field \"{field}\" is {value} without quotes, which YAML reads as a boolean and not as text", ByPlace,
        "put it in quotes: \"{value}\"";
    number_for_text(field, value) => InvalidValue,
        "the field \"{field}\" is the number {value} where a text is expected", ByPlace, "put it in quotes: \"{value}\"";
    not_boolean(field, found) => InvalidValue,
        "the field \"{field}\" is {found} where true or false is expected", ByPlace, "write true or false, without quotes";
    quoted_number(field, number) => InvalidValue,
        "the field \"{field}\" is the text \"{number}\" where a number is expected", ByPlace,
        "write the number without quotes: {field}: {number}";
    port_name(field, name) => InvalidValue,
        "the field \"{field}\" is the text \"{name}\" where a number is expected", ByPlace,
        "write the port's number, as in {field}: 80";
    service_port_name(field, name) => InvalidValue,
        "the field \"{field}\" is the text \"{name}\" where a number is expected", ByPlace,
        "write the number of the Service's port, as in {field}: 80";
    not_whole(field, number, least, most) => InvalidValue,
        "the field \"{field}\" is {number}, which is not a whole number", ByPlace,
        "write a whole number from {least} to {most}";
    out_of_range(field, number, least, most) => InvalidValue,
        "the field \"{field}\" is {number}, which is not from {least} to {most}", ByPlace,
        "write a whole number from {least} to {most}";
    not_a_number(field, found) => InvalidValue,
        "the field \"{field}\" is {found} where a number is expected", ByPlace, "write a number, without quotes";
    map_for_list(field) => InvalidValue,
        "the field \"{field}\" is a map where a list is expected", ByPlace,
        "write a list: a dash before each entry of {field}";
    not_a_list(field, found) => InvalidValue,
        "the field \"{field}\" is {found} where a list is expected", ByPlace,
        "write a list: a dash before each entry of {field}";
    not_a_map(field, found) => InvalidValue,
        "the field \"{field}\" is {found} where a map is expected", ByPlace,
        "write the fields of {field}, each as NAME: VALUE";
    unreadable(field) => InvalidValue,
        "the field \"{field}\" has a value that is not valid", ByPlace, "write {field} as the API reference of this kind shows";
}
