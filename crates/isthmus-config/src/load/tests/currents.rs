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
      hint: write `token: { env: CURRENTS_TOKEN }`, or `open: true` if that is meant
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
