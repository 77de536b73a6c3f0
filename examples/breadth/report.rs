//! The results as a page.

use std::fmt::Write;

use super::{Outcome, State};

/// `docs/breadth.md`.
pub fn markdown(outcomes: &[Outcome], listed: usize) -> String {
    let count = |state: State| outcomes.iter().filter(|outcome| outcome.state == state).count();
    let mut text = String::from(HEAD);
    let _ = writeln!(
        text,
        "Of {listed} packages on the list, {} were tried: **{} gave the same image twice**, {} did not, {} were refused \
         while baking, {} could not be locked.\n",
        outcomes.len(),
        count(State::Identical),
        count(State::Differs),
        count(State::Refused),
        count(State::Unlocked),
    );
    text += "| package | packages | image, MB | locked, s | baked, s | again, s | |\n";
    text += "|---|---:|---:|---:|---:|---:|---|\n";
    for outcome in outcomes {
        let [lock, first, second] = outcome.seconds;
        let _ = writeln!(
            text,
            "| {} | {} | {:.1} | {lock:.1} | {first:.1} | {second:.1} | {} |",
            outcome.package,
            outcome.packages,
            outcome.size as f64 / 1e6,
            if outcome.state == State::Identical && !outcome.why.is_empty() {
                "identical (namespaces)"
            } else {
                word(outcome.state)
            },
        );
    }
    let rest: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.state != State::Identical).collect();
    if !rest.is_empty() {
        text += "\n## Those that were not identical\n";
    }
    for outcome in rest {
        let _ = writeln!(text, "\n### {}: {}\n\n```", outcome.package, word(outcome.state));
        for line in outcome.why.iter().take(12) {
            let _ = writeln!(text, "{}", line.chars().take(200).collect::<String>());
        }
        text += "```\n";
    }
    text
}

fn word(state: State) -> &'static str {
    match state {
        State::Identical => "identical",
        State::Differs => "**differs**",
        State::Refused => "**refused**",
        State::Unlocked => "**not locked**",
    }
}

const HEAD: &str = "\
# How much of Debian bakes

Made by `cargo run --example breadth`: packages that many machines have, each alone on trixie's Essential base, baked
twice: once as root with namespaces, two jobs; once in a second store that shares the artifacts and parts but nothing
that a script made, in a plain chroot, one job, another time zone. The image's digests are compared. Packages that
bring systemd or Java cannot be configured in a chroot (`systemd-tmpfiles` and `java` need `/proc`): both bakes are
with namespaces then.

Packages whose tree is too large for memory by default are kept in memory in the first bake all the same, and all are on
the disk in the second: file systems list folders in different orders, and some programs write that order down.

Mended because of this list: by the rules `directory-servers` (slapd), `mariadb-data` (mariadb-server),
`erlang-cookies` (rabbitmq-server), `varnish-secret`, `freeradius-parameters`, `munin-plugins`, `octave-packages`,
`haskell-packages` (ghc), `tex-formats`, `tex-listings` and `player-plugins` (vlc), without which two bakes differ; in the
sandbox, `/proc/sys/net` in a plain chroot (postfix writes down which protocols there are); and leaving manual pages out
keeps their folders (OpenJDK). Comparing with mmdebstrap found `mail-aliases` (postfix) and `info-directory` (texinfo).

Where a bake took no second, its stage was known: packages that bring no scripts, or a try before a mend. Times are of
two cores busy with other work.

";
