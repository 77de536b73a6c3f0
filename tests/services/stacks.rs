//! The services whose dependencies come from everywhere at once, and those that need one another.

use std::path::Path;

use rustix::process::Signal;

use crate::engines::Podman;
use crate::workspace::{Folder, Service, in_private_network, real, succeed, workspace};
use crate::{ask, kiln_run_named, layout};

/// What a client of the workers does: one task of each kind.
const TASKS: &str = "\
import tasks
jobs = [tasks.transcode.delay(), tasks.edges.delay(), tasks.render.delay('<h1>hello</h1>'),
        tasks.fetch.delay('http://127.0.0.1:8080/')]
for job in jobs:
    print(job.get(timeout=90))
";

/// What Hive is asked.
const QUERY: &str = "\
DROP TABLE IF EXISTS visits; CREATE TABLE visits (page string, n int) STORED AS PARQUET; \
INSERT INTO visits VALUES ('a', 1), ('b', 2), ('a', 3); \
SELECT page, sum(n) AS total FROM visits GROUP BY page ORDER BY page;";

/// What a command prints that `kiln run` runs in an environment.
fn client(environment: &str, command: &[&str]) -> String {
    succeed(workspace().kiln().args(["run", environment, "--network", "--"]).args(command))
}

fn wait_for(service: &mut Service, words: &str) {
    let log = service.log().to_owned();
    service.ask(|| std::fs::read_to_string(&log).ok().filter(|text| text.contains(words)).map(drop));
}

#[test]
fn rails_greets_by_name() {
    if !real("rails_greets_by_name") {
        return;
    }
    workspace();
    let folder = Folder::new("frontend");
    in_private_network(|| {
        let mut frontend = kiln_run_named("frontend", &[], &[], folder.path());
        ask::greets_by_name(&mut frontend);
        assert_eq!(frontend.stop(Signal::QUIT).code(), Some(0));

        let podman = Podman::new(folder.path());
        let mut frontend = podman.run("frontend", &layout("frontend", folder.path()), &[], &[]);
        ask::greets_by_name(&mut frontend);
        podman.stop("frontend", frontend);
    });
}

#[test]
fn workers_transcode_find_edges_and_render() {
    if !real("workers_transcode_find_edges_and_render") {
        return;
    }
    workspace();
    let folder = Folder::new("workers");
    in_private_network(|| {
        let mut queue = kiln_run_named("queue", &[], &[], folder.path());
        let mut website = kiln_run_named("website", &[], &[], folder.path());
        ask::keeps_a_key(&mut queue, "for-the-workers");
        let mut workers = kiln_run_named("workers", &[], &[], folder.path());
        wait_for(&mut workers, " ready.");
        ask::do_their_tasks(&client("workers", &["python3", "-c", TASKS]));
        workers.stop(Signal::TERM);

        let podman = Podman::new(folder.path());
        let image = layout("workers", folder.path());
        let mut workers = podman.run("workers", &image, &[], &[]);
        wait_for(&mut workers, " ready.");
        ask::do_their_tasks(&podman.client(&image, &["python3", "-c", TASKS]));
        podman.stop("workers", workers);
        website.end();
        queue.end();
    });
}

#[test]
fn the_api_reads_the_user_database_and_counts_in_the_queue() {
    if !real("the_api_reads_the_user_database_and_counts_in_the_queue") {
        return;
    }
    workspace();
    let folder = Folder::new("api");
    in_private_network(|| {
        let password = format!("POSTGRES_PASSWORD={}", ask::PASSWORD);
        let mut queue = kiln_run_named("queue", &[], &[], folder.path());
        let mut userdb = kiln_run_named("userdb", &["-e", &password], &[], folder.path());
        ask::is_given_a_user(&mut userdb);
        let address = format!("DATABASE_URL=dbname=postgres host=127.0.0.1 user=postgres password='{}'", ask::PASSWORD);
        let mut api = kiln_run_named("api", &["-e", &address], &[], folder.path());
        ask::tells_the_user(&mut api, 1);
        api.end();

        let podman = Podman::new(folder.path());
        let mut api = podman.run("api", &layout("api", folder.path()), &["-e", &address], &[]);
        ask::tells_the_user(&mut api, 2);
        api.end();
        userdb.end();
        queue.end();
    });
}

#[test]
fn hive_sums_up() {
    if !real("hive_sums_up") {
        return;
    }
    workspace();
    let folder = Folder::new("analytics");
    in_private_network(|| {
        let data = folder.path().join("data");
        std::fs::create_dir(&data).unwrap();
        let volume = format!("{}:/var/lib/hive:U", data.display());
        let beeline = ["/opt/spark/bin/beeline", "-u", "jdbc:hive2://127.0.0.1:10000", "-n", "hive", "-e", QUERY];
        let mut hive = kiln_run_named("analytics", &["-v", &volume], &[], folder.path());
        wait_for(&mut hive, "HiveThriftServer2 started");
        ask::sums_up(&client("analytics", &beeline));
        hive.end();

        let podman = Podman::new(folder.path());
        let image = layout("analytics", folder.path());
        let mut hive = podman.run("analytics", &image, &[], &[]);
        wait_for(&mut hive, "HiveThriftServer2 started");
        ask::sums_up(&podman.client(&image, &beeline));
        hive.end();
    });
}

#[test]
fn a_follower_takes_over_from_a_queue_that_dies() {
    if !real("a_follower_takes_over_from_a_queue_that_dies") {
        return;
    }
    workspace();
    let folder = Folder::new("failover");
    in_private_network(|| {
        let run = |name: &str, command: &[&str]| {
            let place = folder.path().join(name);
            std::fs::create_dir(&place).unwrap();
            kiln_run_named("queue", &[], command, Path::new(&place))
        };
        let mut first = run("first", &[]);
        ask::keeps_a_key(&mut first, "before");
        let mut second =
            run("second", &["redis-server", "--port", "6380", "--replicaof", "127.0.0.1", "6379", "--dir", "/tmp"]);
        ask::follows(&mut second, 6380);
        let watch = "printf 'protected-mode no\\nsentinel monitor queue 127.0.0.1 6379 1\\n\
             sentinel down-after-milliseconds queue 1000\\nsentinel failover-timeout queue 5000\\n' > /tmp/s.conf; \
             exec redis-sentinel /tmp/s.conf";
        let mut sentinel = run("sentinel", &["sh", "-c", watch]);
        ask::leads(&mut sentinel, 6379);
        ask::knows_a_follower(&mut sentinel);
        // It dies without a word.
        drop(first);
        ask::leads(&mut sentinel, 6380);
        ask::has_taken_over(&mut second, 6380, "before");
        sentinel.end();
        second.end();
    });
}
