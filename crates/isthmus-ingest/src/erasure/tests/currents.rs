//! Forgetting people of whom Braze Currents told.

use super::*;
use crate::door::{CurrentsSource, Door, DoorRules, NobodyMapped};
use isthmus_braze::currents::Form;
use isthmus_core::record::{Erasure, Mend};

fn event(id: &str, user: &str) -> String {
    format!(
        r#"{{"event_type":"users.messages.email.Open","id":"{id}","time":1767258000,"user":{{{user}}},"properties":{{"subject":"{id}"}}}}"#
    )
}

impl Bench {
    async fn post(&self, bodies: &[String]) {
        let (intake, clock) = (self.intake.clone(), self.clock.clone());
        let door = Door::new(intake, clock, DoorRules::default(), Arc::new(NobodyMapped));
        door.set_currents([CurrentsSource {
            name: "posts".to_owned(),
            project: "shop".to_owned(),
            scope: "posts".to_owned(),
            destination: None,
            form: Form::default(),
            token: None,
            posted: true,
        }]);
        let admitted = door.admit_currents("posts", None).unwrap();
        for body in bodies {
            let body = format!(r#"{{"events":[{body}]}}"#);
            let answer = door.answer_currents(&admitted, None, body.as_bytes()).await;
            assert_eq!(answer.status, 200, "{}", answer.body);
        }
    }

    /// Has state forget `user`, and the logs whom the erasure says.
    async fn forget(&self, user: AmplitudeId) -> Forgotten {
        let erase = Erase { user, request: "r1", refuse_later: false };
        self.accept(Vec::new(), vec![Command::Erase(erase)]).await;
        self.apply().await;
        let mut reader = self.events.reader(0).unwrap();
        let mut forgotten = Forgotten::new().and_their_erasures();
        while let Some(record) = reader.next().unwrap() {
            for item in AppliedBatch::decode(&record.payload).unwrap().items {
                let Applied::Erasure(erasure) = item else { continue };
                let Erasure { users, user_id, device_ids, braze_ids, .. } = erasure;
                forgotten = forgotten
                    .with("shop", users, user_id, device_ids)
                    .with_braze_ids("shop", braze_ids);
            }
        }
        let reach = Reach::of(&self.state).unwrap();
        let go_on = |_: &Sweep| ControlFlow::Continue(());
        erase_events(&self.events, 0..reach.events, &forgotten, go_on).unwrap();
        erase_intake(&self.intake, 0..reach.intake, &forgotten, go_on).unwrap();
        forgotten
    }

    fn find(&self, kind: IdKind, id: &str) -> AmplitudeId {
        People::open(&self.state).unwrap().find("shop", kind, id).unwrap().unwrap()
    }

    /// Applies everything again on a new state, to the same items.
    async fn rebuild(&mut self, state: &str) {
        let (items, end) = (self.items(), self.events.end());
        self.state = State::open(&self.folder.path().join(state)).unwrap();
        self.apply().await;
        assert_eq!((self.items(), self.events.end()), (items, end));
    }
}

/// Whom each event says it is of, in all the ways in which it can.
fn traffic() -> Vec<String> {
    vec![
        event("ana-1", r#""user_id":"b-ana","external_user_id":"ana","device_id":"ana-phone""#),
        event("bo-1", r#""user_id":"b-bo","external_user_id":"bo","device_id":"bo-phone""#),
        // Nobody knows yet whose these are.
        event("cy-1", r#""user_id":"b-cy""#),
        event("dee-1", r#""user_id":"b-dee""#),
        event("cy-2", r#""user_id":"b-cy","device_id":"cy-phone""#),
        event("dee-2", r#""user_id":"b-dee","device_id":"dee-phone""#),
        event("cy-3", r#""user_id":"b-cy""#),
        event("dee-3", r#""user_id":"b-dee""#),
        // Somebody else, under what Braze calls cy.
        event("eli-1", r#""user_id":"b-cy","device_id":"eli-phone""#),
        event("fay-1", r#""user_id":"b-cy","external_user_id":"fay""#),
        // No events, of cy and of dee.
        r#"{"event_type":"a.B","time":1,"user":{"user_id":"b-cy"}}"#.to_owned(),
        r#"{"event_type":"a.B","time":1,"user":{"device_id":"cy-phone"}}"#.to_owned(),
        r#"{"event_type":"a.B","time":1,"user":{"user_id":"b-dee"}}"#.to_owned(),
    ]
}

#[tokio::test]
async fn nothing_of_a_person_is_left_by_whatever_braze_called_them() {
    let mut bench = Bench::new();
    bench.post(&traffic()).await;
    let mended = Mend {
        source: "posts",
        place: Place::default(),
        raw: Some(r#"{"user":{"user_id":"b-cy"}}"#),
    };
    bench.accept(Vec::new(), vec![Command::Mend(mended)]).await;
    bench.apply().await;
    for text in ["cy-1", "cy-3", "b-cy", "cy-phone"] {
        assert!(!bench.finds(text).is_empty(), "{text}");
    }
    let before = bench.items().len();
    bench.forget(bench.find(IdKind::Device, "cy-phone")).await;
    for text in ["cy-1", "cy-2", "cy-3", "b-cy", "cy-phone"] {
        assert_eq!(bench.finds(text), Vec::<String>::new(), "{text}");
    }
    for text in ["ana-1", "bo-1", "dee-1", "dee-2", "dee-3", "eli-1", "fay-1", "b-dee"] {
        assert!(!bench.finds(text).is_empty(), "{text}");
    }
    assert_eq!(bench.items().len(), before + 1, "indexes stay");
    assert!(
        People::open(&bench.state).unwrap().find("shop", IdKind::Braze, "b-cy").unwrap().is_none()
    );
    bench.rebuild("another-state").await;
    let eli = bench.find(IdKind::Device, "eli-phone");
    let eli = People::open(&bench.state).unwrap().get(eli).unwrap().unwrap();
    assert_eq!(eli.braze_ids, Vec::<String>::new(), "what was cy's is not taken for eli's");
    // Whoever it is now, they are not who was forgotten.
    bench.post(&[event("new-1", r#""user_id":"b-cy""#)]).await;
    bench.apply().await;
    let last = bench.items().into_values().next_back().unwrap();
    assert_eq!(last.0, None, "{}", last.1);
}

#[tokio::test]
async fn one_after_the_other_can_be_forgotten_and_all_is_applied_again_the_same() {
    let mut bench = Bench::new();
    let events = traffic();
    for (round, event) in events.iter().enumerate() {
        bench.post(std::slice::from_ref(event)).await;
        if round % 3 == 0 {
            bench.apply().await;
        }
    }
    bench.apply().await;
    let who = [
        (IdKind::User, "ana"),
        (IdKind::Device, "dee-phone"),
        (IdKind::User, "fay"),
        (IdKind::Device, "eli-phone"),
        (IdKind::Device, "cy-phone"),
    ];
    for (round, (kind, id)) in who.into_iter().enumerate() {
        bench.forget(bench.find(kind, id)).await;
        let name = id.split('-').next().unwrap();
        assert_eq!(bench.finds(&format!("{name}-1")), Vec::<String>::new());
        bench.rebuild(&format!("state-{round}")).await;
        bench.post(&events[1..2]).await;
        bench.apply().await;
    }
    let is_event = |told: &str| told.starts_with("Event") && told.contains("bo-1");
    let items = bench.items().into_values();
    assert_eq!(items.filter(|(_, told)| is_event(told)).count(), 1, "repetitions are still known");
}

/// People with a device of their own each; what Braze calls them is anybody's guess.
#[tokio::test]
async fn whatever_braze_calls_whom_everybody_else_is_as_before_and_all_is_applied_again_the_same() {
    const PEOPLE: [&str; 5] = ["ana", "bo", "cy", "dee", "eli"];
    for seed in 0..6 {
        let random = SeededRandom::new(seed);
        let pick = |below: u64| usize::try_from(random.below(below)).unwrap();
        let mut bench = Bench::new();
        let mut number = 0;
        for round in 0..4 {
            for _ in 0..25 {
                number += 1;
                let (who, braze) = (PEOPLE[pick(5)], pick(4));
                // The first two of them log in now and then, on their device.
                let user = format!(r#","external_user_id":"{who}""#);
                let user = if pick(3) == 0 && PEOPLE[..2].contains(&who) { &*user } else { "" };
                let device = format!(r#","device_id":"{who}-phone""#);
                let device = if pick(2) == 0 || !user.is_empty() { &*device } else { "" };
                let ids = format!(r#""user_id":"b-{braze}"{user}{device}"#);
                let id = if user.is_empty() && device.is_empty() { "nobody" } else { who };
                bench.post(&[event(&format!("{id}-{number}-x"), &ids)]).await;
                if pick(6) == 0 {
                    bench.apply().await;
                }
            }
            bench.apply().await;
            let who = PEOPLE[pick(5)];
            let people = People::open(&bench.state).unwrap();
            let device = format!("{who}-phone");
            let found = people.find("shop", IdKind::Device, &device).unwrap();
            let Some(person) = found else { continue };
            let before = bench.items();
            bench.forget(person).await;
            for text in [format!("\"{who}-"), device] {
                assert_eq!(bench.finds(&text), Vec::<String>::new(), "{text}, seed {seed}");
            }
            let after = bench.items();
            for (place, (of, told)) in &before {
                let now = &after[place];
                let is_gone = *of == Some(person) || told.contains(&format!("\"{who}-"));
                let is_same = now.1.split("braze_id").next() == told.split("braze_id").next();
                let is_nobodys = told.contains("\"nobody-");
                assert!(is_gone || is_nobodys || is_same, "{told}\n{}, seed {seed}", now.1);
                assert!(!is_gone || now.1 == "Erased", "{told}\n{}, seed {seed}", now.1);
            }
            bench.rebuild(&format!("state-{round}")).await;
        }
    }
}
