//! What can be typed. The doc comments are the help texts.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Locks what a service needs at run time and bakes it into a bit-identical OCI image.
#[derive(Debug, Parser)]
#[command(name = "kiln", version, max_term_width = 100, subcommand_required = true, arg_required_else_help = true)]
pub struct Arguments {
    #[command(flatten)]
    pub global: Global,
    // Not global: `kiln run -v` mounts a volume, as users of engines expect.
    #[arg(id = "short-verbose", short = 'v', hide = true)]
    pub short_verbose: bool,
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Work in this folder.
    #[arg(short = 'C', long, value_name = "DIR", global = true, env = "KILN_DIRECTORY", hide_env = true)]
    pub directory: Option<PathBuf>,
    /// Where artifacts, parts, layers and images are kept [default: $XDG_CACHE_HOME/kiln].
    #[arg(long, value_name = "DIR", global = true, env = "KILN_STORE", hide_env = true)]
    pub store: Option<PathBuf>,
    /// Use nothing but what the store holds.
    #[arg(long, global = true, env = "KILN_OFFLINE", hide_env = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", action = clap::ArgAction::Set, value_parser = clap::builder::BoolishValueParser::new(), hide_default_value = true, hide_possible_values = true)]
    pub offline: bool,
    /// Use lockfiles as they are, without comparing them with their definitions.
    #[arg(long, global = true, env = "KILN_FROZEN", hide_env = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub frozen: bool,
    /// How many things to do at once [default: the number of processors].
    #[arg(long, value_name = "N", global = true, env = "KILN_JOBS", hide_env = true, value_parser = clap::value_parser!(u16).range(1..=512))]
    pub jobs: Option<u16>,
    /// How to run scripts [default: the first that this machine allows].
    #[arg(long, value_name = "EXECUTOR", global = true, env = "KILN_EXECUTOR", hide_env = true, value_parser = ["user-namespace", "root-namespaces", "chroot"])]
    pub executor: Option<String>,
    /// What reports are printed as.
    #[arg(long, value_name = "FORMAT", global = true, env = "KILN_FORMAT", hide_env = true, default_value = "text")]
    pub format: Format,
    /// When to use colours.
    #[arg(long, value_name = "WHEN", global = true, env = "KILN_COLOR", hide_env = true, default_value = "auto")]
    pub color: Color,
    /// How to show progress.
    #[arg(long, value_name = "HOW", global = true, env = "KILN_PROGRESS", hide_env = true, default_value = "auto")]
    pub progress: ProgressMode,
    /// Print nothing but results and errors.
    #[arg(short, long, global = true, env = "KILN_QUIET", hide_env = true, value_parser = clap::builder::FalseyValueParser::new(), conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say more about what is done (`-v` before the command).
    #[arg(long, global = true, env = "KILN_VERBOSE", hide_env = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub verbose: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    Json,
    /// For comments on pull requests; `kiln diff` has it.
    Markdown,
    /// As text, with annotations for errors and warnings and a summary of the step in GitHub Actions.
    Github,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProgressMode {
    Auto,
    Tty,
    Plain,
    Quiet,
    Json,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a workspace with one working environment.
    #[command(
        after_help = "Examples:\n  kiln init demo --build    a workspace in `demo`, locked and baked\n  kiln init                 a workspace here\n  kiln init --from Dockerfile --name api    an environment made of what a Dockerfile says"
    )]
    Init(Init),
    /// Ask for packages in a definition, then lock it.
    #[command(
        after_help = "Without an ecosystem, names are Debian's. The definition's comments and order stay; if it cannot be locked, it is left as it was. Packages of Python and npm that are added without a version are asked for from the locked one on.\n\nExamples:\n  kiln add api curl debian:git=1:2.47*\n  kiln add api 'pypi:httpx>=0.27' pypi:celery[redis]\n  kiln add website npm:bootstrap@5 --dry-run"
    )]
    Add(Add),
    /// Ask no longer for packages in a definition, then lock it.
    #[command(after_help = "Examples:\n  kiln remove api curl\n  kiln remove api pypi:httpx npm:bootstrap")]
    Remove(Remove),
    /// Resolve what the definitions ask for and the locks do not hold.
    #[command(
        after_help = "Keeps every pin that still satisfies the definition; `kiln update` moves pins.\n\nExamples:\n  kiln lock                 lock all environments\n  kiln lock api --check     say why `api` is stale, and write nothing"
    )]
    Lock(Lock),
    /// Move pins: all of them, or the named packages and what they force.
    #[command(
        after_help = "Examples:\n  kiln update                    everything, everywhere\n  kiln update openssl -e api     one package in one environment\n  kiln update redis-server --precise 5:8.0.2-3"
    )]
    Update(Update),
    /// Bake environments into images, exactly as locked.
    #[command(
        after_help = "Prints a line per environment and platform: NAME PLATFORM sha256:DIGEST.\n\nExamples:\n  kiln build\n  kiln build api --output oci:api-image\n  kiln build api --platform linux/amd64 --check"
    )]
    Build(Build),
    /// Fetch every locked artifact, for later `--offline`.
    Fetch(Fetch),
    /// Run a command inside an environment, no container engine needed.
    #[command(
        after_help = "Without a command, the image's own entrypoint runs.\n\nExamples:\n  kiln run queue\n  kiln run queue -- redis-server --version\n  kiln run website --network -v ./site:/srv/www"
    )]
    Run(Run),
    /// Open a shell inside an environment.
    #[command(
        after_help = "bash if the environment has it, else sh; its exit code is kiln's. What it changes is gone when it ends, but for volumes.\n\nExamples:\n  kiln shell queue\n  kiln shell api --user root --network -v ./src:/srv/api"
    )]
    Shell(Shell),
    /// Start environments together, no container engine needed.
    #[command(
        after_help = "Each runs as `kiln run --network` runs it, its output line by line behind its name. When one ends, the others are stopped, and its exit code is kiln's; ^C stops all with their images' stop signals, and after 10 seconds, or with a second ^C, kills them. The volumes of images are kept in `.kiln/volumes/ENV` in the workspace.\n\nExamples:\n  kiln up                                 all environments\n  kiln up queue userdb --target laptop    two of them, with what the target adds\n  kiln up queue --fresh                   with empty volumes"
    )]
    Up(Up),
    /// Print the workspace as a Compose file, pinned by digest.
    #[command(
        after_help = "One service per environment, each with a profile of its own name, so that you run only those that you want. `--format json` prints the same as JSON, which Compose reads as well.\n\nExamples:\n  kiln compose --target laptop --output compose.yaml\n  docker compose --profile queue --profile api up\n  KILN_REPOSITORY=registry.example/team docker compose --profile queue up    without a target"
    )]
    Compose(Compose),
    /// Put a baked image into a registry.
    #[command(
        after_help = "Prints REGISTRY/REPOSITORY@sha256:DIGEST. Blobs that the registry has are skipped, or taken from its other repositories. Logins are those of docker and podman. If all platforms of the environment are pinned, their index is what the tag stands for.\n\nExamples:\n  kiln push api registry.example/team/api:1.4\n  kiln push api --target qa                the repository of [targets.qa] in kiln.toml\n  kiln push api registry.example/team/api:1.4 --immutable"
    )]
    Push(Push),
    /// Say what changed between two lockfiles, and what of it needs attention.
    #[command(
        after_help = "OLD and NEW are each a lockfile, a folder of lockfiles, an environment (its lockfile), `git:REV` (the workspace's lockfiles then), `git:REV:PATH`, or `-`. With OLD alone, NEW is the lockfiles as they are; without both, OLD is `git:HEAD`.\n\nExamples:\n  kiln diff                                   since the last commit\n  kiln diff git:main --env api                since `main`, one environment\n  kiln diff git:v1.0 git:v1.1 --format markdown\n  kiln diff api queue                         two environments with each other\n  kiln diff git:main --fail-on rebuilt,drift,scripts"
    )]
    Diff(Diff),
    /// List what environments are made of.
    #[command(
        after_help = "`*` marks what the definition asks for by name.\n\nExamples:\n  kiln list api\n  kiln list --ecosystem pypi --ecosystem npm\n  kiln list --licence AGPL              whose licences say so\n  kiln list --scripts --format json     whose own scripts ran while baking"
    )]
    List(List),
    /// Show what needs what, from the lock.
    #[command(
        after_help = "`*` marks what the definition asks for by name, `(again)` what is shown above already, `(base)` what the environment stands on.\n\nExamples:\n  kiln tree api --depth 2\n  kiln tree api --invert libssl3      who needs it"
    )]
    Tree(Tree),
    /// Say why a package, or a file, is in an environment.
    #[command(after_help = "Examples:\n  kiln why api libpq5\n  kiln why api pypi:redis\n  kiln why api /usr/bin/psql")]
    Why(Why),
    /// List what `kiln update` would move, and what the definition holds back.
    #[command(
        after_help = "Resolves as `kiln update --dry-run` does, and once more without the versions that the definition names.\n\nExamples:\n  kiln outdated\n  kiln outdated api --exit-code      for a scheduled job"
    )]
    Outdated(Outdated),
    /// Let go of what the store has not used for a while.
    Gc(Gc),
    /// What the store holds, and where artifacts come from.
    Store(StoreArguments),
    /// The rules of what may not be baked into an image.
    Rules,
    /// Print a script that makes a shell complete kiln's words.
    #[command(
        after_help = "Environments, packages, targets and platforms are completed as well: the script asks kiln.\n\nExamples:\n  kiln completions bash > ~/.local/share/bash-completion/completions/kiln\n  kiln completions fish > ~/.config/fish/completions/kiln.fish\n  source <(kiln completions zsh)        in ~/.zshrc, behind compinit"
    )]
    Completions(Completions),
    /// Print the manual page, or write one for each command.
    #[command(after_help = "Examples:\n  kiln man | man -l -\n  kiln man ~/.local/share/man/man1")]
    Man(Man),
    /// Print the JSON Schema of a file or a report, for editors and programs.
    #[command(
        after_help = "Without a name, lists those there are: `definition`, `kiln.toml`, `lockfile`, and what each command prints with `--format json`, by its name there.\n\nExamples:\n  kiln schema definition > definition.schema.json\n  kiln schema list"
    )]
    Schema(Schema),
}

