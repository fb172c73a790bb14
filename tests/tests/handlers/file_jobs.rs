//! The job types that are about files, from request to file.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use shared::job::{State, Status};
use shared::values::id::JobId;
use tests::world::World;

/// What the job resulted in, once it is completed.
async fn result_of(world: &World, id: JobId) -> Value {
    while world.deliver().await > 0 {}
    let job = world.job(id).await;
    let State::Completed { result, .. } = &job.state else { panic!("{job:?}") };
    serde_json::from_str(result.as_str()).expect("JSON")
}

#[tokio::test]
async fn a_picture_becomes_a_smaller_one() {
    // A picture of one pixel.
    const PNG: &str =
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
    let world = World::new();
    let payload = json!({ "source": { "base64": PNG }, "width": 10, "height": 10, "format": "webp" });
    let id = world.submit(&json!({ "type": "image-thumbnail", "payload": payload }).to_string()).await;
    let result = result_of(&world, id).await;
    assert_eq!(result, json!({ "file": format!("output/{id}.webp"), "width": 1, "height": 1 }));

    let again = json!({ "source": format!("{id}.webp"), "width": 1, "height": 1, "format": "png" });
    let id = world.submit(&json!({ "type": "image-thumbnail", "payload": again }).to_string()).await;
    assert_eq!(result_of(&world, id).await["file"], format!("output/{id}.png"));

    let none = json!({ "source": "none.png", "width": 1, "height": 1 });
    let id = world.submit(&json!({ "type": "image-thumbnail", "payload": none }).to_string()).await;
    world.deliver().await;
    let job = world.job(id).await;
    assert_eq!((job.status(), job.error.as_deref()), (Status::Failed, Some("there is no such file: none.png")));
}

