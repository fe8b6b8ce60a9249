//! Checks the headers that every request must have: `force_headers` and `referer`.

use http::header::REFERER;
use http::{HeaderMap, HeaderName};
use subtle::ConstantTimeEq;

use super::refusal::Refusal;
use crate::config::{RequiredHeader, System};

/// Checks `force_headers`.
pub(super) fn check_forced(system: &System, headers: &HeaderMap) -> Result<(), Refusal> {
    let has_all = missing_forced(system, headers).next().is_none();
    if has_all { Ok(()) } else { Err(Refusal::MissingForcedHeader) }
}

/// Checks `referer`.
pub(super) fn check_referer(system: &System, headers: &HeaderMap) -> Result<(), Refusal> {
    if system.allowed_referer.any && !system.force_referer {
        return Ok(());
    }
    let mut referers = headers.get_all(REFERER).iter().peekable();
    if referers.peek().is_none() {
        return if system.force_referer { Err(Refusal::MissingReferer) } else { Ok(()) };
    }
    let allowed = &system.allowed_referer;
    // A request may have several `Referer` lines, and programs differ in which one they read. So
    // all of them must be allowed.
    let all_allowed = referers.all(|line| allowed.any || line.to_str().is_ok_and(|url| allowed.allows(url)));
    if all_allowed { Ok(()) } else { Err(Refusal::InvalidReferer) }
}

/// Returns the names of `force_headers` that are missing or have another value.
pub(super) fn missing_forced<'s>(
    system: &'s System,
    headers: &HeaderMap,
) -> impl Iterator<Item = &'s HeaderName> {
    let is_present = |required: &RequiredHeader| match &required.value {
        Some(value) => has(headers, &required.name, value.as_bytes()),
        None => headers.contains_key(&required.name),
    };
    system.force_headers.iter().filter(move |required| !is_present(required)).map(|required| &required.name)
}

/// Returns whether a line of this header has exactly this value.
///
/// The comparison takes constant time, because such a value is often a secret that a proxy adds.
pub(super) fn has(headers: &HeaderMap, name: &HeaderName, value: &[u8]) -> bool {
    headers.get_all(name).iter().any(|line| line.as_bytes().ct_eq(value).into())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::config::Origins;
    use crate::guard::testing;

    fn system(
        force: &[(&'static str, Option<&str>)],
        referers: Option<&[&str]>,
        force_referer: bool,
    ) -> System {
        let force = force.iter().map(|&(name, value)| RequiredHeader {
            name: HeaderName::from_static(name),
            value: value.map(str::to_owned),
        });
        System {
            force_headers: force.collect(),
            allowed_referer: referers.map_or_else(Origins::all, |list| Origins::from_texts(list).unwrap()),
            force_referer,
            ..testing::system()
        }
    }

    fn check(system: &System, headers: &HeaderMap) -> Result<(), Refusal> {
        check_forced(system, headers)?;
        check_referer(system, headers)
    }

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for &(name, value) in lines {
            map.append(HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        map
    }

    #[test]
    fn the_defaults_require_no_header() {
        assert_eq!(check(&testing::system(), &headers(&[("referer", "anything")])), Ok(()));
        assert_eq!(check(&testing::system(), &HeaderMap::new()), Ok(()));
    }

    #[test]
    fn forced_headers_compare_exactly() {
        let system = system(&[("x-app", Some("One")), ("x-any", None)], None, false);
        for (lines, good) in [
            (&[("x-app", "One"), ("x-any", "")][..], true),
            (&[("x-app", "Two"), ("x-app", "One"), ("x-any", "1")], true),
            (&[("x-app", "one"), ("x-any", "1")], false),
            (&[("x-app", "One ish"), ("x-any", "1")], false),
            (&[("x-any", "1")], false),
            (&[("x-app", "One")], false),
        ] {
            let expected = if good { Ok(()) } else { Err(Refusal::MissingForcedHeader) };
            assert_eq!(check(&system, &headers(lines)), expected, "{lines:?}");
        }
    }

    #[test]
    fn referers_must_be_allowed() {
        let listed = &["http://localhost"][..];
        let allowed = system(&[], Some(listed), false);
        let forced = system(&[], Some(listed), true);
        let any_forced = system(&[], None, true);
        let none_allowed = system(&[], Some(&[]), false);
        let own = [("referer", "http://localhost:3000/page")];
        let other = [("referer", "http://localhost.evil.example/")];
        let two = [("referer", "http://localhost/"), ("referer", "http://evil.example/")];
        let odd = [("referer", "\u{fc}")];
        for (system, lines, expected) in [
            (&allowed, &own[..], Ok(())),
            (&allowed, &[], Ok(())),
            (&allowed, &other, Err(Refusal::InvalidReferer)),
            (&allowed, &two, Err(Refusal::InvalidReferer)),
            (&allowed, &odd, Err(Refusal::InvalidReferer)),
            (&allowed, &[("referer", "")], Err(Refusal::InvalidReferer)),
            (&forced, &own, Ok(())),
            (&forced, &[], Err(Refusal::MissingReferer)),
            (&forced, &other, Err(Refusal::InvalidReferer)),
            (&any_forced, &other, Ok(())),
            (&any_forced, &odd, Ok(())),
            (&any_forced, &[], Err(Refusal::MissingReferer)),
            (&none_allowed, &own, Err(Refusal::InvalidReferer)),
            (&none_allowed, &[], Ok(())),
        ] {
            assert_eq!(check(system, &headers(lines)), expected, "{lines:?}");
        }
    }

    #[test]
    fn forced_headers_come_before_the_referer() {
        let system = system(&[("x-app", None)], Some(&[]), true);
        assert_eq!(check(&system, &HeaderMap::new()), Err(Refusal::MissingForcedHeader));
        assert_eq!(check(&system, &headers(&[("x-app", "")])), Err(Refusal::MissingReferer));
    }
}
