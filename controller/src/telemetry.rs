//! The log: structured, on standard error, for people or for collectors.

use anyhow::Context;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::cli::LogFormat;

/// Installs the process's one subscriber.
///
/// # Errors
/// When the filter cannot be parsed, or a subscriber is installed already.
pub fn init(filter: &str, format: LogFormat) -> anyhow::Result<()> {
    let filter = filter_of(filter).with_context(|| {
        format!("--log-level {filter:?} is no filter; try info, or info,ovsdb=debug")
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_span_events(FmtSpan::NONE)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    }
    .map_err(|error| anyhow::anyhow!("the log could not be set up: {error}"))
}

/// A word that is no level would be taken for a part of the program, of which all is logged, and of all others nothing.
fn filter_of(text: &str) -> anyhow::Result<EnvFilter> {
    for word in text.split(',').map(str::trim) {
        let is_part = word.contains(['=', '[']);
        anyhow::ensure!(
            is_part || (!word.is_empty() && word.parse::<LevelFilter>().is_ok()),
            "{word:?} is no level: error, warn, info, debug, trace or off"
        );
    }
    Ok(EnvFilter::try_new(text)?)
}

/// An error with its causes, without those that the words before have said already.
pub fn words(error: &anyhow::Error) -> String {
    let mut words = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !words.ends_with(&cause) {
            if !words.is_empty() {
                words.push_str(": ");
            }
            words.push_str(&cause);
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_levels() {
        for good in ["info", "warn,ovsdb=debug", "off", "kube=trace,info"] {
            assert!(filter_of(good).is_ok(), "{good}");
        }
        for bad in ["verbose", "", "ovsdb", "info,", "inf0=="] {
            assert!(filter_of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn nothing_is_said_twice() {
        let error = anyhow::anyhow!("no such file")
            .context("key.pem: no such file")
            .context("the Northbound");
        assert_eq!(words(&error), "the Northbound: key.pem: no such file");
    }
}
