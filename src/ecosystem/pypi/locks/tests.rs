use proptest::prelude::*;

use super::*;

const A: &str = "00000000000000000000000000000000000000000000000000000000000000aa";

fn target(python: &str) -> Target {
    Target::new(python, "amd64", (2, 41)).unwrap()
}

fn files(kind: LockKind, text: &str, python: &str) -> Result<Vec<String>> {
    Ok(kind.parse(text, &target(python))?.into_iter().map(|locked| locked.file.filename).collect())
}

fn pylock() -> String {
    format!(
        "lock-version = '1.0'\nenvironments = [\"sys_platform == 'linux'\"]\nrequires-python = '>=3.9'\ncreated-by = 'x'\n\
         [[packages]]\nname = 'B.c'\nversion = '1.0'\nmarker = \"python_version >= '3.10'\"\n\
         [[packages.wheels]]\nname = 'b_c-1.0-cp313-cp313-manylinux_2_17_x86_64.whl'\nurl = 'https://h.example/1'\nhashes = {{ sha256 = '{A}' }}\n\
         [[packages.wheels]]\nurl = 'https://h.example/b_c-1.0-py3-none-any.whl#x'\nsize = 3\nhashes = {{ md5 = '0' }}\n\
         [[packages]]\nname = 'a'\n[packages.sdist]\nurl = 'https://h.example/a-2%2B1.tar.gz'\nhashes = {{ sha256 = '{A}' }}\n"
    )
}

#[test]
fn pylocks_are_read_for_their_environment() {
    let locked = LockKind::Pylock.parse(&pylock(), &target("3.13.5")).unwrap();
    let [a, b] = &locked[..] else { panic!("{locked:?}") };
    assert_eq!((a.version.to_string().as_str(), a.file.kind), ("2+1", FileKind::Source));
    assert_eq!(b.file.filename, "b_c-1.0-cp313-cp313-manylinux_2_17_x86_64.whl");
    assert_eq!((b.file.url.as_deref(), b.file.sha256.unwrap().to_string()), (Some("https://h.example/1"), A.into()));
    let other = LockKind::Pylock.parse(&pylock(), &target("3.12.1")).unwrap();
    assert_eq!(other[1].file.url.as_deref(), Some("https://h.example/b_c-1.0-py3-none-any.whl"));
    assert_eq!((other[1].file.sha256, other[1].file.size), (None, Some(3)));
    assert_eq!(files(LockKind::Pylock, &pylock(), "3.9.2").unwrap(), ["a-2+1.tar.gz"]);
}

fn uv_lock() -> String {
    let wheel = |name: &str, tag: &str| {
        format!("    {{ url = 'https://h.example/{name}-{tag}.whl', hash = 'sha256:{A}', size = 9 }},\n")
    };
    format!(
        "version = 1\nrevision = 3\nrequires-python = '>=3.11'\n\
         [[package]]\nname = 'app'\nversion = '0.1'\nsource = {{ virtual = '.' }}\ndependencies = [\n\
         {{ name = 'one', extra = ['x'] }},\n{{ name = 'win', marker = \"sys_platform == 'win32'\" }},\n\
         {{ name = 'two', version = '1.0', source = {{ registry = 'r' }}, marker = \"python_full_version < '3.12'\" }},\n\
         {{ name = 'two', version = '2.0', source = {{ registry = 'r' }}, marker = \"python_full_version >= '3.12'\" }},\n]\n\
         [package.dev-dependencies]\ndev = [{{ name = 'win' }}]\n\
         [[package]]\nname = 'one'\nversion = '1.0'\nsource = {{ registry = 'r' }}\nwheels = [\n{}{}]\n\
         [package.optional-dependencies]\nx = [{{ name = 'three' }}]\ny = [{{ name = 'win' }}]\n\
         [[package]]\nname = 'two'\nversion = '1.0'\nsource = {{ registry = 'r' }}\nresolution-markers = [\"python_full_version < '3.12'\"]\nwheels = [\n{}]\n\
         [[package]]\nname = 'two'\nversion = '2.0'\nsource = {{ registry = 'r' }}\nwheels = [\n{}]\n\
         [[package]]\nname = 'three'\nversion = '1.0'\nsource = {{ registry = 'r' }}\nsdist = {{ url = 'https://h.example/three-1.0.tar.gz' }}\n\
         [[package]]\nname = 'win'\nversion = '1.0'\nsource = {{ git = 'https://h.example/win' }}\n",
        wheel("one-1.0", "cp313-cp313-win_amd64"),
        wheel("one-1.0", "py3-none-any"),
        wheel("two-1.0", "py3-none-any"),
        wheel("two-2.0", "py3-none-any"),
    )
}

#[test]
fn uv_locks_are_walked_for_their_environment() {
    let named = |python| files(LockKind::Uv, &uv_lock(), python).unwrap();
    assert_eq!(named("3.13.5"), ["one-1.0-py3-none-any.whl", "three-1.0.tar.gz", "two-2.0-py3-none-any.whl"]);
    assert_eq!(named("3.11.2")[2], "two-1.0-py3-none-any.whl");
}

