//! What the services are asked, and what they must answer.
#![allow(dead_code, reason = "each test file uses its part")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;
use std::time::Duration;

use crate::workspace::Service;

/// The password given to PostgreSQL at its first start.
pub const PASSWORD: &str = "correct horse";

/// Sends `request` to a port of loopback; what comes back until `enough` of it is there.
fn exchange(port: u16, request: &[u8], enough: impl Fn(&[u8]) -> bool) -> Option<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream.write_all(request).ok()?;
    let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
    while !enough(&answer) {
        match stream.read(&mut buffer).ok()? {
            0 => break,
            count => answer.extend_from_slice(&buffer[..count]),
        }
    }
    Some(String::from_utf8_lossy(&answer).into_owned())
}

/// One command in Redis' protocol, inline; its answer, which must end with `end`.
fn redis(port: u16, command: &str, end: &str) -> Option<String> {
    exchange(port, format!("{command}\r\n").as_bytes(), |answer| answer.ends_with(end.as_bytes()))
}

/// Redis keeps a key.
pub fn keeps_a_key(service: &mut Service, value: &str) {
    service.ask(|| redis(6379, "PING", "\r\n").filter(|answer| answer == "+PONG\r\n"));
    assert_eq!(redis(6379, &format!("SET baked {value}"), "\r\n").unwrap(), "+OK\r\n");
    has_the_key(service, value);
}

/// Redis has the key that an earlier start was given.
pub fn has_the_key(service: &mut Service, value: &str) {
    service.ask(|| redis(6379, "PING", "\r\n").filter(|answer| answer == "+PONG\r\n"));
    let expected = format!("${}\r\n{value}\r\n", value.len());
    assert_eq!(redis(6379, "GET baked", &format!("{value}\r\n")).unwrap(), expected);
}

/// redis-sentinel answers, and says that it is one.
pub fn is_a_sentinel(service: &mut Service) {
    service.ask(|| redis(26379, "PING", "\r\n").filter(|answer| answer == "+PONG\r\n"));
    let role = redis(26379, "ROLE", "sentinel\r\n*0\r\n").unwrap();
    assert!(role.starts_with("*2\r\n$8\r\nsentinel"), "{role:?}");
}

/// The status and the whole of what a request for `path` gets.
fn http_at(port: u16, path: &str) -> Option<String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    exchange(port, request.as_bytes(), |_| false).filter(|answer| answer.starts_with("HTTP/1."))
}

fn http(path: &str) -> Option<String> {
    http_at(8080, path)
}

/// nginx gives its page, and modsecurity refuses a script in an argument.
pub fn gives_its_page_and_refuses_scripts(service: &mut Service) {
    let page = service.ask(|| http("/"));
    assert!(page.starts_with("HTTP/1.1 200 ") && page.contains("<h1>Baked by kiln</h1>"), "{page}");
    let style = http("/node_modules/bootstrap/bootstrap-2.3.2.min.css").unwrap();
    assert!(style.starts_with("HTTP/1.1 200 ") && style.contains(".hero-unit"), "{:.300}", style);
    let harmless = http("/?q=%3Cb%3E").unwrap();
    assert!(harmless.starts_with("HTTP/1.1 200 "), "{harmless}");
    for attack in ["/?q=<script>alert(1)</script>", "/?q=%3Cscript%3E"] {
        let refused = http(attack).unwrap();
        assert!(refused.starts_with("HTTP/1.1 403 "), "{attack}: {refused}");
    }
}

/// What PostgreSQL answers to a query; `None` while it does not answer at all.
fn query(sql: &str) -> Option<String> {
    let output = Command::new("psql")
        .env("PGPASSWORD", PASSWORD)
        .args(["--host=127.0.0.1", "--username=postgres", "--no-password", "-qAtc", sql])
        .output()
        .unwrap();
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// PostgreSQL keeps a row.
pub fn keeps_a_row(service: &mut Service) {
    service.ask(|| query("SELECT 1"));
    query("CREATE TABLE kept (value text)").expect("a table is made");
    query("INSERT INTO kept VALUES ('a row')").expect("a row is written");
    has_the_row(service);
}

/// PostgreSQL has the row that an earlier start was given, and lets nobody in without the password.
pub fn has_the_row(service: &mut Service) {
    assert_eq!(service.ask(|| query("SELECT value FROM kept")), "a row");
    let refused = Command::new("psql")
        .env("PGPASSWORD", "wrong")
        .args(["--host=127.0.0.1", "--username=postgres", "--no-password", "-c", "SELECT 1"])
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("password authentication failed"), "{refused:?}");
}

