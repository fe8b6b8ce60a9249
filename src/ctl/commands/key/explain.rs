//! `mocactl key explain`: prints which rule admits or refuses a request.
//!
//! Each step calls the check that the service calls, on a copy of the service's state.

use std::fs::{self, DirBuilder};
use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use ::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use data_encoding::HEXLOWER;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use crate::config::{self, LogName};
use crate::ctl::commands::key::steps::{self, Checks, Request, Verdict};
use crate::ctl::error::{Error, Outcome};
use crate::ctl::log_selection::LogSelection;
use crate::ctl::paths::Directories;
use crate::ctl::ui::output::{Colour, Printer};
use crate::ctl::ui::prompt;
use crate::exit::Exit;
use crate::guard::{Guard, PresentedKey, Rules, state_file};
use crate::http;
use crate::http::request::url_key::UrlKey;

/// The characters that no target of a request holds. The command encodes them for the operator.
const NOT_IN_A_TARGET: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'`').add(b'{').add(b'}').add(b'#');

/// Arguments of `key explain`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Key as a client sends it, or - to read it from stdin
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    key: Option<String>,
    /// Address of the client; behind proxies, the one that they report
    #[arg(long, value_name = "ADDRESS")]
    ip: IpAddr,
    /// Path, such as /moca-file-log/sample1/save-log, or only the route, such as save-log
    #[arg(long, value_name = "PATH")]
    path: String,
    /// Method of the request
    #[arg(long, value_name = "METHOD", default_value = "POST")]
    method: Method,
    /// Name of the log, when the path does not name it and several are switched on
    #[arg(long, value_name = "NAME")]
    log: Option<LogName>,
    /// Header of the request, as NAME:VALUE; may be given several times
    #[arg(long, value_name = "NAME:VALUE", value_parser = header)]
    header: Vec<(HeaderName, HeaderValue)>,
    /// Parameter of the request, as NAME=VALUE; may be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = argument)]
    arg: Vec<(String, String)>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args, directories: &Directories, printer: &mut Printer) -> Outcome {
    let files = config::load(&directories.config).map_err(|findings| Error::of_findings(&findings))?.files;
    let (target, log) = target(args, &LogSelection::load(directories)?)?;
    let headers: HeaderMap = args.header.iter().cloned().collect();
    let key = match &args.key {
        Some(key) => Some(PresentedKey::new(prompt::argument_or_stdin(key, "the key")?)),
        None => {
            let route = http::find_route(&args.method, &target, args.ip.into(), &log);
            http::presented_key(&target, &headers, route.ok().and_then(|route| route.endpoint))
        }
    };
    let request = Request {
        method: args.method.clone(),
        target,
        log: log.clone(),
        client: args.ip.into(),
        key,
        headers,
        arguments: args.arg.clone(),
    };
    let scratch = Scratch::copy_of(&directories.state, &log)?;
    let guard = Guard::open(&scratch.0, &log)
        .map_err(|error| Error::new(Exit::CantCreate, format!("no scratch folder: {error}")))?;
    let rules = Rules::new(&files);
    let steps = steps::explain(&request, &Checks { files, rules, guard, now: Instant::now() });
    let admitted = steps.iter().all(|step| step.verdict != Verdict::Refuses);
    if args.json {
        printer.json(&serde_json::json!({ "log": log.as_str(), "admitted": admitted, "steps": steps }))?;
    } else {
        for step in &steps {
            let (word, colour) = match step.verdict {
                Verdict::Admits => ("ok     ", Colour::Green),
                Verdict::Refuses => ("REFUSED", Colour::Red),
                Verdict::Note => ("note   ", Colour::Yellow),
            };
            let (word, text) = (printer.paint(colour, word), printer.shown(&step.text));
            let line = format!("{word}  {:<16}  {text}", step.rule);
            printer.styled_line(&line)?;
        }
        let verdict = if admitted { "This request is admitted." } else { "This request is refused." };
        printer.line(verdict)?;
    }
    Ok(if admitted { 0 } else { Exit::NoPerm.code() })
}

/// Returns the target of the request, and the log whose service gets it.
fn target(args: &Args, logs: &LogSelection) -> Result<(Uri, LogName), Error> {
    let path = match args.path.strip_prefix('/') {
        Some(_) => args.path.clone(),
        None => format!("/moca-file-log/{}", args.path),
    };
    let spelled = utf8_percent_encode(&path, NOT_IN_A_TARGET).to_string();
    let target: Uri = spelled
        .parse()
        .map_err(|_| Error::new(Exit::Usage, format!("{:?} is no path of a request", args.path)))?;
    if let Some(log) = &args.log {
        return Ok((target, logs.one(Some(log))?));
    }
    // The second of three segments names the log.
    let url_key = UrlKey::of(target.path());
    let named =
        url_key.path(target.path()).strip_prefix("/moca-file-log/").and_then(|rest| rest.split_once('/'));
    let named = named.filter(|(_, route)| !route.is_empty()).map(|(name, _)| percent_decode_str(name));
    let named = named.and_then(|name| name.decode_utf8().ok()?.parse::<LogName>().ok());
    let log = logs.one(named.as_ref())?;
    Ok((target, log))
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("expected NAME:VALUE")?;
    let name = name.trim().parse().map_err(|_| "expected the name of a header")?;
    Ok((name, value.trim().parse().map_err(|_| "expected the value of a header")?))
}

fn argument(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Copies the guard's state of a log to a temporary directory, because the checks may change it.
/// Removes the directory at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn copy_of(state_dir: &Path, log: &LogName) -> Result<Self, Error> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| Error::new(Exit::OsErr, error.to_string()))?;
        let path = std::env::temp_dir().join(format!("mocactl-{}", HEXLOWER.encode(&random)));
        DirBuilder::new().mode(0o700).create(&path).map_err(|e| Error::of_file("create", &path, &e))?;
        let scratch = Self(path);
        for suffix in ["blocked.json", "maintenance"] {
            let from = state_file(state_dir, log, suffix);
            match fs::read(&from) {
                Ok(content) => fs::write(state_file(&scratch.0, log, suffix), content)
                    .map_err(|error| Error::of_file("write", &scratch.0, &error))?,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::of_file("read", &from, &error)),
            }
        }
        Ok(scratch)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}
