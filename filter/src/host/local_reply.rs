//! Answers a request in the proxy itself. The SDK cannot set response code details, so this module calls the host
//! directly.
#![expect(
    unsafe_code,
    reason = "a host call of the proxy is a foreign function, and the SDK's function leaves out an argument"
)]

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_send_local_response(
        status: u32,
        details: *const u8,
        details_size: usize,
        body: *const u8,
        body_size: usize,
        headers: *const u8,
        headers_size: usize,
        grpc_status: i32,
    ) -> u32;
}

/// Lets the host derive the gRPC status from the HTTP status.
const NO_GRPC_STATUS: i32 = -1;

/// Answers the request. `details` is the value of `%RESPONSE_CODE_DETAILS%` in the access log.
pub(super) fn send(status: u16, details: &str, header: (&str, &str), body: &str) {
    let headers = serialize(header);
    // SAFETY: Each pointer is valid for its size during the call, and the host keeps none of them. A status other than
    // 0 means that the request has ended already.
    let _ = unsafe {
        proxy_send_local_response(
            u32::from(status),
            details.as_ptr(),
            details.len(),
            body.as_ptr(),
            body.len(),
            headers.as_ptr(),
            headers.len(),
            NO_GRPC_STATUS,
        )
    };
}

/// Returns a header map with one header: the number of headers, the two lengths, and the two texts, each with a zero
/// byte at its end.
fn serialize((name, value): (&str, &str)) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in [1, name.len(), value.len()] {
        let number = u32::try_from(number).unwrap_or_default();
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    for text in [name, value] {
        bytes.extend_from_slice(text.as_bytes());
        bytes.push(0);
    }
    bytes
}