#[derive(Debug, Args)]
pub struct Init {
    /// The folder of the new workspace [default: the current one].
    pub folder: Option<PathBuf>,
    /// Lock the environment against the archive as it is today, and bake it.
    #[arg(long)]
    pub build: bool,
    /// Make a definition of a Dockerfile, a requirements.txt or a package.json; what is not understood is left to do.
    #[arg(long, value_name = "FILE")]
    pub from: Option<PathBuf>,
    /// What the environment is called that `--from` makes [default: by the file's folder].
    #[arg(long, value_name = "NAME", requires = "from")]
    pub name: Option<String>,
}

#[derive(Debug, Args)]
pub struct Add {
    /// The environment.
    #[arg(value_name = "ENV")]
    pub environment: String,
    /// What to ask for: debian:NAME[=VERSION], pypi:REQUIREMENT or npm:NAME[@RANGE].
    #[arg(value_name = "WHAT", required = true)]
    pub packages: Vec<String>,
    /// Change the definition alone.
    #[arg(long)]
    pub no_lock: bool,
    /// Say what would change, and write nothing.
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub struct Remove {
    /// The environment.
    #[arg(value_name = "ENV")]
    pub environment: String,
    /// What not to ask for any more, by name; debian:, pypi: or npm: before it if it may be several.
    #[arg(value_name = "WHAT", required = true)]
    pub packages: Vec<String>,
    /// Change the definition alone.
    #[arg(long)]
    pub no_lock: bool,
    /// Say what would change, and write nothing.
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub struct Lock {
    /// The environments to lock [default: all].
    #[arg(value_name = "ENV")]
    pub environments: Vec<String>,
    /// Write nothing; exit with 1 and the reasons if a lock is missing or stale.
    #[arg(long, conflicts_with = "dry_run")]
    pub check: bool,
    /// Say what would change, and write nothing.
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub struct Update {
    /// The packages to move [default: all].
    #[arg(value_name = "PACKAGE")]
    pub packages: Vec<String>,
    /// Only in this environment; may be given several times.
    #[arg(short = 'e', long = "env", value_name = "ENV")]
    pub environments: Vec<String>,
    /// Move the one named package to exactly this version.
    #[arg(long, value_name = "VERSION")]
    pub precise: Option<String>,
    /// Say what would change, and write nothing.
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub struct Build {
    /// The environments to bake [default: all].
    #[arg(value_name = "ENV")]
    pub environments: Vec<String>,
    /// Only this platform; may be given several times [default: all that this machine can bake].
    #[arg(long = "platform", value_name = "PLATFORM")]
    pub platforms: Vec<String>,
    /// Where to put the image: oci:DIR, oci-archive:FILE, docker-archive:FILE, rootfs:DIR or tar:FILE.
    #[arg(short, long = "output", value_name = "KIND:PATH")]
    pub outputs: Vec<String>,
    /// Write nothing into lockfiles; exit with 1 where that would be needed.
    #[arg(long)]
    pub locked: bool,
    /// Bake twice under different conditions and name every path that differs.
    #[arg(long, conflicts_with = "print")]
    pub check: bool,
    /// Show what would be done, as JSON.
    #[arg(long)]
    pub print: bool,
}

#[derive(Debug, Args)]
pub struct Fetch {
    /// The environments whose artifacts to fetch [default: all].
    #[arg(value_name = "ENV")]
    pub environments: Vec<String>,
    /// Only for this platform; may be given several times [default: all that are locked].
    #[arg(long = "platform", value_name = "PLATFORM")]
    pub platforms: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Run {
    /// The environment.
    #[arg(value_name = "ENV")]
    pub environment: String,
    /// Share this machine's network.
    #[arg(long)]
    pub network: bool,
    /// Show a file or folder of this machine inside; `ro` forbids writing, `U` gives it to the user inside.
    #[arg(short = 'v', long = "volume", value_name = "SOURCE:TARGET[:ro,U]")]
    pub volumes: Vec<String>,
    /// Set a variable inside.
    #[arg(short = 'e', long = "env", value_name = "NAME=VALUE")]
    pub variables: Vec<String>,
    /// Run as this user of the image instead of its own.
    #[arg(short = 'u', long, value_name = "USER")]
    pub user: Option<String>,
    /// Start in this folder of the image.
    #[arg(short = 'w', long, value_name = "DIR")]
    pub workdir: Option<String>,
    /// Run this program instead of the image's entrypoint.
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Shell {
    /// The environment.
    #[arg(value_name = "ENV")]
    pub environment: String,
    /// Share this machine's network.
    #[arg(long)]
    pub network: bool,
    /// Show a file or folder of this machine inside; `ro` forbids writing, `U` gives it to the user inside.
    #[arg(short = 'v', long = "volume", value_name = "SOURCE:TARGET[:ro,U]")]
    pub volumes: Vec<String>,
    /// Set a variable inside.
    #[arg(short = 'e', long = "env", value_name = "NAME=VALUE")]
    pub variables: Vec<String>,
    /// Run as this user of the image instead of its own.
    #[arg(short = 'u', long, value_name = "USER")]
    pub user: Option<String>,
    /// Start in this folder of the image.
    #[arg(short = 'w', long, value_name = "DIR")]
    pub workdir: Option<String>,
}

#[derive(Debug, Args)]
pub struct Up {
    /// The environments to start [default: all].
    #[arg(value_name = "ENV")]
    pub environments: Vec<String>,
    /// Set the variables that `[targets.NAME]` in kiln.toml has.
    #[arg(long, value_name = "NAME")]
    pub target: Option<String>,
    /// Start with empty volumes: what those of the named environments hold is removed.
    #[arg(long)]
    pub fresh: bool,
}

#[derive(Debug, Args)]
pub struct Compose {
    /// The environments that become services [default: all].
    #[arg(value_name = "ENV")]
    pub environments: Vec<String>,
    /// Add what `[targets.NAME]` in kiln.toml says: variables, ports, and where images are pulled from.
    #[arg(long, value_name = "NAME")]
    pub target: Option<String>,
    /// Write it to this file instead of stdout.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Push {
    /// The environment.
    #[arg(value_name = "ENV")]
    pub environment: String,
    /// Where to: REGISTRY/REPOSITORY, with a tag that is `latest` unless given.
    #[arg(value_name = "REF")]
    pub reference: Option<String>,
    /// Push to the repository that `[targets.NAME]` in kiln.toml has, under the environment's name.
    #[arg(long, value_name = "NAME", conflicts_with = "reference")]
    pub target: Option<String>,
    /// Only this platform; may be given several times [default: all that are pinned].
    #[arg(long = "platform", value_name = "PLATFORM")]
    pub platforms: Vec<String>,
    /// Push nothing, and exit with 1, if the tag stands for something else.
    #[arg(long)]
    pub immutable: bool,
}

#[derive(Debug, Args)]
pub struct Diff {
    /// The earlier side [default: git:HEAD].
    pub old: Option<String>,
    /// The later side [default: the lockfiles as they are].
    pub new: Option<String>,
    /// Only this environment; may be given several times.
    #[arg(short = 'e', long = "env", value_name = "ENV")]
    pub environments: Vec<String>,
    /// Exit with 1 if anything differs.
    #[arg(long)]
    pub exit_code: bool,
    /// Exit with 1 if there is a change of these classes, `attention` (all that need it) or `any`.
    #[arg(long, value_name = "CLASS,...", value_delimiter = ',')]
    pub fail_on: Vec<String>,
    /// The most bytes of Markdown; what does not fit is counted.
    #[arg(long, value_name = "N", default_value_t = 60_000, value_parser = clap::value_parser!(u32).range(1000..))]
    pub max_bytes: u32,
}

#[derive(Debug, Args)]
pub struct List {
    /// The environments to list [default: all].
    #[arg(value_name = "ENV")]
    pub environments: Vec<String>,
    /// Only what the definition asks for by name.
    #[arg(long)]
    pub requested: bool,
    /// Only packages of this ecosystem; may be given several times.
    #[arg(long = "ecosystem", value_name = "NAME", value_parser = ["debian", "pypi", "npm", "fetch"])]
    pub ecosystems: Vec<String>,
    /// Only what is locked for this platform.
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,
    /// Only packages with a licence whose name has this in it.
    #[arg(long, value_name = "TEXT")]
    pub licence: Option<String>,
    /// Only packages whose own scripts run while baking.
    #[arg(long)]
    pub scripts: bool,
}

#[derive(Debug, Args)]
pub struct Tree {
    /// The environments to show [default: all].
    #[arg(value_name = "ENV")]
    pub environments: Vec<String>,
    /// Begin at this package, and show who needs it.
    #[arg(short, long, value_name = "NAME")]
    pub invert: Option<String>,
    /// How many levels below the first to show.
    #[arg(long, value_name = "N")]
    pub depth: Option<usize>,
    /// Show the base's own packages as well.
    #[arg(long)]
    pub base: bool,
}

#[derive(Debug, Args)]
pub struct Why {
    /// The environment.
    #[arg(value_name = "ENV")]
    pub environment: String,
    /// A package, or an absolute path in the image.
    #[arg(value_name = "NAME|/PATH")]
    pub what: String,
}

#[derive(Debug, Args)]
pub struct Outdated {
    /// The environments to look at [default: all].
    #[arg(value_name = "ENV")]
    pub environments: Vec<String>,
    /// Exit with 1 if `kiln update` would move anything.
    #[arg(long)]
    pub exit_code: bool,
}

#[derive(Debug, Args)]
pub struct Completions {
    /// The shell.
    pub shell: ShellName,
}

/// The shells that words are completed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ShellName {
    Bash,
    Elvish,
    Fish,
    Powershell,
    Zsh,
}

#[derive(Debug, Args)]
pub struct Schema {
    /// Of what.
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
}

#[derive(Debug, Args)]
pub struct Man {
    /// Write a page for each command into this folder instead of printing that of kiln.
    #[arg(value_name = "DIR")]
    pub folder: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Gc {
    /// Keep what was used within so many days.
    #[arg(long, value_name = "N", default_value_t = 30)]
    pub days: u32,
    /// Say what would go, and remove nothing.
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub struct StoreArguments {
    #[command(subcommand)]
    pub command: StoreCommand,
}

#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Print the store's folder.
    Path,
    /// What the store holds, by kind.
    Usage,
    /// Each origin's address, and where it was learnt.
    Origins,
    /// Read everything, and set aside what is corrupt.
    Verify,
}
