//! Reads Lua code of Envoy's Lua filter well enough to find the calls that change request headers.

/// Returns the code without comments and without the function `envoy_on_response`; empty if the code has no function
/// `envoy_on_request`. Two tokens have a space between them only if both are words.
pub fn request_code(code: &str) -> String {
    let tokens = tokens(code);
    if !tokens.contains(&"envoy_on_request") {
        return String::new();
    }
    let mut kept = String::new();
    let mut rest = tokens.as_slice();
    while let [token, after @ ..] = rest {
        let is_response = *token == "function" && after.first() == Some(&"envoy_on_response");
        if is_response {
            rest = after_block(after);
            continue;
        }
        let is_word = |text: &str| text.starts_with(|it: char| it.is_alphanumeric() || it == '_');
        kept.push_str(token);
        if is_word(token) && after.first().is_some_and(|next| is_word(next)) {
            kept.push(' ');
        }
        rest = after;
    }
    kept
}

/// Returns the tokens after the `end` of a function. `tokens` begins after the word `function`.
fn after_block<'t, 'c>(tokens: &'t [&'c str]) -> &'t [&'c str] {
    let mut depth: usize = 1;
    let mut rest = tokens;
    while let [token, after @ ..] = rest {
        match *token {
            // `while` and `for` have a `do`.
            "function" | "if" | "do" | "repeat" => depth = depth.saturating_add(1),
            "end" | "until" => depth = depth.saturating_sub(1),
            _ => {}
        }
        rest = after;
        if depth == 0 {
            break;
        }
    }
    rest
}

/// Returns words, strings with their quotes, and single other characters, without comments and white space.
fn tokens(code: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '-' if rest.starts_with("--[[") => match rest.find("]]") {
                Some(end) => end.saturating_add(2),
                None => rest.len(),
            },
            '-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            '"' | '\'' => string_length(rest, first),
            it if it.is_alphanumeric() || it == '_' => rest
                .find(|it: char| !it.is_alphanumeric() && it != '_')
                .unwrap_or(rest.len()),
            it => it.len_utf8(),
        };
        let (token, after) = rest.split_at_checked(length).unwrap_or((rest, ""));
        if !token.starts_with("--") {
            tokens.push(token);
        }
        rest = after.trim_start();
    }
    tokens
}

/// Returns the length in bytes of the string at the beginning, with its quotes.
fn string_length(code: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, character) in code.char_indices().skip(1) {
        if character == quote && !is_escaped {
            return at.saturating_add(1);
        }
        is_escaped = character == '\\' && !is_escaped;
    }
    code.len()
}

#[cfg(test)]
mod tests {
    use super::request_code;

    #[test]
    fn responses_and_comments_are_left_out() {
        let code = "
            -- h:headers():remove(\"a\")
            --[[ h:headers():remove(\"b\")
            ]]
            function envoy_on_response(h)
              if true then for i = 1, 2 do h:headers():remove(\"c\") end end
            end
            local text = \"-- no comment\"
            function envoy_on_request(h) h:headers():remove('d') end";
        assert_eq!(
            request_code(code),
            "local text=\"-- no comment\"function envoy_on_request(h)h:headers():remove('d')end"
        );
    }

    #[test]
    fn code_for_responses_changes_no_request() {
        let code = "function envoy_on_response(h) h:headers():add('a', 'b') end";
        assert_eq!(request_code(code), "");
    }
}
