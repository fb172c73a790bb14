//! What every place for files must do, as a suite that panics where one does not.

#![expect(clippy::expect_used, reason = "to panic is what a failed contract does")]

use shared::ports::files::{FileError, FileName, SMALLEST_PART};

use super::Outputs;

/// The suite. Needs a place without files whose names start with `contract`; leaves some there.
pub async fn outputs(outputs: &dyn Outputs) {
    a_file_is_written_once_and_reads_back(outputs).await;
    files_are_listed_by_their_names_page_by_page(outputs).await;
    what_is_deleted_is_gone_and_nothing_else(outputs).await;
    a_file_in_parts_is_seen_when_it_is_finished_and_not_before(outputs).await;
    a_file_in_parts_does_not_replace_one_that_is_there(outputs).await;
    missing_parts_make_no_file(outputs).await;
}

async fn a_file_is_written_once_and_reads_back(outputs: &dyn Outputs) {
    let file = name("contract/once.csv");
    assert_eq!(outputs.read(&file, 100).await.expect("answers"), None);
    for content in ["first", "second"] {
        let address =
            outputs.create(file.as_str(), content.into(), "text/csv").await.expect("written, or there already");
        assert!(address.ends_with("/contract/once.csv"), "{address}");
    }
    assert_eq!(outputs.read(&file, 5).await.expect("answers").as_deref(), Some(b"first".as_slice()));
    assert!(matches!(outputs.read(&file, 4).await, Err(FileError::TooLarge(4))));
    outputs.create("contract/empty", vec![], "text/csv").await.expect("written");
    assert_eq!(outputs.read(&name("contract/empty"), 0).await.expect("answers"), Some(vec![]));
}

async fn files_are_listed_by_their_names_page_by_page(outputs: &dyn Outputs) {
    // In the order of their bytes: `-` and `.` come before `/`, and `A` before `a`.
    let sorted = ["contract-list/A", "contract-list/a-b", "contract-list/a.c", "contract-list/a/b", "contract-list/ab"];
    for name in sorted.iter().rev() {
        outputs.create(name, b"12345".to_vec(), "text/plain").await.expect("written");
    }
    for limit in [1, 2, 5, 1000] {
        let (mut listed, mut pages) = (vec![], 0);
        let mut after: Option<String> = None;
        loop {
            let page = outputs.list("contract-list/", after.as_deref(), limit).await.expect("listed");
            assert!(page.files.len() <= limit, "{page:?}");
            listed.extend(page.files);
            pages += 1;
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(listed.iter().map(|file| file.name.as_str()).collect::<Vec<_>>(), sorted, "by {limit}");
        assert!(pages <= sorted.len() + 1, "{pages} pages by {limit}");
        assert!(
            listed.iter().all(|file| file.bytes == 5 && file.modified.as_millis() > 1_700_000_000_000),
            "{listed:?}"
        );
    }
    let page = outputs.list("contract-list/a", Some("contract-list/a.c"), 1000).await.expect("listed");
    assert_eq!(page.files.iter().map(|file| file.name.as_str()).collect::<Vec<_>>(), sorted[3..]);
    assert!(outputs.list("contract-none", None, 10).await.expect("listed").files.is_empty());
}

async fn what_is_deleted_is_gone_and_nothing_else(outputs: &dyn Outputs) {
    let [one, other, none] = ["contract/one", "contract/other", "contract/none"].map(name);
    for file in [&one, &other] {
        outputs.create(file.as_str(), b"x".to_vec(), "text/plain").await.expect("written");
    }
    outputs.delete(&[one.clone(), none]).await.expect("deleted");
    outputs.delete(&[]).await.expect("nothing to delete");
    assert_eq!(outputs.read(&one, 10).await.expect("answers"), None);
    assert_eq!(outputs.read(&other, 10).await.expect("answers").as_deref(), Some(b"x".as_slice()));
}

async fn a_file_in_parts_is_seen_when_it_is_finished_and_not_before(outputs: &dyn Outputs) {
    let file = name("contract/parts.csv");
    let upload = outputs.begin(&file, "text/csv").await.expect("begun");
    let other = outputs.begin(&file, "text/csv").await.expect("begun");
    assert_ne!(upload, other);
    outputs.append(&other, 1, b"not mine".to_vec()).await.expect("written");
    // A worker that died has left a part behind the end, and wrote the first one twice.
    outputs.append(&upload, 3, b"from another life".to_vec()).await.expect("written");
    outputs.append(&upload, 1, vec![b'x'; SMALLEST_PART]).await.expect("written");
    outputs.append(&upload, 2, b"end".to_vec()).await.expect("written");
    outputs.append(&upload, 1, vec![b'1'; SMALLEST_PART]).await.expect("written");
    assert_eq!(outputs.read(&file, 10).await.expect("answers"), None);

    let address = outputs.finish(&upload, 2).await.expect("finished");
    assert!(address.ends_with("/contract/parts.csv"), "{address}");
    let content = outputs.read(&file, SMALLEST_PART as u64 + 3).await.expect("answers").expect("a file");
    assert!(content.starts_with(b"11") && content.ends_with(b"1end"), "{} bytes", content.len());
    assert_eq!(content.len(), SMALLEST_PART + 3);

    assert_eq!(outputs.finish(&upload, 2).await.expect("finished already"), address);
    let late = outputs.append(&upload, 3, b"late".to_vec()).await;
    assert!(matches!(late, Err(FileError::Gone)), "{late:?}");
    assert_eq!(outputs.finish(&other, 1).await.expect("another was first"), address);
}

async fn a_file_in_parts_does_not_replace_one_that_is_there(outputs: &dyn Outputs) {
    let file = name("contract/there.csv");
    let upload = outputs.begin(&file, "text/csv").await.expect("begun");
    outputs.append(&upload, 1, b"late".to_vec()).await.expect("written");
    let address = outputs.create(file.as_str(), b"early".to_vec(), "text/csv").await.expect("written");
    assert_eq!(outputs.finish(&upload, 1).await.expect("left"), address);
    assert_eq!(outputs.read(&file, 10).await.expect("answers").as_deref(), Some(b"early".as_slice()));
}

async fn missing_parts_make_no_file(outputs: &dyn Outputs) {
    let file = name("contract/holes.csv");
    let upload = outputs.begin(&file, "text/csv").await.expect("begun");
    outputs.append(&upload, 1, vec![b'1'; SMALLEST_PART]).await.expect("written");
    outputs.append(&upload, 3, b"3".to_vec()).await.expect("written");
    for parts in [2, 3, 4] {
        let holes = outputs.finish(&upload, parts).await;
        assert!(matches!(holes, Err(FileError::Gone)), "{parts}: {holes:?}");
    }
    assert_eq!(outputs.read(&file, 10).await.expect("answers"), None);
    outputs.append(&upload, 2, vec![]).await.expect("written");
    outputs.finish(&upload, 1).await.expect("the first is enough");
}

fn name(text: &str) -> FileName {
    FileName::parse(text).expect("a name")
}
