//! The reference page, written from the declarations, so that it cannot be stale or wrong.

use crate::decode::FieldAbout;
use crate::resource::{
    AmplitudeDestination, AmplitudeLimits, Anonymous, BrazeDestination, BrazeLimits, BudgetShares,
    CurrentsNames, CurrentsSource, Filter, Forward, ForwardCurrents, IdentifyBy, PersonalData,
    Project, PropertyRef, RetryLimits, SelectedEvent, SelectedProperty, SendEvents, SendUsers,
    SourceFiles, Stream, Throttle,
};
use crate::server::{DeliveryConfig, HttpConfig, IngestConfig, LogConfig, ServerConfig};
use crate::shape::Shape;
use std::fmt::Write;

const INTRODUCTION: &str = "\
# Configuration

Written by the program from the declarations in `crates/isthmus-config`; change those instead.

- Durations are whole numbers with a unit: `20ms`, `30s`, `1h30m`, `7d`. Sizes too: `512KB`, `16MiB`.
- A secret is `{ env: NAME }` (an environment variable) or `{ file: PATH }`, in TOML
  `{ env = \"NAME\" }`. Paths lead from the folder of the file that has them.
- A key that is not listed here is an error. `isthmus check` reports all errors at once.

";

const RESOURCES: &str = "\
## Resources

YAML or JSON, one or many per file. Each says its `kind` and has a `name`; anchors and aliases work,
merge keys do not.

```yaml
";

const RESOURCES_AFTER: &str = "```

";

const DESTINATION: &str = "\
### Destination

`kind: destination`: a place that streams deliver to. The other keys depend on `type`.

| key | value | default | meaning |
| --- | --- | --- | --- |
| `name` | text | required | What the destination is called here; unique among destinations. |
| `type` | `braze`, `amplitude` | required | Whose service it is: [BrazeDestination](#brazedestination), [AmplitudeDestination](#amplitudedestination). |

";

/// Resources that work with the sandbox.
const EXAMPLE: &str = include_str!("reference/example.yaml");

/// `docs/reference/configuration.md`, in Markdown.
pub fn reference_page() -> String {
    let mut page = INTRODUCTION.to_owned();
    page.push_str("## isthmus.toml\n\n");
    section::<ServerConfig>(&mut page);
    section::<HttpConfig>(&mut page);
    section::<IngestConfig>(&mut page);
    section::<LogConfig>(&mut page);
    section::<DeliveryConfig>(&mut page);
    page.push_str(RESOURCES);
    page.push_str(EXAMPLE);
    page.push_str(RESOURCES_AFTER);
    section::<Project>(&mut page);
    section::<Throttle>(&mut page);
    page.push_str(DESTINATION);
    section::<BrazeDestination>(&mut page);
    section::<BrazeLimits>(&mut page);
    section::<AmplitudeDestination>(&mut page);
    section::<AmplitudeLimits>(&mut page);
    section::<BudgetShares>(&mut page);
    section::<Stream>(&mut page);
    section::<IdentifyBy>(&mut page);
    section::<Anonymous>(&mut page);
    section::<RetryLimits>(&mut page);
    section::<SendEvents>(&mut page);
    section::<SelectedEvent>(&mut page);
    section::<SelectedProperty>(&mut page);
    section::<Filter>(&mut page);
    section::<PropertyRef>(&mut page);
    section::<SendUsers>(&mut page);
    section::<Forward>(&mut page);
    section::<ForwardCurrents>(&mut page);
    section::<PersonalData>(&mut page);
    section::<CurrentsSource>(&mut page);
    section::<SourceFiles>(&mut page);
    section::<CurrentsNames>(&mut page);
    page.truncate(page.trim_end().len());
    page.push('\n');
    page
}

fn section<S: Shape>(page: &mut String) {
    let about: Vec<_> = S::ABOUT.iter().map(|line| line.trim()).collect();
    let (name, about) = (S::NAME, about.join(" "));
    let rows: String = S::fields().iter().map(row).collect();
    let head = "| key | value | default | meaning |\n| --- | --- | --- | --- |";
    writeln!(page, "### {name}\n\n{about}\n\n{head}\n{rows}").expect("a String takes any text");
}

fn row(field: &FieldAbout) -> String {
    let default = field.default.as_deref().unwrap_or("required");
    format!("| `{}` | {} | {default} | {} |\n", field.key, field.expected, field.doc)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_in_the_book_is_this_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/configuration.md");
        let page = reference_page();
        if std::env::var_os("ISTHMUS_WRITE_DOCS").is_some() {
            std::fs::write(path, &page).unwrap();
        }
        let kept = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            kept == page,
            "stale; `ISTHMUS_WRITE_DOCS=1 cargo test -p isthmus-config` writes it anew"
        );
    }

    #[test]
    fn the_example_on_the_page_is_good() {
        let resources = crate::parse_resources(EXAMPLE, "example.yaml").unwrap();
        assert_eq!(crate::check_references(&resources), []);
        assert_eq!(resources.len(), 5);
    }
}