/// What redis answers to a command, as the last line of it.
fn redis_says(port: u16, command: &[&str]) -> Option<String> {
    let output = Command::new("redis-cli").args(["-p", &port.to_string()]).args(command).output().unwrap();
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// redis at `port` knows that it follows another and has all that it has.
pub fn follows(service: &mut Service, port: u16) {
    service.ask(|| redis_says(port, &["INFO", "replication"]).filter(|text| text.contains("master_link_status:up")));
}

/// The sentinel says that the one at `port` is to be written to.
pub fn leads(service: &mut Service, port: u16) {
    let ask = ["SENTINEL", "get-master-addr-by-name", "queue"];
    service.ask(|| redis_says(26379, &ask).filter(|text| text.ends_with(&port.to_string())));
}

/// The sentinel knows of one that follows.
pub fn knows_a_follower(service: &mut Service) {
    let ask = ["SENTINEL", "master", "queue"];
    let field = |text: &str| text.lines().skip_while(|line| *line != "num-slaves").nth(1).map(str::to_owned);
    service.ask(|| redis_says(26379, &ask).filter(|text| field(text).as_deref() == Some("1")));
}

/// Redis at `port` takes a key, and has what the one before it was given.
pub fn has_taken_over(service: &mut Service, port: u16, value: &str) {
    service.ask(|| redis_says(port, &["SET", "after", "failover"]).filter(|answer| answer == "OK"));
    assert_eq!(redis_says(port, &["GET", "baked"]).unwrap(), value);
}

/// A Rails application gives its page, and the style sheet that sass has made of it.
pub fn greets_by_name(service: &mut Service) {
    let page = service.ask(|| http("/?name=Dana"));
    assert!(page.starts_with("HTTP/1.1 200 ") && page.contains("<h1>Hello, Dana!</h1>"), "{page}");
    assert!(page.contains("<p>Rails "), "{page}");
    // What is asked for is text, whatever it looks like.
    assert!(http("/?name=%3Cb%3E").unwrap().contains("Hello, &lt;b&gt;!"));
    let style = http("/style.css").unwrap();
    assert!(style.contains("body h1{color:"), "{style}");
}

/// The user database has a user.
pub fn is_given_a_user(service: &mut Service) {
    service.ask(|| query("SELECT 1"));
    query("CREATE TABLE users (id int PRIMARY KEY, name text)").expect("a table is made");
    query("INSERT INTO users VALUES (1, 'Dana')").expect("a row is written");
}

/// The API endpoint reads the user from the database and counts in the queue, from `count` on.
pub fn tells_the_user(service: &mut Service, count: u32) {
    let answer = service.ask(|| http_at(5000, "/users/1"));
    assert!(answer.contains("\"name\":\"Dana\"") && answer.contains(&format!("\"requests\":{count}")), "{answer}");
    assert_eq!(redis_says(6379, &["GET", "requests:1"]).unwrap(), count.to_string());
    assert!(http_at(5000, "/users/2").unwrap().contains(" 404 "));
}

/// The answers of the workers to one task of each kind, as `client` prints them.
pub fn do_their_tasks(client: &str) {
    let lines: Vec<&str> = client.lines().collect();
    let [.., transcoded, edges, rendered, fetched] = lines[..] else { panic!("{client}") };
    assert_eq!(transcoded, "h264,320,10");
    assert_eq!(edges, "[19, 79]");
    assert_eq!(rendered, "[400, 300]");
    assert!(fetched.starts_with("[200, "), "{fetched}");
}

/// The answer of a query over a table.
pub fn sums_up(client: &str) {
    let rows: Vec<&str> = client.lines().filter(|line| line.starts_with("| ") && !line.contains("total")).collect();
    assert!(rows.ends_with(&["| a     | 4      |", "| b     | 2      |"]), "{client}");
}
