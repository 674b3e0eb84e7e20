//! Currents sources.

use super::*;

const SOURCE: &str = "kind: currents_source\nname: posts\nproject: shop\ntoken: { env: TOKEN }\n";

fn with(source: &str) -> String {
    format!("{PROJECT}---\n{BRAZE}---\n{source}")
}

#[test]
fn a_source_is_named_as_brazes_own_connector_names_unless_it_says_otherwise() {
    let text = with(&format!(
        "{SOURCE}destination: braze\nnames: {{ prefix: \"[Braze] \", optional_types: true }}\n"
    ));
    let resources = parse_resources(&text, "loop.yaml").unwrap();
    assert_eq!(check_references(&resources), []);
    let Some(Spec::CurrentsSource(source)) = resources.last().map(|last| &last.spec) else {
        panic!("{resources:?}")
    };
    assert_eq!(source.token, Some(SecretRef::Env("TOKEN".to_owned())));
    assert_eq!(source.destination.as_deref(), Some("braze"));
    let names = CurrentsNames {
        prefix: "[Braze] ".to_owned(),
        optional_types: true,
        ..CurrentsNames::default()
    };
    assert_eq!(source.names, names);
}

#[test]
fn what_a_source_refers_to_is_there_and_no_circle() {
    let files = SOURCE.replace("posts", "files");
    let elsewhere = PROJECT.replace("shop", "club").replace("5b1e", "6b1e");
    let in_club = SOURCE.replace("posts", "files").replace("shop", "club");
    let texts = [
        with(&format!("{SOURCE}---\n{files}same_events_as: posts\n")),
        with(&SOURCE.replace("token: { env: TOKEN }", "open: true")),
        with(&SOURCE.replace("token: { env: TOKEN }\n", "")),
        with(&format!("{SOURCE}open: true\n")),
        with(&SOURCE.replace("shop", "shp")),
        with(&format!("{SOURCE}destination: braz\n")),
        with(&format!("{SOURCE}same_events_as: post\n")),
        with(&format!("{SOURCE}same_events_as: posts\n")),
        with(&format!("{SOURCE}same_events_as: files\n---\n{files}same_events_as: posts\n")),
        with(&format!("{elsewhere}---\n{in_club}---\n{SOURCE}same_events_as: files\n")),
        with(&format!("{SOURCE}names: {{ prefx: x }}\n")),
    ];
    assert_snapshot!(texts.map(|text| said(&text)).join("\n"), @r"
    good
    good
    loop.yaml:11:1: `token` is missing, so anybody could send events
      hint: write `token: { env: CURRENTS_TOKEN }`, or `open: true` if that is meant; a source that has `files` needs neither
    loop.yaml:15:7: `open` and `token` exclude each other
      hint: remove one of them
    loop.yaml:13:10: unknown project `shp` in currents_source `posts`
      hint: did you mean `shop`?
    loop.yaml:15:14: unknown destination `braz` in currents_source `posts`
      hint: did you mean `braze`?
    loop.yaml:15:17: unknown currents_source `post` in currents_source `posts`
      hint: did you mean `posts`?
    loop.yaml:15:17: `posts` has, in the end, its own events
      hint: one source of those that share their events refers to no other
    loop.yaml:15:17: `posts` has, in the end, its own events
      hint: one source of those that share their events refers to no other
    loop.yaml:21:17: `files` has, in the end, its own events
      hint: one source of those that share their events refers to no other
    loop.yaml:24:17: `posts` has the events of `files`, which is of another project, `club`
      hint: an event is kept once, in one project; remove it
    loop.yaml:15:10: unknown key `prefx` in `names` of currents_source `posts`
      hint: did you mean `prefix`?
    ");
}

#[test]
fn a_token_is_written_out_only_for_a_sandbox_on_this_machine() {
    let literal = SOURCE.replace("{ env: TOKEN }", "hush");
    let away = BRAZE.replace("http://127.0.0.1:8500", "US-05").replace("hush", "{ env: KEY }");
    let texts = [
        with(&format!("{literal}destination: braze\n")),
        with(&literal),
        format!("{PROJECT}---\n{away}---\n{literal}destination: braze\n"),
    ];
    assert_snapshot!(texts.map(|text| said(&text)).join("\n"), @r"
    good
    loop.yaml:14:8: `token` is written out; only a source whose destination is a sandbox on this machine takes it so
      hint: write `{ env: CURRENTS_TOKEN }` or `{ file: currents.token }`
    loop.yaml:14:8: `token` is written out; only a source whose destination is a sandbox on this machine takes it so
      hint: write `{ env: CURRENTS_TOKEN }` or `{ file: currents.token }`
    ");
}

#[test]
fn files_are_in_a_folder_or_a_bucket_and_what_is_wrong_with_them_names_the_key() {
    let files = |files: &str| {
        let source = "kind: currents_source\nname: posts\nproject: shop\n";
        with(&format!("{source}files: {{ {files} }}\n"))
    };
    let texts = [
        files("url: currents"),
        files("url: file:///srv/currents, poll: 5s, from_the_beginning: false"),
        files("url: s3://b/currents, region: eu-central-1"),
        files("url: s3://b, access_key_id: { env: A }, secret_access_key: { file: b.key }"),
        files(
            "url: s3://b, endpoint: \"http://127.0.0.1:9000\", access_key_id: a, secret_access_key: b",
        ),
        files("poll: 5s"),
        files("url: \"\""),
        files("url: s3:///currents"),
        files("url: gs://b/currents"),
        files("url: file://srv/currents"),
        files("url: s3://b, endpoint: storage.example.com"),
        files("url: s3://b, poll: 0s"),
        files("url: s3://b, access_key_id: { env: A }"),
        files("url: s3://b, session_token: { env: A }"),
        files("url: s3://b, access_key_id: a, secret_access_key: { env: B }"),
        files("url: currents, region: eu-central-1, access_key_id: { env: A }"),
        files("url: s3://b, regoin: eu-central-1"),
    ];
    assert_snapshot!(texts.map(|text| said(&text)).join("\n"), @r"
    good
    good
    good
    good
    good
    loop.yaml:14:8: missing key `url` in `files` of currents_source `posts`
    loop.yaml:14:15: `files.url` is empty
    loop.yaml:14:15: `files.url` names no bucket: `s3:///currents`
      hint: write s3://BUCKET/PREFIX
    loop.yaml:14:15: `files.url` must be a folder or begin with s3://, found `gs://b/currents`
    loop.yaml:14:15: `files.url` names a machine: `file://srv/currents`
      hint: write file:///FOLDER, with three strokes
    loop.yaml:14:33: `files.endpoint` is not a URL: `storage.example.com`: relative URL without a base
    loop.yaml:14:29: `files.poll` must be more than zero
    loop.yaml:14:38: `access_key_id` is there without `secret_access_key`
      hint: give both, or none to use what the environment has
    loop.yaml:14:38: `session_token` is there without `access_key_id`
      hint: give both, or none to use what the environment has
    loop.yaml:14:38: `access_key_id` is written out; only a bucket on this machine takes it so
      hint: write `{ env: NAME }` or `{ file: PATH }`
    loop.yaml:14:33: `region` is of buckets, and `url` names a folder
      hint: write `url: s3://BUCKET/PREFIX`, or remove it
    loop.yaml:14:62: `access_key_id` is of buckets, and `url` names a folder
      hint: write `url: s3://BUCKET/PREFIX`, or remove it
    loop.yaml:14:23: unknown key `regoin` in `files` of currents_source `posts`
      hint: did you mean `region`?
    ");
}
