use super::*;
use proptest::prelude::*;

const LIMITS: AmplitudeLimits = AmplitudeLimits::documented();

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn events_of<'a>(
    user: Option<&'a str>,
    device: Option<&'a str>,
    count: usize,
) -> Vec<IntakeEvent<'a>> {
    let event = IntakeEvent { user_id: user, device_id: device, ..IntakeEvent::default() };
    vec![event; count]
}

fn refused(outcome: Result<(), Refusal>) -> Throttle {
    match outcome {
        Err(Refusal::Throttled(throttle)) => *throttle,
        other => panic!("not throttled: {other:?}"),
    }
}

#[test]
fn a_rate_is_an_average_over_the_window_and_the_window_slides() {
    let mut rates = Rates::default();
    let mut send = |count, second| {
        let events = events_of(Some("ana-1"), Some("device-1"), count);
        rates.admit(Endpoint::HttpApi, &events, &LIMITS, seconds(second))
    };
    assert_eq!(send(600, 10), Ok(()), "a burst is no rate");
    assert_eq!(send(300, 39), Ok(()), "30 a second");
    let throttle = refused(send(1, 39));
    assert_eq!((throttle.eps_threshold, throttle.throttled_events), (30, vec![0]));
    assert_eq!(throttle.throttled_users["ana-1"], 31);
    assert_eq!(throttle.throttled_devices["device-1"], 31);
    assert_eq!(send(600, 40), Ok(()), "the burst is 30 seconds ago");
    refused(send(1, 68));
    assert_eq!(send(1, 69), Ok(()), "what was refused is not counted");
}

#[test]
fn one_request_may_be_too_fast_by_itself() {
    let mut rates = Rates::default();
    let events = events_of(None, Some("device-1"), 901);
    let throttle = refused(rates.admit(Endpoint::HttpApi, &events, &LIMITS, seconds(5)));
    assert_eq!(throttle.throttled_events.len(), 901);
    assert_eq!(rates.admit(Endpoint::Batch, &events, &LIMITS, seconds(5)), Ok(()));
}

#[test]
fn only_the_events_of_those_who_are_too_fast_are_named() {
    let mut rates = Rates::default();
    let limits = AmplitudeLimits { http_api_per_second: 1, ..LIMITS };
    let mut events = events_of(Some("slow-1"), None, 2);
    events.extend(events_of(Some("fast-1"), None, 31));
    events.extend(events_of(Some("slow-2"), Some("device-1"), 1));
    let throttle = refused(rates.admit(Endpoint::HttpApi, &events, &limits, seconds(5)));
    assert_eq!(throttle.throttled_events, (2..33).collect::<Vec<_>>());
    assert_eq!(rates.senders(&limits, seconds(5)), []);
}

#[test]
fn a_day_ends_hour_by_hour() {
    let mut rates = Rates::default();
    let limits = AmplitudeLimits { batch_per_day: 100, ..LIMITS };
    let mut send = |count, hour| {
        let events = events_of(Some("ana-1"), Some("device-1"), count);
        rates.admit(Endpoint::Batch, &events, &limits, seconds(hour * HOUR_S))
    };
    assert_eq!((send(60, 1), send(40, 5)), (Ok(()), Ok(())));
    let throttle = refused(send(1, 24));
    assert_eq!(throttle.exceeded_daily_quota_users["ana-1"], 101);
    assert_eq!(throttle.exceeded_daily_quota_devices["device-1"], 101);
    assert!(throttle.throttled_users.is_empty());
    assert_eq!(throttle.throttled_events, [0]);
    assert_eq!((send(60, 25), send(40, 29)), (Ok(()), Ok(())));
}

#[test]
fn a_project_has_a_limit_of_its_own() {
    let mut rates = Rates::default();
    let limits = AmplitudeLimits { project_http_api_per_second: 10, ..LIMITS };
    for user in ["ana-1", "bo-22", "cy-33"] {
        let events = events_of(Some(user), None, 100);
        assert_eq!(rates.admit(Endpoint::HttpApi, &events, &limits, seconds(1)), Ok(()));
    }
    let events = events_of(Some("dan-4"), None, 3);
    let throttle = refused(rates.admit(Endpoint::HttpApi, &events, &limits, seconds(2)));
    assert_eq!(throttle, Throttle::whole_request(10, 3));
    assert_eq!(rates.admit(Endpoint::HttpApi, &events, &limits, seconds(31)), Ok(()));
}

#[test]
fn peaks_stay_when_their_time_is_over() {
    let mut rates = Rates::default();
    let mut send = |user, count, second| {
        let events = events_of(Some(user), None, count);
        rates.admit(Endpoint::HttpApi, &events, &LIMITS, seconds(second)).expect("slow enough");
    };
    send("ana-1", 20, 100);
    send("ana-1", 10, 100);
    send("ana-1", 30, 101);
    send("bo-22", 45, 101);
    send("ana-1", 1, 200);
    let senders = rates.senders(&LIMITS, seconds(100_000));
    let ana = senders.first().expect("somebody");
    assert_eq!((ana.id.as_str(), ana.kind), ("ana-1", AmplitudeSenderKind::User));
    assert_eq!((ana.peak_in_a_second, ana.last_day, ana.peak_in_a_day), (30, 0, 61));
    assert!((ana.peak_per_second - 2.0).abs() < 1e-9);
    let highest: Vec<_> = rates.peaks().collect();
    assert_eq!((highest.len(), highest[0].fastest.as_str()), (1, "ana-1"));
    assert_eq!((highest[0].peak_in_a_second, highest[0].peak_in_a_day), (45, 61));
}

#[test]
fn senders_are_bounded_and_the_highest_is_not_forgotten() {
    let mut rates = Rates { senders_max: 100, ..Rates::default() };
    for number in 0..1_000_u64 {
        let id = format!("user-{number}");
        let count = if number == 7 { 50 } else { 1 };
        let events = events_of(Some(&id), None, count);
        let at = seconds(number / 300);
        rates.admit(Endpoint::HttpApi, &events, &LIMITS, at).expect("slow enough");
        assert!(rates.senders.len() <= 100);
    }
    assert_eq!(rates.forgotten() + rates.senders.len() as u64, 1_000);
    let highest: Vec<_> = rates.peaks().collect();
    assert_eq!((highest[0].fastest.as_str(), highest[0].peak_in_a_second), ("user-7", 50));
}

proptest! {
    /// Whatever comes when, a sender gets through exactly as long as the window holds no more than
    /// the limit allows.
    #[test]
    fn the_window_is_exact(steps in proptest::collection::vec((0_u64..12, 1_usize..40), 1..60)) {
        let limits =
            AmplitudeLimits { http_api_per_second: 3, rate_window: seconds(10), ..LIMITS };
        let mut rates = Rates::default();
        let (mut now, mut taken) = (100, Vec::<(u64, usize)>::new());
        for (wait, count) in steps {
            now += wait;
            let in_window: usize =
                taken.iter().filter(|(at, _)| at + 10 > now).map(|(_, count)| count).sum();
            let events = events_of(Some("ana-1"), None, count);
            let outcome = rates.admit(Endpoint::HttpApi, &events, &limits, seconds(now));
            prop_assert_eq!(outcome.is_ok(), in_window + count <= 30);
            if outcome.is_ok() {
                taken.push((now, count));
            }
        }
        let all: usize = taken.iter().map(|(_, count)| count).sum();
        let senders = rates.senders(&limits, seconds(now));
        prop_assert_eq!(senders.first().map_or(0, |sender| sender.last_day), all as u64);
    }
}
