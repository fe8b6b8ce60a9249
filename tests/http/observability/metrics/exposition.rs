//! Provides a strict parser of the Prometheus text format (version 0.0.4). It shares no code with
//! the server, and panics also on mistakes that a scraper tolerates.

use std::collections::{BTreeMap, HashSet};

use crate::harness::Response;

/// Holds the names and values of the labels of a sample.
pub(crate) type Labels = Vec<(String, String)>;

/// Holds a parsed page of metrics.
#[derive(Debug)]
pub(crate) struct Exposition {
    /// The type of each metric.
    pub(crate) kinds: BTreeMap<String, String>,
    samples: Vec<(String, Labels, f64)>,
}

impl Exposition {
    pub(crate) fn of(response: &Response) -> Self {
        assert_eq!(response.status, 200, "{response:?}");
        let media_type = "text/plain; version=0.0.4; charset=utf-8";
        assert_eq!(response.expect_header("content-type"), media_type);
        Self::parse(std::str::from_utf8(&response.body).expect("UTF-8"))
    }

    pub(crate) fn parse(text: &str) -> Self {
        assert!(text.ends_with('\n') && !text.contains('\r'), "line ends");
        let mut lines = text.split_terminator('\n').peekable();
        let mut page = Self { kinds: BTreeMap::new(), samples: Vec::new() };
        let mut seen = HashSet::new();
        while let Some(line) = lines.next() {
            let (name, help) = line
                .strip_prefix("# HELP ")
                .and_then(|rest| rest.split_once(' '))
                .unwrap_or_else(|| panic!("HELP, not {line:?}"));
            assert!(is_name(name) && !help.trim().is_empty() && !help.contains('\\'), "{line}");
            let line = lines.next().expect("TYPE");
            let kind = line.strip_prefix(&format!("# TYPE {name} ")).unwrap_or_else(|| panic!("{line}"));
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert_eq!(name.ends_with("_total"), kind == "counter", "{line}");
            assert!(page.kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "twice: {name}");
            while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
                let (sample, labels, value) = sample(line);
                let suffix = sample.strip_prefix(name).unwrap_or_else(|| panic!("out of place: {line}"));
                assert!(if kind == "histogram" { !suffix.is_empty() } else { suffix.is_empty() }, "{line}");
                assert!(kind == "gauge" || value >= 0.0, "{line}");
                assert!(seen.insert((sample.clone(), labels.clone())), "twice: {line}");
                page.samples.push((sample, labels, value));
            }
            if kind == "histogram" {
                page.check_histogram(name);
            }
        }
        page
    }

    fn check_histogram(&self, name: &str) {
        let buckets = self.all(&format!("{name}_bucket"));
        let (mut bound_before, mut count_before) = (f64::NEG_INFINITY, 0.0);
        for (labels, count) in &buckets {
            let [(label, bound)] = &labels[..] else { panic!("one label: {labels:?}") };
            let bound: f64 = if bound == "+Inf" { f64::INFINITY } else { bound.parse().unwrap() };
            assert!(label == "le" && bound > bound_before && *count >= count_before, "{labels:?}");
            (bound_before, count_before) = (bound, *count);
        }
        assert!(bound_before.is_infinite(), "the last bucket holds all");
        assert_eq!(count_before, self.value(&format!("{name}_count")));
        assert!(self.value(&format!("{name}_sum")) >= 0.0);
    }

    /// Returns all samples of this name.
    pub(crate) fn all(&self, name: &str) -> Vec<(Labels, f64)> {
        let of_name = self.samples.iter().filter(|(sample, ..)| sample == name);
        of_name.map(|(_, labels, value)| (labels.clone(), *value)).collect()
    }

    /// Returns the only sample of this name.
    pub(crate) fn value(&self, name: &str) -> f64 {
        let found = self.all(name);
        assert!(found.len() == 1 && found[0].0.is_empty(), "{name}: {found:?}");
        found[0].1
    }

    /// Returns the sample of this name with only this label.
    pub(crate) fn labelled(&self, name: &str, label: &str, value: &str) -> f64 {
        let wanted = [(label.to_owned(), value.to_owned())];
        let found = self.all(name).into_iter().find(|(labels, _)| *labels == wanted);
        found.unwrap_or_else(|| panic!("no {name} of {value}")).1
    }

    /// Returns the sum of all samples of this name.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        self.all(name).iter().map(|(_, value)| value).sum()
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

fn sample(line: &str) -> (String, Labels, f64) {
    let end = line.find(['{', ' ']).unwrap_or_else(|| panic!("a sample, not {line:?}"));
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name), "{line}");
    let mut labels = Labels::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, after) = rest.split_once("=\"").unwrap_or_else(|| panic!("a label: {line}"));
            assert!(is_name(label) && labels.iter().all(|(other, _)| other != label), "{line}");
            let (value, after) = quoted(after).unwrap_or_else(|| panic!("a value: {line}"));
            labels.push((label.to_owned(), value));
            rest = after;
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None => break,
            }
        }
        rest = rest.strip_prefix('}').unwrap_or_else(|| panic!("the end of labels: {line}"));
    }
    let value = rest.strip_prefix(' ').unwrap_or_else(|| panic!("one space: {line}"));
    assert!(value.bytes().all(|byte| byte.is_ascii_digit() || b".e-".contains(&byte)), "{line}");
    (name.to_owned(), labels, value.parse().unwrap_or_else(|_| panic!("a number: {line}")))
}

/// Returns the value of a label, and the text after its closing quote.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match characters.next()?.1 {
                'n' => '\n',
                escaped @ ('\\' | '"') => escaped,
                _ => return None,
            }),
            other => value.push(other),
        }
    }
    None
}
