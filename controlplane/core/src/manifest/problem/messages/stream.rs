//! Messages for errors with which `weir serve` ends a stream of an Envoy.
//!
//! Each message has a reason, a cause, an effect on traffic and a remedy.

messages! {
    no_filters() => InvalidValue,
        "the stream has no header weir-filters",
        Whole "Weir ends the stream, and Envoy keeps its clusters and its filters",
        "add the header to initial_metadata of the gRPC service, with the name and the plugin configuration of each \
         filter: {{\"weir\": {{\"namespace\": \"NAMESPACE\"}}}}";
    filters_unreadable(why) => InvalidValue,
        "the header weir-filters cannot be read: {why}",
        Whole "Weir ends the stream, and Envoy keeps its clusters and its filters",
        "write a JSON object from the name of each filter to its plugin configuration: \
         {{\"weir\": {{\"namespace\": \"NAMESPACE\"}}}}";
    number_of_filters(most) => InvalidValue,
        "the header weir-filters has no filter, or more than {most} filters",
        Whole "Weir ends the stream, and Envoy keeps its clusters and its filters",
        "write one filter for each namespace and Gateway of the Envoy";
    filter_name(name) => InvalidValue,
        "\"{name}\" cannot be the name of a filter in weir-filters",
        Whole "Weir ends the stream, and Envoy keeps its clusters and its filters",
        "write at most 128 letters, digits and the characters - _ . /; the name weir-upstream is reserved";
    own_key(filter, key) => InvalidValue,
        "the filter \"{filter}\" in weir-filters has the key \"{key}\", which Weir writes itself",
        Whole "Weir ends the stream, and Envoy keeps its clusters and its filters",
        "remove the key";
    plugin_configuration(filter, why, remedy) => InvalidValue,
        "the filter \"{filter}\" in weir-filters: {why}",
        Whole "Weir ends the stream, and Envoy keeps its clusters and its filters",
        "{remedy}";
}