fn poetry(version: &str, package: &str) -> String {
    let files = |name: &str| format!("files = [{{file = '{name}-1.0-py3-none-any.whl', hash = 'sha256:{A}'}}]\n");
    format!(
        "[[package]]\nname = 'app'\nversion = '1.0'\noptional = false\n{package}{}[package.dependencies]\nDep = '*'\n\
         win = {{version = '*', markers = \"sys_platform == 'win32'\"}}\n\
         [[package]]\nname = 'dep'\nversion = '1.0'\noptional = false\n{package}{}\
         [[package]]\nname = 'win'\nversion = '1.0'\noptional = false\n{package}markers = \"sys_platform == 'win32'\"\n{}\
         [[package]]\nname = 'more'\nversion = '1.0'\noptional = true\n{package}{}\
         [metadata]\nlock-version = '{version}'\npython-versions = '>=3.9,<4'\n",
        files("app"),
        files("dep"),
        files("win"),
        files("more"),
    )
}

#[test]
fn poetry_locks_are_read_old_and_new() {
    let named = |text: &str| files(LockKind::Poetry, text, "3.13.5").unwrap();
    let expected = ["app-1.0-py3-none-any.whl", "dep-1.0-py3-none-any.whl"];
    assert_eq!(named(&poetry("2.1", "groups = ['main']\n")), expected);
    let old = poetry("1.1", "").replace("markers = \"sys_platform == 'win32'\"\n", "");
    assert_eq!(named(&old), expected);
    assert!(named(&poetry("2.1", "groups = ['dev']\n")).is_empty());
}

#[test]
fn locks_that_cannot_be_used_are_refused() {
    use LockKind::{Poetry, Pylock, Uv};
    let new = poetry("2.1", "groups = ['main']\n");
    for (kind, text, expected) in [
        (Pylock, pylock().replace("'1.0'\nenv", "'2.0'\nenv"), "this kiln knows version 1"),
        (Pylock, pylock().replace("'linux'", "'darwin'"), "none of its environments"),
        (Pylock, pylock().replace(">=3.9", ">=3.14"), "is for Python >=3.14"),
        (Pylock, pylock().replace("url = 'https://h.example/1'", "path = '../../etc/passwd'"), "from a path"),
        (Pylock, pylock().replace("https://h.example/1'", "file:///etc/passwd'"), "`file` of b-c cannot be locked"),
        (Pylock, pylock().replace(A, "00"), "is not a SHA-256 digest"),
        (Pylock, pylock().replace("python_version >= '3.10'", "'x' in extras"), "is no marker that is understood"),
        (Pylock, pylock().replace("a-2%2B1.tar.gz", "b-2.tar.gz"), "no version of a"),
        (Pylock, pylock().replace("[packages.sdist]", "[packages.vcs]"), "from a repository"),
        (Pylock, pylock().replace("'a'", "'b_c'\nversion = '1.0'").replace("a-2%2B1", "b_c-1.0"), "pinned twice"),
        (Uv, uv_lock().replace("sys_platform == 'win32'", "os_name == 'posix'"), "from a git"),
        (Uv, uv_lock().replace("version = 1\nrev", "version = 2\nrev"), "its version is 2"),
        (Uv, uv_lock().replace("three-1.0", "three-2.0"), "of another version"),
        (Uv, uv_lock().replace("{ virtual = '.' }", "{ registry = 'r' }"), "no project of its own"),
        (Uv, uv_lock().replace("name = 'three' }", "name = 'four' }"), "the lock has no four"),
        (Uv, uv_lock().replace("py3-none-any", "cp39-cp39-win32"), "no file of one 1.0"),
        (Poetry, new.replace("lock-version = '2.1'", "lock-version = '3.0'"), "knows versions 1 and 2"),
        (Poetry, new.replace("'app-1.0", "'../app-1.0"), "from a path"),
        (Poetry, format!("{new}[[package]]\nname = 'z'\nversion = '1'\nsource = {{type = 'git'}}\n"), "from a git"),
        (Poetry, "[[package]".to_owned(), "reading poetry.lock"),
    ] {
        let error = kind.parse(&text, &target("3.13.5")).unwrap_err();
        assert!(error.to_string().contains(expected), "{expected}: {error}");
    }
}

#[test]
fn kinds_are_told_by_their_names() {
    assert_eq!(LockKind::of("pylock.web.toml"), Some(LockKind::Pylock));
    assert_eq!(LockKind::of("uv.lock"), Some(LockKind::Uv));
    assert_eq!(LockKind::of("package-lock.json"), None);
}

proptest! {
    /// Locks that are cut off or garbled anywhere are read or refused.
    #[test]
    fn nothing_makes_it_panic(at in 0..3000_usize, length in 0..20_usize, put in "[\\[\\]{}='\"a-z0-9\n./:]{0,6}") {
        for (kind, text) in [
            (LockKind::Pylock, pylock()),
            (LockKind::Uv, uv_lock()),
            (LockKind::Poetry, poetry("2.1", "groups = ['main']\n")),
            (LockKind::Poetry, poetry("1.1", "")),
        ] {
            let at = at % text.len();
            let garbled = format!("{}{put}{}", &text[..at], &text[(at + length).min(text.len())..]);
            let _ = kind.parse(&garbled, &target("3.13.5"));
            let _ = kind.parse(&text[..at], &target("3.13.5"));
        }
    }
}
