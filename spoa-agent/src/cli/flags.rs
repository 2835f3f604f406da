//! The flags that come from the table of keys, and where the configuration is read from.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint};

use crate::config::{CONFIG_ENV, DEFAULT_FILE, Key, SECTIONS, Shape, Written, keys};

/// `--config` and one flag per key.
#[derive(Debug, Clone, Default)]
pub(super) struct ConfigFlags {
    file: Option<PathBuf>,
    values: Vec<(&'static Key, Vec<String>)>,
}

impl ConfigFlags {
    /// The same again, as arguments for another command that has these flags.
    pub(super) fn arguments(&self) -> Vec<OsString> {
        let file = self
            .file
            .iter()
            .flat_map(|file| [format!("--{FILE}").into(), file.clone().into_os_string()]);
        let values = self.values.iter().flat_map(|(key, values)| {
            let flag = key.flag();
            values
                .iter()
                .map(move |value| format!("--{flag}={value}").into())
        });
        file.chain(values).collect()
    }

    /// Reads the file, the environment and the flags.
    pub(super) fn written(self) -> Written {
        let (written, _file) = self.written_with(std::env::vars_os(), Path::new(DEFAULT_FILE));
        written
    }

    /// Reads all three sources, and says which file was read.
    ///
    /// A file that is named must be there. The default one need not.
    pub(super) fn written_with(
        self,
        env: impl IntoIterator<Item = (OsString, OsString)>,
        default_file: &Path,
    ) -> (Written, Option<PathBuf>) {
        let env: Vec<(OsString, OsString)> = env.into_iter().collect();
        let in_env = env
            .iter()
            .find(|(name, value)| name == CONFIG_ENV && !value.is_empty());
        let named = self
            .file
            .or_else(|| in_env.map(|(_, value)| PathBuf::from(value)));
        let file = named.or_else(|| default_file.exists().then(|| default_file.to_owned()));
        let mut written = Written::default();
        if let Some(file) = &file {
            written = written.read_file(file);
        }
        written = written.env(env);
        for (key, values) in self.values {
            written = written.flag(key, values);
        }
        (written, file)
    }
}

/// `--config` and one flag per key of `[kafka]`, for what concerns nothing else.
#[derive(Debug, Clone, Default)]
pub(super) struct KafkaFlags(ConfigFlags);

impl KafkaFlags {
    /// Reads the file, the environment and the flags.
    pub(super) fn written(self) -> Written {
        self.0.written()
    }
}

/// The configuration of this file (or the default one) and the environment.
pub(super) fn of_file(file: Option<PathBuf>) -> Written {
    ConfigFlags {
        file,
        values: Vec::new(),
    }
    .written()
}

const FILE: &str = "config";

/// The flag `--config`.
fn file_flag() -> Arg {
    Arg::new(FILE)
        .long(FILE)
        .value_name("FILE")
        .value_hint(ValueHint::FilePath)
        .value_parser(clap::value_parser!(PathBuf))
        .help(format!("Configuration file, in TOML [env: {CONFIG_ENV}] [default: {DEFAULT_FILE}]"))
        .long_help(format!(
            "Configuration file, in TOML. Flags win over the environment, the environment over the file.\n\n\
             [env: {CONFIG_ENV}]\n[default: {DEFAULT_FILE}, when it is there]"
        ))
}

fn flag(section: &'static str, key: &'static Key) -> Arg {
    let arg = Arg::new(key.path)
        .long(key.flag())
        .value_name(key.placeholder())
        .value_hint(hint(key))
        .value_parser(AnyOf { words: key.words() })
        .help_heading(heading(section))
        .hide_possible_values(true)
        .help(first_sentence(key.doc()))
        .long_help(format!(
            "{}\n\nTakes {}.\n[env: {}]\n[default: {}]",
            key.doc(),
            key.accepts(),
            key.env(),
            if key.default.is_empty() {
                "none"
            } else {
                key.default
            },
        ));
    match key.shape() {
        Shape::List | Shape::Table => arg.action(ArgAction::Append),
        Shape::Bare if key.words().contains(&"true") => arg
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true"),
        Shape::Bare | Shape::Text => arg.action(ArgAction::Set),
    }
}

fn heading(section: &str) -> String {
    let mut letters = section.replace('_', " ").chars().collect::<Vec<char>>();
    if let Some(first) = letters.first_mut() {
        first.make_ascii_uppercase();
    }
    letters.into_iter().collect()
}

fn hint(key: &Key) -> ValueHint {
    match key.placeholder() {
        "DIR" => ValueHint::DirPath,
        "FILE" => ValueHint::FilePath,
        "URL" => ValueHint::Url,
        _other => ValueHint::Other,
    }
}

/// The first sentence of a manual: it ends at a full stop or a colon before a space.
fn first_sentence(doc: &'static str) -> &'static str {
    let end = doc
        .find(". ")
        .or_else(|| doc.strip_suffix('.').map(str::len));
    end.and_then(|end| doc.get(..end)).unwrap_or(doc)
}

/// Takes any text, and tells the shell which words there are. Wrong ones are told by the
/// configuration, together with everything else that is wrong.
#[derive(Clone)]
struct AnyOf {
    words: Vec<&'static str>,
}

impl TypedValueParser for AnyOf {
    type Value = String;

    fn parse_ref(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        value: &OsStr,
    ) -> Result<String, clap::Error> {
        StringValueParser::new().parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        if self.words.is_empty() {
            return None;
        }
        Some(Box::new(self.words.iter().map(PossibleValue::new)))
    }
}

impl clap::Args for ConfigFlags {
    fn augment_args(command: Command) -> Command {
        augmented(command, |_section| true)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for ConfigFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(given(matches, |_key| true))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

const KAFKA: &str = "kafka";

impl clap::Args for KafkaFlags {
    fn augment_args(command: Command) -> Command {
        augmented(command, |section| section == KAFKA)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for KafkaFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let is_ours = |key: &Key| key.path.split('.').next() == Some(KAFKA);
        Ok(Self(given(matches, is_ours)))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn augmented(command: Command, is_wanted: impl Fn(&str) -> bool) -> Command {
    let flags = SECTIONS
        .iter()
        .filter(|section| is_wanted(section.name))
        .flat_map(|section| section.keys.iter().map(|key| flag(section.name, key)));
    command.arg(file_flag()).args(flags)
}

fn given(matches: &ArgMatches, is_wanted: impl Fn(&Key) -> bool) -> ConfigFlags {
    let value = |key: &'static Key| {
        let values = matches.get_many::<String>(key.path)?;
        Some((key, values.cloned().collect()))
    };
    ConfigFlags {
        file: matches.get_one::<PathBuf>(FILE).cloned(),
        values: keys()
            .filter(|key| is_wanted(key))
            .filter_map(value)
            .collect(),
    }
}
