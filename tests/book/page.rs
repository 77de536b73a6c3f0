//! Reading a page: its blocks of commands with what they print, and its hidden set-up.
//!
//! In a block marked `console`, a line that begins with `$ ` is a command. It goes on after a line that ends with `\`
//! and to the end of a here-document. The lines up to the next command are what it prints, standard output and standard
//! error together. A comment of Markdown that begins with `test:` is run as well, and only has to succeed.

use std::fs;

/// What is run, in the order of the page.
#[derive(Debug)]
pub struct Page {
    pub path: String,
    pub steps: Vec<Step>,
}

#[derive(Debug)]
pub struct Step {
    /// Where it begins, from 1.
    pub line: usize,
    pub command: String,
    /// What the page says that it prints; `None` for hidden set-up.
    pub printed: Option<Vec<String>>,
}

impl Page {
    /// A page by its path in the repository.
    pub fn read(path: &str) -> Self {
        let text = fs::read_to_string(super::root().join(path)).unwrap();
        Self { path: path.to_owned(), steps: steps(&text).unwrap_or_else(|error| panic!("{path}:{error}")) }
    }
}

/// What is to be run; an error begins with its line.
fn steps(text: &str) -> Result<Vec<Step>, String> {
    let mut steps: Vec<Step> = Vec::new();
    let mut lines = text.lines().enumerate().map(|(number, line)| (number + 1, line));
    while let Some((number, line)) = lines.next() {
        if let Some(start) = line.strip_prefix("<!-- test:") {
            let mut command = start.to_owned();
            while !command.trim_end().ends_with("-->") {
                let (_, line) = lines.next().ok_or(format!("{number}: the comment does not end"))?;
                command = format!("{command}\n{line}");
            }
            let command = command.trim_end().trim_end_matches("-->").trim().to_owned();
            steps.push(Step { line: number, command, printed: None });
        } else if let Some(language) = line.strip_prefix("```") {
            let mut block = Vec::new();
            loop {
                let (inside, line) = lines.next().ok_or(format!("{number}: the block does not end"))?;
                if line.starts_with("```") {
                    break;
                }
                block.push((inside, line));
            }
            if language == "console" {
                steps.extend(console(&block)?);
            }
        }
    }
    Ok(steps)
}

fn console(block: &[(usize, &str)]) -> Result<Vec<Step>, String> {
    let mut steps: Vec<Step> = Vec::new();
    let mut lines = block.iter().copied();
    while let Some((number, line)) = lines.next() {
        let Some(command) = line.strip_prefix("$ ") else {
            let step = steps.last_mut().ok_or(format!("{number}: the block begins with no command"))?;
            step.printed.get_or_insert_default().push(line.to_owned());
            continue;
        };
        let mut command = command.to_owned();
        let end = here_document(&command);
        while end.is_some() || command.ends_with('\\') {
            let (_, line) = lines.next().ok_or(format!("{number}: the command does not end"))?;
            command = format!("{command}\n{line}");
            if end.as_deref() == Some(line) {
                break;
            }
        }
        steps.push(Step { line: number, command, printed: Some(Vec::new()) });
    }
    Ok(steps)
}

/// The line that ends the here-document which a command begins.
fn here_document(command: &str) -> Option<String> {
    let (_, rest) = command.split_once("<<")?;
    Some(rest.trim_start_matches(['\'', '"', ' ']).chars().take_while(|one| one.is_alphanumeric()).collect())
}

#[test]
fn commands_go_on_and_print() {
    let text = "text\n<!-- test: set up\nmore -->\n```console\n$ one \\\n    two\na\n…\n$ cat > f <<'END'\n$ no command\nEND\n```\n```text\n$ not run\n```\n";
    let found: Vec<(usize, String, Option<String>)> = steps(text)
        .unwrap()
        .into_iter()
        .map(|step| (step.line, step.command, step.printed.map(|lines| lines.join("|"))))
        .collect();
    assert_eq!(
        found,
        [
            (2, "set up\nmore".to_owned(), None),
            (5, "one \\\n    two".to_owned(), Some("a|…".to_owned())),
            (9, "cat > f <<'END'\n$ no command\nEND".to_owned(), Some(String::new())),
        ]
    );
    assert_eq!(steps("```console\nprinted\n```\n").unwrap_err(), "2: the block begins with no command");
    assert_eq!(steps("```console\n$ a\n").unwrap_err(), "1: the block does not end");
}
