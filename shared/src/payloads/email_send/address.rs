//! E-mail addresses as people write them, in the form that every mail server takes.

use std::net::{Ipv4Addr, Ipv6Addr};

use lettre::Address;
use lettre::message::Mailbox;

/// Reads `ada@example.com`, `Ada <ada@example.com>` or `"Lovelace, Ada" <"ada l"@example.com>`. A domain outside ASCII
/// becomes what DNS calls it, `xn--…` (RFC 5891): servers without SMTPUTF8 take no other. What is wrong is said so that
/// it can be read after a field's name.
pub fn parse_address(text: &str) -> Result<Mailbox, String> {
    if text.chars().any(char::is_control) {
        return Err("must be an e-mail address without control characters".to_owned());
    }
    let none = || {
        let start: String = text.chars().take(100).collect();
        format!("must be an e-mail address, which {start:?} is not")
    };
    let (name, address) = split(text.trim()).ok_or_else(none)?;
    let (local_part, domain) = address.rsplit_once('@').ok_or_else(none)?;
    if !local_part.is_ascii() {
        return Err("must have only ASCII before its @: few mail servers deliver to other addresses".to_owned());
    }
    // Nothing in an address can be encoded, and some readers decode whatever looks so: a line end would be one to them.
    if local_part.contains("=?") {
        return Err("must not have `=?` before its @: to some mail programs an encoded word begins there".to_owned());
    }
    let domain = domain_in_ascii(domain).ok_or_else(none)?;
    let address = Address::new(plainest(local_part), domain).map_err(|_| none())?;
    let name = match name {
        None => None,
        // The library reads a name only in front of an address, and drops the quotes of a local part.
        Some(name) => format!("{name} <a@example.com>").parse::<Mailbox>().map_err(|_| none())?.name,
    };
    Ok(Mailbox::new(name, address))
}

/// The name, if there is one, and the address.
fn split(text: &str) -> Option<(Option<&str>, &str)> {
    let Some(before_end) = text.strip_suffix('>') else { return Some((None, text)) };
    let (mut in_quotes, mut escaped) = (false, false);
    let start = before_end.char_indices().find_map(|(index, character)| {
        match character {
            _ if escaped => escaped = false,
            '\\' if in_quotes => escaped = true,
            '"' => in_quotes = !in_quotes,
            '<' if !in_quotes => return Some(index),
            _ => {}
        }
        None
    })?;
    let name = before_end[..start].trim();
    Some((Some(name).filter(|name| !name.is_empty()), &before_end[start + 1..]))
}

/// The domain as DNS calls it, or an address in brackets (RFC 5321, section 4.1.3). The library takes more than that: an
/// encoded word in the middle of a label, and anything between brackets.
fn domain_in_ascii(domain: &str) -> Option<String> {
    if let Some(literal) = domain.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let is_address = match literal.strip_prefix("IPv6:") {
            Some(address) => address.parse::<Ipv6Addr>().is_ok(),
            None => literal.parse::<Ipv4Addr>().is_ok(),
        };
        return is_address.then(|| domain.to_owned());
    }
    if !domain.is_ascii() {
        return idna::domain_to_ascii_strict(domain).ok();
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    domain.bytes().all(plain).then(|| domain.to_owned())
}

/// `"ada"` is `ada`, and no mail server needs the quotes.
fn plainest(local_part: &str) -> &str {
    let within = local_part.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte);
    let is_atoms = |text: &&str| text.split('.').all(|atom| !atom.is_empty() && atom.bytes().all(plain));
    within.filter(is_atoms).unwrap_or(local_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_into_what_every_server_takes() {
        for (text, name, address) in [
            ("ada@example.com", None, "ada@example.com"),
            ("  ada@example.com ", None, "ada@example.com"),
            ("<ada@example.com>", None, "ada@example.com"),
            ("Ada <ada@example.com>", Some("Ada"), "ada@example.com"),
            ("Ada Lovelace<ada@example.com>", Some("Ada Lovelace"), "ada@example.com"),
            (r#""Lovelace, Ada" <ada@example.com>"#, Some("Lovelace, Ada"), "ada@example.com"),
            (r#""a \"<b>\" c" <ada@example.com>"#, Some(r#"a "<b>" c"#), "ada@example.com"),
            ("Grüße <ada@example.com>", Some("Grüße"), "ada@example.com"),
            ("ada@bücher.example", None, "ada@xn--bcher-kva.example"),
            ("Ada <ada@BÜCHER.example>", Some("Ada"), "ada@xn--bcher-kva.example"),
            ("ada@例え.テスト", None, "ada@xn--r8jz45g.xn--zckzah"),
            ("ada@xn--bcher-kva.example", None, "ada@xn--bcher-kva.example"),
            (r#""john doe"@example.com"#, None, r#""john doe"@example.com"#),
            (r#"John <"john doe"@example.com>"#, Some("John"), r#""john doe"@example.com"#),
            (r#""a@b"@example.com"#, None, r#""a@b"@example.com"#),
            (r#""a<b>"@example.com"#, None, r#""a<b>"@example.com"#),
            (r#""john"@example.com"#, None, "john@example.com"),
            ("a+b_c.d'e@sub.example.com", None, "a+b_c.d'e@sub.example.com"),
            ("ada@[127.0.0.1]", None, "ada@[127.0.0.1]"),
            ("ada@[IPv6:2001:db8::1]", None, "ada@[IPv6:2001:db8::1]"),
            ("ada@mail_1.example.com", None, "ada@mail_1.example.com"),
            ("prvs=12?=ada@example.com", None, "prvs=12?=ada@example.com"),
        ] {
            let mailbox = parse_address(text).unwrap_or_else(|problem| panic!("{text}: {problem}"));
            assert_eq!((mailbox.name.as_deref(), mailbox.email.as_ref()), (name, address), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_or_more_than_one_is_refused() {
        for text in [
            "",
            "nobody",
            "@example.com",
            "ada@",
            "a b@example.com",
            "a..b@example.com",
            ".a@example.com",
            "a@example.com, b@example.com",
            "a@example.com b@example.com",
            "Ada <a@example.com> <b@example.com>",
            "Ada <a@example.com",
            "a@exa mple.com",
            "a@-bücher-.example",
            "a@ex_ämple.com",
            "ada@example.com>",
            "a@example.com\r\nBcc: e@example.com",
            "\"a\r\nb\" <a@example.com>",
            "a\0@example.com",
            "grüße@example.com",
            "\"grüße\"@example.com",
            "Ada <grüße@example.com>",
            "=?utf-8?q?a=0D=0ABcc=3A_e=40example.com?=@example.com",
            "\"=?utf-8?q?a=0D=0ABcc:_e?=\"@example.com",
            "Ada <=?x@example.com>",
            "ada@x=?utf-8?q?=0D=0ABcc=3A_e?=x.example.com",
            "ada@[=?utf-8?q?a?=]",
            "ada@[127.0.0.1>,<b]",
            "ada@[127.0.0.1.5]",
            "ada@[IPv6:example]",
            "ada@a!b%c.example.com",
            "ada@::1",
            &format!("{}@example.com", "a".repeat(65)),
        ] {
            let problem = parse_address(text).expect_err(text);
            assert!(problem.starts_with("must "), "{text}: {problem}");
        }
    }
}
