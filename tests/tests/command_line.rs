//! Every command of the command line, from its words to its exit code, on a Dray in memory that works.

use std::path::Path;
use std::time::{Duration, Instant};

use local::Exit;
use tests::world::World;
use tokio::net::TcpListener;

/// A running Dray, and a folder for files.
struct Dray<'a> {
    url: &'a str,
    folder: &'a Path,
}

/// What a command said.
struct Said {
    out: String,
    err: String,
}

impl Dray<'_> {
    /// What the command says, which must end so. `words` are split at spaces; a word with a space in it follows by itself.
    async fn says(&self, exit: Exit, words: &str, more: &[&str]) -> Said {
        let words = ["dray"].into_iter().chain(words.split(' ')).chain(more.iter().copied());
        let words: Vec<_> = words.chain(["--url", self.url]).collect();
        let (mut out, mut err) = (vec![], vec![]);
        let ended = local::run_command(words.iter().copied(), &mut out, &mut err).await;
        let text = |bytes| String::from_utf8(bytes).expect("text");
        let said = Said { out: text(out), err: text(err) };
        assert_eq!(ended, exit, "{words:?}\n{}\n{}", said.out, said.err);
        said
    }

    /// The same of one that is done, and has nothing to complain about: what it says on standard output.
    async fn does(&self, words: &str, more: &[&str]) -> String {
        let said = self.says(Exit::Done, words, more).await;
        assert_eq!(said.err, "", "{words} {more:?}");
        said.out
    }

    /// The API's own answer.
    async fn body(&self, path: &str) -> String {
        let answer = reqwest::get(format!("{}{path}", self.url)).await.expect("answers");
        answer.text().await.expect("text")
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.join(name);
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    }
}

fn first_line(out: &str) -> String {
    out.lines().next().expect("a line").to_owned()
}

