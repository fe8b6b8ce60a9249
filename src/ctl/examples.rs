//! Adds examples to the help and the manual page of each command.

use clap::Command;

/// The examples of each command: the words of the command, and lines that an operator can paste.
const EXAMPLES: [(&str, &[&str]); 33] = [
    ("version", &["mocactl version", "mocactl version --only-number"]),
    (
        "run",
        &[
            "mocactl run sample1",
            "mocactl --config-dir configs --log-dir logs --state-dir state --run-dir run run sample1",
        ],
    ),
    ("start", &["mocactl start", "mocactl start sample1 sample2"]),
    ("stop", &["mocactl stop sample1"]),
    ("restart", &["mocactl restart", "mocactl restart sample1"]),
    ("status", &["mocactl status", "mocactl status sample1 --json", "mocactl status --table"]),
    ("top", &["mocactl top", "mocactl top --once --interval 5", "mocactl top sample1 --json"]),
    ("turn-off", &["mocactl turn-off", "mocactl turn-off sample1"]),
    ("turn-on", &["mocactl turn-on", "mocactl turn-on sample1"]),
    ("maintenance", &["mocactl maintenance on sample1", "mocactl maintenance off"]),
    ("maintenance on", &["mocactl maintenance on", "mocactl maintenance on sample1"]),
    ("maintenance off", &["mocactl maintenance off", "mocactl maintenance off sample1"]),
    (
        "clear-logs",
        &[
            "mocactl clear-logs sample1",
            "mocactl clear-logs sample1 sample2 --yes",
            "mocactl clear-logs --all",
        ],
    ),
    ("update", &["mocactl update --dry-run", "mocactl update --yes"]),
    (
        "update-system",
        &["mocactl update-system --deb ./moca-file-log_2.0.0-1_amd64.deb", "mocactl update-system --dry-run"],
    ),
    ("reset-system", &["mocactl reset-system", "mocactl reset-system --yes --backup-dir /srv/backups"]),
    ("check", &["mocactl check", "mocactl check --json", "mocactl --config-dir ./configs check"]),
    (
        "key",
        &["mocactl key list", "mocactl key add --name shop --rate 1000/minute", "mocactl key revoke shop"],
    ),
    ("key list", &["mocactl key list", "mocactl key list --json"]),
    (
        "key add",
        &[
            "mocactl key add --name shop --rate 1000/minute",
            "mocactl key add --name office --ip 192.0.2.0/24 --path /moca-file-log/sample1/save-log",
        ],
    ),
    ("key revoke", &["mocactl key revoke shop", "mocactl key revoke 8f14e45f"]),
    (
        "key explain",
        &["mocactl key explain --key KEY --ip 203.0.113.7 --path /moca-file-log/sample1/save-log"],
    ),
    ("passwd", &["mocactl passwd", "mocactl passwd <root-password"]),
    ("block", &["mocactl block list", "mocactl block add 203.0.113.7", "mocactl block remove 203.0.113.7"]),
    ("block list", &["mocactl block list", "mocactl block list sample1 --json"]),
    ("block add", &["mocactl block add 203.0.113.7", "mocactl block add 2001:db8::7 sample1"]),
    ("block remove", &["mocactl block remove 203.0.113.7"]),
    ("refusals", &["mocactl refusals", "mocactl refusals sample1 --follow", "mocactl refusals --json"]),
    (
        "get",
        &[
            "mocactl get sample1 -n 20",
            "mocactl get sample1 --since 2h --level warning --contains payment",
            "mocactl get sample1 --since yesterday --output ndjson",
        ],
    ),
    ("tail", &["mocactl tail sample1", "mocactl tail sample1 --since 10m --level error --json"]),
    ("apply", &["mocactl apply", "mocactl apply --if-edited"]),
    ("completions", &["mocactl completions bash >/etc/bash_completion.d/mocactl"]),
    ("", &["mocactl status", "mocactl tail sample1", "mocactl key add --name shop"]),
];

/// Returns the command line with the examples of each command.
pub(crate) fn with_examples(cli: Command) -> Command {
    add(cli, "")
}

fn add(command: Command, words: &str) -> Command {
    let names: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    let command = names.iter().fold(command, |command, name| {
        let words = format!("{words} {name}").trim().to_owned();
        command.mut_subcommand(name, |sub| add(sub, &words))
    });
    let Some((_, examples)) = EXAMPLES.iter().find(|(command, _)| *command == words) else { return command };
    let lines: Vec<String> = examples.iter().map(|example| format!("  {example}")).collect();
    let rest = command.get_after_long_help().map(|rest| format!("\n\n{rest}")).unwrap_or_default();
    let text = format!("Examples:\n{}", lines.join("\n"));
    command.after_help(text.clone()).after_long_help(text + &rest)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::ctl::cli::Cli;

    fn commands(command: &Command, words: &str, all: &mut Vec<String>) {
        all.push(words.to_owned());
        for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
            commands(sub, format!("{words} {}", sub.get_name()).trim(), all);
        }
    }

    #[test]
    fn every_command_has_examples_of_itself_that_parse() {
        let mut all = Vec::new();
        commands(&Cli::command(), "", &mut all);
        for words in &all {
            let examples = EXAMPLES.iter().find(|(command, _)| command == words);
            let (_, examples) = examples.unwrap_or_else(|| panic!("no examples of `{words}`"));
            for example in *examples {
                let line = example.split(['<', '>']).next().unwrap().trim();
                let parsed = with_examples(Cli::command()).try_get_matches_from(line.split(' '));
                assert!(parsed.is_ok(), "{example}: {parsed:?}");
                assert!(example.contains(&format!(" {words}").trim_end().to_owned()), "{example}: {words}");
            }
        }
        assert!(EXAMPLES.iter().all(|(command, _)| all.iter().any(|words| words == command)), "{all:?}");
    }
}
