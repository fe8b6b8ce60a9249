//! The methods of a route.

use http::{HeaderValue, Method};

/// The methods that a route accepts. OPTIONS is always one of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Methods(&'static [Method]);

impl Methods {
    /// The methods of nearly every route.
    pub(crate) const USUAL: Self = Self(&[Method::GET, Method::POST, Method::HEAD]);
    /// The methods of a route that only shows something.
    pub(crate) const READ_ONLY: Self = Self(&[Method::GET, Method::HEAD]);
    /// The usual methods, and DELETE.
    pub(crate) const WITH_DELETE: Self = Self(&[Method::GET, Method::POST, Method::HEAD, Method::DELETE]);
    /// The methods of all routes of the network.
    pub(crate) const ALL: Self = Self(&[Method::GET, Method::POST, Method::HEAD, Method::PUT]);

    /// Returns these methods, and OPTIONS.
    pub(crate) const fn new(methods: &'static [Method]) -> Self {
        Self(methods)
    }

    /// Reports whether the route accepts `method`.
    pub(crate) fn contain(self, method: &Method) -> bool {
        *method == Method::OPTIONS || self.0.contains(method)
    }

    /// Returns the names of the methods.
    pub(crate) fn iter(self) -> impl Iterator<Item = &'static str> {
        let named = self.0.iter().filter(|method| **method != Method::OPTIONS);
        named.map(Method::as_str).chain(["OPTIONS"])
    }

    /// Returns the value of `Allow` (RFC 9110, section 10.2.1).
    pub(crate) fn allow(self) -> HeaderValue {
        let names: Vec<_> = self.iter().collect();
        // The name of a method has no byte that a value forbids.
        HeaderValue::try_from(names.join(", ")).unwrap_or(const { HeaderValue::from_static("OPTIONS") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_is_always_allowed() {
        assert!(Methods::USUAL.contain(&Method::POST) && Methods::USUAL.contain(&Method::OPTIONS));
        for method in [Method::DELETE, Method::PUT, Method::from_bytes(b"get").unwrap()] {
            assert!(!Methods::USUAL.contain(&method), "{method}");
        }
        assert!(Methods::WITH_DELETE.contain(&Method::DELETE));
        assert_eq!(Methods::USUAL.allow(), "GET, POST, HEAD, OPTIONS");
        assert_eq!(Methods::ALL.allow(), "GET, POST, HEAD, PUT, OPTIONS");
    }
}