#[tokio::test]
async fn an_email_takes_along_what_another_job_has_made() {
    let world = World::new();
    let table = world.submit(r#"{"type":"csv-generation","payload":{"name":"Alice"}}"#).await;
    result_of(&world, table).await;
    let email = |files: &[&str]| {
        let attachment = |file: &&str| json!({ "name": "a", "file": file, "content_type": "text/csv; charset=utf-8" });
        let attachments: Vec<_> = files.iter().map(attachment).collect();
        let payload = json!({ "to": "ada@example.com", "bcc": "bob@example.com", "subject": "s", "body": "b",
            "attachments": attachments });
        json!({ "type": "email-send", "payload": payload }).to_string()
    };
    let id = world.submit(&email(&[format!("{table}.csv").as_str()])).await;
    result_of(&world, id).await;
    let message = std::fs::read_to_string(world.folder.path().join(format!("output/mail/{id}.eml"))).expect("a file");
    assert!(message.contains("\r\na2V5LHZhbHVlCm5hbWUsQWxpY2UK\r\n"), "the file in base64: {message}");
    assert!(!message.contains("bob@example.com"), "{message}");

    let large = std::fs::File::create(world.folder.path().join("output/large.bin")).expect("a file");
    large.set_len(4 * 1024 * 1024).expect("space");
    for (files, error) in [
        (&["none.csv"][..], "there is no such file to attach: none.csv"),
        (&["large.bin", "large.bin"][..], "the attachments are together more than 7340032 bytes long"),
    ] {
        let id = world.submit(&email(files)).await;
        world.deliver().await;
        let job = world.job(id).await;
        assert_eq!((job.status(), job.error.as_deref()), (Status::Failed, Some(error)));
    }
}

#[tokio::test]
async fn a_report_says_how_the_jobs_went() {
    let world = World::new();
    for score in 0..3 {
        world.submit(&format!(r#"{{"type":"csv-generation","payload":{{"score":{score}}}}}"#)).await;
    }
    world.submit(r#"{"type":"csv-generation","payload":{"late":1},"delay_seconds":600}"#).await;
    while world.deliver().await > 0 {}
    world.clock.advance(Duration::from_secs(1));
    let id = world.submit(r#"{"type":"report-generation","payload":{"last_hours":1}}"#).await;
    let result = result_of(&world, id).await;
    let files = (result["html"].as_str(), result["csv"].as_str());
    assert_eq!(files, (Some(&*format!("output/{id}.html")), Some(&*format!("output/{id}.csv"))));
    assert_eq!(result["jobs"], 4);
    let read = |extension| std::fs::read_to_string(world.folder.path().join(format!("output/{id}.{extension}")));
    let table = read("csv").expect("a table");
    assert!(table.contains("\ncsv-generation,4,3,0,0,1,3,"), "{table}");
    assert!(read("html").expect("a page").contains("<dt>accepted</dt><dd>4</dd>"));
}

#[tokio::test]
async fn reports_by_the_hour_by_the_day_and_of_nothing_are_pages() {
    let world = World::new();
    for hour in 0..100 {
        for score in 0..=hour % 5 {
            world.submit(&format!(r#"{{"type":"csv-generation","payload":{{"score":{score}}}}}"#)).await;
        }
        if hour % 3 == 0 {
            world.submit(r#"{"type":"rehearsal","payload":{"attempts":["give_up"]}}"#).await;
        }
        if hour % 11 == 0 {
            let later = r#"{"type":"csv-generation","payload":{"late":1},"delay_seconds":30000000}"#;
            let id = world.submit(later).await;
            if hour % 2 == 0 {
                world.post(&format!("/jobs/{id}/cancel"), &[], "").await;
            }
        }
        while world.deliver().await > 0 {}
        world.clock.advance(Duration::from_hours(1));
    }
    let nothing = r#""from":"2020-01-01T00:00:00Z","to":"2020-01-02T00:00:00Z""#;
    for (name, period, expected) in [
        ("hours", r#""last_hours":48"#, "<summary id=\"steps\">By hour"),
        ("days", r#""last_hours":700"#, "<summary id=\"steps\">By day"),
        ("nothing", nothing, "No jobs were accepted"),
    ] {
        let id = world.submit(&format!(r#"{{"type":"report-generation","payload":{{{period}}}}}"#)).await;
        result_of(&world, id).await;
        let page = std::fs::read_to_string(world.folder.path().join(format!("output/{id}.html"))).expect("a page");
        assert!(page.contains(expected), "{name}: {page}");
        // For .ci/browser: what a browser says of it.
        std::fs::write(format!("{}/report-{name}.html", env!("CARGO_TARGET_TMPDIR")), page).expect("writes");
    }
}

#[tokio::test]
async fn old_files_are_cleaned_away() {
    let world = World::new();
    let made = world.submit(r#"{"type":"csv-generation","payload":{"a":1}}"#).await;
    result_of(&world, made).await;
    let file = world.folder.path().join(format!("output/{made}.csv"));
    // The world's clock stands still in 2027, ahead of the machine's.
    let day = Duration::from_hours(24);
    let set = |time| std::fs::File::options().write(true).open(&file).expect("opens").set_modified(time).expect("set");
    let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_800_000_000_000);
    for (age, cleaned) in [(day * 29, 0), (day * 31, 1)] {
        set(now - age);
        let id = world.submit(r#"{"type":"file-cleanup","payload":{"older_than_days":30}}"#).await;
        assert_eq!(result_of(&world, id).await["deleted"], cleaned);
    }
    assert!(!file.exists());
}

#[tokio::test]
async fn a_file_of_many_rows_is_made_in_parts() {
    let world = World::new();
    let id = world.submit(r#"{"type":"rehearsal","payload":{"rows":400000}}"#).await;
    assert_eq!(result_of(&world, id).await, json!({ "attempt": 1, "file": format!("output/{id}.csv") }));
    let file = std::fs::read_to_string(world.folder.path().join(format!("output/{id}.csv"))).expect("a file");
    assert!(file.starts_with("row,square\n1,1\n2,4\n") && file.ends_with("\n400000,160000000000\n"));
}