/// Runs the script while the world's clock goes on and its worker does its part.
async fn on_a_working_dray(script: impl AsyncFnOnce(Dray<'_>)) {
    let world = World::new();
    let folder = tempfile::tempdir().expect("a folder");
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::select! {
        served = axum::serve(listener, world.router.clone()).into_future() => panic!("{served:?}"),
        () = live(&world) => {}
        () = script(Dray { url: &url, folder: folder.path() }) => {}
    }
}

async fn live(world: &World) {
    let mut seen = Instant::now();
    loop {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let now = Instant::now();
        world.clock.advance(now - seen);
        seen = now;
        while world.deliver().await > 0 {}
    }
}

#[tokio::test]
async fn jobs_are_submitted_looked_at_and_acted_on() {
    on_a_working_dray(async |dray: Dray<'_>| {
        let alice = r#"{"name":"Alice","score":95}"#;
        let out = dray.does("jobs submit csv-generation", &[alice, "--tag", "red", "--key", "k", "--wait"]).await;
        let id = first_line(&out);
        assert!(out.lines().nth(1).is_some_and(|line| line.starts_with("completed  attempt 1 of 3, ")), "{out}");
        assert_eq!(dray.does("jobs submit csv-generation", &[alice, "--tag", "red", "--key", "k"]).await.trim(), id);

        for (words, path) in [("jobs get", ""), ("jobs why", "/why")] {
            let own = format!("{}\n", dray.body(&format!("/jobs/{id}{path}")).await);
            assert_eq!(dray.does(words, &[&id, "--json"]).await, own);
        }
        let events = dray.does("jobs get --events --json", &[&id]).await;
        let body = dray.body(&format!("/jobs/{id}/events")).await;
        assert!(body.contains(&events.trim().replace(",\n", ",")), "{events}\n{body}");
        assert!(dray.does("jobs get", &[&id]).await.contains(r#"payload    {"name":"Alice","score":95}"#));
        assert!(dray.does("jobs get --events", &[&id]).await.contains("completed         attempt 1"));
        assert!(dray.does("jobs watch", &[&id]).await.contains("accepted"));
        assert_eq!(dray.does("jobs why", &[&id]).await, "completed: it is completed\n");
        let copy = dray.does("jobs duplicate", &[&id, r#"{"name":"Bob"}"#, "--wait"]).await;
        let copy = first_line(&copy);
        assert!(dray.does("jobs get", &[&copy]).await.contains(&format!("copy of    {id}")));

        let list = "jobs list --status completed,failed --type csv-generation --created-after 2027-01-01T00:00:00Z";
        assert_eq!(dray.does(list, &["--tag", "red"]).await.lines().count(), 3);
        assert_eq!(dray.does(list, &["--limit", "1"]).await.lines().count(), 2);
        assert_eq!(dray.does(list, &["--created-before", "2027-01-02T00:00:00Z"]).await, "no jobs\n");
        let page = dray.body("/jobs?limit=100").await;
        let all = dray.does("jobs list --all --json", &[]).await;
        assert!(page.contains(&all.trim().replace(",\n{", ",{")), "{all}\n{page}");

        let bad = r#"{"attempts":["give_up"]}"#;
        let failed = first_line(&dray.says(Exit::Refused, "jobs submit rehearsal", &[bad, "--wait"]).await.out);
        assert_eq!(dray.does("jobs retry --attempts 1", &[&failed]).await, format!("{failed} is pending\n"));
        assert!(dray.says(Exit::Refused, "jobs watch", &[&failed]).await.out.contains("told to give up"));

        let later = first_line(&dray.does("jobs submit csv-generation {\"a\":1} --delay 1h", &[]).await);
        let refused = dray.says(Exit::Refused, "jobs delete", &[&later]).await;
        assert!(refused.out.is_empty() && refused.err.contains("(wrong_status, request "), "{}", refused.err);
        for time in [["--delay", "2h"], ["--at", "2027-02-01T00:00:00Z"]] {
            let said = dray.does("jobs reschedule", &[&later, time[0], time[1]]).await;
            assert_eq!(said, format!("{later} is pending\n"));
        }
        assert!(dray.does("jobs why", &[&later]).await.contains("until 2027-02-01 00:00:00"));
        assert_eq!(dray.does("jobs cancel", &[&later]).await, format!("{later} is cancelled\n"));
        assert_eq!(dray.does("jobs delete", &[&later]).await, format!("{later} is deleted\n"));
        let gone = dray.says(Exit::Refused, "jobs get", &[&later]).await;
        assert!(gone.err.starts_with("dray: there is no job with this id (not_found, request "), "{}", gone.err);
        assert!(dray.does("jobs delete", &[&id]).await.ends_with(" deletes its files\n"));
        assert_eq!(dray.does("jobs delete --json", &[&copy]).await, "");
    })
    .await;
}

#[tokio::test]
async fn many_jobs_are_submitted_cancelled_and_tried_again() {
    on_a_working_dray(async |dray: Dray<'_>| {
        let good = r#"{"type":"csv-generation","payload":{"a":1},"delay_seconds":3600,"tags":["later"]}"#;
        let fails = r#"{"type":"rehearsal","payload":{"attempts":["give_up"]},"tags":["bad"]}"#;
        let none = r#"{"type":"csv-generation","payload":{},"color":"red"}"#;
        let file = dray.file("jobs.ndjson", &[good, none, good, fails].join("\n"));
        let said = dray.says(Exit::Refused, "jobs batch", &[&file, "--key", "k"]).await;
        assert_eq!(said.out.lines().count(), 3);
        assert!(said.err.starts_with("dray: job 2: `jobs[1].color` ") && said.err.contains("(invalid_field)"));
        let file = dray.file("jobs.json", &format!("[{good},{good},{fails}]"));
        let again = dray.does("jobs batch", &[&file]).await;
        let failed = again.lines().next_back().expect("an id");
        dray.says(Exit::Refused, "jobs watch", &[failed]).await;

        let counted = dray.does("jobs cancel-all --tag later --dry-run", &[]).await;
        assert_eq!(counted, "4 matched, and nothing was changed\n");
        assert_eq!(dray.does("jobs cancel-all --tag later --limit 3", &[]).await, "3 matched, 3 changed, 0 skipped\n");
        let rest = dray.does("jobs cancel-all --tag later --status pending,processing --json", &[]).await;
        let rest: Vec<_> = rest.lines().collect();
        assert!(rest.len() == 2 && rest[0].starts_with(r#"{"dry_run":false,"matched":1,"changed":1,"#), "{rest:?}");
        let retried = dray.does("jobs retry-all --type rehearsal --tag bad --per-second 50", &[]).await;
        assert_eq!(retried, "2 matched, 2 changed, 0 skipped\n");
        let refused = dray.says(Exit::Refused, "jobs retry-all", &[]).await;
        assert!(refused.err.contains("`filter` must say something"), "{}", refused.err);
    })
    .await;
}

#[tokio::test]
async fn schedules_subscriptions_and_events_are_made_shown_and_deleted() {
    on_a_working_dray(async |dray: Dray<'_>| {
        let put = "schedules put nightly --type csv-generation --time-zone Europe/Berlin --tag x --cron";
        assert!(dray.does(put, &["0 2 * * *", "--payload", r#"{"b":1,"a":2}"#]).await.contains("next run   2027-"));
        let own = format!("{}\n", dray.body("/schedules/nightly").await);
        assert_eq!(dray.does("schedules show nightly --json", &[]).await, own);
        let file =
            dray.file("schedule.json", r#"{"cron":"0 3 * * *","job":{"type":"csv-generation","payload":{"a":1}}}"#);
        assert!(dray.does("schedules put hourly --from", &[&file]).await.contains("cron       0 3 * * *"));
        assert_eq!(dray.does("schedules list", &[]).await.lines().count(), 3);
        assert_eq!(dray.does("schedules list --json", &[]).await.lines().count(), 2);
        assert!(dray.does("schedules pause nightly", &[]).await.ends_with("none: it is paused\n"));
        assert!(dray.does("schedules resume nightly", &[]).await.contains("next run   2027-"));
        assert!(dray.does("schedules run nightly --wait", &[]).await.contains("\ncompleted  attempt 1 of 3, "));
        for name in ["nightly", "hourly"] {
            assert_eq!(dray.does("schedules delete", &[name]).await, format!("{name} is deleted\n"));
        }
        assert_eq!(dray.does("schedules list", &[]).await, "no schedules\n");
        assert!(dray.says(Exit::Refused, "schedules show nightly", &[]).await.err.contains("(not_found, request "));

        let put = "subscriptions put orders --event-type order.created --type csv-generation --payload";
        assert!(dray.does(put, &[r#"{"name":"{{data.name}}"}"#]).await.contains("event         order.created"));
        let own = format!("{}\n", dray.body("/subscriptions/orders").await);
        assert_eq!(dray.does("subscriptions show orders --json", &[]).await, own);
        let publish = "events publish order.created --id 7";
        let published = dray.does(publish, &[r#"{"name":"Ada"}"#]).await;
        assert!(published.starts_with("event 7\n") && published.lines().count() == 3, "{published}");
        assert!(dray.does(publish, &[r#"{"name":"Ada"}"#]).await.contains("there before"));
        let unfit = dray.says(Exit::Refused, "events publish order.created {}", &[]).await;
        assert!(unfit.out.ends_with("no jobs\n") && unfit.err.starts_with("dray: orders has no job: "));
        assert_eq!(dray.does("subscriptions list", &[]).await.lines().count(), 2);
        assert_eq!(dray.does("subscriptions delete orders", &[]).await, "orders is deleted\n");
        assert_eq!(dray.does("subscriptions list --json", &[]).await, "[]\n");
    })
    .await;
}

#[tokio::test]
async fn the_deployment_as_a_whole_is_looked_at() {
    on_a_working_dray(async |dray: Dray<'_>| {
        assert!(dray.does("queue show", &[]).await.starts_with("jobs are started"));
        assert!(dray.does("queue pause", &[]).await.starts_with("paused: no job is started"));
        assert!(dray.does("queue show --json", &[]).await.starts_with(r#"{"paused":true,"#));
        assert!(dray.does("queue resume", &[]).await.starts_with("jobs are started"));
        assert!(dray.does("health", &[]).await.starts_with("status        ok\n"));
        assert!(dray.does("health --json", &[]).await.starts_with(r#"{"status":"ok","#));
        assert!(dray.does("stats --window 24h", &[]).await.contains("\nall "));
        assert!(dray.does("stats --json", &[]).await.contains(r#""window":"1h""#));
        assert!(dray.does("completions bash", &[]).await.contains("retry-all"));

        let id = first_line(&dray.does("jobs submit csv-generation", &[r#"{"a":1}"#]).await);
        std::fs::create_dir(dray.folder.join("logs")).expect("a folder");
        let line = format!(r#"{{"timestamp":"2027-01-15T08:00:00.250Z","message":"job.accepted","job.id":"{id}"}}"#);
        dray.file("logs/api.log", &format!("{line}\n"));
        let data_dir = dray.folder.display().to_string();
        assert_eq!(dray.does("jobs logs --json", &[&id, "--data-dir", &data_dir]).await, format!("{line}\n"));
        assert!(dray.does("jobs logs", &[&id, "--data-dir", &data_dir]).await.starts_with("08:00:00.250  accepted "));
        let nobody = "01938e5c-7a00-7000-8000-000000000000";
        dray.says(Exit::Refused, "jobs logs", &[nobody, "--data-dir", &data_dir]).await;
        dray.says(Exit::Usage, "jobs logs --data-dir /nowhere", &[&id]).await;
    })
    .await;
}

#[tokio::test]
async fn where_no_answer_comes_the_exit_code_is_another() {
    let nobody = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let url = format!("http://{}", nobody.local_addr().expect("an address"));
    drop(nobody);
    let dray = Dray { url: &url, folder: Path::new("/nowhere") };
    for words in ["health", "queue show", "jobs list"] {
        let said = dray.says(Exit::NoAnswer, words, &[]).await;
        assert!(said.out.is_empty() && said.err.starts_with(&format!("dray: no answer from {url} (")), "{}", said.err);
    }
    dray.says(Exit::Usage, "jobs get 42", &[]).await;
    let no_json = dray.says(Exit::Usage, "jobs submit csv-generation {", &[]).await;
    assert!(no_json.err.starts_with("dray: the payload is not JSON: "), "{}", no_json.err);
}
